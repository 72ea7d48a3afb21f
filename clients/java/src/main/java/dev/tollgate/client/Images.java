package dev.tollgate.client;

import dev.tollgate.v1.EditImageHead;
import dev.tollgate.v1.EditImageRequest;
import dev.tollgate.v1.EditImageResponse;
import dev.tollgate.v1.GenerateImageRequest;
import dev.tollgate.v1.GenerateImageResponse;
import dev.tollgate.v1.GeneratedImage;
import dev.tollgate.v1.ImageServiceGrpc;
import dev.tollgate.v1.Receipt;
import dev.tollgate.v1.Usage;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.List;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;

/** Makes images of words, and of other images. */
public final class Images {
  private final Calls calls;

  Images(Calls calls) {
    this.calls = calls;
  }

  /**
   * Images that were made of others.
   *
   * @param images those that are done; sketches of them are left out
   * @param usage what the call consumed
   * @param receipt the audit log's promise, or null where it was not asked for
   */
  public record Edited(List<GeneratedImage> images, Usage usage, @Nullable Receipt receipt) {}

  /**
   * Makes images of words.
   *
   * @param request model, prompt and how many
   * @return the images
   */
  public GenerateImageResponse generate(GenerateImageRequest request) {
    return generate(request, Options.defaults());
  }

  /**
   * Makes images of words.
   *
   * @param request model, prompt and how many
   * @param options where it differs from the client's defaults
   * @return the images
   */
  public GenerateImageResponse generate(GenerateImageRequest request, Options options) {
    return calls.ask(ImageServiceGrpc.getGenerateImageMethod(), request, options);
  }

  /**
   * Makes images of images.
   *
   * @param head model, prompt and how many
   * @param images what they are made of
   * @return the images
   * @throws UncheckedIOException when one of them cannot be read
   */
  public Edited edit(EditImageHead head, List<Upload> images) {
    return edit(head, images, null, Options.defaults());
  }

  /**
   * Makes images of images, and with a mask only within it.
   *
   * @param head model, prompt and how many
   * @param images what they are made of
   * @param mask where they may be changed; null: everywhere
   * @param options where it differs from the client's defaults
   * @return the images
   * @throws UncheckedIOException when one of them cannot be read
   */
  public Edited edit(
      EditImageHead head, List<Upload> images, @Nullable Upload mask, Options options) {
    // Money is held for so many.
    EditImageHead counted =
        head.hasImages()
            ? head
            : head.toBuilder().setImages(images.size() + (mask == null ? 0 : 1)).build();
    List<EditImageResponse> told =
        calls.upload(
            ImageServiceGrpc.getEditImageMethod(),
            options,
            out -> {
              out.accept(EditImageRequest.newBuilder().setHead(counted).build());
              for (Upload image : images) {
                send("image[]", image, out);
              }
              if (mask != null) {
                send("mask", mask, out);
              }
            });
    List<GeneratedImage> made =
        told.stream()
            .filter(event -> event.hasImage() && !event.getImage().hasPartialIndex())
            .map(event -> event.getImage().getImage())
            .toList();
    if (made.isEmpty()) {
      throw Speech.unfinished();
    }
    Usage usage =
        told.stream()
            .filter(EditImageResponse::hasUsage)
            .map(EditImageResponse::getUsage)
            .findFirst()
            .orElse(Usage.getDefaultInstance());
    Receipt receipt =
        told.stream()
            .filter(EditImageResponse::hasReceipt)
            .map(EditImageResponse::getReceipt)
            .findFirst()
            .orElse(null);
    return new Edited(made, usage, receipt);
  }

  private static void send(String field, Upload image, Consumer<EditImageRequest> out)
      throws IOException {
    out.accept(EditImageRequest.newBuilder().setFile(image.begun(field)).build());
    image.chunks(data -> out.accept(EditImageRequest.newBuilder().setData(data).build()));
  }
}
