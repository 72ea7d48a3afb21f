import type { MessageInitShape } from "@bufbuild/protobuf";

import type { Calls, CallOptions } from "./calls.js";
import {
  type CreateEmbeddingRequest,
  type CreateEmbeddingRequestSchema,
  type CreateEmbeddingResponse,
  type EmbeddingInputSchema,
  EmbeddingService,
} from "./contract.js";

type Fields = Exclude<MessageInitShape<typeof CreateEmbeddingRequestSchema>, CreateEmbeddingRequest>;

/** What to embed: the contract's `CreateEmbeddingRequest` as a plain object, with texts where texts are all. */
export type EmbeddingInputs = Omit<Fields, "$typeName" | "$unknown" | "inputs" | "dimensions"> & {
  /** Model alias, as in `client.models.list()`. */
  readonly model: string;
  /** 1 to 2,048 inputs; a string is one. */
  readonly inputs: string | readonly (string | MessageInitShape<typeof EmbeddingInputSchema>)[];
  /** Length of the vectors, for models that can shorten them. */
  readonly dimensions?: number | bigint;
};

/** Embeddings. */
export class Embeddings {
  readonly #calls: Calls;

  /** Over a client's calls. */
  constructor(calls: Calls) {
    this.#calls = calls;
  }

  /** Embeds every input; the vectors come in the order of the inputs. */
  create(request: EmbeddingInputs | CreateEmbeddingRequest, options?: CallOptions): Promise<CreateEmbeddingResponse> {
    return this.#calls.unary(EmbeddingService.method.createEmbedding, toRequest(request), options);
  }
}

function toRequest(request: EmbeddingInputs | CreateEmbeddingRequest): MessageInitShape<typeof CreateEmbeddingRequestSchema> {
  if ("$typeName" in request) return request;
  const { inputs, dimensions, ...rest } = request;
  const each = typeof inputs === "string" ? [inputs] : inputs;
  return {
    ...rest,
    inputs: each.map((input) => (typeof input === "string" ? { input: { case: "text", value: input } } : input)),
    ...(dimensions === undefined ? {} : { dimensions: BigInt(dimensions) }),
  };
}
