//! Transcripts: "Audio transcriptions" of Mistral's API reference, whole and streamed (Voxtral).
//!
//! The form is like OpenAI's, with other words in it: times and speakers are asked for by themselves and not by a format, so that formats
//! are written here.

use bytes::Bytes;
use http::header;
use serde::Deserialize;
use serde_json::value::RawValue;
use tollgate_domain::{Class, Failure};
use tollgate_proto::v1::{
    InputUsage, OutputUsage, Transcript, TranscriptSegment, TranscriptWord, TranscriptionHead, Usage,
};

use super::answer::{Answer, Ended};
use crate::{
    Head, Target,
    framing::{ended_early, sse::SseEvent},
    left_out::LeftOut,
    media::{MediaAsk, MediaCall, MediaDecoder, MediaEvent, MediaOutgoing, asked_of_recording},
    provider::cannot,
    refusal, subtitles,
};

/// What may be asked for in Mistral's own words.
const OWN: [&str; 2] = ["context_bias", "diarize"];

/// What times are asked of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Times {
    Segments,
    Words,
    Untold,
}

/// What is asked besides the words.
struct Wish {
    format: String,
    times: Times,
    is_streamed: bool,
}

impl Wish {
    fn of(head: &TranscriptionHead) -> Self {
        let format = head.response_format.clone().unwrap_or_default();
        let words = granularities(head).any(|value| value == "word");
        let times = match format.as_str() {
            "verbose_json" if words => Times::Words,
            "verbose_json" | "diarized_json" | "srt" | "vtt" => Times::Segments,
            _ => Times::Untold,
        };
        // A file of subtitles is written when all of them are there.
        let is_streamed = head.stream == Some(true) && !matches!(format.as_str(), "srt" | "vtt");
        Self { format, times, is_streamed }
    }
}

/// The fields of a list, however its name is spelled.
fn listed<'a>(head: &'a TranscriptionHead, list: &'static str) -> impl Iterator<Item = &'a str> {
    let fields = head.fields.iter().filter(move |field| field.name.trim_end_matches("[]") == list);
    fields.map(|field| field.value.as_str())
}

fn granularities(head: &TranscriptionHead) -> impl Iterator<Item = &str> {
    listed(head, "timestamp_granularities")
}

/// Writes the request; `post` knows where it goes.
pub(super) fn request(
    target: &Target,
    call: &MediaCall<'_>,
    head: &TranscriptionHead,
    post: impl FnOnce(&str, Vec<u8>) -> Result<http::Request<Bytes>, Failure>,
) -> Result<MediaOutgoing, Failure> {
    let head = asked_of_recording(head, call.upload)?;
    let wish = Wish::of(&head);
    let mut left_out = LeftOut::default();
    let mut fields = vec![("model".to_owned(), target.model.clone())];
    let mut field = |name: &str, value: String| fields.push((name.to_owned(), value));
    if !matches!(wish.format.as_str(), "" | "json" | "text" | "srt" | "vtt" | "verbose_json" | "diarized_json") {
        return Err(cannot(
            "response_format",
            "must be json, text, srt, vtt, verbose_json or diarized_json for mistral",
        ));
    }
    head.language.iter().for_each(|language| field("language", language.clone()));
    head.temperature.iter().for_each(|temperature| field("temperature", temperature.to_string()));
    if wish.is_streamed {
        field("stream", "true".into());
    }
    match wish.times {
        Times::Segments => field("timestamp_granularities", "segment".into()),
        Times::Words => field("timestamp_granularities", "word".into()),
        Times::Untold => {}
    }
    let is_one = granularities(&head).all(|value| (value == "word") == (wish.times == Times::Words));
    if wish.times != Times::Untold && !is_one {
        left_out.because("timestamp_granularities[]", "must be segment or word for mistral, which tells one of them");
    }
    if wish.format == "diarized_json" && !listed(&head, "diarize").any(|_| true) {
        field("diarize", "true".into());
    }
    for keyword in listed(&head, "keywords") {
        match keyword.contains(|c: char| c == ',' || c.is_whitespace()) {
            true => left_out.because("keywords[]", "must be words without spaces and commas for mistral"),
            false => field("context_bias", keyword.to_owned()),
        }
    }
    if head.prompt.is_some() {
        left_out.because("prompt", "is not known to mistral; keywords[] are");
    }
    for other in &head.fields {
        match other.name.trim_end_matches("[]") {
            "timestamp_granularities" | "keywords" => {}
            own if OWN.contains(&own) => field(own, other.value.clone()),
            _ => left_out.unsupported(&other.name),
        }
    }
    let mut request = post("/audio/transcriptions", Vec::new())?;
    request.headers_mut().remove(header::CONTENT_TYPE);
    Ok(MediaOutgoing::foreign(request, Some(fields), left_out))
}

/// Reads an answer.
pub(super) struct Decoder {
    wish: Wish,
    answer: Answer,
    usage: Option<Usage>,
    language: String,
    segments: Vec<TranscriptSegment>,
    has_deltas: bool,
    is_done: bool,
}

impl Decoder {
    pub(super) fn new(call: &MediaCall<'_>, head: &Head) -> Self {
        let wish = match call.ask {
            MediaAsk::Transcription(head) => {
                Wish::of(&asked_of_recording(head, call.upload).unwrap_or_else(|_| head.clone()))
            }
            _ => Wish::of(&TranscriptionHead::default()),
        };
        Self {
            wish,
            answer: Answer::new(head),
            usage: None,
            language: String::new(),
            segments: Vec::new(),
            has_deltas: false,
            is_done: false,
        }
    }

    fn events(&mut self, events: Vec<SseEvent>, out: &mut Vec<MediaEvent>) -> Result<(), Failure> {
        for event in events {
            let text = event.text();
            if text.trim() != "[DONE]" {
                let read: Told<'_> = serde_json::from_str(text).map_err(|error| broken(&error.to_string()))?;
                self.told(read, &event.data, out)?;
            }
        }
        Ok(())
    }

    fn told(&mut self, told: Told<'_>, raw: &[u8], out: &mut Vec<MediaEvent>) -> Result<(), Failure> {
        match told.kind.as_deref().unwrap_or_default() {
            "transcription.language" => self.language = told.audio_language.unwrap_or_default(),
            "transcription.text.delta" => {
                self.has_deltas = true;
                out.push(MediaEvent::Delta(told.text.unwrap_or_default()));
            }
            "transcription.segment" => {
                let segment = Segment { text: told.text.unwrap_or_default(), ..told.segment }.read();
                if !self.has_deltas {
                    out.push(MediaEvent::Delta(segment.text.clone()));
                }
                self.segments.push(segment);
            }
            "transcription.done" => self.finish(told, String::new(), out),
            _ if told.error.is_some() || told.object.as_deref() == Some("error") => {
                let failure = refusal::in_band(200, raw, true);
                return Err(Failure { usage: self.usage.clone(), ..failure });
            }
            _ => {}
        }
        Ok(())
    }

    /// All of it is there.
    fn finish(&mut self, told: Told<'_>, native_json: String, out: &mut Vec<MediaEvent>) {
        self.is_done = true;
        self.usage = told.usage.and_then(|raw| usage(raw.get()));
        let segments = match told.segments {
            Some(segments) if !segments.is_empty() => segments.into_iter().map(Segment::read).collect(),
            _ => std::mem::take(&mut self.segments),
        };
        let text = told.text.unwrap_or_default();
        let text = subtitles::written(&self.wish.format, &segments).unwrap_or(text);
        let word =
            |told: TranscriptSegment| TranscriptWord { start_ms: told.start_ms, end_ms: told.end_ms, word: told.text };
        let (segments, words) = match self.wish.times {
            Times::Words => (Vec::new(), segments.into_iter().map(word).collect()),
            _ => (segments, Vec::new()),
        };
        out.push(MediaEvent::Transcript(Transcript {
            text,
            language: told.language.unwrap_or_else(|| std::mem::take(&mut self.language)),
            duration_ms: self.usage.as_ref().and_then(|usage| usage.audio_ms),
            segments,
            words,
            native_json,
        }));
    }
}

impl MediaDecoder for Decoder {
    fn feed(&mut self, bytes: &Bytes, out: &mut Vec<MediaEvent>) -> Result<(), Failure> {
        let (events, framed) = self.answer.feed(bytes, broken);
        self.events(events, out)?;
        framed
    }

    fn end(&mut self, out: &mut Vec<MediaEvent>) -> Result<(), Failure> {
        match self.answer.end() {
            Ended::Json(body) => {
                let told: Told<'_> = serde_json::from_slice(&body).map_err(|error| broken(&error.to_string()))?;
                if told.text.is_none() {
                    return Err(refusal::in_band(200, &body, true));
                }
                self.finish(told, String::from_utf8_lossy(&body).into_owned(), out);
            }
            Ended::Events(events) => {
                let read = self.events(events, out);
                if !self.is_done {
                    read?;
                    return Err(Failure { usage: self.usage.take(), ..ended_early() });
                }
            }
        }
        out.extend(self.usage.take().map(MediaEvent::Usage));
        Ok(())
    }

    fn done(&self) -> bool {
        self.is_done
    }
}

fn broken(what: &str) -> Failure {
    Failure::new(Class::UpstreamProtocol, format!("the transcript cannot be read: {what}"))
}

/// A whole answer, or an event.
#[derive(Deserialize)]
struct Told<'a> {
    #[serde(rename = "type")]
    kind: Option<String>,
    text: Option<String>,
    language: Option<String>,
    audio_language: Option<String>,
    segments: Option<Vec<Segment>>,
    #[serde(flatten)]
    segment: Segment,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
    object: Option<String>,
    error: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize, Default)]
struct Segment {
    #[serde(default)]
    text: String,
    start: Option<f64>,
    end: Option<f64>,
    speaker_id: Option<String>,
}

impl Segment {
    fn read(self) -> TranscriptSegment {
        let ms = |seconds: Option<f64>| (seconds.unwrap_or(0.0).max(0.0) * 1_000.0).round() as u64;
        TranscriptSegment {
            start_ms: ms(self.start),
            end_ms: ms(self.end),
            text: self.text,
            speaker: self.speaker_id.unwrap_or_default(),
        }
    }
}

#[derive(Deserialize)]
struct Counted {
    prompt_audio_seconds: Option<f64>,
    #[serde(default)]
    prompt_tokens: f64,
    #[serde(default)]
    completion_tokens: f64,
    #[serde(default)]
    total_tokens: f64,
}

/// Seconds, which are what is paid, and tokens. Tokens of the sound are counted in the total alone.
fn usage(text: &str) -> Option<Usage> {
    let counted: Counted = serde_json::from_str(text).ok()?;
    let count = |n: f64| n.max(0.0) as u64;
    let (said, written) = (count(counted.prompt_tokens), count(counted.completion_tokens));
    let read = count(counted.total_tokens).saturating_sub(written).max(said);
    Some(Usage {
        audio_ms: counted.prompt_audio_seconds.map(|seconds| (seconds.max(0.0) * 1_000.0).ceil() as u64),
        input: Some(InputUsage { total: read, audio: read - said, ..InputUsage::default() }),
        output: Some(OutputUsage { total: written, ..OutputUsage::default() }),
        native_json: Some(text.to_owned()),
        ..Usage::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_of_the_sound_are_what_the_total_has_more() {
        let told =
            r#"{"prompt_audio_seconds": 203, "prompt_tokens": 4, "total_tokens": 3264, "completion_tokens": 635}"#;
        let read = usage(told).unwrap();
        let (input, output) = (read.input.unwrap(), read.output.unwrap());
        assert_eq!((read.audio_ms, input.total, input.audio, output.total), (Some(203_000), 2_629, 2_625, 635));
        let untold = usage("{}").unwrap();
        assert_eq!((untold.audio_ms, untold.input.unwrap().total), (None, 0));
    }
}
