//! AWS Bedrock: Converse for every model's chats, InvokeModel for embeddings and for Claude in its maker's own dialect.
//!
//! AWS pages: "Converse", "ConverseStream", "InvokeModel" and "Common errors" of the Amazon Bedrock API reference; "Inference request
//! parameters and response fields for foundation models" of its user guide; the service model `bedrock-runtime`, version 2023-09-30.
//!
//! A model is named by its id, by an inference profile (`us.anthropic.claude-...`) or by an ARN. Behind `invoke/` stands the id of a
//! Claude that is called by InvokeModel, with Anthropic's own Messages body: for what Converse does not pass on. What Converse takes for
//! Claude alone is known by the id; ARNs that do not name the model count as another.

mod decode;
mod embed;
mod invoke;
mod refusal;
mod request;
mod tools;
mod turns;
mod wire;

use bytes::Bytes;
use http::{Method, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tollgate_domain::{Class, Failure};
use tollgate_proto::operation::Embeddings;
use tollgate_proto::v1::{CreateEmbeddingResponse, Usage};

use crate::{
    Chat, ChatCall, Decoder, EmbedCall, Head, Mode, Outgoing, Provider, Target, Unary, conversation::reasoning,
    provider::unsendable,
};

/// Where a region's models are reached, such as `https://bedrock-runtime.us-east-1.amazonaws.com`.
pub fn base_url(region: &str) -> String {
    let domain = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
    format!("https://bedrock-runtime.{region}.{domain}")
}

/// The adapter.
pub struct Bedrock;

impl Provider for Bedrock {
    fn name(&self) -> &'static str {
        "bedrock"
    }

    fn base_url(&self) -> Option<&'static str> {
        None
    }

    fn chat(&self) -> Option<&dyn Chat> {
        Some(self)
    }

    fn embed(&self) -> Option<&dyn Unary<Embeddings>> {
        Some(self)
    }

    /// There is no list of models at this endpoint. What is asked says nothing, so that it is found wrong before any model runs; but
    /// only after the credential, its right to the model and the model's name were looked at.
    fn check(&self, target: &Target) -> Result<http::Request<Bytes>, Failure> {
        let body = Bytes::from_static(b"{}");
        match Route::of(&target.model) {
            Route::Converse(model) => post(target, model, "converse", body),
            Route::Invoke(model) => post(target, model, "invoke", body),
        }
    }

    fn is_answered_by(&self, refusal: &Failure) -> bool {
        refusal.class == Class::InvalidRequest
    }

    fn refusal(&self, head: &Head, body: &[u8]) -> Failure {
        refusal::read(head, body)
    }
}

impl Chat for Bedrock {
    fn request(&self, target: &Target, call: &ChatCall<'_>) -> Result<Outgoing, Failure> {
        let (model, operation, written) = match (Route::of(&target.model), call.mode) {
            (Route::Converse(model), Mode::Whole) => (model, "converse", request::body(model, call)?),
            (Route::Converse(model), Mode::Stream) => (model, "converse-stream", request::body(model, call)?),
            (Route::Invoke(model), Mode::Whole) => (model, "invoke", invoke::body(target, call)?),
            (Route::Invoke(model), Mode::Stream) => (model, "invoke-with-response-stream", invoke::body(target, call)?),
        };
        written.sent(|body| post(target, model, operation, body.into()))
    }

    fn decoder(&self, _target: &Target, call: &ChatCall<'_>) -> Box<dyn Decoder> {
        Box::new(decode::ConverseDecoder::new(call))
    }

    fn reasoning_format(&self, model: &str) -> &'static str {
        if model.contains("claude") { reasoning::ANTHROPIC } else { reasoning::BEDROCK }
    }

    fn signs_reasoning(&self) -> bool {
        true
    }

    fn takes_messages(&self, model: &str) -> bool {
        matches!(Route::of(model), Route::Invoke(_))
    }

    fn fetches(&self, model: &str, url: &str) -> bool {
        matches!(Route::of(model), Route::Converse(_)) && is_s3(url)
    }
}

impl Unary<Embeddings> for Bedrock {
    fn request(&self, target: &Target, call: &EmbedCall<'_>) -> Result<Outgoing, Failure> {
        let (Route::Converse(model) | Route::Invoke(model)) = Route::of(&target.model);
        embed::body(model, call)?.sent(|body| post(target, model, "invoke", body.into()))
    }

    fn answer(&self, _call: &EmbedCall<'_>, body: Bytes) -> Result<CreateEmbeddingResponse, Failure> {
        embed::answer(&body)
    }

    fn usage(&self, head: &Head) -> Option<Usage> {
        embed::usage(head)
    }
}

/// By which operation a model is called, and its id.
enum Route<'a> {
    Converse(&'a str),
    Invoke(&'a str),
}

impl<'a> Route<'a> {
    fn of(model: &'a str) -> Self {
        match model.strip_prefix("invoke/") {
            Some(id) => Self::Invoke(id),
            None if embed::is_embedding(model) => Self::Invoke(model),
            None => Self::Converse(model),
        }
    }
}

/// Whether Bedrock reads the file itself.
fn is_s3(url: &str) -> bool {
    url.starts_with("s3://")
}

/// Everything but what RFC 3986 leaves as it is: an id is one segment of the path, even an ARN with its slashes.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// With the credential, where it is a key, and the operator's headers.
fn post(target: &Target, model: &str, operation: &str, body: Bytes) -> Result<http::Request<Bytes>, Failure> {
    let request = http::Request::builder()
        .method(Method::POST)
        .uri(format!("{}/model/{}/{operation}", target.base_url, utf8_percent_encode(model, SEGMENT)))
        .header(header::CONTENT_TYPE, "application/json")
        .body(body);
    target.dress(request.map_err(unsendable)?, header::AUTHORIZATION, "Bearer ")
}
