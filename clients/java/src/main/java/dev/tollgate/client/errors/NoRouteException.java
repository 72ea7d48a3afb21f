package dev.tollgate.client.errors;

import org.jspecify.annotations.Nullable;

/** No deployment of the model, nor of its fallbacks, may serve the call. */
public final class NoRouteException extends TollgateException {
  private static final long serialVersionUID = 1L;

  /**
   * Makes the error of a status.
   *
   * @param details what the status told
   */
  public NoRouteException(ErrorDetails details) {
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
