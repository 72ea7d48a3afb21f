//! Mistral's sound, below `.../mistral/v1`: a form in words of its own, events of its own, speech as base64.
//!
//! As on the real wire a field that it does not know is refused.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::answer::count_words;
use super::media::{Answer, event, whole};
use super::playback::{Frame, Kind};
use super::script::Step;

/// Whether a path is Mistral's.
pub(super) fn is_here(path: &str) -> bool {
    path.contains("/mistral/")
}

const OF_RECORDINGS: [&str; 9] = [
    "files",
    "model",
    "language",
    "temperature",
    "stream",
    "diarize",
    "context_bias",
    "timestamp_granularities",
    "file_id",
];
const OF_TEXTS: [&str; 11] = [
    "model",
    "input",
    "stream",
    "voice_id",
    "ref_audio",
    "expressiveness",
    "phoneme_hints",
    "conversation_history",
    "response_format",
    "prompt_cache_key",
    "metadata",
];

fn known(body: &Value, names: &[&str]) -> Result<(), String> {
    let unknown = body.as_object().and_then(|body| body.keys().find(|name| !names.contains(&name.as_str())).cloned());
    unknown.map_or(Ok(()), |name| Err(format!("Extra inputs are not permitted: {name}")))
}

/// Checks a form. `Err` is the message of the refusal.
pub(super) fn check_recording(body: &Value) -> Result<(), String> {
    known(body, &OF_RECORDINGS)?;
    match body["timestamp_granularities"].as_str() {
        None | Some("segment" | "word") => Ok(()),
        Some(other) => Err(format!("timestamp_granularities: {other} is not one of segment, word")),
    }
}

/// Checks a text to speak. `Err` is the message of the refusal.
pub(super) fn check_text(body: &Value) -> Result<(), String> {
    known(body, &OF_TEXTS)?;
    match body["response_format"].as_str() {
        None | Some("pcm" | "wav" | "mp3" | "flac" | "opus") => Ok(()),
        Some(other) => Err(format!("response_format: {other} is not known")),
    }
}

/// A recording says how large it is and what it is called, word by word. A second for every thousand bytes, of 12.5 tokens each.
pub(super) fn heard(body: &Value, step: &Step) -> Answer {
    let file = &body["files"][0];
    let bytes = file["bytes"].as_u64().unwrap_or_default();
    let text = format!("{bytes} bytes of {}", file["filename"].as_str().unwrap_or_default());
    let seconds = bytes.div_ceil(1_000);
    let (of_sound, written) = ((seconds * 25).div_ceil(2), step.output_tokens.unwrap_or_else(|| count_words(&text)));
    let usage = json!({
        "prompt_audio_seconds": seconds, "prompt_tokens": 4, "completion_tokens": written,
        "total_tokens": 4 + of_sound + written,
    });
    let words: Vec<&str> = text.split_inclusive(' ').collect();
    let speaker = if body["diarize"] == "true" { json!("speaker_1") } else { Value::Null };
    let segment = |text: &str, start: f64, end: f64| json!({"type": "transcription_segment", "text": text, "start": start, "end": end, "speaker_id": speaker});
    let end = seconds as f64;
    let segments: Vec<Value> = match body["timestamp_granularities"].as_str() {
        Some("segment") => vec![segment(&text, 0.0, end)],
        Some("word") => {
            let step = end / words.len() as f64;
            let told = |(at, word): (usize, &&str)| segment(word.trim(), at as f64 * step, (at + 1) as f64 * step);
            words.iter().enumerate().map(told).collect()
        }
        _ => Vec::new(),
    };
    let mut done = json!({"model": body["model"], "text": text, "language": "en", "segments": segments});
    if step.usage != Some(false) {
        done["usage"] = usage;
    }
    let read = 4 + of_sound;
    if body["stream"] != "true" {
        return Answer { content_type: "application/json", frames: whole(done.to_string()), read, written };
    }
    let mut frames = vec![Frame::new(Kind::Head, 0, told("transcription.language", json!({"audio_language": "en"})))];
    match segments.is_empty() {
        true => frames.extend(
            words
                .iter()
                .map(|word| Frame::new(Kind::Delta, 1, told("transcription.text.delta", json!({"text": word})))),
        ),
        false => frames.extend(
            segments.iter().map(|segment| Frame::new(Kind::Delta, 1, told("transcription.segment", segment.clone()))),
        ),
    }
    frames.push(Frame::new(Kind::Tail, 0, told("transcription.done", done)));
    Answer { content_type: "text/event-stream; charset=utf-8", frames, read, written }
}

/// Each word is its own bytes; of raw samples, each byte is one, in floating point.
pub(super) fn spoken(body: &Value, step: &Step) -> Answer {
    let input = body["input"].as_str().unwrap_or_default();
    let words: Vec<&str> = input.split_inclusive(' ').collect();
    let (read, written) = (count_words(input), step.output_tokens.unwrap_or(words.len() as u64 * 10));
    let sound = |word: &str| -> String {
        let bytes: Vec<u8> = match body["response_format"].as_str() {
            Some("pcm") => word.bytes().flat_map(|byte| (f32::from(byte) / 32_767.0).to_le_bytes()).collect(),
            _ => word.as_bytes().to_vec(),
        };
        BASE64_STANDARD.encode(bytes)
    };
    if body["stream"] != true {
        let frames = whole(json!({"audio_data": sound(input)}).to_string());
        return Answer { content_type: "application/json", frames, read, written };
    }
    let delta =
        |word: &&str| Frame::new(Kind::Delta, 10, told("speech.audio.delta", json!({"audio_data": sound(word)})));
    let mut frames: Vec<Frame> = words.iter().map(delta).collect();
    let mut done = json!({});
    if step.usage != Some(false) {
        done["usage"] = json!({"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written});
    }
    frames.push(Frame::new(Kind::Tail, 0, told("speech.audio.done", done)));
    Answer { content_type: "text/event-stream; charset=utf-8", frames, read, written }
}

/// An event: its name stands in it, too.
fn told(name: &str, mut data: Value) -> Vec<u8> {
    data["type"] = json!(name);
    [format!("event: {name}\n").into_bytes(), event(&data)].concat()
}
