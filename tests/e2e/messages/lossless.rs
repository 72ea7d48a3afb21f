//! Anthropic in, Anthropic out: every byte that a caller wrote reaches the provider but for the edits that must be, and
//! every byte of the answer comes back.

use serde_json::{Value, json};
use tollgate_client::v1;
use tollgate_fixtures::{
    fixtures,
    serve::{Cut, serve},
};
use tollgate_tests::support::{Gateway, http::Caller};

use super::{
    told::{ask, caller, post, said},
    world,
};

/// The data of each event, as it came.
fn data(body: &str) -> Vec<(Option<String>, String)> {
    let events = body.split("\n\n").filter(|event| event.contains("data:"));
    let field = |event: &str, name: &str| {
        event.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim_start().to_owned())
    };
    events.map(|event| (field(event, "event:"), field(event, "data:").unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_of_anthropics_comes_back_as_it_was() {
    let mut told = 0;
    for fixture in fixtures("anthropic").iter().filter(|fixture| fixture.envelope["response"]["status"] == 200) {
        for cut in [Cut::Whole, Cut::Bytes] {
            let address = serve(&fixture.envelope, fixture.body.clone(), cut).await;
            let base_url = format!("http://{address}/v1");
            let builder = Gateway::builder().provider_of_kind("anthropic", "anthropic", &base_url);
            let gateway = builder.model("claude", "anthropic", "m").start().await;
            let body = ask("claude", json!({"stream": fixture.is_stream()}));
            let answer = Caller::anthropic(gateway.key()).post(&gateway.v1("messages"), &body).await.unwrap();
            assert_eq!(answer.status, 200, "{}: {}", fixture.name, answer.json());
            let (came, sent) = (String::from_utf8_lossy(&answer.body), String::from_utf8_lossy(&fixture.body));
            if !fixture.is_stream() {
                assert_eq!(came, sent, "{}", fixture.name);
            } else {
                let (came, mut sent) = (data(&came), data(&sent.replace("\r\n", "\n")));
                // What the provider ends with an error is told as the gateway's own.
                let errs = sent.last().is_some_and(|(name, _)| name.as_deref() == Some("error"));
                let passed = if errs { came.len() - 1 } else { came.len() };
                sent.truncate(if errs { sent.len() - 1 } else { sent.len() });
                assert_eq!(came[..passed], sent[..], "{}", fixture.name);
            }
            told += 1;
        }
    }
    assert!(told > 20, "{told} answers");
}

#[tokio::test]
async fn the_upstream_body_equals_the_callers_but_for_the_allowed_edits() {
    let world = world().await;
    let hint = json!({"type": "ephemeral", "ttl": "1h"});
    let odd = json!({"type": "x_unheard_of", "z": [1.50, null], "a": {"deep": true}});
    let text = json!({"type": "text", "text": "hi", "cache_control": hint, "citations": null});
    let server_tool = json!({"type": "web_search_20250305", "name": "web_search", "max_uses": 5});
    let tool = json!({"name": "f", "input_schema": {"type": "object", "x": 1}, "defer_loading": true,
                      "cache_control": hint, "x_tool": 7});
    for stream in [false, true] {
        let sent = json!({
            "x_first": {"b": 2, "a": 18_446_744_073_709_551_615_u64},
            "model": "claude", "max_tokens": 77,
            "system": [{"type": "text", "text": "be brief", "cache_control": hint}],
            "messages": [{"role": "user", "content": [text, odd]}], "tools": [server_tool, tool],
            "tool_choice": {"type": "none"}, "context_management": {"edits": []}, "temperature": 1,
            "metadata": {"user_id": "u-1"}, "service_tier": "auto", "container": null, "stream": stream,
        });
        let beta = caller(&world).with("anthropic-beta", "context-management-2025-06-27, x-1");
        let reply = beta.stream(&world.v1("messages"), &sent).await.unwrap().whole().await.unwrap();
        assert_eq!(reply.status, 200, "{}", String::from_utf8_lossy(&reply.body));
        let record = world.provider.log().last().unwrap();
        let got = record.body.unwrap();
        let mut expected = sent.as_object().unwrap().clone();
        expected.insert("model".into(), json!("claude-upstream"));
        if !stream {
            expected.shift_remove("stream");
        }
        assert_eq!(got, Value::Object(expected.clone()));
        let order = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(order(&got), order(&Value::Object(expected)));
        assert_eq!(record.headers["anthropic-beta"], "context-management-2025-06-27,x-1");
    }
}

#[tokio::test]
async fn wishes_to_the_gateway_never_reach_the_provider() {
    let world = world().await;
    let more = json!({"metadata": {"user_id": "u", "tags": ["blue"]}, "fallbacks": [], "drop_params": true});
    let reply = post(&world, &ask("claude", more)).await;
    assert_eq!(reply.status, 200, "{}", reply.json());
    let sent = world.provider.log().last().unwrap().body.unwrap();
    assert_eq!(sent["metadata"], json!({"user_id": "u"}));
    assert!(sent.get("fallbacks").is_none() && sent.get("drop_params").is_none(), "{sent}");
    assert!(world.entries().await[0].tags.contains(&"blue".to_owned()));
}

#[tokio::test]
async fn thinking_of_another_model_is_left_out_and_all_else_stays() {
    let world = world().await;
    let foreign = json!({"type": "thinking", "thinking": "hm", "signature": "tollgate:google-gemini-v1:c2ln"});
    let unsigned = json!({"type": "thinking", "thinking": "hm", "signature": ""});
    let odd = json!({"type": "x_unheard_of", "z": 1});
    let call = json!({"type": "tool_use", "id": "t1", "name": "f", "input": {"z": 1, "a": 2.50}});
    let result =
        json!({"type": "tool_result", "tool_use_id": "t1", "content": "4", "cache_control": {"type": "ephemeral"}});
    let messages = json!([
        {"role": "user", "content": [{"type": "text", "text": "2+2?"}, odd]},
        {"role": "assistant", "content": [foreign, unsigned, call]},
        {"role": "user", "content": [result, {"type": "text", "text": "well?"}]},
    ]);
    let tools = json!([{"name": "f", "input_schema": {"type": "object"}}]);
    let more = json!({"messages": messages, "tools": tools, "context_management": {"edits": []},
                      "thinking": {"type": "enabled", "budget_tokens": 2000}});
    let message = said(&world, &ask("claude", more.clone()), false).await;
    assert_eq!(message["stop_reason"], "end_turn");
    let sent = world.provider.log().last().unwrap().body.unwrap();
    let mut expected = messages.clone();
    expected[1]["content"] = json!([call]);
    assert_eq!(sent["messages"], expected);
    assert_eq!(sent["context_management"], json!({"edits": []}));
    // The thoughts that led to the call are gone: the provider would refuse to think on.
    assert!(sent.get("thinking").is_none(), "{sent}");
}

#[tokio::test]
async fn the_same_bytes_by_grpc_are_read_anew_and_passed_on() {
    let world = world().await;
    let body = ask("claude", json!({"x_unheard_of": 1, "system": "be brief"})).to_string();
    let dialect = v1::Dialect::AnthropicMessages as i32;
    let request = v1::CompletionRequest {
        model: Some("scripted".into()),
        original: Some(v1::Original { dialect, body: body.into() }),
        betas: vec!["x-1".into()],
        tollgate: Some(v1::GatewayOptions { want_native: dialect, ..Default::default() }),
        ..Default::default()
    };
    let asked = v1::CreateCompletionRequest { request: Some(request) };
    let answer = world.caller().await.completions().create_completion(asked).await.unwrap().into_inner();
    let completion = answer.completion.unwrap();
    assert_eq!(completion.started.unwrap().served_model, "claude-upstream", "the bytes count, not the fields");
    let native: Value = serde_json::from_slice(&completion.native.unwrap().body).unwrap();
    assert_eq!(native["type"], "message");
    let record = world.provider.log().last().unwrap();
    assert_eq!(record.body.unwrap()["x_unheard_of"], 1);
    assert_eq!(record.headers["anthropic-beta"], "x-1");
}
