//! Anthropic's routes: `POST /v1/messages` and `POST /v1/messages/count_tokens`.

use axum::{
    Json,
    extract::{Request, State},
    http::{HeaderValue, request::Parts},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use serde_json::json;
use tollgate_proto::v1::{
    CompletionRequest, CountTokensRequest, CreateCompletionRequest, Dialect, Original, StreamCompletionRequest,
};

use crate::{
    Gateway,
    anthropic::{self, Places, error::Refused, events::Events, response},
    chat,
    error::Refusal,
    forward, stream,
};

/// What every client of Anthropic's says with a call.
const VERSION: &str = "anthropic-version";

pub(crate) async fn create(State(gateway): State<Gateway>, request: Request) -> Result<Response, Refused> {
    let (parts, body) = request.into_parts();
    let (asked, streams, places) = read(&gateway, &parts, body).await?;
    if streams {
        let request = forward::request(&gateway, &parts, StreamCompletionRequest { request: Some(asked) });
        let answer = gateway.completions().stream_completion(request).await;
        let (metadata, events, _) = answer.map_err(|status| refused(status.into(), &places))?.into_parts();
        let response = stream::respond(events, &metadata, Events::new).await;
        return Ok(addressed(response.map_err(|refusal| refused(refusal, &places))?, &places));
    }
    let request = forward::request(&gateway, &parts, CreateCompletionRequest { request: Some(asked) });
    let answer = gateway.completions().create_completion(request).await;
    let (metadata, answer, _) = answer.map_err(|status| refused(status.into(), &places))?.into_parts();
    let completion = answer.completion.unwrap_or_default();
    let headers = chat::told_of(&completion, &metadata);
    let body = match completion.native {
        Some(native) => native.body,
        None => Bytes::from(response::message(&completion)),
    };
    Ok(addressed(chat::json(headers, body), &places))
}

pub(crate) async fn count_tokens(State(gateway): State<Gateway>, request: Request) -> Result<Response, Refused> {
    let (parts, body) = request.into_parts();
    let (asked, _, places) = read(&gateway, &parts, body).await?;
    let request = forward::request(&gateway, &parts, CountTokensRequest { request: Some(asked) });
    let counted = gateway.completions().count_tokens(request).await;
    let counted = counted.map_err(|status| refused(status.into(), &places))?.into_inner();
    Ok(Json(json!({"input_tokens": counted.input_tokens})).into_response())
}

fn refused(refusal: Refusal, places: &Places) -> Refused {
    refusal.worded(|message| places.in_callers_words(message)).into()
}

/// The call, whether it wants a stream, and where its messages are the caller's.
async fn read(
    gateway: &Gateway,
    parts: &Parts,
    body: axum::body::Body,
) -> Result<(CompletionRequest, bool, Places), Refused> {
    let body = forward::read(gateway, parts, body).await?;
    let (mut asked, wishes, places) = anthropic::read_messages_with_wishes(&body)?;
    asked.original = Some(Original { dialect: Dialect::AnthropicMessages as i32, body });
    asked.betas = betas(parts);
    let streams = wishes.stream;
    let mut options = chat::options(parts, Dialect::AnthropicMessages)?;
    chat::heed(&mut options, wishes.tags, wishes.drop_params, wishes.fallbacks);
    asked.tollgate = Some(options);
    Ok((asked, streams, places))
}

/// Names in one header with commas, or in several.
fn betas(parts: &Parts) -> Vec<String> {
    let headers = parts.headers.get_all("anthropic-beta").iter().filter_map(|value| value.to_str().ok());
    let names = headers.flat_map(|value| value.split(',')).map(str::trim).filter(|name| !name.is_empty());
    names.map(str::to_owned).collect()
}

/// Anthropic's name for the header with the call's id, and the caller's paths in the one with what was left out.
fn addressed(mut response: Response, places: &Places) -> Response {
    const DROPPED: &str = "x-tollgate-dropped-params";
    let headers = response.headers_mut();
    if let Some(id) = headers.get("x-request-id").cloned() {
        headers.insert("request-id", id);
    }
    let dropped = headers.get(DROPPED).and_then(|value| value.to_str().ok());
    if let Some(value) = dropped.and_then(|text| HeaderValue::try_from(places.in_callers_words(text)).ok()) {
        headers.insert(DROPPED, value);
    }
    response
}

/// Whether a route that both dialects have is asked by a client of Anthropic's.
pub(crate) fn speaks_anthropic(parts: &Parts) -> bool {
    parts.headers.contains_key(VERSION)
}

/// Whether a path is one of Anthropic's, below any of the prefixes that routes have.
pub(crate) fn is_anthropics(path: &str) -> bool {
    let named = ["/openai/deployments/", "/engines/"].into_iter().find_map(|prefix| path.strip_prefix(prefix));
    let below = match named {
        Some(rest) => rest.split_once('/').map_or("", |(_, rest)| rest),
        None => {
            let path = path.strip_prefix("/openai").unwrap_or(path);
            path.strip_prefix("/v1").unwrap_or(path).trim_start_matches('/')
        }
    };
    below.strip_prefix("messages").is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
