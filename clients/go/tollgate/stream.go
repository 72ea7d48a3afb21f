package tollgate

import (
	"context"
	"errors"
	"io"
	"iter"

	"google.golang.org/grpc"

	v1 "tollgate.dev/clients/go/tollgate/v1"
)

// ErrAnswerRestarted is what [Stream.Text] yields where another deployment starts the answer over: the text before it is void. Whoever
// goes on with the loop gets the answer that took over. It happens only where the call, or the model, asks for MIDSTREAM_POLICY_RESTART.
var ErrAnswerRestarted = errors.New("tollgate: the answer starts over, and the text so far is void")

// Complete asks for a completion and waits for all of it.
func (c *Client) Complete(ctx context.Context, request *v1.CompletionRequest) (*Answer, error) {
	response, err := c.completions.CreateCompletion(ctx, &v1.CreateCompletionRequest{Request: request})
	if err != nil {
		return nil, err
	}
	return &Answer{response.GetCompletion()}, nil
}

// Stream asks for a completion that comes as it is made. The call begins at once; what is wrong with it is told by the first step of an
// iterator. Close the stream, read it to its end, or cancel the context: an answer that nobody reads is paid for all the same.
func (c *Client) Stream(ctx context.Context, request *v1.CompletionRequest) *Stream {
	ctx, cancel := context.WithCancel(ctx)
	incoming, err := c.completions.StreamCompletion(ctx, &v1.StreamCompletionRequest{Request: request})
	if err != nil {
		cancel()
	}
	return &Stream{incoming: incoming, cancel: cancel, err: err}
}

// CountTokens counts the tokens of a prompt without making the call.
func (c *Client) CountTokens(ctx context.Context, request *v1.CompletionRequest) (*v1.CountTokensResponse, error) {
	return c.completions.CountTokens(ctx, &v1.CountTokensRequest{Request: request})
}

// Stream is a completion on its way. Its methods are for one goroutine at a time, but for Close.
type Stream struct {
	incoming grpc.ServerStreamingClient[v1.StreamCompletionResponse]
	cancel   context.CancelFunc
	folded   collector
	finished bool  // a choice is, so that the stream may end
	err      error // why it ended; io.EOF: it was complete
}

// Events yields what happens, in order. An error is the last thing that it yields. Leaving the loop early ends the call, here and at the
// provider.
func (s *Stream) Events() iter.Seq2[*Event, error] {
	return func(yield func(*Event, error) bool) {
		for s.err == nil {
			event, ok := s.next()
			if !ok {
				break
			}
			if !yield(event, nil) {
				s.Close()
				return
			}
		}
		if s.err != nil && !errors.Is(s.err, io.EOF) {
			yield(nil, s.err)
		}
	}
}

// Text yields the text of the first choice in pieces, as it comes. Leaving the loop early ends the call, but for the step with
// [ErrAnswerRestarted] the loop may go on after.
func (s *Stream) Text() iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for event, err := range s.Events() {
			var more bool
			switch {
			case err != nil:
				more = yield("", err)
			case event.voids():
				more = yield("", ErrAnswerRestarted)
			case event.Text() != "":
				more = yield(event.Text(), nil)
			default:
				more = true
			}
			if !more {
				return
			}
		}
	}
}

// Final reads what has not been read and returns the whole answer: the same that [Client.Complete] would have given.
func (s *Stream) Final() (*Answer, error) {
	for _, err := range s.Events() {
		if err != nil {
			return nil, err
		}
	}
	return s.Partial(), nil
}

// Partial is the answer as far as it was read.
func (s *Stream) Partial() *Answer { return &Answer{s.folded.completion()} }

// Close ends the call, here and at the provider, unless it has ended. What was produced until then is settled.
func (s *Stream) Close() { s.cancel() }

func (s *Stream) next() (*Event, bool) {
	response, err := s.incoming.Recv()
	if errors.Is(err, io.EOF) && !s.finished {
		err = unfinished()
	}
	if err != nil {
		s.err = err
		s.cancel()
		return nil, false
	}
	switch response.GetEvent().GetEvent().(type) {
	case *v1.CompletionEvent_Finished:
		s.finished = true
	case *v1.CompletionEvent_Restarted:
		s.finished = false
	}
	s.folded.take(response.GetEvent())
	return &Event{response.GetEvent()}, true
}

// Event is one thing that happens to a completion.
type Event struct {
	*v1.CompletionEvent
}

// Kind is what happened, by its name in the contract: `started`, `restarted`, `part_done`, `finished`, `usage`, `routing`, `receipt`, and for a
// delta the name of its piece: `text`, `reasoning`, `tool_call_start`, `tool_arguments`, ... Empty: it matters only in the provider's dialect.
func (e *Event) Kind() string {
	message := e.ProtoReflect()
	kind := message.WhichOneof(message.Descriptor().Oneofs().ByName("event"))
	switch {
	case kind == nil:
		return ""
	case kind.Name() != "delta":
		return string(kind.Name())
	}
	delta := e.GetDelta().ProtoReflect()
	if piece := delta.WhichOneof(delta.Descriptor().Oneofs().ByName("piece")); piece != nil {
		return string(piece.Name())
	}
	return "delta"
}

// Text is the text that the event adds to the first choice; empty: none.
func (e *Event) Text() string {
	if e.GetDelta().GetChoice() != 0 {
		return ""
	}
	return e.GetDelta().GetText()
}

func (e *Event) voids() bool {
	return e.GetRestarted() != nil && e.GetRestarted().DiscardFromSeq != nil
}
