//! Sound and images: answers that come as bytes or events, and questions that come with files.

use bytes::Bytes;
use http::HeaderValue;
use tollgate_domain::Failure;
use tollgate_proto::v1::{
    CreateSpeechRequest, EditImageHead, GenerateImageRequest, StreamedImage, Transcript, TranscriptionHead, Usage,
};

use crate::{Head, Target, upload::Upload};

/// What is asked of a provider that makes or reads sound or images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaKind {
    /// A text is spoken.
    Speech,
    /// A recording is written down, or translated.
    Transcription,
    /// Images are made, and told while they are.
    ImageStream,
    /// Images are made of images.
    ImageEdit,
}

/// The request.
#[derive(Clone, Copy, Debug)]
pub enum MediaAsk<'a> {
    /// A text to speak.
    Speech(&'a CreateSpeechRequest),
    /// A recording to write down.
    Transcription(&'a TranscriptionHead),
    /// Images to make.
    ImageStream(&'a GenerateImageRequest),
    /// Images to make of images.
    ImageEdit(&'a EditImageHead),
}

impl MediaAsk<'_> {
    /// What it asks.
    pub fn kind(&self) -> MediaKind {
        match self {
            Self::Speech(_) => MediaKind::Speech,
            Self::Transcription(_) => MediaKind::Transcription,
            Self::ImageStream(_) => MediaKind::ImageStream,
            Self::ImageEdit(_) => MediaKind::ImageEdit,
        }
    }
}

/// One attempt at one deployment.
pub struct MediaCall<'a> {
    /// The request.
    pub ask: MediaAsk<'a>,
    /// Its files.
    pub upload: Option<&'a Upload>,
    /// Whether the answer's own bytes are wanted, in place of what they say.
    pub want_native: bool,
    /// Our id of the attempt.
    pub attempt_id: &'a str,
    /// The trace that it belongs to, as `traceparent` says it; `None`: the provider is told of none.
    pub traceparent: Option<&'a HeaderValue>,
}

/// A request ready to be sent, but for its files.
pub struct MediaOutgoing {
    /// Method, URI, headers, and the body of what is no form.
    pub request: http::Request<Bytes>,
    /// The fields of a form: the files follow them.
    pub fields: Option<Vec<(String, String)>>,
}

/// What an answer says.
#[derive(Clone, Debug)]
pub enum MediaEvent {
    /// The next bytes of the answer, as they came.
    Native(Bytes),
    /// The next bytes of sound.
    Audio(Bytes),
    /// The next words.
    Delta(String),
    /// The whole transcript.
    Transcript(Transcript),
    /// An image, or what is there of it.
    Image(StreamedImage),
    /// What it consumed, by the provider's own figures.
    Usage(Usage),
}

/// Sound and images, as a provider speaks of them.
pub trait Media: Send + Sync {
    /// Writes the request. Fails with `InvalidRequest` naming the field when the dialect cannot say what was asked.
    fn request(&self, target: &Target, call: &MediaCall<'_>) -> Result<MediaOutgoing, Failure>;

    /// Reads the answer that `head` begins.
    fn decoder(&self, call: &MediaCall<'_>, head: &Head) -> Box<dyn MediaDecoder>;
}

/// Turns an answer's bytes, cut anywhere, into events.
pub trait MediaDecoder: Send {
    /// Takes the next bytes and appends the events that they complete.
    fn feed(&mut self, bytes: &Bytes, events: &mut Vec<MediaEvent>) -> Result<(), Failure>;

    /// The body has ended. Fails with `UpstreamTruncated` when the answer had not.
    fn end(&mut self, events: &mut Vec<MediaEvent>) -> Result<(), Failure>;
}
