//! OpenAI in, OpenAI out: every field that the caller wrote, known or not, reaches the provider as it was written.

use proptest::{
    prelude::*,
    strategy::ValueTree,
    test_runner::{Config, TestRunner},
};
use serde_json::{Map, Value, json};

use crate::support::{World, hello};

/// JSON of any shape, with keys that collide with nothing.
fn unknown() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        "[ -~\u{e9}\u{20ac}\u{1f600}]{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec(("x_[a-z]{1,8}", inner), 0..4).prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

fn extended(mut object: Value, more: Vec<(String, Value)>) -> Value {
    object.as_object_mut().unwrap().extend(more);
    object
}

/// A chat body with unknown members at every level.
fn body() -> impl Strategy<Value = Value> {
    let more = || prop::collection::vec(("x_[a-z]{1,8}", unknown()), 0..3);
    (more(), more(), more(), more(), more(), any::<bool>()).prop_map(|(top, message, part, tool, function, stream)| {
        let text = extended(json!({"type": "text", "text": "hi"}), part.clone());
        let odd = extended(json!({"type": "x_unheard_of"}), part);
        let user = extended(json!({"role": "user", "content": [text, odd]}), message);
        let function = extended(json!({"name": "f", "parameters": {"type": "object", "x": 1}}), function);
        let tool = extended(json!({"type": "function", "function": function}), tool);
        let body = json!({
            "model": "scripted", "messages": [user], "tools": [tool], "tool_choice": "none", "temperature": 1,
            "stream": stream, "stream_options": {"include_obfuscation": false},
        });
        extended(body, top)
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_upstream_body_equals_the_callers_but_for_the_allowed_edits() {
    let world = World::with(|b| b.set("/keys/0/budget_usd", Value::Null)).await;
    let caller = world.gateway.caller();
    let url = world.v1("chat/completions");
    let mut runner = TestRunner::new(Config::default());
    for _ in 0..60 {
        let mut sent = body().new_tree(&mut runner).unwrap().current();
        if sent["stream"] == false {
            sent.as_object_mut().unwrap().shift_remove("stream_options");
        }
        let reply = caller.stream(&url, &sent).await.unwrap().whole().await.unwrap();
        assert_eq!(reply.status, 200, "{sent} -> {:?}", reply.body);
        let got = world.provider.log().last().unwrap().body.unwrap();
        let mut expected = sent.as_object().unwrap().clone();
        expected.insert("model".into(), json!("scripted-upstream"));
        if sent["stream"] == true {
            expected["stream_options"] = json!({"include_obfuscation": false, "include_usage": true});
        } else {
            expected.shift_remove("stream");
        }
        assert_eq!(got, Value::Object(expected.clone()));
        let order = |m: &Map<String, Value>| m.keys().cloned().collect::<Vec<_>>();
        assert_eq!(order(got.as_object().unwrap()), order(&expected));
    }
}

#[tokio::test]
async fn usage_that_only_the_gateway_asked_for_is_not_shown() {
    let world = World::start().await;
    let url = world.v1("chat/completions");
    let caller = world.gateway.caller();
    let (events, _) = caller.stream(&url, &hello(json!({"stream": true}))).await.unwrap().rest().await;
    assert!(events.iter().all(|e| !e.data.contains("usage")), "{events:?}");
    assert_eq!(events.last().unwrap().data, "[DONE]");
    let asked = hello(json!({"stream": true, "stream_options": {"include_usage": true}}));
    let (events, _) = caller.stream(&url, &asked).await.unwrap().rest().await;
    let last = events[events.len() - 2].json();
    assert_eq!(last["choices"], json!([]));
    assert!(last["usage"]["total_tokens"].as_u64().unwrap() > 0);
}

#[tokio::test]
async fn the_virtual_key_and_the_callers_headers_never_reach_a_provider() {
    let world = World::start().await;
    let caller = world.gateway.caller().with("x-secret-of-mine", "hush").with("cookie", "a=b");
    let caller = caller.with("anthropic-beta", "context-1m-2025-08-07").with("x-litellm-tags", "a");
    let caller = caller.with("openai-organization", "org-mine").with("user-agent", "mine/1.0");
    for route in ["chat/completions", "responses", "messages", "embeddings", "completions"] {
        let body = match route {
            "chat/completions" | "messages" => hello(json!({"max_tokens": 5})),
            "completions" => json!({"model": "scripted", "prompt": "hello"}),
            _ => json!({"model": "scripted", "input": "hello"}),
        };
        let reply = caller.post(&world.v1(route), &body).await.unwrap();
        assert_eq!(reply.status, 200, "{route}: {}", reply.json());
        let seen = world.provider.log().last().unwrap();
        assert!(seen.leaked_headers.is_empty());
        let callers = ["x-secret-of-mine", "cookie", "anthropic-beta", "x-litellm-tags", "openai-organization"];
        let leaked: Vec<_> = callers.into_iter().filter(|name| seen.headers.contains_key(*name)).collect();
        assert!(leaked.is_empty(), "{route}: {leaked:?}");
        assert_ne!(seen.headers.get("user-agent").map(String::as_str), Some("mine/1.0"), "{route}");
    }
}
