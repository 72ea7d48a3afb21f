//! Vertex AI: Gemini's body with what Google Cloud adds, Claude's under a version, and embeddings as predictions.

#![allow(clippy::unwrap_used)] // a test says by panicking

use bytes::Bytes;
use serde_json::{Value, json};
use tollgate_domain::{Class, Failure, Secret};
use tollgate_proto::v1::{CreateEmbeddingRequest, Dialect, EmbeddingInput, TokenIds, embedding_input::Input};
use tollgate_providers::{ChatCall, EmbedCall, Mode, Target, credential::Credential, registry::registry, vertex};

fn target(model: &str) -> Target {
    Target {
        base_url: vertex::base_url("p1", "global"),
        api_version: None,
        credential: Credential::Key(Secret::new("ya29.test")),
        model: model.into(),
        headers: Default::default(),
    }
}

fn sent(model: &str, mode: Mode, body: Value) -> Result<(http::request::Parts, Value, Vec<String>), Failure> {
    let request = tollgate_http::openai::read_chat(body.to_string().as_bytes()).unwrap();
    let call = ChatCall { max_output: Some(64), ..ChatCall::new(&request, mode) };
    let outgoing = registry("vertex").unwrap().chat().unwrap().request(&target(model), &call)?;
    let (parts, body) = outgoing.request.into_parts();
    Ok((parts, serde_json::from_slice(&body).unwrap(), outgoing.unsupported.into_iter().map(|u| u.field).collect()))
}

const PROJECT: &str = "https://aiplatform.googleapis.com/v1/projects/p1/locations/global";

#[test]
fn claude_is_asked_in_its_own_dialect_without_a_model_in_the_body() {
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "x"}]});
    let (head, body, _) = sent("claude-sonnet-4-5@20250929", Mode::Stream, body).unwrap();
    let model = "publishers/anthropic/models/claude-sonnet-4-5@20250929";
    assert_eq!(head.uri.to_string(), format!("{PROJECT}/{model}:streamRawPredict"));
    assert_eq!(head.headers["authorization"], "Bearer ya29.test");
    assert_eq!(
        body,
        json!({"anthropic_version": "vertex-2023-10-16", "max_tokens": 64, "stream": true,
               "messages": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]})
    );
}

#[test]
fn claude_fetches_nothing_here() {
    let image = json!([{"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]);
    let body = json!({"model": "m", "messages": [{"role": "user", "content": image}]});
    let failure = sent("claude-sonnet-4-5", Mode::Whole, body.clone()).unwrap_err();
    assert_eq!(failure.class, Class::Unsupported);
    assert!(failure.message.starts_with("messages[0].content[0]: "), "{}", failure.message);
    assert!(sent("gemini-2.5-pro", Mode::Whole, body).is_ok());
}

#[test]
fn metadata_become_labels_where_they_are_fit_to() {
    let labels = |metadata: Value| {
        let body = json!({"model": "m", "messages": [{"role": "user", "content": "x"}], "metadata": metadata});
        let (head, body, left_out) = sent("gemini-2.5-pro", Mode::Whole, body).unwrap();
        assert_eq!(head.uri.to_string(), format!("{PROJECT}/publishers/google/models/gemini-2.5-pro:generateContent"));
        (body["labels"].clone(), left_out)
    };
    assert_eq!(labels(json!({"team": "search_1"})), (json!({"team": "search_1"}), vec![]));
    assert_eq!(labels(json!({"Team": "Search"})), (Value::Null, vec!["metadata".to_owned()]));
}

#[test]
fn a_check_counts_tokens_of_the_model_that_is_asked() {
    let provider = registry("vertex").unwrap();
    let asked = |model: &str| {
        let (head, body) = provider.check(&target(model)).unwrap().into_parts();
        (head.uri.to_string(), serde_json::from_slice::<Value>(&body).unwrap())
    };
    let (uri, _) = asked("gemini-2.5-pro");
    assert_eq!(uri, format!("{PROJECT}/publishers/google/models/gemini-2.5-pro:countTokens"));
    let (uri, body) = asked("claude-opus-4-5@20251101");
    assert_eq!(uri, format!("{PROJECT}/publishers/anthropic/models/count-tokens:rawPredict"));
    assert_eq!(body["model"], "claude-opus-4-5@20251101");
}

#[test]
fn embeddings_are_predictions_and_tell_their_tokens() {
    let provider = registry("vertex").unwrap();
    let embed = provider.embed().unwrap();
    let input = |text: &str| EmbeddingInput { input: Some(Input::Text(text.into())) };
    let request = CreateEmbeddingRequest {
        inputs: vec![input("a"), input("b")],
        dimensions: Some(2),
        extra_json: json!({"task_type": "RETRIEVAL_QUERY", "other": 1}).to_string(),
        ..CreateEmbeddingRequest::default()
    };
    let call = EmbedCall {
        request: &request,
        want_native: Dialect::Unspecified,
        drop_params: false,
        attempt_id: "a",
        traceparent: None,
    };
    let outgoing = embed.request(&target("text-embedding-005"), &call).unwrap();
    assert_eq!(outgoing.request.uri().path().rsplit('/').next(), Some("text-embedding-005:predict"));
    assert_eq!(outgoing.unsupported[0].field, "other");
    let task = "RETRIEVAL_QUERY";
    assert_eq!(
        serde_json::from_slice::<Value>(outgoing.request.body()).unwrap(),
        json!({"instances": [{"content": "a", "task_type": task}, {"content": "b", "task_type": task}],
               "parameters": {"outputDimensionality": 2}})
    );
    let prediction = |values: [f32; 2], tokens: f32| json!({"embeddings": {"values": values, "statistics": {"token_count": tokens, "truncated": false}}});
    let answer = json!({"predictions": [prediction([0.5, 1.0], 2.0), prediction([0.25, -1.0], 3.0)]});
    let read = embed.answer(&call, Bytes::from(answer.to_string())).unwrap();
    assert_eq!(read.embeddings.iter().map(|e| e.values.clone()).collect::<Vec<_>>(), [[0.5, 1.0], [0.25, -1.0]]);
    assert_eq!(read.usage.unwrap().input.unwrap().total, 5);

    let tokens = EmbeddingInput { input: Some(Input::Tokens(TokenIds { ids: vec![1] })) };
    let request = CreateEmbeddingRequest { inputs: vec![tokens], ..CreateEmbeddingRequest::default() };
    let failure = embed.request(&target("text-embedding-005"), &EmbedCall { request: &request, ..call }).unwrap_err();
    assert!(failure.message.starts_with("input[0]: "), "{}", failure.message);
}
