package dev.tollgate.client;

import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Flow;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.jspecify.annotations.Nullable;

/** A subscriber that asks for nothing by itself. */
final class Listener<T> implements Flow.Subscriber<T> {
  private final AtomicInteger items = new AtomicInteger();
  private final Semaphore arrived = new Semaphore(0);
  private final CountDownLatch end = new CountDownLatch(1);
  private volatile Flow.@Nullable Subscription subscription;
  private volatile @Nullable Throwable failure;

  Flow.Subscription subscription() {
    Flow.Subscription given = subscription;
    if (given == null) {
      throw new AssertionError("not subscribed");
    }
    return given;
  }

  int items() {
    return items.get();
  }

  boolean ended() {
    return end.getCount() == 0;
  }

  void awaitItems(int count) throws InterruptedException {
    if (!arrived.tryAcquire(count, 10, TimeUnit.SECONDS)) {
      throw new AssertionError(items + " of " + count + " came");
    }
  }

  @Nullable Throwable awaitEnd() throws InterruptedException {
    if (!end.await(10, TimeUnit.SECONDS)) {
      throw new AssertionError("no end");
    }
    return failure;
  }

  @Override
  public void onSubscribe(Flow.Subscription given) {
    subscription = given;
  }

  @Override
  public void onNext(T item) {
    items.incrementAndGet();
    arrived.release();
  }

  @Override
  public void onError(Throwable thrown) {
    failure = thrown;
    end.countDown();
  }

  @Override
  public void onComplete() {
    end.countDown();
  }
}
