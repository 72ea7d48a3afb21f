import { Answer } from "./answer.js";
import type { CallOptions } from "./calls.js";
import type { CompletionEvent, StreamCompletionResponse } from "./contract.js";
import { Cancelled, unfinished } from "./errors.js";
import { Fold } from "./fold.js";

/**
 * An answer as it is made. The call is sent when it is first read, and is read once: events, {@link CompletionStream.text} and
 * {@link CompletionStream.collect} share it and go on from each other.
 *
 * Leaving a loop early (`break`, `return`, an error) cancels the call, at the provider as well, and what was produced is charged.
 */
export class CompletionStream implements AsyncIterable<CompletionEvent> {
  readonly #fold = new Fold();
  readonly #cancel = new AbortController();
  readonly #events: AsyncGenerator<CompletionEvent, void, undefined>;
  #end: "open" | "whole" | "left" | { readonly failed: unknown } = "open";

  /** Over the events that `open` streams once it is called. */
  constructor(open: (options: CallOptions) => AsyncIterable<StreamCompletionResponse>, options: CallOptions = {}) {
    const { signal } = options;
    this.#events = this.#read(() => open({ ...options, signal: this.#cancel.signal }), signal);
  }

  /** Event by event. */
  [Symbol.asyncIterator](): AsyncGenerator<CompletionEvent, void, undefined> {
    return this.#events;
  }

  /**
   * Only the pieces of the first choice's text. After a restart (`onMidstreamFailure: RESTART`) the text comes anew: who asks for restarts
   * reads the events.
   */
  get text(): AsyncIterableIterator<string> {
    return this.#texts();
  }

  /** Reads to the end, and gives the whole answer. Throws `Cancelled` where the stream was left before. */
  async collect(): Promise<Answer> {
    while ((await this.#events.next()).done !== true);
    const end = this.#end;
    if (typeof end === "object") throw end.failed;
    if (end !== "whole") {
      throw new Cancelled({ code: "CANCELLED", message: "the stream was left before its end", metadata: {}, violations: [] });
    }
    return this.answer;
  }

  /** What has come so far. */
  get answer(): Answer {
    return new Answer(this.#fold.completion());
  }

  /** Ends the call. Who is reading gets `Cancelled`. */
  cancel(): void {
    this.#cancel.abort();
    if (this.#end === "open") this.#end = "left";
  }

  async *#read(
    open: () => AsyncIterable<StreamCompletionResponse>,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<CompletionEvent, void, undefined> {
    const follow = () => {
      this.#cancel.abort(signal?.reason);
    };
    if (signal?.aborted === true) follow();
    signal?.addEventListener("abort", follow);
    let finished = false;
    try {
      for await (const { event } of open()) {
        if (!event) continue;
        if (event.event.case === "finished") finished = true;
        if (event.event.case === "restarted") finished = false;
        this.#fold.take(event);
        yield event;
      }
      if (!finished) throw unfinished();
      this.#end = "whole";
    } catch (error) {
      this.#end = { failed: error };
      throw error;
    } finally {
      signal?.removeEventListener("abort", follow);
      if (this.#end === "open") this.#end = "left";
    }
  }

  async *#texts(): AsyncGenerator<string, void, undefined> {
    for await (const { event } of this.#events) {
      if (event.case === "delta" && event.value.choice === 0 && event.value.piece.case === "text") yield event.value.piece.value;
    }
  }
}
