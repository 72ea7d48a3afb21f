/** One page of a list, and the token of the next; empty: it is the last. */
export interface Page<T> {
  /** The items of this page, in order. */
  readonly items: readonly T[];
  /** Token of the next page; empty on the last. */
  readonly nextPageToken: string;
}

/**
 * A list that fetches its pages as they are needed: `for await (const item of list)`. Every iteration begins at the first page and leaves
 * nothing behind when it is left early.
 */
export class Pages<T> implements AsyncIterable<T> {
  readonly #fetch: (pageToken: string) => Promise<Page<T>>;
  readonly #first: string;

  /**
   * Over a function that knows the pages.
   *
   * @param fetch fetches the page of a token
   * @param first token of the page to begin with; empty: the first page
   */
  constructor(fetch: (pageToken: string) => Promise<Page<T>>, first = "") {
    this.#fetch = fetch;
    this.#first = first;
  }

  /** Item by item, over all pages. */
  async *[Symbol.asyncIterator](): AsyncGenerator<T, void, undefined> {
    for await (const page of this.pages()) yield* page.items;
  }

  /** Page by page. */
  async *pages(): AsyncGenerator<Page<T>, void, undefined> {
    let token = this.#first;
    do {
      const page = await this.#fetch(token);
      yield page;
      token = page.nextPageToken;
    } while (token !== "");
  }

  /** All items, or the first `limit` of them. */
  async toArray(limit = Infinity): Promise<T[]> {
    const items: T[] = [];
    if (limit <= 0) return items;
    for await (const item of this) if (items.push(item) >= limit) break;
    return items;
  }
}
