//! OpenAI's Responses API where the caller speaks it too: the caller's own bytes go out, the provider's own come back.

#![allow(clippy::unwrap_used)] // a test says by panicking

#[path = "support/sent.rs"]
#[allow(dead_code)]
mod sent;

use bytes::Bytes;
use sent::sent;
use serde_json::{Value, json};
use tollgate_proto::v1::{CompletionEvent, CompletionRequest, Dialect, Original, completion_event::Event};
use tollgate_providers::{ChatCall, Mode, registry::registry};

fn original(body: &Value) -> CompletionRequest {
    let body = body.to_string().into_bytes();
    let read = tollgate_http::responses::read(&body).unwrap();
    let original = Original { dialect: Dialect::OpenaiResponses as i32, body: body.into() };
    CompletionRequest { original: Some(original), ..read }
}

fn body(model: &str, body: &Value, mode: Mode, cap: Option<u64>) -> Value {
    sent("openai_responses", model, &original(body), mode, cap).body
}

#[test]
fn the_callers_bytes_are_edited_only_where_the_gateway_must() {
    let asked = json!({
        "x_first": [1.0, {"z": 1, "a": 2}], "model": "alias", "input": "hi", "store": true, "background": false,
        "tools": [{"type": "web_search"}], "fallbacks": ["b"], "drop_params": true, "max_output_tokens": 900,
        "include": ["web_search_call.results"], "stream": true, "stream_options": {"include_obfuscation": false},
    });
    let mut expected = json!({
        "x_first": [1.0, {"z": 1, "a": 2}], "model": "gpt-4o", "input": "hi", "store": false,
        "tools": [{"type": "web_search"}], "max_output_tokens": 900, "include": ["web_search_call.results"],
        "stream": true, "stream_options": {"include_obfuscation": false},
    });
    assert_eq!(body("gpt-4o", &asked, Mode::Stream, None), expected);
    let members = expected.as_object_mut().unwrap();
    members.shift_remove("stream");
    members.shift_remove("stream_options");
    assert_eq!(body("gpt-4o", &asked, Mode::Whole, None), expected);
    expected["max_output_tokens"] = 64.into();
    assert_eq!(body("gpt-4o", &asked, Mode::Whole, Some(64)), expected, "a budget affords no more");
    // What is not kept there must come back encrypted.
    expected["model"] = "o3".into();
    expected["include"] = json!(["web_search_call.results", "reasoning.encrypted_content"]);
    assert_eq!(body("o3", &asked, Mode::Whole, Some(64)), expected);
    let mut included = asked;
    included["include"] = json!(["reasoning.encrypted_content"]);
    assert_eq!(body("o3", &included, Mode::Whole, None)["include"], included["include"], "once");
}

#[test]
fn reasoning_without_a_proof_is_not_looked_for_where_nothing_is_kept() {
    let thought = |proof: Value| {
        json!({"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm."}],
               "encrypted_content": proof})
    };
    let said = json!({"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Lima."}]});
    let asked =
        |proof: Value| json!({"model": "alias", "input": [thought(proof), said, {"role": "user", "content": "?"}]});
    let proven = asked(json!("gAAAA"));
    assert_eq!(body("o3", &proven, Mode::Whole, None)["input"], proven["input"]);
    let unproven = body("o3", &asked(Value::Null), Mode::Whole, None)["input"].to_string();
    assert!(!unproven.contains("reasoning") && unproven.contains("Lima."), "{unproven}");
}

#[test]
fn a_custom_tool_survives_the_way_through_the_typed_fields() {
    let format = json!({"type": "grammar", "syntax": "lark", "definition": "start: /a/"});
    let tool = json!({"type": "custom", "name": "sh", "description": "Runs.", "format": format});
    let request = original(&json!({"model": "alias", "input": "hi", "tools": [tool]}));
    let typed = CompletionRequest { original: None, ..request };
    let flat = sent("openai_responses", "m", &typed, Mode::Whole, None).body["tools"][0].clone();
    assert_eq!(flat, tool);
    let deep = sent("openai", "m", &typed, Mode::Whole, None).body["tools"][0].clone();
    assert_eq!(deep["custom"]["format"]["grammar"], json!({"syntax": "lark", "definition": "start: /a/"}));
}

#[test]
fn what_another_dialect_has_not_is_named_and_left_out() {
    let asked = json!({"model": "alias", "input": "hi", "truncation": "auto", "max_tool_calls": 2, "prompt_cache_key": "k",
                       "tools": [{"type": "web_search"}, {"type": "function", "name": "f"}], "metadata": {"a": "b"}});
    let sent_to = |kind: &str| sent(kind, "m", &original(&asked), Mode::Whole, None);
    let chat = sent_to("openai");
    assert_eq!(chat.unsupported, ["truncation", "max_tool_calls", "tools[0]"]);
    let members: Vec<_> = chat.body.as_object().unwrap().keys().cloned().collect();
    assert_eq!(members, ["model", "messages", "tools", "prompt_cache_key"]);
    assert_eq!(chat.body["tools"].as_array().unwrap().len(), 1);
    let claude = sent_to("anthropic");
    for name in ["max_tool_calls", "truncation", "tools[0]"] {
        assert!(claude.unsupported.iter().any(|told| told == name), "{name}: {:?}", claude.unsupported);
    }
    assert_eq!(claude.body["tools"][0]["name"], "f");
}

fn decoded(body: String, mode: Mode) -> Vec<CompletionEvent> {
    let request = CompletionRequest::default();
    let call = ChatCall { want_native: Dialect::OpenaiResponses, ..ChatCall::new(&request, mode) };
    let mut decoder = registry("openai_responses").unwrap().chat().unwrap().decoder(&sent::target("m"), &call);
    let mut events = Vec::new();
    decoder.feed(&Bytes::from(body), &mut events).and_then(|()| decoder.end(&mut events)).unwrap();
    events
}

#[test]
fn every_event_of_the_providers_comes_along_as_it_was() {
    let said = json!({"type": "message", "id": "msg_1", "content": [{"type": "output_text", "text": "Lima."}]});
    let ended = json!({"id": "resp_1", "status": "completed", "output": [said], "x_new": 1.0});
    let sent = [
        json!({"type": "response.created", "response": {"id": "resp_1"}}),
        json!({"type": "response.in_progress", "response": {"id": "resp_1"}}),
        json!({"type": "response.output_item.added", "output_index": 0, "item": {"type": "message"}}),
        json!({"type": "response.content_part.added", "output_index": 0, "content_index": 0}),
        json!({"type": "response.output_text.delta", "output_index": 0, "delta": "Lima."}),
        json!({"type": "response.x_to_come", "n": 1}),
        json!({"type": "response.output_item.done", "output_index": 0, "item": said}),
        json!({"type": "response.completed", "response": ended}),
    ];
    let stream = sent.iter().map(|event| format!("event: x\ndata: {event}\n\n")).collect();
    let events = decoded(stream, Mode::Stream);
    let natives: Vec<Value> =
        events.iter().filter_map(|e| Some(serde_json::from_slice(&e.native.as_ref()?.body).unwrap())).collect();
    assert_eq!(natives, sent);
    assert!(matches!(events[0].event, Some(Event::Started(_))) && events[0].native.is_some());

    let whole = decoded(ended.to_string(), Mode::Whole);
    assert_eq!(whole[0].native.as_ref().unwrap().body, ended.to_string());
    assert_eq!(whole.iter().filter(|event| event.native.is_some()).count(), 1);
}
