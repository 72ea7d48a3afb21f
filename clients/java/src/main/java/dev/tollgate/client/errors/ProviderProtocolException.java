package dev.tollgate.client.errors;

/** The provider's bytes broke its own protocol. */
public final class ProviderProtocolException extends ProviderException {
  private static final long serialVersionUID = 1L;

  /**
   * Makes the error of a status.
   *
   * @param details what the status told
   */
  public ProviderProtocolException(ErrorDetails details) {
    super(details);
  }
}
