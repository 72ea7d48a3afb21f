package dev.tollgate.conformance;

import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import dev.tollgate.client.Audio;
import dev.tollgate.client.Client;
import dev.tollgate.client.Images;
import dev.tollgate.client.Options;
import dev.tollgate.client.Speech;
import dev.tollgate.client.Upload;
import dev.tollgate.v1.*;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;

/** A call about sound, images, files or batches. */
final class PlayMedia {
  private final Client client;
  private final JsonObject call;
  private final JsonObject saw;
  private final Options options;
  private final Play play;

  PlayMedia(Client client, JsonObject call, JsonObject saw, Options options, Play play) {
    this.client = client;
    this.call = call;
    this.saw = saw;
    this.options = options;
    this.play = play;
  }

  void call() {
    try {
      made();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    } catch (InterruptedException e) {
      throw new IllegalStateException(e);
    }
  }

  private void made() throws IOException, InterruptedException {
    switch (call.get("do").getAsString()) {
      case "speak" -> speak();
      case "transcribe" -> {
        TranscriptionHead head = play.request(TranscriptionHead.getDefaultInstance());
        Audio.Transcription heard = client.audio().transcribe(head, uploads(false).get(0), options);
        play.answer(heard.transcript());
        play.usage(heard.usage());
        play.receipt(heard.receipt());
      }
      case "edit_image" -> edit();
      case "upload_file" -> {
        FileHeader header = play.request(FileHeader.getDefaultInstance());
        play.answer(client.files().upload(header, uploads(false).get(0), options));
      }
      case "file_content" -> {
        String id = play.request(GetFileContentRequest.getDefaultInstance()).getId();
        written(path -> client.files().save(id, path));
      }
      case "await_batch" -> {
        String id = play.request(GetBatchRequest.getDefaultInstance()).getId();
        Duration every = Duration.ofMillis(call.get("every_ms").getAsLong());
        play.answer(client.batches().await(id, every, options));
      }
      default -> saw.addProperty("unsupported", true);
    }
  }

  private void speak() throws IOException, InterruptedException {
    try (Speech speech =
        client.audio().speak(play.request(CreateSpeechRequest.getDefaultInstance()), options)) {
      if (!call.has("cancel_after_events")) {
        written(speech::save);
        saw.addProperty("content_type", speech.contentType());
        play.usage(speech.usage());
        play.receipt(speech.receipt());
        return;
      }
      for (int i = 0; i < call.get("cancel_after_events").getAsInt(); i++) {
        if (speech.read(new byte[1024]) < 0) {
          return;
        }
      }
      play.cancelled();
    }
    Thread.sleep(call.get("linger_ms").getAsLong());
  }

  private void edit() {
    Images.Edited edited =
        client
            .images()
            .edit(
                play.request(EditImageHead.getDefaultInstance()),
                uploads(false),
                uploads(true).stream().findFirst().orElse(null),
                options);
    JsonArray images = new JsonArray();
    edited.images().forEach(image -> images.add(Play.json(image)));
    JsonObject answer = new JsonObject();
    answer.add("images", images);
    saw.add("answer", answer);
    play.usage(edited.usage());
    play.receipt(edited.receipt());
  }

  /** Those that are masks, or those that are not. */
  private List<Upload> uploads(boolean masks) {
    List<Upload> uploads = new ArrayList<>();
    for (JsonElement each : call.getAsJsonArray("uploads")) {
      JsonObject sent = each.getAsJsonObject();
      if (text(sent, "field").equals("mask") == masks) {
        int times = sent.has("times") ? sent.get("times").getAsInt() : 1;
        byte[] bytes = text(sent, "text").repeat(times).getBytes(StandardCharsets.UTF_8);
        uploads.add(
            Upload.of(text(sent, "filename"), bytes).withMediaType(text(sent, "content_type")));
      }
    }
    return uploads;
  }

  private static String text(JsonObject sent, String member) {
    return sent.has(member) ? sent.get(member).getAsString() : "";
  }

  @FunctionalInterface
  private interface Write {
    long into(Path path) throws IOException;
  }

  /** Tells what a file holds that is written, if it is there. */
  private void written(Write write) throws IOException {
    Path directory = Files.createTempDirectory("conformance");
    Path path = directory.resolve("written");
    try {
      write.into(path);
    } finally {
      if (Files.exists(path)) {
        saw.addProperty("file", Files.readString(path));
      }
      Files.deleteIfExists(path);
      Files.delete(directory);
    }
  }
}
