/**
 * Tollgate from browsers: gRPC-Web over `fetch`. The gateway answers it on the same port, to the origins of its `cors_origins`.
 *
 * @packageDocumentation
 */
import { createGrpcWebTransport } from "@connectrpc/connect-web";

import { type CommonOptions, interceptorsOf, parseAddress } from "./calls.js";
import { BaseClient } from "./client.js";

export * from "./common.js";

/** How to reach a gateway. */
export interface ClientOptions extends CommonOptions {
  /** `https://HOST:PORT`, or `http://HOST:PORT`. Absent: where the page itself came from, else `http://127.0.0.1:4000`. */
  readonly address?: string | undefined;
  /** In place of the global `fetch`. */
  readonly fetch?: typeof globalThis.fetch | undefined;
}

/** A gateway and a key. A page that others can open must not hold a key that may spend more than they should. */
export class Client extends BaseClient {
  /** Without options the page's own origin is called, without key. */
  constructor(options: ClientOptions = {}) {
    const address = parseAddress(options.address ?? pageOrigin() ?? "http://127.0.0.1:4000");
    const transport = createGrpcWebTransport({
      baseUrl: address.href,
      interceptors: interceptorsOf(options),
      ...(options.fetch && { fetch: options.fetch }),
    });
    super(transport, options.timeout);
  }
}

function pageOrigin(): string | undefined {
  const { location } = globalThis as { location?: Location };
  return location?.origin.startsWith("http") ? location.origin : undefined;
}
