import type { MessageInitShape } from "@bufbuild/protobuf";

import { ByteStream, gaveUp } from "./bytes.js";
import type { Calls, CallOptions } from "./calls.js";
import {
  type Batch,
  BatchService,
  type CreateBatchRequestSchema,
  type CreateFileRequestSchema,
  type File,
  type FileHeaderSchema,
  FileService,
  type ListBatchesRequestSchema,
  type ListFilesRequestSchema,
} from "./contract.js";
import { DeadlineExceeded } from "./errors.js";
import { one } from "./one.js";
import { Pages } from "./pages.js";
import { chunks, named, type Uploadable } from "./upload.js";

/** Words by which providers say that a batch has ended. */
const ENDED = new Set(["completed", "failed", "expired", "cancelled"]);

/** Files at providers: what batches read and write. Each key sees its own. */
export class Files {
  readonly #calls: Calls;

  /** Over a client's calls. */
  constructor(calls: Calls) {
    this.#calls = calls;
  }

  /**
   * Uploads a file: `upload({ purpose: "batch" }, await openAsBlob("input.jsonl"))`. Name and media type are those of the file where the
   * header names none. From a browser: not over gRPC-Web, which uploads nothing.
   */
  async upload(header: MessageInitShape<typeof FileHeaderSchema>, file: Uploadable, options?: CallOptions): Promise<File> {
    const own = named(file);
    const filename = header.filename !== undefined && header.filename !== "" ? header.filename : own.filename;
    const mediaType = header.mediaType !== undefined && header.mediaType !== "" ? header.mediaType : own.mediaType;
    async function* parts(): AsyncGenerator<MessageInitShape<typeof CreateFileRequestSchema>> {
      yield { part: { case: "header", value: { ...header, filename, mediaType } } };
      for await (const value of chunks(file)) yield { part: { case: "chunk", value } };
    }
    let made: File | undefined;
    for await (const told of this.#calls.upload(FileService.method.createFile, parts(), options)) made = told.file;
    return one(made);
  }

  /** One file, as its provider tells it now. */
  async get(id: string, options?: CallOptions): Promise<File> {
    return one((await this.#calls.unary(FileService.method.getFile, { id }, options)).file);
  }

  /** The key's files, the newest first unless the filter says otherwise. */
  list(filter: MessageInitShape<typeof ListFilesRequestSchema> = {}, options?: CallOptions): Pages<File> {
    return new Pages(async (pageToken) => {
      const { files, nextPageToken } = await this.#calls.unary(FileService.method.listFiles, { ...filter, pageToken }, options);
      return { items: files, nextPageToken };
    }, filter.pageToken);
  }

  /** Deletes a file at its provider. */
  async delete(id: string, options?: CallOptions): Promise<void> {
    await this.#calls.unary(FileService.method.deleteFile, { id }, options);
  }

  /** The bytes of a file. Errors are thrown while they are read. */
  content(id: string, options?: CallOptions): ByteStream {
    const calls = this.#calls;
    async function* content(): AsyncGenerator<Uint8Array, void, undefined> {
      for await (const { chunk } of calls.stream(FileService.method.getFileContent, { id }, options)) yield chunk;
    }
    return new ByteStream(content());
  }
}

/** Batches of calls, each on an uploaded file. */
export class Batches {
  readonly #calls: Calls;

  /** Over a client's calls. */
  constructor(calls: Calls) {
    this.#calls = calls;
  }

  /** Begins a batch on a file of the purpose `batch`. Never repeated by the client: it would be charged twice. */
  async create(request: MessageInitShape<typeof CreateBatchRequestSchema>, options?: CallOptions): Promise<Batch> {
    return one((await this.#calls.unary(BatchService.method.createBatch, request, options)).batch);
  }

  /** One batch, as its provider tells it now. */
  async get(id: string, options?: CallOptions): Promise<Batch> {
    return one((await this.#calls.unary(BatchService.method.getBatch, { id }, options)).batch);
  }

  /** The key's batches, the newest first. */
  list(filter: MessageInitShape<typeof ListBatchesRequestSchema> = {}, options?: CallOptions): Pages<Batch> {
    return new Pages(async (pageToken) => {
      const { batches, nextPageToken } = await this.#calls.unary(BatchService.method.listBatches, { ...filter, pageToken }, options);
      return { items: batches, nextPageToken };
    }, filter.pageToken);
  }

  /** Asks the provider to stop a batch. What was answered until then is paid for. */
  async cancel(id: string, options?: CallOptions): Promise<Batch> {
    return one((await this.#calls.unary(BatchService.method.cancelBatch, { id }, options)).batch);
  }

  /**
   * Waits until a batch has ended, well or not, and looks every so many milliseconds; absent: 30,000. Batches take hours: it waits as long,
   * or `timeout` milliseconds and throws `DeadlineExceeded` then. The batch goes on.
   */
  async wait(id: string, { every = 30_000, timeout = 0, ...options }: CallOptions & { readonly every?: number } = {}): Promise<Batch> {
    const end = timeout > 0 ? Date.now() + timeout : Infinity;
    for (;;) {
      const batch = await this.get(id, options);
      if (ENDED.has(batch.status)) return batch;
      if (Date.now() >= end) {
        const message = `batch ${id} has not ended within ${String(timeout)} ms`;
        throw new DeadlineExceeded({ code: "DEADLINE_EXCEEDED", message, metadata: {}, violations: [] });
      }
      await pause(Math.min(every, end - Date.now()), options.signal, id);
    }
  }
}

function pause(ms: number, signal: AbortSignal | undefined, id: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(gaveUp(`nobody waits for batch ${id} any more`));
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, ms);
    if (signal?.aborted === true) stop();
    else signal?.addEventListener("abort", stop, { once: true });
  });
}
