package dev.tollgate.client.errors;

/** The key is blocked, or its role or rights do not include the act. */
public final class PermissionDeniedException extends TollgateException {
  private static final long serialVersionUID = 1L;

  /**
   * Makes the error of a status.
   *
   * @param details what the status told
   */
  public PermissionDeniedException(ErrorDetails details) {
    super(details);
  }
}
