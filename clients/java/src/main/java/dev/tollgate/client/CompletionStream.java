package dev.tollgate.client;

import dev.tollgate.client.errors.TollgateException;
import dev.tollgate.v1.CompletionEvent;
import dev.tollgate.v1.Delta;
import java.util.Iterator;
import java.util.stream.Stream;

/**
 * An answer as it is made. Use it in {@code try (...)}: closing it before its end cancels the call
 * at the provider, and what was produced until then is paid.
 *
 * <p>Take its events one by one, or only its {@link #texts}; {@link #answer} is the whole at the
 * end of either. One thread reads; any may close.
 */
public final class CompletionStream implements Iterable<CompletionEvent>, AutoCloseable {
  private final Events<CompletionEvent> events;
  private final Collector collector = new Collector();
  private boolean finished;
  private boolean ended;

  CompletionStream(Events<CompletionEvent> events) {
    this.events = events;
  }

  /**
   * Waits for the next event.
   *
   * @return false when the answer has ended, or the stream was closed
   * @throws TollgateException when the call failed
   */
  public boolean hasNext() {
    if (events.hasNext()) {
      return true;
    }
    if (!finished && !ended && !events.cut()) {
      ended = true;
      throw Speech.unfinished();
    }
    return false;
  }

  /**
   * The next event.
   *
   * @return it
   * @throws java.util.NoSuchElementException when there is none
   * @throws TollgateException when the call failed
   */
  public CompletionEvent next() {
    CompletionEvent event = events.next();
    if (event.hasFinished()) {
      finished = true;
    } else if (event.hasRestarted()) {
      finished = false;
    }
    collector.take(event);
    return event;
  }

  /**
   * For a {@code for} loop. It goes on from where this is, and all iterators are one: the call is
   * read once.
   *
   * @return an iterator over what is still to come
   */
  @Override
  public Iterator<CompletionEvent> iterator() {
    return new Iterator<>() {
      @Override
      public boolean hasNext() {
        return CompletionStream.this.hasNext();
      }

      @Override
      public CompletionEvent next() {
        return CompletionStream.this.next();
      }
    };
  }

  /**
   * The text of the first choice, piece by piece, from here on. Where the call allows an answer to
   * start over ({@code on_midstream_failure} RESTART), take events instead: only they tell that
   * what came is void.
   *
   * @return the pieces; closing it closes this
   */
  public Stream<String> texts() {
    return Events.over(iterator())
        .filter(event -> event.hasDelta() && event.getDelta().getChoice() == 0)
        .map(CompletionEvent::getDelta)
        .filter(Delta::hasText)
        .map(Delta::getText)
        .onClose(this::close);
  }

  /**
   * The whole answer: waits for what is still to come.
   *
   * @return the fold of all events, those taken before included
   * @throws TollgateException when the call failed
   * @throws IllegalStateException when the stream was closed before its end
   */
  public Answer answer() {
    while (hasNext()) {
      next();
    }
    if (events.cut()) {
      throw new IllegalStateException("the stream was closed before the answer's end");
    }
    return new Answer(collector.completion());
  }

  /** Cancels the call unless it has ended. May be called twice, and by another thread. */
  @Override
  public void close() {
    events.close();
  }
}
