//! Sound and images by `generateContent`: there is no operation for either, only an answer that is asked to be one.
//!
//! Provider pages: "Speech generation", "Audio understanding" and "Image generation" of the Gemini API's guides. Models that are called by
//! `:predict` (Imagen) are not among them: they are paid by the image.

mod draw;
mod hear;
mod speak;

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::{Bytes, BytesMut};
use serde::Deserialize;
use tollgate_domain::{Class, Failure};
use tollgate_proto::{
    operation::Images,
    v1::{
        CompletionEvent, FinishReason, Finished, GenerateImageResponse, GeneratedImage, StreamedImage, Transcript,
        Usage, completion_event::Event, delta::Piece, generated_image::Image,
    },
};

use super::{decode::ContentDecoder, method};
use crate::{
    Decoder, Mode, Target, UnaryCall, Written,
    json::{Object, array},
    left_out::LeftOut,
    media::{HeldFile, MediaAsk, MediaCall, MediaDecoder, MediaEvent, MediaOutgoing, sound_type},
};

/// The most bytes of files in a call: the whole request may have 20 MB, and base64 makes four of three.
pub(super) const MOST_BYTES: usize = 14 << 20;

/// Writes the request; `post` knows where a method of the model is.
pub(super) fn request(
    target: &Target,
    call: &MediaCall<'_>,
    post: impl FnOnce(&str, Vec<u8>) -> Result<http::Request<Bytes>, Failure>,
) -> Result<MediaOutgoing, Failure> {
    let mut left_out = LeftOut::default();
    let mut mode = Mode::Whole;
    let body = match call.ask {
        MediaAsk::Speech(request) => speak::body(request, &mut left_out)?,
        MediaAsk::Transcription(head) => {
            let head = crate::media::asked_of_recording(head, call.upload)?;
            if head.stream == Some(true) {
                mode = Mode::Stream;
            }
            hear::body(&target.model, &head, call, &mut left_out)?
        }
        MediaAsk::ImageStream(request) => draw::body(&target.model, &draw::Wish::of(request), &[], &mut left_out)?,
        MediaAsk::ImageEdit(head) => draw::body(&target.model, &draw::Wish::of_edit(head), call.held, &mut left_out)?,
    };
    Ok(MediaOutgoing::foreign(post(method(mode), body.finish().into_bytes())?, None, left_out))
}

/// Images in one answer.
pub(super) fn images(target: &Target, call: &UnaryCall<'_, Images>) -> Result<Written, Failure> {
    let mut left_out = LeftOut::default();
    let body = draw::body(&target.model, &draw::Wish::of(call.request), &[], &mut left_out)?;
    Ok(left_out.of(&body))
}

/// Reads images in one answer.
pub(super) fn drawn(body: &Bytes) -> Result<GenerateImageResponse, Failure> {
    let mut reader = Reader::new(Making::Image, Mode::Whole);
    let mut events = Vec::new();
    reader.feed(body, &mut events)?;
    reader.end(&mut events)?;
    let mut response = GenerateImageResponse::default();
    for event in events {
        match event {
            MediaEvent::Image(told) => {
                response.images.extend(told.image);
                response.output_format = told.output_format;
            }
            MediaEvent::Usage(usage) => response.usage = Some(usage),
            _ => {}
        }
    }
    Ok(response)
}

/// A turn of the user's.
fn contents(parts: &[String]) -> String {
    let mut turn = Object::default();
    turn.field("role", "user").raw("parts", &array(parts));
    array(&[turn.finish()])
}

fn text_part(text: &str) -> String {
    let mut part = Object::default();
    part.field("text", text);
    part.finish()
}

/// A file by value; what is not said of it its name tells.
fn file_part(held: &HeldFile, usual: &str) -> String {
    let told = Some(held.file.content_type.as_str()).filter(|told| !matches!(*told, "" | "application/octet-stream"));
    let media_type = told.or_else(|| super::media::media_type_of(&held.file.filename)).unwrap_or(usual);
    super::media::inline(media_type, &held.bytes).finish()
}

/// What an answer is asked to be.
enum Making {
    /// Sound: all of it, since its head says how long it is. Whether it gets one, and its samples so far.
    Sound {
        is_file: bool,
        rate: u32,
        samples: BytesMut,
    },
    /// Words, and those that came so far.
    Words {
        text: String,
        is_streamed: bool,
    },
    Image,
}

/// Reads an answer.
pub(super) struct Reader {
    making: Making,
    decoder: ContentDecoder,
    finished: Option<Finished>,
    has_content: bool,
    usage: Option<Usage>,
}

/// Reads the answer to `call`.
pub(super) fn reader(call: &MediaCall<'_>) -> Reader {
    match call.ask {
        MediaAsk::Speech(request) => {
            let is_file = request.response_format.as_deref() != Some("pcm");
            Reader::new(Making::Sound { is_file, rate: speak::RATE, samples: BytesMut::new() }, Mode::Whole)
        }
        MediaAsk::Transcription(head) => {
            let asked = crate::media::asked_of_recording(head, call.upload);
            let is_streamed = asked.as_ref().unwrap_or(head).stream == Some(true);
            let mode = if is_streamed { Mode::Stream } else { Mode::Whole };
            Reader::new(Making::Words { text: String::new(), is_streamed }, mode)
        }
        MediaAsk::ImageStream(_) | MediaAsk::ImageEdit(_) => Reader::new(Making::Image, Mode::Whole),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct InlinePart<'a> {
    #[serde(borrow)]
    inline_data: Option<InlineData<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct InlineData<'a> {
    mime_type: Option<String>,
    /// Base64 needs no escapes; a server that writes some is read all the same.
    #[serde(borrow)]
    data: std::borrow::Cow<'a, str>,
}

impl Reader {
    fn new(making: Making, mode: Mode) -> Self {
        Self { making, decoder: ContentDecoder::new(mode), finished: None, has_content: false, usage: None }
    }

    fn take(&mut self, events: Vec<CompletionEvent>, out: &mut Vec<MediaEvent>) -> Result<(), Failure> {
        for event in events {
            match event.event {
                Some(Event::Delta(delta)) if delta.choice == 0 => match (delta.piece, &mut self.making) {
                    (Some(Piece::Text(words)), Making::Words { text, is_streamed }) => {
                        self.has_content = true;
                        text.push_str(&words);
                        out.extend(is_streamed.then_some(MediaEvent::Delta(words)));
                    }
                    (Some(Piece::OpaqueJson(json)), Making::Sound { .. } | Making::Image) => self.data(&json, out)?,
                    _ => {}
                },
                Some(Event::Finished(finished)) if finished.choice == 0 => self.finished = Some(finished),
                Some(Event::Usage(usage)) => self.usage = Some(usage),
                _ => {}
            }
        }
        Ok(())
    }

    fn data(&mut self, json: &str, out: &mut Vec<MediaEvent>) -> Result<(), Failure> {
        let part: InlinePart<'_> = serde_json::from_str(json).map_err(|error| broken(&error.to_string()))?;
        let Some(InlineData { mime_type, data }) = part.inline_data else { return Ok(()) };
        let bytes = STANDARD.decode(&*data).map_err(|error| broken(&error.to_string()))?;
        let kind = mime_type.unwrap_or_default();
        self.has_content = true;
        match &mut self.making {
            Making::Sound { rate, samples, .. } => {
                *rate = speak::rate_of(&kind).ok_or_else(|| broken(&format!("its sound is {kind:?}")))?;
                samples.extend_from_slice(&bytes);
            }
            Making::Image => {
                let image = GeneratedImage { image: Some(Image::Data(bytes.into())), revised_prompt: None };
                let output_format = kind.strip_prefix("image/").unwrap_or_default().to_owned();
                let told = StreamedImage { image: Some(image), output_format, ..StreamedImage::default() };
                out.push(MediaEvent::Image(told));
            }
            Making::Words { .. } => {}
        }
        Ok(())
    }

    /// Why what came is not what was asked for.
    fn failure(&self) -> Option<Failure> {
        let finished = self.finished.clone().unwrap_or_default();
        let reason = finished.native_reason.clone();
        let failed = |class: Class, what: &str| {
            let failure = Failure::new(class, format!("{what} ({reason})"));
            Failure { native_code: reason.clone(), usage: self.usage.clone(), may_be_billed: true, ..failure }
        };
        match finished.reason() {
            FinishReason::ContentFilter => {
                Some(failed(Class::ContentFilter, "the provider's filter held the answer back"))
            }
            FinishReason::Length => Some(failed(Class::UpstreamTruncated, "the answer was cut at its limit")),
            FinishReason::Error => Some(failed(Class::ServerError, "the model's answer is not usable")),
            _ if !self.has_content && !matches!(self.making, Making::Words { .. }) => {
                Some(failed(Class::ServerError, "the model answered without what it was asked to make"))
            }
            _ => None,
        }
    }
}

fn broken(what: &str) -> Failure {
    Failure::new(Class::UpstreamProtocol, format!("the answer cannot be read: {what}"))
}

impl MediaDecoder for Reader {
    fn content_type(&self) -> Option<&'static str> {
        match &self.making {
            Making::Sound { is_file, .. } => Some(sound_type(if *is_file { "wav" } else { "pcm" })),
            _ => None,
        }
    }

    fn feed(&mut self, bytes: &Bytes, out: &mut Vec<MediaEvent>) -> Result<(), Failure> {
        let mut events = Vec::new();
        let fed = self.decoder.feed(bytes, &mut events);
        self.take(events, out).and(fed)
    }

    fn end(&mut self, out: &mut Vec<MediaEvent>) -> Result<(), Failure> {
        let mut events = Vec::new();
        let ended = self.decoder.end(&mut events);
        self.take(events, out).and(ended)?;
        if let Some(failure) = self.failure() {
            return Err(failure);
        }
        match &mut self.making {
            Making::Sound { is_file, rate, samples } => {
                let samples = std::mem::take(samples).freeze();
                let sound = if *is_file { speak::wave(*rate, &samples) } else { samples };
                crate::media::spoken(sound, out);
            }
            Making::Words { text, .. } => {
                let text = std::mem::take(text).trim_end_matches('\n').to_owned();
                out.push(MediaEvent::Transcript(Transcript { text, ..Transcript::default() }));
            }
            Making::Image => {}
        }
        out.extend(self.usage.take().map(MediaEvent::Usage));
        Ok(())
    }
}
