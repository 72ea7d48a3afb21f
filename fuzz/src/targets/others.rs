//! What is read in one piece: refusals, embeddings, a body that is edited.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::{Map, Value};
use tollgate_proto::v1::{CreateEmbeddingRequest, Dialect};
use tollgate_providers::{
    EmbedCall, Head, json,
    openai::services::SERVICES,
    registry::{kinds, registry},
};

use super::input::Input;

/// Those that speak OpenAI's dialect.
pub(crate) fn dialect() -> Vec<&'static str> {
    SERVICES.iter().map(|service| service.name).collect()
}

/// Those that have embeddings.
pub(crate) fn embedding() -> Vec<&'static str> {
    kinds().into_iter().filter(|kind| registry(kind).is_some_and(|provider| provider.embed().is_some())).collect()
}

/// Headers that refusals are read by.
pub(crate) const HEADERS: [&str; 8] = [
    "retry-after",
    "retry-after-ms",
    "date",
    "x-should-retry",
    "x-amzn-errortype",
    "x-request-id",
    "x-amzn-requestid",
    "content-type",
];

/// The third and fourth byte are the status, each bit of the fifth a header, whose value is the next line.
pub(crate) fn refusal(input: &Input<'_>) {
    let provider = registry(input.pick(&kinds())).expect("a kind is registered");
    let rest = input.rest();
    let status = 100 + u16::from_be_bytes([rest[0], rest[1]]) % 900;
    let mut headers = HeaderMap::new();
    let mut body = input.body;
    for (bit, name) in HEADERS.iter().enumerate() {
        if rest[2] >> bit & 1 == 0 {
            continue;
        }
        let end = body.iter().position(|byte| *byte == b'\n').unwrap_or(body.len());
        if let Ok(value) = HeaderValue::from_bytes(&body[..end]) {
            headers.insert(HeaderName::from_static(name), value);
        }
        body = body.get(end + 1..).unwrap_or_default();
    }
    let status = StatusCode::from_u16(status).expect("three digits");
    let failure = provider.refusal(&Head { status, headers }, body);
    assert_eq!(failure.status, status.as_u16(), "a refusal keeps its status");
    let repeated = ["sk-live0000", "Bearer abcdef"];
    assert!(!repeated.iter().any(|secret| failure.message.contains(secret)), "{:?}", failure.message);
}

pub(crate) fn embeddings(input: &Input<'_>) {
    let provider = registry(input.pick(&embedding())).expect("a kind is registered");
    let Some(embed) = provider.embed() else { return };
    let request = CreateEmbeddingRequest::default();
    let want_native = if input.flag(1) { Dialect::OpenaiEmbeddings } else { Dialect::Unspecified };
    let call = EmbedCall { request: &request, want_native, drop_params: true, attempt_id: "a", traceparent: None };
    let _ = embed.answer(&call, Bytes::copy_from_slice(input.body));
}

/// A member that is replaced or added, one that is removed, both, or nothing. By a parser of JSON the edit is the same.
pub(crate) fn json_edit(input: &Input<'_>) {
    let mut edits = Vec::new();
    if input.flag(0) {
        edits.push(("model", Some(r#""m""#.to_owned())));
    }
    if input.flag(1) {
        edits.push(("usage", None));
    }
    if input.flag(2) {
        edits.push(("stream", Some("true".to_owned())));
    }
    let edited = json::edit(input.body, &edits);
    let Ok(mut expected) = serde_json::from_slice::<Map<String, Value>>(input.body) else { return };
    let Ok(edited) = edited else {
        let twice = edits.iter().any(|(name, _)| expected.contains_key(*name));
        assert!(twice, "an object can be edited unless the member stands there twice");
        return;
    };
    if edits.is_empty() {
        assert_eq!(edited, input.body, "what is not edited keeps every byte");
    }
    for (name, new) in edits {
        match new {
            Some(new) => expected.insert(name.to_owned(), serde_json::from_str(&new).expect("JSON")),
            None => expected.shift_remove(name),
        };
    }
    let edited: Map<String, Value> = serde_json::from_slice(&edited).expect("an edited object is an object");
    assert_eq!(edited, expected);
}
