package tollgate

import (
	"encoding/json"
	"strings"

	v1 "tollgate.dev/clients/go/tollgate/v1"
)

// Answer is a whole completion: its choices, usage and route, with helpers for what is asked for most.
type Answer struct {
	*v1.Completion
}

// ToolCall is what the model asks for.
type ToolCall struct {
	// ID that the result must quote; see [ToolResult].
	ID string
	// Name of the tool.
	Name string
	// Arguments as the model wrote them: text that is usually, not always, a JSON object.
	Arguments string
}

// Decode reads the arguments into a value, as json.Unmarshal does.
func (c ToolCall) Decode(into any) error { return json.Unmarshal([]byte(c.Arguments), into) }

// Message is that of the first choice, to be put into the next request of the conversation; nil where there is no choice.
func (a *Answer) Message() *v1.Message { return a.first().GetMessage() }

// Text is all text of the first choice.
func (a *Answer) Text() string {
	var text strings.Builder
	for _, part := range a.Message().GetParts() {
		text.WriteString(part.GetText().GetText())
	}
	return text.String()
}

// Refusal is why the model declined, in its words; empty: it did not.
func (a *Answer) Refusal() string {
	var text strings.Builder
	for _, part := range a.Message().GetParts() {
		text.WriteString(part.GetRefusal().GetText())
	}
	return text.String()
}

// ToolCalls are those of the first choice, in order.
func (a *Answer) ToolCalls() []ToolCall {
	var calls []ToolCall
	for _, part := range a.Message().GetParts() {
		if call := part.GetToolCall(); call != nil {
			calls = append(calls, ToolCall{call.GetId(), call.GetName(), call.GetArgumentsJson()})
		}
	}
	return calls
}

// FinishReason is why the first choice ended.
func (a *Answer) FinishReason() v1.FinishReason { return a.first().GetFinished().GetReason() }

func (a *Answer) first() *v1.Choice {
	for _, choice := range a.GetChoices() {
		if choice.GetIndex() == 0 {
			return choice
		}
	}
	return nil
}
