package dev.tollgate.client.errors;

/** The provider found the request invalid. */
public final class ProviderRefusedRequestException extends ProviderException {
  private static final long serialVersionUID = 1L;

  /**
   * Makes the error of a status.
   *
   * @param details what the status told
   */
  public ProviderRefusedRequestException(ErrorDetails details) {
    super(details);
  }
}
