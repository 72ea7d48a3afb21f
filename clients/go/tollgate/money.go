package tollgate

import (
	"context"
	"iter"

	v1 "tollgate.dev/clients/go/tollgate/v1"
)

// Budgets governs what may be spent. All amounts are nano-dollars.
type Budgets struct {
	rpc v1.BudgetServiceClient
}

// Create makes a budget on a scope.
func (b *Budgets) Create(ctx context.Context, request *v1.CreateBudgetRequest) (*v1.Budget, error) {
	response, err := b.rpc.CreateBudget(ctx, withID(request))
	return response.GetBudget(), err
}

// Get returns a budget by its id, as it stands this moment.
func (b *Budgets) Get(ctx context.Context, id string) (*v1.Budget, error) {
	response, err := b.rpc.GetBudget(ctx, &v1.GetBudgetRequest{Id: id})
	return response.GetBudget(), err
}

// OfKey returns the oldest budget on a key; empty: on the caller's own.
func (b *Budgets) OfKey(ctx context.Context, keyID string) (*v1.Budget, error) {
	response, err := b.rpc.GetBudget(ctx, &v1.GetBudgetRequest{KeyId: keyID})
	return response.GetBudget(), err
}

// List yields budgets, oldest first, over all pages. The request narrows them; nil: all that the caller may see.
func (b *Budgets) List(ctx context.Context, request *v1.ListBudgetsRequest) iter.Seq2[*v1.Budget, error] {
	next := func(r *v1.ListBudgetsRequest, token string) { r.PageToken = token }
	return pages(ctx, request, next, b.rpc.ListBudgets, (*v1.ListBudgetsResponse).GetBudgets)
}

// Update changes the fields that the paths name; no path: the limit. An etag, where set, must match.
func (b *Budgets) Update(ctx context.Context, budget *v1.Budget, paths ...string) (*v1.Budget, error) {
	response, err := b.rpc.UpdateBudget(ctx, &v1.UpdateBudgetRequest{Budget: budget, UpdateMask: mask(paths)})
	return response.GetBudget(), err
}

// Increase raises the limit for a time; nil ends the increase in force.
func (b *Budgets) Increase(ctx context.Context, id string, increase *v1.BudgetIncrease) (*v1.Budget, error) {
	response, err := b.rpc.IncreaseBudget(ctx, &v1.IncreaseBudgetRequest{Id: id, Increase: increase})
	return response.GetBudget(), err
}

// Delete takes the budget away; its ledger entries stay.
func (b *Budgets) Delete(ctx context.Context, id string) error {
	_, err := b.rpc.DeleteBudget(ctx, &v1.DeleteBudgetRequest{Id: id})
	return err
}

// Alerts yields what a budget has raised, oldest first, over all pages; an empty id: all budgets that the caller may see.
func (b *Budgets) Alerts(ctx context.Context, id string) iter.Seq2[*v1.BudgetAlert, error] {
	next := func(r *v1.ListBudgetAlertsRequest, token string) { r.PageToken = token }
	return pages(ctx, &v1.ListBudgetAlertsRequest{BudgetId: id}, next, b.rpc.ListBudgetAlerts, (*v1.ListBudgetAlertsResponse).GetAlerts)
}

// Holds tells what is held in a budget; an empty id: in all that the caller may see.
func (b *Budgets) Holds(ctx context.Context, id string) (*v1.ListHoldsResponse, error) {
	return b.rpc.ListHolds(ctx, &v1.ListHoldsRequest{BudgetId: id})
}

// Spend tells what was spent. All amounts are nano-dollars.
type Spend struct {
	rpc v1.BudgetServiceClient
}

// Get sums spend up, grouped as the request says; nil: all that the caller may see, in one row.
func (s *Spend) Get(ctx context.Context, request *v1.GetSpendRequest) (*v1.GetSpendResponse, error) {
	return s.rpc.GetSpend(ctx, copied(request))
}

// Ledger yields ledger entries, oldest first, over all pages. The request narrows them; nil: all that the caller may see.
func (s *Spend) Ledger(ctx context.Context, request *v1.ListLedgerEntriesRequest) iter.Seq2[*v1.LedgerEntry, error] {
	next := func(r *v1.ListLedgerEntriesRequest, token string) { r.PageToken = token }
	return pages(ctx, request, next, s.rpc.ListLedgerEntries, (*v1.ListLedgerEntriesResponse).GetEntries)
}

// Watch yields entries, alerts and balances as they come about. It ends with the loop or the context only.
func (s *Spend) Watch(ctx context.Context, request *v1.WatchSpendRequest) iter.Seq2[*v1.WatchSpendResponse, error] {
	itself := func(response *v1.WatchSpendResponse) *v1.WatchSpendResponse { return response }
	return streamed(ctx, copied(request), s.rpc.WatchSpend, itself)
}

// Check tells whether the invariants of the ledger hold over everything that is settled.
func (s *Spend) Check(ctx context.Context) (*v1.CheckLedgerResponse, error) {
	return s.rpc.CheckLedger(ctx, &v1.CheckLedgerRequest{})
}

// Reconcile compares a provider's invoice with the ledger.
func (s *Spend) Reconcile(ctx context.Context, request *v1.ReconcileInvoiceRequest) (*v1.ReconcileInvoiceResponse, error) {
	return s.rpc.ReconcileInvoice(ctx, request)
}

// Adjust proposes a correction; it is posted at once up to 100 dollars.
func (s *Spend) Adjust(ctx context.Context, request *v1.CreateAdjustmentRequest) (*v1.Adjustment, error) {
	response, err := s.rpc.CreateAdjustment(ctx, withID(request))
	return response.GetAdjustment(), err
}

// Approve posts a correction that somebody else proposed.
func (s *Spend) Approve(ctx context.Context, id string) (*v1.Adjustment, error) {
	response, err := s.rpc.ApproveAdjustment(ctx, &v1.ApproveAdjustmentRequest{Id: id})
	return response.GetAdjustment(), err
}

// Adjustments yields corrections, oldest first, over all pages. The request may be nil.
func (s *Spend) Adjustments(ctx context.Context, request *v1.ListAdjustmentsRequest) iter.Seq2[*v1.Adjustment, error] {
	next := func(r *v1.ListAdjustmentsRequest, token string) { r.PageToken = token }
	return pages(ctx, request, next, s.rpc.ListAdjustments, (*v1.ListAdjustmentsResponse).GetAdjustments)
}

// CloseReplica gives up a replica whose disk is lost, and returns what its leases held.
func (s *Spend) CloseReplica(ctx context.Context, replica string) (releasedNanoUSD int64, err error) {
	response, err := s.rpc.CloseReplica(ctx, &v1.CloseReplicaRequest{Replica: replica})
	return response.GetReleasedNanoUsd(), err
}
