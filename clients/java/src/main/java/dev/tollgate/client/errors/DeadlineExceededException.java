package dev.tollgate.client.errors;

/** The deadline passed, at the gateway or here. */
public final class DeadlineExceededException extends TollgateException {
  private static final long serialVersionUID = 1L;

  /**
   * Makes the error of a status.
   *
   * @param details what the status told
   */
  public DeadlineExceededException(ErrorDetails details) {
    super(details);
  }
}
