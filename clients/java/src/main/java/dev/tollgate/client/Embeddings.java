package dev.tollgate.client;

import dev.tollgate.v1.CreateEmbeddingRequest;
import dev.tollgate.v1.CreateEmbeddingResponse;
import dev.tollgate.v1.Embedding;
import dev.tollgate.v1.EmbeddingInput;
import dev.tollgate.v1.EmbeddingServiceGrpc;
import java.util.Comparator;
import java.util.List;

/** Texts to vectors. */
public final class Embeddings {
  private final Calls calls;

  Embeddings(Calls calls) {
    this.calls = calls;
  }

  /**
   * Makes a vector of each text.
   *
   * @param model alias of the model
   * @param texts 1 to 2,048 of them
   * @return the vectors, in the order of the texts
   */
  public List<float[]> create(String model, List<String> texts) {
    CreateEmbeddingRequest.Builder request = CreateEmbeddingRequest.newBuilder().setModel(model);
    texts.forEach(text -> request.addInputs(EmbeddingInput.newBuilder().setText(text)));
    return vectors(create(request.build(), Options.defaults()));
  }

  /**
   * Makes a vector of each input.
   *
   * @param request the request
   * @param options where it differs from the client's defaults
   * @return the vectors, and what they cost
   */
  public CreateEmbeddingResponse create(CreateEmbeddingRequest request, Options options) {
    return calls.ask(EmbeddingServiceGrpc.getCreateEmbeddingMethod(), request, options);
  }

  /**
   * The vectors of an answer.
   *
   * @param answer of {@link #create}
   * @return them, in the order of the inputs
   */
  public static List<float[]> vectors(CreateEmbeddingResponse answer) {
    return answer.getEmbeddingsList().stream()
        .sorted(Comparator.comparingInt(Embedding::getIndex))
        .map(Embeddings::values)
        .toList();
  }

  private static float[] values(Embedding embedding) {
    float[] values = new float[embedding.getValuesCount()];
    for (int i = 0; i < values.length; i++) {
      values[i] = embedding.getValues(i);
    }
    return values;
  }
}
