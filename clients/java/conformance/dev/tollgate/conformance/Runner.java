package dev.tollgate.conformance;

import com.google.gson.Gson;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import dev.tollgate.client.Client;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;

/**
 * Plays the cases that it is given on standard input, as tests/cases/README.md says: eight at once.
 */
public final class Runner {
  private static final Gson GSON = new Gson();

  private Runner() {}

  /**
   * Reads cases, writes what it saw.
   *
   * @param arguments none
   * @throws IOException when standard input cannot be read
   * @throws InterruptedException when it is told to end
   * @throws ExecutionException when this runner itself is broken
   */
  public static void main(String[] arguments)
      throws IOException, InterruptedException, ExecutionException {
    JsonObject document =
        JsonParser.parseReader(new InputStreamReader(System.in, StandardCharsets.UTF_8))
            .getAsJsonObject();
    String address = document.get("address").getAsString();
    Map<String, Client> clients = new ConcurrentHashMap<>();
    ExecutorService threads = Executors.newFixedThreadPool(8);
    try {
      List<Callable<String>> plays = new ArrayList<>();
      document
          .getAsJsonArray("cases")
          .forEach(each -> plays.add(() -> play(each.getAsJsonObject(), address, clients)));
      for (Future<String> play : threads.invokeAll(plays)) {
        System.out.println(play.get());
      }
    } finally {
      threads.shutdownNow();
      clients.values().forEach(Client::close);
    }
  }

  private static Client client(String address, String key, JsonElement tls) {
    Client.Builder builder = Client.builder().address(address).key(key);
    if (tls != null) {
      JsonObject files = tls.getAsJsonObject();
      builder = builder.trust(Path.of(files.get("ca").getAsString()));
      if (files.has("certificate")) {
        builder =
            builder.identity(
                Path.of(files.get("certificate").getAsString()),
                Path.of(files.get("private_key").getAsString()));
      }
    }
    return builder.build();
  }

  private static String play(JsonObject one, String common, Map<String, Client> clients) {
    String address = one.has("address") ? one.get("address").getAsString() : common;
    String key = one.has("key") ? one.get("key").getAsString() : null;
    Client client =
        clients.computeIfAbsent(
            address + " " + key + " " + one.get("tls"),
            made -> client(address, key, one.get("tls")));
    JsonObject line = new JsonObject();
    line.add("name", one.get("name"));
    line.add("saw", new Play(client, one.getAsJsonObject("call")).saw());
    return GSON.toJson(line);
  }
}
