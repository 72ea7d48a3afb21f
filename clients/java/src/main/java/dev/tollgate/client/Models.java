package dev.tollgate.client;

import dev.tollgate.v1.CatalogueModel;
import dev.tollgate.v1.CreateModelRequest;
import dev.tollgate.v1.DeleteModelRequest;
import dev.tollgate.v1.ExplainRouteRequest;
import dev.tollgate.v1.ExplainRouteResponse;
import dev.tollgate.v1.GetCatalogueModelRequest;
import dev.tollgate.v1.GetModelRequest;
import dev.tollgate.v1.GetRouteStateRequest;
import dev.tollgate.v1.GetRouteStateResponse;
import dev.tollgate.v1.ListCatalogueModelsRequest;
import dev.tollgate.v1.ListCatalogueModelsResponse;
import dev.tollgate.v1.ListModelsRequest;
import dev.tollgate.v1.ListModelsResponse;
import dev.tollgate.v1.ListRuntimeModelsRequest;
import dev.tollgate.v1.ListRuntimeModelsResponse;
import dev.tollgate.v1.Model;
import dev.tollgate.v1.ModelServiceGrpc;
import dev.tollgate.v1.RuntimeModel;

/** The models that a key may use, those of the catalogue, and where calls go. */
public final class Models {
  private final Calls calls;

  Models(Calls calls) {
    this.calls = calls;
  }

  /**
   * The models that the key may use, by name.
   *
   * @return them, page after page
   */
  public Paged<Model> list() {
    return list(ListModelsRequest.getDefaultInstance(), Options.defaults());
  }

  /**
   * The models that the key may use, by name.
   *
   * @param request which, and how many at once
   * @param options where each page's call differs from the client's defaults
   * @return them, page after page
   */
  public Paged<Model> list(ListModelsRequest request, Options options) {
    return new Paged<>(
        token -> {
          ListModelsRequest next =
              token.isEmpty() ? request : request.toBuilder().setPageToken(token).build();
          ListModelsResponse page =
              calls.ask(ModelServiceGrpc.getListModelsMethod(), next, options);
          return new Paged.Page<>(page.getModelsList(), page.getNextPageToken());
        });
  }

  /**
   * One model.
   *
   * @param name its alias
   * @return it, with its deployments
   */
  public Model get(String name) {
    return get(GetModelRequest.newBuilder().setName(name).build(), Options.defaults());
  }

  /**
   * One model.
   *
   * @param request the request
   * @param options where it differs from the client's defaults
   * @return it, with its deployments
   */
  public Model get(GetModelRequest request, Options options) {
    return calls.ask(ModelServiceGrpc.getGetModelMethod(), request, options).getModel();
  }

  /**
   * Where a call would go now and why, without making it.
   *
   * @param request the request
   * @param options where it differs from the client's defaults
   * @return each candidate in the order of trial
   */
  public ExplainRouteResponse explain(ExplainRouteRequest request, Options options) {
    return calls.ask(ModelServiceGrpc.getExplainRouteMethod(), request, options);
  }

  /**
   * How a model's deployments do.
   *
   * @param request the request
   * @param options where it differs from the client's defaults
   * @return latency, failures, cooldowns
   */
  public GetRouteStateResponse state(GetRouteStateRequest request, Options options) {
    return calls.ask(ModelServiceGrpc.getGetRouteStateMethod(), request, options);
  }

  /**
   * Models of the built-in catalogue.
   *
   * @param request which, and how many at once
   * @param options where each page's call differs from the client's defaults
   * @return them, page after page
   */
  public Paged<CatalogueModel> catalogue(ListCatalogueModelsRequest request, Options options) {
    return new Paged<>(
        token -> {
          ListCatalogueModelsRequest next =
              token.isEmpty() ? request : request.toBuilder().setPageToken(token).build();
          ListCatalogueModelsResponse page =
              calls.ask(ModelServiceGrpc.getListCatalogueModelsMethod(), next, options);
          return new Paged.Page<>(page.getModelsList(), page.getNextPageToken());
        });
  }

  /**
   * One model of the catalogue.
   *
   * @param request the request
   * @param options where it differs from the client's defaults
   * @return it, with its prices and their sources
   */
  public CatalogueModel catalogued(GetCatalogueModelRequest request, Options options) {
    return calls.ask(ModelServiceGrpc.getGetCatalogueModelMethod(), request, options).getModel();
  }

  /**
   * Makes a deployment that lives in the store. The same {@code request_id} gives the same one.
   *
   * @param request the request
   * @param options where it differs from the client's defaults
   * @return it, without its credential
   */
  public RuntimeModel create(CreateModelRequest request, Options options) {
    return calls.ask(ModelServiceGrpc.getCreateModelMethod(), request, options).getModel();
  }

  /**
   * Deployments that live in the store, oldest first.
   *
   * @param request which, and how many at once
   * @param options where each page's call differs from the client's defaults
   * @return them, page after page
   */
  public Paged<RuntimeModel> listRuntime(ListRuntimeModelsRequest request, Options options) {
    return new Paged<>(
        token -> {
          ListRuntimeModelsRequest next =
              token.isEmpty() ? request : request.toBuilder().setPageToken(token).build();
          ListRuntimeModelsResponse page =
              calls.ask(ModelServiceGrpc.getListRuntimeModelsMethod(), next, options);
          return new Paged.Page<>(page.getModelsList(), page.getNextPageToken());
        });
  }

  /**
   * Takes a deployment away that lives in the store; calls that it serves end in peace.
   *
   * @param id which
   */
  public void delete(String id) {
    DeleteModelRequest request = DeleteModelRequest.newBuilder().setId(id).build();
    var unused = calls.ask(ModelServiceGrpc.getDeleteModelMethod(), request, Options.defaults());
  }
}
