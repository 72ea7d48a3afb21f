//! OpenAI's JSON in the contract's nouns, and back.

pub(crate) mod chunk;
pub(crate) mod content;
pub(crate) mod embedding;
mod functions;
pub(crate) mod image;
pub(crate) mod members;
pub(crate) mod moderation;
pub(crate) mod request;
pub(crate) mod response;
mod speech;
pub(crate) mod text;
pub(crate) mod wishes;

use tollgate_proto::v1::{
    CompletionRequest, CreateEmbeddingRequest, CreateModerationRequest, CreateSpeechRequest, GenerateImageRequest,
};

/// Why a body is no request: field path (OpenAI's names) and what is wrong there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Invalid {
    /// All that was found; at least one.
    pub violations: Vec<(String, String)>,
}

impl Invalid {
    pub(crate) fn at(field: impl Into<String>, what: impl Into<String>) -> Self {
        Self { violations: vec![(field.into(), what.into())] }
    }
}

/// What the body says to the shim itself.
#[derive(Default)]
pub(crate) struct Wishes {
    pub(crate) stream: bool,
    pub(crate) include_usage: bool,
    /// The caller knows functions, and no tools.
    pub(crate) functions: bool,
    pub(crate) tags: Vec<String>,
    pub(crate) fallbacks: Vec<String>,
    pub(crate) drop_params: Option<bool>,
}

/// Reads a chat request. `original` and `tollgate` are left empty.
pub fn read_chat(body: &[u8]) -> Result<CompletionRequest, Invalid> {
    read_chat_with_wishes(body).map(|(request, _)| request)
}

pub(crate) fn read_chat_with_wishes(body: &[u8]) -> Result<(CompletionRequest, Wishes), Invalid> {
    request::read(members::text(body)?)
}

/// Reads a request to complete a prompt. `original` and `tollgate` are left empty.
pub fn read_text(body: &[u8]) -> Result<CompletionRequest, Invalid> {
    text::read(members::text(body)?).map(|(request, _)| request)
}

/// Reads an embedding request. `original` and `tollgate` are left empty.
pub fn read_embedding(body: &[u8]) -> Result<CreateEmbeddingRequest, Invalid> {
    read_embedding_with_encoding(body).map(|(request, _)| request)
}

/// Also tells whether vectors are wanted as base64.
pub(crate) fn read_embedding_with_encoding(body: &[u8]) -> Result<(CreateEmbeddingRequest, bool), Invalid> {
    embedding::read(members::text(body)?)
}

/// Reads a moderation request. `original` and `tollgate` are left empty.
pub fn read_moderation(body: &[u8]) -> Result<CreateModerationRequest, Invalid> {
    moderation::read(members::text(body)?)
}

/// Reads an image request. `original` and `tollgate` are left empty.
pub fn read_image(body: &[u8]) -> Result<GenerateImageRequest, Invalid> {
    match read_image_with_stream(body)? {
        (request, false) => Ok(request),
        (_, true) => Err(Invalid::at("stream", "images come when all are done; leave it out, or ask for a stream")),
    }
}

/// Also tells whether images are wanted while they are made.
pub fn read_image_with_stream(body: &[u8]) -> Result<(GenerateImageRequest, bool), Invalid> {
    image::read(members::text(body)?)
}

/// Whether speech is wanted in events, by the members that the contract does not name.
pub(crate) fn wants_events(extra_json: &str) -> bool {
    speech::wants_events(extra_json)
}

/// Reads a text to speak. `original` and `tollgate` are left empty.
pub fn read_speech(body: &[u8]) -> Result<CreateSpeechRequest, Invalid> {
    speech::read(members::text(body)?)
}
