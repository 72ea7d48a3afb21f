//! Ollama's own chat and embeddings: its OpenAI layer knows no options of the model's.
//!
//! Project pages: "API" (`docs/api.md`), "Streaming", "Thinking", "Tool calling", "Structured outputs" and "Errors" of Ollama's
//! documentation.

mod embed;
mod messages;
mod request;
mod stream;
mod wire;

use bytes::Bytes;
use tollgate_domain::Failure;
use tollgate_proto::operation::Embeddings;
use tollgate_proto::v1::CreateEmbeddingResponse;

use crate::{
    Chat, ChatCall, Decoder, EmbedCall, Head, Outgoing, Provider, ReasonsBy, Target, Unary, conversation::reasoning,
    openai::post, refusal,
};

/// Where it listens unless told otherwise.
const BASE_URL: &str = "http://127.0.0.1:11434";

/// The adapter. Servers of one's own ask for no key; the cloud service does.
pub struct Ollama;

impl Provider for Ollama {
    fn name(&self) -> &'static str {
        "ollama"
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

    fn check(&self, target: &Target) -> Result<http::Request<Bytes>, Failure> {
        target.get("/api/tags")
    }

    fn refusal(&self, head: &Head, body: &[u8]) -> Failure {
        refusal::classify(head.status.as_u16(), &head.headers, body)
    }
}

impl Chat for Ollama {
    fn request(&self, target: &Target, call: &ChatCall<'_>) -> Result<Outgoing, Failure> {
        request::body(target, call)?.sent(|body| post(target, "/api/chat", call.attempt_id, body))
    }

    fn reasoning_format(&self, _model: &str) -> &'static str {
        reasoning::UNSIGNED
    }

    fn reasons_by(&self, _model: &str) -> ReasonsBy {
        ReasonsBy::Words
    }

    fn decoder(&self, _target: &Target, call: &ChatCall<'_>) -> Box<dyn Decoder> {
        Box::new(stream::LineDecoder::new(call.mode))
    }

    fn fetches(&self, _model: &str, _url: &str) -> bool {
        false
    }
}

impl Unary<Embeddings> for Ollama {
    fn request(&self, target: &Target, call: &EmbedCall<'_>) -> Result<Outgoing, Failure> {
        embed::body(target, call)?.sent(|body| post(target, "/api/embed", call.attempt_id, body))
    }

    fn answer(&self, _call: &EmbedCall<'_>, body: Bytes) -> Result<CreateEmbeddingResponse, Failure> {
        embed::answer(&body)
    }
}
