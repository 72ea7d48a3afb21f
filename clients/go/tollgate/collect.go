package tollgate

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	v1 "tollgate.dev/clients/go/tollgate/v1"
)

// More parts than any answer has, as the gateway counts.
const maxParts = 10_000

// The fold of a stream's events: the gateway answers `CreateCompletion` by the same.
type collector struct {
	started *v1.Started
	usage   *v1.Usage
	routing *v1.Routing
	receipt *v1.Receipt
	native  *v1.Original
	choices map[uint32]*openChoice
}

type openChoice struct {
	parts    []*openPart
	finished *v1.Finished
	logprobs []string
}

// A part that grows: what its first piece made of it, and all words so far, joined at the end and not with each piece.
type openPart struct {
	first *v1.Delta
	words strings.Builder
	// Of reasoning.
	signature *string
	format    string
}

func (c *collector) take(event *v1.CompletionEvent) {
	if c.native == nil {
		c.native = event.GetNative()
	}
	switch event := event.GetEvent().(type) {
	case *v1.CompletionEvent_Restarted:
		if event.Restarted.DiscardFromSeq != nil {
			c.choices, c.native = nil, nil
		}
	case *v1.CompletionEvent_Started:
		c.started = event.Started
	case *v1.CompletionEvent_Delta:
		c.choice(event.Delta.GetChoice()).take(event.Delta)
	case *v1.CompletionEvent_Finished:
		c.choice(event.Finished.GetChoice()).finished = event.Finished
	case *v1.CompletionEvent_Usage:
		c.usage = event.Usage
	case *v1.CompletionEvent_Routing:
		c.routing = event.Routing
	case *v1.CompletionEvent_Receipt:
		c.receipt = event.Receipt
	}
}

func (c *collector) choice(index uint32) *openChoice {
	if c.choices == nil {
		c.choices = map[uint32]*openChoice{}
	}
	if c.choices[index] == nil {
		c.choices[index] = &openChoice{}
	}
	return c.choices[index]
}

func (c *collector) completion() *v1.Completion {
	whole := &v1.Completion{Started: c.started, Usage: c.usage, Routing: c.routing, Receipt: c.receipt, Native: c.native}
	for _, index := range slices.Sorted(maps.Keys(c.choices)) {
		open := c.choices[index]
		message := &v1.Message{Role: v1.Role_ROLE_ASSISTANT}
		for _, part := range open.parts {
			if part.first != nil { // one that said nothing left no piece behind
				message.Parts = append(message.Parts, part.done())
			}
		}
		whole.Choices = append(whole.Choices, &v1.Choice{
			Index: index, Message: message, Finished: open.finished, LogprobsJson: joinedLogprobs(open.logprobs),
		})
	}
	return whole
}

func (c *openChoice) take(delta *v1.Delta) {
	if delta.GetLogprobsJson() != "" {
		c.logprobs = append(c.logprobs, delta.GetLogprobsJson())
	}
	if delta.GetPiece() == nil || delta.GetPart() >= maxParts {
		return
	}
	for len(c.parts) <= int(delta.GetPart()) {
		c.parts = append(c.parts, &openPart{})
	}
	c.parts[delta.GetPart()].take(delta)
}

// Later pieces add to what is of their kind; one of another kind has no place.
func (p *openPart) take(delta *v1.Delta) {
	if p.first == nil {
		p.first = delta
	}
	switch p.first.GetPiece().(type) {
	case *v1.Delta_Text:
		p.words.WriteString(delta.GetText())
	case *v1.Delta_Refusal:
		p.words.WriteString(delta.GetRefusal())
	case *v1.Delta_ToolCallStart, *v1.Delta_ToolArguments:
		p.words.WriteString(delta.GetToolArguments())
	case *v1.Delta_Reasoning, *v1.Delta_ReasoningSignature, *v1.Delta_ReasoningRedacted:
		p.words.WriteString(delta.GetReasoning())
		if piece, ok := delta.GetPiece().(*v1.Delta_ReasoningSignature); ok {
			p.signature = &piece.ReasoningSignature
		}
		if delta.GetReasoningFormat() != "" {
			p.format = delta.GetReasoningFormat()
		}
	}
}

func (p *openPart) done() *v1.Part {
	words := p.words.String()
	switch piece := p.first.GetPiece().(type) {
	case *v1.Delta_Text:
		return Text(words)
	case *v1.Delta_Refusal:
		return &v1.Part{Content: &v1.Part_Refusal{Refusal: &v1.RefusalPart{Text: words}}}
	case *v1.Delta_ToolCallStart, *v1.Delta_ToolArguments:
		start := p.first.GetToolCallStart()
		return &v1.Part{Content: &v1.Part_ToolCall{ToolCall: &v1.ToolCallPart{
			Id: start.GetId(), Name: start.GetName(), TypeNative: start.GetTypeNative(), ArgumentsJson: words,
		}}}
	case *v1.Delta_OpaqueJson:
		return &v1.Part{Content: &v1.Part_Opaque{Opaque: &v1.OpaquePart{Json: piece.OpaqueJson}}}
	}
	reasoning := &v1.ReasoningPart{Text: words, Signature: p.signature}
	if piece, ok := p.first.GetPiece().(*v1.Delta_ReasoningRedacted); ok {
		reasoning.Redacted = &piece.ReasoningRedacted
	}
	if p.format != "" {
		reasoning.Format = &p.format
	}
	return &v1.Part{Content: &v1.Part_Reasoning{Reasoning: reasoning}}
}

// Joins objects of lists (`{"content": [...]}`) member by member; one that is no such object is left out.
func joinedLogprobs(pieces []string) string {
	if len(pieces) < 2 {
		return strings.Join(pieces, "")
	}
	all := map[string][]json.RawMessage{}
	for _, piece := range pieces {
		var lists map[string][]json.RawMessage
		if json.Unmarshal([]byte(piece), &lists) == nil {
			for name, items := range lists {
				all[name] = append(all[name], items...)
			}
		}
	}
	joined, err := json.Marshal(all)
	if err != nil {
		return pieces[0]
	}
	return string(joined)
}
