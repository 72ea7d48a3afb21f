package dev.tollgate.client.errors;

import dev.tollgate.v1.PartialUsage;
import dev.tollgate.v1.Receipt;
import io.grpc.Status;
import java.time.DateTimeException;
import java.time.Duration;
import java.time.Instant;
import java.time.OffsetDateTime;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * What the status of a failed call told.
 *
 * @param code the gRPC code
 * @param reason name of an {@code ErrorReason} of the contract without its prefix, as the gateway
 *     sent it; empty when gRPC itself made the status
 * @param message for people; it may change
 * @param metadata facts of the reason, as {@code proto/tollgate/v1/error.proto} lists them
 * @param requestId id of the call in ledger and audit log, or empty
 * @param retryAfter how long to wait before another try, or null where waiting does not help
 * @param violations bad fields of the request
 * @param partialUsage what the broken call cost, or null where no provider had begun to bill it
 * @param receipt the promise that the audit log holds the failure, or null where it was not asked
 *     for
 */
public record ErrorDetails(
    Status.Code code,
    String reason,
    String message,
    Map<String, String> metadata,
    String requestId,
    @Nullable Duration retryAfter,
    List<FieldViolation> violations,
    @Nullable PartialUsage partialUsage,
    @Nullable Receipt receipt) {

  /**
   * Copies what can change.
   *
   * @param code the gRPC code
   * @param reason the gateway's reason, or empty
   * @param message for people
   * @param metadata facts of the reason
   * @param requestId id of the call, or empty
   * @param retryAfter how long to wait, or null
   * @param violations bad fields
   * @param partialUsage what the broken call cost, or null
   * @param receipt the audit log's promise, or null
   */
  public ErrorDetails {
    metadata = Map.copyOf(metadata);
    violations = List.copyOf(violations);
  }

  @Nullable String metadata(String name) {
    return metadata.get(name);
  }

  @Nullable Long amount(String name) {
    String value = metadata.get(name);
    try {
      return value == null ? null : Long.valueOf(value);
    } catch (NumberFormatException notANumber) {
      return null;
    }
  }

  @Nullable Integer count(String name) {
    Long amount = amount(name);
    return amount == null || amount != amount.intValue() ? null : (Integer) amount.intValue();
  }

  @Nullable Instant time(String name) {
    String value = metadata.get(name);
    try {
      return value == null ? null : OffsetDateTime.parse(value).toInstant();
    } catch (DateTimeException notATime) {
      return null;
    }
  }
}
