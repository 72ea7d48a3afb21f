package dev.tollgate.client;

import dev.tollgate.v1.AudioServiceGrpc;
import dev.tollgate.v1.CreateSpeechRequest;
import dev.tollgate.v1.CreateTranscriptionRequest;
import dev.tollgate.v1.CreateTranscriptionResponse;
import dev.tollgate.v1.Receipt;
import dev.tollgate.v1.Transcript;
import dev.tollgate.v1.TranscriptionHead;
import dev.tollgate.v1.Usage;
import java.io.UncheckedIOException;
import java.util.List;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;

/** Speaks texts, and writes down what is said. */
public final class Audio {
  private final Calls calls;

  Audio(Calls calls) {
    this.calls = calls;
  }

  /**
   * A transcript and what it cost.
   *
   * @param transcript what was said, with its pieces and words where they were asked for
   * @param usage what the call consumed
   * @param receipt the audit log's promise, or null where it was not asked for
   */
  public record Transcription(Transcript transcript, Usage usage, @Nullable Receipt receipt) {
    /**
     * All of it, or a file of subtitles, as it was asked for.
     *
     * @return the text
     */
    public String text() {
      return transcript.getText();
    }
  }

  /**
   * Speaks a text. The sound comes while it is made; close it.
   *
   * @param request model, text and voice
   * @return the sound
   */
  public Speech speak(CreateSpeechRequest request) {
    return speak(request, Options.defaults());
  }

  /**
   * Speaks a text. The sound comes while it is made; close it.
   *
   * @param request model, text and voice
   * @param options where it differs from the client's defaults
   * @return the sound
   */
  public Speech speak(CreateSpeechRequest request, Options options) {
    return new Speech(
        calls.stream(
            AudioServiceGrpc.getCreateSpeechMethod(), request, options, Function.identity()));
  }

  /**
   * Writes down what a recording says.
   *
   * @param model alias of the model
   * @param recording the sound
   * @return the transcript
   * @throws UncheckedIOException when the recording cannot be read
   */
  public Transcription transcribe(String model, Upload recording) {
    return transcribe(
        TranscriptionHead.newBuilder().setModel(model).build(), recording, Options.defaults());
  }

  /**
   * Writes down in English what a recording says in another language.
   *
   * @param model alias of the model
   * @param recording the sound
   * @return the transcript
   * @throws UncheckedIOException when the recording cannot be read
   */
  public Transcription translate(String model, Upload recording) {
    return transcribe(
        TranscriptionHead.newBuilder().setModel(model).setToEnglish(true).build(),
        recording,
        Options.defaults());
  }

  /**
   * Writes down what a recording says, or its translation into English.
   *
   * @param head model, language and form
   * @param recording the sound
   * @param options where it differs from the client's defaults
   * @return the transcript
   * @throws UncheckedIOException when the recording cannot be read
   */
  public Transcription transcribe(TranscriptionHead head, Upload recording, Options options) {
    List<CreateTranscriptionResponse> told =
        calls.upload(
            AudioServiceGrpc.getCreateTranscriptionMethod(),
            options,
            out -> {
              out.accept(CreateTranscriptionRequest.newBuilder().setHead(head).build());
              out.accept(
                  CreateTranscriptionRequest.newBuilder().setFile(recording.begun("file")).build());
              recording.chunks(
                  data ->
                      out.accept(CreateTranscriptionRequest.newBuilder().setData(data).build()));
            });
    Transcript transcript =
        told.stream()
            .filter(CreateTranscriptionResponse::hasTranscript)
            .map(CreateTranscriptionResponse::getTranscript)
            .findFirst()
            .orElseThrow(Speech::unfinished);
    Usage usage =
        told.stream()
            .filter(CreateTranscriptionResponse::hasUsage)
            .map(CreateTranscriptionResponse::getUsage)
            .findFirst()
            .orElse(Usage.getDefaultInstance());
    Receipt receipt =
        told.stream()
            .filter(CreateTranscriptionResponse::hasReceipt)
            .map(CreateTranscriptionResponse::getReceipt)
            .findFirst()
            .orElse(null);
    return new Transcription(transcript, usage, receipt);
  }
}
