//! OpenAI's Responses API on any provider: `POST /v1/responses` and what belongs to it.
//!
//! The provider keeps nothing. What a conversation goes on from (`previous_response_id`) is kept by the gateway, by `ResponseService`, and
//! put into the `input` before the call.

mod events;
mod input;
mod item;
mod kept;
mod native;
mod object;
mod request;
mod stream;
mod thought;
mod tools;

use axum::{
    extract::{
        Path, Query, Request, State,
        rejection::{PathRejection, QueryRejection},
    },
    http::{HeaderMap, request::Parts},
    response::Response,
};
use bytes::{Bytes, BytesMut};
use serde_json::{Map, Value, json};
use tollgate_proto::v1::{
    Completion, CompletionEvent, CompletionRequest, CountTokensRequest, CreateCompletionRequest, DeleteResponseRequest,
    Delta, Dialect, GatewayOptions, MidstreamPolicy, Original, Part, PartDone, StreamCompletionRequest, ToolCallStart,
    completion_event::Event, delta::Piece, part::Content,
};

use self::{
    events::Events,
    kept::{Keeper, Turn},
    request::Wishes,
};
use crate::{
    Gateway, chat,
    error::Refusal,
    forward,
    openai::{
        Invalid,
        members::{Members, text},
    },
    quota,
};

/// Reads a request that stands alone. `original` and `tollgate` are left empty.
pub fn read(body: &[u8]) -> Result<CompletionRequest, Invalid> {
    request::read(text(body)?).map(|(request, _)| request)
}

/// `POST /v1/responses`.
pub(crate) async fn create(State(gateway): State<Gateway>, request: Request) -> Result<Response, Refusal> {
    answer(gateway, request).await.map_err(Refusal::in_responses)
}

async fn answer(mut gateway: Gateway, request: Request) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    let body = forward::read(&gateway, &parts, body).await?;
    let Turn { body, items, previous } = Turn::read(&gateway, &parts, text(&body)?).await?;
    let (mut asked, wishes) = request::read(text(body.as_bytes())?)?;
    let shown = object::asked(&body)?;
    asked.original = Some(Original { dialect: Dialect::OpenaiResponses as i32, body: body.into() });
    let (stream, wanted) = (wishes.stream, wishes.store);
    asked.tollgate = Some(options(&parts, wishes)?);
    if stream {
        let request = forward::request(&gateway, &parts, StreamCompletionRequest { request: Some(asked) });
        let (metadata, events, _) = gateway.completions.stream_completion(request).await?.into_parts();
        let keeper = Keeper { gateway, parts, items, previous, wanted };
        return stream::respond(events, &metadata, shown, keeper).await;
    }
    let request = forward::request(&gateway, &parts, CreateCompletionRequest { request: Some(asked) });
    let (metadata, answer, _) = gateway.completions.create_completion(request).await?.into_parts();
    let mut keeper = Keeper { gateway, parts, items, previous, wanted };
    let completion = answer.completion.unwrap_or_default();
    let mut headers = HeaderMap::new();
    quota::tell(&mut headers, &metadata);
    chat::tell(&mut headers, completion.started.as_ref(), completion.routing.as_ref());
    chat::tell_cost(&mut headers, completion.usage.as_ref().map_or(0, |usage| usage.cost_nano_usd));
    let body = match completion.native.as_ref().and_then(|native| std::str::from_utf8(&native.body).ok()) {
        Some(native) => {
            let response = native::kept(native, true, keeper.previous.as_deref());
            match keeper.keep(id_of(&response), response.clone()).await {
                true => response,
                false => native::kept(native, false, keeper.previous.as_deref()),
            }
        }
        None => whole(completion, shown, &mut keeper).await,
    };
    Ok(chat::json(headers, Bytes::from(body)))
}

/// What headers and body wish of the gateway.
fn options(parts: &Parts, wishes: Wishes) -> Result<GatewayOptions, Refusal> {
    let mut options = chat::options(parts, Dialect::OpenaiResponses)?;
    match options.on_midstream_failure() {
        // Whoever takes over may speak another dialect, so events are the gateway's own from the first on.
        MidstreamPolicy::Continue => options.want_native = Dialect::Unspecified as i32,
        MidstreamPolicy::Restart if wishes.stream => {
            let what = "must be fail or continue here: a response that a client has seen the beginning of has no word for void";
            return Err(Invalid::at("x-tollgate-on-midstream-failure", what).into());
        }
        MidstreamPolicy::Unspecified if wishes.stream => options.set_on_midstream_failure(MidstreamPolicy::Fail),
        _ => {}
    }
    options.tags.extend(wishes.tags);
    options.drop_params = options.drop_params.or(wishes.drop_params);
    // What a header says counts before the body.
    if options.fallbacks.is_empty() && !options.no_fallbacks {
        options.fallbacks = wishes.fallbacks;
    }
    Ok(options)
}

/// The id of a response that is JSON text; empty where it has none.
fn id_of(response: &str) -> String {
    let id = Members::read(response, "").and_then(|mut m| m.take::<String>("id"));
    id.ok().flatten().unwrap_or_default()
}

/// A collected completion of another dialect: the same events, and what they come to.
async fn whole(completion: Completion, shown: Map<String, Value>, keeper: &mut Keeper) -> String {
    let mut events = Events::new(shown);
    let mut unseen = BytesMut::new();
    for event in told(completion) {
        events.take(CompletionEvent { event: Some(event), ..CompletionEvent::default() }, &mut unseen);
        unseen.clear();
    }
    let mut response = events.response();
    response.insert("previous_response_id".into(), Value::from(keeper.previous.as_deref()));
    response.insert("store".into(), true.into());
    let text = Value::Object(response.clone()).to_string();
    if keeper.keep(events.id(), text.clone()).await {
        return text;
    }
    response.insert("store".into(), false.into());
    Value::Object(response).to_string()
}

/// A completion as the events that it is the fold of.
fn told(completion: Completion) -> Vec<Event> {
    let mut events = vec![Event::Started(completion.started.unwrap_or_default())];
    if let Some(choice) = completion.choices.into_iter().find(|choice| choice.index == 0) {
        let mut logprobs = choice.logprobs_json;
        for (part, said) in (0..).zip(choice.message.unwrap_or_default().parts) {
            for piece in pieces(said) {
                let format = match &piece {
                    (_, Some(format)) => format.clone(),
                    _ => String::new(),
                };
                let is_text = matches!(piece.0, Piece::Text(_));
                let logprobs_json = if is_text { std::mem::take(&mut logprobs) } else { String::new() };
                let delta =
                    Delta { part, piece: Some(piece.0), logprobs_json, reasoning_format: format, ..Delta::default() };
                events.push(Event::Delta(delta));
            }
            events.push(Event::PartDone(PartDone { choice: 0, part }));
        }
        events.push(Event::Finished(choice.finished.unwrap_or_default()));
    }
    events.extend(completion.usage.map(Event::Usage));
    events.extend(completion.routing.map(Event::Routing));
    events
}

/// What a part was told in, each with the word whose reasoning it is.
fn pieces(part: Part) -> Vec<(Piece, Option<String>)> {
    match part.content {
        Some(Content::Text(text)) => vec![(Piece::Text(text.text), None)],
        Some(Content::Refusal(refusal)) => vec![(Piece::Refusal(refusal.text), None)],
        Some(Content::Reasoning(reasoning)) => {
            let format = reasoning.format;
            let text = Some(reasoning.text).filter(|text| !text.is_empty()).map(Piece::Reasoning);
            let signature = reasoning.signature.map(Piece::ReasoningSignature);
            let redacted = reasoning.redacted.map(Piece::ReasoningRedacted);
            text.into_iter().chain(signature).chain(redacted).map(|piece| (piece, format.clone())).collect()
        }
        Some(Content::ToolCall(call)) => {
            let start = ToolCallStart { id: call.id, name: call.name, type_native: call.type_native };
            vec![(Piece::ToolCallStart(start), None), (Piece::ToolArguments(call.arguments_json), None)]
        }
        Some(Content::Opaque(opaque)) => vec![(Piece::OpaqueJson(opaque.json), None)],
        _ => Vec::new(),
    }
}

/// `POST /v1/responses/input_tokens`.
pub(crate) async fn count(State(mut gateway): State<Gateway>, request: Request) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    let body = forward::read(&gateway, &parts, body).await?;
    let turn = Turn::read(&gateway, &parts, text(&body)?).await?;
    let (mut asked, wishes) = request::read(&turn.body).map_err(Refusal::from)?;
    asked.original = Some(Original { dialect: Dialect::OpenaiResponses as i32, body: turn.body.into() });
    asked.tollgate = Some(options(&parts, Wishes { stream: false, ..wishes })?);
    let request = forward::request(&gateway, &parts, CountTokensRequest { request: Some(asked) });
    let counted = gateway.completions.count_tokens(request).await;
    let counted = counted.map_err(|status| Refusal::from(status).in_responses())?.into_inner();
    let told = json!({"object": "response.input_tokens", "input_tokens": counted.input_tokens});
    Ok(chat::json(HeaderMap::new(), told.to_string().into()))
}

type Id = Result<Path<String>, PathRejection>;
type Asking = Result<Query<Asked>, QueryRejection>;

fn id_in(path: Id) -> Result<String, Invalid> {
    path.map(|Path(id)| id).map_err(|_| Invalid::at("response_id", "is no text in UTF-8"))
}

fn asked_in(query: Asking) -> Result<Asked, Invalid> {
    query.map(|Query(asked)| asked).map_err(|rejection| Invalid::at("", rejection.body_text()))
}

/// `GET /v1/responses/{id}`.
pub(crate) async fn retrieve(
    State(gateway): State<Gateway>,
    id: Id,
    query: Asking,
    request: Request,
) -> Result<Response, Refusal> {
    let (id, asked) = (id_in(id)?, asked_in(query)?);
    if asked.stream.as_deref() == Some("true") {
        let what = "a response that is kept is not streamed again; leave it out";
        return Err(Invalid::at("stream", what).into());
    }
    let (parts, _) = request.into_parts();
    let response = kept::get(&gateway, &parts, &id).await.map_err(|refusal| refusal.about("response_id"))?;
    Ok(chat::json(HeaderMap::new(), response.response_json.into()))
}

/// `DELETE /v1/responses/{id}`.
pub(crate) async fn delete(State(mut gateway): State<Gateway>, id: Id, request: Request) -> Result<Response, Refusal> {
    let id = id_in(id)?;
    let (parts, _) = request.into_parts();
    let asked = forward::request(&gateway, &parts, DeleteResponseRequest { id: id.clone() });
    let deleted = gateway.responses.delete_response(asked).await;
    deleted.map_err(|status| Refusal::from(status).about("response_id"))?;
    let told = json!({"id": id, "object": "response", "deleted": true});
    Ok(chat::json(HeaderMap::new(), told.to_string().into()))
}

/// `POST /v1/responses/{id}/cancel`: whatever there is, is complete.
pub(crate) async fn cancel(State(gateway): State<Gateway>, id: Id, request: Request) -> Result<Response, Refusal> {
    let id = id_in(id)?;
    let (parts, _) = request.into_parts();
    kept::get(&gateway, &parts, &id).await.map_err(|refusal| refusal.about("response_id"))?;
    let message = "only a response that was begun with background: true can be cancelled, and the gateway begins none; hang up instead";
    Err(Refusal::new(400, "invalid_request_error", "response_not_cancellable", message).about("response_id"))
}

/// What the query of a read may say.
#[derive(Default, serde::Deserialize)]
#[serde(default)]
pub(crate) struct Asked {
    stream: Option<String>,
    limit: Option<String>,
    order: Option<String>,
    after: Option<String>,
}

/// `GET /v1/responses/{id}/input_items`: what was asked in that turn, the last first unless `order` is `asc`.
pub(crate) async fn input_items(
    State(gateway): State<Gateway>,
    id: Id,
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
    let response = kept::get(&gateway, &parts, &id).await.map_err(|refusal| refusal.about("response_id"))?;
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
