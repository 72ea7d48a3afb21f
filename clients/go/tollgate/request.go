package tollgate

import (
	"encoding/json"
	"fmt"

	v1 "tollgate.dev/clients/go/tollgate/v1"
)

// NewRequest begins a request: the model's alias and the conversation. Set what else is wanted on it, as in
// `request.MaxOutputTokens = new(int64(100))`.
func NewRequest(model string, messages ...*v1.Message) *v1.CompletionRequest {
	return &v1.CompletionRequest{Model: &model, Messages: messages}
}

// System is a message with instructions of the application.
func System(text string) *v1.Message { return message(v1.Role_ROLE_SYSTEM, Text(text)) }

// User is a message of whoever asks.
func User(text string) *v1.Message { return message(v1.Role_ROLE_USER, Text(text)) }

// UserParts is a message of whoever asks, in parts: text, images, files.
func UserParts(parts ...*v1.Part) *v1.Message { return message(v1.Role_ROLE_USER, parts...) }

// Assistant is a message of the model. One that it sent is put into the next request as it came: [Answer.Message].
func Assistant(text string) *v1.Message { return message(v1.Role_ROLE_ASSISTANT, Text(text)) }

// ToolResult is the answer to a tool call, by its id.
func ToolResult(callID, text string) *v1.Message {
	return message(v1.Role_ROLE_TOOL, &v1.Part{Content: &v1.Part_ToolResult{
		ToolResult: &v1.ToolResultPart{ToolCallId: callID, Content: []*v1.Part{Text(text)}},
	}})
}

// ToolFailure is the answer to a tool call that failed: how.
func ToolFailure(callID, text string) *v1.Message {
	failed := ToolResult(callID, text)
	failed.Parts[0].GetToolResult().IsError = new(true)
	return failed
}

// Text is a part with text.
func Text(text string) *v1.Part {
	return &v1.Part{Content: &v1.Part_Text{Text: &v1.TextPart{Text: text}}}
}

// ImageURL is a part with an image that the provider fetches.
func ImageURL(url string) *v1.Part {
	return &v1.Part{Content: &v1.Part_Image{Image: &v1.ImagePart{Url: &url}}}
}

// ImageData is a part with an image itself, of a media type such as `image/png`.
func ImageData(mediaType string, data []byte) *v1.Part {
	return &v1.Part{Content: &v1.Part_Image{Image: &v1.ImagePart{Data: data, MediaType: &mediaType}}}
}

// Function is a tool that the model may call. The schema of its arguments is JSON Schema: text, json.RawMessage, or a value that
// json.Marshal takes; nil: it takes none. The error is json.Marshal's.
func Function(name, description string, schema any) (*v1.Tool, error) {
	function := &v1.FunctionTool{Name: name, Description: &description}
	switch schema := schema.(type) {
	case nil:
	case string:
		function.ParametersJson = &schema
	default:
		text, err := json.Marshal(schema)
		if err != nil {
			return nil, fmt.Errorf("tollgate: the schema of %s: %w", name, err)
		}
		function.ParametersJson = new(string(text))
	}
	return &v1.Tool{Kind: &v1.Tool_Function{Function: function}}, nil
}

func message(role v1.Role, parts ...*v1.Part) *v1.Message {
	return &v1.Message{Role: role, Parts: parts}
}
