package dev.tollgate.client.errors;

import org.jspecify.annotations.Nullable;

/** The idempotency key was used before with another request. */
public final class IdempotencyMismatchException extends TollgateException {
  private static final long serialVersionUID = 1L;

  /**
   * Makes the error of a status.
   *
   * @param details what the status told
   */
  public IdempotencyMismatchException(ErrorDetails details) {
    super(details);
  }

  /**
   * The call that used it.
   *
   * @return it, or null where the gateway did not tell
   */
  public @Nullable String callId() {
    return details().metadata("callId");
  }
}
