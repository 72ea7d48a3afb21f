//! The most that a request can cost in tokens, proven from its bytes.
//!
//! A byte-level BPE token covers at least one byte, so the number of bytes bounds the number of tokens; templates add a few tokens
//! per message, tool and part. Images and sound have no such law: providers publish at most some thousand tokens each, and the
//! figures here lie above those.

use tollgate_proto::v1::{AudioPart, CompletionRequest, CreateEmbeddingRequest, FilePart, embedding_input::Input};

use crate::prompt::{Weights, weigh};

const PER_REQUEST: u64 = 64;
const PER_MESSAGE: u64 = 16;
const PER_TOOL: u64 = 64;
/// Above the largest published figure for one image.
const PER_IMAGE: u64 = 20_000;
/// What OpenAI's models take for an image of low detail, 85 tokens, as bytes of text.
const LEAST_PER_IMAGE: u64 = 340;
/// A second of sound is at most some dozen tokens and at least two thousand bytes.
const BYTES_PER_AUDIO_TOKEN: u64 = 16;
/// A document that the provider fetches: a full context window of most models.
const PER_REMOTE_FILE: u64 = 200_000;

/// Bytes, and of media the most or the least that they can be.
struct Bytes {
    most: bool,
}

impl Weights for Bytes {
    fn request(&self) -> u64 {
        PER_REQUEST
    }

    fn message(&self) -> u64 {
        PER_MESSAGE
    }

    fn name(&self) -> u64 {
        0
    }

    fn tool(&self) -> u64 {
        PER_TOOL
    }

    fn call(&self) -> u64 {
        PER_MESSAGE
    }

    fn text(&self, text: &str) -> u64 {
        text.len() as u64
    }

    fn aside(&self, text: &str) -> u64 {
        text.len() as u64
    }

    fn image(&self) -> u64 {
        if self.most { PER_IMAGE } else { LEAST_PER_IMAGE }
    }

    fn audio(&self, audio: &AudioPart) -> u64 {
        let most = || audio.data.as_ref().map_or(PER_REMOTE_FILE, |d| d.len() as u64 / BYTES_PER_AUDIO_TOKEN + 64);
        if self.most { most() } else { 0 }
    }

    fn file(&self, file: &FilePart) -> u64 {
        let most = || file.data.as_ref().map_or(PER_REMOTE_FILE, |d| d.len() as u64);
        if self.most { most() } else { 0 }
    }
}

/// The most tokens that the prompt of `request` can be.
pub(crate) fn completion_input(request: &CompletionRequest) -> u64 {
    weigh(request, &Bytes { most: true })
}

/// Bytes of the prompt's text. Media count as little as they can: a refusal must be right.
pub(crate) fn least_input(request: &CompletionRequest) -> u64 {
    weigh(request, &Bytes { most: false })
}

/// The most tokens that the inputs of `request` can be.
pub(crate) fn embedding_input(request: &CreateEmbeddingRequest) -> u64 {
    let inputs = request.inputs.iter().map(|i| match &i.input {
        Some(Input::Text(text)) => text.len() as u64 + PER_MESSAGE,
        Some(Input::Tokens(tokens)) => tokens.ids.len() as u64 + PER_MESSAGE,
        None => 0,
    });
    PER_REQUEST + inputs.sum::<u64>()
}

/// A guess where a provider gave no figure: four bytes a token, never less than one for something.
pub(crate) fn estimate(bytes: u64) -> u64 {
    bytes.div_ceil(4)
}

#[cfg(test)]
mod tests;
