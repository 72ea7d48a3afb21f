package tollgate

import (
	"context"
	"errors"
	"io"
	"iter"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
)

// All items of a list, page after page: the next page is asked for when the loop gets there.
func pages[Request proto.Message, Response interface{ GetNextPageToken() string }, Item any](
	ctx context.Context, request Request, token func(Request, string),
	list func(context.Context, Request, ...grpc.CallOption) (Response, error), items func(Response) []Item,
) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		ask := copied(request)
		for {
			page, err := list(ctx, ask)
			if err != nil {
				var none Item
				yield(none, err)
				return
			}
			for _, item := range items(page) {
				if !yield(item, nil) {
					return
				}
			}
			if page.GetNextPageToken() == "" {
				return
			}
			token(ask, page.GetNextPageToken())
		}
	}
}

// What a server streams. Leaving the loop ends the call.
func streamed[Request any, Response, Item any](
	ctx context.Context, request Request,
	open func(context.Context, Request, ...grpc.CallOption) (grpc.ServerStreamingClient[Response], error), item func(*Response) Item,
) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		var none Item
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		stream, err := open(ctx, request)
		if err != nil {
			yield(none, err)
			return
		}
		for {
			response, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				yield(none, err)
				return
			}
			if !yield(item(response), nil) {
				return
			}
		}
	}
}

// A request of its own, so that the caller's stays as it is; an empty one for nil.
func copied[Request proto.Message](request Request) Request {
	if message := request.ProtoReflect(); !message.IsValid() {
		return message.New().Interface().(Request)
	}
	return proto.CloneOf(request)
}

// The request with an id that makes it repeatable, in place of none.
func withID[Request proto.Message](request Request) Request {
	request = copied(request)
	message := request.ProtoReflect()
	field := message.Descriptor().Fields().ByName("request_id")
	if message.Get(field).String() == "" {
		message.Set(field, protoreflect.ValueOfString(uuid.NewString()))
	}
	return request
}

// A mask of paths; nil where there are none, which is the gateway's own choice for each RPC.
func mask(paths []string) *fieldmaskpb.FieldMask {
	if len(paths) == 0 {
		return nil
	}
	return &fieldmaskpb.FieldMask{Paths: paths}
}
