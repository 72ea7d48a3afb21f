package dev.tollgate.client.errors;

import org.jspecify.annotations.Nullable;

/** A hard budget applies, and the deployment has no price. */
public final class PriceUnknownException extends TollgateException {
  private static final long serialVersionUID = 1L;

  /**
   * Makes the error of a status.
   *
   * @param details what the status told
   */
  public PriceUnknownException(ErrorDetails details) {
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

  /**
   * The deployment.
   *
   * @return it, or null where the gateway did not tell
   */
  public @Nullable String deployment() {
    return details().metadata("deployment");
  }
}
