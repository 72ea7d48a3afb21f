//! One conversation, several dialects: signed reasoning comes back as it was given out, and nothing is left out in silence.

use serde_json::{Value, json};
use tollgate_client::v1;
use tollgate_tests::{
    provider::Step,
    support::http::{Caller, Reply},
};

use crate::support::World;

const MODEL: &str = "thinker";
/// The same at its provider: a name by which every kind knows that it thinks.
const UPSTREAM: &str = "gemini-3-thinker";
/// Kinds of providers that sign their reasoning.
const SIGNING: [&str; 2] = ["anthropic", "gemini"];

/// A model that signs its reasoning, before an ordinary one.
async fn world(kind: &str) -> World {
    World::with_provider(|builder, url| builder.provider_of_kind(kind, kind, url).model(MODEL, kind, UPSTREAM)).await
}

fn tool() -> Value {
    let parameters = json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    json!({"type": "function", "function": {"name": "weather", "parameters": parameters}})
}

fn second_tool() -> Value {
    json!({"type": "function", "function": {"name": "time", "parameters": {"type": "object", "properties": {}}}})
}

/// Two turns that call tools, in parallel in the first, and one that answers.
fn script(world: &World) {
    let calls = Step { calls_tool: true, ..Step::default() };
    let steps = [Step { parallel: true, ..calls.clone() }, calls, Step::text("Warm at noon.")];
    world.provider.script(UPSTREAM, steps);
}

fn results(message: &Value) -> Vec<Value> {
    let calls = message["tool_calls"].as_array().unwrap();
    calls
        .iter()
        .map(|call| json!({"role": "tool", "tool_call_id": call["id"], "content": "{\"is\":\"fine\"}"}))
        .collect()
}

fn text_of(reply: &Reply) -> String {
    String::from_utf8_lossy(&reply.body).into_owned()
}

/// What a client of OpenAI's makes of a stream: deltas joined, lists by their index.
fn joined(reply: &Reply) -> Value {
    let mut message = json!({"role": "assistant", "content": null});
    for line in text_of(reply).lines().filter_map(|line| line.strip_prefix("data: ")).filter(|data| *data != "[DONE]") {
        let chunk: Value = serde_json::from_str(line).unwrap();
        assert!(chunk.get("error").is_none(), "{chunk}");
        for delta in chunk["choices"].as_array().unwrap().iter().map(|choice| &choice["delta"]) {
            join(&mut message, delta);
        }
    }
    message
}

fn join(into: &mut Value, delta: &Value) {
    for (name, piece) in delta.as_object().unwrap() {
        match (&mut into[name.as_str()], piece) {
            (_, Value::Null) => {}
            (known @ Value::Null, Value::Array(_)) => {
                *known = json!([]);
                join_list(known, piece);
            }
            (known @ Value::Null, piece) => *known = piece.clone(),
            (known @ Value::Array(_), piece) => join_list(known, piece),
            (known @ Value::Object(_), piece) => join(known, piece),
            (Value::String(known), Value::String(more))
                if !["role", "type", "id", "format"].contains(&name.as_str()) =>
            {
                known.push_str(more);
            }
            _ => {}
        }
    }
}

fn join_list(known: &mut Value, pieces: &Value) {
    let known = known.as_array_mut().unwrap();
    for piece in pieces.as_array().unwrap() {
        match known.iter_mut().find(|item| item["index"] == piece["index"]) {
            Some(item) => join(item, piece),
            None => known.push(piece.clone()),
        }
    }
}

async fn say(world: &World, caller: &Caller, stream: bool, messages: &[Value]) -> Value {
    let body = json!({
        "model": MODEL, "messages": messages, "tools": [tool(), second_tool()], "reasoning_effort": "high",
        "max_completion_tokens": 4000, "stream": stream,
    });
    let reply = caller.stream(&world.v1("chat/completions"), &body).await.unwrap().whole().await.unwrap();
    assert_eq!(reply.status, 200, "{}", text_of(&reply));
    match stream {
        true => joined(&reply),
        false => reply.json()["choices"][0]["message"].clone(),
    }
}

/// Three turns through the shim; `carries`: the client gives reasoning back.
async fn rest_loop(kind: &str, stream: bool, carries: bool) {
    let world = world(kind).await;
    script(&world);
    let caller = world.gateway.caller();
    let mut messages = vec![json!({"role": "user", "content": "How is Lima?"})];
    for _ in 0..2 {
        let mut message = say(&world, &caller, stream, &messages).await;
        assert!(message["reasoning_details"].is_array(), "{message}");
        if !carries {
            message.as_object_mut().unwrap().retain(|name, _| !name.starts_with("reasoning"));
        }
        let results = results(&message);
        messages.push(message);
        messages.extend(results);
    }
    let last = say(&world, &caller, stream, &messages).await;
    assert_eq!(last["content"], "Warm at noon.");
    assert_eq!(world.provider.log().records().len(), 3, "no attempt was refused");
}

#[tokio::test]
async fn signed_reasoning_goes_round_with_clients_that_carry_it() {
    for kind in SIGNING {
        for stream in [false, true] {
            rest_loop(kind, stream, true).await;
        }
    }
}

#[tokio::test]
async fn signed_reasoning_goes_round_with_clients_that_know_nothing_of_it() {
    for kind in SIGNING {
        for stream in [false, true] {
            rest_loop(kind, stream, false).await;
        }
    }
}

/// Three turns through gRPC; the message that came is the message that goes back.
async fn grpc_loop(kind: &str, stream: bool) {
    let world = world(kind).await;
    script(&world);
    let client = world.caller().await;
    let part = |content| v1::Part { content: Some(content), ..v1::Part::default() };
    let text = part(v1::part::Content::Text(v1::TextPart { text: "How is Lima?".into() }));
    let question = v1::Message { role: v1::Role::User as i32, parts: vec![text], ..v1::Message::default() };
    let mut request = v1::CompletionRequest {
        model: Some(MODEL.into()),
        messages: vec![question],
        tools: ["weather", "time"].map(function).to_vec(),
        reasoning: Some(v1::Reasoning { effort_native: Some("high".into()), budget_tokens: None }),
        max_output_tokens: Some(4_000),
        ..v1::CompletionRequest::default()
    };
    for turn in 0..3 {
        let message = match stream {
            true => streamed(&client, request.clone()).await,
            false => {
                let asked = v1::CreateCompletionRequest { request: Some(request.clone()) };
                let answer = client.completions().create_completion(asked).await.unwrap().into_inner();
                answer.completion.unwrap().choices.remove(0).message.unwrap()
            }
        };
        let results: Vec<v1::Part> = message
            .parts
            .iter()
            .filter_map(|of_answer| match &of_answer.content {
                Some(v1::part::Content::ToolCall(call)) => {
                    let text = part(v1::part::Content::Text(v1::TextPart { text: "fine".into() }));
                    let tool_call_id = call.id.clone();
                    let result = v1::ToolResultPart { tool_call_id, content: vec![text], is_error: None };
                    Some(part(v1::part::Content::ToolResult(result)))
                }
                _ => None,
            })
            .collect();
        assert_eq!(results.len(), [2, 1, 0][turn], "{kind}: calls in turn {turn}");
        request.messages.push(message);
        if !results.is_empty() {
            let tool = v1::Message { role: v1::Role::Tool as i32, parts: results, ..v1::Message::default() };
            request.messages.push(tool);
        }
    }
    assert_eq!(world.provider.log().records().len(), 3, "no attempt was refused");
}

fn function(name: &str) -> v1::Tool {
    let function = v1::FunctionTool {
        name: name.into(),
        parameters_json: Some(r#"{"type":"object","properties":{}}"#.into()),
        ..v1::FunctionTool::default()
    };
    v1::Tool { kind: Some(v1::tool::Kind::Function(function)), ..v1::Tool::default() }
}

async fn streamed(client: &tollgate_client::Client, request: v1::CompletionRequest) -> v1::Message {
    let asked = v1::StreamCompletionRequest { request: Some(request) };
    let mut events = client.completions().stream_completion(asked).await.unwrap().into_inner();
    let mut collector = tollgate_proto::Collector::default();
    while let Some(response) = events.message().await.unwrap() {
        collector.take(response.event.unwrap());
    }
    collector.finish().choices.remove(0).message.unwrap()
}

#[tokio::test]
async fn signed_reasoning_goes_round_through_grpc() {
    for kind in SIGNING {
        for stream in [false, true] {
            grpc_loop(kind, stream).await;
        }
    }
}

#[tokio::test]
async fn reasoning_that_is_lost_is_not_asked_for_in_that_turn() {
    let world = world("anthropic").await;
    script(&world);
    let caller = world.gateway.caller();
    let call = json!({"id": "toolu_elsewhere", "type": "function", "function": {"name": "weather", "arguments": "{}"}});
    let messages = [
        json!({"role": "user", "content": "How is Lima?"}),
        json!({"role": "assistant", "content": null, "tool_calls": [call]}),
        json!({"role": "tool", "tool_call_id": "toolu_elsewhere", "content": "fine"}),
    ];
    let body = json!({"model": MODEL, "messages": messages, "tools": [tool()], "reasoning_effort": "high"});
    let reply = caller.post(&world.v1("chat/completions"), &body).await.unwrap();
    assert_eq!(reply.status, 200, "{}", reply.json());
    assert!(reply.header("x-tollgate-dropped-params").contains("reasoning_effort"));
}

#[tokio::test]
async fn a_parameter_that_no_deployment_heeds_is_refused_by_name() {
    let world = world("anthropic").await;
    let caller = world.gateway.caller();
    let body = json!({"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "seed": 7});
    let reply = caller.post(&world.v1("chat/completions"), &body).await.unwrap();
    assert_eq!(reply.status, 400);
    let error = reply.json()["error"].clone();
    assert_eq!((&error["param"], &error["code"]), (&json!("seed"), &json!("unsupported_parameter")));
    assert!(error["message"].as_str().unwrap().contains("drop_params"), "{error}");
    assert!(world.provider.log().records().is_empty(), "nothing was sent");
    assert_eq!(world.budget().await.spent_nano_usd, 0);
}

#[tokio::test]
async fn what_may_be_dropped_is_told() {
    let world = world("anthropic").await;
    let url = world.v1("chat/completions");
    let body = json!({"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "seed": 7, "n": 2});
    let with = |name: &str, value: Value| {
        let mut body = body.clone();
        body[name] = value;
        body
    };
    let by_header = world.gateway.caller().with("x-tollgate-drop-params", "true");
    for (caller, body) in [(by_header, body.clone()), (world.gateway.caller(), with("drop_params", json!(true)))] {
        let reply = caller.post(&url, &body).await.unwrap();
        assert_eq!(reply.status, 200, "{}", reply.json());
        assert_eq!(reply.header("x-tollgate-dropped-params"), "seed, n");
    }
    let sent = world.provider.log().last().unwrap().body.unwrap();
    assert!(sent.get("seed").is_none() && sent.get("drop_params").is_none(), "{sent}");
    let wrong = world.gateway.caller().with("x-tollgate-drop-params", "perhaps");
    assert_eq!(wrong.post(&url, &body).await.unwrap().status, 400);
}

#[tokio::test]
async fn what_stands_beside_a_message_is_refused_by_name_or_told_too() {
    let world = world("anthropic").await;
    let url = world.v1("chat/completions");
    let image =
        json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo=", "detail": "low"}});
    let text = json!({"type": "text", "text": "hi", "annotate": 1});
    let mut tool = tool();
    tool["function"]["cost"] = json!(3);
    let body = json!({"model": MODEL, "messages": [{"role": "user", "name": "ann", "content": [text, image]}],
                      "tools": [tool], "seed": 18_446_744_073_709_551_615_u64});
    let reply = world.gateway.caller().post(&url, &body).await.unwrap();
    assert_eq!(reply.status, 400, "{}", reply.json());
    let caller = world.gateway.caller().with("x-tollgate-drop-params", "true");
    let reply = caller.post(&url, &body).await.unwrap();
    assert_eq!(reply.status, 200, "{}", reply.json());
    let dropped = reply.header("x-tollgate-dropped-params");
    let mut dropped: Vec<&str> = dropped.split(", ").collect();
    dropped.sort_unstable();
    let expected = [
        "messages[0].content[0].annotate",
        "messages[0].content[1].image_url.detail",
        "messages[0].name",
        "seed",
        "tools[0].function.cost",
    ];
    assert_eq!(dropped, expected);
}

#[tokio::test]
async fn caching_hints_reach_those_who_take_them_and_no_others() {
    for (kind, takes) in [("openai", false), ("openrouter", true)] {
        let world = World::with_provider(|builder, url| {
            let deployment = json!({"provider": kind, "model": "m", "price": {"input": "1", "output": "1"}});
            builder.provider_of_kind(kind, kind, url).deployment(MODEL, deployment)
        })
        .await;
        let hint = json!({"type": "ephemeral"});
        let mut tool = tool();
        tool["cache_control"] = hint.clone();
        let text = json!({"type": "text", "text": "hi", "cache_control": hint});
        let body = json!({"model": MODEL, "messages": [{"role": "user", "content": [text]}], "tools": [tool]});
        let reply = world.gateway.caller().post(&world.v1("chat/completions"), &body).await.unwrap();
        assert_eq!(reply.status, 200, "{}", reply.json());
        let sent = world.provider.log().last().unwrap().body.unwrap();
        assert_eq!(sent["messages"][0]["content"][0].get("cache_control").is_some(), takes, "{kind}: {sent}");
        assert_eq!(sent["tools"][0].get("cache_control").is_some(), takes, "{kind}: {sent}");
        let told = reply.headers.get("x-tollgate-dropped-params").map(|told| told.to_str().unwrap().to_owned());
        let expected = "messages[0].content[0].cache_control, tools[0].cache_control";
        assert_eq!(told, (!takes).then(|| expected.to_owned()), "{kind}");
    }
}

/// A deployment of a kind that heeds less, and one of the dialect behind it.
async fn two_deployments() -> World {
    World::with_provider(|builder, url| {
        let builder = builder.provider_of_kind("anthropic", "anthropic", url).provider("plain", url);
        let deployment = |provider: &str, order: u32| {
            json!({"provider": provider, "model": provider, "order": order, "price": {"input": "1", "output": "1"}})
        };
        builder.deployment(MODEL, deployment("anthropic", 0)).deployment(MODEL, deployment("plain", 1))
    })
    .await
}

#[tokio::test]
async fn a_call_goes_to_the_deployment_that_heeds_its_parameters() {
    let audio = json!([{"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}]);
    for (name, content, seed) in [("a parameter", json!("hi"), Some(7)), ("content", audio, None)] {
        let world = two_deployments().await;
        let caller = world.gateway.caller().with("x-tollgate-want-routing", "true");
        let mut body = json!({"model": MODEL, "messages": [{"role": "user", "content": content}]});
        if let Some(seed) = seed {
            body["seed"] = seed.into();
        }
        let reply = caller.post(&world.v1("chat/completions"), &body).await.unwrap();
        assert_eq!(reply.status, 200, "{name}: {}", reply.json());
        assert_eq!(world.provider.log().records().len(), 1, "{name}");
        assert_eq!(world.provider.log().last().unwrap().model, "plain", "{name}");
        let route = reply.header("x-tollgate-route");
        assert!(route.contains("unsupported"), "{name}: {route}");
    }
}
