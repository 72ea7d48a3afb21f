//! Anthropic's dialect at those who speak it: the caller's own bytes, edited only where they must be.

#![allow(clippy::unwrap_used)] // a test says by panicking

#[path = "support/sent.rs"]
#[allow(dead_code)]
mod sent;

use serde_json::{Value, json};
use tollgate_proto::v1::{CompletionRequest, Dialect, Original};
use tollgate_providers::{ChatCall, Mode, registry::registry, without_messages};

use sent::{Sent, sent, target};

fn asked(more: Value) -> CompletionRequest {
    let mut body = json!({
        "model": "m", "max_tokens": 4000, "x_own": 1, "system": "be brief",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}, {"type": "x_odd", "y": 1}]}],
    });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let text = body.to_string();
    let original = Original { dialect: Dialect::AnthropicMessages as i32, body: text.clone().into_bytes().into() };
    CompletionRequest { original: Some(original), ..tollgate_http::anthropic::read_messages(text.as_bytes()).unwrap() }
}

fn at(kind: &str, model: &str, request: &CompletionRequest) -> Sent {
    sent(kind, model, request, Mode::Stream, None)
}

#[test]
fn every_host_of_claude_gets_the_callers_bytes_in_its_own_frame() {
    let mut request = asked(json!({}));
    request.betas = vec!["x-1".into(), "x-2".into()];
    let messages =
        serde_json::from_slice::<Value>(&request.original.as_ref().unwrap().body).unwrap()["messages"].clone();
    for (kind, model) in [("anthropic", "claude"), ("vertex", "claude-x"), ("bedrock", "invoke/anthropic.claude-x")] {
        let sent = at(kind, model, &request);
        assert_eq!(sent.body["messages"], messages, "{kind}");
        assert_eq!(sent.body["x_own"], 1, "{kind}");
        assert!(sent.left_out().is_empty(), "{kind}: {:?}", sent.left_out());
        let header = sent.parts.headers.get("anthropic-beta").map(|value| value.to_str().unwrap());
        let (names, version) = (sent.body["anthropic_beta"].clone(), sent.body["anthropic_version"].clone());
        match kind {
            "bedrock" => {
                assert_eq!((names, version), (json!(["x-1", "x-2"]), json!("bedrock-2023-05-31")));
                assert!(sent.body.get("model").is_none() && sent.body.get("stream").is_none());
            }
            "vertex" => {
                assert_eq!((header, version), (Some("x-1,x-2"), json!("vertex-2023-10-16")));
                assert!(sent.body.get("model").is_none() && sent.body["stream"] == true);
            }
            _ => {
                assert_eq!((header, version), (Some("x-1,x-2"), Value::Null));
                assert_eq!((&sent.body["model"], &sent.body["stream"]), (&json!("claude"), &json!(true)));
            }
        }
    }
}

#[test]
fn a_cap_takes_the_budget_of_thinking_along() {
    let request = asked(json!({"thinking": {"type": "enabled", "budget_tokens": 3000}}));
    let capped = sent("anthropic", "claude", &request, Mode::Whole, Some(2_000));
    assert_eq!(capped.body["max_tokens"], 2_000);
    assert_eq!(capped.body["thinking"]["budget_tokens"], 1_999);
    let tight = sent("anthropic", "claude", &request, Mode::Whole, Some(500));
    assert_eq!(tight.body["max_tokens"], 500);
    assert!(tight.body.get("thinking").is_none(), "{}", tight.body);
    let adaptive = asked(json!({"thinking": {"type": "adaptive", "display": "omitted"}}));
    let capped = sent("anthropic", "claude", &adaptive, Mode::Whole, Some(500));
    assert_eq!(capped.body["thinking"], json!({"type": "adaptive", "display": "omitted"}));
}

#[test]
fn a_limit_that_nobody_named_is_set() {
    let mut body = serde_json::from_slice::<Value>(&asked(json!({})).original.unwrap().body).unwrap();
    body.as_object_mut().unwrap().shift_remove("max_tokens");
    let text = body.to_string();
    let original = Original { dialect: Dialect::AnthropicMessages as i32, body: text.clone().into_bytes().into() };
    let read = tollgate_http::anthropic::read_messages(text.as_bytes()).unwrap();
    let request = CompletionRequest { original: Some(original), ..read };
    assert_eq!(at("anthropic", "claude", &request).body["max_tokens"], 4_096);
}

#[test]
fn an_answer_that_is_gone_on_with_begins_where_it_broke_and_does_not_think() {
    let request = asked(json!({"thinking": {"type": "enabled", "budget_tokens": 2000}}));
    let call = ChatCall { prefill: Some("The toll"), ..ChatCall::new(&request, Mode::Stream) };
    let outgoing = registry("anthropic").unwrap().chat().unwrap().request(&target("claude"), &call).unwrap();
    let body: Value = serde_json::from_slice(outgoing.request.body()).unwrap();
    let messages = body["messages"].as_array().unwrap();
    assert_eq!(messages[0]["content"][1], json!({"type": "x_odd", "y": 1}), "what only this dialect has stays");
    assert_eq!(messages[1], json!({"role": "assistant", "content": [{"type": "text", "text": "The toll"}]}));
    assert!(body.get("thinking").is_none() && body["x_own"] == 1 && body["system"] == "be brief", "{body}");
}

#[test]
fn changed_messages_are_written_and_all_else_is_spliced() {
    let mut request = asked(json!({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}));
    request.original = request.original.as_ref().and_then(without_messages);
    request.messages.truncate(2);
    request.messages[1].parts.remove(0);
    let sent = at("anthropic", "claude", &request);
    assert_eq!(sent.body["messages"], json!([{"role": "user", "content": [{"type": "x_odd", "y": 1}]}]));
    assert_eq!((&sent.body["system"], &sent.body["x_own"]), (&json!("be brief"), &json!(1)));
    assert_eq!(sent.body["tools"][0]["type"], "web_search_20250305");
    let chat = Original { dialect: Dialect::OpenaiChat as i32, body: "{}".into() };
    assert_eq!(without_messages(&chat), None);
}
