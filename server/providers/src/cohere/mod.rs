//! Cohere's chat, embeddings and rankings, version 2 of its API.
//!
//! Provider pages: "Chat (v2)", "Chat with streaming (v2)", "Embed (v2)", "Rerank (v2)", "Tool use", "Reasoning", "Structured outputs" and "Errors" of
//! Cohere's API reference.

mod embed;
mod messages;
mod request;
mod stream;
mod wire;

use bytes::Bytes;
use tollgate_domain::{Class, Failure};
use tollgate_proto::{
    operation::{Embeddings, Reranking},
    v1::CreateEmbeddingResponse,
};

use crate::{
    Chat, ChatCall, Decoder, EmbedCall, Head, Outgoing, Provider, Target, Unary, conversation::reasoning, openai::post,
    refusal, rerank,
};

/// Where it lives.
const BASE_URL: &str = "https://api.cohere.com";
/// Blocked input or output; with other providers it is a lack of room.
const BLOCKED: u16 = 498;

/// The adapter.
pub struct Cohere;

impl Provider for Cohere {
    fn name(&self) -> &'static str {
        "cohere"
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

    fn rerank(&self) -> Option<&dyn Unary<Reranking>> {
        Some(&rerank::COHERE)
    }

    fn check(&self, target: &Target) -> Result<http::Request<Bytes>, Failure> {
        target.get("/v1/models")
    }

    fn refusal(&self, head: &Head, body: &[u8]) -> Failure {
        let failure = refusal::classify(head.status.as_u16(), &head.headers, body);
        let class = if failure.status == BLOCKED { Class::ContentFilter } else { failure.class };
        Failure { class, ..failure }
    }
}

impl Chat for Cohere {
    fn request(&self, target: &Target, call: &ChatCall<'_>) -> Result<Outgoing, Failure> {
        request::body(target, call)?.sent(|body| post(target, "/v2/chat", call.attempt_id, body))
    }

    fn reasoning_format(&self, _model: &str) -> &'static str {
        reasoning::UNSIGNED
    }

    fn decoder(&self, _target: &Target, call: &ChatCall<'_>) -> Box<dyn Decoder> {
        Box::new(stream::ChatDecoder::new(call.mode))
    }

    fn takes_media_as_results(&self) -> bool {
        false
    }

    fn fetches(&self, _model: &str, _url: &str) -> bool {
        false
    }
}

impl Unary<Embeddings> for Cohere {
    fn request(&self, target: &Target, call: &EmbedCall<'_>) -> Result<Outgoing, Failure> {
        embed::body(target, call)?.sent(|body| post(target, "/v2/embed", call.attempt_id, body))
    }

    fn answer(&self, _call: &EmbedCall<'_>, body: Bytes) -> Result<CreateEmbeddingResponse, Failure> {
        embed::answer(&body)
    }
}
