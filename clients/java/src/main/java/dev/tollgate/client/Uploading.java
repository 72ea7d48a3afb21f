package dev.tollgate.client;

import dev.tollgate.client.errors.TollgateException;
import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ClientCall;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;

/** A call that sends many messages: no faster than the gateway takes them, and no longer. */
final class Uploading<Q, A> extends ClientCall.Listener<A> {
  /** Sends the messages of a call. */
  @FunctionalInterface
  interface Messages<Q> {
    void send(Consumer<Q> out) throws IOException;
  }

  /** Ends the sending of a call that the gateway has ended. */
  private static final class Ended extends RuntimeException {
    private static final long serialVersionUID = 1L;

    Ended() {
      super("the gateway has ended the call", null, false, false);
    }
  }

  private final ClientCall<Q, A> call;
  private final List<A> answers = new ArrayList<>();
  private @Nullable Status status;
  private Metadata trailers = new Metadata();

  private Uploading(ClientCall<Q, A> call) {
    this.call = call;
  }

  /** Makes a call and waits for all of its answers. */
  static <Q, A> List<A> send(
      Channel channel, MethodDescriptor<Q, A> method, CallOptions options, Messages<Q> messages) {
    Uploading<Q, A> uploading = new Uploading<>(channel.newCall(method, options));
    boolean done = false;
    try {
      List<A> answers = uploading.sent(messages);
      done = true;
      return answers;
    } catch (IOException e) {
      throw new UncheckedIOException("what was to be sent cannot be read", e);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw TollgateException.of(
          Status.CANCELLED.withDescription("interrupted").withCause(e).asRuntimeException());
    } finally {
      if (!done) {
        uploading.call.cancel("not sent to its end", null);
      }
    }
  }

  private List<A> sent(Messages<Q> messages) throws IOException, InterruptedException {
    call.start(this, new Metadata());
    call.request(Integer.MAX_VALUE);
    try {
      messages.send(this::one);
      call.halfClose();
    } catch (Ended e) {
      // Its status tells why.
    }
    Status end = awaitEnd();
    if (!end.isOk()) {
      throw TollgateException.of(new StatusRuntimeException(end, trailers));
    }
    return answers;
  }

  private void one(Q message) {
    synchronized (this) {
      boolean interrupted = false;
      while (status == null && !call.isReady()) {
        try {
          wait();
        } catch (InterruptedException e) {
          interrupted = true;
          break;
        }
      }
      if (interrupted) {
        Thread.currentThread().interrupt();
      }
      if (status != null) {
        throw new Ended();
      }
    }
    call.sendMessage(message);
  }

  private synchronized Status awaitEnd() throws InterruptedException {
    while (status == null) {
      wait();
    }
    return status;
  }

  @Override
  public synchronized void onReady() {
    notifyAll();
  }

  @Override
  public synchronized void onMessage(A message) {
    answers.add(message);
  }

  @Override
  public synchronized void onClose(Status end, Metadata last) {
    trailers = last;
    status = end;
    notifyAll();
  }
}
