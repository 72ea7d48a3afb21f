//! `GET /v1/models` and `GET /v1/models/{model}`, in the shape of whoever asks: clients of Anthropic's name the version of its API.

use axum::{
    Json,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use tollgate_proto::v1::{GetModelRequest, ListModelsRequest, Model};

use crate::{
    Gateway,
    anthropic::error::Refused,
    error::Refusal,
    forward::{self, Named},
    messages::speaks_anthropic,
};

/// Both ask for a time; an alias has none, so all carry the same.
const CREATED: u64 = 1_767_225_600;
const CREATED_AT: &str = "2026-01-01T00:00:00Z";

fn shown(model: &Model) -> Value {
    let owner = model.deployments.first().map_or("tollgate", |d| d.provider.as_str());
    json!({"id": model.name, "object": "model", "created": CREATED, "owned_by": owner})
}

fn shown_to_anthropics(model: &Model) -> Value {
    json!({"type": "model", "id": model.name, "display_name": model.name, "created_at": CREATED_AT})
}

pub(crate) async fn list(State(gateway): State<Gateway>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let is_anthropics = speaks_anthropic(&parts);
    let answer = all(gateway, &parts).await.map(|models| match is_anthropics {
        true => {
            let data: Vec<Value> = models.iter().map(shown_to_anthropics).collect();
            let (first, last) = (models.first().map(|m| &m.name), models.last().map(|m| &m.name));
            json!({"data": data, "has_more": false, "first_id": first, "last_id": last})
        }
        false => json!({"object": "list", "data": models.iter().map(shown).collect::<Vec<_>>()}),
    });
    answered(answer, is_anthropics)
}

async fn all(gateway: Gateway, parts: &axum::http::request::Parts) -> Result<Vec<Model>, Refusal> {
    let mut models = Vec::new();
    let mut page_token = String::new();
    loop {
        let asked = ListModelsRequest { page_size: 0, page_token };
        let page = gateway.models().list_models(forward::request(&gateway, parts, asked)).await?.into_inner();
        models.extend(page.models);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(models);
        }
    }
}

pub(crate) async fn retrieve(State(gateway): State<Gateway>, path: Named, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let is_anthropics = speaks_anthropic(&parts);
    let answer = one(gateway, &parts, path).await.map(|model| match is_anthropics {
        true => shown_to_anthropics(&model),
        false => shown(&model),
    });
    answered(answer, is_anthropics)
}

/// The one that the path names last: some name a deployment before it.
async fn one(gateway: Gateway, parts: &axum::http::request::Parts, path: Named) -> Result<Model, Refusal> {
    let name = forward::named(path, "model", "model")?;
    let asked = forward::request(&gateway, parts, GetModelRequest { name });
    Ok(gateway.models().get_model(asked).await?.into_inner().model.unwrap_or_default())
}

fn answered(answer: Result<Value, Refusal>, is_anthropics: bool) -> Response {
    match answer {
        Ok(body) => Json(body).into_response(),
        Err(refusal) if is_anthropics => Refused::from(refusal).into_response(),
        Err(refusal) => refusal.into_response(),
    }
}
