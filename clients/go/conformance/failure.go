package main

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"time"
	"unicode"

	"google.golang.org/grpc/codes"

	"tollgate.dev/clients/go/tollgate"
)

type failure struct {
	Type      string            `json:"type"`
	Code      string            `json:"code,omitempty"`
	Reason    string            `json:"reason,omitempty"`
	Message   string            `json:"message"`
	RequestID string            `json:"request_id,omitempty"`
	Metadata  map[string]string `json:"metadata,omitempty"`
	Fields    map[string]any    `json:"fields,omitempty"`
	Receipt   json.RawMessage   `json:"receipt,omitempty"`
}

func failureOf(err error) *failure {
	var base *tollgate.TollgateError
	if !errors.As(err, &base) {
		return &failure{Type: "untyped", Message: err.Error()}
	}
	value := reflect.ValueOf(err).Elem()
	fields := map[string]any{}
	typedFields(value, fields)
	if after, told := base.RetryAfter(); told {
		fields["retry_after_ms"] = after.Milliseconds()
	}
	if base.PartialUsage != nil {
		fields["partial_usage"] = asJSON(base.PartialUsage)
	}
	var receipt json.RawMessage
	if base.Receipt != nil {
		receipt = asJSON(base.Receipt)
	}
	return &failure{
		Type: value.Type().Name(), Code: codeName(base.Code), Reason: base.Reason, Message: base.Message,
		RequestID: base.RequestID, Metadata: base.Metadata, Fields: fields, Receipt: receipt,
	}
}

// What the type has beside the base, by the names that all languages have. What is not known is left out.
func typedFields(value reflect.Value, into map[string]any) {
	for at := range value.NumField() {
		field := value.Type().Field(at)
		switch content := value.Field(at).Interface().(type) {
		case tollgate.TollgateError:
		case tollgate.ProviderError, tollgate.BudgetRefusal:
			typedFields(value.Field(at), into)
		case time.Time:
			if !content.IsZero() {
				into[snake(field.Name)] = content.UTC().Format(time.RFC3339Nano)
			}
		case []tollgate.FieldViolation:
			violations := make([]map[string]string, 0, len(content))
			for _, violation := range content {
				violations = append(violations, map[string]string{"field": violation.Field, "description": violation.Description})
			}
			into[snake(field.Name)] = violations
		case string:
			if content != "" {
				into[snake(field.Name)] = content
			}
		default:
			into[snake(field.Name)] = content
		}
	}
}

// `BudgetID` as `budget_id`, `LimitNanoUSD` as `limit_nano_usd`.
func snake(name string) string { return strings.ToLower(words(name)) }

// `ResourceExhausted` as `RESOURCE_EXHAUSTED`; gRPC writes its codes in camel case.
func codeName(code codes.Code) string {
	if code == codes.Canceled {
		return "CANCELLED"
	}
	return strings.ToUpper(words(code.String()))
}

func words(name string) string {
	var split strings.Builder
	letters := []rune(name)
	for at, letter := range letters {
		if at > 0 && unicode.IsUpper(letter) && unicode.IsLower(letters[at-1]) {
			split.WriteByte('_')
		}
		split.WriteRune(letter)
	}
	return split.String()
}
