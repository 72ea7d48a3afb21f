package dev.tollgate.client.errors;

/** The gateway cannot be reached; gRPC found out by itself. */
public final class UnavailableException extends TollgateException {
  private static final long serialVersionUID = 1L;

  /**
   * Makes the error of a status.
   *
   * @param details what the status told
   */
  public UnavailableException(ErrorDetails details) {
    super(details);
  }
}
