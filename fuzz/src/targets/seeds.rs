//! What a fuzzer begins with: the providers' fixtures, and the words in them.

use std::{collections::BTreeSet, fs, path::Path};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;
use tollgate_providers::{
    framing::event_stream::{EventStream, Frame},
    registry::{kinds, registry},
};

use super::{
    input::HEAD,
    others::{HEADERS, dialect, embedding},
};

struct Fixture {
    provider: String,
    envelope: Value,
    extension: String,
    body: Vec<u8>,
}

/// The inputs that a target begins with.
pub(crate) fn seeds(target: &str, fixtures: &Path) -> Vec<Vec<u8>> {
    all(fixtures).iter().flat_map(|fixture| of(target, fixture)).collect()
}

/// Names and short words of the fixtures, as libFuzzer's dictionaries are written.
pub(crate) fn dictionary(fixtures: &Path) -> String {
    let mut words = BTreeSet::new();
    for fixture in all(fixtures) {
        let text = String::from_utf8_lossy(&fixture.body);
        for word in text.split('"').filter(|word| (2..=32).contains(&word.len())) {
            if word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-. ".contains(&byte)) {
                words.insert(format!("\"\\\"{word}\\\"\"\n"));
            }
        }
    }
    let signs = [
        "null",
        "true",
        "[]",
        "{}",
        "1e400",
        "18446744073709551615",
        "-1",
        "4294967295",
        "\\x0adata: ",
        "\\x0a\\x0a",
        "[DONE]",
    ];
    words.extend(signs.map(|sign| format!("\"{sign}\"\n")));
    words.into_iter().collect()
}

fn all(root: &Path) -> Vec<Fixture> {
    let entries = |path: &Path| {
        let mut paths: Vec<_> = fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        paths.sort();
        paths
    };
    let mut fixtures = Vec::new();
    for folder in entries(root).into_iter().filter(|path| path.is_dir()) {
        for path in entries(&folder).into_iter().filter(|path| path.to_string_lossy().ends_with(".fixture.json")) {
            let envelope: Value = serde_json::from_slice(&fs::read(&path).expect("a fixture")).expect("JSON");
            let file = envelope["response"]["body_file"].as_str().expect("a fixture names its body");
            fixtures.push(Fixture {
                provider: folder.file_name().unwrap_or_default().to_string_lossy().into_owned(),
                extension: file.rsplit('.').next().unwrap_or_default().to_owned(),
                body: fs::read(folder.join(file)).expect("a fixture's body"),
                envelope,
            });
        }
    }
    fixtures
}

/// A fixture as inputs of a target; none where it is not the target's.
fn of(target: &str, fixture: &Fixture) -> Vec<Vec<u8>> {
    let Fixture { provider, extension, body, .. } = fixture;
    let row = |rows: &[&str]| rows.iter().position(|row| row == provider).map(|row| row as u8);
    let status = fixture.envelope["response"]["status"].as_u64().unwrap_or(200);
    let path = fixture.envelope["request"]["path"].as_str().unwrap_or_default();
    let is_stream = fixture.envelope["request"]["stream"] == true || path.contains(":stream");
    let played = |flags: u8, row: u8, body: &[u8]| {
        [[flags, row, 0, 0, 0, 0, 0, 0], [flags | 0b110, row, 1, 2, 0, 7, 129, 16]]
            .map(|head: [u8; HEAD]| [&head, body].concat())
            .to_vec()
    };
    match target {
        "sse" | "ndjson" if extension == target => played(0, 0, body),
        "json_array" if body.starts_with(b"[") => played(0, 0, body),
        "event_stream" if extension == "bin" => played(1 << 6, 0, body),
        "json_edit" if extension == "json" => played(0b101, 0, body),
        "refusal" if status != 200 => {
            let Some(row) = row(&kinds()) else { return Vec::new() };
            let headers = fixture.envelope["response"]["headers"].as_array();
            let value = |name: &str| {
                headers.into_iter().flatten().find(|header| header[0] == name).and_then(|header| header[1].as_str())
            };
            let told = HEADERS.map(value);
            let bits = told.iter().enumerate().fold(0, |bits, (bit, value)| bits | u8::from(value.is_some()) << bit);
            let [high, low] = (status as u16).saturating_sub(100).to_be_bytes();
            let lines: String = told.iter().flatten().map(|value| format!("{value}\n")).collect();
            vec![[&[0, row, high, low, bits, 0, 0, 0], lines.as_bytes(), body].concat()]
        }
        "embeddings" if status == 200 && path.contains("mbed") || path.ends_with("/invoke") => {
            row(&embedding()).map_or_else(Vec::new, |row| played(0, row, body))
        }
        "openai_dialect" if status == 200 => {
            row(&dialect()).map_or_else(Vec::new, |row| played(is_stream.into(), row, body))
        }
        "bedrock" if provider == target && extension == "bin" => {
            let frames = played(1 | 1 << 6, 0, body);
            let lines = played(1 | 1 << 5 | u8::from(path.contains("invoke")) << 4, 0, &as_lines(body));
            [frames, lines].concat()
        }
        "vertex" if provider == target && status == 200 => {
            played(u8::from(is_stream) | u8::from(path.contains("claude")) << 4, 0, body)
        }
        _ if provider == target && registry(target).is_some() && status == 200 => played(is_stream.into(), 0, body),
        _ => Vec::new(),
    }
}

/// Frames as [`from_lines`](super::frames::from_lines) reads them.
fn as_lines(frames: &[u8]) -> Vec<u8> {
    let mut lines = Vec::new();
    for frame in EventStream::default().feed(frames).0 {
        let (beginning, rest) = match frame {
            Frame::Event { name, payload } if name == "chunk" => {
                let chunk: Value = serde_json::from_slice(&payload).unwrap_or_default();
                let event = STANDARD.decode(chunk["bytes"].as_str().unwrap_or_default()).unwrap_or_default();
                ("chunk -".to_owned(), event)
            }
            Frame::Event { name, payload } => (format!("event {name}"), payload.to_vec()),
            Frame::Exception { name, payload } => (format!("exception {name}"), payload.to_vec()),
            Frame::Error { code, message } => (format!("error {code}"), message.into_bytes()),
        };
        lines.extend([beginning.as_bytes(), b" ", &rest, b"\n"].concat());
    }
    lines
}
