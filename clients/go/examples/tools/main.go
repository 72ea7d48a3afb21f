// Lets the model call a function, again and again until it has what it needs.
//
//	TOLLGATE_API_KEY=tg-... go run ./examples/tools gpt
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"

	"tollgate.dev/clients/go/tollgate"
	v1 "tollgate.dev/clients/go/tollgate/v1"
)

const weatherSchema = `{"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}`

// More turns than a question about the weather takes.
const maxTurns = 8

func main() {
	model := "demo"
	if len(os.Args) > 1 {
		model = os.Args[1]
	}
	if err := run(context.Background(), model); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, model string) error {
	client, err := tollgate.New()
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()
	weather, err := tollgate.Function("weather", "The weather of a city, now.", weatherSchema)
	if err != nil {
		return err
	}

	request := tollgate.NewRequest(model, tollgate.User("What is the weather in Hamburg?"))
	request.Tools = []*v1.Tool{weather}
	for range maxTurns {
		answer, err := client.Complete(ctx, request)
		if err != nil {
			return err
		}
		if len(answer.ToolCalls()) == 0 {
			fmt.Println(answer.Text())
			return nil
		}
		// The model's own message goes back as it came: its reasoning belongs to the calls.
		request.Messages = append(request.Messages, answer.Message())
		for _, call := range answer.ToolCalls() {
			request.Messages = append(request.Messages, result(call))
		}
	}
	return errors.New("the model goes on calling tools")
}

func result(call tollgate.ToolCall) *v1.Message {
	var arguments struct {
		City string `json:"city"`
	}
	if err := call.Decode(&arguments); err != nil {
		return tollgate.ToolFailure(call.ID, "the arguments are no JSON object: "+err.Error())
	}
	fmt.Printf("%s(%s)\n", call.Name, arguments.City)
	return tollgate.ToolResult(call.ID, `{"sky": "rain", "celsius": 9}`)
}
