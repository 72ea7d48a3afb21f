package dev.tollgate.client;

import com.google.protobuf.ByteString;
import com.google.protobuf.UnsafeByteOperations;
import dev.tollgate.v1.UploadFile;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.function.Consumer;

/**
 * A file to send. It is opened when its call is made, read while it is sent, and closed after.
 *
 * @param filename what it is called: by its ending many providers tell the format
 * @param mediaType its media type, such as {@code audio/wav}; empty: {@code
 *     application/octet-stream}
 * @param content opens its bytes
 */
public record Upload(String filename, String mediaType, Source content) {
  private static final int CHUNK = 64 * 1024;

  /** Opens the bytes of an upload. */
  @FunctionalInterface
  public interface Source {
    /**
     * Opens them.
     *
     * @return the bytes, from their beginning
     * @throws IOException when they cannot be read
     */
    InputStream open() throws IOException;
  }

  /**
   * A file of this machine, under its own name.
   *
   * @param path where it is
   * @return the upload
   */
  public static Upload of(Path path) {
    Path name = path.getFileName();
    return new Upload(name == null ? "" : name.toString(), "", () -> Files.newInputStream(path));
  }

  /**
   * Bytes that are there already.
   *
   * @param filename what they are called
   * @param bytes they
   * @return the upload
   */
  public static Upload of(String filename, byte[] bytes) {
    return new Upload(filename, "", () -> new ByteArrayInputStream(bytes));
  }

  /**
   * The same with a media type.
   *
   * @param type such as {@code audio/wav}
   * @return an upload of the same bytes
   */
  public Upload withMediaType(String type) {
    return new Upload(filename, type, content);
  }

  UploadFile begun(String field) {
    return UploadFile.newBuilder()
        .setField(field)
        .setFilename(filename)
        .setContentType(mediaType)
        .build();
  }

  /** Gives its bytes, piece by piece. */
  void chunks(Consumer<ByteString> take) throws IOException {
    try (InputStream in = content.open()) {
      while (true) {
        // A piece of its own each time: what was given is still on its way.
        byte[] chunk = in.readNBytes(CHUNK);
        if (chunk.length == 0) {
          return;
        }
        take.accept(UnsafeByteOperations.unsafeWrap(chunk));
      }
    }
  }
}
