import { type Completion, FinishReason, type Message, type ToolCallPart, type Usage } from "./contract.js";

/** A tool that the model asks for. */
export class ToolCall {
  /** Id that the result quotes: `toolResult(call.id, ...)`. */
  readonly id: string;
  /** Name of the tool. */
  readonly name: string;
  /** Arguments as the model wrote them: text that is usually, not always, a JSON object. */
  readonly arguments: string;

  /** From the contract's part. */
  constructor(part: Pick<ToolCallPart, "id" | "name" | "argumentsJson">) {
    this.id = part.id;
    this.name = part.name;
    this.arguments = part.argumentsJson;
  }

  /** The arguments as JSON. Throws a `SyntaxError` where the model wrote none. No text at all is an empty object. */
  parse(): unknown {
    return this.arguments.trim() === "" ? {} : JSON.parse(this.arguments);
  }
}

/** A collected answer, with helpers for its first choice. */
export class Answer {
  /** Around the contract's message. */
  constructor(
    /** The whole answer: every choice, who served it, how it was routed. */
    readonly completion: Completion,
  ) {}

  /** The model's message, to send back when the conversation goes on; absent where there is no choice. */
  get message(): Message | undefined {
    return this.completion.choices.find(({ index }) => index === 0)?.message;
  }

  /** The text, joined over its parts; empty where the model said none. */
  get text(): string {
    return this.#joined("text");
  }

  /** The reasoning in words, joined over its parts; empty where there is none. */
  get reasoning(): string {
    return this.#joined("reasoning");
  }

  /** The words in which the model declined; empty where it did not. */
  get refusal(): string {
    return this.#joined("refusal");
  }

  /** The tools that the model asks for, in order. */
  get toolCalls(): ToolCall[] {
    return (this.message?.parts ?? []).flatMap(({ content }) =>
      content.case === "toolCall" ? [new ToolCall(content.value)] : [],
    );
  }

  /** Why it ended. */
  get finishReason(): FinishReason {
    return this.completion.choices.find(({ index }) => index === 0)?.finished?.reason ?? FinishReason.UNSPECIFIED;
  }

  /** What it consumed and cost; absent where the stream was left before its end. */
  get usage(): Usage | undefined {
    return this.completion.usage;
  }

  /** Id of the call in the ledger and the audit log; empty before it began. */
  get callId(): string {
    return this.completion.started?.callId ?? "";
  }

  #joined(kind: "text" | "reasoning" | "refusal"): string {
    return (this.message?.parts ?? []).map(({ content }) => (content.case === kind ? content.value.text : "")).join("");
  }
}
