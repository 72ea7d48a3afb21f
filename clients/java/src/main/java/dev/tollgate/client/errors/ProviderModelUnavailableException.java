package dev.tollgate.client.errors;

/** The provider does not know the configured model, or refuses it to the operator. */
public final class ProviderModelUnavailableException extends ProviderException {
  private static final long serialVersionUID = 1L;

  /**
   * Makes the error of a status.
   *
   * @param details what the status told
   */
  public ProviderModelUnavailableException(ErrorDetails details) {
    super(details);
  }
}
