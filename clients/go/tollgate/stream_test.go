package tollgate_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"tollgate.dev/clients/go/tollgate"
	v1 "tollgate.dev/clients/go/tollgate/v1"
)

// Events in proto3's JSON form, one for each line.
func events(t *testing.T, lines string) []*v1.CompletionEvent {
	t.Helper()
	var found []*v1.CompletionEvent
	for line := range strings.Lines(strings.TrimSpace(lines)) {
		event := &v1.CompletionEvent{}
		if err := protojson.Unmarshal([]byte(line), event); err != nil {
			t.Fatal(line, err)
		}
		found = append(found, event)
	}
	return found
}

const finished = `
{"finished": {"reason": "FINISH_REASON_STOP"}}`

const hello = `
{"started": {"callId": "call_1"}}
{"delta": {"text": "Hel"}}
{"delta": {"text": "lo"}}
{"delta": {"choice": 1, "text": "Hi"}}
{"partDone": {}}
{"finished": {"reason": "FINISH_REASON_STOP"}}
{"usage": {"costNanoUsd": "7"}}`

func TestTextComesInPiecesOfTheFirstChoice(t *testing.T) {
	t.Parallel()
	client := (&scripted{events: events(t, hello)}).start(t)
	stream := client.Stream(t.Context(), tollgate.NewRequest("m", tollgate.User("hi")))
	var pieces []string
	for text, err := range stream.Text() {
		if err != nil {
			t.Fatal(err)
		}
		pieces = append(pieces, text)
	}
	answer, err := stream.Final()
	if err != nil || !slices.Equal(pieces, []string{"Hel", "lo"}) || answer.Text() != "Hello" {
		t.Error(pieces, answer, err)
	}
}

func TestEventsComeInOrderByTheirNames(t *testing.T) {
	t.Parallel()
	client := (&scripted{events: events(t, hello+"\n{}")}).start(t)
	var kinds []string
	for event, err := range client.Stream(t.Context(), nil).Events() {
		if err != nil {
			t.Fatal(err)
		}
		kinds = append(kinds, event.Kind())
	}
	if !slices.Equal(kinds, []string{"started", "text", "text", "text", "part_done", "finished", "usage", ""}) {
		t.Error(kinds)
	}
}

func TestAStreamCollectedIsTheWholeAnswer(t *testing.T) {
	t.Parallel()
	for name, one := range map[string]struct{ events, want string }{
		"choices": {hello, `{"started": {"callId": "call_1"}, "usage": {"costNanoUsd": "7"}, "choices": [
			{"message": {"role": "ROLE_ASSISTANT", "parts": [{"text": {"text": "Hello"}}]}},
			{"index": 1, "message": {"role": "ROLE_ASSISTANT", "parts": [{"text": {"text": "Hi"}}]}}]}`},
		"parts of every kind, and one that said nothing": {`
{"delta": {"part": 0, "reasoning": "I "}}
{"delta": {"part": 0, "reasoning": "think"}}
{"delta": {"part": 0, "reasoningSignature": "sig", "reasoningFormat": "f1"}}
{"delta": {"part": 1, "reasoningRedacted": "xyz", "reasoningFormat": "f2"}}
{"delta": {"part": 3, "toolCallStart": {"id": "t1", "name": "weather"}}}
{"delta": {"part": 3, "toolArguments": "{\"a\""}}
{"delta": {"part": 3, "toolArguments": ":1}"}}
{"delta": {"part": 4, "refusal": "No"}}
{"delta": {"part": 4, "refusal": "!"}}
{"delta": {"part": 5, "opaqueJson": "{}"}}
{"delta": {"part": 4, "text": "of another kind"}}`,
			`{"choices": [{"message": {"role": "ROLE_ASSISTANT", "parts": [
			{"reasoning": {"text": "I think", "signature": "sig", "format": "f1"}}, {"reasoning": {"redacted": "xyz", "format": "f2"}},
			{"toolCall": {"id": "t1", "name": "weather", "argumentsJson": "{\"a\":1}"}}, {"refusal": {"text": "No!"}}, {"opaque": {"json": "{}"}}]}}]}`},
		"an answer that starts over": {`
{"started": {"callId": "call_1", "attempt": 1}}
{"delta": {"text": "void"}}
{"restarted": {"attempt": 2, "policy": "MIDSTREAM_POLICY_RESTART", "discardFromSeq": "1"}}
{"started": {"callId": "call_1", "attempt": 2}}
{"delta": {"text": "good"}}`,
			`{"started": {"callId": "call_1", "attempt": 2}, "choices": [{"message": {"role": "ROLE_ASSISTANT", "parts": [{"text": {"text": "good"}}]}}]}`},
		"an answer that goes on elsewhere": {`
{"delta": {"text": "One, "}}
{"restarted": {"attempt": 2, "policy": "MIDSTREAM_POLICY_CONTINUE"}}
{"delta": {"text": "two"}}`,
			`{"choices": [{"message": {"role": "ROLE_ASSISTANT", "parts": [{"text": {"text": "One, two"}}]}}]}`},
		"log probabilities": {`
{"delta": {"text": "a", "logprobsJson": "{\"content\": [1]}"}}
{"delta": {"text": "b", "logprobsJson": "{\"content\": [2.50], \"refusal\": null}"}}`,
			`{"choices": [{"logprobsJson": "{\"content\":[1,2.50],\"refusal\":null}",
			"message": {"role": "ROLE_ASSISTANT", "parts": [{"text": {"text": "ab"}}]}}]}`},
	} {
		client := (&scripted{events: events(t, one.events+finished)}).start(t)
		answer, err := client.Stream(t.Context(), nil).Final()
		if err != nil {
			t.Fatal(name, err)
		}
		answer.Choices[0].Finished = nil
		want := &v1.Completion{}
		if err := protojson.Unmarshal([]byte(one.want), want); err != nil {
			t.Fatal(name, err)
		}
		if !proto.Equal(answer.Completion, want) {
			t.Errorf("%s: %v, not %v", name, answer.Completion, want)
		}
	}
}

func TestAStreamThatEndsBeforeItIsFinishedIsAnError(t *testing.T) {
	t.Parallel()
	for name, sent := range map[string]string{
		"cut": `{"started": {"callId": "call_1"}}` + "\n" + `{"delta": {"text": "half"}}`,
		"cut after it began anew": `{"delta": {"text": "void"}}` + finished + "\n" +
			`{"restarted": {"policy": "MIDSTREAM_POLICY_RESTART", "discardFromSeq": "0"}}` + "\n" + `{"delta": {"text": "half"}}`,
	} {
		client := (&scripted{events: events(t, sent)}).start(t)
		stream := client.Stream(t.Context(), nil)
		_, err := stream.Final()
		var internal *tollgate.Internal
		if !errors.As(err, &internal) || stream.Partial().Text() != "half" {
			t.Error(name, err, stream.Partial())
		}
	}
}

func TestAFileThatCannotBeReadEndsItsUploadWithItsOwnError(t *testing.T) {
	t.Parallel()
	client := (&scripted{}).start(t)
	torn := tollgate.Upload{Content: iotest.ErrReader(errors.New("torn")), Filename: "input.jsonl"}
	_, err := client.Files.Upload(t.Context(), &v1.FileHeader{Purpose: "batch"}, torn)
	if err == nil || !strings.Contains(err.Error(), "torn") {
		t.Error(err)
	}
	_, err = client.Audio.Transcribe(t.Context(), &v1.TranscriptionHead{}, torn)
	if err == nil || !strings.Contains(err.Error(), "torn") {
		t.Error(err)
	}
}

func TestAReaderThatBreaksMakesNoWholeFileOfItsHalf(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	server := &scripted{}
	client := server.start(t)
	for _, broken := range []error{io.ErrUnexpectedEOF, fmt.Errorf("the connection broke: %w", io.EOF)} {
		half := func() tollgate.Upload {
			begun := strings.NewReader(strings.Repeat("x", 1<<20)) // more than what lies in buffers on the way
			return tollgate.Upload{Content: io.MultiReader(begun, iotest.ErrReader(broken)), Filename: "half"}
		}
		for name, upload := range map[string]func() error{
			"file": func() error {
				_, err := client.Files.Upload(ctx, &v1.FileHeader{Purpose: "batch"}, half())
				return err
			},
			"recording": func() error {
				_, err := client.Audio.Transcribe(ctx, &v1.TranscriptionHead{}, half())
				return err
			},
			"image": func() error {
				_, err := client.Images.Edit(ctx, &v1.EditImageHead{}, []tollgate.Upload{half()}, nil)
				return err
			},
		} {
			if err := upload(); !errors.Is(err, broken) {
				t.Fatalf("%s, %v: told %v", name, broken, err)
			}
			if end := <-server.ends; status.Code(end) != codes.Canceled {
				t.Fatalf("%s, %v: it ended with %v", name, broken, end)
			}
		}
	}
}

func TestTextSaysThatItIsVoidWhenTheAnswerStartsOver(t *testing.T) {
	t.Parallel()
	client := (&scripted{events: events(t, `
{"delta": {"text": "void"}}
{"restarted": {"policy": "MIDSTREAM_POLICY_RESTART", "discardFromSeq": "0"}}
{"delta": {"text": "good"}}`+finished)}).start(t)
	text := ""
	for piece, err := range client.Stream(t.Context(), nil).Text() {
		switch {
		case errors.Is(err, tollgate.ErrAnswerRestarted):
			text = "restarted:"
		case err != nil:
			t.Fatal(err)
		}
		text += piece
	}
	if text != "restarted:good" {
		t.Error(text)
	}
}

func TestAStreamThatBreaksTellsOnceAndKeepsWhatCame(t *testing.T) {
	t.Parallel()
	client := (&scripted{events: events(t, `{"delta": {"text": "Hel"}}`), err: status.Error(codes.Internal, "broken")}).start(t)
	stream := client.Stream(t.Context(), nil)
	var failures []error
	for _, err := range stream.Text() {
		if err != nil {
			failures = append(failures, err)
		}
	}
	var internal *tollgate.Internal
	if len(failures) != 1 || !errors.As(failures[0], &internal) {
		t.Error(failures)
	}
	if _, err := stream.Final(); !errors.As(err, &internal) || stream.Partial().Text() != "Hel" {
		t.Error(err, stream.Partial())
	}
}

func TestTheCallEndsAtTheGatewayWhen(t *testing.T) {
	t.Parallel()
	for name, leave := range map[string]func(*tollgate.Stream, context.CancelFunc){
		"a loop over events is left": func(s *tollgate.Stream, _ context.CancelFunc) {
			for range s.Events() {
				return
			}
		},
		"a loop over text is left": func(s *tollgate.Stream, _ context.CancelFunc) {
			for range s.Text() {
				return
			}
		},
		"the stream is closed": func(s *tollgate.Stream, _ context.CancelFunc) {
			for range s.Events() {
				s.Close()
			}
		},
		"the context is cancelled": func(s *tollgate.Stream, cancel context.CancelFunc) {
			for range s.Events() {
				cancel()
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			gateway := &scripted{events: events(t, `{"delta": {"text": "Hel"}}`), waits: true}
			client := gateway.start(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			stream := client.Stream(ctx, nil)
			leave(stream, cancel)
			gateway.wasLeft(t)
			var cancelled *tollgate.Cancelled
			if _, err := stream.Final(); !errors.As(err, &cancelled) || !errors.Is(err, context.Canceled) || stream.Partial().Text() != "Hel" {
				t.Error(err, stream.Partial())
			}
		})
	}
}

func TestADeadlineEndsAStreamAsTheContextsOwnError(t *testing.T) {
	t.Parallel()
	gateway := &scripted{waits: true}
	client := gateway.start(t, tollgate.WithTimeout(100*time.Millisecond))
	_, err := client.Stream(t.Context(), nil).Final()
	var late *tollgate.DeadlineExceeded
	if !errors.As(err, &late) || !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	gateway.wasLeft(t)
}
