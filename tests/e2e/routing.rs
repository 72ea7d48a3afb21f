//! Retries, fallbacks, and streams that break.

use std::time::Duration;

use serde_json::json;
use tollgate_tests::provider::{Cut, Malformed, Step};

use crate::support::{World, hello};

async fn with_fallback() -> World {
    let fallback = json!({"name": "scripted", "deployments": [
        {"provider": "scripted", "model": "scripted-upstream", "price": {"input": "0.15", "output": "0.60"}}
    ], "fallbacks": ["spare"], "retries": 0});
    World::with(|b| b.set("/models/0", fallback).model("spare", "scripted", "spare-upstream")).await
}

#[tokio::test]
async fn failures_before_the_first_content_fall_back_invisibly() {
    let world = with_fallback().await;
    let url = world.v1("chat/completions");
    for step in [
        Step::fails(429),
        Step::fails(500),
        Step::fails(503),
        Step::fails(401),
        Step { no_reply: true, ..Step::default() },
        Step::streams(4).then_cuts(0, Cut::Rst),
    ] {
        let shown = format!("{step:?}");
        world.provider.script("scripted-upstream", [step]);
        world.provider.script("spare-upstream", [Step::text("from the spare")]);
        let (events, ended) =
            world.gateway.caller().stream(&url, &hello(json!({"stream": true}))).await.unwrap().rest().await;
        ended.unwrap();
        let text: String = events
            .iter()
            .filter(|e| e.data != "[DONE]")
            .filter_map(|e| e.json()["choices"][0]["delta"]["content"].as_str().map(str::to_owned))
            .collect();
        assert_eq!(text, "from the spare", "{shown}");
        assert_eq!(events.last().unwrap().data, "[DONE]", "{shown}");
    }
    let record = world.records().await.pop().unwrap();
    let classes: Vec<_> = record.routing.unwrap().attempts.into_iter().map(|a| a.class).collect();
    assert_eq!(classes, ["connection", "ok"].map(|c| if c == "connection" { "upstream_truncated" } else { c }));
}

#[tokio::test]
async fn the_callers_own_mistakes_are_never_retried() {
    let world = with_fallback().await;
    world.provider.always("scripted-upstream", [Step::fails(400)]);
    let reply = world.gateway.caller().post(&world.v1("chat/completions"), &hello(json!({}))).await.unwrap();
    assert_eq!(reply.status, 400);
    assert_eq!(world.provider.log().stats().calls, 1);
}

#[tokio::test]
async fn a_rate_limit_is_retried_when_the_provider_says_and_told_when_nothing_is_left() {
    let world = World::start().await;
    let url = world.v1("chat/completions");
    world.provider.script("scripted-upstream", [Step::fails(429).retry_after(1)]);
    let begun = std::time::Instant::now();
    assert_eq!(world.gateway.caller().post(&url, &hello(json!({}))).await.unwrap().status, 200);
    assert!(begun.elapsed() >= Duration::from_secs(1));
    world.provider.always("scripted-upstream", [Step::fails(429).retry_after(60)]);
    let reply = world.gateway.caller().post(&url, &hello(json!({}))).await.unwrap();
    assert_eq!((reply.status.as_u16(), reply.header("retry-after")), (429, "60"));
    assert_eq!(reply.json()["error"]["code"], "rate_limit_exceeded");
}

#[tokio::test]
async fn a_stream_that_breaks_after_its_first_content_ends_with_an_error_and_is_booked() {
    let world = with_fallback().await;
    let url = world.v1("chat/completions");
    let breaks = [
        Step::streams(8).then_cuts(3, Cut::Rst),
        Step::streams(8).then_cuts(3, Cut::Fin),
        Step::streams(8).then_errs(3),
        Step { malformed: Some(Malformed::Json), ..Step::streams(8) },
    ];
    let count = breaks.len();
    for step in breaks {
        let shown = format!("{step:?}");
        world.provider.script("scripted-upstream", [step]);
        let (events, _) =
            world.gateway.caller().stream(&url, &hello(json!({"stream": true}))).await.unwrap().rest().await;
        let last = events.last().unwrap();
        assert!(last.json()["error"]["message"].is_string(), "{shown}: {last:?}");
        assert!(events.iter().all(|e| e.data != "[DONE]"), "{shown}");
    }
    let entries = world.entries().await;
    assert_eq!(entries.len(), count);
    assert!(entries.iter().all(|e| e.outcome == "failed" && e.cost_nano_usd > 0));
}

#[tokio::test]
async fn a_provider_nobody_reaches_is_a_bad_gateway_and_costs_nothing() {
    let world = World::with(|b| {
        b.provider("gone", "http://127.0.0.1:9/v1").model("gone", "gone", "m").set("/models/1/retries", 0)
    })
    .await;
    let reply =
        world.gateway.caller().post(&world.v1("chat/completions"), &hello(json!({"model": "gone"}))).await.unwrap();
    assert_eq!((reply.status.as_u16(), &reply.json()["error"]["code"]), (502, &json!("provider_failed")));
    assert_eq!(world.entries().await.len(), 0);
    assert_eq!(world.budget().await.held_nano_usd, 0);
}

#[tokio::test]
async fn anthropic_serves_openai_callers_with_tools_and_signed_reasoning() {
    let provider = tollgate_tests::provider::ScriptedProvider::start().await;
    let gateway = tollgate_tests::support::gateway::Gateway::builder()
        .provider_of_kind("claude", "anthropic", &provider.base_url())
        .model("claude", "claude", "claude-upstream")
        .start()
        .await;
    let url = gateway.v1("chat/completions");
    let tools = json!([{"type": "function", "function": {"name": "weather", "parameters": {
        "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}]);
    let mut messages = vec![json!({"role": "user", "content": "What is the weather?"})];
    for _ in 0..2 {
        let body = json!({"model": "claude", "messages": messages, "tools": tools, "reasoning_effort": "low", "max_tokens": 4000});
        let reply = gateway.caller().post(&url, &body).await.unwrap();
        assert_eq!(reply.status, 200, "{:?}", reply.body);
        let message = reply.json()["choices"][0]["message"].clone();
        messages.push(message.clone());
        if let Some(call) = message["tool_calls"].get(0) {
            assert!(message["reasoning_details"][0]["signature"].is_string(), "{message}");
            messages.push(json!({"role": "tool", "tool_call_id": call["id"], "content": "19 degrees"}));
        }
    }
    // The provider refuses a turn whose reasoning was lost or changed: that it answered is the proof.
    assert_eq!(provider.log().stats().complete, 2);
}

#[tokio::test]
async fn a_cut_anthropic_stream_is_booked_by_its_reported_input_and_what_arrived() {
    let world = World::with_provider(|b, base_url| {
        b.provider_of_kind("claude", "anthropic", base_url).model("claude", "claude", "claude-upstream")
    })
    .await;
    world.provider.script("claude-upstream", [Step::streams(40).then_cuts(30, Cut::Rst)]);
    let body = hello(json!({"model": "claude", "stream": true}));
    let (events, _) = world.gateway.caller().stream(&world.v1("chat/completions"), &body).await.unwrap().rest().await;
    assert!(events.last().unwrap().json()["error"].is_object());
    let entry = world.entries().await.pop().unwrap();
    let billed = world.provider.log().settled(1).await.pop().unwrap();
    let usage = entry.usage.clone().unwrap();
    assert_eq!(entry.kind(), tollgate_client::v1::LedgerEntryKind::Estimated);
    assert_eq!(usage.input.unwrap().total, billed.prompt_tokens);
    assert!(usage.output.unwrap().total > 5, "{usage:?} against {}", billed.completion_tokens);
}
