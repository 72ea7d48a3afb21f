// Streams an answer as it is made, then says what it cost. Ctrl-C ends the call at the provider too.
//
//	TOLLGATE_API_KEY=tg-... go run ./examples/streaming "Tell me a story"
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strings"

	"tollgate.dev/clients/go/tollgate"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	question := strings.Join(os.Args[1:], " ")
	if question == "" {
		question = "Say hello"
	}
	if err := run(ctx, question); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, question string) error {
	client, err := tollgate.New()
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()

	stream := client.Stream(ctx, tollgate.NewRequest("demo", tollgate.System("You are brief."), tollgate.User(question)))
	defer stream.Close()
	for text, err := range stream.Text() {
		var budget *tollgate.BudgetExceeded
		switch {
		case errors.As(err, &budget):
			return fmt.Errorf("%s has spent its budget; it resets at %s", budget.Scope, budget.ResetsAt)
		case err != nil:
			return err
		}
		fmt.Print(text)
	}
	answer, err := stream.Final()
	if err != nil {
		return err
	}
	fmt.Printf("\n%s by %s, %d tokens, %d nano-dollars\n",
		answer.FinishReason(), answer.GetStarted().GetServedModel(), answer.GetUsage().GetOutput().GetTotal(), answer.GetUsage().GetCostNanoUsd())
	return nil
}
