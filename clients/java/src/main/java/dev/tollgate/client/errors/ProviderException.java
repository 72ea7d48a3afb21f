package dev.tollgate.client.errors;

import org.jspecify.annotations.Nullable;

/** The provider is at fault, or the account there; each kind is a class below. */
public class ProviderException extends TollgateException {
  private static final long serialVersionUID = 1L;

  /**
   * Makes the error of a status.
   *
   * @param details what the status told
   */
  public ProviderException(ErrorDetails details) {
    super(details);
  }

  /**
   * Name of the provider in the configuration.
   *
   * @return it, or null where the gateway did not tell
   */
  public @Nullable String provider() {
    return details().metadata("provider");
  }

  /**
   * Name of the deployment in the configuration.
   *
   * @return it, or null where the gateway did not tell
   */
  public @Nullable String deployment() {
    return details().metadata("deployment");
  }

  /**
   * HTTP status of the provider's answer.
   *
   * @return it, or null where the gateway did not tell
   */
  public @Nullable Integer upstreamStatus() {
    return details().count("upstreamStatus");
  }
}
