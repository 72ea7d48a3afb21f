package dev.tollgate.client.errors;

import org.jspecify.annotations.Nullable;

/** The call's own {@code max_cost_nano_usd} is below its worst case. */
public final class CallCostCeilingException extends TollgateException {
  private static final long serialVersionUID = 1L;

  /**
   * Makes the error of a status.
   *
   * @param details what the status told
   */
  public CallCostCeilingException(ErrorDetails details) {
    super(details);
  }

  /**
   * The ceiling, in nano-dollars.
   *
   * @return it, or null where the gateway did not tell
   */
  public @Nullable Long maxCostNanoUsd() {
    return details().amount("maxCostNanoUsd");
  }

  /**
   * What the call may cost, in nano-dollars.
   *
   * @return it, or null where the gateway did not tell
   */
  public @Nullable Long neededNanoUsd() {
    return details().amount("neededNanoUsd");
  }
}
