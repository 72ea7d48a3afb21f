//! Gemini's dialect in conversations: what its own signatures, its nameless calls and its media need.

#![allow(clippy::unwrap_used)] // a test says by panicking

#[path = "support/message.rs"]
mod message;

use std::collections::BTreeSet;

use bytes::Bytes;
use message::{answered, result, user};
use serde_json::{Value, json};
use tollgate_domain::{Class, Failure, Secret};
use tollgate_proto::v1::{
    CompletionEvent, CompletionRequest, FinishReason, ImagePart, Message, OpaquePart, Part, Role,
    completion_event::Event, delta::Piece, part::Content,
};
use tollgate_providers::{ChatCall, Mode, Outgoing, Target, credential::Credential, registry::registry};

fn target(model: &str) -> Target {
    Target {
        base_url: "https://provider.example/v1".into(),
        api_version: None,
        credential: Credential::Key(Secret::new("k-upstream-test")),
        model: model.into(),
        headers: Default::default(),
    }
}

fn call(request: &CompletionRequest, mode: Mode) -> ChatCall<'_> {
    ChatCall::new(request, mode)
}

fn written(kind: &str, model: &str, request: &CompletionRequest) -> Result<(String, Value, Outgoing), Failure> {
    let outgoing = registry(kind).unwrap().chat().unwrap().request(&target(model), &call(request, Mode::Whole))?;
    let body = serde_json::from_slice(outgoing.request.body()).unwrap();
    Ok((outgoing.request.uri().to_string(), body, outgoing))
}

fn sent(model: &str, messages: &[Message]) -> Value {
    let request = CompletionRequest { messages: messages.to_vec(), ..CompletionRequest::default() };
    written("gemini", model, &request).unwrap().1["contents"].clone()
}

/// From a body of OpenAI's: what is sent, and the names of what is not.
fn mapped(kind: &str, model: &str, body: Value) -> (Value, Vec<String>) {
    let request = tollgate_http::openai::read_chat(body.to_string().as_bytes()).unwrap();
    let (_, body, outgoing) = written(kind, model, &request).unwrap();
    let unsupported = outgoing.unsupported.into_iter().map(|u| u.field);
    (body, unsupported.chain(outgoing.dropped).collect())
}

fn decoded(mode: Mode, body: &str) -> (Vec<CompletionEvent>, Option<Failure>) {
    let request = CompletionRequest::default();
    let mut decoder = registry("gemini").unwrap().chat().unwrap().decoder(&target("m"), &call(&request, mode));
    let mut events = Vec::new();
    let read = decoder.feed(&Bytes::copy_from_slice(body.as_bytes()), &mut events);
    let read = read.and_then(|()| decoder.end(&mut events));
    (events, read.err())
}

/// A stream of candidates with these parts, the last of which ends it.
fn streamed(chunks: &[Value]) -> Message {
    let mut body = String::new();
    for (i, parts) in chunks.iter().enumerate() {
        let reason = if i + 1 == chunks.len() { json!("STOP") } else { Value::Null };
        let chunk = json!({"candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": reason}]});
        body.push_str(&format!("data: {chunk}\r\n\r\n"));
    }
    let (events, failure) = decoded(Mode::Stream, &body);
    assert!(failure.is_none(), "{failure:?}");
    answered(&events)
}

fn ids(message: &Message) -> Vec<String> {
    let calls = message.parts.iter().filter_map(|part| match &part.content {
        Some(Content::ToolCall(call)) => Some(call.id.clone()),
        _ => None,
    });
    calls.collect()
}

#[test]
fn over_three_turns_each_signature_comes_back_on_the_part_that_carried_it() {
    let weather = |city: &str| json!({"name": "get_weather", "args": {"city": city}});
    let mut talk = vec![user("Where is it warmer?")];

    // Two calls of one function at once: the first is signed.
    let first = streamed(&[
        json!([{"text": "I look at both.", "thought": true}]),
        json!([{"functionCall": weather("Lima"), "thoughtSignature": "sig-1"}, {"functionCall": weather("Cusco")}]),
        json!([{"text": ""}]),
    ]);
    let calls = ids(&first);
    assert!(calls.len() == 2 && calls[0] != calls[1], "{calls:?}");
    talk.extend([first, result(&calls[1], "rain"), result(&calls[0], r#"{"temp":19}"#)]);

    // Words, and one signed call.
    let second = streamed(&[
        json!([{"text": "Lima is "}]),
        json!([{"text": "dry."}, {"functionCall": {"name": "get_time", "args": {}}, "thoughtSignature": "sig-2"}]),
    ]);
    let time = ids(&second).remove(0);
    talk.extend([second, result(&time, "noon")]);

    // Signed words, the signature behind them.
    talk.push(streamed(&[json!([{"text": "Lima."}]), json!([{"text": "", "thoughtSignature": "sig-3"}])]));
    talk.push(user("Thanks."));

    assert_eq!(
        sent("gemini-3-flash-preview", &talk),
        json!([
            {"role": "user", "parts": [{"text": "Where is it warmer?"}]},
            {"role": "model", "parts": [
                {"text": "I look at both.", "thought": true},
                {"functionCall": weather("Lima"), "thoughtSignature": "sig-1"},
                {"functionCall": weather("Cusco")},
            ]},
            // In the order of the calls, however they came.
            {"role": "user", "parts": [
                {"functionResponse": {"name": "get_weather", "response": {"temp": 19}}},
                {"functionResponse": {"name": "get_weather", "response": {"result": "rain"}}},
            ]},
            {"role": "model", "parts": [
                {"text": "Lima is dry."},
                {"functionCall": {"name": "get_time", "args": {}}, "thoughtSignature": "sig-2"},
            ]},
            {"role": "user", "parts": [{"functionResponse": {"name": "get_time", "response": {"result": "noon"}}}]},
            {"role": "model", "parts": [{"text": "Lima."}, {"text": "", "thoughtSignature": "sig-3"}]},
            {"role": "user", "parts": [{"text": "Thanks."}]},
        ])
    );
}

#[test]
fn signed_text_keeps_its_signature_and_shares_it_with_nothing_around_it() {
    let answer = streamed(&[
        json!([{"text": "a"}]),
        json!([{"text": "b", "thoughtSignature": "sig-b"}]),
        json!([{"text": "", "thoughtSignature": "sig-c"}]),
        json!([{"text": "d", "thoughtSignature": "sig-d"}]),
        json!([{"text": "e"}]),
    ]);
    assert_eq!(
        sent("gemini-3-flash-preview", &[answer])[0]["parts"],
        json!([
            {"text": "a"},
            {"text": "b", "thoughtSignature": "sig-b"},
            {"text": "", "thoughtSignature": "sig-c"},
            {"text": "d", "thoughtSignature": "sig-d"},
            {"text": "e"},
        ])
    );
}

#[test]
fn calls_that_never_had_a_signature_are_excused_once_a_turn_where_the_model_insists() {
    let calls = json!({"role": "assistant", "content": null, "tool_calls": [
        {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}},
        {"id": "c2", "type": "function", "function": {"name": "f", "arguments": "{}"}},
    ]});
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "x"}, calls]});
    let (insists, _) = mapped("gemini", "gemini-3.1-pro-preview", body.clone());
    assert_eq!(
        insists["contents"][1]["parts"],
        json!([
            {"functionCall": {"name": "f", "args": {}}, "thoughtSignature": "skip_thought_signature_validator"},
            {"functionCall": {"name": "f", "args": {}}},
        ])
    );
    let (trusts, _) = mapped("gemini", "gemini-2.5-flash", body);
    assert_eq!(trusts["contents"][1]["parts"][0], json!({"functionCall": {"name": "f", "args": {}}}));
}

#[test]
fn a_signature_that_came_back_through_openais_dialect_finds_its_call_behind_the_text() {
    let answer = json!({
        "role": "assistant", "content": "Let me see.",
        "reasoning_details": [{"type": "reasoning.text", "text": "Hm.", "signature": "sig-1"}],
        "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
    });
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "x"}, answer]});
    assert_eq!(
        mapped("gemini", "gemini-3-flash-preview", body).0["contents"][1]["parts"],
        json!([
            {"text": "Hm.", "thought": true},
            {"text": "Let me see."},
            {"functionCall": {"name": "f", "args": {}}, "thoughtSignature": "sig-1"},
        ])
    );
}

#[test]
fn every_parameter_has_its_place_or_is_named() {
    let body = json!({
        "model": "m", "messages": [{"role": "user", "content": "x"}],
        "n": 2, "seed": 7, "presence_penalty": 0.5, "frequency_penalty": -0.5, "max_tokens": 9, "stop": "END",
        "logprobs": true, "top_logprobs": 3, "reasoning_effort": "low", "user": "u-1", "logit_bias": {"1": 2},
        "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}},
        "modalities": ["text"], "safety_settings": [{"category": "C", "threshold": "T"}], "cached_content": "cachedContents/1",
        "service_tier": "flex", "parallel_tool_calls": false, "store": true,
    });
    let (sent, left_out) = mapped("gemini", "gemini-3-flash-preview", body);
    assert_eq!(
        sent,
        json!({
            "contents": [{"role": "user", "parts": [{"text": "x"}]}],
            "safetySettings": [{"category": "C", "threshold": "T"}],
            "cachedContent": "cachedContents/1",
            "generationConfig": {
                "maxOutputTokens": 9, "seed": 7, "presencePenalty": 0.5, "frequencyPenalty": -0.5, "candidateCount": 2,
                "stopSequences": ["END"], "responseLogprobs": true, "logprobs": 3,
                "responseMimeType": "application/json", "responseJsonSchema": {"type": "object"},
                "thinkingConfig": {"thinkingLevel": "LOW", "includeThoughts": true}, "responseModalities": ["TEXT"],
            },
        })
    );
    let named: BTreeSet<_> = left_out.iter().map(String::as_str).collect();
    assert_eq!(named, BTreeSet::from(["logit_bias", "parallel_tool_calls", "service_tier", "store", "user"]));
    assert_eq!(named.len(), left_out.len(), "each once");
}

#[test]
fn how_much_to_reason_is_said_as_the_generation_takes_it() {
    let config = |model: &str, effort: &str| {
        let body = json!({"model": "m", "messages": [{"role": "user", "content": "x"}], "reasoning_effort": effort});
        let (body, left_out) = mapped("gemini", model, body);
        (body["generationConfig"]["thinkingConfig"].clone(), left_out)
    };
    let told = |config: Value| (config, Vec::<String>::new());
    let refused = || (Value::Null, vec!["reasoning_effort".to_owned()]);
    assert_eq!(config("gemini-3-pro", "minimal"), told(json!({"thinkingLevel": "MINIMAL", "includeThoughts": true})));
    assert_eq!(config("gemini-2.5-flash", "high"), told(json!({"thinkingBudget": 24576, "includeThoughts": true})));
    assert_eq!(config("gemini-2.5-flash", "none"), told(json!({"thinkingBudget": 0})));
    for (model, effort) in
        [("gemini-3-pro", "none"), ("gemini-2.5-pro", "none"), ("gemini-2.5-flash", "xhigh"), ("gemma-3-27b-it", "low")]
    {
        assert_eq!(config(model, effort), refused(), "{model} {effort}");
    }
}

#[test]
fn tools_and_the_choice_among_them() {
    let function = |strict: bool, parameters: Value| json!({"type": "function", "function": {"name": "f", "strict": strict, "parameters": parameters}});
    let bare = json!({"type": "object", "properties": {}, "additionalProperties": false});
    let config = |choice: Value, strict: bool| {
        let body = json!({"model": "m", "messages": [{"role": "user", "content": "x"}],
            "tools": [function(strict, bare.clone())], "tool_choice": choice});
        let (body, left_out) = mapped("gemini", "m", body);
        assert_eq!(body["tools"], json!([{"functionDeclarations": [{"name": "f"}]}]), "nothing to take: no schema");
        (body["toolConfig"]["functionCallingConfig"].clone(), left_out)
    };
    let named = json!({"type": "function", "function": {"name": "f"}});
    assert_eq!(config(named, false).0, json!({"mode": "ANY", "allowedFunctionNames": ["f"]}));
    assert_eq!(config(json!("none"), true).0, json!({"mode": "NONE"}));
    assert_eq!(config(json!("auto"), false).0, json!({"mode": "AUTO"}));
    assert_eq!(config(json!("auto"), true).0, json!({"mode": "VALIDATED"}), "schemas that must be kept");
    assert_eq!(config(Value::Null, false).0, Value::Null);
}

#[test]
fn media_go_by_value_or_by_what_the_host_fetches() {
    let parts = |kind: &str, content: Value| {
        let body = json!({"model": "m", "messages": [{"role": "user", "content": content}]});
        let request = tollgate_http::openai::read_chat(body.to_string().as_bytes()).unwrap();
        written(kind, "gemini-3-flash-preview", &request).map(|(_, body, _)| body["contents"][0]["parts"].clone())
    };
    let by_value = json!([
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA"}},
    ]);
    assert_eq!(
        parts("gemini", by_value).unwrap(),
        json!([
            {"inlineData": {"mimeType": "audio/wav", "data": "AAAA"}},
            {"inlineData": {"mimeType": "application/pdf", "data": "AAAA"}},
        ])
    );
    let url = |url: &str| json!([{"type": "image_url", "image_url": {"url": url}}]);
    assert_eq!(
        parts("vertex", url("gs://bucket/a.png?x")).unwrap(),
        json!([{"fileData": {"mimeType": "image/png", "fileUri": "gs://bucket/a.png?x"}}])
    );
    let failure = parts("gemini", url("https://example.com/a.png")).unwrap_err();
    assert_eq!(failure.class, Class::Unsupported);
    assert!(failure.message.starts_with("messages[0].content[0]: "), "{}", failure.message);
    let kept = json!([{"type": "file", "file": {"file_id": "files/abc"}}]);
    let uri = "https://generativelanguage.googleapis.com/v1beta/files/abc";
    assert_eq!(parts("gemini", kept).unwrap(), json!([{"fileData": {"fileUri": uri}}]));
}

#[test]
fn results_tell_errors_and_pictures_as_the_model_takes_them() {
    let call = json!({"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let body = json!({"model": "m", "messages": [
        {"role": "user", "content": "x"}, {"role": "assistant", "content": null, "tool_calls": [call]},
    ]});
    let mut request = tollgate_http::openai::read_chat(body.to_string().as_bytes()).unwrap();
    let mut failed = result("c1", "no such city");
    let image =
        ImagePart { data: Some(vec![0, 0, 0].into()), media_type: Some("image/png".into()), ..Default::default() };
    if let Some(Content::ToolResult(result)) = &mut failed.parts[0].content {
        result.is_error = Some(true);
        result.content.push(Part { content: Some(Content::Image(image)), ..Part::default() });
    }
    request.messages.push(failed);
    let parts = |model: &str| written("gemini", model, &request).unwrap().1["contents"][2]["parts"].clone();
    let picture = json!({"inlineData": {"mimeType": "image/png", "data": "AAAA"}});
    let mut response = json!({"name": "f", "response": {"error": "no such city"}});
    assert_eq!(parts("gemini-2.5-flash"), json!([{"functionResponse": response}, picture]));
    response["parts"] = json!([picture]);
    assert_eq!(parts("gemini-3-flash-preview"), json!([{"functionResponse": response}]));
}

#[test]
fn parts_that_only_the_provider_knows_come_back_as_they_were() {
    let code = json!({"executableCode": {"language": "PYTHON", "code": "1+1"}});
    let body = json!({"candidates": [{"content": {"parts": [code]}, "finishReason": "STOP"}]});
    let (events, _) = decoded(Mode::Whole, &body.to_string());
    let told = events.iter().find_map(|e| match &e.event {
        Some(Event::Delta(delta)) => match &delta.piece {
            Some(Piece::OpaqueJson(json)) => Some(json.clone()),
            _ => None,
        },
        _ => None,
    });
    let kept = OpaquePart { json: told.unwrap(), ..OpaquePart::default() };
    let part = Part { content: Some(Content::Opaque(kept)), ..Part::default() };
    let answer = Message { role: Role::Assistant as i32, parts: vec![part], ..Message::default() };
    assert_eq!(sent("m", &[answer]), json!([{"role": "model", "parts": [code]}]));
}

#[test]
fn a_check_asks_for_the_list_of_models_with_the_key() {
    let request = registry("gemini").unwrap().check(&target("m")).unwrap();
    assert_eq!(request.uri().to_string(), "https://provider.example/v1/models");
    assert_eq!(request.headers()["x-goog-api-key"], "k-upstream-test");
}

#[test]
fn a_result_that_quotes_no_call_is_refused_by_its_place() {
    let request = CompletionRequest { messages: vec![user("x"), result("c9", "y")], ..CompletionRequest::default() };
    let failure = written("gemini", "m", &request).unwrap_err();
    assert!(failure.message.starts_with("messages[1].content[0].tool_call_id: "), "{}", failure.message);
}

#[test]
fn log_probabilities_sound_and_sources_are_read() {
    let body = json!({
        "candidates": [{
            "content": {"parts": [{"text": "4"}]}, "finishReason": "STOP",
            "logprobsResult": {
                "chosenCandidates": [{"token": "4", "logProbability": -0.5}],
                "topCandidates": [{"candidates": [{"token": "4", "logProbability": -0.5}, {"token": "5", "logProbability": -2.0}]}],
            },
            "groundingMetadata": {"webSearchQueries": ["q"]},
        }],
        "usageMetadata": {
            "promptTokenCount": 30, "candidatesTokenCount": 4,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 5}, {"modality": "AUDIO", "tokenCount": 25}],
            "candidatesTokensDetails": [{"modality": "AUDIO", "tokenCount": 3}],
        },
    });
    let (events, failure) = decoded(Mode::Whole, &body.to_string());
    assert!(failure.is_none());
    let (mut logprobs, mut opaque, mut audio) = (Vec::new(), Vec::new(), (0, 0));
    for event in events.into_iter().filter_map(|e| e.event) {
        match event {
            Event::Delta(delta) => {
                logprobs.extend(serde_json::from_str::<Value>(&delta.logprobs_json));
                if let Some(Piece::OpaqueJson(json)) = delta.piece {
                    opaque.push(json);
                }
            }
            Event::Usage(usage) => audio = (usage.input.unwrap().audio, usage.output.unwrap().audio),
            _ => {}
        }
    }
    let token = |token: &str, logprob: f64| json!({"token": token, "logprob": logprob, "bytes": token.as_bytes()});
    let mut first = token("4", -0.5);
    first["top_logprobs"] = json!([token("4", -0.5), token("5", -2.0)]);
    assert_eq!(logprobs, [json!({"content": [first]})]);
    assert_eq!(opaque, [r#"{"groundingMetadata":{"webSearchQueries":["q"]}}"#]);
    assert_eq!(audio, (25, 3));
}

#[test]
fn a_slip_of_the_model_is_a_failure_unless_it_had_said_something() {
    let answer = |parts: Value| {
        json!({"candidates": [{"content": {"parts": parts}, "finishReason": "MALFORMED_FUNCTION_CALL", "finishMessage": "f(x"}],
               "usageMetadata": {"promptTokenCount": 3, "thoughtsTokenCount": 2}})
        .to_string()
    };
    let (_, failure) = decoded(Mode::Whole, &answer(json!([{"text": "Hm", "thought": true}])));
    let failure = failure.unwrap();
    assert_eq!((failure.class, failure.native_code.as_str()), (Class::ServerError, "MALFORMED_FUNCTION_CALL"));
    assert!(failure.retryable() && failure.message.contains("f(x"));
    let usage = failure.usage.unwrap();
    assert_eq!((usage.output.unwrap().total, usage.estimated), (2, false));

    let (events, failure) = decoded(Mode::Whole, &answer(json!([{"text": "I call"}])));
    assert!(failure.is_none());
    let finished = events.iter().find_map(|e| match &e.event {
        Some(Event::Finished(finished)) => Some(finished.reason()),
        _ => None,
    });
    assert_eq!(finished, Some(FinishReason::Error));
}

#[test]
fn an_error_inside_a_stream_keeps_the_delay_it_asks_for() {
    let error = json!({"error": {"code": 429, "message": "Slow down", "status": "RESOURCE_EXHAUSTED",
        "details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "2.5s"}]}});
    for body in [format!("data: {error}\r\n\r\n"), format!("[{error}]"), format!("[{error}")] {
        let (_, failure) = decoded(Mode::Stream, &body);
        let failure = failure.unwrap();
        assert_eq!((failure.class, failure.native_code.as_str()), (Class::RateLimit, "RESOURCE_EXHAUSTED"));
        assert_eq!(failure.retry_after.map(|d| d.as_millis()), Some(2_500));
    }
}
