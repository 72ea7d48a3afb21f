package dev.tollgate.client.errors;

/** The prompt does not fit the model's context window. */
public final class ContextWindowExceededException extends TollgateException {
  private static final long serialVersionUID = 1L;

  /**
   * Makes the error of a status.
   *
   * @param details what the status told
   */
  public ContextWindowExceededException(ErrorDetails details) {
    super(details);
  }
}
