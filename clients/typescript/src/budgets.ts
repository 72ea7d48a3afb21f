import type { MessageInitShape } from "@bufbuild/protobuf";

import type { Calls, CallOptions } from "./calls.js";
import {
  type Budget,
  type BudgetAlert,
  type BudgetIncreaseSchema,
  BudgetSchema,
  BudgetService,
  type CreateBudgetRequestSchema,
  type ListBudgetAlertsRequestSchema,
  type ListBudgetsRequestSchema,
  type ListHoldsResponse,
} from "./contract.js";
import { one } from "./one.js";
import { Pages } from "./pages.js";
import { maskOf, type UpdateOptions, withRequestId } from "./update.js";

const { method } = BudgetService;

/** Budgets: what may be spent. */
export class Budgets {
  readonly #calls: Calls;

  /** Over a client's calls. */
  constructor(calls: Calls) {
    this.#calls = calls;
  }

  /** Makes a budget on a scope. */
  async create(request: MessageInitShape<typeof CreateBudgetRequestSchema>, options?: CallOptions): Promise<Budget> {
    return one((await this.#calls.unary(method.createBudget, withRequestId(request), options)).budget);
  }

  /** A budget by its id, as it stands this moment. */
  async get(id: string, options?: CallOptions): Promise<Budget> {
    return one((await this.#calls.unary(method.getBudget, { id }, options)).budget);
  }

  /** The oldest budget on a key; without one on the client's own. */
  async ofKey(keyId = "", options?: CallOptions): Promise<Budget> {
    return one((await this.#calls.unary(method.getBudget, { keyId }, options)).budget);
  }

  /** Budgets that the key may see, oldest first, each as it stands this moment. */
  list(filter: MessageInitShape<typeof ListBudgetsRequestSchema> = {}, options?: CallOptions): Pages<Budget> {
    return new Pages(async (pageToken) => {
      const { budgets, nextPageToken } = await this.#calls.unary(method.listBudgets, { ...filter, pageToken }, options);
      return { items: budgets, nextPageToken };
    }, filter.pageToken);
  }

  /** Changes a budget: `update({ id, limitNanoUsd: usd("5") })`. With an `etag` only if nobody changed it since. */
  async update(budget: MessageInitShape<typeof BudgetSchema>, { mask, ...options }: UpdateOptions = {}): Promise<Budget> {
    const updateMask = maskOf(BudgetSchema, budget, mask);
    return one((await this.#calls.unary(method.updateBudget, { budget, ...(updateMask && { updateMask }) }, options)).budget);
  }

  /** Raises the limit for a time; without `increase` the one in force ends. A second one replaces the first. */
  async increase(id: string, increase?: MessageInitShape<typeof BudgetIncreaseSchema>, options?: CallOptions): Promise<Budget> {
    return one((await this.#calls.unary(method.increaseBudget, { id, ...(increase && { increase }) }, options)).budget);
  }

  /** Takes the budget away; ledger entries stay. */
  async delete(id: string, options?: CallOptions): Promise<void> {
    await this.#calls.unary(method.deleteBudget, { id }, options);
  }

  /** Alerts that budgets have raised, oldest first. */
  alerts(filter: MessageInitShape<typeof ListBudgetAlertsRequestSchema> = {}, options?: CallOptions): Pages<BudgetAlert> {
    return new Pages(async (pageToken) => {
      const { alerts, nextPageToken } = await this.#calls.unary(method.listBudgetAlerts, { ...filter, pageToken }, options);
      return { items: alerts, nextPageToken };
    }, filter.pageToken);
  }

  /** Money that is held in a budget, or in all that the key may see. */
  holds(budgetId = "", options?: CallOptions): Promise<ListHoldsResponse> {
    return this.#calls.unary(method.listHolds, { budgetId }, options);
  }
}
