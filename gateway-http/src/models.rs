//! `GET /v1/models` and `GET /v1/models/{model}`.

use axum::{
    Json,
    extract::{Path, Request, State},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use tollgate_proto::v1::{GetModelRequest, ListModelsRequest, Model};

use crate::{Gateway, error::Refusal, forward};

/// OpenAI asks for a time; an alias has none, so all carry the same.
const CREATED: u64 = 1_767_225_600;

fn shown(model: &Model) -> Value {
    let owner = model.deployments.first().map_or("tollgate", |d| d.provider.as_str());
    json!({"id": model.name, "object": "model", "created": CREATED, "owned_by": owner})
}

pub(crate) async fn list(State(mut gateway): State<Gateway>, request: Request) -> Result<Response, Refusal> {
    let (parts, _) = request.into_parts();
    let mut data = Vec::new();
    let mut page_token = String::new();
    loop {
        let asked = ListModelsRequest { page_size: 0, page_token };
        let page = gateway.models.list_models(forward::request(&gateway, &parts, asked)).await?.into_inner();
        data.extend(page.models.iter().map(shown));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(Json(json!({"object": "list", "data": data})).into_response());
        }
    }
}

pub(crate) async fn retrieve(
    State(mut gateway): State<Gateway>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Response, Refusal> {
    let (parts, _) = request.into_parts();
    let asked = forward::request(&gateway, &parts, GetModelRequest { name });
    let model = gateway.models.get_model(asked).await?.into_inner().model.unwrap_or_default();
    Ok(Json(shown(&model)).into_response())
}
