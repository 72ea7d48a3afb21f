use serde::de::IgnoredAny;
use tollgate_control::is_response_id;
use tollgate_domain::{Error, Violation};
use tollgate_proto::v1::{
    DeleteResponseRequest, DeleteResponseResponse, GetConversationRequest, GetConversationResponse, GetResponseRequest,
    GetResponseResponse, StoreResponseRequest, StoreResponseResponse, StoredResponse, get_response_request::By,
    response_service_server::ResponseService,
};
use tonic::{Request, Response, Status};

use super::{Rooms, principal, status::status};

/// `ResponseService`.
pub(crate) struct Door(pub(crate) Rooms);

#[tonic::async_trait]
impl ResponseService for Door {
    async fn store_response(
        &self,
        request: Request<StoreResponseRequest>,
    ) -> Result<Response<StoreResponseResponse>, Status> {
        let who = principal(&request);
        let response = request.into_inner().response.unwrap_or_default();
        check(&response).map_err(status)?;
        let expire_time = self.0.control.store_response(&who, response).await.map_err(status)?;
        Ok(Response::new(StoreResponseResponse { expire_time }))
    }

    async fn get_response(
        &self,
        request: Request<GetResponseRequest>,
    ) -> Result<Response<GetResponseResponse>, Status> {
        let who = principal(&request);
        let by = request.into_inner().by.unwrap_or_else(|| By::Id(String::new()));
        let response = self.0.control.get_response(&who, &by).await.map_err(status)?;
        Ok(Response::new(GetResponseResponse { response: Some(response) }))
    }

    async fn get_conversation(
        &self,
        request: Request<GetConversationRequest>,
    ) -> Result<Response<GetConversationResponse>, Status> {
        let who = principal(&request);
        let responses = self.0.control.get_conversation(&who, &request.into_inner().id).await.map_err(status)?;
        Ok(Response::new(GetConversationResponse { responses }))
    }

    async fn delete_response(
        &self,
        request: Request<DeleteResponseRequest>,
    ) -> Result<Response<DeleteResponseResponse>, Status> {
        let who = principal(&request);
        self.0.control.delete_response(&who, &request.into_inner().id).await.map_err(status)?;
        Ok(Response::new(DeleteResponseResponse {}))
    }
}

/// What is kept must be what it says, or the next turn could not be read.
fn check(response: &StoredResponse) -> Result<(), Error> {
    let mut violations = Vec::new();
    let mut expect = |holds: bool, field: String, description: &str| {
        if !holds {
            violations.push(Violation { field, description: description.into() });
        }
    };
    const ID: &str = "must be 1 to 128 letters, digits, `_` or `-`";
    expect(is_response_id(&response.id), "response.id".into(), ID);
    let previous = &response.previous_response_id;
    expect(previous.is_empty() || is_response_id(previous), "response.previous_response_id".into(), ID);
    expect(is_object(&response.response_json), "response.response_json".into(), "must be the text of a JSON object");
    let item_ids = &response.item_ids;
    let are_ids = item_ids.len() <= 1_000 && item_ids.iter().all(|id| is_response_id(id));
    expect(are_ids, "response.item_ids".into(), "must be at most 1000 ids");
    for (i, item) in response.input_items_json.iter().enumerate() {
        let field = format!("response.input_items_json[{i}]");
        expect(is_object(item), field, "must be the text of a JSON object");
    }
    if violations.is_empty() { Ok(()) } else { Err(Error::invalid(violations)) }
}

fn is_object(text: &str) -> bool {
    text.trim_start().starts_with('{') && serde_json::from_str::<IgnoredAny>(text).is_ok()
}
