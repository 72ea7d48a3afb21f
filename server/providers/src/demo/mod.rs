//! The built-in simulated provider, for first runs, demos and tests: no key, no network.
//!
//! It speaks OpenAI's dialect inside this process, so that a call takes the same path through adapter, decoder and ledger as one
//! that leaves the machine. Answers depend on the prompt and the seed alone; the pace is tokio's, so paused time hurries it.

mod answer;
mod ask;
mod schema;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{FutureExt, StreamExt, future::BoxFuture};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use tollgate_domain::Failure;

use crate::{
    Head,
    transport::{BodyStream, InProcess},
};

/// Scheme of its URIs.
pub const SCHEME: &str = "demo";
/// Where it "lives".
pub const BASE_URL: &str = "demo://provider/v1";
/// Its models: at a model's pace, without any pauses, and embeddings.
pub const MODELS: &[&str] = &["demo", "demo-fast", "demo-embed"];

/// What answers URIs of [`SCHEME`].
pub fn responder() -> Arc<dyn InProcess> {
    Arc::new(Demo)
}

struct Demo;

/// How fast a model answers.
#[derive(Clone, Copy)]
struct Pace {
    first: Duration,
    between: Duration,
}

fn pace(model: &str) -> Option<Pace> {
    match model {
        "demo" => Some(Pace { first: Duration::from_millis(150), between: Duration::from_millis(25) }),
        "demo-fast" => Some(Pace { first: Duration::ZERO, between: Duration::ZERO }),
        _ => None,
    }
}

impl InProcess for Demo {
    fn respond(&self, request: http::Request<Bytes>) -> BoxFuture<'static, Result<(Head, BodyStream), Failure>> {
        async move { Ok(serve(request).await) }.boxed()
    }
}

async fn serve(request: http::Request<Bytes>) -> (Head, BodyStream) {
    let Ok(body) = serde_json::from_slice::<Value>(request.body()) else {
        return refused(400, "the body is not JSON", "invalid_json");
    };
    let model = body["model"].as_str().unwrap_or_default().to_owned();
    if request.uri().path().ends_with("/embeddings") {
        return match model.as_str() {
            "demo-embed" => whole(200, &answer::embeddings(&body)),
            _ => no_model(&model),
        };
    }
    let Some(pace) = pace(&model) else { return no_model(&model) };
    match ask::read(&body) {
        Err(message) => refused(400, message, "invalid_value"),
        Ok(ask) => reply(&model, answer::answer(&ask), ask, pace).await,
    }
}

async fn reply(model: &str, answer: answer::Answer, ask: ask::Ask, pace: Pace) -> (Head, BodyStream) {
    if ask.stream {
        let chunks = answer::chunks(model, &answer, &ask);
        let stream = futures::stream::iter(chunks.into_iter().enumerate()).then(move |(n, chunk)| async move {
            let pause = if n == 0 { pace.first } else { pace.between };
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            Ok(Bytes::from(format!("data: {chunk}\n\n")))
        });
        return (head(200, "text/event-stream"), stream.boxed());
    }
    let tokens = u32::try_from(answer.tokens()).unwrap_or(u32::MAX);
    tokio::time::sleep(pace.first + pace.between.saturating_mul(tokens)).await;
    whole(200, &answer::completion(model, &answer, &ask))
}

fn head(status: u16, content_type: &'static str) -> Head {
    let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(content_type))]);
    Head { status: StatusCode::from_u16(status).unwrap_or_default(), headers }
}

fn whole(status: u16, body: &Value) -> (Head, BodyStream) {
    let bytes = Bytes::from(body.to_string());
    (head(status, "application/json"), futures::stream::once(async { Ok(bytes) }).boxed())
}

fn refused(status: u16, message: &str, code: &str) -> (Head, BodyStream) {
    let error = json!({"message": message, "type": "invalid_request_error", "param": null, "code": code});
    whole(status, &json!({ "error": error }))
}

fn no_model(model: &str) -> (Head, BodyStream) {
    refused(404, &format!("The model `{model}` does not exist; there are {MODELS:?}."), "model_not_found")
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt;

    use super::*;

    async fn ask(path: &str, body: Value) -> (u16, String) {
        let request = http::Request::post(format!("{BASE_URL}{path}")).body(Bytes::from(body.to_string())).unwrap();
        let (head, stream) = responder().respond(request).await.unwrap();
        let bytes: Vec<Bytes> = stream.try_collect().await.unwrap();
        (head.status.as_u16(), String::from_utf8(bytes.concat()).unwrap())
    }

    fn hello(more: Value) -> Value {
        let mut body = json!({"model": "demo-fast", "messages": [{"role": "user", "content": "Tell me about tides"}]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    }

    async fn chat(more: Value) -> Value {
        let (status, text) = ask("/chat/completions", hello(more)).await;
        assert_eq!(status, 200, "{text}");
        serde_json::from_str(&text).unwrap()
    }

    #[tokio::test]
    async fn the_same_prompt_gets_the_same_answer_about_its_topic() {
        let (first, second) = (chat(json!({})).await, chat(json!({})).await);
        assert_eq!(first["choices"], second["choices"]);
        assert!(first["choices"][0]["message"]["content"].as_str().unwrap().contains("tides"));
        assert!(first["usage"]["completion_tokens"].as_u64().unwrap() > 5);
    }

    #[tokio::test]
    async fn a_limit_cuts_the_answer_and_says_so() {
        let cut = chat(json!({"max_completion_tokens": 3})).await;
        assert_eq!(cut["choices"][0]["finish_reason"], "length");
        assert_eq!(cut["usage"]["completion_tokens"], 3);
    }

    #[tokio::test]
    async fn a_tool_is_called_with_arguments_of_its_schema_and_its_result_is_used() {
        let schema = json!({"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}, "required": ["city"]});
        let tools = json!([{"type": "function", "function": {"name": "weather", "parameters": schema}}]);
        let called = chat(json!({"tools": tools})).await;
        let call = &called["choices"][0]["message"]["tool_calls"][0];
        let arguments: Value = serde_json::from_str(call["function"]["arguments"].as_str().unwrap()).unwrap();
        assert!(arguments["city"].is_string());
        assert_eq!(called["choices"][0]["finish_reason"], "tool_calls");
        let messages = json!([{"role": "tool", "tool_call_id": "c", "content": "19 degrees"}]);
        let after = chat(json!({"tools": tools, "messages": messages})).await;
        assert!(after["choices"][0]["message"]["content"].as_str().unwrap().contains("19 degrees"));
    }

    #[tokio::test]
    async fn a_schema_is_answered_with_json_that_fits() {
        let schema = json!({"type": "object", "properties": {"n": {"type": "number"}, "kind": {"enum": ["a", "b"]}}, "required": ["n", "kind"]});
        let format = json!({"type": "json_schema", "json_schema": {"name": "x", "schema": schema}});
        let answer = chat(json!({"response_format": format})).await;
        let content: Value =
            serde_json::from_str(answer["choices"][0]["message"]["content"].as_str().unwrap()).unwrap();
        assert!(content["n"].is_number() && content["kind"] == "a");
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_keeps_a_models_pace_and_ends_with_usage_and_done() {
        let begun = tokio::time::Instant::now();
        let body = hello(json!({"model": "demo", "stream": true, "stream_options": {"include_usage": true}}));
        let (_, text) = ask("/chat/completions", body).await;
        assert!(begun.elapsed() > Duration::from_millis(400));
        assert!(text.contains("\"usage\":{") && text.trim_end().ends_with("data: [DONE]"));
    }

    #[tokio::test]
    async fn embeddings_are_unit_vectors_of_the_length_asked_for() {
        let (_, text) = ask("/embeddings", json!({"model": "demo-embed", "input": ["a", "b"], "dimensions": 8})).await;
        let body: Value = serde_json::from_str(&text).unwrap();
        let vector: Vec<f64> = serde_json::from_value(body["data"][1]["embedding"].clone()).unwrap();
        assert_eq!(vector.len(), 8);
        assert!((vector.iter().map(|x| x * x).sum::<f64>() - 1.0).abs() < 1e-3);
    }

    #[tokio::test]
    async fn what_it_does_not_have_it_refuses() {
        assert_eq!(ask("/chat/completions", json!({"model": "gpt-9", "messages": []})).await.0, 404);
        assert_eq!(ask("/chat/completions", json!({"model": "demo", "messages": []})).await.0, 400);
    }
}
