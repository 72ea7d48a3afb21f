package dev.tollgate.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.tollgate.client.errors.DeadlineExceededException;
import dev.tollgate.client.errors.InternalException;
import dev.tollgate.client.errors.ModelNotFoundException;
import dev.tollgate.client.errors.StreamTruncatedException;
import dev.tollgate.client.errors.TollgateException;
import dev.tollgate.client.errors.UnavailableException;
import dev.tollgate.v1.CompletionEvent;
import dev.tollgate.v1.Key;
import dev.tollgate.v1.ListKeysRequest;
import io.grpc.Metadata;
import io.opentelemetry.api.trace.Span;
import io.opentelemetry.api.trace.SpanContext;
import io.opentelemetry.api.trace.TraceFlags;
import io.opentelemetry.api.trace.TraceState;
import io.opentelemetry.context.Scope;
import java.io.IOException;
import java.time.Duration;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.NoSuchElementException;
import java.util.concurrent.CompletableFuture;
import java.util.stream.Collectors;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.parallel.Execution;
import org.junit.jupiter.api.parallel.ExecutionMode;

@Execution(ExecutionMode.SAME_THREAD)
class ClientTest {
  private static final String TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

  private FakeGateway gateway;
  private Client client;

  @BeforeEach
  void start() throws IOException {
    gateway = new FakeGateway();
    client = gateway.client();
  }

  @AfterEach
  void end() {
    gateway.close();
  }

  private String header(String name) {
    return gateway.headers.remove().get(Metadata.Key.of(name, Metadata.ASCII_STRING_MARSHALLER));
  }

  @Test
  void everyCallCarriesTheKey() {
    client.complete("demo", "Say hello");

    assertEquals("Bearer tg-test", header("authorization"));
  }

  @Test
  void aClientWithoutKeySendsNone() {
    Client.builder(Map.of()).over(gateway.channel).complete("demo", "Say hello");

    assertNull(header("authorization"));
  }

  @Test
  void aTraceThatTheCallNamesIsPassedOn() {
    client.complete(Client.ask("demo", "x"), Options.defaults().withTraceparent(TRACE));

    assertEquals(TRACE, header("traceparent"));
  }

  @Test
  @SuppressWarnings("try") // The scope is for its duration alone.
  void theCurrentSpanIsPassedOn() {
    SpanContext context =
        SpanContext.create(
            "0af7651916cd43dd8448eb211c80319c",
            "b7ad6b7169203331",
            TraceFlags.getSampled(),
            TraceState.getDefault());
    try (Scope scope = Span.wrap(context).makeCurrent()) {
      client.complete("demo", "x");
    }

    assertEquals(TRACE, header("traceparent"));
  }

  @Test
  void aStreamGivesEventsAndTheWholeAnswer() {
    try (CompletionStream stream = client.stream("demo", "Say hello")) {
      assertTrue(stream.next().hasStarted());
      assertEquals(List.of("Hel", "lo"), stream.texts().toList());
      assertEquals("Hello", stream.answer().text());
      assertEquals(7, stream.answer().usage().getCostNanoUsd());
      assertFalse(stream.hasNext());
      assertThrows(NoSuchElementException.class, stream::next);
    }
  }

  @Test
  void aStreamAndTheWholeAreTheSame() {
    try (CompletionStream stream = client.stream("demo", "Say hello")) {
      assertEquals(client.complete("demo", "Say hello"), stream.answer());
    }
  }

  @Test
  void closingAStreamCancelsTheCall() throws InterruptedException {
    CompletionStream stream = client.stream("endless", "x");
    stream.next();
    stream.close();

    assertTrue(gateway.sawCancel());
    assertFalse(stream.hasNext());
    assertThrows(IllegalStateException.class, stream::answer, "a part is not the whole");
  }

  @Test
  void aSlowReaderSlowsTheSender() {
    try (CompletionStream stream = client.stream("endless", "x")) {
      for (int i = 0; i < 5; i++) {
        stream.next();
      }
      assertTrue(gateway.sent.get() < 100, () -> gateway.sent + " events for a reader of five");
    }
  }

  @Test
  void aBrokenStreamThrowsAfterWhatCame() {
    try (CompletionStream stream = client.stream("breaks", "x")) {
      StringBuilder text = new StringBuilder();
      StreamTruncatedException error =
          assertThrows(StreamTruncatedException.class, () -> stream.texts().forEach(text::append));
      assertEquals("Hello", text.toString());
      assertEquals("p", error.provider());
    }
  }

  @Test
  void aDeadlineEndsACall() throws InterruptedException {
    Options soon = Options.defaults().withTimeout(Duration.ofMillis(50));

    assertThrows(
        DeadlineExceededException.class, () -> client.complete(Client.ask("endless", "x"), soon));
    assertTrue(gateway.sawCancel());
  }

  @Test
  void theClientsTimeoutIsTheDefault() {
    Client impatient =
        Client.builder(Map.of()).timeout(Duration.ofMillis(50)).over(gateway.channel);

    assertThrows(DeadlineExceededException.class, () -> impatient.complete("endless", "x"));
  }

  @Test
  void aCreateIsTriedAgainUnderOneId() {
    gateway.refusals.set(2);

    assertEquals("tg-secret", client.keys().create(Key.getDefaultInstance()).getSecret());
    assertEquals(3, gateway.created.size());
    List<String> ids = gateway.created.stream().map(r -> r.getRequestId()).distinct().toList();
    assertEquals(1, ids.size());
    assertFalse(ids.get(0).isEmpty());
  }

  @Test
  void twoCreatesHaveTwoIds() {
    client.keys().create(Key.getDefaultInstance());
    client.keys().create(Key.getDefaultInstance());

    assertNotEquals(
        gateway.created.remove().getRequestId(), gateway.created.remove().getRequestId());
  }

  @Test
  void completionsAndUpdatesAreTriedOnce() {
    assertThrows(UnavailableException.class, () -> client.complete("down", "x"));
    assertThrows(UnavailableException.class, () -> client.keys().update(Key.getDefaultInstance()));
    assertEquals(2, gateway.calls.get());
  }

  @Test
  void aListAsksForPagesWhenItNeedsThem() {
    Iterator<Key> keys =
        client
            .keys()
            .list(ListKeysRequest.newBuilder().setTeamId("t").build(), Options.defaults())
            .iterator();

    assertEquals("a", keys.next().getId());
    assertEquals(1, gateway.listed.size());
    assertEquals("b", keys.next().getId());
    assertFalse(keys.hasNext());
    assertEquals(
        List.of(" t", "2 t", "3 t"),
        gateway.listed.stream()
            .map(r -> r.getPageToken() + " " + r.getTeamId())
            .collect(Collectors.toList()));
  }

  @Test
  void aFutureAnswersLater() {
    assertEquals("Hello", client.async().complete(Client.ask("demo", "x")).join().text());
  }

  @Test
  void aFutureFailsWithTheTypedError() {
    CompletableFuture<Answer> answer = client.async().complete(Client.ask("missing", "x"));

    TollgateException error = answer.handle((a, failure) -> TollgateException.of(failure)).join();
    assertTrue(error instanceof ModelNotFoundException e && "missing".equals(e.model()));
  }

  @Test
  void cancellingAFutureCancelsTheCall() throws InterruptedException {
    CompletableFuture<Answer> answer = client.async().complete(Client.ask("endless", "x"));
    gateway.awaitCall();
    answer.cancel(true);

    assertTrue(gateway.sawCancel());
  }

  @Test
  void aPublisherGivesWhatIsAskedFor() throws InterruptedException {
    Listener<CompletionEvent> listener = new Listener<>();
    client.async().stream(Client.ask("endless", "x")).subscribe(listener);
    listener.subscription().request(3);
    listener.awaitItems(3);
    listener.subscription().cancel();

    assertTrue(gateway.sawCancel());
    assertEquals(3, listener.items());
    assertFalse(listener.ended());
  }

  @Test
  void aPublisherEnds() throws InterruptedException {
    Listener<CompletionEvent> listener = new Listener<>();
    client.async().stream(Client.ask("demo", "x")).subscribe(listener);
    listener.subscription().request(Long.MAX_VALUE);

    assertNull(listener.awaitEnd());
    assertEquals(FakeGateway.hello().size(), listener.items());
  }

  @Test
  void aPublisherFailsWithTheTypedError() throws InterruptedException {
    Listener<CompletionEvent> listener = new Listener<>();
    client.async().stream(Client.ask("breaks", "x")).subscribe(listener);
    listener.subscription().request(Long.MAX_VALUE);

    assertTrue(listener.awaitEnd() instanceof StreamTruncatedException);
  }

  @Test
  void aPublisherThatEndsBeforeTheAnswerIsFinishedFails() throws InterruptedException {
    Listener<CompletionEvent> listener = new Listener<>();
    client.async().stream(Client.ask("unfinished", "x")).subscribe(listener);
    listener.subscription().request(Long.MAX_VALUE);

    assertTrue(listener.awaitEnd() instanceof InternalException);
    assertEquals(3, listener.items());
  }

  @Test
  void anUploadThatCannotBeReadEndsItsCall() {
    Upload torn =
        new Upload(
            "torn.wav",
            "",
            () -> {
              throw new java.io.IOException("torn");
            });

    assertThrows(
        java.io.UncheckedIOException.class, () -> client.audio().transcribe("whisper", torn));
  }

  @Test
  void aSecondSubscriberPaysNothing() throws InterruptedException {
    var publisher = client.async().stream(Client.ask("demo", "x"));
    Listener<CompletionEvent> first = new Listener<>();
    publisher.subscribe(first);
    first.subscription().request(Long.MAX_VALUE);
    assertNull(first.awaitEnd());
    Listener<CompletionEvent> second = new Listener<>();
    publisher.subscribe(second);

    assertTrue(second.awaitEnd() instanceof IllegalStateException);
    assertEquals(1, gateway.calls.get());
  }

  @Test
  void kotlinProgramsAreUsual() {
    assertEquals("Hello", KotlinProgram.INSTANCE.ask(gateway.channel));
    assertEquals("missing", KotlinProgram.INSTANCE.missing(gateway.channel));
  }
}
