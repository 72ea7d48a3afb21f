//! Google's `generateContent`, as the Gemini API and Vertex AI speak it, and the Gemini API itself.
//!
//! Provider pages: "Generating content", "Embeddings", "Models", "Thinking", "Thought signatures", "Function calling", "Structured outputs",
//! "Speech generation", "Audio understanding", "Image generation" and "Troubleshooting" of the Gemini API reference.

mod decode;
pub(crate) mod embed;
mod logprobs;
mod making;
mod media;
mod model;
mod pieces;
mod request;
mod turns;
mod usage;
mod wire;

use bytes::Bytes;
use http::{HeaderName, Method, header};
use tollgate_domain::Failure;
use tollgate_proto::operation::{Embeddings, Images};
use tollgate_proto::v1::{CreateEmbeddingResponse, GenerateImageResponse};

use crate::{
    Chat, ChatCall, Decoder, EmbedCall, Head, Mode, Outgoing, Provider, Target, Unary, UnaryCall, Written,
    conversation::reasoning,
    media::{Media, MediaCall, MediaDecoder, MediaKind, MediaOutgoing},
    provider::unsendable,
    refusal,
};

/// Where it lives.
const BASE_URL: &str = "https://generativelanguage.googleapis.com/v1beta";

/// The adapter of the Gemini API.
pub struct Gemini;

/// Where the dialect is spoken: the two differ in what they fetch and in a few members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Host {
    GeminiApi,
    Vertex,
}

impl Provider for Gemini {
    fn name(&self) -> &'static str {
        "gemini"
    }

    fn base_url(&self) -> Option<&'static str> {
        Some(BASE_URL)
    }

    fn chat(&self) -> Option<&dyn Chat> {
        Some(self)
    }

    fn embed(&self) -> Option<&dyn Unary<Embeddings>> {
        Some(self)
    }

    fn images(&self) -> Option<&dyn Unary<Images>> {
        Some(self)
    }

    fn media(&self, _kind: MediaKind) -> Option<&dyn Media> {
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

impl Chat for Gemini {
    fn request(&self, target: &Target, call: &ChatCall<'_>) -> Result<Outgoing, Failure> {
        let written = body(Host::GeminiApi, target, call)?;
        written.sent(|body| post(target, &format!("/models/{}:{}", target.model, method(call.mode)), body))
    }

    fn decoder(&self, _target: &Target, call: &ChatCall<'_>) -> Box<dyn Decoder> {
        decoder(call.mode)
    }

    fn reasoning_format(&self, _model: &str) -> &'static str {
        reasoning::GOOGLE
    }

    fn signs_reasoning(&self) -> bool {
        true
    }

    fn fetches(&self, _model: &str, url: &str) -> bool {
        fetches(Host::GeminiApi, url)
    }
}

impl Unary<Embeddings> for Gemini {
    fn request(&self, target: &Target, call: &EmbedCall<'_>) -> Result<Outgoing, Failure> {
        let written = embed::request(target, call)?;
        written.sent(|body| post(target, &format!("/models/{}:batchEmbedContents", target.model), body))
    }

    fn answer(&self, _call: &EmbedCall<'_>, body: Bytes) -> Result<CreateEmbeddingResponse, Failure> {
        embed::answer(&body)
    }
}

impl Unary<Images> for Gemini {
    fn request(&self, target: &Target, call: &UnaryCall<'_, Images>) -> Result<Outgoing, Failure> {
        let path = format!("/models/{}:{}", target.model, method(Mode::Whole));
        making::images(target, call)?.sent(|body| post(target, &path, body))
    }

    fn answer(&self, _call: &UnaryCall<'_, Images>, body: Bytes) -> Result<GenerateImageResponse, Failure> {
        making::drawn(&body)
    }
}

impl Media for Gemini {
    fn holds(&self) -> Option<usize> {
        Some(making::MOST_BYTES)
    }

    fn request(&self, target: &Target, call: &MediaCall<'_>) -> Result<MediaOutgoing, Failure> {
        let post = |method: &str, body| post(target, &format!("/models/{}:{method}", target.model), body);
        making::request(target, call, post)
    }

    fn decoder(&self, call: &MediaCall<'_>, _head: &Head) -> Box<dyn MediaDecoder> {
        Box::new(making::reader(call))
    }
}

/// The method of a model that answers, behind its name and a colon.
pub(crate) fn method(mode: Mode) -> &'static str {
    match mode {
        Mode::Whole => "generateContent",
        Mode::Stream => "streamGenerateContent?alt=sse",
    }
}

/// The body of a `generateContent`, and what it goes without.
pub(crate) fn body(host: Host, target: &Target, call: &ChatCall<'_>) -> Result<Written, Failure> {
    request::body(host, target, call)
}

/// Reads the answer to a `generateContent`.
pub(crate) fn decoder(mode: Mode) -> Box<dyn Decoder> {
    Box::new(decode::ContentDecoder::new(mode))
}

/// Whether images and files are fetched from such a URL.
pub(crate) fn fetches(host: Host, url: &str) -> bool {
    media::fetches(host, url)
}

fn post(target: &Target, path: &str, body: Vec<u8>) -> Result<http::Request<Bytes>, Failure> {
    let request = http::Request::builder()
        .method(Method::POST)
        .uri(format!("{}{path}", target.base_url))
        .header(header::CONTENT_TYPE, "application/json")
        .body(Bytes::from(body));
    dressed(request.map_err(unsendable)?, target)
}

/// With the credential and the operator's headers.
fn dressed(request: http::Request<Bytes>, target: &Target) -> Result<http::Request<Bytes>, Failure> {
    target.dress(request, HeaderName::from_static("x-goog-api-key"), "")
}
