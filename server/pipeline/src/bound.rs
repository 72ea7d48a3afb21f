//! The most that a request can cost in tokens, proven from its bytes.
//!
//! A byte-level BPE token covers at least one byte, so the number of bytes bounds the number of tokens; templates add a few tokens
//! per message, tool and part. Images and sound have no such law: the figures here lie above those that
//! providers publish. Rankings are billed by queries: Cohere's pricing page counts them in search units.

use tollgate_proto::v1::{
    AudioPart, CompletionRequest, CreateEmbeddingRequest, EmbeddingInput, FilePart, ModerationInput, RerankRequest,
    embedding_input::Input, moderation_input::Input as Judged,
};

use crate::{
    call::Request,
    prompt::{Weights, weigh},
};

/// OpenAI publishes up to 4,160 tokens (gpt-image-1) and 0.211 dollars at 30 a million (gpt-image-2) for 1024x1024 at high quality, which
/// is a token for every 149 pixels.
const PIXELS_PER_TOKEN: u64 = 128;
/// Smaller images are not cheaper.
const LEAST_DRAWN: u64 = 1_024 * 1_024;
/// The largest size that a model is known to choose by itself.
const LARGEST_CHOSEN: (u64, u64) = (1_536, 1_024);
/// At most three sketches of an image, of a hundred tokens each.
const SKETCHES: u64 = 300;
/// Images of an edit: sixteen, and a mask.
pub const MOST_IMAGES: u64 = 17;
/// Cohere bills a query for every hundred documents.
const PER_SEARCH_UNIT: u64 = 100;
/// A document of more tokens, the query among them, is billed as several.
const PER_PIECE: u64 = 500;
/// Documents are cut after so many tokens, unless the request says otherwise.
const PER_DOCUMENT: u64 = 4_096;
/// Sound that is said to a model: OpenAI's estimate of 0.006 dollars a minute at 2.50 dollars a million (gpt-4o-transcribe) is 40 tokens a
/// second at most.
pub(crate) const HEARD_PER_SECOND: u64 = 40;
/// Recordings are taken to have at least so many bytes a second, sixteen kilobits: what is denser is charged as the provider says.
const LEAST_BYTES_PER_SECOND: u64 = 2_000;
/// Where nobody tells how long a recording was: sixty-four kilobits a second.
const USUAL_BYTES_PER_SECOND: u64 = 8_000;
/// The most that a byte of text is spoken in: OpenAI's estimate of 0.015 dollars a minute at 12 dollars a million (gpt-4o-mini-tts) is 21
/// tokens a second, in which slow speech has five letters.
const SPOKEN_PER_BYTE: u64 = 4;
const PER_REQUEST: u64 = 64;
const PER_MESSAGE: u64 = 16;
/// A tool, and what some providers tell the model of tools at all: Anthropic publishes up to some 350 tokens.
const PER_TOOL: u64 = 512;
/// Above the largest published figure for one image: gpt-4o-mini's of high detail, 2,833 tokens and 5,667 for each of up to eight tiles.
const PER_IMAGE: u64 = 50_000;
/// What OpenAI's models take for an image of low detail, 85 tokens, as bytes of text.
const LEAST_PER_IMAGE: u64 = 340;
/// A second of sound is at most some dozen tokens and at least two thousand bytes.
const BYTES_PER_AUDIO_TOKEN: u64 = 16;
/// A document that the provider fetches, or that is compressed: a full context window of most models.
const PER_REMOTE_FILE: u64 = 200_000;

/// The most that a request can consume.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Most {
    /// Tokens of what is read.
    pub(crate) input: u64,
    /// Tokens of each choice, where the request says; 0: nothing is written.
    pub(crate) output: Option<u64>,
    /// Choices.
    pub(crate) choices: u64,
    /// Queries of a ranking.
    pub(crate) queries: u64,
    /// Milliseconds of sound that is listened to.
    pub(crate) audio_ms: u64,
    /// Characters that are spoken.
    pub(crate) characters: u64,
}

impl Most {
    /// Of what writes nothing.
    fn read(input: u64) -> Self {
        Self { input, output: Some(0), choices: 1, queries: 0, audio_ms: 0, characters: 0 }
    }
}

/// The most that `request` can consume.
pub(crate) fn most(request: &Request) -> Most {
    let count = |n: i64| u64::try_from(n).ok();
    match request {
        Request::Completion(request, _) => Most {
            input: completion_input(request),
            output: request.max_output_tokens.and_then(count),
            choices: request.n.and_then(count).unwrap_or(1),
            ..Most::read(0)
        },
        Request::Embedding(request) => Most::read(embedding_input(request)),
        Request::Moderation(request) => {
            let inputs: u64 = request.inputs.iter().map(judged).sum();
            Most::read(PER_REQUEST + inputs + request.extra_json.len() as u64)
        }
        Request::Image(request) => Most {
            input: PER_REQUEST + (request.prompt().len() + request.extra_json.len()) as u64,
            output: Some(drawn(request.size())),
            choices: request.n.and_then(count).unwrap_or(1),
            ..Most::read(0)
        },
        Request::ImageStream(request) => Most {
            input: PER_REQUEST + (request.prompt().len() + request.extra_json.len()) as u64,
            // Each sketch is billed besides: OpenAI's guide says a hundred tokens.
            output: Some(drawn(request.size()) + SKETCHES),
            choices: request.n.and_then(count).unwrap_or(1),
            ..Most::read(0)
        },
        Request::ImageEdit(head) => {
            let fields: usize = head.fields.iter().map(|field| field.value.len()).sum();
            let images = head.images.and_then(count).unwrap_or(MOST_IMAGES).clamp(1, MOST_IMAGES);
            Most {
                input: PER_REQUEST + (head.prompt().len() + fields) as u64 + images * PER_IMAGE,
                output: Some(drawn(head.size()) + SKETCHES),
                choices: head.n.and_then(count).unwrap_or(1),
                ..Most::read(0)
            }
        }
        Request::Speech(request) => {
            let said = request.input().len() as u64;
            Most {
                input: PER_REQUEST + said + (request.instructions().len() + request.extra_json.len()) as u64,
                output: Some(PER_REQUEST + said * SPOKEN_PER_BYTE),
                characters: request.input().chars().count() as u64,
                ..Most::read(0)
            }
        }
        Request::Transcription(head) => {
            let bytes = head.upload_bytes.and_then(count).unwrap_or(0);
            let audio_ms = bytes.saturating_mul(1_000) / LEAST_BYTES_PER_SECOND + 1_000;
            let heard = audio_ms.div_ceil(1_000) * HEARD_PER_SECOND;
            Most {
                input: PER_REQUEST + head.prompt().len() as u64 + heard,
                // Nobody says more than is heard.
                output: Some(heard),
                audio_ms,
                ..Most::read(0)
            }
        }
        Request::Rerank(request) => {
            let pieces = pieces(request);
            let input = PER_REQUEST + pieces.read + request.extra_json.len() as u64;
            Most { queries: pieces.count.div_ceil(PER_SEARCH_UNIT).max(1), ..Most::read(input) }
        }
    }
}

/// The most tokens of what must fit a model's window together: inputs that are read one by one have it to themselves.
pub(crate) fn longest(request: &Request) -> u64 {
    match request {
        Request::Completion(request, _) => completion_input(request),
        Request::Embedding(request) => request.inputs.iter().map(embedded).max().unwrap_or(0),
        Request::Moderation(request) => request.inputs.iter().map(judged).max().unwrap_or(0),
        Request::Image(request) | Request::ImageStream(request) => request.prompt().len() as u64,
        Request::ImageEdit(head) => head.prompt().len() as u64,
        Request::Speech(request) => request.input().len() as u64,
        // How much a recording says is not known before.
        Request::Transcription(_) => 0,
        // Documents that are too long are cut, or read in pieces.
        Request::Rerank(request) => request.query().len() as u64,
    }
}

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
        // What is compressed holds more text than it has bytes, and a page of it may be read as an image besides.
        let is_plain = file.media_type().starts_with("text/") || file.media_type() == "application/json";
        let least = if is_plain { 0 } else { PER_REMOTE_FILE };
        let most = || file.data.as_ref().map_or(PER_REMOTE_FILE, |d| (d.len() as u64).max(least));
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
fn embedding_input(request: &CreateEmbeddingRequest) -> u64 {
    PER_REQUEST + request.inputs.iter().map(embedded).sum::<u64>()
}

fn embedded(input: &EmbeddingInput) -> u64 {
    match &input.input {
        Some(Input::Text(text)) => text.len() as u64 + PER_MESSAGE,
        Some(Input::Tokens(tokens)) => tokens.ids.len() as u64 + PER_MESSAGE,
        None => 0,
    }
}

fn judged(input: &ModerationInput) -> u64 {
    match &input.input {
        Some(Judged::Text(text)) => text.len() as u64 + PER_MESSAGE,
        Some(Judged::ImageUrl(_)) => PER_IMAGE,
        None => 0,
    }
}

/// The most tokens that an image of this size is, at any quality. What is no size in pixels is as large as what models choose
/// themselves.
fn drawn(size: &str) -> u64 {
    let side = |text: &str| text.parse::<u64>().ok();
    let sides = size.split_once('x').and_then(|(width, height)| Some((side(width)?, side(height)?)));
    let (width, height) = sides.unwrap_or(LARGEST_CHOSEN);
    width.saturating_mul(height).max(LEAST_DRAWN).div_ceil(PIXELS_PER_TOKEN)
}

/// What a ranking is billed by.
struct Pieces {
    count: u64,
    /// Tokens, the query read with each.
    read: u64,
}

/// The most pieces that the documents of `request` can be.
fn pieces(request: &RerankRequest) -> Pieces {
    let cut = request.max_tokens_per_document.and_then(|n| u64::try_from(n).ok()).unwrap_or(PER_DOCUMENT);
    let query = request.query().len() as u64;
    // Of a piece that the query fills, a fourth is left to the document.
    let room = PER_PIECE.saturating_sub(query).max(PER_PIECE / 4);
    let mut pieces = Pieces { count: 0, read: 0 };
    for document in &request.documents {
        let bytes = document.len() as u64;
        let count = bytes.min(cut).div_ceil(room).max(1);
        pieces.count += count;
        pieces.read += bytes + count * (query + PER_MESSAGE);
    }
    pieces
}

/// How long a recording of so many bytes is likely to be, in milliseconds.
pub(crate) fn likely_ms(bytes: u64) -> u64 {
    bytes.saturating_mul(1_000).div_ceil(USUAL_BYTES_PER_SECOND)
}

/// A guess where a provider gave no figure: four bytes a token, never less than one for something.
pub(crate) fn estimate(bytes: u64) -> u64 {
    bytes.div_ceil(4)
}

#[cfg(test)]
mod tests;
