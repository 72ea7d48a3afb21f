//! The ways in which legacy clients spell their calls: other paths, functions instead of tools, LiteLLM's headers.

use serde_json::{Value, json};
use tollgate_tests::{
    provider::Step,
    support::{http::Caller, keys::virtual_key},
};

use crate::support::{World, hello};

/// A route beside `/v1`.
fn at(world: &World, path: &str) -> String {
    world.v1("").replace("/v1/", path)
}

#[tokio::test]
async fn a_path_may_name_the_model_as_azures_and_old_ones_do() {
    let world = World::start().await;
    let mut body = hello(json!({}));
    for path in
        ["/openai/deployments/scripted/chat/completions?api-version=2024-10-21", "/engines/scripted/chat/completions"]
    {
        for model in [None, Some("another")] {
            body.as_object_mut().unwrap().remove("model");
            if let Some(model) = model {
                body["model"] = model.into();
            }
            let caller = Caller::default().with("api-key", world.gateway.key());
            let reply = caller.post(&at(&world, path), &body).await.unwrap();
            assert_eq!(reply.status, 200, "{path} {model:?}: {}", reply.json());
        }
    }
    let named = hello(json!({}));
    for path in ["/openai/v1/chat/completions", "/chat/completions", "/v1/chat/completions"] {
        assert_eq!(world.gateway.caller().post(&at(&world, path), &named).await.unwrap().status, 200, "{path}");
    }
    // What names no deployment Azure's clients ask for without one.
    let said = json!({"model": "scripted", "input": "Say hello"});
    let caller = Caller::default().with("api-key", world.gateway.key());
    let reply = caller.post(&at(&world, "/openai/responses?api-version=2025-03-01-preview"), &said).await.unwrap();
    assert_eq!(reply.status, 200, "{}", reply.json());
    let listed = caller.get(&at(&world, "/openai/models?api-version=2024-10-21")).await.unwrap();
    assert_eq!((listed.status.as_u16(), &listed.json()["data"][0]["id"]), (200, &json!("scripted")));
    let unknown = at(&world, "/openai/deployments/nobody/chat/completions");
    let reply = world.gateway.caller().post(&unknown, &named).await.unwrap();
    assert_eq!((reply.status.as_u16(), &reply.json()["error"]["code"]), (404, &json!("model_not_found")));
    let sent = world.provider.log().records();
    assert!(sent.iter().all(|call| call.model == "scripted-upstream"), "the body's model does not count");
}

#[tokio::test]
async fn a_model_is_retrieved_by_its_whole_name_whatever_stands_before_it() {
    let world = World::with(|builder| builder.model("openai/gpt", "scripted", "scripted-upstream")).await;
    for before in ["/v1", "", "/openai/v1", "/openai", "/openai/deployments/scripted", "/engines/scripted"] {
        for (path, name) in [("scripted", "scripted"), ("openai/gpt", "openai/gpt"), ("openai%2Fgpt", "openai/gpt")] {
            let url = at(&world, &format!("{before}/models/{path}"));
            let reply = world.gateway.caller().get(&url).await.unwrap();
            assert_eq!((reply.status.as_u16(), &reply.json()["id"]), (200, &json!(name)), "{url}");
        }
        let reply = world.gateway.caller().get(&at(&world, &format!("{before}/models/openai/nobody"))).await.unwrap();
        assert_eq!((reply.status.as_u16(), &reply.json()["error"]["code"]), (404, &json!("model_not_found")));
    }
}

#[tokio::test]
async fn functions_of_old_become_tools_elsewhere_and_come_back_as_functions() {
    let world = World::with_provider(|builder, url| {
        builder.provider_of_kind("claude", "anthropic", url).model("claude", "claude", "up")
    })
    .await;
    let parameters = json!({"type": "object", "properties": {"city": {"type": "string"}}});
    let functions = json!([{"name": "weather", "parameters": parameters}]);
    let mut body = json!({"model": "claude", "messages": [{"role": "user", "content": "Weather?"}],
                          "functions": functions, "function_call": {"name": "weather"}});
    world
        .provider
        .script("up", [Step { calls_tool: true, ..Step::default() }, Step { calls_tool: true, ..Step::default() }]);
    let whole = world.gateway.caller().post(&world.v1("chat/completions"), &body).await.unwrap();
    let choice = whole.json()["choices"][0].clone();
    assert_eq!(choice["finish_reason"], "function_call", "{choice}");
    assert_eq!(choice["message"]["function_call"]["name"], "weather");
    assert!(choice["message"].get("tool_calls").is_none());
    let sent = world.provider.log().last().unwrap().body.unwrap();
    assert_eq!(
        (&sent["tools"][0]["name"], &sent["tool_choice"]),
        (&json!("weather"), &json!({"type": "tool", "name": "weather"}))
    );

    body["stream"] = true.into();
    let stream =
        world.gateway.caller().stream(&world.v1("chat/completions"), &body).await.unwrap().whole().await.unwrap();
    let text = String::from_utf8_lossy(&stream.body).into_owned();
    let chunks = text.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|data| *data != "[DONE]");
    let chunks: Vec<Value> = chunks.map(|data| serde_json::from_str(data).unwrap()).collect();
    let deltas = || chunks.iter().flat_map(|chunk| chunk["choices"].as_array().unwrap());
    let arguments: String = deltas().filter_map(|c| c["delta"]["function_call"]["arguments"].as_str()).collect();
    assert!(serde_json::from_str::<Value>(&arguments).is_ok(), "{arguments}");
    assert_eq!(deltas().filter_map(|c| c["finish_reason"].as_str()).collect::<Vec<_>>(), ["function_call"]);
    assert!(!text.contains("tool_calls"), "{text}");

    // The second turn: a result that quotes its function by name.
    world.provider.script("up", [Step::text("Warm.")]);
    body["stream"] = false.into();
    let messages = body["messages"].as_array_mut().unwrap();
    messages.push(choice["message"].clone());
    messages.push(json!({"role": "function", "name": "weather", "content": "{\"sky\":\"clear\"}"}));
    let reply = world.gateway.caller().post(&world.v1("chat/completions"), &body).await.unwrap();
    assert_eq!(reply.json()["choices"][0]["message"]["content"], "Warm.", "{}", reply.json());
    let sent = world.provider.log().last().unwrap().body.unwrap();
    let (call, result) = (&sent["messages"][1]["content"][0], &sent["messages"][2]["content"][0]);
    assert_eq!((&call["type"], &result["type"]), (&json!("tool_use"), &json!("tool_result")), "{sent}");
    assert_eq!(call["id"], result["tool_use_id"]);
}

#[tokio::test]
async fn headers_and_tags_go_by_litellms_names_too() {
    let world = World::start().await;
    let caller = world.gateway.caller().with("x-litellm-tags", "from-header, b");
    let body = hello(json!({"tags": ["from-body"], "metadata": {"tags": ["from-metadata"]}}));
    let reply = caller.post(&world.v1("chat/completions"), &body).await.unwrap();
    assert_eq!(reply.status, 200, "{}", reply.json());
    for (theirs, ours) in [
        ("x-litellm-call-id", "x-tollgate-request-id"),
        ("x-litellm-model-id", "x-tollgate-deployment"),
        ("x-litellm-response-cost", "x-tollgate-cost"),
    ] {
        assert!(!reply.header(ours).is_empty());
        assert_eq!(reply.header(theirs), reply.header(ours), "{theirs}");
    }
    let sent = world.provider.log().last().unwrap().body.unwrap();
    assert!(sent.get("tags").is_none(), "{sent}");
    let entries = world.entries().await;
    let mut tags = entries[0].tags.clone();
    tags.sort_unstable();
    assert_eq!(tags, ["b", "from-body", "from-header", "from-metadata"]);
    let refused =
        caller.post(&world.v1("chat/completions"), &json!({"model": "nobody", "messages": []})).await.unwrap();
    assert_eq!(refused.header("x-litellm-call-id"), refused.header("x-tollgate-request-id"));
    for told_of_answers in ["x-tollgate-model", "x-tollgate-deployment", "x-tollgate-attempts", "x-tollgate-cost"] {
        assert!(refused.header(told_of_answers).is_empty(), "{told_of_answers}");
    }
}

#[tokio::test]
async fn tags_in_the_body_of_a_response_are_those_of_the_call() {
    let world = World::start().await;
    let body = json!({"model": "scripted", "input": "Say hello", "tags": ["from-body"], "metadata": {"tags": "from-metadata"}});
    let reply = world.gateway.caller().post(&world.v1("responses"), &body).await.unwrap();
    assert_eq!(reply.status, 200, "{}", reply.json());
    let mut tags = world.entries().await[0].tags.clone();
    tags.sort_unstable();
    assert_eq!(tags, ["from-body", "from-metadata"]);
}

#[tokio::test]
async fn every_answer_tells_what_its_key_had_spent_and_that_no_cache_gave_it() {
    let free = virtual_key();
    let world = World::with_provider(|builder, url| {
        let builder = builder.key(json!({"name": "free", "secret": free, "models": ["*"]}));
        let embed = json!({"provider": "embed", "model": "e", "price": {"input": "1", "output": "0"}});
        builder.provider_of_kind("embed", "openai", url).deployment("embed", embed)
    })
    .await;
    let say = json!([{"role": "user", "content": "Say hello"}]);
    let mut spent = 0;
    for (route, body) in [
        ("chat/completions", json!({"model": "scripted", "messages": say})),
        ("chat/completions", json!({"model": "scripted", "messages": say, "stream": true})),
        ("responses", json!({"model": "scripted", "input": "Say hello"})),
        ("messages", json!({"model": "scripted", "messages": say, "max_tokens": 50})),
        ("embeddings", json!({"model": "embed", "input": "hello"})),
        ("chat/completions", json!({"model": "scripted", "messages": say})),
    ] {
        let reply = world.gateway.caller().post(&world.v1(route), &body).await.unwrap();
        assert_eq!(reply.status, 200, "{route}: {}", reply.json());
        assert_eq!(reply.header("x-tollgate-cache"), "off", "{route}");
        assert_eq!(reply.header("x-litellm-key-spend"), format!("0.{spent:09}"), "{route}");
        let nobody = Caller::bearer(&free).post(&world.v1(route), &body).await.unwrap();
        assert_eq!((nobody.status.as_u16(), nobody.header("x-litellm-key-spend")), (200, ""), "{route}");
        // Of the key alone: the other has no budget, and its calls are charged to none.
        let entries = world.entries().await;
        spent = entries.iter().filter(|entry| !entry.charges.is_empty()).map(|entry| entry.cost_nano_usd).sum();
        assert!(spent > 0);
    }
}

#[tokio::test]
async fn a_prompt_is_completed_as_it_stands_where_that_is_known_and_by_chat_elsewhere() {
    let world = World::with_provider(|builder, url| {
        let builder = builder.provider_of_kind("plain", "vllm", url).provider_of_kind("claude", "anthropic", url);
        builder.model("base", "plain", "base-model").model("claude", "claude", "up")
    })
    .await;
    let url = world.v1("completions");
    let body = json!({"model": "base", "prompt": "Once upon", "max_tokens": 5, "suffix": "the end", "echo": true,
                      "best_of": 2, "drop_params": true});
    world.provider.script("base-model", [Step::text(" a time"), Step::text(" a time")]);
    let reply = world.gateway.caller().post(&url, &body).await.unwrap();
    let answer = reply.json();
    assert_eq!(
        (&answer["object"], &answer["choices"][0]["text"]),
        (&json!("text_completion"), &json!(" a time")),
        "{answer}"
    );
    let sent = world.provider.log().last().unwrap();
    assert_eq!(sent.path, "/v1/completions");
    let sent = sent.body.unwrap();
    assert_eq!(
        sent,
        json!({"model": "base-model", "prompt": "Once upon", "max_tokens": 5, "suffix": "the end", "echo": true,
                            "best_of": 2})
    );
    let stream =
        world.gateway.caller().stream(&url, &json!({"model": "base", "prompt": "Once", "stream": true})).await.unwrap();
    let text = String::from_utf8(stream.whole().await.unwrap().body.to_vec()).unwrap();
    assert!(text.contains(r#""object":"text_completion""#) && text.ends_with("data: [DONE]\n\n"), "{text}");
    assert!(!text.contains("\"usage\":{"), "nobody asked for usage: {text}");

    // By chat: what only the older route knows is refused by name.
    let refused =
        world.gateway.caller().post(&url, &json!({"model": "claude", "prompt": "Once", "suffix": "x"})).await.unwrap();
    assert_eq!((refused.status.as_u16(), &refused.json()["error"]["param"]), (400, &json!("suffix")));
    world.provider.script("up", [Step::text("upon a time"), Step::text("upon a time")]);
    let reply = world.gateway.caller().post(&url, &json!({"model": "claude", "prompt": ["Once"]})).await.unwrap();
    let answer = reply.json();
    assert_eq!(
        answer["choices"][0],
        json!({"text": "upon a time", "index": 0, "logprobs": null, "finish_reason": "stop"})
    );
    assert!(answer["usage"]["completion_tokens"].as_u64().unwrap() > 0);
    let body = json!({"model": "claude", "prompt": "Once", "stream": true, "stream_options": {"include_usage": true}});
    let stream = world.gateway.caller().stream(&url, &body).await.unwrap().whole().await.unwrap();
    let text = String::from_utf8(stream.body.to_vec()).unwrap();
    let chunks = text.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|data| *data != "[DONE]");
    let chunks: Vec<Value> = chunks.map(|data| serde_json::from_str(data).unwrap()).collect();
    let said: String = chunks.iter().filter_map(|chunk| chunk["choices"][0]["text"].as_str()).collect();
    assert_eq!(said, "upon a time");
    assert!(chunks.last().unwrap()["usage"]["total_tokens"].as_u64().unwrap() > 0, "{text}");
    let body = json!({"model": "claude", "prompt": "Once", "stream": true});
    let stream = world.gateway.caller().stream(&url, &body).await.unwrap().whole().await.unwrap();
    let text = String::from_utf8(stream.body.to_vec()).unwrap();
    assert!(text.contains(r#""object":"text_completion""#) && text.ends_with("data: [DONE]\n\n"), "{text}");
    assert!(!text.contains("\"usage\""), "nobody asked for usage: {text}");
}
