package dev.tollgate.client.errors;

/** The gateway has no such RPC: it may be older than this client. */
public final class RouteNotFoundException extends TollgateException {
  private static final long serialVersionUID = 1L;

  /**
   * Makes the error of a status.
   *
   * @param details what the status told
   */
  public RouteNotFoundException(ErrorDetails details) {
    super(details);
  }
}
