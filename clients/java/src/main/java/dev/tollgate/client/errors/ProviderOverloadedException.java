package dev.tollgate.client.errors;

/** The provider is overloaded. */
public final class ProviderOverloadedException extends ProviderException {
  private static final long serialVersionUID = 1L;

  /**
   * Makes the error of a status.
   *
   * @param details what the status told
   */
  public ProviderOverloadedException(ErrorDetails details) {
    super(details);
  }
}
