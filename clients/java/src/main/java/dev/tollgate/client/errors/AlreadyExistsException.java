package dev.tollgate.client.errors;

import org.jspecify.annotations.Nullable;

/** A resource of this identity exists already. */
public final class AlreadyExistsException extends TollgateException {
  private static final long serialVersionUID = 1L;

  /**
   * Makes the error of a status.
   *
   * @param details what the status told
   */
  public AlreadyExistsException(ErrorDetails details) {
    super(details);
  }

  /**
   * The kind of resource.
   *
   * @return it, or null where the gateway did not tell
   */
  public @Nullable String resource() {
    return details().metadata("resource");
  }

  /**
   * Its id.
   *
   * @return it, or null where the gateway did not tell
   */
  public @Nullable String id() {
    return details().metadata("id");
  }
}
