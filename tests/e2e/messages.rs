//! `POST /v1/messages` at providers of every dialect.

mod elsewhere;
mod errors;
mod llama;
mod lossless;
mod told;

use serde_json::{Value, json};
use tollgate_tests::{provider::Step, support::http::Caller};

use crate::support::World;
use told::{ask, blocks, caller, post, said, text};

/// A model of each dialect that thinks, and a Llama on a server of one's own.
const MODELS: [&str; 4] = ["claude", "gemini", "llama", "gpt"];
/// Those that are asked in OpenAI's dialect.
const OPENAIS: [&str; 2] = ["llama", "gpt"];

async fn world() -> World {
    World::with_provider(|builder, url| {
        builder
            // What one case makes fail is not left alone for the next.
            .set("/routing", json!({"cooldown": {"time": "0s", "credential_time": "0s"}}))
            .provider_of_kind("anthropic", "anthropic", url)
            .model("claude", "anthropic", "claude-upstream")
            .provider_of_kind("gemini", "gemini", url)
            .model("gemini", "gemini", "gemini-3-upstream")
            .provider_of_kind("openai", "openai", url)
            .model("gpt", "openai", "gpt-upstream")
            .provider_of_kind("vllm", "vllm", url)
            .model("llama", "vllm", "llama-upstream")
    })
    .await
}

fn tool(name: &str) -> Value {
    let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    json!({"name": name, "description": "It tells.", "input_schema": schema})
}

#[tokio::test]
async fn text_comes_from_every_dialect_whole_and_streamed() {
    let world = world().await;
    for model in MODELS {
        for stream in [false, true] {
            let content = r#"[[script {"text": "Good day to you", "cached_tokens": 2}]]"#;
            let body = ask(model, json!({"messages": [{"role": "user", "content": content}], "system": "be kind"}));
            let message = said(&world, &body, stream).await;
            assert_eq!(text(&message), "Good day to you", "{model}");
            assert_eq!((&message["type"], &message["role"]), (&json!("message"), &json!("assistant")));
            assert_eq!(message["stop_reason"], "end_turn", "{model}: {message}");
            assert!(message["id"].as_str().is_some_and(|id| !id.is_empty()) && message["model"].is_string());
            let usage = &message["usage"];
            assert_eq!(usage["cache_read_input_tokens"], 2, "{model}: {usage}");
            assert!(usage["input_tokens"].as_u64().unwrap() > 0 && usage["output_tokens"] == 4, "{model}: {usage}");
        }
    }
    let keys = world.entries().await;
    assert_eq!(keys.len(), 2 * MODELS.len(), "each call is booked once");
}

#[tokio::test]
async fn a_limit_and_a_stop_reach_every_dialect() {
    let world = world().await;
    for model in MODELS {
        let body = ask(model, json!({"max_tokens": 3, "stop_sequences": ["END"], "metadata": {"user_id": "ann"}}));
        let message = said(&world, &body, true).await;
        assert_eq!(message["stop_reason"], "max_tokens", "{model}");
        let sent = world.provider.log().last().unwrap().body.unwrap().to_string();
        assert!(sent.contains("END"), "{model}: {sent}");
    }
}

/// Three turns, as an agent makes them: two tools at once, another, and the answer.
async fn tool_loop(world: &World, model: &str, upstream: &str, stream: bool) {
    let calls = Step { calls_tool: true, ..Step::default() };
    let steps = [Step { parallel: true, ..calls.clone() }, calls, Step::text("Warm at noon.")];
    world.provider.script(upstream, steps);
    let mut messages = vec![json!({"role": "user", "content": "How is Lima?"})];
    for calls in [2, 1, 0] {
        let body = ask(
            model,
            json!({
                "messages": messages, "tools": [tool("weather"), tool("time")], "stream": stream,
                "thinking": {"type": "enabled", "budget_tokens": 2000},
            }),
        );
        let message = said(world, &body, stream).await;
        let uses = blocks(&message, "tool_use");
        // The scripted model of OpenAI's dialect is done with tools after a result.
        let is_short = OPENAIS.contains(&model) && calls == 1;
        assert_eq!(uses.len(), if is_short { 0 } else { calls }, "{model}: {message}");
        if calls == 2 {
            assert_eq!(message["stop_reason"], "tool_use");
            assert!(uses.iter().all(|block| block["input"]["city"].is_string()), "{message}");
            assert_ne!(uses[0]["id"], uses[1]["id"]);
        }
        if !OPENAIS.contains(&model) && !uses.is_empty() {
            let thoughts = blocks(&message, "thinking");
            assert!(thoughts[0]["signature"].as_str().is_some_and(|proof| !proof.is_empty()), "{model}: {message}");
        }
        let results: Vec<Value> = uses
            .iter()
            .map(|block| json!({"type": "tool_result", "tool_use_id": block["id"], "content": "fine"}))
            .collect();
        messages.push(json!({"role": "assistant", "content": message["content"]}));
        messages.push(json!({"role": "user", "content": results}));
        if uses.is_empty() {
            break;
        }
    }
}

#[tokio::test]
async fn a_tool_loop_goes_round_with_its_thinking_in_every_dialect() {
    for (model, upstream) in [
        ("claude", "claude-upstream"),
        ("gemini", "gemini-3-upstream"),
        ("llama", "llama-upstream"),
        ("gpt", "gpt-upstream"),
    ] {
        for stream in [false, true] {
            let world = world().await;
            tool_loop(&world, model, upstream, stream).await;
            let refused = world.provider.log().records().iter().filter(|record| record.status != 200).count();
            assert_eq!(refused, 0, "{model}: no attempt was refused");
        }
    }
}

#[tokio::test]
async fn a_tool_that_failed_is_told_to_a_model_of_another_dialect() {
    let world = world().await;
    let calls = Step { calls_tool: true, ..Step::default() };
    world.provider.script("gemini-3-upstream", [calls, Step::text("There is no such city.")]);
    let mut messages = vec![json!({"role": "user", "content": "How is Lmia?"})];
    let asked = |messages: &[Value]| {
        let thinking = json!({"type": "enabled", "budget_tokens": 2000});
        ask("gemini", json!({"messages": messages, "tools": [tool("weather")], "thinking": thinking}))
    };
    let message = said(&world, &asked(&messages), false).await;
    let id = blocks(&message, "tool_use")[0]["id"].clone();
    let result = json!({"type": "tool_result", "tool_use_id": id, "content": "no such city", "is_error": true});
    messages.push(json!({"role": "assistant", "content": message["content"]}));
    messages.push(json!({"role": "user", "content": [result]}));
    assert_eq!(text(&said(&world, &asked(&messages), false).await), "There is no such city.");
    let sent = world.provider.log().last().unwrap().body.unwrap();
    let contents = sent["contents"].as_array().unwrap();
    let mut parts = contents.iter().flat_map(|content| content["parts"].as_array().unwrap());
    let told = parts.find_map(|part| part.get("functionResponse")).unwrap();
    assert_eq!((&told["name"], &told["response"]), (&json!("weather"), &json!({"error": "no such city"})));
}

#[tokio::test]
async fn a_budget_of_thinking_is_a_word_where_words_are_taken() {
    let world = world().await;
    for (thinking, effort) in [
        (json!({"thinking": {"type": "enabled", "budget_tokens": 2000}}), json!("low")),
        (json!({"thinking": {"type": "enabled", "budget_tokens": 3999}, "max_tokens": 4096}), json!("low")),
        (json!({"thinking": {"type": "adaptive"}}), json!("high")),
        (json!({"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}}), json!("high")),
        (json!({"output_config": {"effort": "medium"}}), json!("medium")),
        (json!({"thinking": {"type": "disabled"}}), Value::Null),
    ] {
        let reply = post(&world, &ask("gpt", thinking)).await;
        assert_eq!(reply.status, 200, "{}", reply.json());
        assert_eq!(world.provider.log().last().unwrap().body.unwrap()["reasoning_effort"], effort);
    }
    let more = json!({"thinking": {"type": "enabled", "budget_tokens": 2000}});
    said(&world, &ask("gemini", more), false).await;
    let sent = world.provider.log().last().unwrap().body.unwrap();
    assert_eq!(sent["generationConfig"]["thinkingConfig"]["thinkingBudget"], 2000, "{sent}");
}

#[tokio::test]
async fn images_documents_and_search_results_reach_models_of_other_dialects() {
    let world = world().await;
    let png = json!({"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="});
    let image = json!({"type": "image", "source": png});
    let plain = json!({"type": "text", "media_type": "text/plain", "data": "the toll is two coins"});
    let note = json!({"type": "document", "title": "note", "source": plain});
    let found = json!({"type": "search_result", "title": "Tolls", "source": "https://example.com/tolls",
                       "content": [{"type": "text", "text": "paid once"}]});
    let call = json!({"type": "tool_use", "id": "t1", "name": "look", "input": {}});
    let result =
        json!({"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "seen"}, image]});
    let messages = json!([
        {"role": "user", "content": [image, note, found, {"type": "text", "text": "look"}]},
        {"role": "assistant", "content": [call]},
        {"role": "user", "content": [result]},
    ]);
    for (model, turns) in [("gpt", 3), ("llama", 3), ("gemini", 1)] {
        let messages = &messages.as_array().unwrap()[..turns];
        let reply = post(&world, &ask(model, json!({"messages": messages, "tools": [tool("look")]}))).await;
        assert_eq!(reply.status, 200, "{model}: {}", reply.json());
        let sent = world.provider.log().last().unwrap().body.unwrap().to_string();
        assert_eq!(sent.matches("iVBORw0KGgo=").count(), if turns == 3 { 2 } else { 1 }, "{model}: {sent}");
        for words in ["the toll is two coins", "https://example.com/tolls", "paid once"] {
            assert!(sent.contains(words), "{model}: {sent}");
        }
    }
    // OpenAI's tool messages hold text alone.
    post(&world, &ask("gpt", json!({"messages": messages, "tools": [tool("look")]}))).await;
    let sent = world.provider.log().last().unwrap().body.unwrap();
    assert_eq!(sent["messages"][2]["content"], "seen", "{sent}");
    assert_eq!(sent["messages"][3]["role"], "user");
    assert!(sent["messages"][3]["content"].to_string().contains("t1"), "{sent}");
}

#[tokio::test]
async fn an_answer_keeps_to_a_schema_in_every_dialect() {
    let world = world().await;
    let schema = json!({"type": "object", "properties": {"paid": {"type": "boolean"}}, "required": ["paid"],
                        "additionalProperties": false});
    for model in MODELS {
        let config = json!({"format": {"type": "json_schema", "schema": schema}});
        let message = said(&world, &ask(model, json!({"output_config": config})), false).await;
        let sent = world.provider.log().last().unwrap().body.unwrap();
        if model == "gemini" {
            assert_eq!(sent["generationConfig"]["responseJsonSchema"], schema, "{sent}");
            continue;
        }
        let answer: Value = serde_json::from_str(&text(&message)).unwrap();
        assert!(answer["paid"].is_boolean(), "{model}: {answer}");
        if OPENAIS.contains(&model) {
            assert_eq!(sent["response_format"]["json_schema"]["strict"], true, "{sent}");
        }
    }
}

#[tokio::test]
async fn one_tool_at_a_time_and_a_forced_tool_are_asked_for_in_openais_words() {
    let world = world().await;
    let choice = json!({"type": "tool", "name": "time", "disable_parallel_tool_use": true});
    let more = json!({"tools": [tool("weather"), tool("time")], "tool_choice": choice});
    let message = said(&world, &ask("gpt", more), true).await;
    assert_eq!(blocks(&message, "tool_use")[0]["name"], "time");
    let sent = world.provider.log().last().unwrap().body.unwrap();
    assert_eq!(sent["parallel_tool_calls"], false);
    assert_eq!(sent["tool_choice"]["function"]["name"], "time");
}

#[tokio::test]
async fn what_only_anthropics_models_know_is_refused_by_name_or_told() {
    let world = world().await;
    let search = json!({"type": "web_search_20250305", "name": "web_search"});
    let hint = json!({"type": "ephemeral"});
    let system = json!([{"type": "text", "text": "be brief", "cache_control": hint}]);
    let body = ask(
        "gpt",
        json!({"tools": [search, tool("f")], "container": "c-1", "system": system,
                                 "context_management": {"edits": []}}),
    );
    let reply = post(&world, &body).await;
    let (status, kind, message) = told::error(&reply);
    assert_eq!((status, kind.as_str()), (400, "invalid_request_error"));
    assert!(message.contains("drop_params"), "{message}");
    assert!(world.provider.log().records().is_empty(), "nothing was sent");
    let allowed = caller(&world).with("x-tollgate-drop-params", "true").with("anthropic-beta", "x-1");
    let reply = allowed.post(&world.v1("messages"), &body).await.unwrap();
    assert_eq!(reply.status, 200, "{}", reply.json());
    let mut dropped: Vec<_> = reply.header("x-tollgate-dropped-params").split(", ").collect();
    dropped.sort_unstable();
    let expected = ["anthropic-beta", "container", "context_management", "system[0].cache_control", "tools[0]"];
    assert_eq!(dropped, expected);
    let sent = world.provider.log().last().unwrap().body.unwrap();
    assert!(sent.get("container").is_none() && sent.get("context_management").is_none(), "{sent}");
    assert_eq!(sent["tools"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn tokens_are_counted_without_a_call() {
    let world = world().await;
    let mut body = ask("gpt", json!({"system": "be brief", "tools": [tool("f")]}));
    body.as_object_mut().unwrap().shift_remove("max_tokens");
    for model in MODELS {
        body["model"] = model.into();
        let reply = caller(&world).post(&world.v1("messages/count_tokens"), &body).await.unwrap();
        assert_eq!(reply.status, 200, "{}", reply.json());
        assert!(reply.json()["input_tokens"].as_u64().is_some_and(|tokens| tokens > 10), "{}", reply.json());
    }
    assert!(world.provider.log().records().is_empty() && world.entries().await.is_empty());
}

#[tokio::test]
async fn models_are_listed_in_the_shape_of_whoever_asks() {
    let world = world().await;
    let list = caller(&world).get(&world.v1("models")).await.unwrap().json();
    assert_eq!(list["has_more"], false);
    let ids: Vec<_> = list["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap()).collect();
    assert!(MODELS.iter().all(|model| ids.contains(model)), "{list}");
    assert_eq!((&list["first_id"], &list["last_id"]), (&json!(ids[0]), &json!(ids[ids.len() - 1])));
    let one = caller(&world).get(&world.v1("models/claude")).await.unwrap().json();
    assert_eq!((&one["type"], &one["display_name"]), (&json!("model"), &json!("claude")));
    let plain = Caller::bearer(world.gateway.key()).get(&world.v1("models")).await.unwrap().json();
    assert_eq!(plain["object"], "list");
}

#[tokio::test]
async fn options_of_the_gateway_work_as_for_chats() {
    let world = world().await;
    let url = world.v1("messages");
    let wishing = caller(&world).with("x-tollgate-tags", "blue, green").with("x-tollgate-want-routing", "true");
    let reply = wishing.with("idempotency-key", "once").post(&url, &ask("gpt", json!({}))).await.unwrap();
    assert_eq!(reply.status, 200, "{}", reply.json());
    assert!(!reply.header("x-tollgate-route").is_empty() && !reply.header("x-tollgate-cost").is_empty());
    let again = caller(&world).with("idempotency-key", "once").with("x-tollgate-tags", "blue, green");
    let repeated = again.with("x-tollgate-want-routing", "true").post(&url, &ask("gpt", json!({}))).await.unwrap();
    assert_eq!(repeated.json()["content"], reply.json()["content"]);
    let entries = world.entries().await;
    assert_eq!(entries.len(), 1, "billed once");
    assert_eq!(entries[0].tags, ["blue", "green"]);
}

/// What Claude Code says of a task, in short.
fn as_claude_code_asks(model: &str) -> Value {
    let hint = json!({"type": "ephemeral"});
    let mut edit = tool("Edit");
    edit["eager_input_streaming"] = true.into();
    json!({
        "model": model, "max_tokens": 32_000, "stream": true, "temperature": 1,
        "system": [
            {"type": "text", "text": "You are a coding agent."},
            {"type": "text", "text": "The working directory is /work.", "cache_control": hint},
        ],
        "messages": [{"role": "user", "content": [
            {"type": "text", "text": "<system-reminder>be brief</system-reminder>"},
            {"type": "text", "text": "fix the toll", "cache_control": hint},
        ]}],
        "tools": [edit], "metadata": {"user_id": format!("user_{}", "a".repeat(200))},
        "thinking": {"type": "adaptive"}, "output_config": {"effort": "medium"},
        "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
    })
}

#[tokio::test]
async fn what_claude_code_asks_for_needs_no_more_than_a_key() {
    let world = world().await;
    let agent = Caller::bearer(world.gateway.key()).with("anthropic-version", "2023-06-01");
    let agent = agent.with("anthropic-beta", "claude-code-20250219,interleaved-thinking-2025-05-14");
    for model in MODELS {
        let url = format!("{}?beta=true", world.v1("messages"));
        let (events, ended) = agent.stream(&url, &as_claude_code_asks(model)).await.unwrap().rest().await;
        ended.unwrap();
        let message = told::folded(&events);
        assert_eq!(blocks(&message, "tool_use")[0]["name"], "Edit", "{model}: {message}");
        if model == "llama" {
            let sent = world.provider.log().last().unwrap().body.unwrap();
            assert_eq!(sent["max_tokens"], 4096, "in the spelling that its server heeds: {sent}");
        }
    }
    let sent = world.provider.log().last().unwrap().body.unwrap();
    assert_eq!(sent["max_completion_tokens"], 4096, "no more than the deployment has: {sent}");
    assert_eq!(sent["user"].as_str().map(str::len), Some(64));
}
