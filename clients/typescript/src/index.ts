/**
 * Tollgate from Node: gRPC over HTTP/2.
 *
 * @packageDocumentation
 */
import type { SecureClientSessionOptions } from "node:http2";

import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";

import { type CommonOptions, interceptorsOf, parseAddress } from "./calls.js";
import { BaseClient } from "./client.js";
import { VERSION } from "./version.js";

export * from "./common.js";

/** Certificates, as of Node's `tls.connect`. */
export type TlsOptions = Pick<SecureClientSessionOptions, "ca" | "cert" | "key" | "passphrase" | "servername" | "rejectUnauthorized">;

/** How to reach a gateway. */
export interface ClientOptions extends CommonOptions {
  /**
   * `https://HOST:PORT`, or `http://HOST:PORT` for plaintext. Absent: the environment's `TOLLGATE_ADDRESS`, else `http://127.0.0.1:4000`,
   * where a gateway listens by default.
   */
  readonly address?: string | undefined;
  /** The virtual key, `tg-...`. Absent: the environment's `TOLLGATE_API_KEY`. */
  readonly key?: string | undefined;
  /** Certificates of an `https` address: a private authority, a client certificate. */
  readonly tls?: TlsOptions | undefined;
}

/** Pings tell a connection that died silently from one where nothing is said. */
const PING_EVERY_MS = 30_000;

/** A connection with a key. It connects when it is first used, again when the connection broke, and keeps no program from ending. */
export class Client extends BaseClient {
  readonly #sessions: Http2SessionManager;

  /** Without options all is taken from the environment. */
  constructor(options: ClientOptions = {}) {
    const address = parseAddress(options.address ?? set("TOLLGATE_ADDRESS") ?? "http://127.0.0.1:4000");
    if (options.tls && address.protocol === "http:") throw new TypeError("tls: the address is http, which is plaintext; write https");
    const sessions = new Http2SessionManager(address.href, { pingIntervalMs: PING_EVERY_MS }, options.tls);
    const transport = createGrpcTransport({
      baseUrl: address.href,
      sessionManager: sessions,
      interceptors: [
        (next) => (request) => {
          request.header.set("user-agent", `tollgate-typescript/${VERSION} node/${process.versions.node}`);
          return next(request);
        },
        ...interceptorsOf({ ...options, key: options.key ?? set("TOLLGATE_API_KEY") }),
      ],
    });
    super(transport, options.timeout);
    this.#sessions = sessions;
  }

  /** Ends the calls under way with `Cancelled`, and closes the connection. The client is not to be used after it. */
  override close(): void {
    super.close();
    this.#sessions.abort();
  }
}

/** A variable of the environment; an empty one is none. */
function set(name: string): string | undefined {
  const value = process.env[name];
  return value === "" ? undefined : value;
}
