//! What the provider writes down.

use serde_json::json;
use tollgate_tests::provider::{Options, Outcome, Record, ScriptedProvider, Step, UPSTREAM_KEY};
use tollgate_tests::support::http::Caller;
use tollgate_tests::support::keys::virtual_key;

use crate::{caller, chat, chat_url};

#[tokio::test]
async fn an_attempt_is_recorded_with_its_ids_body_and_bill() {
    let provider = ScriptedProvider::start().await;
    let named = caller().with("x-client-request-id", "call-1").with("x-tollgate-attempt-id", "try-2");

    named.post(&chat_url(&provider), &chat("one two", json!({ "user": "u" }))).await.unwrap();

    let attempt = &provider.log().settled(1).await[0];
    assert_eq!(attempt.client_request_id.as_deref(), Some("call-1"));
    assert_eq!(attempt.attempt_id.as_deref(), Some("try-2"));
    assert_eq!((attempt.prompt_tokens, attempt.completion_tokens, attempt.chunks), (5, 16, 16));
    assert_eq!(attempt.outcome, Outcome::Complete);
    assert_eq!(attempt.body.as_ref().unwrap()["user"], "u");
    assert!(attempt.headers.contains_key("authorization"));
    assert!(attempt.leaked_headers.is_empty());
}

#[tokio::test]
async fn a_virtual_key_that_gets_through_is_a_leak() {
    let provider = ScriptedProvider::start().await;
    let leaky = Caller::bearer(UPSTREAM_KEY).with("x-forwarded-key", virtual_key());

    leaky.post(&chat_url(&provider), &chat("hi", json!({}))).await.unwrap();

    assert_eq!(provider.log().settled(1).await[0].leaked_headers, ["x-forwarded-key"]);
    assert_eq!(provider.log().stats().leaks, 1);
}

#[tokio::test]
async fn usage_can_be_billed_and_not_told() {
    let provider = ScriptedProvider::start().await;
    provider.script("m", [Step { usage: Some(false), output_tokens: Some(500), ..Step::default() }]);

    let reply = caller().post(&chat_url(&provider), &chat("hi", json!({}))).await.unwrap();

    assert!(reply.json().get("usage").is_none());
    let attempt = provider.log().last().unwrap();
    assert_eq!((attempt.completion_tokens, attempt.usage_sent), (500, false));
}

#[tokio::test]
async fn the_file_has_a_line_for_the_arrival_and_one_for_the_end() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("calls.jsonl");
    let options = Options { log_file: Some(file.clone()), keep_bodies: false, ..Options::default() };
    let provider = ScriptedProvider::start_with(options).await.unwrap();
    provider.script("m", [Step::streams(4).then_stalls(1)]);

    let call = chat("hi", json!({ "stream": true }));
    let mut stream = caller().stream(&chat_url(&provider), &call).await.unwrap();
    stream.next().await.unwrap();
    let read = || -> Vec<Record> {
        let lines = std::fs::read_to_string(&file).unwrap();
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let open = read();
    stream.next().await.unwrap();
    drop(stream);
    provider.log().settled(1).await;
    let ended = read();

    assert_eq!((open.len(), open[0].outcome), (1, Outcome::Open));
    assert_eq!((ended.len(), ended[1].seq, ended[1].outcome), (2, open[0].seq, Outcome::CutByClient));
    assert_eq!(ended[1].completion_tokens, 1);
    assert!(ended[1].body.is_none());
}
