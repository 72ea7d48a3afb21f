package dev.tollgate.client;

import dev.tollgate.client.errors.TollgateException;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.Iterator;
import java.util.List;
import java.util.NoSuchElementException;
import java.util.function.Function;
import java.util.stream.Stream;

/**
 * A list that comes in pages, as one: the next page is asked for when the last one was taken. Each
 * iteration asks anew.
 *
 * @param <T> what it lists
 */
public final class Paged<T> implements Iterable<T> {
  record Page<T>(List<T> items, String next) {}

  private final Function<String, Page<T>> fetch;

  Paged(Function<String, Page<T>> fetch) {
    this.fetch = fetch;
  }

  /**
   * All items, page after page.
   *
   * @return an iterator whose methods throw a {@link TollgateException} where a page cannot be had
   */
  @Override
  public Iterator<T> iterator() {
    return new Iterator<>() {
      private final Deque<T> page = new ArrayDeque<>();
      private String token = "";
      private boolean last;

      @Override
      public boolean hasNext() {
        // A page may be empty, and not be the last.
        while (page.isEmpty() && !last) {
          Page<T> more = fetch.apply(token);
          page.addAll(more.items());
          last = more.next().isEmpty();
          token = more.next();
        }
        return !page.isEmpty();
      }

      @Override
      public T next() {
        if (!hasNext()) {
          throw new NoSuchElementException("the list has ended");
        }
        return page.remove();
      }
    };
  }

  /**
   * The same as a stream.
   *
   * @return a sequential stream
   */
  public Stream<T> stream() {
    return Events.over(iterator());
  }

  /**
   * All of them at once.
   *
   * @return a list, asked for to its end
   */
  public List<T> all() {
    return stream().toList();
  }
}
