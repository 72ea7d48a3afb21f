import type { DescService } from "@bufbuild/protobuf";
import { type Client as ServiceClient, createClient, type Transport } from "@connectrpc/connect";

import { Answer } from "./answer.js";
import { Audit } from "./audit.js";
import { Budgets } from "./budgets.js";
import { Calls, type CallOptions } from "./calls.js";
import { type CompletionInput, toCompletionRequest } from "./completion.js";
import { type CompletionRequest, CompletionService, type CountTokensResponse } from "./contract.js";
import { Embeddings } from "./embeddings.js";
import { Batches, Files } from "./files.js";
import { Keys } from "./keys.js";
import { Audio, Images } from "./media.js";
import { Models } from "./models.js";
import { one } from "./one.js";
import { Spend } from "./spend.js";
import { CompletionStream } from "./stream.js";
import { Organizations, Teams, Users } from "./tenancy.js";

const { method } = CompletionService;

/** What a client can do, whatever carries its calls. `Client` of `@tollgate/client` and of `@tollgate/client/web` make one. */
export class BaseClient {
  /** Virtual keys. */
  readonly keys: Keys;
  /** Teams and their members. */
  readonly teams: Teams;
  /** Users. */
  readonly users: Users;
  /** Organizations. */
  readonly organizations: Organizations;
  /** What may be spent. */
  readonly budgets: Budgets;
  /** What was spent. */
  readonly spend: Spend;
  /** The record of every call and admin act. */
  readonly audit: Audit;
  /** What the key may use. */
  readonly models: Models;
  /** Embeddings. */
  readonly embeddings: Embeddings;
  /** Speech and transcripts. */
  readonly audio: Audio;
  /** Images of words, and of other images. */
  readonly images: Images;
  /** Files at providers. */
  readonly files: Files;
  /** Batches of calls. */
  readonly batches: Batches;
  /** Connect's transport with the client's key, deadline and retries, for generated code. */
  readonly transport: Transport;
  readonly #calls: Calls;

  /**
   * Over any transport of Connect's.
   *
   * @param transport carries the calls and adds the key
   * @param timeout deadline of calls that name none, in milliseconds; 0: none
   */
  constructor(transport: Transport, timeout?: number) {
    const calls = new Calls(transport, timeout);
    this.#calls = calls;
    this.transport = transport;
    this.keys = new Keys(calls);
    this.teams = new Teams(calls);
    this.users = new Users(calls);
    this.organizations = new Organizations(calls);
    this.budgets = new Budgets(calls);
    this.spend = new Spend(calls);
    this.audit = new Audit(calls);
    this.models = new Models(calls);
    this.embeddings = new Embeddings(calls);
    this.audio = new Audio(calls);
    this.images = new Images(calls);
    this.files = new Files(calls);
    this.batches = new Batches(calls);
  }

  /** A whole answer. Never repeated by the client: `tollgate.idempotencyKey` makes it safe to repeat. */
  async complete(request: CompletionInput | CompletionRequest, options?: CallOptions): Promise<Answer> {
    const { completion } = await this.#calls.unary(method.createCompletion, { request: toCompletionRequest(request) }, options);
    return new Answer(one(completion));
  }

  /** An answer as it is made: events, text, or collected. */
  stream(request: CompletionInput | CompletionRequest, options?: CallOptions): CompletionStream {
    const message = { request: toCompletionRequest(request) };
    return new CompletionStream((wishes) => this.#calls.stream(method.streamCompletion, message, wishes), options);
  }

  /** How many tokens the prompt of a call has, without making it. */
  countTokens(request: CompletionInput | CompletionRequest, options?: CallOptions): Promise<CountTokensResponse> {
    return this.#calls.unary(method.countTokens, { request: toCompletionRequest(request) }, options);
  }

  /** Ends the calls under way with `Cancelled`. The client is not to be used after it. */
  close(): void {
    this.#calls.close();
  }

  /** Closes it at the end of its block: `using client = new Client()`. */
  [Symbol.dispose](): void {
    this.close();
  }

  /** Connect's client of any service of the contract: `client.service(RerankService).rerank(...)`. Its errors: `toTollgateError`. */
  service<S extends DescService>(service: S): ServiceClient<S> {
    return createClient(service, this.transport);
  }
}
