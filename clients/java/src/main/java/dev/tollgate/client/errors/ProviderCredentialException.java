package dev.tollgate.client.errors;

/** The provider refused the operator's credential; the caller's key is fine. */
public final class ProviderCredentialException extends ProviderException {
  private static final long serialVersionUID = 1L;

  /**
   * Makes the error of a status.
   *
   * @param details what the status told
   */
  public ProviderCredentialException(ErrorDetails details) {
    super(details);
  }
}
