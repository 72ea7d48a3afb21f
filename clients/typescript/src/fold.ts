import { create } from "@bufbuild/protobuf";

import {
  type Choice,
  ChoiceSchema,
  type Completion,
  type CompletionEvent,
  CompletionSchema,
  type Delta,
  type Part,
  PartSchema,
  Role,
} from "./contract.js";

/** More parts than any answer has. */
const MAX_PARTS = 10_000;

/** Folds the events of a stream into the completion that `CreateCompletion` would have answered. */
export class Fold {
  readonly #completion = create(CompletionSchema);
  readonly #choices = new Map<number, Choice>();

  /** Takes the next event. */
  take({ event, native }: CompletionEvent): void {
    if (native) this.#completion.native ??= native;
    switch (event.case) {
      case "restarted":
        // What came so far is void; where the answer goes on, it does so in the same parts.
        if (event.value.discardFromSeq === undefined) break;
        this.#choices.clear();
        delete this.#completion.native;
        break;
      case "started":
        this.#completion.started = event.value;
        break;
      case "delta":
        this.#delta(event.value);
        break;
      case "finished":
        this.#choice(event.value.choice).finished = event.value;
        break;
      case "usage":
        this.#completion.usage = event.value;
        break;
      case "routing":
        this.#completion.routing = event.value;
        break;
      case "receipt":
        this.#completion.receipt = event.value;
        break;
      default: // `partDone`, or what a newer contract adds
    }
  }

  /** The completion as far as it has come. */
  completion(): Completion {
    const choices = [...this.#choices.values()].sort((one, other) => one.index - other.index);
    return { ...this.#completion, choices: choices.map(said) };
  }

  #choice(index: number): Choice {
    const known = this.#choices.get(index);
    if (known) return known;
    const made = create(ChoiceSchema, { index, message: { role: Role.ASSISTANT } });
    this.#choices.set(index, made);
    return made;
  }

  #delta(delta: Delta): void {
    const choice = this.#choice(delta.choice);
    if (delta.logprobsJson !== "") choice.logprobsJson = joinedLogprobs(choice.logprobsJson, delta.logprobsJson);
    const parts = choice.message?.parts;
    if (!parts || delta.piece.case === undefined || delta.part >= MAX_PARTS) return;
    // A part that said nothing left no delta behind.
    while (parts.length <= delta.part) parts.push(create(PartSchema));
    const part = parts[delta.part];
    if (!part) return;
    grow(part, delta);
    if (part.content.case === "reasoning" && delta.reasoningFormat !== "") part.content.value.format = delta.reasoningFormat;
  }
}

/** The choice without parts that said nothing; the one that grows keeps them, so that its parts stay where they are. */
function said(choice: Choice): Choice {
  const parts = choice.message?.parts.filter(({ content }) => content.case !== undefined) ?? [];
  return choice.message ? { ...choice, message: { ...choice.message, parts } } : choice;
}

function grow(part: Part, { piece }: Delta): void {
  const { content } = part;
  if (content.case === undefined) {
    part.content = create(PartSchema, { content: begun(piece) }).content;
  } else if (
    (content.case === "text" && piece.case === "text") ||
    (content.case === "reasoning" && piece.case === "reasoning") ||
    (content.case === "refusal" && piece.case === "refusal")
  ) {
    content.value.text += piece.value;
  } else if (content.case === "reasoning" && piece.case === "reasoningSignature") {
    content.value.signature = piece.value;
  } else if (content.case === "toolCall" && piece.case === "toolArguments") {
    content.value.argumentsJson += piece.value;
  }
}

function begun(piece: Delta["piece"]) {
  switch (piece.case) {
    case "text":
      return { case: "text", value: { text: piece.value } } as const;
    case "reasoning":
      return { case: "reasoning", value: { text: piece.value } } as const;
    case "reasoningSignature":
      return { case: "reasoning", value: { signature: piece.value } } as const;
    case "reasoningRedacted":
      return { case: "reasoning", value: { redacted: piece.value } } as const;
    case "refusal":
      return { case: "refusal", value: { text: piece.value } } as const;
    case "toolCallStart":
      return { case: "toolCall", value: { id: piece.value.id, name: piece.value.name, typeNative: piece.value.typeNative } } as const;
    case "toolArguments":
      return { case: "toolCall", value: { argumentsJson: piece.value } } as const;
    case "opaqueJson":
      return { case: "opaque", value: { json: piece.value } } as const;
    default:
      return { case: undefined };
  }
}

/** Joins two objects of arrays (`{"content": [...]}`) member by member. */
function joinedLogprobs(before: string, more: string): string {
  if (before === "") return more;
  try {
    const all = JSON.parse(before) as Record<string, unknown[] | null>;
    for (const [name, items] of Object.entries(JSON.parse(more) as Record<string, unknown[] | null>)) {
      if (items) all[name] = [...(all[name] ?? []), ...items];
    }
    return JSON.stringify(all);
  } catch {
    return before; // neither is ours; what came first stays
  }
}
