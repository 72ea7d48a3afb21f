# Made from `_async` by tools/unasync.py; change that one.
"""Models and embeddings."""

from __future__ import annotations

from collections.abc import Iterator, Iterable
from typing import Unpack

from tollgate import _rpcs
from tollgate._sync.connection import Connection
from tollgate.messages import CallOptions, Messages, completion_request, new_id
from tollgate.v1 import (
    CatalogueModel,
    CompletionRequest,
    CreateEmbeddingRequest,
    CreateEmbeddingResponse,
    CreateModelRequest,
    DeleteModelRequest,
    EmbeddingInput,
    ExplainRouteRequest,
    ExplainRouteResponse,
    GetCatalogueModelRequest,
    GetModelRequest,
    GetRouteStateRequest,
    GetRouteStateResponse,
    ListCatalogueModelsRequest,
    ListModelsRequest,
    ListRuntimeModelsRequest,
    Model,
    RuntimeModel,
)


class Models:
    """Models, and where calls of them go."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def list(self, *, page_size: int = 0, **options: Unpack[CallOptions]) -> Iterator[Model]:
        """The models that the key may use."""
        request = ListModelsRequest(page_size=page_size)
        return self._connection.pages(_rpcs.LIST_MODELS, request, lambda page: page.models, options)

    def get(self, name: str, **options: Unpack[CallOptions]) -> Model:
        """One model with its deployments. Raises `ModelNotFound`."""
        return (self._connection.unary(_rpcs.GET_MODEL, GetModelRequest(name=name), options)).model

    def route_state(self, name: str, **options: Unpack[CallOptions]) -> GetRouteStateResponse:
        """How the deployments of a model are doing at the replica that answers."""
        return self._connection.unary(_rpcs.GET_ROUTE_STATE, GetRouteStateRequest(model=name), options)

    def explain(
        self, model: str | CompletionRequest, messages: Messages = (), **options: Unpack[CallOptions]
    ) -> ExplainRouteResponse:
        """Where a call would go now, and why each other deployment is left out."""
        request = ExplainRouteRequest(request=completion_request(model, messages, {}))
        return self._connection.unary(_rpcs.EXPLAIN_ROUTE, request, options)

    def catalogue(
        self,
        search: str = "",
        *,
        provider: str = "",
        capabilities: Iterable[str] = (),
        mode: str = "",
        page_size: int = 0,
        **options: Unpack[CallOptions],
    ) -> Iterator[CatalogueModel]:
        """What the built-in catalogue knows of models and prices."""
        request = ListCatalogueModelsRequest(search=search, provider=provider, capabilities=capabilities, mode=mode, page_size=page_size)
        return self._connection.pages(_rpcs.LIST_CATALOGUE_MODELS, request, lambda page: page.models, options)

    def catalogued(self, provider: str, model: str, **options: Unpack[CallOptions]) -> CatalogueModel:
        """One model of the catalogue."""
        request = GetCatalogueModelRequest(provider=provider, model=model)
        return (self._connection.unary(_rpcs.GET_CATALOGUE_MODEL, request, options)).model

    def create(self, model: RuntimeModel, *, request_id: str | None = None, **options: Unpack[CallOptions]) -> RuntimeModel:
        """Makes a deployment that lives in the store, for platform admins."""
        request = CreateModelRequest(model=model, request_id=request_id or new_id())
        return (self._connection.unary(_rpcs.CREATE_MODEL, request, options)).model

    def list_created(self, *, page_size: int = 0, **options: Unpack[CallOptions]) -> Iterator[RuntimeModel]:
        """Deployments that live in the store."""
        request = ListRuntimeModelsRequest(page_size=page_size)
        return self._connection.pages(_rpcs.LIST_RUNTIME_MODELS, request, lambda page: page.models, options)

    def delete(self, id: str, **options: Unpack[CallOptions]) -> None:
        """Takes a deployment of the store away."""
        self._connection.unary(_rpcs.DELETE_MODEL, DeleteModelRequest(id=id), options)


class Embeddings:
    """Texts as vectors."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def create(
        self,
        model: str | CreateEmbeddingRequest,
        inputs: str | Iterable[str] = (),
        *,
        dimensions: int | None = None,
        **options: Unpack[CallOptions],
    ) -> CreateEmbeddingResponse:
        """Embeds every input; the vectors come in the order of the inputs. Never tried again unasked."""
        request = CreateEmbeddingRequest(dimensions=dimensions)
        if isinstance(model, CreateEmbeddingRequest):
            request.MergeFrom(model)
        else:
            request.model = model
        texts = [inputs] if isinstance(inputs, str) else inputs
        request.inputs.extend(EmbeddingInput(text=text) for text in texts)
        return self._connection.unary(_rpcs.CREATE_EMBEDDING, request, options)
