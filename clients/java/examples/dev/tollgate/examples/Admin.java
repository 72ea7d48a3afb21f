package dev.tollgate.examples;

import dev.tollgate.client.Client;
import dev.tollgate.client.Options;
import dev.tollgate.v1.CreateKeyRequest;
import dev.tollgate.v1.CreateKeyResponse;
import dev.tollgate.v1.Key;
import dev.tollgate.v1.SpendGroup;

/**
 * Mints a key with a budget of five dollars, lists keys and spend, and revokes it. Needs the key of
 * an admin.
 */
public final class Admin {
  private Admin() {}

  /**
   * Does it all once.
   *
   * @param arguments none
   */
  public static void main(String[] arguments) {
    try (Client client = Client.create()) {
      CreateKeyResponse made =
          client
              .keys()
              .create(
                  CreateKeyRequest.newBuilder()
                      .setKey(Key.newBuilder().setDisplayName("example").addModels("*"))
                      .setBudgetNanoUsd(5_000_000_000L)
                      .build(),
                  Options.defaults());
      System.out.printf("%s: %s%n", made.getKey().getId(), made.getSecret());
      for (Key key : client.keys().list()) {
        System.out.printf("%s %s %s%n", key.getId(), key.getState(), key.getDisplayName());
      }
      client
          .spend()
          .get(SpendGroup.SPEND_GROUP_KEY)
          .getRowsList()
          .forEach(row -> System.out.printf("%s %d%n", row.getGroup(), row.getCostNanoUsd()));
      System.out.println(client.keys().revoke(made.getKey().getId()).getState());
    }
  }
}
