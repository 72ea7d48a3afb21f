package dev.tollgate.client.errors;

import java.time.Instant;
import org.jspecify.annotations.Nullable;

/** A budget has room, but calls in flight hold it: worth another try later. */
public final class BudgetHeldException extends TollgateException {
  private static final long serialVersionUID = 1L;

  /**
   * Makes the error of a status.
   *
   * @param details what the status told
   */
  public BudgetHeldException(ErrorDetails details) {
    super(details);
  }

  /**
   * What the budget is on.
   *
   * @return it, or null where the gateway did not tell
   */
  public @Nullable String scope() {
    return details().metadata("scope");
  }

  /**
   * Id of the budget.
   *
   * @return it, or null where the gateway did not tell
   */
  public @Nullable String budgetId() {
    return details().metadata("budgetId");
  }

  /**
   * Its limit, in nano-dollars.
   *
   * @return it, or null where the gateway did not tell
   */
  public @Nullable Long limitNanoUsd() {
    return details().amount("limitNanoUsd");
  }

  /**
   * What is spent of it, in nano-dollars.
   *
   * @return it, or null where the gateway did not tell
   */
  public @Nullable Long spentNanoUsd() {
    return details().amount("spentNanoUsd");
  }

  /**
   * What calls in flight hold of it, in nano-dollars.
   *
   * @return it, or null where the gateway did not tell
   */
  public @Nullable Long heldNanoUsd() {
    return details().amount("heldNanoUsd");
  }

  /**
   * What the call needed, in nano-dollars.
   *
   * @return it, or null where the gateway did not tell
   */
  public @Nullable Long neededNanoUsd() {
    return details().amount("neededNanoUsd");
  }

  /**
   * When its window ends.
   *
   * @return it, or null where the gateway did not tell
   */
  public @Nullable Instant resetsAt() {
    return details().time("resetTime");
  }
}
