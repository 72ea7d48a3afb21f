//! Anthropic's Messages API.
//!
//! Provider pages: "Messages", "Streaming Messages", "Extended thinking", "Tool use", "Prompt caching", "Structured outputs" and
//! "Errors" of the Anthropic API reference.

mod request;
mod stream;
mod turns;
mod wire;

use bytes::Bytes;
use http::{HeaderValue, Method, header};
use tollgate_domain::{Class, Failure};

use crate::{Chat, ChatCall, Decoder, Head, Outgoing, Provider, Target, refusal};

/// Where it lives.
pub const BASE_URL: &str = "https://api.anthropic.com/v1";
/// The version of the API that the adapter speaks.
const VERSION: &str = "2023-06-01";

/// The adapter.
pub struct Anthropic;

impl Provider for Anthropic {
    fn name(&self) -> &'static str {
        "anthropic"
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
        let (body, dropped) = request::body(target, call)?;
        let request = http::Request::builder()
            .method(Method::POST)
            .uri(format!("{}/messages", target.base_url))
            .header(header::CONTENT_TYPE, "application/json")
            .header("x-client-request-id", call.attempt_id)
            .body(Bytes::from(body));
        let request = dressed(request.map_err(unsendable)?, target)?;
        Ok(Outgoing { request, dropped })
    }

    fn decoder(&self, call: &ChatCall<'_>) -> Box<dyn Decoder> {
        Box::new(stream::MessageDecoder::new(call.mode))
    }

    fn signs_reasoning(&self) -> bool {
        true
    }
}

fn unsendable(error: http::Error) -> Failure {
    Failure::new(Class::InvalidRequest, format!("the request cannot be sent: {error}"))
}

/// With the version, the credential and the operator's headers.
fn dressed(mut request: http::Request<Bytes>, target: &Target) -> Result<http::Request<Bytes>, Failure> {
    let headers = request.headers_mut();
    headers.insert("anthropic-version", HeaderValue::from_static(VERSION));
    if let Some(credential) = &target.credential {
        let mut value = HeaderValue::try_from(credential.expose())
            .map_err(|_| Failure::new(Class::Authentication, "the configured credential is no header value"))?;
        value.set_sensitive(true);
        headers.insert("x-api-key", value);
    }
    for (name, value) in &target.headers {
        headers.insert(name.clone(), value.clone());
    }
    Ok(request)
}
