// Makes a team with a monthly budget and a key in it, calls with the key, and tells what it has spent.
//
//	TOLLGATE_API_KEY=$(cat tollgate-data/admin.key) go run ./examples/admin
package main

import (
	"context"
	"fmt"
	"log"

	"tollgate.dev/clients/go/tollgate"
	v1 "tollgate.dev/clients/go/tollgate/v1"
)

const dollar = 1_000_000_000 // in nano-dollars

func main() {
	if err := run(context.Background()); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context) error {
	admin, err := tollgate.New()
	if err != nil {
		return err
	}
	defer func() { _ = admin.Close() }()

	team, err := admin.Teams.Create(ctx, &v1.CreateTeamRequest{Team: &v1.Team{DisplayName: "search"}})
	if err != nil {
		return err
	}
	_, err = admin.Budgets.Create(ctx, &v1.CreateBudgetRequest{Budget: &v1.Budget{
		Scope:        &v1.BudgetScope{Kind: v1.ScopeKind_SCOPE_KIND_TEAM, Id: team.GetId()},
		LimitNanoUsd: 5 * dollar,
		Window: &v1.BudgetWindow{Window: &v1.BudgetWindow_Calendar{
			Calendar: &v1.CalendarWindow{Unit: v1.CalendarUnit_CALENDAR_UNIT_MONTH},
		}},
	}})
	if err != nil {
		return err
	}
	made, err := admin.Keys.Create(ctx, &v1.CreateKeyRequest{Key: &v1.Key{DisplayName: "crawler", TeamId: team.GetId(), Models: []string{"*"}}})
	if err != nil {
		return err
	}
	if err := ask(ctx, made.GetSecret()); err != nil {
		return err
	}

	for budget, err := range admin.Budgets.List(ctx, &v1.ListBudgetsRequest{Scope: &v1.BudgetScope{Id: team.GetId()}}) {
		if err != nil {
			return err
		}
		fmt.Printf("the team has spent %d of %d nano-dollars\n", budget.GetSpentNanoUsd(), budget.GetLimitNanoUsd())
	}
	revoked, err := admin.Keys.Revoke(ctx, made.GetKey().GetId())
	if err != nil {
		return err
	}
	fmt.Println(revoked.GetDisplayName(), revoked.GetState())
	return nil
}

func ask(ctx context.Context, secret string) error {
	client, err := tollgate.New(tollgate.WithKey(secret))
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()
	answer, err := client.Complete(ctx, tollgate.NewRequest("demo", tollgate.User("Say hello")))
	if err != nil {
		return err
	}
	fmt.Println(answer.Text())
	return nil
}
