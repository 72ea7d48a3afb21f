package dev.tollgate.client.errors;

/** The answer ended before its end; {@link #partialUsage} tells what it cost. */
public final class StreamTruncatedException extends ProviderException {
  private static final long serialVersionUID = 1L;

  /**
   * Makes the error of a status.
   *
   * @param details what the status told
   */
  public StreamTruncatedException(ErrorDetails details) {
    super(details);
  }
}
