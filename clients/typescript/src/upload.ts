import type { MessageInitShape } from "@bufbuild/protobuf";

import type { UploadFileSchema } from "./contract.js";

/** Bytes of a message of an upload. */
const CHUNK = 64 * 1024;

/** Bytes to send: all at once, a `Blob` (a browser's `File`, Node's `openAsBlob`), or as they come (Node's streams, a fetched body). */
export type Content = Uint8Array | Blob | AsyncIterable<Uint8Array>;

/** A file to send. */
export interface Upload {
  /** Its bytes; read while they are sent. */
  readonly content: Content;
  /** What it is called: by its ending many providers tell the format. Absent: the name of a `File`. */
  readonly filename?: string | undefined;
  /** Its media type, as in `audio/wav`. Absent: that of a `Blob`, else `application/octet-stream`. */
  readonly mediaType?: string | undefined;
}

/** What can be sent: bytes, or bytes with a name. */
export type Uploadable = Content | Upload;

function toUpload(file: Uploadable): Upload {
  return "content" in file ? file : { content: file };
}

/** What a file is called, and its media type. */
export function named(file: Uploadable): { filename: string; mediaType: string } {
  const { content, filename, mediaType } = toUpload(file);
  const blob = content instanceof Blob ? content : undefined;
  const own = blob && "name" in blob && typeof blob.name === "string" ? blob.name : "";
  return { filename: filename ?? own, mediaType: mediaType ?? blob?.type ?? "" };
}

/** The head of a file in a form. */
export function begun(field: string, file: Uploadable): MessageInitShape<typeof UploadFileSchema> {
  const { filename, mediaType } = named(file);
  return { field, filename, contentType: mediaType };
}

/** The bytes of a file, piece by piece. */
export async function* chunks(file: Uploadable): AsyncGenerator<Uint8Array, void, undefined> {
  const { content } = toUpload(file);
  if (content instanceof Blob) {
    for (let at = 0; at < content.size; at += CHUNK) yield new Uint8Array(await content.slice(at, at + CHUNK).arrayBuffer());
  } else if (content instanceof Uint8Array) {
    yield* pieces(content);
  } else {
    for await (const part of content) yield* pieces(part);
  }
}

function* pieces(bytes: Uint8Array): Generator<Uint8Array, void, undefined> {
  for (let at = 0; at < bytes.length; at += CHUNK) yield bytes.subarray(at, at + CHUNK);
}
