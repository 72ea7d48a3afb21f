package dev.tollgate.client.errors;

/** The resource changed since it was read: read it again, then repeat. */
public final class EtagMismatchException extends TollgateException {
  private static final long serialVersionUID = 1L;

  /**
   * Makes the error of a status.
   *
   * @param details what the status told
   */
  public EtagMismatchException(ErrorDetails details) {
    super(details);
  }
}
