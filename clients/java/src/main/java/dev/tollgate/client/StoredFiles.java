package dev.tollgate.client;

import com.google.protobuf.ByteString;
import dev.tollgate.v1.CreateFileRequest;
import dev.tollgate.v1.CreateFileResponse;
import dev.tollgate.v1.DeleteFileRequest;
import dev.tollgate.v1.File;
import dev.tollgate.v1.FileHeader;
import dev.tollgate.v1.FileServiceGrpc;
import dev.tollgate.v1.GetFileContentRequest;
import dev.tollgate.v1.GetFileContentResponse;
import dev.tollgate.v1.GetFileRequest;
import dev.tollgate.v1.ListFilesRequest;
import dev.tollgate.v1.ListFilesResponse;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.List;

/** Files at providers: what batches read and write. Each key sees its own. */
public final class StoredFiles {
  private final Calls calls;

  StoredFiles(Calls calls) {
    this.calls = calls;
  }

  /**
   * Uploads a file.
   *
   * @param purpose what it is for, such as {@code batch}
   * @param file its bytes and its name
   * @return the file as it is kept
   * @throws UncheckedIOException when it cannot be read
   */
  public File upload(String purpose, Upload file) {
    return upload(FileHeader.newBuilder().setPurpose(purpose).build(), file, Options.defaults());
  }

  /**
   * Uploads a file.
   *
   * @param header what it is for; name and media type are the file's own where it has none
   * @param file its bytes
   * @param options where it differs from the client's defaults
   * @return the file as it is kept
   * @throws UncheckedIOException when it cannot be read
   */
  public File upload(FileHeader header, Upload file, Options options) {
    FileHeader.Builder named = header.toBuilder();
    if (header.getFilename().isEmpty()) {
      named.setFilename(file.filename());
    }
    if (header.getMediaType().isEmpty()) {
      named.setMediaType(file.mediaType());
    }
    List<CreateFileResponse> made =
        calls.upload(
            FileServiceGrpc.getCreateFileMethod(),
            options,
            out -> {
              out.accept(CreateFileRequest.newBuilder().setHeader(named).build());
              file.chunks(
                  chunk -> out.accept(CreateFileRequest.newBuilder().setChunk(chunk).build()));
            });
    return made.stream().findFirst().orElseThrow(Speech::unfinished).getFile();
  }

  /**
   * One file, as its provider tells it now.
   *
   * @param id its id
   * @return the file
   */
  public File get(String id) {
    return get(GetFileRequest.newBuilder().setId(id).build(), Options.defaults());
  }

  /**
   * One file, as its provider tells it now.
   *
   * @param request its id
   * @param options where it differs from the client's defaults
   * @return the file
   */
  public File get(GetFileRequest request, Options options) {
    return calls.ask(FileServiceGrpc.getGetFileMethod(), request, options).getFile();
  }

  /**
   * The key's files, the newest first.
   *
   * @return them, page after page
   */
  public Paged<File> list() {
    return list(ListFilesRequest.getDefaultInstance(), Options.defaults());
  }

  /**
   * The key's files, the newest first unless the request says otherwise.
   *
   * @param request which
   * @param options where it differs from the client's defaults
   * @return them, page after page
   */
  public Paged<File> list(ListFilesRequest request, Options options) {
    return new Paged<>(
        token -> {
          ListFilesRequest asked =
              token.isEmpty() ? request : request.toBuilder().setPageToken(token).build();
          ListFilesResponse page = calls.ask(FileServiceGrpc.getListFilesMethod(), asked, options);
          return new Paged.Page<>(page.getFilesList(), page.getNextPageToken());
        });
  }

  /**
   * Deletes a file at its provider.
   *
   * @param id its id
   */
  public void delete(String id) {
    delete(DeleteFileRequest.newBuilder().setId(id).build(), Options.defaults());
  }

  /**
   * Deletes a file at its provider.
   *
   * @param request its id
   * @param options where it differs from the client's defaults
   */
  public void delete(DeleteFileRequest request, Options options) {
    var unused = calls.ask(FileServiceGrpc.getDeleteFileMethod(), request, options);
  }

  /**
   * The bytes of a file, as they come. Close them: that ends the call where it has not ended.
   *
   * @param id its id
   * @return the bytes
   */
  public InputStream content(String id) {
    return content(GetFileContentRequest.newBuilder().setId(id).build(), Options.defaults());
  }

  /**
   * The bytes of a file, as they come. Close them: that ends the call where it has not ended.
   *
   * @param request its id
   * @param options where it differs from the client's defaults
   * @return the bytes
   */
  public InputStream content(GetFileContentRequest request, Options options) {
    Events<ByteString> chunks =
        calls.stream(
            FileServiceGrpc.getGetFileContentMethod(),
            request,
            options,
            GetFileContentResponse::getChunk);
    // Where there is no such file it is said now.
    boolean any = chunks.hasNext();
    InputStream bytes = new Bytes(() -> any && chunks.hasNext() ? chunks.next() : null);
    return new InputStream() {
      @Override
      public int read() throws IOException {
        return bytes.read();
      }

      @Override
      public int read(byte[] into, int offset, int length) throws IOException {
        return bytes.read(into, offset, length);
      }

      @Override
      public void close() {
        chunks.close();
      }
    };
  }

  /**
   * Writes the bytes of a file into one of this machine.
   *
   * @param id its id
   * @param path the file, which is made or replaced
   * @return how many bytes it has
   * @throws IOException when it cannot be written
   */
  public long save(String id, Path path) throws IOException {
    try (InputStream in = content(id)) {
      return Files.copy(in, path, StandardCopyOption.REPLACE_EXISTING);
    }
  }
}
