package dev.tollgate.client.errors;

/** The call was cancelled. */
public final class CancelledException extends TollgateException {
  private static final long serialVersionUID = 1L;

  /**
   * Makes the error of a status.
   *
   * @param details what the status told
   */
  public CancelledException(ErrorDetails details) {
    super(details);
  }
}
