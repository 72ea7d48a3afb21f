package dev.tollgate.client.errors;

import org.jspecify.annotations.Nullable;

/** The message is larger than the gateway, or this client, takes. */
public final class RequestTooLargeException extends TollgateException {
  private static final long serialVersionUID = 1L;

  /**
   * Makes the error of a status.
   *
   * @param details what the status told
   */
  public RequestTooLargeException(ErrorDetails details) {
    super(details);
  }

  /**
   * The limit, in bytes.
   *
   * @return it, or null where the gateway did not tell
   */
  public @Nullable Long limitBytes() {
    return details().amount("limitBytes");
  }
}
