package dev.tollgate.client.errors;

/** The operator's account at the provider is out of money or quota. */
public final class ProviderQuotaExceededException extends ProviderException {
  private static final long serialVersionUID = 1L;

  /**
   * Makes the error of a status.
   *
   * @param details what the status told
   */
  public ProviderQuotaExceededException(ErrorDetails details) {
    super(details);
  }
}
