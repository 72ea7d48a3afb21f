import { durationMs } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError } from "@connectrpc/connect";

import { type ErrorReason, PartialUsageSchema, ReceiptSchema } from "./contract.js";
import * as errors from "./errors.js";
import { BadRequestSchema, ErrorInfoSchema, RequestInfoSchema, RetryInfoSchema } from "./gen/google/rpc/error_details_pb.js";

/** Domain of the gateway's reasons; those of others in between (proxies, meshes) are not taken for its own. */
const DOMAIN = "tollgate.dev";

type Reason = Exclude<keyof typeof ErrorReason, "UNSPECIFIED">;
type ErrorClass = new (failure: errors.Failure) => errors.TollgateError;

/** A class for every reason of the contract: a new one does not compile until it has its row. */
const BY_REASON: Record<Reason, ErrorClass> = {
  API_KEY_MISSING: errors.Unauthenticated,
  API_KEY_INVALID: errors.Unauthenticated,
  API_KEY_EXPIRED: errors.Unauthenticated,
  API_KEY_REVOKED: errors.Unauthenticated,
  API_KEY_BLOCKED: errors.PermissionDenied,
  ROLE_NOT_ALLOWED: errors.PermissionDenied,
  RIGHTS_EXCEEDED: errors.PermissionDenied,
  MODEL_NOT_ALLOWED: errors.ModelNotAllowed,
  MODEL_NOT_FOUND: errors.ModelNotFound,
  RESOURCE_NOT_FOUND: errors.ResourceNotFound,
  INVALID_FIELD: errors.InvalidRequest,
  UNSUPPORTED_FIELD: errors.UnsupportedField,
  CONTEXT_WINDOW_EXCEEDED: errors.ContextWindowExceeded,
  REQUEST_TOO_LARGE: errors.RequestTooLarge,
  CONTENT_BLOCKED: errors.ContentBlocked,
  ETAG_MISMATCH: errors.EtagMismatch,
  ALREADY_EXISTS: errors.AlreadyExists,
  BUDGET_EXHAUSTED: errors.BudgetExceeded,
  BUDGET_HELD: errors.BudgetHeld,
  CALL_COST_CEILING: errors.CallCostCeiling,
  PRICE_UNKNOWN: errors.PriceUnknown,
  IDEMPOTENCY_MISMATCH: errors.IdempotencyMismatch,
  IDEMPOTENCY_REPLAY_UNAVAILABLE: errors.IdempotencyReplayUnavailable,
  PROVIDER_RATE_LIMITED: errors.ProviderRateLimited,
  PROVIDER_QUOTA_EXCEEDED: errors.ProviderQuotaExceeded,
  PROVIDER_OVERLOADED: errors.ProviderOverloaded,
  PROVIDER_FAILED: errors.ProviderFailed,
  PROVIDER_TIMEOUT: errors.ProviderTimeout,
  PROVIDER_CREDENTIAL: errors.ProviderCredential,
  PROVIDER_MODEL_UNAVAILABLE: errors.ProviderModelUnavailable,
  PROVIDER_PROTOCOL: errors.ProviderProtocol,
  PROVIDER_REFUSED_REQUEST: errors.ProviderRefusedRequest,
  STREAM_TRUNCATED: errors.StreamTruncated,
  DEADLINE_EXCEEDED: errors.DeadlineExceeded,
  OVERLOADED: errors.Overloaded,
  LEDGER_UNAVAILABLE: errors.LedgerUnavailable,
  STORE_UNAVAILABLE: errors.StoreUnavailable,
  INTERNAL: errors.Internal,
  CANCELLED: errors.Cancelled,
  ROUTE_NOT_FOUND: errors.RouteNotFound,
  RATE_LIMITED: errors.RateLimited,
  RESOURCE_IN_USE: errors.ResourceInUse,
  NO_ROUTE: errors.NoRoute,
};

/** Statuses without a reason of the gateway's: made by the transport, or by something in between. */
const BY_CODE: Partial<Record<Code, ErrorClass>> = {
  [Code.DeadlineExceeded]: errors.DeadlineExceeded,
  [Code.Canceled]: errors.Cancelled,
  [Code.Unavailable]: errors.Unavailable,
  [Code.Unauthenticated]: errors.Unauthenticated,
  [Code.PermissionDenied]: errors.PermissionDenied,
  [Code.InvalidArgument]: errors.InvalidRequest,
  [Code.ResourceExhausted]: errors.RequestTooLarge,
  [Code.Unimplemented]: errors.RouteNotFound,
  [Code.Internal]: errors.Internal,
};

/** `ResourceExhausted` to `RESOURCE_EXHAUSTED`; gRPC spells `CANCELLED` with two l. */
function codeName(code: Code): string {
  if (code === Code.Canceled) return "CANCELLED";
  return Code[code].replace(/(?<=[a-z])(?=[A-Z])/g, "_").toUpperCase();
}

/** Codes that Node gives to errors of sockets. */
const NETWORK = /^(ECONN|EPIPE|ENET|EHOST|ETIMEDOUT|ENOTFOUND|EAI_AGAIN|ERR_HTTP2_|ERR_STREAM_DESTROYED)/;
/** Codes of handshakes that fail: Node's own, OpenSSL's alerts, and its reasons not to believe a certificate. */
const TLS = /^(ERR_TLS_|ERR_SSL_|UNABLE_TO_|CERT_|DEPTH_ZERO_|SELF_SIGNED_|INVALID_CA|HOSTNAME_MISMATCH|PATH_LENGTH_EXCEEDED)/;

/** Whether no status came because the network failed: Connect has several codes for it, gRPC has UNAVAILABLE. */
function brokenConnection(error: ConnectError): boolean {
  if (error.details.length > 0) return false;
  for (let cause: unknown = error.cause; cause instanceof Error; cause = cause.cause) {
    const code = "code" in cause && typeof cause.code === "string" ? cause.code : "";
    if (NETWORK.test(code) || TLS.test(code)) return true;
    // `fetch` says no more than that.
    if (cause instanceof TypeError && error.code === Code.Unknown) return true;
  }
  return false;
}

/** The error of Connect, with the code that gRPC has for it. */
export function toConnectError(error: unknown): ConnectError {
  const found = ConnectError.from(error);
  if (found.code === Code.Unavailable || found.code === Code.Canceled || found.code === Code.DeadlineExceeded) return found;
  if (!brokenConnection(found)) return found;
  return new ConnectError(found.rawMessage, Code.Unavailable, undefined, undefined, found.cause);
}

/** The same of a call that ended without its caller's doing: Connect calls a connection that was closed cancelled. */
export function lost(error: unknown, signal: AbortSignal): ConnectError {
  const found = toConnectError(error);
  if (found.code !== Code.Canceled || found.details.length > 0 || signal.aborted) return found;
  return new ConnectError(`the connection was closed: ${found.rawMessage}`, Code.Unavailable, undefined, undefined, found.cause);
}

/** How long the status asks to wait, in milliseconds. */
export function retryAfterMs(error: ConnectError): number | undefined {
  const delay = error.findDetails(RetryInfoSchema)[0]?.retryDelay;
  return delay && durationMs(delay);
}

/**
 * The typed error of a failed call: what the client's own methods throw. For errors of stubs that were made with `client.service`.
 *
 * @param error what was thrown; a `TollgateError` comes back as it is
 */
export function toTollgateError(error: unknown): errors.TollgateError {
  if (error instanceof errors.TollgateError) return error;
  const status = toConnectError(error);
  const info = status.findDetails(ErrorInfoSchema).find(({ domain }) => domain === DOMAIN);
  const known = info && (BY_REASON as Partial<Record<string, ErrorClass>>)[info.reason];
  const Class = known ?? (info ? errors.TollgateError : BY_CODE[status.code]) ?? errors.TollgateError;
  return new Class({
    code: codeName(status.code),
    reason: info?.reason,
    message: status.rawMessage,
    metadata: info?.metadata ?? {},
    requestId: status.findDetails(RequestInfoSchema)[0]?.requestId,
    retryAfterMs: retryAfterMs(status),
    partialUsage: status.findDetails(PartialUsageSchema)[0],
    receipt: status.findDetails(ReceiptSchema)[0],
    violations: status.findDetails(BadRequestSchema)[0]?.fieldViolations ?? [],
    cause: status,
  });
}
