package dev.tollgate.client.errors;

/** The provider did not answer in time. */
public final class ProviderTimeoutException extends ProviderException {
  private static final long serialVersionUID = 1L;

  /**
   * Makes the error of a status.
   *
   * @param details what the status told
   */
  public ProviderTimeoutException(ErrorDetails details) {
    super(details);
  }
}
