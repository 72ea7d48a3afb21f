//! What adapters send: one OpenAI request, and the body that each dialect should get for it.

#![allow(clippy::unwrap_used)] // a test says by panicking

#[path = "support/sent.rs"]
mod sent;

use std::collections::HashMap;

use sent::{sent, written};
use serde_json::{Value, json};
use tollgate_providers::{Mode, registry::registry};

fn mapping() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/request-mapping.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// What the mapping leaves out.
const LEFT_OUT: [(&str, &[&str]); 6] = [
    ("bedrock", &["parallel_tool_calls", "user"]),
    ("mistral", &["user"]),
    ("gemini", &["parallel_tool_calls", "user"]),
    ("vertex", &["parallel_tool_calls", "user"]),
    ("cohere", &["parallel_tool_calls", "user"]),
    ("ollama", &["tool_choice", "parallel_tool_calls", "user"]),
];

/// Puts the ids that were sent in place of `<9 chars for X>`: nine letters or digits, the same for the same `X` alone.
fn fill_ids(wanted: &mut Value, sent: &Value, ids: &mut HashMap<String, String>) {
    match wanted {
        Value::Array(items) => items.iter_mut().enumerate().for_each(|(i, item)| fill_ids(item, &sent[i], ids)),
        Value::Object(members) => members.iter_mut().for_each(|(name, item)| fill_ids(item, &sent[name], ids)),
        Value::String(text) if text.starts_with("<9 chars for ") => {
            let id = sent.as_str().unwrap_or_default().to_owned();
            assert!(id.len() == 9 && id.bytes().all(|b| b.is_ascii_alphanumeric()), "{id}");
            assert!(ids.iter().all(|(known, its)| (known == text) == (*its == id)), "{text}: {id}, {ids:?}");
            ids.insert(text.clone(), id.clone());
            *text = id;
        }
        _ => {}
    }
}

#[test]
fn one_request_becomes_what_each_dialect_expects() {
    let mapping = mapping();
    let text = mapping["openai_request"].to_string();
    for (kind, expected) in mapping["expect"].as_object().unwrap() {
        if registry(kind).is_none() {
            continue;
        }
        let sent = sent(kind, "m", &written(&text), Mode::Stream, None);
        let mut wanted = expected["body"].clone();
        fill_ids(&mut wanted, &sent.body, &mut HashMap::new());
        if kind == "ollama" {
            // Not in the mapping: without it a prompt that is too long loses its beginning silently.
            wanted["truncate"] = false.into();
        }
        assert_eq!(sent.body, wanted, "{kind}");
        if let Some((_, wanted)) = LEFT_OUT.iter().find(|(name, _)| name == kind) {
            assert_eq!(sent.left_out(), *wanted, "{kind}");
        }
        let key = match kind.as_str() {
            "anthropic" => "x-api-key",
            "azure" => "api-key",
            "gemini" => "x-goog-api-key",
            _ => "authorization",
        };
        assert!(sent.parts.headers.contains_key(key), "{kind}");
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

#[test]
fn a_tier_of_openais_is_anthropics_where_it_has_one() {
    let asked = |tier: &str| {
        let body = json!({"model": "m", "messages": [{"role": "user", "content": "x"}], "service_tier": tier});
        sent("anthropic", "m", &written(&body.to_string()), Mode::Whole, None)
    };
    for (tier, expected) in [("auto", "auto"), ("default", "standard_only"), ("standard_only", "standard_only")] {
        let sent = asked(tier);
        assert_eq!(sent.body["service_tier"], expected);
        assert!(sent.left_out().is_empty(), "{tier}: {:?}", sent.left_out());
    }
    let flex = asked("flex");
    assert!(flex.body.get("service_tier").is_none(), "{}", flex.body);
    assert_eq!(flex.unsupported, ["service_tier"]);
}

/// Kinds that share no words with OpenAI's.
const FOREIGN: [&str; 7] = ["anthropic", "bedrock", "cohere", "gemini", "mistral", "ollama", "vertex"];

/// Two functions, and a choice among them.
fn choosing(kind: &str, choice: &Value) -> sent::Sent {
    let tool = |name: &str| {
        let parameters = json!({"type": "object", "properties": {}});
        json!({"type": "function", "function": {"name": name, "parameters": parameters}})
    };
    let body = json!({
        "model": "m", "messages": [{"role": "user", "content": "x"}],
        "tools": [tool("look"), tool("pay")], "tool_choice": choice,
    });
    sent(kind, "m", &written(&body.to_string()), Mode::Whole, None)
}

fn allowing(mode: &str, tool: &Value) -> Value {
    json!({"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": [tool]}})
}

#[test]
fn a_choice_that_only_openais_dialect_knows_reaches_no_other() {
    let custom = json!({"type": "custom", "custom": {"name": "c"}});
    let nobody = json!({"type": "function", "function": {"name": "nobody"}});
    for kind in FOREIGN {
        for choice in [
            custom.clone(),
            json!({"type": "file_search"}),
            allowing("auto", &custom),
            allowing("auto", &nobody),
            allowing("perhaps", &nobody),
        ] {
            let sent = choosing(kind, &choice);
            assert_eq!(sent.unsupported, ["tool_choice"], "{kind}: {choice}");
            let (body, word) = (sent.body.to_string(), choice["type"].as_str().unwrap());
            assert!(!body.contains(word), "{kind}: {body}");
        }
    }
}

#[test]
fn a_choice_in_anthropics_own_words_reaches_it() {
    let own = json!({"type": "tool", "name": "pay"});
    let sent = choosing("anthropic", &own);
    assert_eq!(sent.body["tool_choice"], own);
    assert!(sent.left_out().is_empty(), "{:?}", sent.left_out());
}

#[test]
fn where_tools_cannot_be_allowed_those_that_are_not_are_not_offered() {
    let pay = json!({"type": "function", "function": {"name": "pay"}});
    for kind in FOREIGN {
        let sent = choosing(kind, &allowing("auto", &pay));
        assert!(sent.left_out().is_empty(), "{kind}: {:?}", sent.left_out());
        let body = sent.body.to_string();
        assert!(body.contains("\"pay\"") && !body.contains("\"look\""), "{kind}: {body}");
    }
    let required = |kind| choosing(kind, &allowing("required", &pay)).body;
    assert_eq!(required("anthropic")["tool_choice"], json!({"type": "any"}));
    assert_eq!(required("bedrock")["toolConfig"]["toolChoice"], json!({"any": {}}));
    assert_eq!(required("cohere")["tool_choice"], "REQUIRED");
    assert_eq!(required("gemini")["toolConfig"]["functionCallingConfig"]["mode"], "ANY");
    assert_eq!(required("mistral")["tool_choice"], "any");
    assert_eq!(choosing("ollama", &allowing("required", &pay)).unsupported, ["tool_choice"]);
}
