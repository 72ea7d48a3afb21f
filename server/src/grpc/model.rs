use tollgate_proto::v1::{
    CheckHealthRequest, CheckHealthResponse, CreateModelRequest, CreateModelResponse, DeleteModelRequest,
    DeleteModelResponse, ExplainRouteRequest, ExplainRouteResponse, GetCatalogueModelRequest,
    GetCatalogueModelResponse, GetModelRequest, GetModelResponse, GetRouteStateRequest, GetRouteStateResponse,
    ListCatalogueModelsRequest, ListCatalogueModelsResponse, ListModelsRequest, ListModelsResponse,
    ListRuntimeModelsRequest, ListRuntimeModelsResponse, model_service_server::ModelService,
};
use tollgate_providers::{Mode, catalogue::Query};
use tonic::{Request, Response, Status};

use super::{Rooms, completion::call, principal, status::status};

/// `ModelService`.
pub(crate) struct Door(pub(crate) Rooms);

#[tonic::async_trait]
impl ModelService for Door {
    async fn list_models(&self, request: Request<ListModelsRequest>) -> Result<Response<ListModelsResponse>, Status> {
        let who = principal(&request);
        let asked = request.into_inner();
        let page = self.0.control.list_models(&who, asked.page_size, &asked.page_token).await;
        let (models, next_page_token) = page.map_err(status)?;
        Ok(Response::new(ListModelsResponse { models, next_page_token }))
    }

    async fn get_model(&self, request: Request<GetModelRequest>) -> Result<Response<GetModelResponse>, Status> {
        let who = principal(&request);
        let model = self.0.control.get_model(&who, &request.into_inner().name).await.map_err(status)?;
        Ok(Response::new(GetModelResponse { model: Some(model) }))
    }

    async fn create_model(
        &self,
        request: Request<CreateModelRequest>,
    ) -> Result<Response<CreateModelResponse>, Status> {
        let who = principal(&request);
        let asked = request.into_inner();
        let made = self.0.control.create_model(&who, asked.model.unwrap_or_default(), &asked.request_id).await;
        Ok(Response::new(CreateModelResponse { model: Some(made.map_err(status)?) }))
    }

    async fn list_runtime_models(
        &self,
        request: Request<ListRuntimeModelsRequest>,
    ) -> Result<Response<ListRuntimeModelsResponse>, Status> {
        let who = principal(&request);
        let page = self.0.control.list_runtime_models(&who, request.get_ref()).await;
        let (models, next_page_token) = page.map_err(status)?;
        Ok(Response::new(ListRuntimeModelsResponse { models, next_page_token }))
    }

    async fn delete_model(
        &self,
        request: Request<DeleteModelRequest>,
    ) -> Result<Response<DeleteModelResponse>, Status> {
        let who = principal(&request);
        self.0.control.delete_model(&who, &request.into_inner().id).await.map_err(status)?;
        Ok(Response::new(DeleteModelResponse {}))
    }

    async fn get_route_state(
        &self,
        request: Request<GetRouteStateRequest>,
    ) -> Result<Response<GetRouteStateResponse>, Status> {
        let who = principal(&request);
        let states = self.0.control.route_state(&who, &request.into_inner().model).await.map_err(status)?;
        Ok(Response::new(GetRouteStateResponse { states }))
    }

    async fn explain_route(
        &self,
        request: Request<ExplainRouteRequest>,
    ) -> Result<Response<ExplainRouteResponse>, Status> {
        let who = principal(&request);
        let call = call("route.explain", Mode::Whole, request, |asked| asked.request).map_err(status)?;
        let (order, left_out, config_hash) = self.0.control.explain_route(&who, &call).await.map_err(status)?;
        Ok(Response::new(ExplainRouteResponse { order, left_out, config_hash }))
    }

    async fn check_health(
        &self,
        request: Request<CheckHealthRequest>,
    ) -> Result<Response<CheckHealthResponse>, Status> {
        let who = principal(&request);
        let deployments = self.0.control.check_health(&who, &request.into_inner().model).await.map_err(status)?;
        Ok(Response::new(CheckHealthResponse { deployments }))
    }

    async fn list_catalogue_models(
        &self,
        request: Request<ListCatalogueModelsRequest>,
    ) -> Result<Response<ListCatalogueModelsResponse>, Status> {
        let who = principal(&request);
        let ListCatalogueModelsRequest { search, provider, capabilities, mode, page_size, page_token } =
            request.into_inner();
        let query = Query { search, provider, capabilities, mode };
        let page = self.0.control.list_catalogue_models(&who, &query, page_size, &page_token).await;
        let (models, next_page_token) = page.map_err(status)?;
        Ok(Response::new(ListCatalogueModelsResponse { models, next_page_token }))
    }

    async fn get_catalogue_model(
        &self,
        request: Request<GetCatalogueModelRequest>,
    ) -> Result<Response<GetCatalogueModelResponse>, Status> {
        let who = principal(&request);
        let GetCatalogueModelRequest { provider, model } = request.into_inner();
        let model = self.0.control.get_catalogue_model(&who, &provider, &model).await.map_err(status)?;
        Ok(Response::new(GetCatalogueModelResponse { model: Some(model) }))
    }
}
