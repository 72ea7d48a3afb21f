/**
 * Passes the trace context of OpenTelemetry on: `new Client({ interceptors: [openTelemetry()] })`. Needs `@opentelemetry/api`.
 *
 * @packageDocumentation
 */
import type { Interceptor } from "@connectrpc/connect";
import { context, propagation } from "@opentelemetry/api";

/** Adds the active context, in the form of the registered propagator (W3C's by default), to every call that has none of its own. */
export function openTelemetry(): Interceptor {
  return (next) => (request) => {
    propagation.inject(context.active(), request.header, {
      set: (headers, name, value) => {
        if (!headers.has(name)) headers.set(name, value);
      },
    });
    return next(request);
  };
}
