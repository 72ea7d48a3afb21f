package dev.tollgate.client.errors;

/** The gateway is shutting down or shedding load; nothing was charged. */
public final class OverloadedException extends TollgateException {
  private static final long serialVersionUID = 1L;

  /**
   * Makes the error of a status.
   *
   * @param details what the status told
   */
  public OverloadedException(ErrorDetails details) {
    super(details);
  }
}
