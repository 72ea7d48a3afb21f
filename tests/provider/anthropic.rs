//! Anthropic's dialect.

use serde_json::{Value, json};
use tollgate_tests::provider::{ScriptedProvider, Step, UPSTREAM_KEY};
use tollgate_tests::support::http::{Caller, Event};

fn url(provider: &ScriptedProvider) -> String {
    provider.root_url() + "/v1/messages"
}

fn caller() -> Caller {
    Caller::anthropic(UPSTREAM_KEY)
}

fn call(extra: Value) -> Value {
    let messages = json!([{ "role": "user", "content": "one two" }]);
    let mut call = json!({ "model": "c", "max_tokens": 4096, "messages": messages });
    for (name, value) in extra.as_object().into_iter().flatten() {
        call[name] = value.clone();
    }
    call
}

fn names(events: &[Event]) -> Vec<&str> {
    events.iter().filter_map(|event| event.name.as_deref()).collect()
}

#[tokio::test]
async fn a_plain_call_is_answered_and_counted() {
    let provider = ScriptedProvider::start().await;
    provider.script("c", [Step { cached_tokens: Some(4), ..Step::text("Good day") }]);

    let body = caller().post(&url(&provider), &call(json!({ "system": "be brief" }))).await.unwrap().json();

    assert_eq!(body["content"], json!([{ "type": "text", "text": "Good day" }]));
    assert_eq!(body["stop_reason"], "end_turn");
    assert_eq!(body["usage"]["input_tokens"], 10 - 4, "four words, a message and a system prompt, less the cached");
    assert_eq!(body["usage"]["cache_read_input_tokens"], 4);
    assert_eq!(body["usage"]["output_tokens"], 2);
}

#[tokio::test]
async fn a_stream_names_its_events() {
    let provider = ScriptedProvider::start().await;
    provider.script("c", [Step::text("Hi you")]);

    let stream = caller().stream(&url(&provider), &call(json!({ "stream": true }))).await.unwrap();
    let (events, end) = stream.rest().await;

    end.unwrap();
    let expected = [
        "message_start",
        "content_block_start",
        "ping",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ];
    assert_eq!(names(&events), expected);
    assert_eq!(events[6].json()["usage"]["output_tokens"], 2);
}

#[tokio::test]
async fn a_tool_loop_with_thoughts_goes_round_only_unchanged() {
    let provider = ScriptedProvider::start().await;
    let tools =
        json!([{ "name": "add", "input_schema": { "type": "object", "properties": { "a": { "type": "integer" } } } }]);
    let extra = json!({ "tools": tools, "thinking": { "type": "enabled", "budget_tokens": 1024 } });

    let first = caller().post(&url(&provider), &call(extra.clone())).await.unwrap().json();
    let with_result = |content: &Value| {
        let mut next = call(extra.clone());
        let result = json!({ "type": "tool_result", "tool_use_id": first["content"][1]["id"], "content": "4" });
        let turns =
            [json!({ "role": "assistant", "content": content }), json!({ "role": "user", "content": [result] })];
        next["messages"].as_array_mut().unwrap().extend(turns);
        next
    };
    let mut forged = first["content"].clone();
    forged[0]["signature"] = "forged".into();
    let forgetful = json!([first["content"][1]]);

    assert_eq!(first["stop_reason"], "tool_use");
    assert_eq!(first["content"][1]["input"], json!({ "a": 7 }));
    let honest = caller().post(&url(&provider), &with_result(&first["content"])).await.unwrap();
    assert_eq!(honest.json()["stop_reason"], "end_turn");
    let refused = caller().post(&url(&provider), &with_result(&forged)).await.unwrap();
    assert_eq!(refused.status, 400);
    assert!(refused.json()["error"]["message"].as_str().unwrap().contains("signature"));
    let refused = caller().post(&url(&provider), &with_result(&forgetful)).await.unwrap();
    assert_eq!(refused.status, 400);
}

#[tokio::test]
async fn thoughts_stream_in_a_block_of_their_own_with_a_signature() {
    let provider = ScriptedProvider::start().await;
    let extra = json!({ "stream": true, "thinking": { "type": "adaptive" } });

    let (events, _) = caller().stream(&url(&provider), &call(extra)).await.unwrap().rest().await;

    let deltas: Vec<_> = events.iter().map(|event| event.json()["delta"]["type"].clone()).collect();
    let at = |kind: &str| deltas.iter().position(|delta| delta == kind).unwrap();
    assert!(at("thinking_delta") < at("signature_delta"));
    assert!(at("signature_delta") < at("text_delta"));
    assert_eq!(provider.log().settled(1).await[0].completion_tokens, 16 + 7);
}

#[tokio::test]
async fn what_the_original_requires_is_required() {
    let provider = ScriptedProvider::start().await;
    let refusal = async |caller: Caller, call: Value| {
        let reply = caller.post(&url(&provider), &call).await.unwrap();
        (reply.status.as_u16(), reply.json()["error"]["type"].as_str().unwrap().to_owned())
    };
    let no_limit = json!({ "model": "c", "messages": [{ "role": "user", "content": "hi" }] });
    let no_version = Caller::default().with("x-api-key", UPSTREAM_KEY);

    assert_eq!(refusal(caller(), no_limit).await, (400, "invalid_request_error".into()));
    assert_eq!(refusal(no_version, call(json!({}))).await, (400, "invalid_request_error".into()));
    assert_eq!(refusal(Caller::anthropic("no"), call(json!({}))).await, (401, "authentication_error".into()));
    assert_eq!(refusal(caller(), call(json!({ "temperature": 1.5 }))).await.0, 400);
    assert_eq!(refusal(caller(), call(json!({ "messages": [{ "role": "assistant", "content": "me" }] }))).await.0, 400);
}

#[tokio::test]
async fn an_overload_in_mid_stream_is_an_error_event() {
    let provider = ScriptedProvider::start().await;
    provider.script("c", [Step::streams(5).then_errs(2)]);

    let stream = caller().stream(&url(&provider), &call(json!({ "stream": true }))).await.unwrap();
    let (events, end) = stream.rest().await;

    end.unwrap();
    let last = events.last().unwrap();
    assert_eq!(last.name.as_deref(), Some("error"));
    assert_eq!(last.json()["error"]["type"], "overloaded_error");
}
