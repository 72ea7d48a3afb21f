package dev.tollgate.client.errors;

/** A defect of the gateway: please report it with {@link #requestId}. */
public final class InternalException extends TollgateException {
  private static final long serialVersionUID = 1L;

  /**
   * Makes the error of a status.
   *
   * @param details what the status told
   */
  public InternalException(ErrorDetails details) {
    super(details);
  }
}
