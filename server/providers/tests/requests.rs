//! What adapters send: one OpenAI request, and the body that each dialect should get for it.

#![allow(clippy::unwrap_used)] // a test says by panicking

use serde_json::Value;
use tollgate_domain::Secret;
use tollgate_proto::v1::{CompletionRequest, Dialect, Original};
use tollgate_providers::{ChatCall, Mode, Target, credential::Credential, registry::registry};

fn mapping() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/request-mapping.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn sent(
    kind: &str,
    request: &CompletionRequest,
    mode: Mode,
    output_cap: Option<u64>,
) -> (http::request::Parts, Value, Vec<String>) {
    let target = Target {
        base_url: "https://provider.example/v1".into(),
        api_version: None,
        credential: Credential::Key(Secret::new("sk-upstream-test")),
        model: "m".into(),
        headers: Default::default(),
    };
    let call = ChatCall {
        request,
        mode,
        output_cap,
        max_output: None,
        want_native: Dialect::Unspecified,
        drop_params: false,
        prefill: None,
        attempt_id: "a-1",
    };
    let provider = registry(kind).unwrap();
    let outgoing = provider.chat().unwrap().request(&target, &call).unwrap();
    let (parts, body) = outgoing.request.into_parts();
    let unsupported = outgoing.unsupported.into_iter().map(|parameter| parameter.field);
    (parts, serde_json::from_slice(&body).unwrap(), unsupported.chain(outgoing.dropped).collect())
}

#[test]
fn one_request_becomes_what_each_dialect_expects() {
    let mapping = mapping();
    let text = mapping["openai_request"].to_string();
    let request = tollgate_http::openai::read_chat(text.as_bytes()).unwrap();
    for (kind, expected) in mapping["expect"].as_object().unwrap() {
        if registry(kind).is_none() {
            continue;
        }
        let (parts, body, left_out) = sent(kind, &request, Mode::Stream, None);
        assert_eq!(body, expected["body"], "{kind}");
        if kind == "bedrock" {
            assert_eq!(left_out, ["parallel_tool_calls", "user"]);
        }
        assert!(parts.headers.contains_key(if kind == "anthropic" { "x-api-key" } else { "authorization" }));
    }
}

#[test]
fn the_original_is_spliced_where_the_dialect_is_the_same() {
    let text = r#"{ "model":"alias", "max_tokens":null, "x":1e-7, "messages":[{"role":"user","content":"hi"}], "stream":true }"#;
    let original = Original { dialect: Dialect::OpenaiChat as i32, body: text.as_bytes().to_vec().into() };
    let request =
        CompletionRequest { original: Some(original), ..tollgate_http::openai::read_chat(text.as_bytes()).unwrap() };
    let target = |kind: &str, mode, cap| sent(kind, &request, mode, cap).1;
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
    let read = |body: &str| tollgate_http::openai::read_chat(body.as_bytes()).unwrap();
    let dropped =
        read(r#"{"model":"m","messages":[{"role":"user","content":"x"}],"seed":1,"store":true,"logprobs":true}"#);
    assert_eq!(sent("anthropic", &dropped, Mode::Whole, None).2, ["seed", "logprobs", "store"]);
    for (field, body) in [
        ("n", r#"{"model":"m","n":2,"messages":[{"role":"user","content":"x"}]}"#),
        ("temperature", r#"{"model":"m","temperature":1.5,"messages":[{"role":"user","content":"x"}]}"#),
        (
            "response_format",
            r#"{"model":"m","response_format":{"type":"json_object"},"messages":[{"role":"user","content":"x"}]}"#,
        ),
    ] {
        let (.., left_out) = sent("anthropic", &read(body), Mode::Whole, None);
        assert_eq!(left_out, [field]);
    }
}
