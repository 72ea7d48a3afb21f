//! Speech: "Audio speech" of Mistral's API reference (Voxtral).
//!
//! Sound comes as base64 in JSON. Raw samples are floating-point numbers there and 16-bit ones everywhere else, so they are written anew.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::{Bytes, BytesMut};
use serde::Deserialize;
use tollgate_domain::{Class, Failure};
use tollgate_proto::v1::{CreateSpeechRequest, InputUsage, OutputUsage, Usage};

use super::answer::{Answer, Ended};
use crate::{
    Head, Target,
    framing::{ended_early, sse::SseEvent},
    json::Object,
    left_out::LeftOut,
    media::{MediaAsk, MediaCall, MediaDecoder, MediaEvent, MediaOutgoing, sound_type, spoken},
    provider::cannot,
    refusal,
};

/// What may be asked for in Mistral's own words.
const OWN: [&str; 5] = ["conversation_history", "expressiveness", "phoneme_hints", "prompt_cache_key", "ref_audio"];
/// What the provider makes where nobody says.
const USUAL: &str = "mp3";

/// Writes the request; `post` knows where it goes.
pub(super) fn request(
    target: &Target,
    request: &CreateSpeechRequest,
    post: impl FnOnce(&str, Vec<u8>) -> Result<http::Request<Bytes>, Failure>,
) -> Result<MediaOutgoing, Failure> {
    let mut left_out = LeftOut::default();
    let mut body = Object::default();
    body.field("model", &target.model).maybe("input", request.input.as_ref());
    body.maybe("voice_id", request.voice.as_ref()).maybe("response_format", request.response_format.as_ref());
    let format = request.response_format.as_deref().unwrap_or(USUAL);
    if !matches!(format, "pcm" | "wav" | "mp3" | "flac" | "opus") {
        return Err(cannot("response_format", "must be mp3, opus, flac, wav or pcm for mistral"));
    }
    // A file that says in its head how long it is comes whole.
    body.field("stream", &matches!(format, "pcm" | "mp3"));
    left_out.absent(&[
        ("instructions", request.instructions.is_some()),
        ("speed", request.speed.is_some_and(|speed| speed != 1.0)),
    ]);
    left_out.user(request.user.as_ref());
    for (name, json) in left_out.known(&request.extra_json, &[&OWN[..], &["stream_format"]].concat()) {
        // In which form it goes to the caller is not the provider's business.
        if name != "stream_format" {
            body.raw(&name, &json);
        }
    }
    Ok(MediaOutgoing::foreign(post("/audio/speech", body.finish().into_bytes())?, None, left_out))
}

/// Reads an answer.
pub(super) struct Decoder {
    content_type: &'static str,
    /// The bytes of a sample that is not whole; `None`: samples are not looked at.
    rest: Option<BytesMut>,
    answer: Answer,
    usage: Option<Usage>,
    is_done: bool,
}

impl Decoder {
    pub(super) fn new(call: &MediaCall<'_>, head: &Head) -> Self {
        let format = match call.ask {
            MediaAsk::Speech(request) => request.response_format.as_deref().unwrap_or(USUAL),
            _ => USUAL,
        };
        let rest = (format == "pcm").then(BytesMut::new);
        Self { content_type: sound_type(format), rest, answer: Answer::new(head), usage: None, is_done: false }
    }

    fn sound(&mut self, text: &str, out: &mut Vec<MediaEvent>) -> Result<(), Failure> {
        let mut sound = Bytes::from(STANDARD.decode(text).map_err(|error| broken(&error.to_string()))?);
        if let Some(rest) = &mut self.rest {
            rest.extend_from_slice(&sound);
            let whole = rest.split_to(rest.len() / 4 * 4);
            sound = whole.chunks_exact(4).flat_map(|four| sample([four[0], four[1], four[2], four[3]])).collect();
        }
        spoken(sound, out);
        Ok(())
    }

    fn events(&mut self, events: Vec<SseEvent>, out: &mut Vec<MediaEvent>) -> Result<(), Failure> {
        for event in events {
            let text = event.text();
            if text.trim() == "[DONE]" {
                continue;
            }
            let told: Told<'_> = serde_json::from_str(text).map_err(|error| broken(&error.to_string()))?;
            match told.kind.as_deref().unwrap_or_default() {
                "speech.audio.delta" => self.sound(told.audio_data.as_deref().unwrap_or_default(), out)?,
                "speech.audio.done" => {
                    self.is_done = true;
                    self.usage = told.usage.map(Counted::read);
                }
                _ if told.error.is_some() || told.object.as_deref() == Some("error") => {
                    return Err(refusal::in_band(200, &event.data, true));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// A sample of 16 bits.
fn sample(bytes: [u8; 4]) -> [u8; 2] {
    // Beyond the ends `as` stays at them, and what is no number is silence.
    ((f32::from_le_bytes(bytes) * f32::from(i16::MAX)) as i16).to_le_bytes()
}

impl MediaDecoder for Decoder {
    fn content_type(&self) -> Option<&'static str> {
        Some(self.content_type)
    }

    fn feed(&mut self, bytes: &Bytes, out: &mut Vec<MediaEvent>) -> Result<(), Failure> {
        let (events, framed) = self.answer.feed(bytes, broken);
        self.events(events, out)?;
        framed
    }

    fn end(&mut self, out: &mut Vec<MediaEvent>) -> Result<(), Failure> {
        match self.answer.end() {
            Ended::Json(body) => {
                let told: Told<'_> = serde_json::from_slice(&body).map_err(|error| broken(&error.to_string()))?;
                let Some(audio) = told.audio_data.filter(|audio| !audio.is_empty()) else {
                    return Err(refusal::in_band(200, &body, true));
                };
                self.sound(&audio, out)?;
                self.usage = told.usage.map(Counted::read);
                self.is_done = true;
            }
            Ended::Events(events) => {
                let read = self.events(events, out);
                if !self.is_done {
                    read?;
                    return Err(ended_early());
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
    Failure::new(Class::UpstreamProtocol, format!("the speech cannot be read: {what}"))
}

/// A whole answer, or an event.
#[derive(Deserialize)]
struct Told<'a> {
    #[serde(rename = "type")]
    kind: Option<String>,
    /// Base64 needs no escapes; a server that writes some is read all the same.
    #[serde(borrow)]
    audio_data: Option<std::borrow::Cow<'a, str>>,
    usage: Option<Counted>,
    object: Option<String>,
    error: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct Counted {
    #[serde(default)]
    prompt_tokens: u64,
    #[serde(default)]
    completion_tokens: u64,
}

impl Counted {
    fn read(self) -> Usage {
        let total = self.completion_tokens;
        Usage {
            input: Some(InputUsage { total: self.prompt_tokens, ..InputUsage::default() }),
            output: Some(OutputUsage { total, audio: total, ..OutputUsage::default() }),
            ..Usage::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_of_16_bits_wherever_they_are_cut() {
        let samples = [0.0f32, 1.0, -1.0, 0.5, 7.0, f32::NAN];
        let bytes: Vec<u8> = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
        for cut in 1..bytes.len() {
            let mut decoder = Decoder {
                content_type: "audio/pcm",
                rest: Some(BytesMut::new()),
                answer: Answer::Json(BytesMut::new()),
                usage: None,
                is_done: false,
            };
            let mut out = Vec::new();
            for piece in [&bytes[..cut], &bytes[cut..]] {
                decoder.sound(&STANDARD.encode(piece), &mut out).unwrap();
            }
            let told: Vec<u8> = out
                .iter()
                .flat_map(
                    |event| if let MediaEvent::Audio(bytes) = event { bytes.to_vec() } else { panic!("{event:?}") },
                )
                .collect();
            let expected = [0i16, 32_767, -32_767, 16_383, 32_767, 0].map(i16::to_le_bytes).concat();
            assert_eq!(told, expected, "cut at {cut}");
        }
    }
}
