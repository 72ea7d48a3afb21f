//! Anthropic's Messages API.
//!
//! Provider pages: "Messages", "Streaming Messages", "Extended thinking", "Tool use", "Prompt caching", "Structured outputs" and
//! "Errors" of the Anthropic API reference.

mod request;
mod splice;
mod stream;
mod turns;
mod wire;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use tollgate_domain::Failure;

pub(crate) use self::request::{thinking, within};
pub use self::splice::without_messages;
use crate::{
    Chat, ChatCall, Decoder, Head, Outgoing, Provider, Target, Written,
    conversation::reasoning,
    json::Object,
    provider::{invalid, unsendable},
    refusal,
};

/// Where it lives.
const BASE_URL: &str = "https://api.anthropic.com/v1";
/// The version of the API that the adapter speaks.
const VERSION: &str = "2023-06-01";

/// Names of beta features, with commas.
const BETA: &str = "anthropic-beta";

/// The adapter.
pub struct Anthropic;

impl Provider for Anthropic {
    fn name(&self) -> &'static str {
        "anthropic"
    }

    fn base_url(&self) -> Option<&'static str> {
        Some(BASE_URL)
    }

    fn chat(&self) -> Option<&dyn Chat> {
        Some(self)
    }

    fn check(&self, target: &Target) -> Result<http::Request<Bytes>, Failure> {
        let request = http::Request::builder().method(Method::GET).uri(format!("{}/models", target.base_url));
        dressed(request.body(Bytes::new()).map_err(unsendable)?, target)
    }

    fn refusal(&self, head: &Head, body: &[u8]) -> Failure {
        refusal::classify(head.status.as_u16(), &head.headers, body)
    }
}

impl Chat for Anthropic {
    fn request(&self, target: &Target, call: &ChatCall<'_>) -> Result<Outgoing, Failure> {
        let mut model = Object::default();
        model.field("model", &target.model);
        let written = body(model, call)?;
        written.sent(|body| {
            let request = http::Request::builder()
                .method(Method::POST)
                .uri(format!("{}/messages", target.base_url))
                .header(header::CONTENT_TYPE, "application/json")
                .header("x-client-request-id", call.attempt_id)
                .body(Bytes::from(body));
            let mut request = dressed(request.map_err(unsendable)?, target)?;
            ask_for_betas(request.headers_mut(), call)?;
            Ok(request)
        })
    }

    fn decoder(&self, _target: &Target, call: &ChatCall<'_>) -> Box<dyn Decoder> {
        decoder(call)
    }

    fn reasoning_format(&self, _model: &str) -> &'static str {
        reasoning::ANTHROPIC
    }

    fn takes_messages(&self, _model: &str) -> bool {
        true
    }

    fn signs_reasoning(&self) -> bool {
        true
    }
}

/// The body of a message behind the members that a host begins it with, and what it goes without.
pub(crate) fn body(beginning: Object, call: &ChatCall<'_>) -> Result<Written, Failure> {
    request::body(beginning, call)
}

/// Reads a message.
pub(crate) fn decoder(call: &ChatCall<'_>) -> Box<dyn Decoder> {
    Box::new(stream::MessageDecoder::new(call))
}

/// The caller's beta features, beside those of the operator.
pub(crate) fn ask_for_betas(headers: &mut HeaderMap, call: &ChatCall<'_>) -> Result<(), Failure> {
    if call.request.betas.is_empty() {
        return Ok(());
    }
    let configured = headers.get(BETA).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let all: Vec<String> = configured.into_iter().chain(call.request.betas.iter().cloned()).collect();
    let value = HeaderValue::try_from(all.join(",")).map_err(|_| invalid("betas", "must be visible ASCII"))?;
    headers.insert(BETA, value);
    Ok(())
}

/// With the version, the credential and the operator's headers.
fn dressed(mut request: http::Request<Bytes>, target: &Target) -> Result<http::Request<Bytes>, Failure> {
    request.headers_mut().insert("anthropic-version", HeaderValue::from_static(VERSION));
    target.dress(request, HeaderName::from_static("x-api-key"), "")
}
