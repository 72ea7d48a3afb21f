package dev.tollgate.client.errors;

import org.jspecify.annotations.Nullable;

/** A limit of the caller's own is reached; {@link #retryAfter} tells how long. */
public final class RateLimitedException extends TollgateException {
  private static final long serialVersionUID = 1L;

  /**
   * Makes the error of a status.
   *
   * @param details what the status told
   */
  public RateLimitedException(ErrorDetails details) {
    super(details);
  }

  /**
   * What the limit is on.
   *
   * @return it, or null where the gateway did not tell
   */
  public @Nullable String scope() {
    return details().metadata("scope");
  }

  /**
   * The limit.
   *
   * @return it, or null where the gateway did not tell
   */
  public @Nullable Long limit() {
    return details().amount("limit");
  }

  /**
   * What it limits: {@code requests_per_minute}, ...; the name of the limit.
   *
   * @return it, or null where the gateway did not tell
   */
  public @Nullable String dimension() {
    return details().metadata("dimension");
  }
}
