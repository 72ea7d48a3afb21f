import type { MessageInitShape } from "@bufbuild/protobuf";

import type { Calls, CallOptions } from "./calls.js";
import {
  type CreateKeyRequestSchema,
  type CreateKeyResponse,
  type ImportKeyRequestSchema,
  type ImportKeyResponse,
  type Key,
  KeyAdminService,
  KeySchema,
  type ListKeysRequestSchema,
  type MoveKeyRequestSchema,
  type RotateKeyResponse,
  TenancyService,
} from "./contract.js";
import { Pages } from "./pages.js";
import { one } from "./one.js";
import { maskOf, type UpdateOptions, withRequestId } from "./update.js";

const { method } = KeyAdminService;

/** A key and its secret, which can be read this once. */
export type WithSecret<R extends CreateKeyResponse | RotateKeyResponse> = R & {
  /** The key. */
  readonly key: Key;
};

/** Virtual keys. */
export class Keys {
  readonly #calls: Calls;

  /** Over a client's calls. */
  constructor(calls: Calls) {
    this.#calls = calls;
  }

  /** Makes a key. The answer holds the secret: the only time that it can be read. */
  async create(
    request: MessageInitShape<typeof CreateKeyRequestSchema>,
    options?: CallOptions,
  ): Promise<WithSecret<CreateKeyResponse>> {
    const made = await this.#calls.unary(method.createKey, withRequestId(request), options);
    return { ...made, key: one(made.key) };
  }

  /** A key by its id; without one the client's own. */
  async get(id = "", options?: CallOptions): Promise<Key> {
    return one((await this.#calls.unary(method.getKey, { id }, options)).key);
  }

  /** The key that a secret opens, whether it works or not. */
  async find(secret: string, options?: CallOptions): Promise<Key> {
    return one((await this.#calls.unary(method.getKey, { secret }, options)).key);
  }

  /** Keys by creation time, oldest first. */
  list(filter: MessageInitShape<typeof ListKeysRequestSchema> = {}, options?: CallOptions): Pages<Key> {
    return new Pages(async (pageToken) => {
      const { keys, nextPageToken } = await this.#calls.unary(method.listKeys, { ...filter, pageToken }, options);
      return { items: keys, nextPageToken };
    }, filter.pageToken);
  }

  /** Changes a key: `update({ id, models: ["gpt"] })`. With an `etag` only if nobody changed it since. */
  async update(key: MessageInitShape<typeof KeySchema>, { mask, ...options }: UpdateOptions = {}): Promise<Key> {
    const updateMask = maskOf(KeySchema, key, mask);
    return one((await this.#calls.unary(method.updateKey, { key, ...(updateMask && { updateMask }) }, options)).key);
  }

  /** Gives a key a new secret; the old one goes on working for `graceSeconds`, at most a week. */
  async rotate(
    id: string,
    { graceSeconds = 0, ...options }: CallOptions & { readonly graceSeconds?: number } = {},
  ): Promise<WithSecret<RotateKeyResponse>> {
    const rotated = await this.#calls.unary(method.rotateKey, { id, graceSeconds: BigInt(graceSeconds) }, options);
    return { ...rotated, key: one(rotated.key) };
  }

  /** Refuses the key's calls until it is unblocked. */
  async block(id: string, options?: CallOptions): Promise<Key> {
    return one((await this.#calls.unary(method.blockKey, { id }, options)).key);
  }

  /** Takes the block away. */
  async unblock(id: string, options?: CallOptions): Promise<Key> {
    return one((await this.#calls.unary(method.unblockKey, { id }, options)).key);
  }

  /** Ends the key for good; its history stays. */
  async revoke(id: string, options?: CallOptions): Promise<Key> {
    return one((await this.#calls.unary(method.revokeKey, { id }, options)).key);
  }

  /** Moves a key to another team, user or both; an empty id is none, an absent one as it is. */
  async move(request: MessageInitShape<typeof MoveKeyRequestSchema>, options?: CallOptions): Promise<Key> {
    return one((await this.#calls.unary(TenancyService.method.moveKey, request, options)).key);
  }

  /** Takes a key over that another gateway issued, by the hash that it kept. */
  import(request: MessageInitShape<typeof ImportKeyRequestSchema>, options?: CallOptions): Promise<ImportKeyResponse> {
    return this.#calls.unary(method.importKey, request, options);
  }
}
