use tollgate_proto::v1::{
    GetModelRequest, GetModelResponse, ListModelsRequest, ListModelsResponse, model_service_server::ModelService,
};
use tonic::{Request, Response, Status};

use super::{Rooms, principal, status::status};

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
}
