package tollgate

import (
	"context"
	"errors"
	"strconv"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	v1 "tollgate.dev/clients/go/tollgate/v1"
)

// Domain of the gateway's reasons in `google.rpc.ErrorInfo`.
const errorDomain = "tollgate.dev"

// TollgateError is what every failed call comes to, by itself or within one of the types that embed it: errors.As finds it in each.
type TollgateError struct {
	// Code is gRPC's.
	Code codes.Code
	// Reason is the name of a v1.ErrorReason without its prefix, as in `BUDGET_EXHAUSTED`; empty where the transport failed.
	Reason string
	// Message is for people and may change.
	Message string
	// Metadata is what the reason says besides; `error.proto` names it for each.
	Metadata map[string]string
	// RequestID is the call's id in ledger and audit log; empty where the call did not get so far.
	RequestID string
	// PartialUsage tells what a call cost that broke after a provider had begun to bill it; nil: nothing.
	PartialUsage *v1.PartialUsage
	// Receipt is the promise that the audit log holds the failure; nil where it was not asked for.
	Receipt *v1.Receipt

	retryAfter *time.Duration
	status     *status.Status
}

// Error has the message with the reason, or the code where there is none.
func (e *TollgateError) Error() string {
	return "tollgate: " + e.Message + " (" + orElse(e.Reason, e.Code.String()) + ")"
}

// RetryAfter is how long to wait before another try; false where waiting does not help, or nobody knows.
func (e *TollgateError) RetryAfter() (time.Duration, bool) {
	if e.retryAfter == nil {
		return 0, false
	}
	return *e.retryAfter, true
}

// GRPCStatus is the status as it came, for status.FromError.
func (e *TollgateError) GRPCStatus() *status.Status { return e.status }

// Is makes a call that ran out of time context.DeadlineExceeded, and one that was given up context.Canceled.
func (e *TollgateError) Is(target error) bool {
	return e.Code == codes.DeadlineExceeded && target == context.DeadlineExceeded ||
		e.Code == codes.Canceled && target == context.Canceled
}

// As finds the TollgateError within the types that embed it.
func (e *TollgateError) As(target any) bool {
	if base, ok := target.(**TollgateError); ok {
		*base = e
		return true
	}
	return false
}

// FromError gives an error of gRPC's its type. Calls of a [Client] have it already; others keep theirs.
func FromError(err error) error {
	var typed *TollgateError
	if err == nil || errors.As(err, &typed) {
		return err
	}
	// Not status.FromError: where gRPC wraps what the last try got, that puts its own words in place of the gateway's.
	var carrier interface{ GRPCStatus() *status.Status }
	if errors.As(err, &carrier) && carrier.GRPCStatus().Code() != codes.OK {
		return fromStatus(carrier.GRPCStatus())
	}
	if found := status.FromContextError(err); found.Code() != codes.Unknown {
		return fromStatus(found)
	}
	return err
}

func fromStatus(from *status.Status) error {
	base := TollgateError{Code: from.Code(), Message: from.Message(), status: from}
	var violations []FieldViolation
	for _, detail := range from.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			if detail.GetDomain() == errorDomain {
				base.Reason, base.Metadata = detail.GetReason(), detail.GetMetadata()
			}
		case *errdetails.RequestInfo:
			base.RequestID = detail.GetRequestId()
		case *errdetails.RetryInfo:
			if delay := detail.GetRetryDelay(); delay != nil {
				after := delay.AsDuration()
				base.retryAfter = &after
			}
		case *errdetails.BadRequest:
			for _, violation := range detail.GetFieldViolations() {
				violations = append(violations, FieldViolation{violation.GetField(), violation.GetDescription()})
			}
		case *v1.PartialUsage:
			base.PartialUsage = detail
		case *v1.Receipt:
			base.Receipt = detail
		}
	}
	if base.Reason == "" {
		return byCode(base, violations)
	}
	return byReason(base, violations)
}

// What gRPC itself makes, between client and gateway.
func byCode(e TollgateError, violations []FieldViolation) error {
	switch e.Code {
	case codes.DeadlineExceeded:
		return &DeadlineExceeded{e}
	case codes.Canceled:
		return &Cancelled{e}
	case codes.Unavailable:
		return &Unavailable{e}
	case codes.Unauthenticated:
		return &Unauthenticated{e}
	case codes.PermissionDenied:
		return &PermissionDenied{e}
	case codes.InvalidArgument:
		return invalidRequest(e, violations)
	case codes.ResourceExhausted:
		return &RequestTooLarge{TollgateError: e}
	case codes.Unimplemented:
		return &RouteNotFound{e}
	case codes.Internal:
		return &Internal{e}
	default:
		return &e
	}
}

func byReason(e TollgateError, violations []FieldViolation) error {
	told := e.Metadata
	switch e.Reason {
	case "API_KEY_MISSING", "API_KEY_INVALID", "API_KEY_EXPIRED", "API_KEY_REVOKED":
		return &Unauthenticated{e}
	case "API_KEY_BLOCKED", "ROLE_NOT_ALLOWED", "RIGHTS_EXCEEDED":
		return &PermissionDenied{e}
	case "MODEL_NOT_ALLOWED":
		return &ModelNotAllowed{e, told["model"]}
	case "MODEL_NOT_FOUND":
		return &ModelNotFound{e, told["model"]}
	case "RESOURCE_NOT_FOUND":
		return &ResourceNotFound{e, told["resource"], told["id"]}
	case "INVALID_FIELD":
		return invalidRequest(e, violations)
	case "UNSUPPORTED_FIELD":
		return &UnsupportedField{e, told["field"], told["provider"]}
	case "CONTEXT_WINDOW_EXCEEDED":
		return &ContextWindowExceeded{e}
	case "REQUEST_TOO_LARGE":
		return &RequestTooLarge{e, number(told["limitBytes"])}
	case "CONTENT_BLOCKED":
		return &ContentBlocked{e}
	case "ETAG_MISMATCH":
		return &EtagMismatch{e}
	case "ALREADY_EXISTS":
		return &AlreadyExists{e, told["resource"], told["id"]}
	case "BUDGET_EXHAUSTED":
		return &BudgetExceeded{e, budgetRefusal(told)}
	case "BUDGET_HELD":
		return &BudgetHeld{e, budgetRefusal(told)}
	case "CALL_COST_CEILING":
		return &CallCostCeiling{e, number(told["maxCostNanoUsd"]), number(told["neededNanoUsd"])}
	case "PRICE_UNKNOWN":
		return &PriceUnknown{e, told["model"], told["deployment"]}
	case "IDEMPOTENCY_MISMATCH":
		return &IdempotencyMismatch{e, told["callId"]}
	case "IDEMPOTENCY_REPLAY_UNAVAILABLE":
		return &IdempotencyReplayUnavailable{e, told["callId"]}
	case "DEADLINE_EXCEEDED":
		return &DeadlineExceeded{e}
	case "OVERLOADED":
		return &Overloaded{e}
	case "LEDGER_UNAVAILABLE":
		return &LedgerUnavailable{e}
	case "STORE_UNAVAILABLE":
		return &StoreUnavailable{e}
	case "INTERNAL":
		return &Internal{e}
	case "CANCELLED":
		return &Cancelled{e}
	case "ROUTE_NOT_FOUND":
		return &RouteNotFound{e}
	case "RATE_LIMITED":
		return &RateLimited{e, told["scope"], number(told["limit"]), orElse(told["dimension"], told["limitName"])}
	case "RESOURCE_IN_USE":
		return &ResourceInUse{e, told["resource"], told["id"]}
	case "NO_ROUTE":
		return &NoRoute{e, told["model"]}
	}
	return byProviderReason(ProviderError{e, told["provider"], told["deployment"], int(number(told["upstreamStatus"]))})
}

func byProviderReason(e ProviderError) error {
	switch e.Reason {
	case "PROVIDER_RATE_LIMITED":
		return &ProviderRateLimited{e}
	case "PROVIDER_QUOTA_EXCEEDED":
		return &ProviderQuotaExceeded{e}
	case "PROVIDER_OVERLOADED":
		return &ProviderOverloaded{e}
	case "PROVIDER_FAILED":
		return &ProviderFailed{e}
	case "PROVIDER_TIMEOUT":
		return &ProviderTimeout{e}
	case "PROVIDER_CREDENTIAL":
		return &ProviderCredential{e}
	case "PROVIDER_MODEL_UNAVAILABLE":
		return &ProviderModelUnavailable{e}
	case "PROVIDER_PROTOCOL":
		return &ProviderProtocol{e}
	case "PROVIDER_REFUSED_REQUEST":
		return &ProviderRefusedRequest{e}
	case "STREAM_TRUNCATED":
		return &StreamTruncated{e}
	default:
		return &e.TollgateError // newer than this client
	}
}

func invalidRequest(e TollgateError, violations []FieldViolation) error {
	invalid := &InvalidRequest{TollgateError: e, Violations: violations}
	if len(violations) > 0 {
		invalid.Field = violations[0].Field
	}
	return invalid
}

func budgetRefusal(told map[string]string) BudgetRefusal {
	resets, _ := time.Parse(time.RFC3339Nano, told["resetTime"]) // empty: the zero time
	return BudgetRefusal{
		Scope: told["scope"], BudgetID: told["budgetId"], LimitNanoUSD: number(told["limitNanoUsd"]), SpentNanoUSD: number(told["spentNanoUsd"]),
		HeldNanoUSD: number(told["heldNanoUsd"]), NeededNanoUSD: number(told["neededNanoUsd"]), ResetsAt: resets,
	}
}

func number(text string) int64 {
	value, _ := strconv.ParseInt(text, 10, 64) // what is no number is as good as not told
	return value
}
