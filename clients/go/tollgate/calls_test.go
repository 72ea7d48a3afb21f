package tollgate_test

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/trace"
	"google.golang.org/protobuf/proto"

	"tollgate.dev/clients/go/tollgate"
	v1 "tollgate.dev/clients/go/tollgate/v1"
)

func TestEveryCallBringsTheKeyAndSaysWhoCalls(t *testing.T) {
	t.Parallel()
	gateway := &scripted{events: events(t, hello)}
	client := gateway.start(t)
	if _, err := client.Keys.Get(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Stream(t.Context(), tollgate.NewRequest("m")).Final(); err != nil {
		t.Fatal(err)
	}
	// A generated client of the caller's own has it too.
	if _, err := v1.NewCompletionServiceClient(client.Conn()).CreateCompletion(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	for _, method := range []string{"GetKey", "StreamCompletion", "CreateCompletion"} {
		headers := gateway.of(method)[0].headers
		if got := headers.Get("authorization"); !slices.Equal(got, []string{"Bearer tg-test"}) {
			t.Errorf("%s: authorization %q", method, got)
		}
		if got := headers.Get("user-agent"); len(got) != 1 || !strings.HasPrefix(got[0], "tollgate-go/"+tollgate.Version) {
			t.Errorf("%s: user agent %q", method, got)
		}
	}
}

func TestTheKeyIsInNothingThatPrints(t *testing.T) {
	t.Parallel()
	client := (&scripted{}).start(t, tollgate.WithKey("tg-secret"))
	if printed := fmt.Sprintf("%v %+v %#v", client, client, *client); strings.Contains(printed, "tg-secret") {
		t.Error(printed)
	}
	_, err := tollgate.New(tollgate.WithKey("tg-secret\n"))
	if err == nil || strings.Contains(err.Error(), "tg-secret") {
		t.Error(err)
	}
	_, err = tollgate.New(tollgate.WithAddress("http://tg-secret@host:1"))
	if err == nil || strings.Contains(err.Error(), "tg-secret") {
		t.Error(err)
	}
}

func TestAnAddressThatIsNoneIsRefusedWithTheFormThatItHas(t *testing.T) {
	t.Parallel()
	for _, address := range []string{"127.0.0.1:4000", "localhost", "ftp://host", "http://", "http://host:1/v1", "http://host?x", "http://[::1", "http://host:port"} {
		if _, err := tollgate.New(tollgate.WithAddress(address)); err == nil || !strings.Contains(err.Error(), "http://host:port, or https://host:port") {
			t.Errorf("%s: %v", address, err)
		}
	}
	for _, address := range []string{"http://host", "http://host:4000/", "https://host", "http://[::1]:4000"} {
		client, err := tollgate.New(tollgate.WithAddress(address))
		if err != nil {
			t.Errorf("%s: %v", address, err)
			continue
		}
		_ = client.Close()
	}
}

func TestReadsAndCreationsAreRepeatedWhileTheGatewayIsUnavailable(t *testing.T) {
	t.Parallel()
	gateway := &scripted{refusals: 2}
	client := gateway.start(t)
	if _, err := client.Keys.Get(t.Context(), "key_1"); err != nil {
		t.Error(err)
	}
	if _, err := client.Keys.Create(t.Context(), &v1.CreateKeyRequest{}); err != nil {
		t.Error(err)
	}
	ids := map[string]bool{}
	for _, call := range gateway.of("CreateKey") {
		ids[call.request.(*v1.CreateKeyRequest).GetRequestId()] = true
	}
	if len(gateway.of("GetKey")) != 3 || len(gateway.of("CreateKey")) != 3 || len(ids) != 1 {
		t.Errorf("%d reads, %d creations with %v", len(gateway.of("GetKey")), len(gateway.of("CreateKey")), ids)
	}
}

func TestRetriesHaveAnEnd(t *testing.T) {
	t.Parallel()
	gateway := &scripted{refusals: 100}
	client := gateway.start(t)
	_, err := client.Keys.Get(t.Context(), "key_1")
	var unavailable *tollgate.Unavailable
	if !errors.As(err, &unavailable) || unavailable.Message != "not yet" || len(gateway.of("GetKey")) != 4 {
		t.Errorf("%v after %d tries", err, len(gateway.of("GetKey")))
	}
}

func TestWhatMayHaveCostOrChangedSomethingIsTriedOnce(t *testing.T) {
	t.Parallel()
	gateway := &scripted{refusals: 1}
	client := gateway.start(t)
	_, completing := client.Complete(t.Context(), tollgate.NewRequest("m"))
	_, streaming := client.Stream(t.Context(), tollgate.NewRequest("m")).Final()
	_, updating := client.Keys.Update(t.Context(), &v1.Key{Id: "key_1"}, "display_name")
	for method, err := range map[string]error{"CreateCompletion": completing, "StreamCompletion": streaming, "UpdateKey": updating} {
		var unavailable *tollgate.Unavailable
		if !errors.As(err, &unavailable) || len(gateway.of(method)) != 1 {
			t.Errorf("%s: %v after %d tries", method, err, len(gateway.of(method)))
		}
	}
}

func TestACreationHasAnIDOfItsOwnUnlessTheCallerGivesOne(t *testing.T) {
	t.Parallel()
	gateway := &scripted{}
	client := gateway.start(t)
	given := &v1.CreateKeyRequest{RequestId: "mine"}
	none := &v1.CreateKeyRequest{}
	for _, request := range []*v1.CreateKeyRequest{given, none, none, nil} {
		if _, err := client.Keys.Create(t.Context(), request); err != nil {
			t.Fatal(err)
		}
	}
	var ids []string
	for _, call := range gateway.of("CreateKey") {
		ids = append(ids, call.request.(*v1.CreateKeyRequest).GetRequestId())
	}
	uuid := regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
	if ids[0] != "mine" || !uuid.MatchString(ids[1]) || !uuid.MatchString(ids[2]) || !uuid.MatchString(ids[3]) || ids[1] == ids[2] {
		t.Error(ids)
	}
	if none.GetRequestId() != "" {
		t.Error("the caller's request was changed")
	}
}

func TestAContextWithoutDeadlineGetsTheClients(t *testing.T) {
	t.Parallel()
	gateway := &scripted{}
	client := gateway.start(t, tollgate.WithTimeout(5*time.Minute))
	own, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	for _, ctx := range []context.Context{t.Context(), own} {
		if _, err := client.Complete(ctx, tollgate.NewRequest("m")); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := client.Keys.Get(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	for range client.Audit.Tail(t.Context(), nil) {
		break
	}
	for _, want := range []struct {
		method string
		call   int
		left   time.Duration
	}{{"CreateCompletion", 0, 5 * time.Minute}, {"CreateCompletion", 1, time.Hour}, {"GetKey", 0, time.Minute}, {"TailRecords", 0, 0}} {
		left := gateway.of(want.method)[want.call].deadline
		if left > want.left || left < want.left-30*time.Second {
			t.Errorf("%s has %s, not %s", want.method, left, want.left)
		}
	}
}

func TestTheTraceGoesAlong(t *testing.T) {
	t.Parallel()
	gateway := &scripted{}
	client := gateway.start(t)
	span := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled})
	const given = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	traced := trace.ContextWithSpanContext(t.Context(), span)
	for _, ctx := range []context.Context{t.Context(), traced, tollgate.WithTraceparent(traced, given)} {
		if _, err := client.Keys.Get(ctx, ""); err != nil {
			t.Fatal(err)
		}
	}
	calls := gateway.of("GetKey")
	for at, want := range [][]string{nil, {"00-01000000000000000000000000000000-0200000000000000-01"}, {given}} {
		if got := calls[at].headers.Get("traceparent"); !slices.Equal(got, want) {
			t.Errorf("call %d: %q, not %q", at, got, want)
		}
	}
}

func TestAListIsReadOverAllItsPages(t *testing.T) {
	t.Parallel()
	for _, keys := range []int{0, 2, 5} {
		gateway := &scripted{keys: keys}
		client := gateway.start(t)
		request := &v1.ListKeysRequest{TeamId: "team_1"}
		got := 0
		for key, err := range client.Keys.List(t.Context(), request) {
			if err != nil {
				t.Fatal(err)
			}
			got++
			if key.GetId() != strings.Repeat("k", got) || key.GetTeamId() != "team_1" {
				t.Errorf("key %d is %v", got, key)
			}
		}
		if got != keys || len(gateway.of("ListKeys")) != max(1, (keys+1)/2) {
			t.Errorf("%d of %d keys in %d pages", got, keys, len(gateway.of("ListKeys")))
		}
		if !proto.Equal(request, &v1.ListKeysRequest{TeamId: "team_1"}) {
			t.Error("the caller's request was changed")
		}
	}
}

func TestAPageIsAskedForWhenTheLoopGetsThere(t *testing.T) {
	t.Parallel()
	gateway := &scripted{keys: 100}
	client := gateway.start(t)
	got := 0
	for range client.Keys.List(t.Context(), nil) {
		if got++; got == 3 {
			break
		}
	}
	if len(gateway.of("ListKeys")) != 2 {
		t.Errorf("%d pages for three keys", len(gateway.of("ListKeys")))
	}
}

func TestAFailedPageIsTheLastThingThatAListYields(t *testing.T) {
	t.Parallel()
	client := (&scripted{}).start(t)
	var failures []error
	for budget, err := range client.Budgets.List(t.Context(), nil) {
		if budget != nil {
			t.Error(budget)
		}
		failures = append(failures, err)
	}
	var none *tollgate.RouteNotFound
	if len(failures) != 1 || !errors.As(failures[0], &none) {
		t.Error(failures)
	}
}

func TestLeavingTheAuditLogEndsTheCall(t *testing.T) {
	t.Parallel()
	gateway := &scripted{}
	client := gateway.start(t)
	for record, err := range client.Audit.Tail(t.Context(), nil) {
		if err != nil {
			t.Fatal(err)
		}
		if record.GetSequence() == 3 {
			break
		}
	}
	gateway.wasLeft(t)
}
