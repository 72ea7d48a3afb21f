import { create, isMessage, type MessageInitShape } from "@bufbuild/protobuf";

import { type CompletionRequest, CompletionRequestSchema } from "./contract.js";
import { type MessageInput, user } from "./messages.js";

type Fields = Exclude<MessageInitShape<typeof CompletionRequestSchema>, CompletionRequest>;
type Counts = "maxOutputTokens" | "n" | "seed" | "topK" | "topLogprobs";

/** What is asked of a model: the contract's `CompletionRequest` as a plain object, with plain numbers, and text where one message is all. */
export type CompletionInput = Omit<Fields, "$typeName" | "$unknown" | "messages" | Counts> & {
  /** Model alias, as in `client.models.list()`. */
  readonly model: string;
  /** The conversation; a string is one message of the user's. */
  readonly messages: string | readonly MessageInput[];
  /** Output limit in tokens, reasoning included. Absent: the model's, or under a hard budget the key's output cap. */
  readonly maxOutputTokens?: number | bigint;
  /** Number of choices, 1 to 128; absent: 1. Every choice is billed. */
  readonly n?: number | bigint;
  /** Best-effort determinism. */
  readonly seed?: number | bigint;
  /** Sample among the k likeliest tokens; providers that have it. */
  readonly topK?: number | bigint;
  /** How many likeliest tokens to list per position, 0 to 20; needs `logprobs`. */
  readonly topLogprobs?: number | bigint;
};

/** The request as the contract has it. */
export function toCompletionRequest(input: CompletionInput | CompletionRequest): CompletionRequest {
  if (isMessage(input, CompletionRequestSchema)) return input;
  const { messages, maxOutputTokens, n, seed, topK, topLogprobs, ...rest } = input;
  const counts = { maxOutputTokens, n, seed, topK, topLogprobs };
  const given = Object.entries(counts).flatMap(([name, value]) => (value === undefined ? [] : [[name, whole(name, value)] as const]));
  return create(CompletionRequestSchema, {
    ...rest,
    ...(Object.fromEntries(given) as Partial<Record<Counts, bigint>>),
    messages: typeof messages === "string" ? [user(messages)] : [...messages],
  });
}

function whole(name: string, value: number | bigint): bigint {
  if (typeof value === "number" && !Number.isSafeInteger(value)) throw new TypeError(`${name}: ${String(value)} is not a whole number`);
  return BigInt(value);
}
