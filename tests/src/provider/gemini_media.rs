//! Gemini's sound and images: an answer of `generateContent` that is asked to be one, and recordings in the question.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::answer::count_words;
use super::gemini::{address, sse};
use super::media::{Answer, whole};
use super::playback::{Frame, Kind};
use super::script::Step;

/// Tokens of an image of the smallest step.
const IMAGE: u64 = 1_290;

fn modalities(body: &Value) -> Vec<&str> {
    let all = body["generationConfig"]["responseModalities"].as_array().into_iter().flatten();
    all.filter_map(Value::as_str).collect()
}

fn parts(body: &Value) -> impl Iterator<Item = &Value> {
    body["contents"].as_array().into_iter().flatten().flat_map(|turn| turn["parts"].as_array().into_iter().flatten())
}

fn files<'a>(body: &'a Value, kind: &'static str) -> impl Iterator<Item = &'a Value> {
    let is_one = move |data: &&Value| data["mimeType"].as_str().is_some_and(|told| told.starts_with(kind));
    parts(body).map(|part| &part["inlineData"]).filter(is_one)
}

fn said(body: &Value) -> String {
    parts(body).filter_map(|part| part["text"].as_str()).collect()
}

/// Whether a call is of sound or images.
pub(super) fn is_asked(path: &str, body: &Value) -> bool {
    address(path).is_some() && (!modalities(body).is_empty() || files(body, "audio/").next().is_some())
}

/// Checks a call. `Err` is the message of the refusal.
pub(super) fn check(body: &Value) -> Result<(), String> {
    let config = &body["generationConfig"];
    if modalities(body) == ["AUDIO"] {
        let voice = &config["speechConfig"]["voiceConfig"]["prebuiltVoiceConfig"]["voiceName"];
        if voice.as_str().is_some_and(|voice| !["Kore", "Puck"].contains(&voice)) {
            return Err(format!("Voice name {voice} is not supported."));
        }
    }
    let ratio = &config["imageConfig"]["aspectRatio"];
    match ratio.as_str() {
        None | Some("1:1" | "2:3" | "3:2" | "16:9" | "9:16") => Ok(()),
        Some(_) => Err(format!("aspect_ratio {ratio} is not supported.")),
    }
}

/// What is spoken, drawn, or heard.
pub(super) fn answer(path: &str, body: &Value, step: &Step) -> Answer {
    let asked = modalities(body);
    let text = said(body);
    let (parts, details, written) = if asked == ["AUDIO"] {
        // Each byte is a sample.
        let samples: Vec<u8> = text.bytes().flat_map(|byte| i16::from(byte).to_le_bytes()).collect();
        let part = json!({"inlineData": {"mimeType": "audio/L16;codec=pcm;rate=24000", "data": BASE64_STANDARD.encode(samples)}});
        (vec![part], "AUDIO", count_words(&text) * 10)
    } else if asked.contains(&"IMAGE") {
        let image = format!("image of {} after {} images", text, files(body, "image/").count());
        let part = json!({"inlineData": {"mimeType": "image/png", "data": BASE64_STANDARD.encode(image)}});
        (vec![json!({"text": "Here it is."}), part], "IMAGE", IMAGE)
    } else {
        let file = files(body, "audio/").next().cloned().unwrap_or_default();
        let bytes = BASE64_STANDARD.decode(file["data"].as_str().unwrap_or_default()).map_or(0, |bytes| bytes.len());
        let tongue = if text.contains("into English") { "translated " } else { "" };
        let heard = format!("{tongue}{bytes} bytes of {}", file["mimeType"].as_str().unwrap_or_default());
        let written = count_words(&heard);
        let words = heard.split_inclusive(' ').map(|word| json!({"text": word})).collect();
        (words, "TEXT", written)
    };
    let written = step.output_tokens.unwrap_or(written);
    let heard: u64 = files(body, "audio/")
        .filter_map(|file| Some(BASE64_STANDARD.decode(file["data"].as_str()?).ok()?.len() as u64))
        .map(|bytes| bytes.div_ceil(1_000) * 32)
        .sum();
    let seen = files(body, "image/").count() as u64 * 258;
    let read = step.prompt_tokens.unwrap_or(count_words(&text) + heard + seen);
    let usage = json!({
        "promptTokenCount": read, "candidatesTokenCount": written, "totalTokenCount": read + written,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": count_words(&text)},
            {"modality": "AUDIO", "tokenCount": heard}, {"modality": "IMAGE", "tokenCount": seen}],
        "candidatesTokensDetails": [{"modality": details, "tokenCount": written}],
    });
    let finish = step.finish_reason.as_deref().unwrap_or("STOP");
    let told = |parts: &[Value], is_last: bool| {
        let mut told = json!({"candidates": [{"content": {"role": "model", "parts": parts}, "index": 0}],
                              "modelVersion": "gemini-made", "responseId": "gem_1"});
        if is_last {
            told["candidates"][0]["finishReason"] = json!(finish);
            if step.usage != Some(false) {
                told["usageMetadata"] = usage.clone();
            }
        }
        told
    };
    let parts = if finish == "STOP" { parts } else { Vec::new() };
    if !address(path).is_some_and(|(_, method)| method.starts_with("stream")) {
        return Answer {
            content_type: "application/json",
            frames: whole(told(&parts, true).to_string()),
            read,
            written,
        };
    }
    let frame = |part: &Value| Frame::new(Kind::Delta, 1, sse(&told(std::slice::from_ref(part), false)));
    let mut frames: Vec<Frame> = parts.iter().map(frame).collect();
    frames.push(Frame::new(Kind::Tail, 0, sse(&told(&[json!({"text": ""})], true))));
    Answer { content_type: "text/event-stream", frames, read, written }
}
