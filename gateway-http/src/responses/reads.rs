//! What is kept, as callers read, list and forget it.

use axum::{
    extract::{Query, Request, State, rejection::QueryRejection},
    http::HeaderMap,
    response::Response,
};
use serde_json::{Value, json};
use tollgate_proto::v1::{DeleteResponseRequest, ResponseState, get_response_request::By};

use super::{background, follow, kept};
use crate::{
    Gateway, chat,
    error::Refusal,
    forward::{self, Named},
    openai::Invalid,
};

type Asking = Result<Query<Asked>, QueryRejection>;

fn id_in(path: Named) -> Result<String, Invalid> {
    forward::named(path, "id", "response_id")
}

fn asked_in(query: Asking) -> Result<Asked, Invalid> {
    query.map(|Query(asked)| asked).map_err(|rejection| Invalid::at("", rejection.body_text()))
}

/// `GET /v1/responses/{id}`.
pub(crate) async fn retrieve(
    State(gateway): State<Gateway>,
    id: Named,
    query: Asking,
    request: Request,
) -> Result<Response, Refusal> {
    let (id, asked) = (id_in(id)?, asked_in(query)?);
    let (parts, _) = request.into_parts();
    let streams = match asked.stream.as_deref() {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return Err(Invalid::at("stream", "must be true or false").into()),
    };
    let after = match asked.starting_after.as_deref().map(str::parse::<u32>) {
        None => None,
        Some(Ok(after)) => Some(i64::from(after)),
        Some(Err(_)) => return Err(Invalid::at("starting_after", "must be the sequence_number of an event").into()),
    };
    let response =
        kept::get(&gateway, &parts, By::Id(id)).await.map_err(|refusal| refusal.about_named("response_id"))?;
    if !streams {
        return Ok(chat::json(HeaderMap::new(), background::shown(&response).into()));
    }
    if response.state() == ResponseState::Unspecified {
        let what = "only a response that was begun with background: true is streamed again; leave it out";
        return Err(Invalid::at("stream", what).into());
    }
    Ok(follow::respond(gateway, parts, response.id, after, HeaderMap::new()))
}

/// `DELETE /v1/responses/{id}`.
pub(crate) async fn delete(State(gateway): State<Gateway>, id: Named, request: Request) -> Result<Response, Refusal> {
    let id = id_in(id)?;
    let (parts, _) = request.into_parts();
    let asked = forward::request(&gateway, &parts, DeleteResponseRequest { id: id.clone() });
    let deleted = gateway.responses().delete_response(asked).await;
    deleted.map_err(|status| Refusal::from(status).about_named("response_id"))?;
    let told = json!({"id": id, "object": "response", "deleted": true});
    Ok(chat::json(HeaderMap::new(), told.to_string().into()))
}

/// `POST /v1/responses/{id}/cancel`: of what has ended nothing changes.
pub(crate) async fn cancel(State(gateway): State<Gateway>, id: Named, request: Request) -> Result<Response, Refusal> {
    let id = id_in(id)?;
    let (parts, _) = request.into_parts();
    let response =
        background::cancel(&gateway, &parts, id).await.map_err(|refusal| refusal.about_named("response_id"))?;
    if response.state() == ResponseState::Unspecified {
        let message = "only a response that was begun with background: true can be cancelled; hang up instead";
        let refusal = Refusal::new(400, "invalid_request_error", "response_not_cancellable", message);
        return Err(refusal.about("response_id"));
    }
    Ok(chat::json(HeaderMap::new(), background::shown(&response).into()))
}

/// What the query of a read may say.
#[derive(Default, serde::Deserialize)]
#[serde(default)]
pub(crate) struct Asked {
    stream: Option<String>,
    starting_after: Option<String>,
    limit: Option<String>,
    order: Option<String>,
    after: Option<String>,
}

/// `GET /v1/responses/{id}/input_items`: what was asked in that turn, the last first unless `order` is `asc`.
pub(crate) async fn input_items(
    State(gateway): State<Gateway>,
    id: Named,
    query: Asking,
    request: Request,
) -> Result<Response, Refusal> {
    let (id, asked) = (id_in(id)?, asked_in(query)?);
    let (parts, _) = request.into_parts();
    let limit = match asked.limit.as_deref().map(str::parse::<usize>) {
        None => 20,
        Some(Ok(limit)) if (1..=100).contains(&limit) => limit,
        Some(_) => return Err(Invalid::at("limit", "must be 1 to 100").into()),
    };
    let is_ascending = match asked.order.as_deref() {
        None | Some("desc") => false,
        Some("asc") => true,
        Some(_) => return Err(Invalid::at("order", "must be asc or desc").into()),
    };
    let response =
        kept::get(&gateway, &parts, By::Id(id)).await.map_err(|refusal| refusal.about_named("response_id"))?;
    let shown = kept::shown_items(&response).into_iter().filter_map(|item| serde_json::from_str(&item).ok());
    let mut items: Vec<Value> = shown.collect();
    if !is_ascending {
        items.reverse();
    }
    if let Some(after) = &asked.after {
        let Some(at) = items.iter().position(|item| item["id"] == after.as_str()) else {
            return Err(Invalid::at("after", "is no item of this response").into());
        };
        items.drain(..=at);
    }
    let has_more = items.len() > limit;
    items.truncate(limit);
    let id_at = |item: Option<&Value>| item.map_or(Value::Null, |item| item["id"].clone());
    let (first, last) = (id_at(items.first()), id_at(items.last()));
    let told = json!({"object": "list", "data": items, "first_id": first, "last_id": last, "has_more": has_more});
    Ok(chat::json(HeaderMap::new(), told.to_string().into()))
}
