package tollgate_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"tollgate.dev/clients/go/tollgate"
	v1 "tollgate.dev/clients/go/tollgate/v1"
)

func ExampleNew() {
	client, err := tollgate.New(tollgate.WithAddress("https://gateway.example.com"), tollgate.WithKey("tg-..."))
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = client.Close() }()
}

func ExampleClient_Complete() {
	client, err := tollgate.New()
	if err != nil {
		log.Fatal(err)
	}
	request := tollgate.NewRequest("demo", tollgate.System("You are brief."), tollgate.User("Say hello"))
	request.MaxOutputTokens = new(int64(100))
	answer, err := client.Complete(context.Background(), request)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(answer.Text(), answer.GetUsage().GetCostNanoUsd())
}

func ExampleClient_Stream() {
	client, err := tollgate.New()
	if err != nil {
		log.Fatal(err)
	}
	stream := client.Stream(context.Background(), tollgate.NewRequest("demo", tollgate.User("Say hello")))
	defer stream.Close()
	for text, err := range stream.Text() {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Print(text)
	}
}

func ExampleKeys_Create() {
	client, err := tollgate.New() // with the key of an admin
	if err != nil {
		log.Fatal(err)
	}
	made, err := client.Keys.Create(context.Background(), &v1.CreateKeyRequest{
		Key:           &v1.Key{DisplayName: "crawler", Models: []string{"*"}},
		BudgetNanoUsd: new(int64(5_000_000_000)), // five dollars
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(made.GetSecret())
}

func ExampleKeys_List() {
	client, err := tollgate.New()
	if err != nil {
		log.Fatal(err)
	}
	for key, err := range client.Keys.List(context.Background(), nil) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(key.GetId(), key.GetDisplayName())
	}
}

func ExampleBudgetExceeded() {
	client, err := tollgate.New()
	if err != nil {
		log.Fatal(err)
	}
	_, err = client.Complete(context.Background(), tollgate.NewRequest("demo", tollgate.User("Say hello")))
	var budget *tollgate.BudgetExceeded
	if errors.As(err, &budget) {
		fmt.Println(budget.Scope, "has spent its budget until", budget.ResetsAt)
	}
}
