package dev.tollgate.client;

import java.time.Duration;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/**
 * How one call is made, where it differs from the client's defaults. Never changes: each method
 * gives another one.
 *
 * @param timeout how long the call may take, all of a stream included; zero: without end; null: the
 *     client's default
 * @param traceparent the W3C trace context that the call belongs to; null: the current
 *     OpenTelemetry span's, where there is one
 */
public record Options(@Nullable Duration timeout, @Nullable String traceparent) {
  private static final Pattern TRACEPARENT =
      Pattern.compile("[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-.*)?");
  private static final Options DEFAULTS = new Options(null, null);

  /**
   * Checks both.
   *
   * @param timeout how long the call may take, or null
   * @param traceparent the trace context, or null
   * @throws IllegalArgumentException for a negative timeout, or what is no {@code traceparent}
   */
  public Options {
    if (timeout != null && timeout.isNegative()) {
      throw new IllegalArgumentException("timeout: it is negative: " + timeout);
    }
    if (traceparent != null && !TRACEPARENT.matcher(traceparent).matches()) {
      throw new IllegalArgumentException("traceparent: not of the form 00-TRACE-SPAN-FLAGS in hex");
    }
  }

  /**
   * The client's defaults.
   *
   * @return options that change nothing
   */
  public static Options defaults() {
    return DEFAULTS;
  }

  /**
   * With a deadline, which reaches the gateway and the provider behind it.
   *
   * @param timeout from the call's beginning; zero: without end
   * @return these options with it
   */
  public Options withTimeout(Duration timeout) {
    return new Options(timeout, traceparent);
  }

  /**
   * Within a trace.
   *
   * @param traceparent as in the W3C header of this name
   * @return these options with it
   */
  public Options withTraceparent(String traceparent) {
    return new Options(timeout, traceparent);
  }
}
