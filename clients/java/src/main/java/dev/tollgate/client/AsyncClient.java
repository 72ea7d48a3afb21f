package dev.tollgate.client;

import dev.tollgate.v1.AuditRecord;
import dev.tollgate.v1.AuditServiceGrpc;
import dev.tollgate.v1.CompletionEvent;
import dev.tollgate.v1.CompletionRequest;
import dev.tollgate.v1.CompletionServiceGrpc;
import dev.tollgate.v1.CreateEmbeddingRequest;
import dev.tollgate.v1.CreateEmbeddingResponse;
import dev.tollgate.v1.EmbeddingServiceGrpc;
import dev.tollgate.v1.TailRecordsRequest;
import dev.tollgate.v1.TailRecordsResponse;
import io.grpc.MethodDescriptor;
import java.time.Duration;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Flow;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.function.Function;

/**
 * Calls that do not wait.
 *
 * <p>A future fails with a {@link dev.tollgate.client.errors.TollgateException}. Cancelling the
 * future that a method gave (not one that was derived from it) cancels the call, and so does {@code
 * orTimeout}.
 */
public final class AsyncClient {
  private final Calls calls;

  AsyncClient(Calls calls) {
    this.calls = calls;
  }

  /**
   * Asks a model.
   *
   * @param request the call
   * @return the whole answer, later
   */
  public CompletableFuture<Answer> complete(CompletionRequest request) {
    return complete(request, Options.defaults());
  }

  /**
   * Asks a model.
   *
   * @param request the call
   * @param options where it differs from the client's defaults
   * @return the whole answer, later
   */
  public CompletableFuture<Answer> complete(CompletionRequest request, Options options) {
    return calls.askLater(
        CompletionServiceGrpc.getCreateCompletionMethod(),
        Client.whole(request),
        options,
        Client::answer);
  }

  /**
   * Asks a model, and gives its answer as it is made.
   *
   * @param request the call
   * @return the answer's events; the call is made for the first subscriber, and there is no second
   */
  public Flow.Publisher<CompletionEvent> stream(CompletionRequest request) {
    return stream(request, Options.defaults());
  }

  /**
   * Asks a model, and gives its answer as it is made.
   *
   * @param request the call
   * @param options where it differs from the client's defaults
   * @return the answer's events; the call is made for the first subscriber, and there is no second
   */
  public Flow.Publisher<CompletionEvent> stream(CompletionRequest request, Options options) {
    AtomicBoolean finished = new AtomicBoolean();
    return calls.publish(
        CompletionServiceGrpc.getStreamCompletionMethod(),
        Client.streamed(request),
        options,
        response -> {
          CompletionEvent event = response.getEvent();
          if (event.hasFinished() || event.hasRestarted()) {
            finished.set(event.hasFinished());
          }
          return event;
        },
        finished::get);
  }

  /**
   * Makes vectors of texts.
   *
   * @param request the call
   * @param options where it differs from the client's defaults
   * @return the vectors, later
   */
  public CompletableFuture<CreateEmbeddingResponse> embed(
      CreateEmbeddingRequest request, Options options) {
    return call(EmbeddingServiceGrpc.getCreateEmbeddingMethod(), request, options);
  }

  /**
   * Audit records as they are made.
   *
   * @param request which
   * @return records, for one subscriber, until it cancels
   */
  public Flow.Publisher<AuditRecord> tailAudit(TailRecordsRequest request) {
    return calls.publish(
        AuditServiceGrpc.getTailRecordsMethod(),
        request,
        Options.defaults().withTimeout(Duration.ZERO),
        TailRecordsResponse::getRecord,
        () -> true);
  }

  /**
   * Any call of the contract with one answer, by its generated descriptor: {@code
   * KeyAdminServiceGrpc.getGetKeyMethod()}.
   *
   * @param method the call
   * @param request its request
   * @param options where it differs from the client's defaults
   * @param <Q> the request's type
   * @param <A> the answer's type
   * @return the answer, later
   */
  public <Q, A> CompletableFuture<A> call(
      MethodDescriptor<Q, A> method, Q request, Options options) {
    return calls.askLater(method, request, options, Function.identity());
  }
}
