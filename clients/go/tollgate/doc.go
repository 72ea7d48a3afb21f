// Package tollgate calls a Tollgate gateway: completions, embeddings, and the keys, budgets, spend and audit log behind them.
//
//	client, err := tollgate.New() // TOLLGATE_ADDRESS and TOLLGATE_API_KEY
//	stream := client.Stream(ctx, tollgate.NewRequest("demo", tollgate.User("Say hello")))
//	defer stream.Close()
//	for text, err := range stream.Text() { ... }
//
// Requests and answers are the messages of the contract, generated in [tollgate.dev/clients/go/tollgate/v1]; this package adds the
// connection, iterators, pages, typed errors and the id that makes a creation repeatable.
//
// # Contexts
//
// A context's deadline reaches the gateway and the provider, and cancelling it ends the call there. Where a context has no deadline the
// client gives one: see [WithTimeout]. A span in the context, or a parent from [WithTraceparent], goes along as W3C Trace Context.
//
// # Errors
//
// Every error of a call is a [*TollgateError] in the sense of errors.As, and mostly of a type of its own:
//
//	var budget *tollgate.BudgetExceeded
//	if errors.As(err, &budget) {
//		log.Printf("%s has spent its budget, until %s", budget.Scope, budget.ResetsAt)
//	}
//
// # Retries
//
// Calls that read, and creations, which carry an id, are tried up to four times while the gateway is UNAVAILABLE. Nothing else is:
// a completion that failed may have cost money, so whether to ask again is the caller's choice.
package tollgate
