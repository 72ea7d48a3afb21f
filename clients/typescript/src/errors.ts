import type { PartialUsage, Receipt } from "./contract.js";

/** What is known of a failed call; `toTollgateError` gathers it from the status. */
export interface Failure {
  /** Name of the gRPC code: `RESOURCE_EXHAUSTED`, `UNAVAILABLE`, ... */
  readonly code: string;
  /** Reason of `google.rpc.ErrorInfo`, without prefix: `BUDGET_EXHAUSTED`, ...; absent where the transport itself failed. */
  readonly reason?: string | undefined;
  /** What happened, for people; it may change. */
  readonly message: string;
  /** Metadata of the reason, as the contract lists it in `ErrorReason`. */
  readonly metadata: Readonly<Record<string, string>>;
  /** Id of the call in the ledger and the audit log, where it got one. */
  readonly requestId?: string | undefined;
  /** How long to wait before another try, in milliseconds; absent: waiting does not help, or nobody knows. */
  readonly retryAfterMs?: number | undefined;
  /** What the broken call cost, where it had begun to cost money. */
  readonly partialUsage?: PartialUsage | undefined;
  /** The promise that the audit log holds the failure, where it was asked for. */
  readonly receipt?: Receipt | undefined;
  /** Every bad field of the request, of `google.rpc.BadRequest`. */
  readonly violations: readonly FieldViolation[];
  /** The error below this one. */
  readonly cause?: unknown;
}

/** A bad field of a request. */
export interface FieldViolation {
  /** Path of the field, such as `request.messages[0].parts`. */
  readonly field: string;
  /** What is wrong with it. */
  readonly description: string;
}

/**
 * A call that failed. Which class it is follows from the reason that the gateway gave: match with `instanceof`, or on
 * {@link TollgateError.reason}. This class itself is thrown for reasons that this version does not know.
 */
export class TollgateError extends Error {
  /** Name of the class. */
  override readonly name: string = "TollgateError";
  /** Name of the gRPC code: `RESOURCE_EXHAUSTED`, `UNAVAILABLE`, ... */
  readonly code: string;
  /** Why, as the contract's `ErrorReason` without prefix; absent where the transport itself failed. */
  readonly reason: string | undefined;
  /** Metadata of the reason, as the contract lists it in `ErrorReason`. */
  readonly metadata: Readonly<Record<string, string>>;
  /** Id of the call in the ledger and the audit log, where it got one. */
  readonly requestId: string | undefined;
  /** How long to wait before another try, in milliseconds; absent: waiting does not help, or nobody knows. */
  readonly retryAfterMs: number | undefined;
  /** What the broken call cost, where it had begun to cost money. */
  readonly partialUsage: PartialUsage | undefined;
  /** The promise that the audit log holds the failure, where it was asked for. */
  readonly receipt: Receipt | undefined;

  /** From what is known of the call. */
  constructor(failure: Failure) {
    super(failure.message, { cause: failure.cause });
    this.code = failure.code;
    this.reason = failure.reason;
    this.metadata = failure.metadata;
    this.requestId = failure.requestId;
    this.retryAfterMs = failure.retryAfterMs;
    this.partialUsage = failure.partialUsage;
    this.receipt = failure.receipt;
  }
}

const amount = (failure: Failure, name: string): bigint | undefined => {
  const text = failure.metadata[name];
  return text !== undefined && /^-?\d+$/.test(text) ? BigInt(text) : undefined;
};

const count = (failure: Failure, name: string): number | undefined => {
  const value = amount(failure, name);
  return value === undefined ? undefined : Number(value);
};

const moment = (failure: Failure, name: string): Date | undefined => {
  const time = Date.parse(failure.metadata[name] ?? "");
  return Number.isNaN(time) ? undefined : new Date(time);
};

/** The key is missing, unknown, expired or revoked: `API_KEY_MISSING`, `_INVALID`, `_EXPIRED`, `_REVOKED`. */
export class Unauthenticated extends TollgateError {
  override readonly name = "Unauthenticated";
}

/** The key may not do this: `API_KEY_BLOCKED`, `ROLE_NOT_ALLOWED`, `RIGHTS_EXCEEDED`. */
export class PermissionDenied extends TollgateError {
  override readonly name = "PermissionDenied";
}

/** The key may not use this model. */
export class ModelNotAllowed extends TollgateError {
  override readonly name = "ModelNotAllowed";
  /** The model that was asked for. */
  readonly model: string | undefined;

  /** From what is known of the call. */
  constructor(failure: Failure) {
    super(failure);
    this.model = failure.metadata["model"];
  }
}

/** No model of this name is configured. */
export class ModelNotFound extends TollgateError {
  override readonly name = "ModelNotFound";
  /** The model that was asked for. */
  readonly model: string | undefined;

  /** From what is known of the call. */
  constructor(failure: Failure) {
    super(failure);
    this.model = failure.metadata["model"];
  }
}

/** What was named does not exist. */
export class ResourceNotFound extends TollgateError {
  override readonly name = "ResourceNotFound";
  /** Kind of the resource: `key`, `team`, ... */
  readonly resource: string | undefined;
  /** Its id. */
  readonly id: string | undefined;

  /** From what is known of the call. */
  constructor(failure: Failure) {
    super(failure);
    this.resource = failure.metadata["resource"];
    this.id = failure.metadata["id"];
  }
}

/** Fields are missing, malformed or out of range. */
export class InvalidRequest extends TollgateError {
  override readonly name = "InvalidRequest";
  /** The first bad field. */
  readonly field: string | undefined;
  /** Every bad field. */
  readonly violations: readonly FieldViolation[];

  /** From what is known of the call. */
  constructor(failure: Failure) {
    super(failure);
    this.violations = failure.violations;
    this.field = failure.violations[0]?.field;
  }
}

/** No deployment can do what a field asks for. */
export class UnsupportedField extends TollgateError {
  override readonly name = "UnsupportedField";
  /** The field. */
  readonly field: string | undefined;
  /** The provider that cannot. */
  readonly provider: string | undefined;

  /** From what is known of the call. */
  constructor(failure: Failure) {
    super(failure);
    this.field = failure.metadata["field"];
    this.provider = failure.metadata["provider"];
  }
}

/** The prompt does not fit the model's context window. */
export class ContextWindowExceeded extends TollgateError {
  override readonly name = "ContextWindowExceeded";
}

/** The message is larger than the gateway takes, or than this client takes. */
export class RequestTooLarge extends TollgateError {
  override readonly name = "RequestTooLarge";
  /** The limit in bytes. */
  readonly limitBytes: number | undefined;

  /** From what is known of the call. */
  constructor(failure: Failure) {
    super(failure);
    this.limitBytes = count(failure, "limitBytes");
  }
}

/** A content policy or a guardrail refused. */
export class ContentBlocked extends TollgateError {
  override readonly name = "ContentBlocked";
}

/** The resource changed since it was read: read it again, then repeat. */
export class EtagMismatch extends TollgateError {
  override readonly name = "EtagMismatch";
}

/** A resource of this identity exists already. */
export class AlreadyExists extends TollgateError {
  override readonly name = "AlreadyExists";
  /** Kind of the resource. */
  readonly resource: string | undefined;
  /** Its id. */
  readonly id: string | undefined;

  /** From what is known of the call. */
  constructor(failure: Failure) {
    super(failure);
    this.resource = failure.metadata["resource"];
    this.id = failure.metadata["id"];
  }
}

/** A budget refused the call: {@link BudgetExceeded} or {@link BudgetHeld}. */
export class BudgetError extends TollgateError {
  override readonly name: string = "BudgetError";
  /** What the budget is on, such as `key:key_...`. */
  readonly scope: string | undefined;
  /** The budget. */
  readonly budgetId: string | undefined;
  /** Its limit in nano-dollars. */
  readonly limitNanoUsd: bigint | undefined;
  /** What is spent of it, in nano-dollars. */
  readonly spentNanoUsd: bigint | undefined;
  /** What calls in flight hold of it, in nano-dollars. */
  readonly heldNanoUsd: bigint | undefined;
  /** What the call may cost at worst, in nano-dollars. */
  readonly neededNanoUsd: bigint | undefined;
  /** When its window begins anew; absent: never. */
  readonly resetsAt: Date | undefined;

  /** From what is known of the call. */
  constructor(failure: Failure) {
    super(failure);
    this.scope = failure.metadata["scope"];
    this.budgetId = failure.metadata["budgetId"];
    this.limitNanoUsd = amount(failure, "limitNanoUsd");
    this.spentNanoUsd = amount(failure, "spentNanoUsd");
    this.heldNanoUsd = amount(failure, "heldNanoUsd");
    this.neededNanoUsd = amount(failure, "neededNanoUsd");
    this.resetsAt = moment(failure, "resetTime");
  }
}

/** The budget is spent: terminal until it is raised or its window resets. */
export class BudgetExceeded extends BudgetError {
  override readonly name = "BudgetExceeded";
}

/** The budget has room, but calls in flight hold it: try again after {@link TollgateError.retryAfterMs}. */
export class BudgetHeld extends BudgetError {
  override readonly name = "BudgetHeld";
}

/** The call's own `maxCostNanoUsd` is below its worst case. */
export class CallCostCeiling extends TollgateError {
  override readonly name = "CallCostCeiling";
  /** The ceiling in nano-dollars. */
  readonly maxCostNanoUsd: bigint | undefined;
  /** The worst case in nano-dollars. */
  readonly neededNanoUsd: bigint | undefined;

  /** From what is known of the call. */
  constructor(failure: Failure) {
    super(failure);
    this.maxCostNanoUsd = amount(failure, "maxCostNanoUsd");
    this.neededNanoUsd = amount(failure, "neededNanoUsd");
  }
}

/** A hard budget applies and the deployment has no price. */
export class PriceUnknown extends TollgateError {
  override readonly name = "PriceUnknown";
  /** The model that was asked for. */
  readonly model: string | undefined;
  /** The deployment without price. */
  readonly deployment: string | undefined;

  /** From what is known of the call. */
  constructor(failure: Failure) {
    super(failure);
    this.model = failure.metadata["model"];
    this.deployment = failure.metadata["deployment"];
  }
}

/** The idempotency key was used before with another request. */
export class IdempotencyMismatch extends TollgateError {
  override readonly name = "IdempotencyMismatch";
  /** The call that used it. */
  readonly callId: string | undefined;

  /** From what is known of the call. */
  constructor(failure: Failure) {
    super(failure);
    this.callId = failure.metadata["callId"];
  }
}

/** The same request was completed and billed, but its answer is no longer kept. Nothing is billed for the repetition. */
export class IdempotencyReplayUnavailable extends TollgateError {
  override readonly name = "IdempotencyReplayUnavailable";
  /** The call that was billed. */
  readonly callId: string | undefined;

  /** From what is known of the call. */
  constructor(failure: Failure) {
    super(failure);
    this.callId = failure.metadata["callId"];
  }
}

/** The provider failed, and so did every fallback. One class below this for each `PROVIDER_` reason. */
export class ProviderError extends TollgateError {
  override readonly name: string = "ProviderError";
  /** Name of the provider in the configuration. */
  readonly provider: string | undefined;
  /** Name of the deployment in the configuration. */
  readonly deployment: string | undefined;
  /** HTTP status that the provider answered; absent: none came. */
  readonly upstreamStatus: number | undefined;

  /** From what is known of the call. */
  constructor(failure: Failure) {
    super(failure);
    this.provider = failure.metadata["provider"];
    this.deployment = failure.metadata["deployment"];
    this.upstreamStatus = count(failure, "upstreamStatus");
  }
}

/** The provider's rate limit refused. */
export class ProviderRateLimited extends ProviderError {
  override readonly name = "ProviderRateLimited";
}

/** The operator's account at the provider is out of money or quota. */
export class ProviderQuotaExceeded extends ProviderError {
  override readonly name = "ProviderQuotaExceeded";
}

/** The provider is overloaded. */
export class ProviderOverloaded extends ProviderError {
  override readonly name = "ProviderOverloaded";
}

/** The provider failed with a server error or could not be reached. */
export class ProviderFailed extends ProviderError {
  override readonly name = "ProviderFailed";
}

/** The provider did not answer in time. */
export class ProviderTimeout extends ProviderError {
  override readonly name = "ProviderTimeout";
}

/** The provider refused the operator's credential; the caller's key is fine. */
export class ProviderCredential extends ProviderError {
  override readonly name = "ProviderCredential";
}

/** The provider does not know the configured model or refuses it to the operator. */
export class ProviderModelUnavailable extends ProviderError {
  override readonly name = "ProviderModelUnavailable";
}

/** The provider's bytes broke its own protocol. */
export class ProviderProtocol extends ProviderError {
  override readonly name = "ProviderProtocol";
}

/** The provider found the request invalid; the message is its own. */
export class ProviderRefusedRequest extends ProviderError {
  override readonly name = "ProviderRefusedRequest";
}

/** The stream ended before its end; {@link TollgateError.partialUsage} tells what it cost. */
export class StreamTruncated extends ProviderError {
  override readonly name = "StreamTruncated";
}

/** The call's deadline passed. */
export class DeadlineExceeded extends TollgateError {
  override readonly name = "DeadlineExceeded";
}

/** The gateway is shutting down or shedding load; nothing was charged. */
export class Overloaded extends TollgateError {
  override readonly name = "Overloaded";
}

/** The ledger cannot be written, so no call may start; nothing was charged. */
export class LedgerUnavailable extends TollgateError {
  override readonly name = "LedgerUnavailable";
}

/** The store of record cannot be reached, so nothing can be changed now. */
export class StoreUnavailable extends TollgateError {
  override readonly name = "StoreUnavailable";
}

/** A defect of the gateway: please report it with {@link TollgateError.requestId}. */
export class Internal extends TollgateError {
  override readonly name = "Internal";
}

/** What a stream is that ended well, and not at its end. */
export function unfinished(): Internal {
  return new Internal({ code: "INTERNAL", message: "the stream ended before it was finished", metadata: {}, violations: [] });
}

/** The caller ended the call: its signal was aborted, or the stream was cancelled. */
export class Cancelled extends TollgateError {
  override readonly name = "Cancelled";
}

/** The gateway does not have this RPC: it is older than this client, or no gateway at all. */
export class RouteNotFound extends TollgateError {
  override readonly name = "RouteNotFound";
}

/** A limit of the caller's own is reached: try again after {@link TollgateError.retryAfterMs}. */
export class RateLimited extends TollgateError {
  override readonly name = "RateLimited";
  /** Whose limit: `key:key_...`, `team:team_...`, ... */
  readonly scope: string | undefined;
  /** The limit. */
  readonly limit: number | undefined;
  /** Which limit: `requests_per_minute`, `requests_per_day`, `tokens_per_minute`, `concurrent_requests`. */
  readonly dimension: string | undefined;

  /** From what is known of the call. */
  constructor(failure: Failure) {
    super(failure);
    this.scope = failure.metadata["scope"];
    this.limit = count(failure, "limit");
    this.dimension = failure.metadata["dimension"];
  }
}

/** It still has teams, users or keys that work. */
export class ResourceInUse extends TollgateError {
  override readonly name = "ResourceInUse";
  /** Kind of the resource. */
  readonly resource: string | undefined;
  /** Its id. */
  readonly id: string | undefined;

  /** From what is known of the call. */
  constructor(failure: Failure) {
    super(failure);
    this.resource = failure.metadata["resource"];
    this.id = failure.metadata["id"];
  }
}

/** No deployment may serve the call: by its tags, its region or the operation. */
export class NoRoute extends TollgateError {
  override readonly name = "NoRoute";
  /** The model that was asked for. */
  readonly model: string | undefined;

  /** From what is known of the call. */
  constructor(failure: Failure) {
    super(failure);
    this.model = failure.metadata["model"];
  }
}

/** The gateway cannot be reached, or the connection broke. */
export class Unavailable extends TollgateError {
  override readonly name = "Unavailable";
}
