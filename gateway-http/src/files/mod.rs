//! `/v1/files` and `/v1/batches`: what is at a provider, as callers of OpenAI's API upload, read and delete it.

pub(crate) mod batches;
mod upload;

use axum::{
    body::Body,
    extract::{Query, Request, State, rejection::QueryRejection},
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Response},
};
use futures::StreamExt;
use serde_json::{Value, json};
use tollgate_proto::v1::{DeleteFileRequest, GetFileContentRequest, GetFileRequest, ListFilesRequest, Receipt};

pub(crate) use self::upload::create;
use crate::{
    Gateway, chat,
    error::Refusal,
    forward::{self, Named},
    openai::Invalid,
};

type Asking = Result<Query<Asked>, QueryRejection>;

/// What the query of a list may say.
#[derive(Default, serde::Deserialize)]
#[serde(default)]
pub(crate) struct Asked {
    after: Option<String>,
    limit: Option<String>,
    order: Option<String>,
    purpose: Option<String>,
}

impl Asked {
    fn in_query(query: Asking) -> Result<Self, Invalid> {
        query.map(|Query(asked)| asked).map_err(|rejection| Invalid::at("", rejection.body_text()))
    }

    /// How many, as the contract asks; more than it gives in one page is cut there.
    fn size(&self) -> Result<i32, Invalid> {
        match self.limit.as_deref().map(str::parse::<i32>) {
            None => Ok(0),
            Some(Ok(limit)) if (1..=10_000).contains(&limit) => Ok(limit),
            Some(_) => Err(Invalid::at("limit", "must be 1 to 10000")),
        }
    }

    fn oldest_first(&self) -> Result<bool, Invalid> {
        match self.order.as_deref() {
            None | Some("desc") => Ok(false),
            Some("asc") => Ok(true),
            Some(_) => Err(Invalid::at("order", "must be asc or desc")),
        }
    }
}

fn id_in(path: Named, field: &str) -> Result<String, Invalid> {
    forward::named(path, "id", field)
}

fn answer(object_json: String) -> Response {
    chat::json(HeaderMap::new(), object_json.into())
}

/// A page in the form of OpenAI's lists.
fn page<'a>(objects: impl Iterator<Item = &'a str>, has_more: bool) -> Response {
    let data: Vec<Value> = objects.filter_map(|object| serde_json::from_str(object).ok()).collect();
    let id_at = |object: Option<&Value>| object.map_or(Value::Null, |object| object["id"].clone());
    let (first, last) = (id_at(data.first()), id_at(data.last()));
    answer(
        json!({"object": "list", "data": data, "first_id": first, "last_id": last, "has_more": has_more}).to_string(),
    )
}

fn about_file(status: tonic::Status) -> Refusal {
    Refusal::from(status).about_named("file_id")
}

/// `GET /v1/files`.
pub(crate) async fn list(State(gateway): State<Gateway>, query: Asking, request: Request) -> Result<Response, Refusal> {
    let asked = Asked::in_query(query)?;
    let (parts, _) = request.into_parts();
    let wanted = ListFilesRequest {
        page_size: asked.size()?,
        oldest_first: asked.oldest_first()?,
        purpose: asked.purpose.unwrap_or_default(),
        page_token: asked.after.unwrap_or_default(),
    };
    let wanted = forward::request(&gateway, &parts, wanted);
    let told = gateway.files().list_files(wanted).await?.into_inner();
    Ok(page(told.files.iter().map(|file| file.object_json.as_str()), !told.next_page_token.is_empty()))
}

/// `GET /v1/files/{id}`.
pub(crate) async fn retrieve(State(gateway): State<Gateway>, id: Named, request: Request) -> Result<Response, Refusal> {
    let id = id_in(id, "file_id")?;
    let (parts, _) = request.into_parts();
    let asked = forward::request(&gateway, &parts, GetFileRequest { id });
    let told = gateway.files().get_file(asked).await.map_err(about_file)?.into_inner();
    Ok(answer(told.file.unwrap_or_default().object_json))
}

/// `DELETE /v1/files/{id}`.
pub(crate) async fn delete(State(gateway): State<Gateway>, id: Named, request: Request) -> Result<Response, Refusal> {
    let id = id_in(id, "file_id")?;
    let (parts, _) = request.into_parts();
    let asked = forward::request(&gateway, &parts, DeleteFileRequest { id: id.clone() });
    gateway.files().delete_file(asked).await.map_err(about_file)?;
    Ok(answer(json!({"id": id, "object": "file", "deleted": true}).to_string()))
}

/// `GET /v1/files/{id}/content`: streamed through.
pub(crate) async fn content(State(gateway): State<Gateway>, id: Named, request: Request) -> Result<Response, Refusal> {
    let id = id_in(id, "file_id")?;
    let (parts, _) = request.into_parts();
    let asked = forward::request(&gateway, &parts, GetFileContentRequest { id });
    let chunks = gateway.files().get_file_content(asked).await.map_err(about_file)?.into_inner();
    let bytes = chunks.map(|told| told.map(|told| told.chunk).map_err(std::io::Error::other));
    let kind = [(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"))];
    Ok((kind, Body::from_stream(bytes)).into_response())
}

/// What was made, with its receipt.
fn made(mut headers: HeaderMap, object_json: String, receipt: Option<&Receipt>) -> Response {
    chat::tell_receipt(&mut headers, receipt);
    chat::json(headers, object_json.into())
}
