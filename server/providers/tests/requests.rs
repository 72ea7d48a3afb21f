//! What adapters send: one OpenAI request, and the body that each dialect should get for it.

#![allow(clippy::unwrap_used)] // a test says by panicking

#[path = "support/sent.rs"]
mod sent;

use sent::{Sent, sent, written};
use serde_json::Value;
use tollgate_providers::{Mode, registry::registry};

fn mapping() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/request-mapping.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn one_request_becomes_what_each_dialect_expects() {
    let mapping = mapping();
    let text = mapping["openai_request"].to_string();
    for (kind, expected) in mapping["expect"].as_object().unwrap() {
        if registry(kind).is_none() {
            continue;
        }
        let Sent { parts, body, .. } = sent(kind, "m", &written(&text), Mode::Stream, None);
        assert_eq!(body, expected["body"], "{kind}");
        let key = match kind.as_str() {
            "anthropic" => "x-api-key",
            "azure" => "api-key",
            _ => "authorization",
        };
        assert!(parts.headers.contains_key(key), "{kind}");
    }
}

#[test]
fn the_original_is_spliced_where_the_dialect_is_the_same() {
    let text = r#"{ "model":"alias", "max_tokens":null, "x":1e-7, "messages":[{"role":"user","content":"hi"}], "stream":true }"#;
    let target = |kind: &str, mode, cap| sent(kind, "m", &sent::original(text), mode, cap).body;
    let whole = target("openai", Mode::Whole, Some(5));
    assert_eq!(whole["max_completion_tokens"], 5);
    assert!(whole.get("max_tokens").is_none() && whole.get("stream").is_none());
    assert_eq!(whole["x"].to_string(), "1e-7");
    let streamed = target("vllm", Mode::Stream, Some(5));
    assert_eq!(streamed["max_tokens"], 5, "a server that heeds one spelling gets that one");
    assert_eq!(streamed["stream_options"]["include_usage"], true);
}

#[test]
fn what_a_dialect_cannot_say_is_refused_or_listed() {
    let left_out = |body: &str| sent("anthropic", "m", &written(body), Mode::Whole, None).left_out();
    let asked = r#"{"model":"m","messages":[{"role":"user","content":"x"}],"seed":1,"store":true,"logprobs":true}"#;
    assert_eq!(left_out(asked), ["seed", "logprobs", "store"]);
    for (field, body) in [
        ("n", r#"{"model":"m","n":2,"messages":[{"role":"user","content":"x"}]}"#),
        ("temperature", r#"{"model":"m","temperature":1.5,"messages":[{"role":"user","content":"x"}]}"#),
        (
            "response_format",
            r#"{"model":"m","response_format":{"type":"json_object"},"messages":[{"role":"user","content":"x"}]}"#,
        ),
    ] {
        assert_eq!(left_out(body), [field]);
    }
}
