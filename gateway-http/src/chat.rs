//! `POST /v1/chat/completions`.

use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, header, request::Parts},
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use prost::Message;
use tollgate_proto::v1::{
    Completion, CreateCompletionRequest, Dialect, GatewayOptions, MidstreamPolicy, Original, Receipt, Routing, Started,
    StreamCompletionRequest, Usage,
};

use crate::{
    Gateway,
    error::Refusal,
    forward,
    openai::{
        self, Invalid, Wishes,
        chunk::{Chunks, Sse},
        response,
        wishes::{Aside, names},
    },
    quota, stream,
};
use tonic::metadata::MetadataMap;

/// Asks for a receipt, and brings it.
pub(crate) const RECEIPT: &str = "x-tollgate-receipt";

pub(crate) async fn create(State(gateway): State<Gateway>, request: Request) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    let body = forward::read(&gateway, &parts, body).await?;
    let (mut asked, wishes) = openai::read_chat_with_wishes(&body)?;
    asked.original = Some(Original { dialect: Dialect::OpenaiChat as i32, body: body.clone() });
    let Wishes { stream, include_usage, functions, .. } = wishes;
    asked.tollgate = Some(asked_options(&parts, Dialect::OpenaiChat, wishes)?);
    if stream {
        let request = forward::request(&gateway, &parts, StreamCompletionRequest { request: Some(asked) });
        let (metadata, events, _) = gateway.completions().stream_completion(request).await?.into_parts();
        let chunks = Chunks::new(include_usage, functions);
        return stream::respond(events, &metadata, |first| Sse::new(first, chunks)).await;
    }
    let request = forward::request(&gateway, &parts, CreateCompletionRequest { request: Some(asked) });
    let (metadata, answer, _) = gateway.completions().create_completion(request).await?.into_parts();
    let completion = answer.completion.unwrap_or_default();
    let headers = told_of(&completion, &metadata);
    let body = match completion.native {
        Some(native) => native.body,
        None => Bytes::from(response::completion(&completion, functions)),
    };
    Ok(json(headers, body))
}

/// What headers and body together wish of the gateway.
pub(crate) fn asked_options(parts: &Parts, native: Dialect, wishes: Wishes) -> Result<GatewayOptions, Refusal> {
    let mut options = options(parts, native)?;
    options.native_usage = !wishes.stream || wishes.include_usage;
    heed(&mut options, wishes.tags, wishes.drop_params, wishes.fallbacks);
    Ok(options)
}

/// What headers wish, and what was cut off the body.
pub(crate) fn options_beside(parts: &Parts, native: Dialect, aside: Aside) -> Result<GatewayOptions, Refusal> {
    let mut options = options(parts, native)?;
    heed(&mut options, aside.tags, aside.drop_params, aside.fallbacks);
    Ok(options)
}

/// What the body wishes of the gateway. What a header says counts before it.
pub(crate) fn heed(options: &mut GatewayOptions, tags: Vec<String>, drop_params: Option<bool>, fallbacks: Vec<String>) {
    options.tags.extend(tags);
    options.drop_params = options.drop_params.or(drop_params);
    if options.fallbacks.is_empty() && !options.no_fallbacks {
        options.fallbacks = fallbacks;
    }
}

/// All that headers tell of an answer in one piece.
pub(crate) fn told(
    metadata: &MetadataMap,
    started: Option<&Started>,
    routing: Option<&Routing>,
    usage: Option<&Usage>,
) -> HeaderMap {
    let mut headers = HeaderMap::new();
    quota::tell(&mut headers, metadata);
    tell(&mut headers, started, routing);
    tell_cost(&mut headers, usage.map_or(0, |usage| usage.cost_nano_usd));
    headers
}

/// The same of a completion.
pub(crate) fn told_of(completion: &Completion, metadata: &MetadataMap) -> HeaderMap {
    let mut headers =
        told(metadata, completion.started.as_ref(), completion.routing.as_ref(), completion.usage.as_ref());
    tell_receipt(&mut headers, completion.receipt.as_ref());
    headers
}

/// The audit log's promise, as `tollgate audit check-receipt` takes it.
pub(crate) fn receipt_text(receipt: &Receipt) -> String {
    STANDARD.encode(receipt.encode_to_vec())
}

pub(crate) fn tell_receipt(headers: &mut HeaderMap, receipt: Option<&Receipt>) {
    if let Some(Ok(value)) = receipt.map(|receipt| HeaderValue::try_from(receipt_text(receipt))) {
        headers.insert(RECEIPT, value);
    }
}

pub(crate) fn wants_receipt(parts: &Parts) -> bool {
    forward::text(parts, RECEIPT) == Some("true")
}

/// What the caller's headers wish of the gateway.
pub(crate) fn options(parts: &Parts, native: Dialect) -> Result<GatewayOptions, Refusal> {
    const MIDSTREAM: &str = "x-tollgate-on-midstream-failure";
    let fallbacks = forward::text(parts, "x-tollgate-fallbacks").unwrap_or_default().trim();
    let on_midstream_failure = match forward::text(parts, MIDSTREAM).map(str::trim) {
        None => MidstreamPolicy::Unspecified,
        Some("fail") => MidstreamPolicy::Fail,
        Some("continue") => MidstreamPolicy::Continue,
        Some("restart") => MidstreamPolicy::Restart,
        Some(_) => return Err(Invalid::at(MIDSTREAM, "must be fail, continue or restart").into()),
    };
    Ok(GatewayOptions {
        tags: tags(parts)?,
        no_fallbacks: fallbacks == "none",
        fallbacks: if fallbacks == "none" { Vec::new() } else { names(fallbacks) },
        on_midstream_failure: on_midstream_failure as i32,
        region: forward::text(parts, "x-tollgate-region").unwrap_or_default().to_owned(),
        deployment: forward::text(parts, "x-tollgate-pin").unwrap_or_default().to_owned(),
        drop_params: drop_params(parts)?,
        idempotency_key: forward::text(parts, "idempotency-key").map(str::to_owned),
        want_routing: forward::text(parts, "x-tollgate-want-routing") == Some("true"),
        receipt: wants_receipt(parts),
        want_native: native as i32,
        native_usage: true,
        ..GatewayOptions::default()
    })
}

/// The tags on every line of their headers. A line that cannot be read may be one that binds.
fn tags(parts: &Parts) -> Result<Vec<String>, Invalid> {
    let mut tags = Vec::new();
    for name in ["x-tollgate-tags", "x-litellm-tags"] {
        for value in parts.headers.get_all(name) {
            let what = "must be visible ASCII, names with commas; other names go into the body, as `tags`";
            tags.extend(names(value.to_str().map_err(|_| Invalid::at(name, what))?));
        }
    }
    Ok(tags)
}

fn drop_params(parts: &Parts) -> Result<Option<bool>, Refusal> {
    const DROP_PARAMS: &str = "x-tollgate-drop-params";
    match forward::text(parts, DROP_PARAMS) {
        None => Ok(None),
        Some("true") => Ok(Some(true)),
        Some("false") => Ok(Some(false)),
        Some(_) => Err(Invalid::at(DROP_PARAMS, "must be true or false").into()),
    }
}

/// A JSON answer.
pub(crate) fn json(mut headers: HeaderMap, body: Bytes) -> Response {
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    (headers, Body::from(body)).into_response()
}

/// The call's id in ledger and audit log, by every name that clients know.
pub(crate) fn tell_id(headers: &mut HeaderMap, call_id: &str) {
    if let Some(id) = HeaderValue::try_from(call_id).ok().filter(|id| !id.is_empty()) {
        // The last is the one that LiteLLM's users read.
        for name in ["x-request-id", "x-tollgate-request-id", "x-litellm-call-id"] {
            headers.insert(name, id.clone());
        }
    }
}

/// Who served, in headers.
pub(crate) fn tell(headers: &mut HeaderMap, started: Option<&Started>, routing: Option<&Routing>) {
    if let Some(started) = started {
        tell_id(headers, &started.call_id);
    }
    let mut set = |name: &'static str, text: &str| {
        if let Ok(value) = HeaderValue::try_from(text) {
            headers.insert(name, value);
        }
    };
    if let Some(started) = started {
        set("x-tollgate-model", &started.served_model);
        set("x-tollgate-deployment", &started.deployment);
        // By the name that LiteLLM's users read.
        set("x-litellm-model-id", &started.deployment);
        set("x-tollgate-attempts", &started.attempt.to_string());
        if !started.dropped_params.is_empty() {
            // Names of members may be any text.
            let visible = |c: char| if c.is_ascii_graphic() || c == ' ' { c } else { '?' };
            let names: String = started.dropped_params.join(", ").chars().map(visible).take(2_000).collect();
            set("x-tollgate-dropped-params", &names);
        }
    }
    if let Some(routing) = routing {
        set("x-tollgate-attempts", &routing.attempts.len().to_string());
        set("x-tollgate-route", &routing.in_words());
    }
}

/// Cost in dollars, exact to the nano-dollar.
fn tell_cost(headers: &mut HeaderMap, nano: i64) {
    if let Ok(value) = HeaderValue::try_from(quota::dollars(nano)) {
        headers.insert("x-litellm-response-cost", value.clone());
        headers.insert("x-tollgate-cost", value);
    }
}
