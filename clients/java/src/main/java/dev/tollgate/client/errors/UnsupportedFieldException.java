package dev.tollgate.client.errors;

import org.jspecify.annotations.Nullable;

/** The deployment that would serve the call cannot do what a field asks for. */
public final class UnsupportedFieldException extends TollgateException {
  private static final long serialVersionUID = 1L;

  /**
   * Makes the error of a status.
   *
   * @param details what the status told
   */
  public UnsupportedFieldException(ErrorDetails details) {
    super(details);
  }

  /**
   * Path of the field.
   *
   * @return it, or null where the gateway did not tell
   */
  public @Nullable String field() {
    return details().metadata("field");
  }

  /**
   * Name of the provider in the configuration.
   *
   * @return it, or null where the gateway did not tell
   */
  public @Nullable String provider() {
    return details().metadata("provider");
  }
}
