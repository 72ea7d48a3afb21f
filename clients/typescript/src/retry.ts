import type { DescMethod, Message } from "@bufbuild/protobuf";
import { Code, type Interceptor } from "@connectrpc/connect";

import { lost, retryAfterMs, toConnectError } from "./status.js";

const TRIES = 4;
const FIRST_DELAY_MS = 100;
const LONGEST_DELAY_MS = 1_000;
/** A gateway that asks to wait longer is not waited for: the caller is told. */
const PATIENCE_MS = 5_000;

/** RPCs that change nothing, by the verb of their name. `Tail` and `Watch` never end: their caller knows where to go on. */
const READS = /^(Get|List|Query|Count|Explain|Check|Reconcile)[A-Z]/;

/** Whether a call may be repeated: it reads, or its `request_id` makes the repetition the same call. */
export function isSafe(method: DescMethod, request: Message): boolean {
  if (READS.test(method.name)) return true;
  return "requestId" in request && typeof request.requestId === "string" && request.requestId !== "";
}

/**
 * Repeats safe calls that found the gateway unavailable: four tries, waiting a tenth of a second to one second in between, or as long as the
 * gateway asks. Connect has no service config, so this stands in for gRPC's retry policy: as there, nothing is repeated once an answer has
 * begun, and never after the deadline.
 */
export const retrySafeCalls: Interceptor = (next) => async (request) => {
  const stream = request.stream && request.method.methodKind === "server_streaming" ? await onlyMessage(request.message) : undefined;
  const message = request.stream ? stream?.message : request.message;
  const safe = message !== undefined && isSafe(request.method, message);
  for (let tried = 1; ; tried++) {
    try {
      return await next(request.stream && stream ? { ...request, message: stream.again() } : request);
    } catch (error) {
      const failed = lost(error, request.signal);
      const ceiling = Math.min(FIRST_DELAY_MS * 2 ** (tried - 1), LONGEST_DELAY_MS);
      const delay = Math.max(ceiling * (0.8 + 0.4 * Math.random()), retryAfterMs(failed) ?? 0);
      if (!safe || failed.code !== Code.Unavailable || tried === TRIES || delay > PATIENCE_MS) throw failed;
      await pause(delay, request.signal);
    }
  }
};

/** The request of a server stream, and the stream of it as often as it is needed. */
async function onlyMessage<T>(messages: AsyncIterable<T>): Promise<{ message: T | undefined; again: () => AsyncIterable<T> }> {
  const all: T[] = [];
  for await (const message of messages) all.push(message);
  return {
    message: all[0],
    again: async function* () {
      for (const message of all) yield await Promise.resolve(message);
    },
  };
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(toConnectError(signal.reason));
    };
    const timer = setTimeout(() => {
      signal.removeEventListener("abort", stop);
      resolve();
    }, ms);
    if (signal.aborted) stop();
    else signal.addEventListener("abort", stop, { once: true });
  });
}
