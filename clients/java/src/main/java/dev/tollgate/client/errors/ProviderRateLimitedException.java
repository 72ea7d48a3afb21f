package dev.tollgate.client.errors;

/** The provider's rate limit refused, and so did every fallback. */
public final class ProviderRateLimitedException extends ProviderException {
  private static final long serialVersionUID = 1L;

  /**
   * Makes the error of a status.
   *
   * @param details what the status told
   */
  public ProviderRateLimitedException(ErrorDetails details) {
    super(details);
  }
}
