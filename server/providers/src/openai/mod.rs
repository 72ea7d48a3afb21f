//! OpenAI's chat completions, the completions of prompts before them, embeddings, moderations and images, and everybody who speaks that dialect.
//!
//! Provider pages: OpenAI "Chat completions", "Embeddings", "Moderations" and "Images" API reference; vLLM "OpenAI-Compatible Server"; the API references of
//! Groq, DeepSeek, xAI, Together, Fireworks and OpenRouter. What sets the compatible ones apart is data: [`Quirks`].

pub(crate) mod decode;
pub(crate) mod embed;
pub(crate) mod encode;
pub(crate) mod form;
pub(crate) mod image;
mod media;
mod models;
mod moderate;
mod param;
pub(crate) mod request;
pub mod services;
pub(crate) mod sound;
pub(crate) mod wire;

pub(crate) use decode::normal as usage;
use http::{Method, header};
pub(crate) use request::unsendable;
use tollgate_domain::Failure;
use tollgate_proto::operation::{Embeddings, Images, Moderations, Reranking};

pub use self::{
    media::Media,
    models::{Family, OPENAI as OPENAI_MODELS},
    param::Param,
};
pub(crate) use self::{models::reasons_by, param::leave_out};
use crate::{
    Chat, ChatCall, Decoder, EmbedCall, Files, Head, Outgoing, Provider, ReasonsBy, Target, Unary, UnaryCall, Written,
    conversation::reasoning,
    media::{Media as Medium, MediaCall, MediaDecoder, MediaKind, MediaOutgoing},
    provider, refusal, rerank,
};

/// What sets one service apart from the others of the dialect.
#[derive(Clone, Copy, Debug)]
pub struct Quirks {
    /// Name in the registry.
    pub name: &'static str,
    /// Whose service it is and where it is documented: one line.
    pub about: &'static str,
    /// Where it lives; `None`: the operator says.
    pub base_url: Option<&'static str>,
    /// How it spells the output limit.
    pub output_limit: &'static str,
    /// Whether it heeds the caller's other spelling as well. A server that does not would have no limit at all.
    pub both_limits: bool,
    /// How it is told how much to reason.
    pub effort: Effort,
    /// How reasoning goes back to it; `None`: it is left out.
    pub reasoning_in: Option<ReasoningIn>,
    /// How it is told to go on from a last message of the assistant's.
    pub prefill: Prefill,
    /// What it does not heed, with any of its models.
    pub lacks: &'static [Param],
    /// Content that none of its models takes.
    pub refuses: &'static [Media],
    /// Whether it takes caching hints, `cache_control` on parts and tools. Others cache by themselves, and may refuse a member that
    /// they do not know.
    pub hints: bool,
    /// Families of its models that heed less than the others. The first that fits a name counts.
    pub families: &'static [Family],
    /// Members of the body, as JSON, that it gets unless the caller wrote them.
    pub adds: &'static [(&'static str, &'static str)],
    /// Whether it completes prompts as they stand, `/completions`. Where it does not, a prompt is a message of the user's.
    pub completes: bool,
    /// Whether it has embeddings.
    pub embeds: bool,
    /// Whether it has rankings, in the shape of [`crate::rerank`].
    pub reranks: bool,
    /// Whether it has moderations.
    pub moderates: bool,
    /// Whether it makes images.
    pub makes_images: bool,
    /// Whether it speaks, `/audio/speech`.
    pub speaks: bool,
    /// Whether it writes down what is said, `/audio/transcriptions` and `/audio/translations`.
    pub hears: bool,
    /// Whether it keeps files and runs batches, `/files` and `/batches`.
    pub keeps_files: bool,
    /// Whether an in-band error's own status is to be believed (OpenRouter answers 200 with `code: 502`).
    pub trusts_inner_status: bool,
    /// Whether it fetches images and files by URL. Where nobody knows, it is given the bytes.
    pub fetches_urls: bool,
}

/// How a service is told how much to reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// By a word, `reasoning_effort`.
    Word,
    /// By an object, `reasoning {effort, max_tokens}`, which knows a budget as well (OpenRouter, "Reasoning tokens").
    Object,
    /// By a switch, `thinking {type}`, and the word where it is on (DeepSeek, "Thinking mode").
    Switch,
}

/// How reasoning of earlier turns goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReasoningIn {
    /// As a string, `reasoning_content`.
    Content,
    /// As ordered, signed items, `reasoning_details`.
    Details,
}

/// How a service is told to go on from a last message of the assistant's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prefill {
    /// It does so by itself.
    Bare,
    /// This member of the message is true: `prefix` (DeepSeek, "Chat prefix completion"), `partial` (Moonshot, "Partial mode").
    Flag(&'static str),
    /// The body has `continue_final_message: true` (vLLM).
    FinalMessage,
}

/// The dialect, as one service speaks it.
#[derive(Clone, Copy, Debug)]
pub struct OpenAi(pub &'static Quirks);

impl Provider for OpenAi {
    fn name(&self) -> &'static str {
        self.0.name
    }

    fn base_url(&self) -> Option<&'static str> {
        self.0.base_url
    }

    fn chat(&self) -> Option<&dyn Chat> {
        Some(self)
    }

    fn embed(&self) -> Option<&dyn Unary<Embeddings>> {
        self.0.embeds.then_some(self)
    }

    fn rerank(&self) -> Option<&dyn Unary<Reranking>> {
        self.0.reranks.then_some(&rerank::COMPATIBLE as &dyn Unary<Reranking>)
    }

    fn moderate(&self) -> Option<&dyn Unary<Moderations>> {
        self.0.moderates.then_some(self as &dyn Unary<Moderations>)
    }

    fn images(&self) -> Option<&dyn Unary<Images>> {
        self.0.makes_images.then_some(self as &dyn Unary<Images>)
    }

    fn media(&self, kind: MediaKind) -> Option<&dyn Medium> {
        let offered = match kind {
            MediaKind::Speech => self.0.speaks,
            MediaKind::Transcription | MediaKind::Translation => self.0.hears,
            MediaKind::ImageStream | MediaKind::ImageEdit => self.0.makes_images,
        };
        offered.then_some(self as &dyn Medium)
    }

    fn files(&self) -> Option<&dyn Files> {
        self.0.keeps_files.then_some(self as &dyn Files)
    }

    fn check(&self, target: &Target) -> Result<http::Request<bytes::Bytes>, Failure> {
        models_of(target)
    }

    fn refusal(&self, head: &Head, body: &[u8]) -> Failure {
        refusal::classify(head.status.as_u16(), &head.headers, body)
    }
}

impl Chat for OpenAi {
    fn request(&self, target: &Target, call: &ChatCall<'_>) -> Result<Outgoing, Failure> {
        let written = request::chat(self.0, target, call)?;
        let path = if request::is_text(self.0, call) { "/completions" } else { "/chat/completions" };
        written.sent(|body| post(target, path, call.attempt_id, body))
    }

    fn decoder(&self, _target: &Target, call: &ChatCall<'_>) -> Box<dyn Decoder> {
        Box::new(decode::ChatDecoder::new(self.0, call))
    }

    fn reasoning_format(&self, _model: &str) -> &'static str {
        match self.0.reasoning_in {
            None => "",
            Some(ReasoningIn::Content) => reasoning::UNSIGNED,
            Some(ReasoningIn::Details) => self.0.name,
        }
    }

    fn signs_reasoning(&self) -> bool {
        self.0.reasoning_in == Some(ReasoningIn::Details)
    }

    fn reasons_by(&self, model: &str) -> ReasonsBy {
        match self.0.effort {
            Effort::Object => ReasonsBy::Tokens,
            _ => models::reasons_by(model),
        }
    }

    fn takes_media_as_results(&self) -> bool {
        false
    }

    fn fetches(&self, _model: &str, _url: &str) -> bool {
        self.0.fetches_urls
    }
}

impl Unary<Embeddings> for OpenAi {
    fn request(&self, target: &Target, call: &EmbedCall<'_>) -> Result<Outgoing, Failure> {
        let body = embed::request(target, call)?;
        Written::whole(body).sent(|body| post(target, "/embeddings", call.attempt_id, body))
    }

    fn answer(
        &self,
        call: &EmbedCall<'_>,
        body: bytes::Bytes,
    ) -> Result<tollgate_proto::v1::CreateEmbeddingResponse, Failure> {
        embed::answer(call, body)
    }
}

impl Unary<Moderations> for OpenAi {
    fn request(&self, target: &Target, call: &UnaryCall<'_, Moderations>) -> Result<Outgoing, Failure> {
        let body = moderate::request(target, call.request)?;
        Written::whole(body).sent(|body| post(target, "/moderations", call.attempt_id, body))
    }

    fn answer(
        &self,
        call: &UnaryCall<'_, Moderations>,
        body: bytes::Bytes,
    ) -> Result<tollgate_proto::v1::CreateModerationResponse, Failure> {
        moderate::answer(call, body)
    }
}

impl Unary<Images> for OpenAi {
    fn request(&self, target: &Target, call: &UnaryCall<'_, Images>) -> Result<Outgoing, Failure> {
        let body = image::request(target, call.request)?;
        Written::whole(body).sent(|body| post(target, "/images/generations", call.attempt_id, body))
    }

    fn answer(
        &self,
        call: &UnaryCall<'_, Images>,
        body: bytes::Bytes,
    ) -> Result<tollgate_proto::v1::GenerateImageResponse, Failure> {
        image::answer(call, body)
    }
}

impl Medium for OpenAi {
    fn request(&self, target: &Target, call: &MediaCall<'_>) -> Result<MediaOutgoing, Failure> {
        sound::request(target, call, |path, body| post(target, &format!("/{path}"), call.attempt_id, body))
    }

    fn decoder(&self, call: &MediaCall<'_>, head: &Head) -> Box<dyn MediaDecoder> {
        Box::new(sound::Decoder::new(call, head))
    }
}

/// Asks for the list of models.
pub(crate) fn models_of(target: &Target) -> Result<http::Request<bytes::Bytes>, Failure> {
    let request = http::Request::builder().method(Method::GET).uri(format!("{}/models", target.base_url));
    dressed(request.body(bytes::Bytes::new()).map_err(provider::unsendable)?, target)
}

/// A call of an operation below the base URL.
pub(crate) fn post(
    target: &Target,
    path: &str,
    attempt_id: &str,
    body: Vec<u8>,
) -> Result<http::Request<bytes::Bytes>, Failure> {
    let request = http::Request::builder()
        .method(Method::POST)
        .uri(format!("{}{path}", target.base_url))
        .header(header::CONTENT_TYPE, "application/json")
        .header("x-client-request-id", attempt_id)
        .body(bytes::Bytes::from(body))
        .map_err(provider::unsendable)?;
    dressed(request, target)
}

/// With the credential and the operator's headers.
fn dressed(request: http::Request<bytes::Bytes>, target: &Target) -> Result<http::Request<bytes::Bytes>, Failure> {
    target.dress(request, header::AUTHORIZATION, "Bearer ")
}
