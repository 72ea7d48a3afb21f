//! OpenAI's Responses API, without state at the provider: nothing is stored there, and reasoning goes back encrypted.
//!
//! Provider pages: "Responses" and "Responses streaming" of the OpenAI API reference; the guides "Reasoning models" (encrypted reasoning
//! items, what must follow them), "Function calling", "Structured outputs" and "File inputs".
//!
//! An item of reasoning is one part of ours: its summary is the `text`, its `encrypted_content` the `signature`, for it is the proof by
//! which the provider knows its own reasoning, and stands beside the summary; a part with `redacted` alone is taken back as well. The
//! item's id is `native_id`; answers do not carry it, and what is not stored needs none. A tool call's id is `call_id`, the one that
//! results quote.

mod decode;
mod input;
mod request;
mod splice;
mod wire;

use bytes::Bytes;
pub(crate) use decode::normal as usage;
use tollgate_domain::Failure;

use crate::{
    Chat, ChatCall, Decoder, Head, Outgoing, Provider, ReasonsBy, Target,
    conversation::reasoning,
    openai::{self, models_of, post},
    refusal,
};

/// Where it lives.
const BASE_URL: &str = "https://api.openai.com/v1";

/// The adapter.
pub struct OpenAiResponses;

impl Provider for OpenAiResponses {
    fn name(&self) -> &'static str {
        "openai_responses"
    }

    fn base_url(&self) -> Option<&'static str> {
        Some(BASE_URL)
    }

    fn chat(&self) -> Option<&dyn Chat> {
        Some(self)
    }

    fn check(&self, target: &Target) -> Result<http::Request<Bytes>, Failure> {
        models_of(target)
    }

    fn refusal(&self, head: &Head, body: &[u8]) -> Failure {
        refusal::classify(head.status.as_u16(), &head.headers, body)
    }
}

impl Chat for OpenAiResponses {
    fn request(&self, target: &Target, call: &ChatCall<'_>) -> Result<Outgoing, Failure> {
        let written = request::body(target, call)?;
        written.sent(|body| post(target, "/responses", call.attempt_id, body))
    }

    fn decoder(&self, _target: &Target, call: &ChatCall<'_>) -> Box<dyn Decoder> {
        Box::new(decode::ResponseDecoder::new(call))
    }

    fn reasoning_format(&self, _model: &str) -> &'static str {
        reasoning::OPENAI
    }

    fn reasons_by(&self, model: &str) -> ReasonsBy {
        openai::reasons_by(model)
    }

    fn signs_reasoning(&self) -> bool {
        true
    }
}
