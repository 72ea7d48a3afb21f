package dev.tollgate.client.errors;

/** The provider failed with a server error or could not be reached. */
public final class ProviderFailedException extends ProviderException {
  private static final long serialVersionUID = 1L;

  /**
   * Makes the error of a status.
   *
   * @param details what the status told
   */
  public ProviderFailedException(ErrorDetails details) {
    super(details);
  }
}
