package tollgate_test

import (
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	"tollgate.dev/clients/go/tollgate"
	v1 "tollgate.dev/clients/go/tollgate/v1"
)

// A status with details, as the gateway makes it.
func failed(t *testing.T, code codes.Code, details ...protoadapt.MessageV1) error {
	t.Helper()
	with, err := status.New(code, "what went wrong").WithDetails(details...)
	if err != nil {
		t.Fatal(err)
	}
	return tollgate.FromError(with.Err())
}

func info(reason string, metadata map[string]string) *errdetails.ErrorInfo {
	return &errdetails.ErrorInfo{Domain: "tollgate.dev", Reason: reason, Metadata: metadata}
}

// The name of an error's type, as all of Tollgate's clients have it.
func typeOf(err error) string { return reflect.TypeOf(err).Elem().Name() }

func TestEveryReasonOfTheContractHasAType(t *testing.T) {
	t.Parallel()
	shared := map[string]string{
		"API_KEY_MISSING": "Unauthenticated", "API_KEY_INVALID": "Unauthenticated", "API_KEY_EXPIRED": "Unauthenticated",
		"API_KEY_REVOKED": "Unauthenticated", "API_KEY_BLOCKED": "PermissionDenied", "ROLE_NOT_ALLOWED": "PermissionDenied",
		"RIGHTS_EXCEEDED": "PermissionDenied", "INVALID_FIELD": "InvalidRequest", "BUDGET_EXHAUSTED": "BudgetExceeded",
	}
	for number, name := range v1.ErrorReason_name {
		reason := strings.TrimPrefix(name, "ERROR_REASON_")
		if number == 0 {
			continue
		}
		want, is := shared[reason]
		if !is { // the reason's own name
			for _, word := range strings.Split(strings.ToLower(reason), "_") {
				want += strings.ToUpper(word[:1]) + word[1:]
			}
		}
		err := failed(t, codes.Unknown, info(reason, nil))
		var base *tollgate.TollgateError
		if !errors.As(err, &base) || base.Reason != reason || typeOf(err) != want {
			t.Errorf("%s is %s, not %s", reason, typeOf(err), want)
		}
		var provider *tollgate.ProviderError
		if is := strings.HasPrefix(reason, "PROVIDER_") || reason == "STREAM_TRUNCATED"; errors.As(err, &provider) != is {
			t.Errorf("%s is a ProviderError: %t", reason, !is)
		}
	}
}

func TestWhatGRPCItselfMakesHasATypeByItsCode(t *testing.T) {
	t.Parallel()
	for code, want := range map[codes.Code]string{
		codes.DeadlineExceeded: "DeadlineExceeded", codes.Canceled: "Cancelled", codes.Unavailable: "Unavailable",
		codes.Unauthenticated: "Unauthenticated", codes.PermissionDenied: "PermissionDenied", codes.InvalidArgument: "InvalidRequest",
		codes.ResourceExhausted: "RequestTooLarge", codes.Unimplemented: "RouteNotFound", codes.Internal: "Internal",
		codes.NotFound: "TollgateError", codes.Unknown: "TollgateError",
	} {
		for _, details := range [][]protoadapt.MessageV1{nil, {&errdetails.ErrorInfo{Domain: "elsewhere.example", Reason: "BUDGET_EXHAUSTED"}}} {
			if err := failed(t, code, details...); typeOf(err) != want {
				t.Errorf("%s is %s, not %s", code, typeOf(err), want)
			}
		}
	}
}

func TestAReasonThatIsNewerThanTheClientIsTheBaseType(t *testing.T) {
	t.Parallel()
	err := failed(t, codes.Aborted, info("MOON_TOO_FULL", map[string]string{"phase": "full"}))
	base, ok := err.(*tollgate.TollgateError)
	if !ok || base.Reason != "MOON_TOO_FULL" || base.Metadata["phase"] != "full" || base.Code != codes.Aborted {
		t.Errorf("%#v", err)
	}
}

func TestARefusingBudgetTellsHowItStands(t *testing.T) {
	t.Parallel()
	metadata := map[string]string{
		"budgetId": "bud_1", "scope": "team x", "limitNanoUsd": "5", "spentNanoUsd": "4", "heldNanoUsd": "1", "neededNanoUsd": "3",
		"resetTime": "2026-12-01T00:00:00Z",
	}
	err := failed(t, codes.ResourceExhausted, info("BUDGET_EXHAUSTED", metadata), &errdetails.RetryInfo{RetryDelay: durationpb.New(90 * time.Second)},
		&errdetails.RequestInfo{RequestId: "call_1"})
	want := tollgate.BudgetRefusal{
		Scope: "team x", BudgetID: "bud_1", LimitNanoUSD: 5, SpentNanoUSD: 4, HeldNanoUSD: 1, NeededNanoUSD: 3,
		ResetsAt: time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC),
	}
	var budget *tollgate.BudgetExceeded
	if !errors.As(err, &budget) || budget.BudgetRefusal != want || budget.RequestID != "call_1" {
		t.Errorf("%#v", err)
	}
	if after, told := budget.RetryAfter(); !told || after != 90*time.Second {
		t.Error(after, told)
	}
	metadata["resetTime"] = ""
	var held *tollgate.BudgetHeld
	if err := failed(t, codes.ResourceExhausted, info("BUDGET_HELD", metadata)); !errors.As(err, &held) || !held.ResetsAt.IsZero() {
		t.Errorf("%#v", err)
	}
	if after, told := held.RetryAfter(); told {
		t.Error(after)
	}
}

func TestWrongFieldsAreNamedEach(t *testing.T) {
	t.Parallel()
	err := failed(t, codes.InvalidArgument, info("INVALID_FIELD", nil), &errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{
		{Field: "request.n", Description: "too many"}, {Field: "request.model", Description: "missing"},
	}})
	var invalid *tollgate.InvalidRequest
	if !errors.As(err, &invalid) || invalid.Field != "request.n" ||
		!reflect.DeepEqual(invalid.Violations, []tollgate.FieldViolation{{"request.n", "too many"}, {"request.model", "missing"}}) {
		t.Errorf("%#v", err)
	}
}

func TestABrokenStreamTellsWhatItCost(t *testing.T) {
	t.Parallel()
	err := failed(t, codes.Unavailable, info("STREAM_TRUNCATED", map[string]string{"provider": "p", "deployment": "d", "upstreamStatus": "200"}),
		&v1.PartialUsage{CallId: "call_1", Usage: &v1.Usage{CostNanoUsd: 12}})
	var provider *tollgate.ProviderError
	if !errors.As(err, &provider) || provider.Provider != "p" || provider.Deployment != "d" || provider.UpstreamStatus != 200 ||
		provider.PartialUsage.GetUsage().GetCostNanoUsd() != 12 {
		t.Errorf("%#v", err)
	}
}

func TestAnErrorKeepsItsStatusAndOthersStayThemselves(t *testing.T) {
	t.Parallel()
	err := failed(t, codes.NotFound, info("MODEL_NOT_FOUND", map[string]string{"model": "m"}))
	if found, ok := status.FromError(err); !ok || found.Code() != codes.NotFound || len(found.Details()) != 1 {
		t.Error(found, ok)
	}
	if again := tollgate.FromError(err); again != err {
		t.Error(again)
	}
	if err.Error() != "tollgate: what went wrong (MODEL_NOT_FOUND)" {
		t.Error(err)
	}
	if tollgate.FromError(nil) != nil || tollgate.FromError(io.EOF) != io.EOF {
		t.Error("an error that is none of gRPC's was changed")
	}
}
