import type { MessageInitShape } from "@bufbuild/protobuf";

import type { Calls, CallOptions } from "./calls.js";
import { type CompletionInput, toCompletionRequest } from "./completion.js";
import {
  type CatalogueModel,
  type CompletionRequest,
  type CreateModelRequestSchema,
  type ExplainRouteResponse,
  type ListCatalogueModelsRequestSchema,
  type ListModelsRequestSchema,
  type ListRuntimeModelsRequestSchema,
  type Model,
  ModelService,
  type RouteState,
  type RuntimeModel,
} from "./contract.js";
import { one } from "./one.js";
import { Pages } from "./pages.js";
import { withRequestId } from "./update.js";

const { method } = ModelService;

/** Models: what the key may use, how it does, and what the catalogue knows. */
export class Models {
  readonly #calls: Calls;

  /** Over a client's calls. */
  constructor(calls: Calls) {
    this.#calls = calls;
  }

  /** The models that the key may use, by name. */
  list(filter: MessageInitShape<typeof ListModelsRequestSchema> = {}, options?: CallOptions): Pages<Model> {
    return new Pages(async (pageToken) => {
      const { models, nextPageToken } = await this.#calls.unary(method.listModels, { ...filter, pageToken }, options);
      return { items: models, nextPageToken };
    }, filter.pageToken);
  }

  /** One of them. */
  async get(name: string, options?: CallOptions): Promise<Model> {
    return one((await this.#calls.unary(method.getModel, { name }, options)).model);
  }

  /** How the deployments of a model do at the replica that answers. */
  async routeState(model: string, options?: CallOptions): Promise<RouteState[]> {
    return (await this.#calls.unary(method.getRouteState, { model }, options)).states;
  }

  /** Where a call would go now and why, without making it. */
  explainRoute(request: CompletionInput | CompletionRequest, options?: CallOptions): Promise<ExplainRouteResponse> {
    return this.#calls.unary(method.explainRoute, { request: toCompletionRequest(request) }, options);
  }

  /** Models of the built-in catalogue, configured or not, by provider and id. */
  catalogue(filter: MessageInitShape<typeof ListCatalogueModelsRequestSchema> = {}, options?: CallOptions): Pages<CatalogueModel> {
    return new Pages(async (pageToken) => {
      const { models, nextPageToken } = await this.#calls.unary(method.listCatalogueModels, { ...filter, pageToken }, options);
      return { items: models, nextPageToken };
    }, filter.pageToken);
  }

  /** One of them: the kind of the provider, and the model in the provider's words. */
  async catalogueModel(provider: string, model: string, options?: CallOptions): Promise<CatalogueModel> {
    return one((await this.#calls.unary(method.getCatalogueModel, { provider, model }, options)).model);
  }

  /** Makes a deployment that lives in the store, beside those of the configuration. */
  async create(request: MessageInitShape<typeof CreateModelRequestSchema>, options?: CallOptions): Promise<RuntimeModel> {
    return one((await this.#calls.unary(method.createModel, withRequestId(request), options)).model);
  }

  /** Deployments that live in the store, oldest first. */
  runtime(filter: MessageInitShape<typeof ListRuntimeModelsRequestSchema> = {}, options?: CallOptions): Pages<RuntimeModel> {
    return new Pages(async (pageToken) => {
      const { models, nextPageToken } = await this.#calls.unary(method.listRuntimeModels, { ...filter, pageToken }, options);
      return { items: models, nextPageToken };
    }, filter.pageToken);
  }

  /** Takes one of those away; calls that it serves end in peace. */
  async delete(id: string, options?: CallOptions): Promise<void> {
    await this.#calls.unary(method.deleteModel, { id }, options);
  }
}
