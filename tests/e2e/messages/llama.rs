//! A Llama in Ollama's own dialect: every answer of its fixtures, as a client of Anthropic's reads it.

use serde_json::{Value, json};
use tollgate_fixtures::{
    Fixture, fixtures,
    serve::{Cut, serve},
};
use tollgate_tests::support::{Gateway, http::Caller};

use super::told::{ask, blocks, folded, text};

/// The message, whole or streamed.
async fn read(gateway: &Gateway, stream: bool) -> Value {
    let body = ask("llama", json!({"stream": stream}));
    let streamed = Caller::anthropic(gateway.key()).stream(&gateway.v1("messages"), &body).await.unwrap();
    assert_eq!(streamed.status, 200);
    if !stream {
        return streamed.whole().await.unwrap().json();
    }
    let (events, ended) = streamed.rest().await;
    ended.unwrap();
    folded(&events)
}

/// The words of blocks of a type, whose member of the same name holds them.
fn words(message: &Value, kind: &str) -> String {
    blocks(message, kind).iter().filter_map(|block| block[kind].as_str()).collect()
}

fn compare(fixture: &Fixture, message: &Value) {
    let (name, expect) = (&fixture.name, fixture.expect());
    assert_eq!(text(message), expect["text"].as_str().unwrap(), "{name}: {message}");
    assert_eq!(words(message, "thinking"), expect["reasoning"].as_str().unwrap(), "{name}: {message}");
    let calls: Vec<Value> = blocks(message, "tool_use")
        .into_iter()
        .map(|block| json!({"name": block["name"], "arguments": block["input"]}))
        .collect();
    let expected = expect["tool_calls"].as_array().unwrap();
    let expected: Vec<Value> =
        expected.iter().map(|call| json!({"name": call["name"], "arguments": call["arguments"]})).collect();
    assert_eq!(calls, expected, "{name}: {message}");
    assert!(blocks(message, "tool_use").iter().all(|block| block["id"].as_str().is_some_and(|id| !id.is_empty())));
    let reason = match expect["finish_reason"].as_str().unwrap() {
        "length" => "max_tokens",
        "tool_calls" => "tool_use",
        _ => "end_turn",
    };
    assert_eq!(message["stop_reason"], reason, "{name}: {message}");
    // A prompt that the server still held is not counted by it.
    if expect["usage"]["prompt_tokens"].as_u64().is_some_and(|tokens| tokens > 0) {
        let usage = &message["usage"];
        assert_eq!(usage["input_tokens"], expect["usage"]["prompt_tokens"], "{name}: {usage}");
        assert_eq!(usage["output_tokens"], expect["usage"]["completion_tokens"], "{name}: {usage}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_of_ollamas_is_a_message() {
    let mut told = 0;
    let is_answer = |fixture: &&Fixture| fixture.expect()["ok"] == true && !fixture.is_embedding();
    for fixture in fixtures("ollama").iter().filter(is_answer) {
        for cut in [Cut::Whole, Cut::Bytes] {
            let address = serve(&fixture.envelope, fixture.body.clone(), cut).await;
            let builder = Gateway::builder().provider_of_kind("ollama", "ollama", &format!("http://{address}"));
            let gateway = builder.model("llama", "ollama", "m").start().await;
            compare(fixture, &read(&gateway, fixture.is_stream()).await);
            told += 1;
        }
    }
    assert!(told > 12, "{told} answers");
}
