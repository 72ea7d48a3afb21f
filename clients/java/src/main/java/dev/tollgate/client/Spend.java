package dev.tollgate.client;

import dev.tollgate.v1.Adjustment;
import dev.tollgate.v1.ApproveAdjustmentRequest;
import dev.tollgate.v1.BudgetServiceGrpc;
import dev.tollgate.v1.CheckLedgerRequest;
import dev.tollgate.v1.CheckLedgerResponse;
import dev.tollgate.v1.CreateAdjustmentRequest;
import dev.tollgate.v1.GetSpendRequest;
import dev.tollgate.v1.GetSpendResponse;
import dev.tollgate.v1.LedgerEntry;
import dev.tollgate.v1.ListAdjustmentsRequest;
import dev.tollgate.v1.ListAdjustmentsResponse;
import dev.tollgate.v1.ListLedgerEntriesRequest;
import dev.tollgate.v1.ListLedgerEntriesResponse;
import dev.tollgate.v1.ReconcileInvoiceRequest;
import dev.tollgate.v1.ReconcileInvoiceResponse;
import dev.tollgate.v1.SpendGroup;
import dev.tollgate.v1.WatchSpendRequest;
import dev.tollgate.v1.WatchSpendResponse;
import java.util.function.Function;

/**
 * What was spent: sums, every line of the ledger, corrections, and money as it moves. All amounts
 * are nano-dollars.
 */
public final class Spend {
  private final Calls calls;

  Spend(Calls calls) {
    this.calls = calls;
  }

  /**
   * All that the caller may see, grouped.
   *
   * @param by how
   * @return rows, and their sum
   */
  public GetSpendResponse get(SpendGroup by) {
    return get(GetSpendRequest.newBuilder().setGroupBy(by).build(), Options.defaults());
  }

  /**
   * What was spent, grouped. Exact: every call that was settled before is in it.
   *
   * @param request the request
   * @param options where it differs from the client's defaults
   * @return rows, and their sum
   */
  public GetSpendResponse get(GetSpendRequest request, Options options) {
    return calls.ask(BudgetServiceGrpc.getGetSpendMethod(), request, options);
  }

  /**
   * Ledger entries, oldest first.
   *
   * @param request which, and how many at once
   * @param options where each page's call differs from the client's defaults
   * @return them, page after page
   */
  public Paged<LedgerEntry> ledger(ListLedgerEntriesRequest request, Options options) {
    return new Paged<>(
        token -> {
          ListLedgerEntriesRequest next =
              token.isEmpty() ? request : request.toBuilder().setPageToken(token).build();
          ListLedgerEntriesResponse page =
              calls.ask(BudgetServiceGrpc.getListLedgerEntriesMethod(), next, options);
          return new Paged.Page<>(page.getEntriesList(), page.getNextPageToken());
        });
  }

  /**
   * What happens to money, as it happens. It ends only when it is closed.
   *
   * @param request of whom
   * @param options where it differs from the client's defaults
   * @return entries, alerts and balances
   */
  public Events<WatchSpendResponse> watch(WatchSpendRequest request, Options options) {
    return calls.watch(
        BudgetServiceGrpc.getWatchSpendMethod(), request, options, Function.identity());
  }

  /**
   * Checks the invariants of the ledger.
   *
   * @param options where it differs from the client's defaults
   * @return what is wrong: nothing where all is well
   */
  public CheckLedgerResponse check(Options options) {
    return calls.ask(
        BudgetServiceGrpc.getCheckLedgerMethod(), CheckLedgerRequest.getDefaultInstance(), options);
  }

  /**
   * Compares a provider's invoice with the ledger.
   *
   * @param request the request
   * @param options where it differs from the client's defaults
   * @return differences, their causes, and corrections that would clear them
   */
  public ReconcileInvoiceResponse reconcile(ReconcileInvoiceRequest request, Options options) {
    return calls.ask(BudgetServiceGrpc.getReconcileInvoiceMethod(), request, options);
  }

  /**
   * Proposes a correction. The same {@code request_id} gives the same one.
   *
   * @param request the request
   * @param options where it differs from the client's defaults
   * @return the correction
   */
  public Adjustment adjust(CreateAdjustmentRequest request, Options options) {
    return calls
        .ask(BudgetServiceGrpc.getCreateAdjustmentMethod(), request, options)
        .getAdjustment();
  }

  /**
   * Posts a correction that somebody else proposed.
   *
   * @param request the request
   * @param options where it differs from the client's defaults
   * @return the correction
   */
  public Adjustment approve(ApproveAdjustmentRequest request, Options options) {
    return calls
        .ask(BudgetServiceGrpc.getApproveAdjustmentMethod(), request, options)
        .getAdjustment();
  }

  /**
   * Corrections, oldest first.
   *
   * @param request which, and how many at once
   * @param options where each page's call differs from the client's defaults
   * @return them, page after page
   */
  public Paged<Adjustment> adjustments(ListAdjustmentsRequest request, Options options) {
    return new Paged<>(
        token -> {
          ListAdjustmentsRequest next =
              token.isEmpty() ? request : request.toBuilder().setPageToken(token).build();
          ListAdjustmentsResponse page =
              calls.ask(BudgetServiceGrpc.getListAdjustmentsMethod(), next, options);
          return new Paged.Page<>(page.getAdjustmentsList(), page.getNextPageToken());
        });
  }
}
