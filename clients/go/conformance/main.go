// The runner of the cases in tests/cases for this package: reads calls from standard input, makes them, and writes what it saw, a line of
// JSON for each. It compares nothing.
package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"tollgate.dev/clients/go/tollgate"
)

// How many cases run at once.
const atOnce = 8

type testCase struct {
	Name    string `json:"name"`
	Key     string `json:"key"`
	Address string `json:"address"`
	TLS     files  `json:"tls"`
	Call    call   `json:"call"`
}

// Files of certificates.
type files struct {
	CA          string `json:"ca"`
	Certificate string `json:"certificate"`
	PrivateKey  string `json:"private_key"`
}

type call struct {
	Do                string          `json:"do"`
	Request           json.RawMessage `json:"request"`
	DeadlineMs        int64           `json:"deadline_ms"`
	CancelAfterEvents int             `json:"cancel_after_events"`
	Take              int             `json:"take"`
	Traceparent       string          `json:"traceparent"`
	Times             int             `json:"times"`
	EveryMs           int64           `json:"every_ms"`
	LingerMs          int64           `json:"linger_ms"`
	Uploads           []sent          `json:"uploads"`
}

// A file to send: a text so many times.
type sent struct {
	Field       string `json:"field"`
	Filename    string `json:"filename"`
	ContentType string `json:"content_type"`
	Text        string `json:"text"`
	Times       int    `json:"times"`
}

// What the client showed; the names are those of tests/cases/README.md.
type saw struct {
	Answer        json.RawMessage   `json:"answer,omitempty"`
	Answers       []json.RawMessage `json:"answers,omitempty"`
	Items         []json.RawMessage `json:"items,omitempty"`
	Text          *string           `json:"text,omitempty"`
	ToolCalls     []toolCall        `json:"tool_calls,omitempty"`
	FinishReason  string            `json:"finish_reason,omitempty"`
	Usage         *usage            `json:"usage,omitempty"`
	Receipt       json.RawMessage   `json:"receipt,omitempty"`
	Events        []string          `json:"events,omitempty"`
	Received      *int              `json:"received,omitempty"`
	Cancelled     bool              `json:"cancelled,omitempty"`
	CancelledAtMs int64             `json:"cancelled_at_ms,omitempty"`
	Error         *failure          `json:"error,omitempty"`
	File          *string           `json:"file,omitempty"`
	ContentType   string            `json:"content_type,omitempty"`
	Unsupported   bool              `json:"unsupported,omitempty"`
}

type toolCall struct {
	ID        string `json:"id"`
	Name      string `json:"name"`
	Arguments string `json:"arguments"`
}

type usage struct {
	InputTokens  uint64 `json:"input_tokens"`
	OutputTokens uint64 `json:"output_tokens"`
	CostNanoUSD  int64  `json:"cost_nano_usd"`
	Estimated    bool   `json:"estimated"`
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	var document struct {
		Address string     `json:"address"`
		Cases   []testCase `json:"cases"`
	}
	if err := json.NewDecoder(bufio.NewReader(os.Stdin)).Decode(&document); err != nil {
		return fmt.Errorf("standard input: %w", err)
	}
	// A case without a key is one of a client without a key.
	for _, name := range []string{"TOLLGATE_ADDRESS", "TOLLGATE_API_KEY"} {
		if err := os.Unsetenv(name); err != nil {
			return err
		}
	}
	var group sync.WaitGroup
	var line sync.Mutex
	places := make(chan struct{}, atOnce)
	output := json.NewEncoder(os.Stdout)
	for _, one := range document.Cases {
		places <- struct{}{}
		group.Go(func() {
			defer func() { <-places }()
			seen := play(one, document.Address)
			line.Lock()
			defer line.Unlock()
			if err := output.Encode(map[string]any{"name": one.Name, "saw": seen}); err != nil {
				fmt.Fprintln(os.Stderr, one.Name, err)
			}
		})
	}
	group.Wait()
	return nil
}

func play(one testCase, address string) *saw {
	if one.Address != "" {
		address = one.Address
	}
	options := []tollgate.Option{tollgate.WithAddress(address), tollgate.WithKey(one.Key)}
	if one.TLS != (files{}) {
		config, err := one.TLS.config()
		if err != nil {
			return &saw{Error: failureOf(err)}
		}
		options = append(options, tollgate.WithTLS(config))
	}
	client, err := tollgate.New(options...)
	if err != nil {
		return &saw{Error: failureOf(err)}
	}
	defer func() { _ = client.Close() }()
	var seen *saw
	var answers []json.RawMessage
	for range max(one.Call.Times, 1) {
		seen = timed(client, one.Call)
		if one.Call.Times > 0 {
			answers = append(answers, seen.Answer)
		}
	}
	seen.Answers = answers
	return seen
}

func (f files) config() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	pem, err := os.ReadFile(f.CA)
	if err != nil {
		return nil, err
	}
	config.RootCAs = x509.NewCertPool()
	config.RootCAs.AppendCertsFromPEM(pem)
	if f.Certificate == "" {
		return config, nil
	}
	own, err := tls.LoadX509KeyPair(f.Certificate, f.PrivateKey)
	config.Certificates = []tls.Certificate{own}
	return config, err
}

func timed(client *tollgate.Client, asked call) *saw {
	ctx := context.Background()
	if asked.Traceparent != "" {
		ctx = tollgate.WithTraceparent(ctx, asked.Traceparent)
	}
	if asked.DeadlineMs > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(asked.DeadlineMs)*time.Millisecond)
		defer cancel()
	}
	do, known := calls[asked.Do]
	if !known {
		return &saw{Unsupported: true}
	}
	return do(ctx, client, asked)
}

// The request in the form that the client takes.
func parsed[T any, Message interface {
	*T
	proto.Message
}](text json.RawMessage) (Message, error) {
	message := Message(new(T))
	if len(text) == 0 {
		return message, nil
	}
	if err := protojson.Unmarshal(text, message); err != nil {
		return nil, fmt.Errorf("the case's request: %w", err)
	}
	return message, nil
}

func asJSON(message proto.Message) json.RawMessage {
	text, err := protojson.Marshal(message)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return nil
	}
	return text
}
