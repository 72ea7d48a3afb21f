//! The calls that are made, built once and sent as they are.

use bytes::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderValue};
use serde_json::{Value, json};

use crate::servers::Target;

/// What kind of call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// About 1 kB in, 16 words back in one piece.
    Plain,
    /// 32 deltas written at once.
    Burst,
    /// 32 deltas, one every 10 ms.
    Paced,
    /// The same, and the provider refuses it.
    Refused,
    /// A prompt of 200 kB.
    Large,
    /// One delta, then silence.
    Idle,
}

/// A call ready to be sent.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) stream: bool,
    /// The status of a good answer.
    pub(crate) expects: u16,
}

impl Kind {
    pub(crate) fn call(self, target: &Target) -> Call {
        let (prompt, stream) = match self {
            Kind::Plain => (filler(800), false),
            Kind::Refused => (scripted(json!({ "status": 400 })), false),
            Kind::Large => (filler(200_000), false),
            Kind::Burst => (scripted(json!({ "chunks": 32 })), true),
            Kind::Paced => (scripted(json!({ "chunks": 32, "chunk_delay_ms": 10 })), true),
            Kind::Idle => (scripted(json!({ "chunks": 4, "stall_after_chunks": 1 })), true),
        };
        let mut body = json!({
            "model": target.model,
            "messages": [
                { "role": "system", "content": "You keep the gate and write down every coin." },
                { "role": "user", "content": prompt }
            ],
            "max_tokens": 256,
            "temperature": 0.2
        });
        if stream {
            body["stream"] = true.into();
            body["stream_options"] = json!({ "include_usage": true });
        }
        let text = |text: String| HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(""));
        let mut headers = HeaderMap::new();
        headers.insert(HOST, text(target.address.to_string()));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(AUTHORIZATION, text(format!("Bearer {}", target.key)));
        let expects = if self == Kind::Refused { 400 } else { 200 };
        Call { headers, body: body.to_string().into(), stream, expects }
    }
}

fn scripted(step: Value) -> String {
    format!("{} [[script {step}]]", filler(800))
}

fn filler(bytes: usize) -> String {
    let words = "the toll is paid once and every coin is written down before the gate opens again ";
    words.chars().cycle().take(bytes).collect()
}
