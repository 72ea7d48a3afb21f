package dev.tollgate.client.errors;

/** The store of record cannot be reached, so nothing can be changed now. */
public final class StoreUnavailableException extends TollgateException {
  private static final long serialVersionUID = 1L;

  /**
   * Makes the error of a status.
   *
   * @param details what the status told
   */
  public StoreUnavailableException(ErrorDetails details) {
    super(details);
  }
}
