use tollgate_proto::v1::{
    ExplainRouteRequest, ExplainRouteResponse, GetModelRequest, GetModelResponse, GetRouteStateRequest,
    GetRouteStateResponse, ListModelsRequest, ListModelsResponse, model_service_server::ModelService,
};
use tollgate_providers::Mode;
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
}
