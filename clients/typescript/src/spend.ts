import type { MessageInitShape } from "@bufbuild/protobuf";

import type { Calls, CallOptions } from "./calls.js";
import {
  type Adjustment,
  BudgetService,
  type CheckLedgerResponse,
  type CloseReplicaResponse,
  type CreateAdjustmentRequestSchema,
  type GetSpendRequestSchema,
  type GetSpendResponse,
  type LedgerEntry,
  type ListAdjustmentsRequestSchema,
  type ListLedgerEntriesRequestSchema,
  type ReconcileInvoiceRequestSchema,
  type ReconcileInvoiceResponse,
  type WatchSpendRequestSchema,
  type WatchSpendResponse,
} from "./contract.js";
import { one } from "./one.js";
import { Pages } from "./pages.js";
import { withRequestId } from "./update.js";

const { method } = BudgetService;

/** Spend and the ledger: what was spent, and every line of it. */
export class Spend {
  readonly #calls: Calls;

  /** Over a client's calls. */
  constructor(calls: Calls) {
    this.#calls = calls;
  }

  /** What was spent, grouped. Every call that was settled before this one is in it. */
  get(request: MessageInitShape<typeof GetSpendRequestSchema> = {}, options?: CallOptions): Promise<GetSpendResponse> {
    return this.#calls.unary(method.getSpend, request, options);
  }

  /** Ledger entries, oldest first. */
  entries(filter: MessageInitShape<typeof ListLedgerEntriesRequestSchema> = {}, options?: CallOptions): Pages<LedgerEntry> {
    return new Pages(async (pageToken) => {
      const { entries, nextPageToken } = await this.#calls.unary(method.listLedgerEntries, { ...filter, pageToken }, options);
      return { items: entries, nextPageToken };
    }, filter.pageToken);
  }

  /** What happens to money, as it happens. It ends only when the loop is left. */
  watch(
    request: MessageInitShape<typeof WatchSpendRequestSchema> = {},
    options?: CallOptions,
  ): AsyncGenerator<WatchSpendResponse, void, undefined> {
    return this.#calls.endless(method.watchSpend, request, options);
  }

  /** Checks the invariants of the ledger over everything that is settled. */
  check(options?: CallOptions): Promise<CheckLedgerResponse> {
    return this.#calls.unary(method.checkLedger, {}, options);
  }

  /** Compares a provider's invoice with the ledger, and proposes corrections. */
  reconcile(request: MessageInitShape<typeof ReconcileInvoiceRequestSchema>, options?: CallOptions): Promise<ReconcileInvoiceResponse> {
    return this.#calls.unary(method.reconcileInvoice, request, options);
  }

  /** Proposes a correction: posted at once up to 100 dollars, above it when a second person approves. */
  async adjust(request: MessageInitShape<typeof CreateAdjustmentRequestSchema>, options?: CallOptions): Promise<Adjustment> {
    return one((await this.#calls.unary(method.createAdjustment, withRequestId(request), options)).adjustment);
  }

  /** Posts a proposed correction. Whoever proposed it cannot approve it. */
  async approve(adjustmentId: string, options?: CallOptions): Promise<Adjustment> {
    return one((await this.#calls.unary(method.approveAdjustment, { id: adjustmentId }, options)).adjustment);
  }

  /** Corrections, oldest first. */
  adjustments(filter: MessageInitShape<typeof ListAdjustmentsRequestSchema> = {}, options?: CallOptions): Pages<Adjustment> {
    return new Pages(async (pageToken) => {
      const { adjustments, nextPageToken } = await this.#calls.unary(method.listAdjustments, { ...filter, pageToken }, options);
      return { items: adjustments, nextPageToken };
    }, filter.pageToken);
  }

  /** Gives up a replica whose disk is lost: what it had leased and not reported counts as spent no longer. */
  closeReplica(replica: string, options?: CallOptions): Promise<CloseReplicaResponse> {
    return this.#calls.unary(method.closeReplica, { replica }, options);
  }
}
