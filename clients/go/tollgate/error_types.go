package tollgate

import "time"

// Unauthenticated says that no key came with the call, or none that works: API_KEY_MISSING, API_KEY_INVALID, API_KEY_EXPIRED, API_KEY_REVOKED.
type Unauthenticated struct{ TollgateError }

// PermissionDenied says that the key is blocked, that its role does not include the action, or that somebody would gain rights that it
// does not have: API_KEY_BLOCKED, ROLE_NOT_ALLOWED, RIGHTS_EXCEEDED.
type PermissionDenied struct{ TollgateError }

// ModelNotAllowed says that the key may not use the model.
type ModelNotAllowed struct {
	TollgateError
	// Model as it was asked for.
	Model string
}

// ModelNotFound says that no model of this name is configured.
type ModelNotFound struct {
	TollgateError
	// Model as it was asked for.
	Model string
}

// ResourceNotFound says that what the call is about does not exist, or not for this key.
type ResourceNotFound struct {
	TollgateError
	// Resource is its kind: `key`, `budget`, ...
	Resource string
	// ID as it was asked for.
	ID string
}

// FieldViolation is a field that is wrong.
type FieldViolation struct {
	// Field is its path: `request.messages[0].role`.
	Field string
	// Description is what is wrong with it.
	Description string
}

// InvalidRequest says that fields are missing, malformed or out of range.
type InvalidRequest struct {
	TollgateError
	// Field is the path of the first; empty where none is named.
	Field string
	// Violations are all of them.
	Violations []FieldViolation
}

// UnsupportedField says that the deployment that would serve the call cannot do what a field asks for.
type UnsupportedField struct {
	TollgateError
	// Field is its path.
	Field string
	// Provider that cannot.
	Provider string
}

// ContextWindowExceeded says that the prompt does not fit the model's context window.
type ContextWindowExceeded struct{ TollgateError }

// RequestTooLarge says that the message is larger than the gateway, or this client, takes.
type RequestTooLarge struct {
	TollgateError
	// LimitBytes is the limit; 0 where it is not told.
	LimitBytes int64
}

// ContentBlocked says that a provider's content policy or a guardrail refused.
type ContentBlocked struct{ TollgateError }

// EtagMismatch says that the resource changed since it was read. Read it again, then repeat.
type EtagMismatch struct{ TollgateError }

// AlreadyExists says that there is a resource of this identity.
type AlreadyExists struct {
	TollgateError
	// Resource is its kind.
	Resource string
	// ID of the one that is there.
	ID string
}

// BudgetRefusal is how a budget stood when it refused a call. Amounts are nano-dollars.
type BudgetRefusal struct {
	// Scope is what the budget is on, in words.
	Scope string
	// BudgetID is its id.
	BudgetID string
	// LimitNanoUSD is its limit.
	LimitNanoUSD int64
	// SpentNanoUSD was settled in its window.
	SpentNanoUSD int64
	// HeldNanoUSD was held by calls in flight.
	HeldNanoUSD int64
	// NeededNanoUSD is the worst case of the call.
	NeededNanoUSD int64
	// ResetsAt is when its window ends; the zero time where it has none.
	ResetsAt time.Time
}

// BudgetExceeded says that a budget is spent: terminal until it is raised or resets.
type BudgetExceeded struct {
	TollgateError
	BudgetRefusal
}

// BudgetHeld says that a budget has room, but that calls in flight hold it: a later try may pass.
type BudgetHeld struct {
	TollgateError
	BudgetRefusal
}

// CallCostCeiling says that the call's own `max_cost_nano_usd` is below its worst case.
type CallCostCeiling struct {
	TollgateError
	// MaxCostNanoUSD is what the call allows.
	MaxCostNanoUSD int64
	// NeededNanoUSD is its worst case.
	NeededNanoUSD int64
}

// PriceUnknown says that a hard budget applies and the deployment has no price.
type PriceUnknown struct {
	TollgateError
	// Model as it was asked for.
	Model string
	// Deployment without a price.
	Deployment string
}

// IdempotencyMismatch says that the idempotency key was used before with another request.
type IdempotencyMismatch struct {
	TollgateError
	// CallID of the request before.
	CallID string
}

// IdempotencyReplayUnavailable says that the same request was completed and billed, but its answer is no longer kept.
type IdempotencyReplayUnavailable struct {
	TollgateError
	// CallID of the request before.
	CallID string
}

// RateLimited says that a limit of the caller's own is reached; RetryAfter tells for how long.
type RateLimited struct {
	TollgateError
	// Scope is what the limit is on: a key, a team, ...
	Scope string
	// Limit is its figure.
	Limit int64
	// Dimension is what it counts.
	Dimension string
}

// ResourceInUse says that it still has teams, users or keys that work.
type ResourceInUse struct {
	TollgateError
	// Resource is its kind.
	Resource string
	// ID of it.
	ID string
}

// NoRoute says that no deployment of the model, nor of its fallbacks, may serve the call.
type NoRoute struct {
	TollgateError
	// Model as it was asked for.
	Model string
}

// DeadlineExceeded says that the call's time was up; errors.Is finds context.DeadlineExceeded in it.
type DeadlineExceeded struct{ TollgateError }

// Cancelled says that the call was given up; errors.Is finds context.Canceled in it.
type Cancelled struct{ TollgateError }

// Overloaded says that the gateway sheds load or shuts down. Nothing was charged.
type Overloaded struct{ TollgateError }

// LedgerUnavailable says that the gateway cannot write its journal, so no call may start. Nothing was charged.
type LedgerUnavailable struct{ TollgateError }

// StoreUnavailable says that the gateway's database is away, so nothing can be changed now.
type StoreUnavailable struct{ TollgateError }

// Unavailable says that the gateway cannot be reached, or the connection to it broke.
type Unavailable struct{ TollgateError }

// Internal says that there is a defect in the gateway, or in whatever stands before it.
type Internal struct{ TollgateError }

// RouteNotFound says that the gateway has no such RPC: it is older than this client.
type RouteNotFound struct{ TollgateError }

// ProviderError says that the provider failed, and so did every fallback: errors.As finds it in every type named Provider... and in
// [StreamTruncated].
type ProviderError struct {
	TollgateError
	// Provider in the configuration.
	Provider string
	// Deployment in the configuration.
	Deployment string
	// UpstreamStatus is the provider's HTTP status; 0: none came.
	UpstreamStatus int
}

// As finds the ProviderError, and the TollgateError, within the types that embed it.
func (e *ProviderError) As(target any) bool {
	if base, ok := target.(**ProviderError); ok {
		*base = e
		return true
	}
	return e.TollgateError.As(target)
}

// ProviderRateLimited says that the provider's rate limit refused.
type ProviderRateLimited struct{ ProviderError }

// ProviderQuotaExceeded says that the operator's account at the provider is out of money or quota.
type ProviderQuotaExceeded struct{ ProviderError }

// ProviderOverloaded says that the provider is overloaded.
type ProviderOverloaded struct{ ProviderError }

// ProviderFailed says that the provider failed with a server error or could not be reached.
type ProviderFailed struct{ ProviderError }

// ProviderTimeout says that the provider did not answer in time.
type ProviderTimeout struct{ ProviderError }

// ProviderCredential says that the provider refused the operator's credential; the caller's key is fine.
type ProviderCredential struct{ ProviderError }

// ProviderModelUnavailable says that the provider does not know the configured model, or refuses it to the operator.
type ProviderModelUnavailable struct{ ProviderError }

// ProviderProtocol says that the provider's bytes broke its own protocol.
type ProviderProtocol struct{ ProviderError }

// ProviderRefusedRequest says that the provider found the request invalid; the message is the provider's.
type ProviderRefusedRequest struct{ ProviderError }

// StreamTruncated says that the answer broke off; PartialUsage tells what it cost.
type StreamTruncated struct{ ProviderError }
