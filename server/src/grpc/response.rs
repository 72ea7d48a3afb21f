use serde::de::IgnoredAny;
use tollgate_control::is_response_id;
use tollgate_domain::{Error, Violation};
use tollgate_proto::v1::{
    AdvanceResponseRequest, AdvanceResponseResponse, BeginResponseRequest, BeginResponseResponse,
    CancelResponseRequest, CancelResponseResponse, DeleteResponseRequest, DeleteResponseResponse,
    GetConversationRequest, GetConversationResponse, GetResponseRequest, GetResponseResponse,
    ListResponseEventsRequest, ListResponseEventsResponse, StoreResponseRequest, StoreResponseResponse, StoredResponse,
    get_response_request::By, response_service_server::ResponseService,
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

    async fn begin_response(
        &self,
        request: Request<BeginResponseRequest>,
    ) -> Result<Response<BeginResponseResponse>, Status> {
        let who = principal(&request);
        let response = request.into_inner().response.unwrap_or_default();
        check(&response).map_err(status)?;
        if !response.item_ids.is_empty() {
            return Err(status(Error::invalid_field("response.item_ids", "must be empty: there is no answer yet")));
        }
        let begun = self.0.control.begin_response(&who, response).await.map_err(status)?;
        Ok(Response::new(begun.map_or_else(BeginResponseResponse::default, |begun| BeginResponseResponse {
            response: Some(begun.response),
            is_new: begun.is_new,
            lease: prost_types::Duration::try_from(begun.lease).ok(),
        })))
    }

    async fn advance_response(
        &self,
        request: Request<AdvanceResponseRequest>,
    ) -> Result<Response<AdvanceResponseResponse>, Status> {
        let who = principal(&request);
        let asked = request.into_inner();
        check_advance(&asked).map_err(status)?;
        let is_cancelled = self.0.control.advance_response(&who, asked).await.map_err(status)?;
        Ok(Response::new(AdvanceResponseResponse { is_cancelled }))
    }

    async fn cancel_response(
        &self,
        request: Request<CancelResponseRequest>,
    ) -> Result<Response<CancelResponseResponse>, Status> {
        let who = principal(&request);
        let response = self.0.control.cancel_response(&who, &request.into_inner().id).await.map_err(status)?;
        Ok(Response::new(CancelResponseResponse { response: Some(response) }))
    }

    async fn list_response_events(
        &self,
        request: Request<ListResponseEventsRequest>,
    ) -> Result<Response<ListResponseEventsResponse>, Status> {
        let who = principal(&request);
        let events = self.0.control.response_events(&who, request.into_inner()).await.map_err(status)?;
        Ok(Response::new(events))
    }
}

/// Violations as they are found.
#[derive(Default)]
struct Violations(Vec<Violation>);

impl Violations {
    fn expect(&mut self, holds: bool, field: String, description: &str) {
        if !holds {
            self.0.push(Violation { field, description: description.into() });
        }
    }

    fn result(self) -> Result<(), Error> {
        if self.0.is_empty() { Ok(()) } else { Err(Error::invalid(self.0)) }
    }
}

const ID: &str = "must be 1 to 128 letters, digits, `_` or `-`";
const OBJECT: &str = "must be the text of a JSON object";

fn are_ids(ids: &[String]) -> bool {
    ids.len() <= 1_000 && ids.iter().all(|id| is_response_id(id))
}

/// Events must be in order, or whoever reads on from one would miss others.
fn check_advance(asked: &AdvanceResponseRequest) -> Result<(), Error> {
    let mut violations = Violations::default();
    let response = &asked.response_json;
    violations.expect(response.is_empty() || is_object(response), "response_json".into(), OBJECT);
    violations.expect(are_ids(&asked.item_ids), "item_ids".into(), "must be at most 1000 ids");
    let is_over = !asked.is_ended || !response.is_empty();
    violations.expect(is_over, "response_json".into(), "is required where the response has ended");
    let mut last = -1;
    for (i, event) in asked.events.iter().enumerate() {
        violations.expect(is_object(&event.event_json), format!("events[{i}].event_json"), OBJECT);
        let is_next = event.sequence_number > last;
        violations.expect(is_next, format!("events[{i}].sequence_number"), "must be larger than those before it");
        last = event.sequence_number;
    }
    violations.result()
}

/// What is kept must be what it says, or the next turn could not be read.
fn check(response: &StoredResponse) -> Result<(), Error> {
    let mut violations = Violations::default();
    let mut expect = |holds, field, description: &str| violations.expect(holds, field, description);
    expect(is_response_id(&response.id), "response.id".into(), ID);
    let previous = &response.previous_response_id;
    expect(previous.is_empty() || is_response_id(previous), "response.previous_response_id".into(), ID);
    expect(is_object(&response.response_json), "response.response_json".into(), OBJECT);
    expect(are_ids(&response.item_ids), "response.item_ids".into(), "must be at most 1000 ids");
    for (i, item) in response.input_items_json.iter().enumerate() {
        let field = format!("response.input_items_json[{i}]");
        expect(is_object(item), field, OBJECT);
    }
    violations.result()
}

fn is_object(text: &str) -> bool {
    text.trim_start().starts_with('{') && serde_json::from_str::<IgnoredAny>(text).is_ok()
}
