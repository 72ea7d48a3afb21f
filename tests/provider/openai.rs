//! OpenAI's dialect.

use serde_json::{Value, json};
use tollgate_tests::provider::{ScriptedProvider, Step};

use crate::{caller, chat, chat_url, text_of};

#[tokio::test]
async fn a_plain_call_is_answered_and_counted() {
    let provider = ScriptedProvider::start().await;

    let reply = caller().post(&chat_url(&provider), &chat("one two three", json!({}))).await.unwrap();

    let body = reply.json();
    assert_eq!(body["object"], "chat.completion");
    assert_eq!(body["model"], "m");
    assert_eq!(body["choices"][0]["finish_reason"], "stop");
    assert!(body["choices"][0]["message"]["content"].as_str().unwrap().starts_with("the toll is paid"));
    assert_eq!(body["usage"]["prompt_tokens"], 3 + 3, "three words and one message");
    assert_eq!(body["usage"]["completion_tokens"], 16);
    assert_eq!(body["usage"]["total_tokens"], 22);
    assert!(reply.header("x-request-id").starts_with("req_"));
}

#[tokio::test]
async fn a_stream_has_role_deltas_finish_usage_and_done() {
    let provider = ScriptedProvider::start().await;
    provider.script("m", [Step::text("Hello there, world")]);
    let call = chat("hi", json!({ "stream": true, "stream_options": { "include_usage": true } }));

    let (events, end) = caller().stream(&chat_url(&provider), &call).await.unwrap().rest().await;

    end.unwrap();
    let chunks: Vec<Value> = events.iter().map(|event| event.json()).collect();
    assert_eq!(chunks[0]["choices"][0]["delta"], json!({ "role": "assistant", "content": "", "refusal": null }));
    assert_eq!(text_of(&events), "Hello there, world");
    assert_eq!(chunks[4]["choices"][0]["finish_reason"], "stop");
    assert_eq!(chunks[4]["usage"], Value::Null);
    assert_eq!(chunks[5]["choices"], json!([]));
    assert_eq!(chunks[5]["usage"]["completion_tokens"], 3);
    assert_eq!(events[6].data, "[DONE]");
    assert_eq!(events.len(), 7);
}

#[tokio::test]
async fn a_stream_tells_usage_only_when_asked() {
    let provider = ScriptedProvider::start().await;
    let call = chat("hi", json!({ "stream": true }));

    let (events, _) = caller().stream(&chat_url(&provider), &call).await.unwrap().rest().await;

    assert!(events.iter().all(|event| event.json().get("usage").is_none()));
}

#[tokio::test]
async fn a_tool_is_called_and_its_result_answered_in_words() {
    let provider = ScriptedProvider::start().await;
    let schema = json!({ "type": "object", "properties": { "city": { "type": "string" } } });
    let tools = json!([{ "type": "function", "function": { "name": "weather", "parameters": schema } }]);

    let first = caller().post(&chat_url(&provider), &chat("?", json!({ "tools": tools }))).await.unwrap().json();
    let message = first["choices"][0]["message"].clone();
    let call = &message["tool_calls"][0];
    let arguments: Value = serde_json::from_str(call["function"]["arguments"].as_str().unwrap()).unwrap();
    let mut second = chat("?", json!({ "tools": tools }));
    let result = json!({ "role": "tool", "tool_call_id": call["id"], "content": "12 degrees" });
    second["messages"].as_array_mut().unwrap().extend([message.clone(), result]);
    let second = caller().post(&chat_url(&provider), &second).await.unwrap().json();

    assert_eq!(first["choices"][0]["finish_reason"], "tool_calls");
    assert_eq!(call["function"]["name"], "weather");
    assert_eq!(arguments, json!({ "city": "scripted" }));
    assert_eq!(second["choices"][0]["finish_reason"], "stop");
}

#[tokio::test]
async fn parallel_tool_calls_stream_under_their_own_index() {
    let provider = ScriptedProvider::start().await;
    provider.script("m", [Step { parallel: true, ..Step::default() }]);
    let tool = |name| json!({ "type": "function", "function": { "name": name, "parameters": { "type": "object" } } });
    let call = chat("?", json!({ "stream": true, "tools": [tool("a"), tool("b")] }));

    let (events, _) = caller().stream(&chat_url(&provider), &call).await.unwrap().rest().await;

    let mut calls = [(String::new(), String::new()), (String::new(), String::new())];
    for event in &events {
        let part = &event.json()["choices"][0]["delta"]["tool_calls"][0];
        let Some(index) = part["index"].as_u64() else {
            continue;
        };
        let (name, arguments) = &mut calls[index as usize];
        name.push_str(part["function"]["name"].as_str().unwrap_or_default());
        arguments.push_str(part["function"]["arguments"].as_str().unwrap_or_default());
    }
    assert_eq!(calls, [("a".into(), "{}".into()), ("b".into(), "{}".into())]);
}

#[tokio::test]
async fn a_tool_result_without_a_call_is_refused() {
    let provider = ScriptedProvider::start().await;
    let mut call = chat("?", json!({}));
    let stray = json!({ "role": "tool", "tool_call_id": "call_1", "content": "4" });
    call["messages"].as_array_mut().unwrap().push(stray);

    let reply = caller().post(&chat_url(&provider), &call).await.unwrap();

    assert_eq!(reply.status, 400);
    assert_eq!(reply.json()["error"]["type"], "invalid_request_error");
}

#[tokio::test]
async fn a_wanted_document_fits_its_schema() {
    let provider = ScriptedProvider::start().await;
    let schema = json!({ "type": "object", "properties": { "n": { "type": "integer" }, "ok": { "type": "boolean" } } });
    let format = json!({ "type": "json_schema", "json_schema": { "name": "d", "schema": schema } });

    let reply = caller().post(&chat_url(&provider), &chat("?", json!({ "response_format": format }))).await.unwrap();

    let content = reply.json()["choices"][0]["message"]["content"].as_str().unwrap().to_owned();
    assert_eq!(serde_json::from_str::<Value>(&content).unwrap(), json!({ "n": 7, "ok": true }));
}

#[tokio::test]
async fn limits_reasoning_and_choices_show_in_usage() {
    let provider = ScriptedProvider::start().await;
    let extra = json!({ "max_completion_tokens": 5, "reasoning_effort": "low", "n": 2 });

    let body = caller().post(&chat_url(&provider), &chat("hi", extra)).await.unwrap().json();

    assert_eq!(body["choices"].as_array().unwrap().len(), 2);
    assert_eq!(body["choices"][1]["finish_reason"], "length");
    assert_eq!(body["usage"]["completion_tokens"], 2 * 5 + 7);
    assert_eq!(body["usage"]["completion_tokens_details"]["reasoning_tokens"], 7);
}

#[tokio::test]
async fn a_wrong_key_is_refused_like_the_original_does() {
    let provider = ScriptedProvider::start().await;
    let stranger = tollgate_tests::support::http::Caller::bearer("sk-wrong");

    let reply = stranger.post(&chat_url(&provider), &chat("hi", json!({}))).await.unwrap();

    assert_eq!(reply.status, 401);
    assert_eq!(reply.json()["error"]["code"], "invalid_api_key");
    let models = stranger.get(&(provider.base_url() + "/models")).await.unwrap();
    assert_eq!(models.status, 401);
    let models = caller().get(&(provider.base_url() + "/models")).await.unwrap().json();
    assert_eq!(models["data"][0]["id"], "scripted-large");
}
