package dev.tollgate.client;

import dev.tollgate.client.errors.TollgateException;
import io.grpc.ClientCall;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import java.util.concurrent.Flow;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.function.BooleanSupplier;
import java.util.function.Function;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;

/** Publishes the answers of one call to one subscriber; its demand is the call's flow control. */
final class CallPublisher<Q, A, T> implements Flow.Publisher<T> {
  private final Supplier<ClientCall<Q, A>> calls;
  private final Q request;
  private final Function<A, T> view;
  private final BooleanSupplier whole;
  private final AtomicBoolean taken = new AtomicBoolean();

  CallPublisher(
      Supplier<ClientCall<Q, A>> calls, Q request, Function<A, T> view, BooleanSupplier whole) {
    this.calls = calls;
    this.request = request;
    this.view = view;
    this.whole = whole;
  }

  @Override
  public void subscribe(Flow.Subscriber<? super T> subscriber) {
    if (!taken.compareAndSet(false, true)) {
      subscriber.onSubscribe(NOTHING);
      subscriber.onError(
          new IllegalStateException(
              "the call was made for its first subscriber: a second would pay it again"));
      return;
    }
    ClientCall<Q, A> call = calls.get();
    Listening<A, T> listening = new Listening<>(call, subscriber, view, whole);
    subscriber.onSubscribe(listening);
    listening.start(
        () -> {
          call.start(listening, new Metadata());
          call.sendMessage(request);
          call.halfClose();
        });
  }

  private static final Flow.Subscription NOTHING =
      new Flow.Subscription() {
        @Override
        public void request(long n) {}

        @Override
        public void cancel() {}
      };

  /** Listens to the call for the subscriber, and to the subscriber for the call. */
  private static final class Listening<A, T> extends ClientCall.Listener<A>
      implements Flow.Subscription {
    private final ClientCall<?, A> call;
    private final Flow.Subscriber<? super T> subscriber;
    private final Function<A, T> view;
    private final BooleanSupplier whole;
    // Guarded by this, until the call has started: it takes no requests before.
    private boolean started;
    private long early;
    private volatile boolean cancelled;
    private volatile @Nullable IllegalArgumentException refused;

    Listening(
        ClientCall<?, A> call,
        Flow.Subscriber<? super T> subscriber,
        Function<A, T> view,
        BooleanSupplier whole) {
      this.call = call;
      this.subscriber = subscriber;
      this.view = view;
      this.whole = whole;
    }

    synchronized void start(Runnable begin) {
      if (cancelled) {
        return;
      }
      begin.run();
      started = true;
      if (refused != null) {
        call.cancel("a request of less than one", refused);
      } else if (early > 0) {
        ask(early);
      }
    }

    @Override
    public synchronized void request(long n) {
      if (n <= 0) {
        refused = new IllegalArgumentException("request: " + n + " is less than one");
        if (started) {
          call.cancel("a request of less than one", refused);
        }
      } else if (started) {
        ask(n);
      } else {
        early = early + n < 0 ? Long.MAX_VALUE : early + n;
      }
    }

    /** The call adds up demands in an int, and treats the largest as no limit. */
    private void ask(long n) {
      call.request((int) Math.min(n, Integer.MAX_VALUE));
    }

    @Override
    public synchronized void cancel() {
      if (!cancelled) {
        cancelled = true;
        if (started) {
          call.cancel("the subscriber cancelled", null);
        }
      }
    }

    @Override
    public void onMessage(A message) {
      if (!cancelled) {
        subscriber.onNext(view.apply(message));
      }
    }

    @Override
    public void onClose(Status status, Metadata trailers) {
      if (cancelled) {
        return;
      }
      cancelled = true;
      IllegalArgumentException refusal = refused;
      if (refusal != null) {
        subscriber.onError(refusal);
      } else if (status.isOk() && whole.getAsBoolean()) {
        subscriber.onComplete();
      } else if (status.isOk()) {
        subscriber.onError(Speech.unfinished());
      } else {
        subscriber.onError(TollgateException.of(new StatusRuntimeException(status, trailers)));
      }
    }
  }
}
