package dev.tollgate.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import dev.tollgate.client.errors.BudgetExceededException;
import dev.tollgate.client.errors.ModelNotFoundException;
import dev.tollgate.client.errors.UnauthenticatedException;
import dev.tollgate.v1.AuditRecord;
import dev.tollgate.v1.CreateKeyRequest;
import dev.tollgate.v1.CreateKeyResponse;
import dev.tollgate.v1.Key;
import dev.tollgate.v1.KeyState;
import dev.tollgate.v1.ListLedgerEntriesRequest;
import dev.tollgate.v1.TailRecordsRequest;
import dev.tollgate.v1.Usage;
import java.io.BufferedReader;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/**
 * Against the built gateway with its simulated provider: {@code TOLLGATE_BIN}, else the debug build
 * of this repository; left out where there is neither.
 */
class GatewayTest {
  private static final Pattern LISTENS = Pattern.compile("listens on (http://\\S+)");

  @SuppressWarnings("NullAway.Init") // JUnit sets it.
  @TempDir
  static Path directory;

  private static @Nullable Process process;
  private static String address = "";

  @BeforeAll
  static void start() throws IOException {
    String named = System.getenv("TOLLGATE_BIN");
    Path binary = Path.of(named == null ? "../../target/debug/tollgate" : named).toAbsolutePath();
    assumeTrue(named != null || Files.isExecutable(binary), "no gateway was built");
    Process started =
        new ProcessBuilder(binary.toString(), "serve", "--listen", "127.0.0.1:0")
            .directory(directory.toFile())
            .redirectErrorStream(true)
            .start();
    process = started;
    BufferedReader output = started.inputReader();
    for (String line = output.readLine(); line != null; line = output.readLine()) {
      Matcher listens = LISTENS.matcher(line);
      if (listens.find()) {
        address = listens.group(1);
        Thread drain = new Thread(() -> output.lines().forEach(unused -> {}));
        drain.setDaemon(true);
        drain.start();
        return;
      }
    }
    throw new AssertionError("the gateway ended before it listened");
  }

  @AfterAll
  static void end() throws InterruptedException {
    if (process != null) {
      process.destroyForcibly().waitFor();
    }
  }

  private static Client as(String key) throws IOException {
    String secret = Files.readString(directory.resolve("tollgate-data/" + key + ".key")).strip();
    return Client.builder().address(address).key(secret).build();
  }

  @Test
  void aStreamIsTheAnswerInPieces() throws IOException {
    try (Client client = as("demo");
        CompletionStream stream = client.stream("demo", "Say hello")) {
      String text = String.join("", stream.texts().toList());

      assertFalse(text.isEmpty());
      assertEquals(text, stream.answer().text());
    }
  }

  @Test
  void whatACallCostIsInTheLedger() throws IOException {
    try (Client client = as("demo")) {
      Answer answer = client.complete("demo", "Say hello");
      Usage usage = answer.usage();
      var entries =
          client
              .spend()
              .ledger(
                  ListLedgerEntriesRequest.newBuilder().setCallId(answer.callId()).build(),
                  Options.defaults())
              .all();

      assertEquals(1, entries.size());
      assertEquals(usage.getCostNanoUsd(), entries.get(0).getCostNanoUsd());
    }
  }

  @Test
  void aKeyOfABudgetIsRefusedWhenItIsSpent() throws IOException {
    try (Client admin = as("admin")) {
      CreateKeyResponse made =
          admin
              .keys()
              .create(
                  CreateKeyRequest.newBuilder()
                      .setKey(Key.newBuilder().setDisplayName("poor").addModels("*"))
                      .setBudgetNanoUsd(1)
                      .build(),
                  Options.defaults());
      try (Client poor = Client.builder().address(address).key(made.getSecret()).build()) {
        BudgetExceededException spent =
            assertThrows(BudgetExceededException.class, () -> poor.complete("demo", "x"));

        assertEquals(made.getBudgetId(), spent.budgetId());
        assertEquals(1L, spent.limitNanoUsd());
        assertFalse(spent.requestId().isEmpty());
      }
      Key renamed = made.getKey().toBuilder().setDisplayName("still poor").build();
      assertEquals("still poor", admin.keys().update(renamed, "display_name").getDisplayName());
      assertEquals(
          KeyState.KEY_STATE_REVOKED, admin.keys().revoke(made.getKey().getId()).getState());
      assertTrue(
          admin.keys().list().stream().anyMatch(key -> key.getId().equals(made.getKey().getId())));
    }
  }

  @Test
  void theAuditLogIsFollowed() throws IOException {
    try (Client admin = as("admin");
        Client client = as("demo");
        Events<AuditRecord> tail =
            admin
                .audit()
                .tail(
                    TailRecordsRequest.newBuilder().setAfterSequence(0).build(),
                    Options.defaults())) {
      String call = client.complete("demo", "Say hello").callId();

      assertTrue(tail.stream().anyMatch(record -> record.getCallId().equals(call)));
    }
  }

  @Test
  void aModelThatIsNotThereIsToldByType() throws IOException {
    try (Client client = as("demo")) {
      assertThrows(
          ModelNotFoundException.class,
          () -> client.embeddings().create("no such model", List.of("a", "b")));
    }
  }

  @Test
  void aWrongKeyIsToldByType() {
    try (Client nobody = Client.builder().address(address).key("tg-nobody").build()) {
      assertThrows(UnauthenticatedException.class, () -> nobody.models().list().all());
    }
  }
}
