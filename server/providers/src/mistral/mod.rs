//! Mistral's chat completions, embeddings, speech and transcripts.
//!
//! Provider pages: "Chat completion", "Embeddings", "Function calling", "Reasoning", "Vision" and "Audio" of Mistral's API reference. The dialect is
//! of OpenAI's shape, and strict: a field that it does not know is refused (422). Answers are read by OpenAI's decoder.

mod answer;
mod embed;
mod files;
mod hear;
mod messages;
mod request;
mod speak;

use bytes::Bytes;
use tollgate_domain::{Class, Failure};
use tollgate_proto::operation::Embeddings;
use tollgate_proto::v1::{CreateEmbeddingResponse, Dialect};

use crate::{
    Chat, ChatCall, Decoder, EmbedCall, Files, Head, Outgoing, Provider, ReasonsBy, Target, Unary,
    conversation::reasoning,
    media::{Media, MediaAsk, MediaCall, MediaDecoder, MediaKind, MediaOutgoing},
    openai::{self, Quirks, decode::ChatDecoder, models_of, post, services::row},
    provider::cannot,
    refusal,
};

/// Where it lives.
const BASE_URL: &str = "https://api.mistral.ai/v1";
/// What the decoder asks of a service.
static QUIRKS: Quirks = row("mistral", Some(BASE_URL), "Mistral: its answers are of this dialect");

/// The adapter.
pub struct Mistral;

impl Provider for Mistral {
    fn name(&self) -> &'static str {
        QUIRKS.name
    }

    fn base_url(&self) -> Option<&'static str> {
        QUIRKS.base_url
    }

    fn chat(&self) -> Option<&dyn Chat> {
        Some(self)
    }

    fn embed(&self) -> Option<&dyn Unary<Embeddings>> {
        Some(self)
    }

    fn media(&self, kind: MediaKind) -> Option<&dyn Media> {
        matches!(kind, MediaKind::Speech | MediaKind::Transcription).then_some(self)
    }

    fn files(&self) -> Option<&dyn Files> {
        Some(self)
    }

    fn check(&self, target: &Target) -> Result<http::Request<Bytes>, Failure> {
        models_of(target)
    }

    fn refusal(&self, head: &Head, body: &[u8]) -> Failure {
        let failure = refusal::classify(head.status.as_u16(), &head.headers, body);
        let says = |words: &str| failure.message.to_lowercase().contains(words);
        let class = match failure.class {
            // Its own lack of room, whichever status it gives it.
            Class::RateLimit if says("capacity exceeded") => Class::Overloaded,
            Class::Permission if says("guardrail") => Class::ContentFilter,
            class => class,
        };
        Failure { class, ..failure }
    }
}

impl Chat for Mistral {
    fn request(&self, target: &Target, call: &ChatCall<'_>) -> Result<Outgoing, Failure> {
        request::body(target, call)?.sent(|body| post(target, "/chat/completions", call.attempt_id, body))
    }

    fn reasoning_format(&self, _model: &str) -> &'static str {
        reasoning::UNSIGNED
    }

    fn reasons_by(&self, _model: &str) -> ReasonsBy {
        ReasonsBy::Words
    }

    fn decoder(&self, _target: &Target, call: &ChatCall<'_>) -> Box<dyn Decoder> {
        // Its chunks are not OpenAI's: content may be a list.
        let call = ChatCall { want_native: Dialect::Unspecified, ..*call };
        Box::new(ChatDecoder::new(&QUIRKS, &call))
    }
}

impl Unary<Embeddings> for Mistral {
    fn request(&self, target: &Target, call: &EmbedCall<'_>) -> Result<Outgoing, Failure> {
        embed::body(target, call)?.sent(|body| post(target, "/embeddings", call.attempt_id, body))
    }

    fn answer(&self, call: &EmbedCall<'_>, body: Bytes) -> Result<CreateEmbeddingResponse, Failure> {
        openai::embed::answer(&EmbedCall { want_native: Dialect::Unspecified, ..*call }, body)
    }
}

impl Media for Mistral {
    fn request(&self, target: &Target, call: &MediaCall<'_>) -> Result<MediaOutgoing, Failure> {
        let post = |path: &str, body| post(target, path, call.attempt_id, body);
        match call.ask {
            MediaAsk::Speech(request) => speak::request(target, request, post),
            MediaAsk::Transcription(head) => hear::request(target, call, head, post),
            MediaAsk::ImageStream(_) | MediaAsk::ImageEdit(_) => Err(cannot("model", "makes no images at mistral")),
        }
    }

    fn decoder(&self, call: &MediaCall<'_>, head: &Head) -> Box<dyn MediaDecoder> {
        match call.ask {
            MediaAsk::Speech(_) => Box::new(speak::Decoder::new(call, head)),
            _ => Box::new(hear::Decoder::new(call, head)),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, StatusCode};

    use super::*;

    #[test]
    fn a_full_house_is_told_from_a_caller_who_asks_too_much() {
        let read =
            |status, body: &str| Mistral.refusal(&Head { status, headers: HeaderMap::new() }, body.as_bytes()).class;
        let full = r#"{"object":"error","message":"Service tier capacity exceeded for this model.","code":"3505"}"#;
        assert_eq!(read(StatusCode::TOO_MANY_REQUESTS, full), Class::Overloaded);
        assert_eq!(
            read(StatusCode::TOO_MANY_REQUESTS, r#"{"message":"Requests rate limit exceeded"}"#),
            Class::RateLimit
        );
        assert_eq!(read(StatusCode::FORBIDDEN, r#"{"message":"You may not use this model"}"#), Class::Permission);
    }
}
