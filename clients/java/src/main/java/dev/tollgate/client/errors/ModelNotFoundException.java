package dev.tollgate.client.errors;

import org.jspecify.annotations.Nullable;

/** No model of this name is configured. */
public final class ModelNotFoundException extends TollgateException {
  private static final long serialVersionUID = 1L;

  /**
   * Makes the error of a status.
   *
   * @param details what the status told
   */
  public ModelNotFoundException(ErrorDetails details) {
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
