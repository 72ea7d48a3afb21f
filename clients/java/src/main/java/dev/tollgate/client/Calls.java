package dev.tollgate.client;

import dev.tollgate.client.errors.TollgateException;
import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ClientCall;
import io.grpc.MethodDescriptor;
import io.grpc.stub.ClientCalls;
import io.grpc.stub.StreamObserver;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Flow;
import java.util.concurrent.TimeUnit;
import java.util.function.BooleanSupplier;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;

/** Makes calls over a channel that adds the key: with deadlines, and errors of their own types. */
final class Calls {
  private final Channel channel;
  private final Duration timeout;

  Calls(Channel channel, Duration timeout) {
    this.channel = channel;
    this.timeout = timeout;
  }

  /** A call with one answer. */
  <Q, A> A ask(MethodDescriptor<Q, A> method, Q request, Options options) {
    try {
      return ClientCalls.blockingUnaryCall(channel, method, callOptions(options, timeout), request);
    } catch (RuntimeException e) {
      throw TollgateException.of(e);
    }
  }

  /**
   * A call with one answer, later. Completing the future otherwise (cancel, timeout) cancels the
   * call.
   */
  <Q, A, T> CompletableFuture<T> askLater(
      MethodDescriptor<Q, A> method, Q request, Options options, Function<A, T> view) {
    CompletableFuture<T> future = new CompletableFuture<>();
    ClientCall<Q, A> call = channel.newCall(method, callOptions(options, timeout));
    ClientCalls.asyncUnaryCall(
        call,
        request,
        new StreamObserver<A>() {
          private @Nullable A answer;

          @Override
          public void onNext(A value) {
            answer = value;
          }

          @Override
          public void onError(Throwable failure) {
            future.completeExceptionally(TollgateException.of(failure));
          }

          @Override
          public void onCompleted() {
            if (answer != null) {
              future.complete(view.apply(answer));
            }
          }
        });
    var unused =
        future.whenComplete(
            (answer, failure) -> {
              if (failure != null) {
                call.cancel("the future was completed by the program", null);
              }
            });
    return future;
  }

  /** A call with many answers that ends by itself. */
  <Q, A, T> Events<T> stream(
      MethodDescriptor<Q, A> method, Q request, Options options, Function<A, T> view) {
    return Events.open(channel, method, callOptions(options, timeout), request, view);
  }

  /**
   * A call with many answers that ends when the caller goes: without deadline unless the options
   * name one.
   */
  <Q, A, T> Events<T> watch(
      MethodDescriptor<Q, A> method, Q request, Options options, Function<A, T> view) {
    return Events.open(channel, method, callOptions(options, Duration.ZERO), request, view);
  }

  /** A call that sends many messages, and waits for all answers. */
  <Q, A> List<A> upload(
      MethodDescriptor<Q, A> method, Options options, Uploading.Messages<Q> messages) {
    return Uploading.send(channel, method, callOptions(options, timeout), messages);
  }

  /**
   * A call with many answers, made when somebody subscribes. One that ends well where it is not
   * whole has failed all the same.
   */
  <Q, A, T> Flow.Publisher<T> publish(
      MethodDescriptor<Q, A> method,
      Q request,
      Options options,
      Function<A, T> view,
      BooleanSupplier whole) {
    return new CallPublisher<>(
        () -> channel.newCall(method, callOptions(options, timeout)), request, view, whole);
  }

  private static CallOptions callOptions(Options options, Duration timeout) {
    CallOptions call = CallOptions.DEFAULT;
    Duration wanted = options.timeout() == null ? timeout : options.timeout();
    if (!wanted.isZero()) {
      call = call.withDeadlineAfter(nanos(wanted), TimeUnit.NANOSECONDS);
    }
    if (options.traceparent() != null) {
      call = call.withOption(Headers.TRACEPARENT, options.traceparent());
    }
    return call;
  }

  /** A duration of centuries is as good as none. */
  private static long nanos(Duration duration) {
    try {
      return duration.toNanos();
    } catch (ArithmeticException tooLong) {
      return Long.MAX_VALUE;
    }
  }
}
