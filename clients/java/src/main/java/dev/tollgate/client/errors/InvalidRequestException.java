package dev.tollgate.client.errors;

import java.util.List;
import org.jspecify.annotations.Nullable;

/** Fields of the request are missing, malformed or out of range. */
public final class InvalidRequestException extends TollgateException {
  private static final long serialVersionUID = 1L;

  /**
   * Makes the error of a status.
   *
   * @param details what the status told
   */
  public InvalidRequestException(ErrorDetails details) {
    super(details);
  }

  /**
   * Path of the first bad field.
   *
   * @return it, or null where the gateway named none
   */
  public @Nullable String field() {
    return violations().isEmpty() ? null : violations().get(0).field();
  }

  /**
   * Every bad field.
   *
   * @return them, in the gateway's order
   */
  public List<FieldViolation> violations() {
    return details().violations();
  }
}
