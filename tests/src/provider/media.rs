//! Sound and images: spoken texts, transcripts of uploads, edits, and the events of each, as OpenAI's reference writes them.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::answer::count_words;
use super::playback::{Frame, Kind};
use super::script::Step;
use super::{azure, gemini, gemini_media, mistral};

/// What a call of sound or images asks.
#[derive(Debug)]
pub(super) struct Ask {
    route: Route,
    /// The request as JSON; of a form its fields, and its files as `{field, filename, type, bytes}`.
    pub(super) body: Value,
    path: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route {
    Speech,
    Transcription,
    Translation,
    Draw,
    Edit,
    /// Any of them, as Gemini is asked.
    Content,
}

/// An answer: its type, its frames, and what it is billed by, in tokens.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) content_type: &'static str,
    pub(super) frames: Vec<Frame>,
    pub(super) read: u64,
    pub(super) written: u64,
}

/// Reads a call; `None`: it is none of these.
pub(super) fn read(path: &str, content_type: &str, body: &[u8]) -> Option<Result<Ask, String>> {
    let route = match path {
        _ if path.ends_with("/audio/speech") => Route::Speech,
        _ if path.ends_with("/audio/transcriptions") => Route::Transcription,
        _ if path.ends_with("/audio/translations") => Route::Translation,
        _ if path.ends_with("/images/edits") => Route::Edit,
        _ if path.ends_with("/images/generations") => Route::Draw,
        _ if gemini::address(path).is_some() => Route::Content,
        _ => return None,
    };
    let mut body = match route {
        Route::Speech | Route::Draw | Route::Content => {
            serde_json::from_slice::<Value>(body).map_err(|error| error.to_string())
        }
        _ => form(content_type, body),
    };
    if let Ok(body) = &mut body {
        azure::address(path, body);
    }
    if route == Route::Content && !body.as_ref().is_ok_and(|body| gemini_media::is_asked(path, body)) {
        return None;
    }
    if route == Route::Draw && body.as_ref().is_ok_and(|body| body["stream"] != true) {
        return None;
    }
    Some(body.and_then(|body| Ask { route, body, path: path.to_owned() }.checked()))
}

impl Ask {
    fn checked(self) -> Result<Self, String> {
        let has = |name: &str| self.body[name].as_str().is_some_and(|text| !text.is_empty());
        match self.route {
            Route::Content => return gemini_media::check(&self.body).map(|()| self),
            _ if !self.is_mistrals() => {}
            Route::Speech => mistral::check_text(&self.body)?,
            Route::Transcription => mistral::check_recording(&self.body)?,
            _ => return Err("no Route matched with those values".into()),
        }
        let required: &[&str] = match self.route {
            Route::Speech if self.is_mistrals() => &["model", "input"],
            Route::Speech => &["model", "input", "voice"],
            Route::Transcription | Route::Translation => &["model"],
            Route::Draw | Route::Edit => &["model", "prompt"],
            Route::Content => &[],
        };
        if let Some(missing) = required.iter().find(|name| !has(name) && !self.body[**name].is_object()) {
            return Err(format!("Missing required parameter: '{missing}'."));
        }
        let file = match self.route {
            Route::Transcription | Route::Translation => "file",
            Route::Edit => "image",
            Route::Speech | Route::Draw | Route::Content => return Ok(self),
        };
        let files = self.files();
        let is_there = files.iter().any(|sent| sent["field"].as_str().is_some_and(|field| field.starts_with(file)));
        if is_there { Ok(self) } else { Err(format!("Missing required parameter: '{file}'.")) }
    }

    fn files(&self) -> Vec<Value> {
        self.body["files"].as_array().cloned().unwrap_or_default()
    }

    fn is_mistrals(&self) -> bool {
        mistral::is_here(&self.path)
    }

    pub(super) fn model(&self) -> &str {
        if let Some((model, _)) = gemini::address(&self.path) {
            return model;
        }
        self.body["model"].as_str().unwrap_or_default()
    }

    fn is_streamed(&self) -> bool {
        self.body["stream"] == true || self.body["stream"] == "true" || self.body["stream_format"] == "sse"
    }

    pub(super) fn answer(&self, step: &Step) -> Answer {
        let tells = step.usage != Some(false);
        match self.route {
            Route::Speech if self.is_mistrals() => mistral::spoken(&self.body, step),
            Route::Transcription if self.is_mistrals() => mistral::heard(&self.body, step),
            Route::Speech => self.spoken(step, tells),
            Route::Transcription | Route::Translation => self.heard(step, tells),
            Route::Draw | Route::Edit => self.drawn(step, tells),
            Route::Content => gemini_media::answer(&self.path, &self.body, step),
        }
    }

    /// A tenth of a second of silence would do; each word is its own bytes, so that tests see them.
    fn spoken(&self, step: &Step, tells: bool) -> Answer {
        let input = self.body["input"].as_str().unwrap_or_default();
        let said = step.text.as_deref().unwrap_or(input);
        let read = step.prompt_tokens.unwrap_or_else(|| count_words(input));
        let words: Vec<String> = said.split_inclusive(' ').map(str::to_owned).collect();
        let written = step.output_tokens.unwrap_or(words.len() as u64 * 10);
        let each = |word: &String| -> Vec<u8> {
            if !self.is_streamed() {
                return word.clone().into_bytes();
            }
            event(&json!({"type": "speech.audio.delta", "audio": BASE64_STANDARD.encode(word)}))
        };
        let mut frames: Vec<Frame> = words.iter().map(|word| Frame::new(Kind::Delta, 10, each(word))).collect();
        if self.is_streamed() {
            let mut done = json!({"type": "speech.audio.done"});
            if tells {
                done["usage"] = json!({"input_tokens": read, "output_tokens": written, "total_tokens": read + written});
            }
            frames.push(Frame::new(Kind::Tail, 0, event(&done)));
        }
        let content_type = match self.body["response_format"].as_str() {
            _ if self.is_streamed() => "text/event-stream",
            Some("wav") => "audio/wav",
            Some("pcm") => "audio/pcm",
            Some("opus") => "audio/ogg",
            _ => "audio/mpeg",
        };
        Answer { content_type, frames, read, written }
    }

    /// What a recording says is how large it is and what it is called. Its length is a second for every thousand bytes.
    fn heard(&self, step: &Step, tells: bool) -> Answer {
        let file = self.files().into_iter().next().unwrap_or_default();
        let bytes = file["bytes"].as_u64().unwrap_or_default();
        let tongue = if self.route == Route::Translation { "translated " } else { "" };
        let text = format!("{tongue}{bytes} bytes of {}", file["filename"].as_str().unwrap_or_default());
        let seconds = bytes as f64 / 1_000.0;
        let read = step.prompt_tokens.unwrap_or((seconds * 10.0).ceil() as u64);
        let written = step.output_tokens.unwrap_or_else(|| count_words(&text));
        let usage = match self.model().contains("whisper") {
            true => json!({"type": "duration", "seconds": seconds.ceil()}),
            false => json!({
                "type": "tokens", "input_tokens": read, "output_tokens": written, "total_tokens": read + written,
                "input_token_details": {"text_tokens": 0, "audio_tokens": read},
            }),
        };
        let (content_type, frames) = match self.body["response_format"].as_str().unwrap_or("json") {
            _ if self.is_streamed() => {
                let delta = |word: &str| {
                    Frame::new(Kind::Delta, 1, event(&json!({"type": "transcript.text.delta", "delta": word})))
                };
                let mut frames: Vec<Frame> = text.split_inclusive(' ').map(delta).collect();
                let mut done = json!({"type": "transcript.text.done", "text": text});
                if tells {
                    done["usage"] = usage;
                }
                frames.push(Frame::new(Kind::Tail, 0, event(&done)));
                ("text/event-stream", frames)
            }
            "text" => ("text/plain; charset=utf-8", whole(format!("{text}\n"))),
            "srt" => {
                ("text/plain; charset=utf-8", whole(format!("1\n00:00:00,000 --> {}\n{text}\n\n", clock(seconds))))
            }
            "vtt" => {
                let end = clock(seconds).replace(',', ".");
                ("text/plain; charset=utf-8", whole(format!("WEBVTT\n\n00:00:00.000 --> {end}\n{text}\n\n")))
            }
            format => {
                let mut body = json!({"text": text});
                if format == "verbose_json" {
                    body["task"] = json!("transcribe");
                    body["language"] = json!("english");
                    body["duration"] = json!(seconds);
                    body["segments"] = json!([{"id": 0, "seek": 0, "start": 0.0, "end": seconds, "text": text,
                        "tokens": [1], "temperature": 0.0, "avg_logprob": -0.1, "compression_ratio": 1.0,
                        "no_speech_prob": 0.0}]);
                }
                if tells {
                    body["usage"] = usage;
                }
                ("application/json", whole(body.to_string()))
            }
        };
        Answer { content_type, frames, read, written }
    }

    fn drawn(&self, step: &Step, tells: bool) -> Answer {
        let prompt = self.body["prompt"].as_str().unwrap_or_default();
        let number = |name: &str| self.body[name].as_u64().or_else(|| self.body[name].as_str()?.parse().ok());
        let count = number("n").unwrap_or(1);
        let read = step.prompt_tokens.unwrap_or(count_words(prompt) + self.files().len() as u64 * 100);
        let written = step.output_tokens.unwrap_or(count * 1_056);
        let usage = json!({
            "input_tokens": read, "output_tokens": written, "total_tokens": read + written,
            "input_tokens_details": {"text_tokens": count_words(prompt), "image_tokens": self.files().len() * 100},
        });
        let image = |at: u64| BASE64_STANDARD.encode(format!("image {at}"));
        if !self.is_streamed() {
            let images: Vec<Value> = (0..count).map(|at| json!({"b64_json": image(at)})).collect();
            let mut body = json!({"created": 1_770_000_000, "data": images});
            if tells {
                body["usage"] = usage;
            }
            return Answer { content_type: "application/json", frames: whole(body.to_string()), read, written };
        }
        let name = if self.route == Route::Edit { "image_edit" } else { "image_generation" };
        let told = |kind: &str, at: u64| {
            json!({
                "type": format!("{name}.{kind}"), "b64_json": image(at), "created_at": 1_770_000_000, "size": "1024x1024",
                "quality": "high", "background": "opaque", "output_format": "png",
            })
        };
        let sketch = |at: u64| {
            let mut sketch = told("partial_image", at);
            sketch["partial_image_index"] = json!(at);
            Frame::new(Kind::Delta, 100, named(&sketch))
        };
        let mut frames: Vec<Frame> = (0..number("partial_images").unwrap_or(0)).map(sketch).collect();
        let mut done = told("completed", 9);
        if tells {
            done["usage"] = usage;
        }
        frames.push(Frame::new(Kind::Tail, 0, named(&done)));
        Answer { content_type: "text/event-stream", frames, read, written }
    }
}

pub(super) fn whole(text: String) -> Vec<Frame> {
    vec![Frame::new(Kind::Delta, 1, text)]
}

pub(super) fn event(data: &Value) -> Vec<u8> {
    format!("data: {data}\n\n").into_bytes()
}

fn named(data: &Value) -> Vec<u8> {
    format!("event: {}\ndata: {data}\n\n", data["type"].as_str().unwrap_or_default()).into_bytes()
}

fn clock(seconds: f64) -> String {
    let ms = (seconds * 1_000.0) as u64;
    format!("{:02}:{:02}:{:02},{:03}", ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60, ms % 1_000)
}

/// The fields of a form, and its files.
fn form(content_type: &str, body: &[u8]) -> Result<Value, String> {
    let boundary = content_type.split_once("multipart/form-data; boundary=").ok_or("the body must be a form")?.1;
    let mark = format!("\r\n--{}", boundary.trim_matches('"')).into_bytes();
    // The first boundary stands at the very beginning.
    let body = [b"\r\n", body].concat();
    let starts: Vec<usize> = memchr::memmem::find_iter(&body, &mark).collect();
    if starts.is_empty() || !body[starts[starts.len() - 1] + mark.len()..].starts_with(b"--") {
        return Err("the form does not end".into());
    }
    let mut read = json!({"files": []});
    for pair in starts.windows(2) {
        let part = &body[pair[0] + mark.len() + 2..pair[1]];
        let end = memchr::memmem::find(part, b"\r\n\r\n").ok_or("a part has no head")?;
        let (head, value) = (String::from_utf8_lossy(&part[..end]).into_owned(), &part[end + 4..]);
        let said = |name: &str| Some(head.split_once(&format!(" {name}=\""))?.1.split_once('"')?.0.to_owned());
        let name = said("name").ok_or("a part has no name")?;
        match said("filename") {
            Some(filename) => {
                let kind = head.to_ascii_lowercase().split_once("content-type: ").map(|(_, rest)| rest.to_owned());
                let kind = kind.map(|rest| rest.split("\r\n").next().unwrap_or_default().to_owned());
                let file = json!({"field": name, "filename": filename, "type": kind, "bytes": value.len()});
                read["files"].as_array_mut().ok_or("no files")?.push(file);
            }
            None => read[name] = json!(String::from_utf8_lossy(value)),
        }
    }
    Ok(read)
}
