package dev.tollgate.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.nio.file.Path;
import java.time.Duration;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class BuilderTest {
  @Test
  void portsMayBeLeftOut() {
    assertEquals(
        new Address(true, "gateway.example", 443), Address.parse("https://gateway.example"));
    assertEquals(
        new Address(false, "::1", 4000).port(), Address.parse("http://[::1]:4000/").port());
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "",
        "127.0.0.1:4000",
        "ftp://a:1",
        "http://a:1/v1",
        "http://u:p@a",
        "http://a?b",
        "http:// a"
      })
  void whatIsNoAddressIsRefusedWithoutShowingIt(String address) {
    Client.Builder builder = Client.builder(Map.of()).address(address);

    String message = assertThrows(IllegalArgumentException.class, builder::build).getMessage();
    assertEquals(
        "address: give http://host:port, or https://host:port for TLS, and nothing behind it",
        message);
  }

  @Test
  void theEnvironmentIsHeeded() {
    Client.Builder builder = Client.builder(Map.of("TOLLGATE_ADDRESS", "nonsense"));

    assertThrows(IllegalArgumentException.class, builder::build);
    builder.address("http://127.0.0.1:1").build().close();
  }

  @ParameterizedTest
  @ValueSource(strings = {"", "tg-a\nb", "tg-é"})
  void aKeyThatNoHeaderTakesIsRefusedWithoutShowingIt(String key) {
    Client.Builder builder = Client.builder(Map.of()).key(key);

    String message = assertThrows(IllegalArgumentException.class, builder::build).getMessage();
    assertEquals("key: it is empty, or has what no header takes", message);
  }

  @Test
  void tlsNeedsHttps() {
    Client.Builder builder =
        Client.builder(Map.of()).address("http://127.0.0.1:1").trust(Path.of("ca.pem"));

    assertThrows(IllegalArgumentException.class, builder::build);
  }

  @Test
  void whatIsNoTimeoutOrTraceIsRefused() {
    Duration past = Duration.ofSeconds(-1);

    assertThrows(IllegalArgumentException.class, () -> Client.builder().timeout(past));
    assertThrows(IllegalArgumentException.class, () -> Options.defaults().withTimeout(past));
    assertThrows(IllegalArgumentException.class, () -> Options.defaults().withTraceparent("x"));
  }
}
