package dev.tollgate.client.errors;

/** No call may start, since it could not be booked; nothing was charged. */
public final class LedgerUnavailableException extends TollgateException {
  private static final long serialVersionUID = 1L;

  /**
   * Makes the error of a status.
   *
   * @param details what the status told
   */
  public LedgerUnavailableException(ErrorDetails details) {
    super(details);
  }
}
