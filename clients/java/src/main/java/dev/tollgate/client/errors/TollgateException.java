package dev.tollgate.client.errors;

import dev.tollgate.v1.PartialUsage;
import dev.tollgate.v1.Receipt;
import io.grpc.Status;
import java.time.Duration;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * A call failed. Which class it is tells why; a reason that this version does not know is this
 * class itself.
 *
 * <p>It is unchecked: most programs let it pass where a gateway cannot be reached, and catch the
 * few kinds that they can act on.
 */
public class TollgateException extends RuntimeException {
  private static final long serialVersionUID = 1L;

  // gRPC's statuses are not serializable, so nothing that holds one is.
  private final transient ErrorDetails details;

  /**
   * Makes the error of a status.
   *
   * @param details what the status told
   */
  public TollgateException(ErrorDetails details) {
    super(text(details));
    this.details = details;
  }

  /**
   * The error behind any failure of a call: of a generated stub, too, or of a {@code
   * CompletableFuture}.
   *
   * @param failure what was thrown
   * @return itself or its cause where that is such an error already, else one made of its gRPC
   *     status
   */
  public static TollgateException of(Throwable failure) {
    return Statuses.exception(failure);
  }

  private static String text(ErrorDetails details) {
    String head = details.reason().isEmpty() ? details.code().name() : details.reason();
    return details.message().isEmpty() ? head : head + ": " + details.message();
  }

  /**
   * All that the status told.
   *
   * @return the details
   */
  public ErrorDetails details() {
    return details;
  }

  /**
   * The gRPC code.
   *
   * @return never {@code OK}
   */
  public Status.Code code() {
    return details.code();
  }

  /**
   * The gateway's reason, {@code BUDGET_EXHAUSTED}: what programs can match on beside the class.
   *
   * @return it, or an empty text when gRPC itself made the status
   */
  public String reason() {
    return details.reason();
  }

  /**
   * Facts of the reason by name, as {@code proto/tollgate/v1/error.proto} lists them.
   *
   * @return the facts
   */
  public Map<String, String> metadata() {
    return details.metadata();
  }

  /**
   * Id of the call in ledger and audit log.
   *
   * @return it, or an empty text where the call never had one
   */
  public String requestId() {
    return details.requestId();
  }

  /**
   * How long to wait before another try.
   *
   * @return it, or null where waiting does not help, or the gateway cannot tell
   */
  public @Nullable Duration retryAfter() {
    return details.retryAfter();
  }

  /**
   * What the broken call cost.
   *
   * @return it, or null where no provider had begun to bill it
   */
  public @Nullable PartialUsage partialUsage() {
    return details.partialUsage();
  }

  /**
   * The promise that the audit log holds the failure.
   *
   * @return it, or null where it was not asked for
   */
  public @Nullable Receipt receipt() {
    return details.receipt();
  }
}
