package tollgate

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"time"

	"go.opentelemetry.io/otel/propagation"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/reflect/protoreflect"

	v1 "tollgate.dev/clients/go/tollgate/v1"
)

// Services whose calls go to a model, or carry files, and take as long as that does.
var modelServices = []string{
	"CompletionService", "EmbeddingService", "RerankService", "ModerationService", "ImageService", "AudioService", "FileService",
}

// Streams without an end of their own.
var endless = []string{"ExportLog", "TailRecords", "WatchSpend"}

type traceparentKey struct{}

// WithTraceparent makes calls under the context children of this span: the value of W3C Trace Context's `traceparent`, as in
// `00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01`. It wins over a span of OpenTelemetry's in the context.
func WithTraceparent(ctx context.Context, traceparent string) context.Context {
	return context.WithValue(ctx, traceparentKey{}, traceparent)
}

// The context of a call: with its metadata and, where it has none, a deadline.
func (c *caller) prepare(ctx context.Context, method string) (context.Context, context.CancelFunc) {
	pairs := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, pairs)
	if given, ok := ctx.Value(traceparentKey{}).(string); ok {
		pairs = propagation.MapCarrier{"traceparent": given}
	}
	sent, _ := metadata.FromOutgoingContext(ctx)
	sent = sent.Copy()
	if sent == nil {
		sent = metadata.MD{}
	}
	for name, value := range pairs {
		sent.Set(name, value)
	}
	if c.authorization != "" && len(sent.Get("authorization")) == 0 {
		sent.Set("authorization", c.authorization)
	}
	ctx = metadata.NewOutgoingContext(ctx, sent)
	if _, has := ctx.Deadline(); !has {
		if timeout := c.timeoutOf(method); timeout > 0 {
			return context.WithTimeout(ctx, timeout)
		}
	}
	return context.WithCancel(ctx)
}

// Of a method as gRPC names it: `/tollgate.v1.KeyAdminService/GetKey`.
func (c *caller) timeoutOf(method string) time.Duration {
	for _, name := range endless {
		if strings.HasSuffix(method, "/"+name) {
			return 0
		}
	}
	for _, service := range modelServices {
		if strings.Contains(method, "."+service+"/") {
			return c.timeout
		}
	}
	if c.timeout == 0 {
		return adminTimeout
	}
	return min(c.timeout, adminTimeout)
}

// A stream whose errors have types, and whose context ends with it.
type typedStream struct {
	grpc.ClientStream
	cancel context.CancelFunc
}

// RecvMsg of grpc.ClientStream.
func (s *typedStream) RecvMsg(message any) error {
	err := s.ClientStream.RecvMsg(message)
	if err == nil {
		return nil
	}
	s.cancel()
	if errors.Is(err, io.EOF) {
		return err
	}
	return FromError(err)
}

// SendMsg of grpc.ClientStream.
func (s *typedStream) SendMsg(message any) error {
	err := s.ClientStream.SendMsg(message)
	if err == nil || errors.Is(err, io.EOF) { // EOF: RecvMsg tells why
		return err
	}
	s.cancel()
	return FromError(err)
}

// How the names of RPCs begin that change nothing.
var reading = []string{"Get", "List", "Query", "Count", "Explain", "Check"}

// Whether an RPC may be made again when nobody knows whether it was made: it only reads, or its request has an id that makes it repeatable.
func repeatable(method protoreflect.MethodDescriptor) bool {
	for _, prefix := range reading {
		if strings.HasPrefix(string(method.Name()), prefix) {
			return true
		}
	}
	return method.Input().Fields().ByName("request_id") != nil
}

// Every RPC of the contract.
func methods() []protoreflect.MethodDescriptor {
	files := []protoreflect.FileDescriptor{
		v1.File_tollgate_v1_audio_proto, v1.File_tollgate_v1_audit_proto, v1.File_tollgate_v1_batch_proto,
		v1.File_tollgate_v1_budget_proto, v1.File_tollgate_v1_completion_proto, v1.File_tollgate_v1_embedding_proto,
		v1.File_tollgate_v1_file_proto, v1.File_tollgate_v1_image_proto, v1.File_tollgate_v1_key_admin_proto,
		v1.File_tollgate_v1_model_proto, v1.File_tollgate_v1_moderation_proto, v1.File_tollgate_v1_rerank_proto,
		v1.File_tollgate_v1_response_proto, v1.File_tollgate_v1_tenancy_proto,
	}
	var found []protoreflect.MethodDescriptor
	for _, file := range files {
		for s := range file.Services().Len() {
			service := file.Services().Get(s)
			for m := range service.Methods().Len() {
				found = append(found, service.Methods().Get(m))
			}
		}
	}
	return found
}

// Retries for the RPCs that are repeatable, in gRPC's own terms.
func serviceConfig() string {
	type name struct {
		Service string `json:"service"`
		Method  string `json:"method"`
	}
	var safe []name
	for _, method := range methods() {
		if repeatable(method) {
			safe = append(safe, name{string(method.Parent().FullName()), string(method.Name())})
		}
	}
	config, err := json.Marshal(map[string]any{"methodConfig": []any{map[string]any{
		"name": safe,
		"retryPolicy": map[string]any{
			"maxAttempts": 4, "initialBackoff": "0.1s", "maxBackoff": "1s", "backoffMultiplier": 2,
			"retryableStatusCodes": []string{"UNAVAILABLE"},
		},
	}}})
	if err != nil {
		panic(err) // it holds names and numbers alone
	}
	return string(config)
}
