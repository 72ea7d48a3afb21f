package dev.tollgate.client;

import io.grpc.Metadata;
import io.opentelemetry.api.trace.propagation.W3CTraceContextPropagator;
import io.opentelemetry.context.Context;

/** The trace context of the current OpenTelemetry span, where the program has its API. */
final class Tracing {
  private static final boolean PRESENT = present();

  private Tracing() {}

  private static boolean present() {
    try {
      Class.forName("io.opentelemetry.api.trace.propagation.W3CTraceContextPropagator");
      return true;
    } catch (ClassNotFoundException | LinkageError absent) {
      return false;
    }
  }

  static void inject(Metadata headers) {
    if (PRESENT) {
      Current.inject(headers);
    }
  }

  /** Loaded only where the API is there. */
  private static final class Current {
    static void inject(Metadata headers) {
      W3CTraceContextPropagator.getInstance()
          .inject(
              Context.current(),
              headers,
              (into, name, value) -> {
                if (into != null) {
                  into.put(Headers.text(name), value);
                }
              });
    }
  }
}
