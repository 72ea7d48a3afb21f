package dev.tollgate.client.errors;

/** The key is missing, malformed, unknown, expired or revoked. */
public final class UnauthenticatedException extends TollgateException {
  private static final long serialVersionUID = 1L;

  /**
   * Makes the error of a status.
   *
   * @param details what the status told
   */
  public UnauthenticatedException(ErrorDetails details) {
    super(details);
  }
}
