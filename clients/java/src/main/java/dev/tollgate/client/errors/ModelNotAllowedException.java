package dev.tollgate.client.errors;

import org.jspecify.annotations.Nullable;

/** The key may not use this model. */
public final class ModelNotAllowedException extends TollgateException {
  private static final long serialVersionUID = 1L;

  /**
   * Makes the error of a status.
   *
   * @param details what the status told
   */
  public ModelNotAllowedException(ErrorDetails details) {
    super(details);
  }

  /**
   * The model alias that was asked for.
   *
   * @return it, or null where the gateway did not tell
   */
  public @Nullable String model() {
    return details().metadata("model");
  }
}
