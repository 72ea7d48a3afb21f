//! Answers of providers of other dialects, in OpenAI's words: "Create speech", "Create transcription", "Create image", "Create image edit"
//! and the events of each.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::{Bytes, BytesMut};
use serde_json::{Value, json};
use tollgate_proto::v1::{
    GenerateImageResponse, Started, StreamedImage, Transcript, TranscriptSegment, Usage, generated_image::Image,
};

use super::answer::Told;
use crate::{openai::image, stream::data};

/// What the form of an answer depends on.
pub(super) enum Shape {
    /// Sound, as bytes or in events.
    Sound { in_events: bool },
    /// A transcript or a translation.
    Words { format: String, in_events: bool, to_english: bool },
    /// Images, whole or in events of this name.
    Images { name: &'static str, in_events: bool },
}

impl Shape {
    /// Whether the answer is told in events.
    fn is_in_events(&self) -> bool {
        match self {
            Self::Sound { in_events } | Self::Words { in_events, .. } | Self::Images { in_events, .. } => *in_events,
        }
    }

    /// Whether the answer goes on while it comes.
    fn is_streamed(&self) -> bool {
        matches!(self, Self::Sound { .. }) || self.is_in_events()
    }
}

/// Writes an answer as the caller expects it.
pub(super) enum Writer {
    /// Of OpenAI's dialect: as it came.
    Native,
    /// As it comes.
    Streamed(Events),
    /// In one piece.
    Whole(Box<Whole>),
}

impl Writer {
    /// For an answer in the contract's words.
    pub(super) fn new(shape: Shape, started: &Started) -> Self {
        match shape.is_streamed() {
            true => Self::Streamed(Events::new(shape, started)),
            false => Self::Whole(Box::new(Whole::new(shape, started))),
        }
    }

    /// The media type of what is streamed, where that is not the provider's.
    pub(super) fn content_type(&self) -> Option<&'static str> {
        match self {
            Self::Streamed(events) if events.shape.is_in_events() => Some("text/event-stream; charset=utf-8"),
            _ => None,
        }
    }

    /// What goes out now.
    pub(super) fn told(&mut self, told: Told) -> Bytes {
        match (self, told) {
            (Self::Native, Told::Native(bytes)) => bytes,
            (Self::Native, _) => Bytes::new(),
            (Self::Streamed(events), told) => events.told(told),
            (Self::Whole(whole), told) => {
                whole.told(told);
                Bytes::new()
            }
        }
    }

    /// The body of an answer in one piece, `body` being what went out; and its media type, where that is not the provider's.
    pub(super) fn whole(self, body: Bytes, usage: Option<Usage>) -> (Bytes, Option<&'static str>) {
        match self {
            Self::Native | Self::Streamed(_) => (body, None),
            Self::Whole(whole) => {
                let (body, kind) = whole.written(usage);
                (body, Some(kind))
            }
        }
    }
}

/// Writes the events of an answer. The last one waits for what it cost.
pub(super) struct Events {
    shape: Shape,
    created: i64,
    last: Option<Value>,
}

impl Events {
    fn new(shape: Shape, started: &Started) -> Self {
        Self { shape, created: started.created, last: None }
    }

    /// What goes out now.
    pub(super) fn told(&mut self, told: Told) -> Bytes {
        let mut out = BytesMut::new();
        match told {
            Told::Audio(bytes) => match self.shape.is_in_events() {
                true => self.event(&json!({"type": "speech.audio.delta", "audio": STANDARD.encode(&bytes)}), &mut out),
                false => return bytes,
            },
            Told::Delta(delta) => self.event(&json!({"type": "transcript.text.delta", "delta": delta}), &mut out),
            Told::Transcript(transcript) => {
                if let Shape::Words { format, .. } = &self.shape
                    && format == "diarized_json"
                {
                    for (at, segment) in transcript.segments.iter().enumerate() {
                        self.event(&diarized(at, segment), &mut out);
                    }
                }
                self.last = Some(json!({"type": "transcript.text.done", "text": transcript.text}));
            }
            Told::Image(told) => {
                if let Some(before) = self.last.take() {
                    self.event(&before, &mut out);
                }
                let event = self.image(&told);
                match told.partial_index {
                    Some(_) => self.event(&event, &mut out),
                    None => self.last = Some(event),
                }
            }
            Told::Usage(usage) if self.shape.is_in_events() => {
                let last = self.last.take();
                let (mut event, usage) = match &self.shape {
                    Shape::Sound { .. } => (json!({"type": "speech.audio.done"}), tokens(&usage)),
                    Shape::Words { .. } => (last.unwrap_or(Value::Null), heard(&usage, false)),
                    Shape::Images { .. } => (last.unwrap_or(Value::Null), image::tokens(&usage)),
                };
                if event.is_object() {
                    event["usage"] = usage;
                    self.event(&event, &mut out);
                }
            }
            _ => {}
        }
        out.freeze()
    }

    fn event(&self, event: &Value, out: &mut BytesMut) {
        // As OpenAI does: those of images have names, the others have none.
        if let Shape::Images { .. } = self.shape {
            out.extend_from_slice(format!("event: {}\n", event["type"].as_str().unwrap_or_default()).as_bytes());
        }
        data(event.to_string().as_bytes(), out);
    }

    fn image(&self, told: &StreamedImage) -> Value {
        let Shape::Images { name, .. } = &self.shape else { return Value::Null };
        let kind = if told.partial_index.is_some() { "partial_image" } else { "completed" };
        let mut event = json!({"type": format!("{name}.{kind}"), "created_at": self.created});
        match told.image.as_ref().and_then(|image| image.image.as_ref()) {
            Some(Image::Data(bytes)) => event["b64_json"] = json!(STANDARD.encode(bytes)),
            Some(Image::Url(url)) => event["url"] = json!(url),
            None => {}
        }
        if let Some(index) = told.partial_index {
            event["partial_image_index"] = json!(index);
        }
        let words = [
            ("size", &told.size),
            ("quality", &told.quality),
            ("background", &told.background),
            ("output_format", &told.output_format),
        ];
        for (name, word) in words.into_iter().filter(|(_, word)| !word.is_empty()) {
            event[name] = json!(word);
        }
        event
    }
}

/// An answer in one piece, as far as it came.
pub(super) struct Whole {
    shape: Shape,
    transcript: Transcript,
    images: GenerateImageResponse,
}

impl Whole {
    pub(super) fn new(shape: Shape, started: &Started) -> Self {
        let images = GenerateImageResponse { started: Some(started.clone()), ..GenerateImageResponse::default() };
        Self { shape, transcript: Transcript::default(), images }
    }

    pub(super) fn told(&mut self, told: Told) {
        match told {
            Told::Transcript(transcript) => self.transcript = transcript,
            Told::Image(told) if told.partial_index.is_none() => {
                let all = &mut self.images;
                all.images.extend(told.image);
                (all.size, all.quality) = (told.size, told.quality);
                (all.background, all.output_format) = (told.background, told.output_format);
            }
            _ => {}
        }
    }

    /// The body, and its media type.
    pub(super) fn written(mut self, usage: Option<Usage>) -> (Bytes, &'static str) {
        const TEXT: &str = "text/plain; charset=utf-8";
        const JSON: &str = "application/json";
        let Shape::Words { format, to_english, .. } = &self.shape else {
            self.images.usage = usage;
            return (image::answer(&self.images).into(), JSON);
        };
        let usage = usage.unwrap_or_default();
        let Transcript { text, language, duration_ms, segments, words, .. } = &self.transcript;
        let seconds = |ms: u64| json!(ms as f64 / 1_000.0);
        let duration = duration_ms.or(usage.audio_ms);
        let mut body = json!({"text": text});
        match format.as_str() {
            "text" => return (format!("{text}\n").into(), TEXT),
            "srt" | "vtt" => return (text.clone().into(), TEXT),
            "verbose_json" => {
                body["task"] = json!(if *to_english { "translate" } else { "transcribe" });
                body["language"] = json!(language);
                body["duration"] = duration.map_or(Value::Null, seconds);
                let segment = |(at, told): (usize, &TranscriptSegment)| json!({"id": at, "start": seconds(told.start_ms), "end": seconds(told.end_ms), "text": told.text});
                body["segments"] = segments.iter().enumerate().map(segment).collect();
                if !words.is_empty() {
                    let word = |told: &tollgate_proto::v1::TranscriptWord| json!({"start": seconds(told.start_ms), "end": seconds(told.end_ms), "word": told.word});
                    body["words"] = words.iter().map(word).collect();
                }
                body["usage"] = heard(&usage, true);
            }
            "diarized_json" => {
                body["task"] = json!("transcribe");
                body["duration"] = duration.map_or(Value::Null, seconds);
                body["segments"] = segments.iter().enumerate().map(|(at, told)| diarized(at, told)).collect();
                body["usage"] = heard(&usage, false);
            }
            _ => body["usage"] = heard(&usage, false),
        }
        (body.to_string().into(), JSON)
    }
}

fn diarized(at: usize, told: &TranscriptSegment) -> Value {
    json!({
        "type": "transcript.text.segment", "id": format!("seg_{at}"), "start": told.start_ms as f64 / 1_000.0,
        "end": told.end_ms as f64 / 1_000.0, "text": told.text, "speaker": told.speaker,
    })
}

fn tokens(usage: &Usage) -> Value {
    let (read, written) = (usage.input.unwrap_or_default().total, usage.output.unwrap_or_default().total);
    json!({"input_tokens": read, "output_tokens": written, "total_tokens": read + written})
}

/// By the time of what was heard where that is told and asked for, or nothing else is; by tokens else.
fn heard(usage: &Usage, by_time: bool) -> Value {
    let input = usage.input.unwrap_or_default();
    match usage.audio_ms.filter(|_| by_time || input.total == 0) {
        Some(ms) => json!({"type": "duration", "seconds": ms as f64 / 1_000.0}),
        None => {
            let mut told = tokens(usage);
            told["type"] = json!("tokens");
            told["input_token_details"] =
                json!({"text_tokens": input.total.saturating_sub(input.audio), "audio_tokens": input.audio});
            told
        }
    }
}
