package dev.tollgate.client.errors;

import org.jspecify.annotations.Nullable;

/** A key, budget, team or another resource does not exist. */
public final class ResourceNotFoundException extends TollgateException {
  private static final long serialVersionUID = 1L;

  /**
   * Makes the error of a status.
   *
   * @param details what the status told
   */
  public ResourceNotFoundException(ErrorDetails details) {
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
