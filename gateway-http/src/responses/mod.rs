//! OpenAI's Responses API on any provider: `POST /v1/responses` and what belongs to it.
//!
//! The provider keeps nothing. What a conversation goes on from (`previous_response_id`) is kept by the gateway, by `ResponseService`, and
//! put into the `input` before the call.

mod background;
mod events;
mod follow;
mod input;
mod item;
mod kept;
mod native;
mod object;
pub(crate) mod reads;
mod request;
mod run;
mod stream;
mod thought;
mod tools;
mod whole;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, request::Parts},
    response::Response,
};
use bytes::Bytes;
use serde_json::{Map, Value, json};
use tollgate_proto::v1::{
    Completion, CompletionRequest, CountTokensRequest, CreateCompletionRequest, Dialect, GatewayOptions,
    MidstreamPolicy, Original, StreamCompletionRequest, completion_event::Event,
};

pub use self::background::Background;
use self::{
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
};

/// Reads a request that stands alone. `original` and `tollgate` are left empty.
pub fn read(body: &[u8]) -> Result<CompletionRequest, Invalid> {
    request::read(text(body)?).map(|(request, _)| request)
}

/// `POST /v1/responses`.
pub(crate) async fn create(State(gateway): State<Gateway>, request: Request) -> Result<Response, Refusal> {
    Box::pin(answer(gateway, request)).await.map_err(Refusal::in_responses)
}

async fn answer(gateway: Gateway, request: Request) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    let body = forward::read(&gateway, &parts, body).await?;
    let body = text(&body)?;
    if background::is_asked_for(body)? {
        return background::create(gateway, parts, body).await;
    }
    let Turn { body, items, previous } = Turn::read(&gateway, &parts, body).await?;
    let (mut asked, wishes) = request::read(text(body.as_bytes())?)?;
    let mut shown = object::asked(&body)?;
    shown.insert("previous_response_id".into(), Value::from(previous.as_deref()));
    shown.insert("store".into(), wishes.store.into());
    asked.original = Some(Original { dialect: Dialect::OpenaiResponses as i32, body: body.into() });
    let (stream, wanted) = (wishes.stream, wishes.store);
    asked.tollgate = Some(options(&parts, wishes)?);
    if stream {
        let request = forward::request(&gateway, &parts, StreamCompletionRequest { request: Some(asked) });
        let (metadata, events, _) = gateway.completions().stream_completion(request).await?.into_parts();
        let keeper = Keeper { gateway, parts, items, previous, wanted };
        return stream::respond(events, &metadata, shown, keeper).await;
    }
    let request = forward::request(&gateway, &parts, CreateCompletionRequest { request: Some(asked) });
    let (metadata, answer, _) = gateway.completions().create_completion(request).await?.into_parts();
    let mut keeper = Keeper { gateway, parts, items, previous, wanted };
    let completion = answer.completion.unwrap_or_default();
    let headers = chat::told_of(&completion, &metadata);
    let body = match completion.native.as_ref().and_then(|native| std::str::from_utf8(&native.body).ok()) {
        Some(native) => {
            let own = own_of(&completion);
            let response = native::with_own(&native::kept(native, true, keeper.previous.as_deref()), &own);
            match keeper.keep(id_of(&response), response.clone()).await {
                true => response,
                false => native::kept(&response, false, keeper.previous.as_deref()),
            }
        }
        None => whole::answer(completion, shown, &mut keeper).await,
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
    chat::heed(&mut options, wishes.tags, wishes.drop_params, wishes.fallbacks);
    Ok(options)
}

/// What the gateway itself tells of an answer: kept with it, so that whoever reads it again finds its receipt.
fn own_of(completion: &Completion) -> Map<String, Value> {
    let mut own = Map::new();
    let told = [completion.routing.clone().map(Event::Routing), completion.receipt.clone().map(Event::Receipt)];
    told.iter().flatten().for_each(|event| object::note(&mut own, event));
    own
}

/// The id of a response that is JSON text; empty where it has none.
fn id_of(response: &str) -> String {
    let id = Members::read(response, "").and_then(|mut m| m.take::<String>("id"));
    id.ok().flatten().unwrap_or_default()
}

/// `POST /v1/responses/input_tokens`.
pub(crate) async fn count(State(gateway): State<Gateway>, request: Request) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    let body = forward::read(&gateway, &parts, body).await?;
    let turn = Turn::read(&gateway, &parts, text(&body)?).await?;
    let (mut asked, wishes) = request::read(&turn.body).map_err(Refusal::from)?;
    asked.original = Some(Original { dialect: Dialect::OpenaiResponses as i32, body: turn.body.into() });
    asked.tollgate = Some(options(&parts, Wishes { stream: false, ..wishes })?);
    let request = forward::request(&gateway, &parts, CountTokensRequest { request: Some(asked) });
    let counted = gateway.completions().count_tokens(request).await;
    let counted = counted.map_err(|status| Refusal::from(status).in_responses())?.into_inner();
    let told = json!({"object": "response.input_tokens", "input_tokens": counted.input_tokens});
    Ok(chat::json(HeaderMap::new(), told.to_string().into()))
}
