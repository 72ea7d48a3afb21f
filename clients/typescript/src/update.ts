import { type DescMessage, isMessage, type MessageInitShape } from "@bufbuild/protobuf";
import type { FieldMask } from "@bufbuild/protobuf/wkt";

import type { CallOptions } from "./calls.js";

/** Wishes about an update. */
export interface UpdateOptions extends CallOptions {
  /**
   * Which members to change, by their names here or in the contract (`displayName`, `display_name`). Absent: those that the given object
   * has, so that `{ id, models: [] }` empties the models; for a whole message that was read before, what the gateway takes for no mask.
   */
  readonly mask?: readonly string[] | undefined;
}

/** Members that say which resource is meant, rather than what to change. */
const NAMING = new Set(["id", "etag"]);

/** The mask of an update in the contract's names; `undefined`: none. */
export function maskOf<D extends DescMessage>(
  schema: D,
  resource: MessageInitShape<D>,
  mask: readonly string[] | undefined,
): Pick<FieldMask, "paths"> | undefined {
  if (mask === undefined && isMessage(resource)) return undefined;
  const members = mask ?? Object.entries(resource).flatMap(([name, value]) => (NAMING.has(name) || value === undefined ? [] : [name]));
  const paths = members.map((name) => schema.fields.find((field) => field.localName === name)?.name ?? name);
  return { paths };
}

/** The id of a create: what the caller gave, else a new one, the same for each try. */
export function withRequestId<T extends { requestId?: string | undefined }>(request: T): T & { requestId: string } {
  return { ...request, requestId: request.requestId !== undefined && request.requestId !== "" ? request.requestId : uuid() };
}

/** A random UUID. Not `crypto.randomUUID`: pages over plain http have none. */
function uuid(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes.set([((bytes[6] ?? 0) & 0x0f) | 0x40], 6);
  bytes.set([((bytes[8] ?? 0) & 0x3f) | 0x80], 8);
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
