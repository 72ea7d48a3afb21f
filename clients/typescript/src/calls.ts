import type {
  DescMessage,
  DescMethodBiDiStreaming,
  DescMethodClientStreaming,
  DescMethodServerStreaming,
  DescMethodStreaming,
  DescMethodUnary,
  MessageInitShape,
  MessageShape,
} from "@bufbuild/protobuf";
import type { Interceptor, Transport } from "@connectrpc/connect";

import { retrySafeCalls } from "./retry.js";
import { lost, toTollgateError } from "./status.js";

/** How long a call may take unless it or its client says otherwise: ten minutes. */
export const DEFAULT_TIMEOUT_MS = 600_000;

/** Wishes about one call. */
export interface CallOptions {
  /** Ends the call when it is aborted, at the provider as well; the caller gets `Cancelled`. */
  readonly signal?: AbortSignal | undefined;
  /** Deadline in milliseconds from now, for the provider as well; 0: none. Absent: the client's. */
  readonly timeout?: number | undefined;
  /** The W3C trace context that the call belongs to: `00-TRACE-SPAN-01`. See also `@tollgate/client/opentelemetry`. */
  readonly traceparent?: string | undefined;
  /** What other tracing systems add to `traceparent`. */
  readonly tracestate?: string | undefined;
  /** Further metadata of the call. */
  readonly headers?: Readonly<Record<string, string>> | undefined;
}

/** What Node and browsers have in common when they make a client. */
export interface CommonOptions {
  /** The virtual key, `tg-...`. */
  readonly key?: string | undefined;
  /** Deadline in milliseconds of every call that names none; 0: none. Absent: ten minutes. Streams that never end by themselves have none. */
  readonly timeout?: number | undefined;
  /** Connect's interceptors around every call, the first outermost: tracing, logging. */
  readonly interceptors?: readonly Interceptor[] | undefined;
}

/** Parses an address; says what is wrong with it. */
export function parseAddress(address: string): URL {
  const url = URL.canParse(address) ? new URL(address) : undefined;
  if (url?.protocol !== "http:" && url?.protocol !== "https:") {
    throw new TypeError(`address: ${JSON.stringify(address)} is not http://HOST:PORT (plaintext) or https://HOST:PORT`);
  }
  return url;
}

/** Adds the key to every call. */
export function withKey(key: string | undefined): Interceptor[] {
  if (key === undefined || key === "") return [];
  // The message of `Headers` would have the key in it.
  if (!/^[\x21-\x7e]+$/.test(key)) throw new TypeError("key: it has characters that no header takes; is there white space around it?");
  return [
    (next) => (request) => {
      if (!request.header.has("authorization")) request.header.set("authorization", `Bearer ${key}`);
      return next(request);
    },
  ];
}

/** The interceptors of a client, in order. */
export function interceptorsOf(options: CommonOptions): Interceptor[] {
  return [...(options.interceptors ?? []), retrySafeCalls, ...withKey(options.key)];
}

/** Makes calls over a transport: deadlines, cancellation, metadata, typed errors. */
export class Calls {
  readonly #open = new Set<AbortController>();
  #closed = false;

  /** Over this transport, whose interceptors add the key and repeat safe calls. */
  constructor(
    readonly transport: Transport,
    private readonly timeout: number = DEFAULT_TIMEOUT_MS,
  ) {}

  /** A call with one answer. */
  async unary<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    request: MessageInitShape<I>,
    options: CallOptions = {},
  ): Promise<MessageShape<O>> {
    const timeout = deadline(options.timeout ?? this.timeout);
    const { abort, done } = this.#begin(options.signal);
    try {
      return (await this.transport.unary(method, abort.signal, timeout, metadata(options), request)).message;
    } catch (error) {
      throw toTollgateError(lost(error, abort.signal));
    } finally {
      done();
    }
  }

  /** A call that streams its answer. Leaving the iterator early ends the call. */
  async *stream<I extends DescMessage, O extends DescMessage>(
    method: DescMethodServerStreaming<I, O>,
    request: MessageInitShape<I>,
    options: CallOptions = {},
  ): AsyncGenerator<MessageShape<O>, void, undefined> {
    yield* this.#streamed(method, only(request), options);
  }

  /** A call that streams what it sends; one answer is a stream of answers, too. What `requests` throws ends the call, and is thrown. */
  async *upload<I extends DescMessage, O extends DescMessage>(
    method: DescMethodClientStreaming<I, O> | DescMethodBiDiStreaming<I, O>,
    requests: AsyncIterable<MessageInitShape<I>>,
    options: CallOptions = {},
  ): AsyncGenerator<MessageShape<O>, void, undefined> {
    const sent = { thrown: undefined as { readonly error: unknown } | undefined };
    // What the transport throws into it at a `yield`, since the call has ended, is not the program's own.
    async function* watched(): AsyncGenerator<MessageInitShape<I>, void, undefined> {
      const source = requests[Symbol.asyncIterator]();
      const next = () =>
        source.next().catch((error: unknown) => {
          sent.thrown = { error };
          throw error;
        });
      try {
        for (let step = await next(); step.done !== true; step = await next()) yield step.value;
      } finally {
        await source.return?.();
      }
    }
    try {
      yield* this.#streamed(method, watched(), options);
    } catch (error) {
      throw sent.thrown === undefined ? error : sent.thrown.error;
    }
  }

  async *#streamed<I extends DescMessage, O extends DescMessage>(
    method: DescMethodStreaming<I, O>,
    requests: AsyncIterable<MessageInitShape<I>>,
    options: CallOptions,
  ): AsyncGenerator<MessageShape<O>, void, undefined> {
    const timeout = deadline(options.timeout ?? this.timeout);
    const { abort, done } = this.#begin(options.signal);
    let answers: AsyncIterator<MessageShape<O>> | undefined;
    try {
      const response = await this.transport.stream(method, abort.signal, timeout, metadata(options), requests);
      answers = response.message[Symbol.asyncIterator]();
      for (let next = await answers.next(); next.done !== true; next = await answers.next()) yield next.value;
      answers = undefined;
    } catch (error) {
      answers = undefined;
      throw toTollgateError(lost(error, abort.signal));
    } finally {
      done();
      // Connect's iterators have no `return`: the signal tells that the reader has gone, and one more read clears the deadline's timer.
      abort.abort();
      answers?.next().catch(() => undefined);
    }
  }

  /** The same without deadline unless the call names one: for streams that never end by themselves. */
  endless<I extends DescMessage, O extends DescMessage>(
    method: DescMethodServerStreaming<I, O>,
    request: MessageInitShape<I>,
    options: CallOptions = {},
  ): AsyncGenerator<MessageShape<O>, void, undefined> {
    return this.stream(method, request, { ...options, timeout: options.timeout ?? 0 });
  }

  /** Ends the calls under way, and every later one, with `Cancelled`. */
  close(): void {
    this.#closed = true;
    for (const call of this.#open) call.abort();
  }

  /** A call's own switch, which its caller's signal and `close` throw. Not `AbortSignal.any`: a signal may outlive very many calls. */
  #begin(signal: AbortSignal | undefined): { abort: AbortController; done: () => void } {
    const abort = new AbortController();
    const follow = () => {
      abort.abort(signal?.reason);
    };
    if (this.#closed) abort.abort();
    if (signal?.aborted === true) follow();
    signal?.addEventListener("abort", follow);
    this.#open.add(abort);
    return {
      abort,
      done: () => {
        signal?.removeEventListener("abort", follow);
        this.#open.delete(abort);
      },
    };
  }
}

/** A deadline as gRPC takes it: whole milliseconds, at most eight digits; 0 or less: none. */
function deadline(timeout: number): number {
  if (Number.isNaN(timeout)) throw new TypeError("timeout: it is not a number of milliseconds");
  return timeout > 0 ? Math.min(Math.ceil(timeout), 99_999_999) : 0;
}

function metadata(options: CallOptions): Record<string, string> {
  return {
    ...options.headers,
    ...(options.traceparent === undefined ? {} : { traceparent: options.traceparent }),
    ...(options.tracestate === undefined ? {} : { tracestate: options.tracestate }),
  };
}

async function* only<T>(message: T): AsyncGenerator<T, void, undefined> {
  yield await Promise.resolve(message);
}
