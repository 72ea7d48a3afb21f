package dev.tollgate.examples;

import dev.tollgate.client.Client;
import dev.tollgate.client.Events;
import dev.tollgate.client.Options;
import dev.tollgate.v1.AuditRecord;
import dev.tollgate.v1.TailRecordsRequest;

/**
 * Prints audit records as they are made: all from the first on, or as many as the argument says.
 * Needs the key of an admin.
 */
public final class AuditTail {
  private AuditTail() {}

  /**
   * Follows the log.
   *
   * @param arguments how many records; without: until it is ended
   */
  public static void main(String[] arguments) {
    long left = arguments.length > 0 ? Long.parseLong(arguments[0]) : Long.MAX_VALUE;
    TailRecordsRequest all = TailRecordsRequest.newBuilder().setAfterSequence(0).build();
    try (Client client = Client.create();
        Events<AuditRecord> records = client.audit().tail(all, Options.defaults())) {
      for (AuditRecord record : records) {
        System.out.printf(
            "%d %s %s%n", record.getSequence(), record.getAction(), record.getKeyId());
        if (--left <= 0) {
          return;
        }
      }
    }
  }
}
