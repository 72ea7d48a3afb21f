use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use tollgate_domain::{Class, Failure};
use tollgate_proto::{
    operation::{Embeddings, Images, Moderations, Operation, Reranking},
    v1::{CompletionEvent, CompletionRequest, Dialect, Usage},
};

use crate::{
    credential::Credential,
    files::Files,
    media::{Media, MediaKind},
};

/// Speaks one provider's dialect. Sends nothing, reads no clock, knows no caller.
pub trait Provider: Send + Sync {
    /// Its name in the registry (`openai`, `anthropic`, `groq`, ...).
    fn name(&self) -> &'static str;

    /// Where it lives; `None`: the operator says.
    fn base_url(&self) -> Option<&'static str>;

    /// `None`: not offered, and the router will not ask.
    fn chat(&self) -> Option<&dyn Chat>;

    /// `None`: not offered, and the router will not ask.
    fn embed(&self) -> Option<&dyn Unary<Embeddings>> {
        None
    }

    /// `None`: not offered, and the router will not ask.
    fn rerank(&self) -> Option<&dyn Unary<Reranking>> {
        None
    }

    /// `None`: not offered, and the router will not ask.
    fn moderate(&self) -> Option<&dyn Unary<Moderations>> {
        None
    }

    /// `None`: not offered, and the router will not ask.
    fn images(&self) -> Option<&dyn Unary<Images>> {
        None
    }

    /// `None`: not offered, and the router will not ask.
    fn media(&self, kind: MediaKind) -> Option<&dyn Media> {
        let _ = kind;
        None
    }

    /// `None`: it keeps no files and runs no batches.
    fn files(&self) -> Option<&dyn Files> {
        None
    }

    /// A request that costs nothing and shows that the provider is there and heeds the credential: its list of models.
    fn check(&self, target: &Target) -> Result<http::Request<Bytes>, Failure>;

    /// Whether a refusal of [`Provider::check`] shows just as well that the provider is there and heeds the credential: by default, that
    /// it does not know what was asked for, as servers without a list of models do not.
    fn is_answered_by(&self, refusal: &Failure) -> bool {
        matches!(refusal.class, Class::NotFound | Class::InvalidRequest)
    }

    /// Reads a refusal (any status but 2xx), whatever the operation was.
    fn refusal(&self, head: &Head, body: &[u8]) -> Failure;
}

/// Chat completions.
pub trait Chat: Send + Sync {
    /// Writes the request. Fails with `InvalidRequest` naming the field when the dialect cannot say what was asked.
    fn request(&self, target: &Target, call: &ChatCall<'_>) -> Result<Outgoing, Failure>;

    /// Reads the answer to `call` of `target`'s model: one decoder for whole and streamed answers alike.
    fn decoder(&self, target: &Target, call: &ChatCall<'_>) -> Box<dyn Decoder>;

    /// Whether blocks of reasoning carry a signature, which comes at their end.
    fn signs_reasoning(&self) -> bool {
        false
    }

    /// Whose reasoning `model` takes back, as in `ReasoningPart.format`; empty: nobody's.
    fn reasoning_format(&self, model: &str) -> &'static str {
        let _ = model;
        ""
    }

    /// Whether `model` takes a call in Anthropic's dialect as it is.
    fn takes_messages(&self, model: &str) -> bool {
        let _ = model;
        false
    }

    /// How `model` is told how much to reason.
    fn reasons_by(&self, model: &str) -> ReasonsBy {
        let _ = model;
        ReasonsBy::Tokens
    }

    /// Whether the result of a tool may be more than text.
    fn takes_media_as_results(&self) -> bool {
        true
    }

    /// Whether images and files at such a URL are fetched where `model` runs. Where they are not, it needs the bytes.
    fn fetches(&self, model: &str, url: &str) -> bool {
        let _ = (model, url);
        true
    }
}

/// How a model is told how much to reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReasonsBy {
    /// By a word, or by a budget in tokens.
    Tokens,
    /// By a word alone.
    Words,
    /// It does not reason.
    Nothing,
}

/// An operation with one answer.
pub trait Unary<O: Operation>: Send + Sync {
    /// Writes the request. Fails with `InvalidRequest` naming the field when the dialect cannot say what was asked.
    fn request(&self, target: &Target, call: &UnaryCall<'_, O>) -> Result<Outgoing, Failure>;

    /// Reads the whole answer. `started.call_id` and its fellows stay empty: the pipeline knows them.
    fn answer(&self, call: &UnaryCall<'_, O>, body: Bytes) -> Result<O::Response, Failure>;

    /// Usage that stands in the answer's head and not in its body.
    fn usage(&self, head: &Head) -> Option<Usage> {
        let _ = head;
        None
    }
}

/// An operation that providers may offer.
pub trait Offered: Operation {
    /// As `provider` speaks it; `None`: not offered, and the router will not ask.
    fn by(provider: &dyn Provider) -> Option<&dyn Unary<Self>>;
}

impl Offered for Embeddings {
    fn by(provider: &dyn Provider) -> Option<&dyn Unary<Self>> {
        provider.embed()
    }
}

impl Offered for Reranking {
    fn by(provider: &dyn Provider) -> Option<&dyn Unary<Self>> {
        provider.rerank()
    }
}

impl Offered for Moderations {
    fn by(provider: &dyn Provider) -> Option<&dyn Unary<Self>> {
        provider.moderate()
    }
}

impl Offered for Images {
    fn by(provider: &dyn Provider) -> Option<&dyn Unary<Self>> {
        provider.images()
    }
}

/// Where to send: one deployment's place at its provider.
#[derive(Clone, Debug)]
pub struct Target {
    /// Base URL without a trailing slash.
    pub base_url: String,
    /// The version of the API that is asked for in the query, where the provider has such a thing.
    pub api_version: Option<String>,
    /// What the operator has to show.
    pub credential: Credential,
    /// The model in the provider's words.
    pub model: String,
    /// Headers that the operator adds, sent as they are.
    pub headers: HeaderMap,
}

impl Target {
    /// A request that shows the key as a bearer's.
    pub(crate) fn get(&self, path: &str) -> Result<http::Request<Bytes>, Failure> {
        let request = http::Request::builder().method(Method::GET).uri(format!("{}{path}", self.base_url));
        self.dress(request.body(Bytes::new()).map_err(unsendable)?, header::AUTHORIZATION, "Bearer ")
    }

    /// `request` with the key, behind a prefix in that header, and the operator's own headers.
    pub(crate) fn dress(
        &self,
        mut request: http::Request<Bytes>,
        name: HeaderName,
        prefix: &str,
    ) -> Result<http::Request<Bytes>, Failure> {
        let headers = request.headers_mut();
        if let Some(key) = self.credential.key() {
            let mut value = HeaderValue::try_from(format!("{prefix}{}", key.expose()))
                .map_err(|_| Failure::new(Class::Authentication, "the configured credential is no header value"))?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        for (name, value) in &self.headers {
            headers.insert(name.clone(), value.clone());
        }
        Ok(request)
    }
}

pub(crate) fn unsendable(error: http::Error) -> Failure {
    Failure::new(Class::InvalidRequest, format!("the request cannot be sent: {error}"))
}

/// How the provider is asked to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// In one piece.
    Whole,
    /// As a stream.
    Stream,
}

/// One attempt at one deployment.
#[derive(Clone, Copy, Debug)]
pub struct ChatCall<'a> {
    /// The request. Its `original` may be spliced by an adapter of the same dialect.
    pub request: &'a CompletionRequest,
    /// Whole or streamed; always streamed for answers that a caller streams.
    pub mode: Mode,
    /// An output limit that replaces the request's: set by the pipeline when a budget needs one.
    pub output_cap: Option<u64>,
    /// The deployment's own output limit, for dialects in which a limit is required.
    pub max_output: Option<u64>,
    /// Attach native chunks of this dialect to events.
    pub want_native: Dialect,
    /// Leave out what the provider cannot heed, instead of refusing the call.
    pub drop_params: bool,
    /// The beginning of the answer, without white space at its end: the model goes on from there. Only for models that can.
    pub prefill: Option<&'a str>,
    /// Our id of the attempt; may be sent as the client's request id.
    pub attempt_id: &'a str,
    /// The trace that it belongs to, as `traceparent` says it; `None`: the provider is told of none.
    pub traceparent: Option<&'a HeaderValue>,
}

impl<'a> ChatCall<'a> {
    /// A call about which nothing is said but its request.
    pub fn new(request: &'a CompletionRequest, mode: Mode) -> Self {
        Self {
            request,
            mode,
            output_cap: None,
            max_output: None,
            want_native: Dialect::Unspecified,
            drop_params: false,
            prefill: None,
            attempt_id: "",
            traceparent: None,
        }
    }
}

impl ChatCall<'_> {
    /// The output limit to send: the pipeline's, else the caller's.
    pub(crate) fn output_limit(&self) -> Option<u64> {
        self.output_cap.or_else(|| self.request.max_output_tokens.and_then(|n| u64::try_from(n).ok()))
    }
}

/// One attempt at one deployment.
pub struct UnaryCall<'a, O: Operation> {
    /// The request. Its `original` may be spliced by an adapter of the same dialect.
    pub request: &'a O::Request,
    /// Attach the native answer of this dialect.
    pub want_native: Dialect,
    /// Leave out what the provider cannot heed, instead of refusing the call.
    pub drop_params: bool,
    /// Our id of the attempt.
    pub attempt_id: &'a str,
    /// The trace that it belongs to, as `traceparent` says it; `None`: the provider is told of none.
    pub traceparent: Option<&'a HeaderValue>,
}

/// One attempt to embed.
pub type EmbedCall<'a> = UnaryCall<'a, Embeddings>;

/// A request ready to be sent.
#[derive(Debug)]
pub struct Outgoing {
    /// Method, URI, headers and body.
    pub request: http::Request<Bytes>,
    /// Parameters of the call that the provider cannot heed, left out of the request: the call is refused unless it may go without.
    pub unsupported: Vec<Unsupported>,
    /// What was left out without harm to the answer: caching hints, another provider's reasoning.
    pub dropped: Vec<String>,
}

/// A body in the provider's dialect, and what it goes without: see [`Outgoing`].
pub(crate) struct Written {
    pub(crate) body: Vec<u8>,
    pub(crate) unsupported: Vec<Unsupported>,
    pub(crate) dropped: Vec<String>,
}

impl Written {
    /// A body that says everything.
    pub(crate) fn whole(body: Vec<u8>) -> Self {
        Self { body, unsupported: Vec::new(), dropped: Vec::new() }
    }

    /// With its head.
    pub(crate) fn sent(
        self,
        head: impl FnOnce(Vec<u8>) -> Result<http::Request<Bytes>, Failure>,
    ) -> Result<Outgoing, Failure> {
        Ok(Outgoing { request: head(self.body)?, unsupported: self.unsupported, dropped: self.dropped })
    }
}

/// A parameter that a provider cannot heed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsupported {
    /// The parameter, as the caller's dialect spells its path: `seed`, `messages[2].content[0]`.
    pub field: String,
    /// Why, or what to do instead; empty: it has no such thing.
    pub why: &'static str,
}

impl Unsupported {
    /// A parameter that the provider does not have.
    pub fn new(field: impl Into<String>) -> Self {
        Self { field: field.into(), why: "" }
    }

    /// With the reason.
    pub fn because(field: impl Into<String>, why: &'static str) -> Self {
        Self { field: field.into(), why }
    }

    /// The refusal.
    pub fn refused_by(&self, provider: &str) -> Failure {
        let why = if self.why.is_empty() { format!("is not known to {provider}") } else { self.why.to_owned() };
        let message = format!("{}: {why}; leave it out, or allow drop_params", self.field);
        Failure::new(Class::Unsupported, message)
    }
}

/// The call cannot be said in this dialect, and nothing can be left out; in another it may be.
pub(crate) fn cannot(field: &str, why: &str) -> Failure {
    Failure::new(Class::Unsupported, format!("{field}: {why}"))
}

/// The call is malformed, whoever is asked.
pub(crate) fn invalid(field: &str, why: &str) -> Failure {
    Failure::new(Class::InvalidRequest, format!("{field}: {why}"))
}

/// Head of a provider's answer.
#[derive(Clone, Debug)]
pub struct Head {
    /// Status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
}

/// Turns an answer's bytes, cut anywhere, into events.
///
/// Events come in the order of the contract: `started` first, deltas, `part_done`s, `finished` per choice, `usage` last when the
/// provider reported any. The decoder leaves `seq` and the gateway's own fields (`call_id`, `provider`, `deployment`, `attempt`,
/// costs) empty: the pipeline fills them in.
pub trait Decoder: Send {
    /// Takes the next bytes and appends the events that they complete.
    fn feed(&mut self, bytes: &Bytes, events: &mut Vec<CompletionEvent>) -> Result<(), Failure>;

    /// The body has ended. Fails with `UpstreamTruncated` when the answer had not.
    fn end(&mut self, events: &mut Vec<CompletionEvent>) -> Result<(), Failure>;

    /// Whether the answer's own end has come: what follows is read briefly and ignored.
    fn done(&self) -> bool {
        false
    }
}
