//! Sound and images: answers that come as bytes or events, and questions that come with files.

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use http::HeaderValue;
use tollgate_domain::{Class, Failure};
use tollgate_proto::v1::{
    CreateSpeechRequest, EditImageHead, GenerateImageRequest, StreamedImage, Transcript, TranscriptionHead, UploadFile,
    Usage,
};

use crate::{
    Head, Target, Unsupported,
    left_out::LeftOut,
    provider::invalid,
    upload::{Part, Upload},
};

/// What is asked of a provider that makes or reads sound or images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaKind {
    /// A text is spoken.
    Speech,
    /// A recording is written down in its own language.
    Transcription,
    /// A recording is written down in English.
    Translation,
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
    /// A recording to write down, or to translate.
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
            Self::Transcription(head) if head.to_english => MediaKind::Translation,
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
    /// Its files as a whole, for those who [hold](Media::holds) them.
    pub held: &'a [HeldFile],
    /// Whether the answer's own bytes are wanted, in place of what they say.
    pub want_native: bool,
    /// Leave out what the provider cannot heed, instead of refusing the call.
    pub drop_params: bool,
    /// The most tokens that the answer can have: money is held for so many.
    pub output_cap: Option<u64>,
    /// Our id of the attempt.
    pub attempt_id: &'a str,
    /// The trace that it belongs to, as `traceparent` says it; `None`: the provider is told of none.
    pub traceparent: Option<&'a HeaderValue>,
}

/// A file of a call, and its bytes.
pub struct HeldFile {
    /// What it is called, and which field it is of.
    pub file: UploadFile,
    /// Its bytes.
    pub bytes: BytesMut,
}

impl HeldFile {
    /// All files of an upload, which have at most so many bytes together.
    pub(crate) async fn all(upload: &Upload, most: usize) -> Result<Vec<Self>, Failure> {
        let mut parts = std::pin::pin!(upload.read());
        let mut held: Vec<Self> = Vec::new();
        let mut taken = 0;
        while let Some(part) = parts.next().await {
            match part.map_err(|error| Failure::new(Class::InvalidRequest, error.message))? {
                Part::File(file) => held.push(Self { file, bytes: BytesMut::new() }),
                Part::Data(bytes) => {
                    taken += bytes.len();
                    if taken > most {
                        let message = format!("this provider takes files of at most {most} bytes in a call");
                        return Err(Failure::new(Class::RequestTooLarge, message));
                    }
                    if let Some(last) = held.last_mut() {
                        last.bytes.extend_from_slice(&bytes);
                    }
                }
                Part::Field(_) => {}
            }
        }
        Ok(held)
    }
}

/// A request ready to be sent, but for its files.
pub struct MediaOutgoing {
    /// Method, URI, headers, and the body of what is no form.
    pub request: http::Request<Bytes>,
    /// The form that the files are sent in.
    pub form: Option<MediaForm>,
    /// Parameters of the call that the provider cannot heed, left out of the request: the call is refused unless it may go without.
    pub unsupported: Vec<Unsupported>,
    /// What was left out without harm to the answer.
    pub dropped: Vec<String>,
}

/// A form but for its files.
pub struct MediaForm {
    /// Its fields: the files follow them.
    pub fields: Vec<(String, String)>,
    /// Whether fields that the caller sent behind the files are passed on in their place. Those who ask in words of their own cannot.
    pub takes_late_fields: bool,
}

impl MediaOutgoing {
    /// In the caller's own words: as it is, with its files in a form where there are fields for one.
    pub(crate) fn same(request: http::Request<Bytes>, fields: Option<Vec<(String, String)>>) -> Self {
        let form = fields.map(|fields| MediaForm { fields, takes_late_fields: true });
        Self { request, form, unsupported: Vec::new(), dropped: Vec::new() }
    }

    /// In the provider's words, without what these cannot say.
    pub(crate) fn foreign(
        request: http::Request<Bytes>,
        fields: Option<Vec<(String, String)>>,
        left_out: LeftOut,
    ) -> Self {
        let form = fields.map(|fields| MediaForm { fields, takes_late_fields: false });
        let (unsupported, dropped) = left_out.told();
        Self { request, form, unsupported, dropped }
    }
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
    /// The most bytes of files that it must be given as a whole; `None`: they go on as they come.
    fn holds(&self) -> Option<usize> {
        None
    }

    /// Writes the request. Fails with `InvalidRequest` naming the field when the dialect cannot say what was asked.
    fn request(&self, target: &Target, call: &MediaCall<'_>) -> Result<MediaOutgoing, Failure>;

    /// Reads the answer that `head` begins.
    fn decoder(&self, call: &MediaCall<'_>, head: &Head) -> Box<dyn MediaDecoder>;
}

/// Turns an answer's bytes, cut anywhere, into events.
pub trait MediaDecoder: Send {
    /// The media type of the sound that it tells, where it is not that of the answer.
    fn content_type(&self) -> Option<&'static str> {
        None
    }

    /// Takes the next bytes and appends the events that they complete.
    fn feed(&mut self, bytes: &Bytes, events: &mut Vec<MediaEvent>) -> Result<(), Failure>;

    /// The body has ended. Fails with `UpstreamTruncated` when the answer had not.
    fn end(&mut self, events: &mut Vec<MediaEvent>) -> Result<(), Failure>;

    /// Whether the answer's own end has come: what follows is read briefly, and what is wrong with it harms nothing. Raw sound and texts do
    /// not say where they end.
    fn done(&self) -> bool {
        false
    }
}

/// What is asked of a recording, wherever in the form it stood: for those who ask it in words of their own.
pub(crate) fn asked_of_recording(
    head: &TranscriptionHead,
    upload: Option<&Upload>,
) -> Result<TranscriptionHead, Failure> {
    let mut asked = head.clone();
    for field in upload.map(Upload::late_fields).unwrap_or_default() {
        let text = field.value.trim();
        match field.name.as_str() {
            "language" => asked.language = Some(field.value),
            "prompt" => asked.prompt = Some(field.value),
            "response_format" => asked.response_format = Some(field.value),
            "temperature" => {
                asked.temperature = Some(text.parse().map_err(|_| invalid("temperature", "must be a number"))?);
            }
            "stream" => {
                let told = text.to_ascii_lowercase().parse();
                asked.stream = Some(told.map_err(|_| invalid("stream", "must be true or false"))?);
            }
            _ => asked.fields.push(field),
        }
    }
    Ok(asked)
}

/// The media type of sound in a format, as OpenAI names it.
pub(crate) fn sound_type(format: &str) -> &'static str {
    match format {
        "wav" => "audio/wav",
        "pcm" => "audio/pcm",
        "flac" => "audio/flac",
        "opus" => "audio/ogg",
        _ => "audio/mpeg",
    }
}

/// Sound that came in one piece, in pieces that any client takes as a message.
pub(crate) fn spoken(mut sound: Bytes, out: &mut Vec<MediaEvent>) {
    const PIECE: usize = 64 << 10;
    while !sound.is_empty() {
        out.push(MediaEvent::Audio(sound.split_to(sound.len().min(PIECE))));
    }
}
