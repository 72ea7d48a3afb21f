package dev.tollgate.client;

import dev.tollgate.client.errors.TollgateException;
import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.Context;
import io.grpc.MethodDescriptor;
import io.grpc.stub.ClientCalls;
import java.util.Iterator;
import java.util.NoSuchElementException;
import java.util.Spliterator;
import java.util.Spliterators;
import java.util.function.Function;
import java.util.stream.Stream;
import java.util.stream.StreamSupport;

/**
 * What a call sends, one after the other, as it comes: {@link #hasNext} waits for the next.
 *
 * <p>Close it: that cancels the call where it has not ended, at the gateway and at the provider
 * behind it. The next one is asked for only when the last was taken, so a slow reader slows the
 * sender. One thread reads; any may close.
 *
 * @param <T> what comes
 */
public final class Events<T> implements Iterable<T>, AutoCloseable {
  private final Context.CancellableContext context;
  private final Iterator<T> answers;
  private volatile boolean closed;
  private volatile boolean ended;

  private Events(Context.CancellableContext context, Iterator<T> answers) {
    this.context = context;
    this.answers = answers;
  }

  static <Q, A, T> Events<T> open(
      Channel channel,
      MethodDescriptor<Q, A> method,
      CallOptions options,
      Q request,
      Function<A, T> view) {
    Context.CancellableContext context = Context.current().withCancellation();
    Context before = context.attach();
    try {
      Iterator<A> answers =
          ClientCalls.blockingServerStreamingCall(channel, method, options, request);
      return new Events<>(
          context,
          new Iterator<T>() {
            @Override
            public boolean hasNext() {
              return answers.hasNext();
            }

            @Override
            public T next() {
              return view.apply(answers.next());
            }
          });
    } catch (RuntimeException e) {
      context.cancel(null);
      throw TollgateException.of(e);
    } finally {
      context.detach(before);
    }
  }

  /**
   * Waits for the next.
   *
   * @return false when the call has ended well, or was closed here
   * @throws TollgateException when the call failed
   */
  public boolean hasNext() {
    if (closed || ended) {
      return false;
    }
    try {
      boolean more = answers.hasNext();
      if (!more) {
        ended = true;
        context.cancel(null);
      }
      return more;
    } catch (RuntimeException e) {
      if (closed) {
        return false;
      }
      ended = true;
      context.cancel(null);
      throw TollgateException.of(e);
    }
  }

  /**
   * The next.
   *
   * @return it
   * @throws NoSuchElementException when there is none
   * @throws TollgateException when the call failed
   */
  public T next() {
    if (!hasNext()) {
      throw new NoSuchElementException(closed ? "closed" : "the call has ended");
    }
    return answers.next();
  }

  /**
   * For a {@code for} loop. It goes on from where this is, and all iterators are one: the call is
   * read once.
   *
   * @return an iterator over what is still to come
   */
  @Override
  public Iterator<T> iterator() {
    return new Iterator<>() {
      @Override
      public boolean hasNext() {
        return Events.this.hasNext();
      }

      @Override
      public T next() {
        return Events.this.next();
      }
    };
  }

  /**
   * The rest as a stream; closing the stream closes this.
   *
   * @return a sequential stream
   */
  public Stream<T> stream() {
    return over(iterator()).onClose(this::close);
  }

  static <T> Stream<T> over(Iterator<T> iterator) {
    int traits = Spliterator.ORDERED | Spliterator.NONNULL;
    return StreamSupport.stream(Spliterators.spliteratorUnknownSize(iterator, traits), false);
  }

  /** Whether it was closed before its end: what came is not the whole. */
  boolean cut() {
    return closed && !ended;
  }

  /** Cancels the call unless it has ended. May be called twice, and by another thread. */
  @Override
  public void close() {
    closed = true;
    context.cancel(null);
  }
}
