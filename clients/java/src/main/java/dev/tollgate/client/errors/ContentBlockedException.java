package dev.tollgate.client.errors;

/** A provider's content policy or a guardrail refused. */
public final class ContentBlockedException extends TollgateException {
  private static final long serialVersionUID = 1L;

  /**
   * Makes the error of a status.
   *
   * @param details what the status told
   */
  public ContentBlockedException(ErrorDetails details) {
    super(details);
  }
}
