package dev.tollgate.client.errors;

import org.jspecify.annotations.Nullable;

/** The same request was completed and billed, but its answer is no longer kept. */
public final class IdempotencyReplayUnavailableException extends TollgateException {
  private static final long serialVersionUID = 1L;

  /**
   * Makes the error of a status.
   *
   * @param details what the status told
   */
  public IdempotencyReplayUnavailableException(ErrorDetails details) {
    super(details);
  }

  /**
   * The call that was billed.
   *
   * @return it, or null where the gateway did not tell
   */
  public @Nullable String callId() {
    return details().metadata("callId");
  }
}
