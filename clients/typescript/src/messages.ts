import type { MessageInitShape } from "@bufbuild/protobuf";

import { type MessageSchema, type PartSchema, Role, type ToolSchema } from "./contract.js";

/** A message of a conversation, or the parts of one. */
export type MessageInput = MessageInitShape<typeof MessageSchema>;
/** A piece of a message: text, an image, a tool's result, ... */
export type PartInput = MessageInitShape<typeof PartSchema>;
/** A tool that the model may call. */
export type ToolInput = MessageInitShape<typeof ToolSchema>;

/** Text as a part. */
export function text(text: string): PartInput {
  return { content: { case: "text", value: { text } } };
}

/** An image as a part: by URL, or its bytes with their media type (`image/png`). */
export function image(source: string | URL | { readonly data: Uint8Array<ArrayBuffer>; readonly mediaType: string }): PartInput {
  const value = typeof source === "string" || source instanceof URL ? { url: String(source) } : source;
  return { content: { case: "image", value } };
}

const said = (role: Role, content: string | readonly PartInput[]): MessageInput => ({
  role,
  parts: typeof content === "string" ? [text(content)] : [...content],
});

/** What the person or program asks. */
export function user(content: string | readonly PartInput[]): MessageInput {
  return said(Role.USER, content);
}

/** Instructions of the application. */
export function system(content: string | readonly PartInput[]): MessageInput {
  return said(Role.SYSTEM, content);
}

/** What the model said. To go on from an answer send its own `message`: it has the tool calls and reasoning as well. */
export function assistant(content: string | readonly PartInput[]): MessageInput {
  return said(Role.ASSISTANT, content);
}

/** What a tool gave back. Anything but a string is sent as JSON. */
export function toolResult(toolCallId: string, result: unknown, options: { readonly isError?: boolean } = {}): MessageInput {
  const written = typeof result === "string" ? result : (JSON.stringify(result) as string | undefined);
  const value = { toolCallId, content: [text(written ?? "null")], ...(options.isError === undefined ? {} : { isError: options.isError }) };
  return { role: Role.TOOL, parts: [{ content: { case: "toolResult", value } }] };
}

/** A function that the model may call. */
export interface FunctionInput {
  /** 1 to 64 characters of `[a-zA-Z0-9_-]` for most providers. */
  readonly name: string;
  /** What it does, for the model. */
  readonly description?: string;
  /** JSON Schema of its arguments; absent: it has none. */
  readonly parameters?: object;
  /** Whether the provider must enforce the schema. */
  readonly strict?: boolean;
}

/** A function as a tool. */
export function tool({ parameters, ...rest }: FunctionInput): ToolInput {
  const value = parameters === undefined ? rest : { ...rest, parametersJson: JSON.stringify(parameters) };
  return { kind: { case: "function", value } };
}
