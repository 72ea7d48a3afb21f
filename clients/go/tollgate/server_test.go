package tollgate_test

import (
	"context"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"

	"tollgate.dev/clients/go/tollgate"
	v1 "tollgate.dev/clients/go/tollgate/v1"
)

// A gateway that does as a test says, and remembers what it was asked.
type scripted struct {
	v1.UnimplementedCompletionServiceServer
	v1.UnimplementedKeyAdminServiceServer
	v1.UnimplementedAuditServiceServer
	v1.UnimplementedBudgetServiceServer

	// Refuses so many calls of each method first.
	refusals int
	// What StreamCompletion sends; then it fails with `err`, or waits for the caller to go where `waits`.
	events []*v1.CompletionEvent
	err    error
	waits  bool
	// TLS, or nil for none.
	transport credentials.TransportCredentials
	// Keys that ListKeys has.
	keys int

	lock    sync.Mutex
	calls   map[string][]seen
	address string
	gone    chan struct{} // closed when a waiting stream's caller has gone
	ends    chan error    // how what came ended in calls of services that it has not; io.EOF: as a whole
}

// A call as it arrived.
type seen struct {
	headers  metadata.MD
	request  proto.Message
	deadline time.Duration // left; 0: none
}

func (s *scripted) note(ctx context.Context, method string, request proto.Message) error {
	s.lock.Lock()
	defer s.lock.Unlock()
	headers, _ := metadata.FromIncomingContext(ctx)
	var left time.Duration
	if deadline, has := ctx.Deadline(); has {
		left = time.Until(deadline)
	}
	name := method[strings.LastIndex(method, "/")+1:]
	s.calls[name] = append(s.calls[name], seen{headers, request, left})
	if len(s.calls[name]) <= s.refusals {
		return status.Error(codes.Unavailable, "not yet")
	}
	return nil
}

func (s *scripted) of(method string) []seen {
	s.lock.Lock()
	defer s.lock.Unlock()
	return s.calls[method]
}

// Starts it, with a client of it that ends with the test.
func (s *scripted) start(t *testing.T, options ...tollgate.Option) *tollgate.Client {
	t.Helper()
	s.calls, s.gone, s.ends = map[string][]seen{}, make(chan struct{}), make(chan error, 16)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	// What it does not serve it does not refuse either: which of two ends came first would be left to chance.
	waits := grpc.UnknownServiceHandler(func(_ any, call grpc.ServerStream) error {
		var err error
		for err == nil {
			err = call.RecvMsg(&emptypb.Empty{}) // whose unknown fields any message is
		}
		s.ends <- err
		<-call.Context().Done()
		return nil
	})
	server := grpc.NewServer(grpc.Creds(s.transport), waits, grpc.UnaryInterceptor(
		func(ctx context.Context, request any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
			if err := s.note(ctx, info.FullMethod, request.(proto.Message)); err != nil {
				return nil, err
			}
			return handle(ctx, request)
		}))
	v1.RegisterCompletionServiceServer(server, s)
	v1.RegisterKeyAdminServiceServer(server, s)
	v1.RegisterAuditServiceServer(server, s)
	v1.RegisterBudgetServiceServer(server, s)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	scheme := "http"
	if s.transport != nil {
		scheme = "https"
	}
	s.address = scheme + "://" + listener.Addr().String()
	settings := []tollgate.Option{tollgate.WithAddress(s.address), tollgate.WithKey("tg-test")}
	client, err := tollgate.New(append(settings, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func (s *scripted) CreateCompletion(context.Context, *v1.CreateCompletionRequest) (*v1.CreateCompletionResponse, error) {
	return &v1.CreateCompletionResponse{Completion: &v1.Completion{}}, nil
}

func (s *scripted) StreamCompletion(request *v1.StreamCompletionRequest, stream grpc.ServerStreamingServer[v1.StreamCompletionResponse]) error {
	if err := s.note(stream.Context(), "/StreamCompletion", request); err != nil {
		return err
	}
	for at, event := range s.events {
		event := proto.CloneOf(event)
		event.Seq = uint64(at)
		if err := stream.Send(&v1.StreamCompletionResponse{Event: event}); err != nil {
			return err
		}
	}
	if s.waits {
		<-stream.Context().Done()
		close(s.gone)
		// The server knows the deadline as well, and its clock may be the first.
		return status.FromContextError(stream.Context().Err()).Err()
	}
	return s.err
}

func (s *scripted) TailRecords(request *v1.TailRecordsRequest, stream grpc.ServerStreamingServer[v1.TailRecordsResponse]) error {
	if err := s.note(stream.Context(), "/TailRecords", request); err != nil {
		return err
	}
	for sequence := int64(1); ; sequence++ {
		if err := stream.Send(&v1.TailRecordsResponse{Record: &v1.AuditRecord{Sequence: sequence}}); err != nil {
			close(s.gone)
			return err
		}
	}
}

func (s *scripted) CreateKey(_ context.Context, request *v1.CreateKeyRequest) (*v1.CreateKeyResponse, error) {
	return &v1.CreateKeyResponse{Key: request.GetKey(), Secret: "tg-made"}, nil
}

func (s *scripted) UpdateKey(_ context.Context, request *v1.UpdateKeyRequest) (*v1.UpdateKeyResponse, error) {
	return &v1.UpdateKeyResponse{Key: request.GetKey()}, nil
}

func (s *scripted) GetKey(_ context.Context, request *v1.GetKeyRequest) (*v1.GetKeyResponse, error) {
	return &v1.GetKeyResponse{Key: &v1.Key{Id: request.GetId()}}, nil
}

// Two keys for each page; the token is the first key's number.
func (s *scripted) ListKeys(_ context.Context, request *v1.ListKeysRequest) (*v1.ListKeysResponse, error) {
	response := &v1.ListKeysResponse{}
	at := 0
	for range request.GetPageToken() {
		at++
	}
	for ; at < s.keys && len(response.Keys) < 2; at++ {
		response.Keys = append(response.Keys, &v1.Key{Id: strings.Repeat("k", at+1), TeamId: request.GetTeamId()})
	}
	if at < s.keys {
		response.NextPageToken = strings.Repeat(".", at)
	}
	return response, nil
}

// The caller's going is seen by the scripted gateway.
func (s *scripted) wasLeft(t *testing.T) {
	t.Helper()
	select {
	case <-s.gone:
	case <-time.After(5 * time.Second):
		t.Fatal("the call goes on at the gateway")
	}
}
