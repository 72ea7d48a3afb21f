package dev.tollgate.client;

import dev.tollgate.v1.Budget;
import dev.tollgate.v1.BudgetAlert;
import dev.tollgate.v1.BudgetIncrease;
import dev.tollgate.v1.BudgetServiceGrpc;
import dev.tollgate.v1.CreateBudgetRequest;
import dev.tollgate.v1.CreateBudgetResponse;
import dev.tollgate.v1.DeleteBudgetRequest;
import dev.tollgate.v1.GetBudgetRequest;
import dev.tollgate.v1.GetBudgetResponse;
import dev.tollgate.v1.IncreaseBudgetRequest;
import dev.tollgate.v1.ListBudgetAlertsRequest;
import dev.tollgate.v1.ListBudgetAlertsResponse;
import dev.tollgate.v1.ListBudgetsRequest;
import dev.tollgate.v1.ListBudgetsResponse;
import dev.tollgate.v1.ListHoldsRequest;
import dev.tollgate.v1.ListHoldsResponse;
import dev.tollgate.v1.UpdateBudgetRequest;
import dev.tollgate.v1.UpdateBudgetResponse;

/** Budgets. All amounts are nano-dollars: 1,000,000,000 are a dollar. */
public final class Budgets {
  private final Calls calls;

  Budgets(Calls calls) {
    this.calls = calls;
  }

  /**
   * Makes a budget.
   *
   * @param budget what to make; output-only fields are ignored
   * @return it as it was made
   */
  public Budget create(Budget budget) {
    return create(CreateBudgetRequest.newBuilder().setBudget(budget).build(), Options.defaults());
  }

  /**
   * Makes a budget. The same {@code request_id} gives the same one; without one each call has its
   * own.
   *
   * @param request what to make
   * @param options where it differs from the client's defaults
   * @return it as it was made
   */
  public Budget create(CreateBudgetRequest request, Options options) {
    CreateBudgetResponse made =
        calls.ask(BudgetServiceGrpc.getCreateBudgetMethod(), request, options);
    return made.getBudget();
  }

  /**
   * One budget.
   *
   * @param id which
   * @return it
   */
  public Budget get(String id) {
    return get(GetBudgetRequest.newBuilder().setId(id).build(), Options.defaults());
  }

  /**
   * One budget.
   *
   * @param request which
   * @param options where it differs from the client's defaults
   * @return it
   */
  public Budget get(GetBudgetRequest request, Options options) {
    GetBudgetResponse got = calls.ask(BudgetServiceGrpc.getGetBudgetMethod(), request, options);
    return got.getBudget();
  }

  /**
   * All that the key may see, oldest first.
   *
   * @return them, page after page
   */
  public Paged<Budget> list() {
    return list(ListBudgetsRequest.getDefaultInstance(), Options.defaults());
  }

  /**
   * Those that match, oldest first.
   *
   * @param request which, and how many at once
   * @param options where each page's call differs from the client's defaults
   * @return them, page after page
   */
  public Paged<Budget> list(ListBudgetsRequest request, Options options) {
    return new Paged<>(
        token -> {
          ListBudgetsRequest next =
              token.isEmpty() ? request : request.toBuilder().setPageToken(token).build();
          ListBudgetsResponse page =
              calls.ask(BudgetServiceGrpc.getListBudgetsMethod(), next, options);
          return new Paged.Page<>(page.getBudgetsList(), page.getNextPageToken());
        });
  }

  /**
   * Changes fields.
   *
   * @param budget its id, the new values, and its {@code etag} to be refused where somebody else
   *     was faster
   * @param fields the fields to change, {@code display_name}; none: those that are set
   * @return it as it is now
   */
  public Budget update(Budget budget, String... fields) {
    UpdateBudgetRequest request =
        UpdateBudgetRequest.newBuilder().setBudget(budget).setUpdateMask(Masks.of(fields)).build();
    return update(request, Options.defaults());
  }

  /**
   * Changes fields.
   *
   * @param request what, and which fields
   * @param options where it differs from the client's defaults
   * @return it as it is now
   */
  public Budget update(UpdateBudgetRequest request, Options options) {
    UpdateBudgetResponse now =
        calls.ask(BudgetServiceGrpc.getUpdateBudgetMethod(), request, options);
    return now.getBudget();
  }

  /**
   * Takes it away; what was spent stays on record.
   *
   * @param id which
   */
  public void delete(String id) {
    delete(DeleteBudgetRequest.newBuilder().setId(id).build(), Options.defaults());
  }

  /**
   * Takes it away; what was spent stays on record.
   *
   * @param request which
   * @param options where it differs from the client's defaults
   */
  public void delete(DeleteBudgetRequest request, Options options) {
    var unused = calls.ask(BudgetServiceGrpc.getDeleteBudgetMethod(), request, options);
  }

  /**
   * The oldest budget on a key, as it stands this moment.
   *
   * @param keyId the key; empty: the caller's own
   * @return the budget
   */
  public Budget ofKey(String keyId) {
    return get(GetBudgetRequest.newBuilder().setKeyId(keyId).build(), Options.defaults());
  }

  /**
   * Raises the limit for a time.
   *
   * @param id which
   * @param increase by how much, until when and why; a second one replaces the first
   * @return it as it is now
   */
  public Budget increase(String id, BudgetIncrease increase) {
    return increase(
        IncreaseBudgetRequest.newBuilder().setId(id).setIncrease(increase).build(),
        Options.defaults());
  }

  /**
   * Raises the limit for a time, or ends an increase.
   *
   * @param request which, and by how much; no increase ends the one in force
   * @param options where it differs from the client's defaults
   * @return it as it is now
   */
  public Budget increase(IncreaseBudgetRequest request, Options options) {
    return calls.ask(BudgetServiceGrpc.getIncreaseBudgetMethod(), request, options).getBudget();
  }

  /**
   * Alerts that budgets have raised, oldest first.
   *
   * @param request of which budget, and how many at once
   * @return them, page after page
   */
  public Paged<BudgetAlert> alerts(ListBudgetAlertsRequest request) {
    return new Paged<>(
        token -> {
          ListBudgetAlertsRequest next =
              token.isEmpty() ? request : request.toBuilder().setPageToken(token).build();
          ListBudgetAlertsResponse page =
              calls.ask(BudgetServiceGrpc.getListBudgetAlertsMethod(), next, Options.defaults());
          return new Paged.Page<>(page.getAlertsList(), page.getNextPageToken());
        });
  }

  /**
   * Money that is held, by calls in flight and by replicas.
   *
   * @param budgetId in this budget; empty: in all that the caller may see
   * @return the holds
   */
  public ListHoldsResponse holds(String budgetId) {
    ListHoldsRequest request = ListHoldsRequest.newBuilder().setBudgetId(budgetId).build();
    return calls.ask(BudgetServiceGrpc.getListHoldsMethod(), request, Options.defaults());
  }
}
