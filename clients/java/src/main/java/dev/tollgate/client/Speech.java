package dev.tollgate.client;

import com.google.protobuf.ByteString;
import dev.tollgate.client.errors.TollgateException;
import dev.tollgate.v1.CreateSpeechResponse;
import dev.tollgate.v1.Receipt;
import dev.tollgate.v1.Usage;
import io.grpc.Status;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import org.jspecify.annotations.Nullable;

/**
 * Sound as it is made: a stream of its bytes. Close it: that ends the call at the provider, too,
 * where it has not ended. Its methods throw a {@link TollgateException} when the call fails; sound
 * that breaks off is an error, never an end.
 */
public final class Speech extends InputStream {
  private final Events<CreateSpeechResponse> events;
  private final Bytes bytes;
  private final String contentType;
  private @Nullable Usage usage;
  private @Nullable Receipt receipt;

  Speech(Events<CreateSpeechResponse> events) {
    this.events = events;
    if (!events.hasNext()) {
      throw unfinished();
    }
    this.contentType = events.next().getContentType();
    this.bytes = new Bytes(this::more);
  }

  /**
   * The media type of the sound.
   *
   * @return such as {@code audio/mpeg}; empty: the provider does not say
   */
  public String contentType() {
    return contentType;
  }

  /**
   * What the call consumed.
   *
   * @return usage and cost, once the sound was read to its end; nothing of either before
   */
  public Usage usage() {
    return usage == null ? Usage.getDefaultInstance() : usage;
  }

  /**
   * The audit log's promise.
   *
   * @return it, once the sound was read to its end; null where it was not asked for
   */
  public @Nullable Receipt receipt() {
    return receipt;
  }

  /**
   * Writes the sound into a file as it comes.
   *
   * @param path the file, which is made or replaced
   * @return how many bytes it has
   * @throws IOException when it cannot be written
   */
  public long save(Path path) throws IOException {
    return Files.copy(this, path, StandardCopyOption.REPLACE_EXISTING);
  }

  @Override
  public int read() {
    return bytes.read();
  }

  @Override
  public int read(byte[] into, int offset, int length) {
    return bytes.read(into, offset, length);
  }

  @Override
  public void close() {
    events.close();
  }

  private @Nullable ByteString more() {
    while (events.hasNext()) {
      CreateSpeechResponse told = events.next();
      switch (told.getEventCase()) {
        case AUDIO -> {
          return told.getAudio();
        }
        case NATIVE -> {
          return told.getNative();
        }
        case USAGE -> usage = told.getUsage();
        case RECEIPT -> receipt = told.getReceipt();
        default -> {}
      }
    }
    if (usage == null && !events.cut()) {
      throw unfinished();
    }
    return null;
  }

  /** What a stream is that ended well, and not at its end. */
  static TollgateException unfinished() {
    return TollgateException.of(
        Status.INTERNAL
            .withDescription("the stream ended before it was finished")
            .asRuntimeException());
  }
}
