package dev.tollgate.client;

import com.google.protobuf.ByteString;
import java.io.InputStream;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;

/** Bytes that come in pieces; {@code more} gives the next piece, or null at their end. */
final class Bytes extends InputStream {
  private final Supplier<@Nullable ByteString> more;
  private ByteString piece = ByteString.EMPTY;
  private int at;

  Bytes(Supplier<@Nullable ByteString> more) {
    this.more = more;
  }

  @Override
  public int read() {
    return filled() ? piece.byteAt(at++) & 0xff : -1;
  }

  @Override
  public int read(byte[] into, int offset, int length) {
    if (length == 0) {
      return 0;
    }
    if (!filled()) {
      return -1;
    }
    int count = Math.min(length, piece.size() - at);
    piece.substring(at, at + count).copyTo(into, offset);
    at += count;
    return count;
  }

  private boolean filled() {
    while (at >= piece.size()) {
      ByteString next = more.get();
      if (next == null) {
        return false;
      }
      piece = next;
      at = 0;
    }
    return true;
  }
}
