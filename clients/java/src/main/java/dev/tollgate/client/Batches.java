package dev.tollgate.client;

import dev.tollgate.client.errors.TollgateException;
import dev.tollgate.v1.Batch;
import dev.tollgate.v1.BatchServiceGrpc;
import dev.tollgate.v1.CancelBatchRequest;
import dev.tollgate.v1.CreateBatchRequest;
import dev.tollgate.v1.GetBatchRequest;
import dev.tollgate.v1.ListBatchesRequest;
import dev.tollgate.v1.ListBatchesResponse;
import io.grpc.Status;
import java.time.Duration;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/** Batches of calls, each on an uploaded file. */
public final class Batches {
  /** Words by which providers say that a batch has ended. */
  private static final Set<String> ENDED = Set.of("completed", "failed", "expired", "cancelled");

  private final Calls calls;

  Batches(Calls calls) {
    this.calls = calls;
  }

  /**
   * Begins a batch on a file of the purpose {@code batch}. It is never tried again unasked: it
   * would be charged twice.
   *
   * @param request its input and what its lines ask for
   * @return the batch
   */
  public Batch create(CreateBatchRequest request) {
    return create(request, Options.defaults());
  }

  /**
   * Begins a batch on a file of the purpose {@code batch}. It is never tried again unasked: it
   * would be charged twice.
   *
   * @param request its input and what its lines ask for
   * @param options where it differs from the client's defaults
   * @return the batch
   */
  public Batch create(CreateBatchRequest request, Options options) {
    return calls.ask(BatchServiceGrpc.getCreateBatchMethod(), request, options).getBatch();
  }

  /**
   * One batch, as its provider tells it now.
   *
   * @param id its id
   * @return the batch
   */
  public Batch get(String id) {
    return get(GetBatchRequest.newBuilder().setId(id).build(), Options.defaults());
  }

  /**
   * One batch, as its provider tells it now.
   *
   * @param request its id
   * @param options where it differs from the client's defaults
   * @return the batch
   */
  public Batch get(GetBatchRequest request, Options options) {
    return calls.ask(BatchServiceGrpc.getGetBatchMethod(), request, options).getBatch();
  }

  /**
   * The key's batches, the newest first.
   *
   * @return them, page after page
   */
  public Paged<Batch> list() {
    return list(ListBatchesRequest.getDefaultInstance(), Options.defaults());
  }

  /**
   * The key's batches, the newest first.
   *
   * @param request how many a page
   * @param options where it differs from the client's defaults
   * @return them, page after page
   */
  public Paged<Batch> list(ListBatchesRequest request, Options options) {
    return new Paged<>(
        token -> {
          ListBatchesRequest asked =
              token.isEmpty() ? request : request.toBuilder().setPageToken(token).build();
          ListBatchesResponse page =
              calls.ask(BatchServiceGrpc.getListBatchesMethod(), asked, options);
          return new Paged.Page<>(page.getBatchesList(), page.getNextPageToken());
        });
  }

  /**
   * Asks the provider to stop a batch. What was answered until then is paid for.
   *
   * @param id its id
   * @return the batch
   */
  public Batch cancel(String id) {
    return cancel(CancelBatchRequest.newBuilder().setId(id).build(), Options.defaults());
  }

  /**
   * Asks the provider to stop a batch. What was answered until then is paid for.
   *
   * @param request its id
   * @param options where it differs from the client's defaults
   * @return the batch
   */
  public Batch cancel(CancelBatchRequest request, Options options) {
    return calls.ask(BatchServiceGrpc.getCancelBatchMethod(), request, options).getBatch();
  }

  /**
   * Waits until a batch has ended, well or not.
   *
   * @param id its id
   * @param every how often to look
   * @return the batch
   * @throws InterruptedException when the thread is told to end
   */
  public Batch await(String id, Duration every) throws InterruptedException {
    return await(id, every, Options.defaults());
  }

  /**
   * Waits until a batch has ended, well or not. Batches take hours: it waits as long, or for the
   * options' timeout, and throws {@code DeadlineExceededException} then. The batch goes on.
   *
   * @param id its id
   * @param every how often to look
   * @param options how long to wait
   * @return the batch
   * @throws InterruptedException when the thread is told to end
   */
  public Batch await(String id, Duration every, Options options) throws InterruptedException {
    Duration timeout = options.timeout();
    long begun = System.nanoTime();
    Options look = new Options(null, options.traceparent());
    while (true) {
      Batch batch = get(GetBatchRequest.newBuilder().setId(id).build(), look);
      if (ENDED.contains(batch.getStatus())) {
        return batch;
      }
      Duration left = left(timeout, begun);
      if (left != null && (left.isNegative() || left.isZero())) {
        throw TollgateException.of(
            Status.DEADLINE_EXCEEDED
                .withDescription("batch " + id + " has not ended within " + timeout)
                .asRuntimeException());
      }
      Thread.sleep((left == null || every.compareTo(left) < 0 ? every : left).toMillis());
    }
  }

  private static @Nullable Duration left(@Nullable Duration timeout, long begun) {
    if (timeout == null || timeout.isZero()) {
      return null;
    }
    return timeout.minusNanos(System.nanoTime() - begun);
  }
}
