//! Mistral, Cohere and Ollama, dialects of OpenAI's shape that have their own words: what they are sent, and what is kept of answers.

#![allow(clippy::unwrap_used)] // a test says by panicking

#[path = "support/ask.rs"]
mod ask;

use ask::{body, call, key, provider, read, target, written};
use bytes::Bytes;
use serde_json::{Value, json};
use tollgate_domain::{Class, Failure};
use tollgate_proto::v1::{
    CompletionEvent, CompletionRequest, Delta, Dialect, FinishReason, Original, completion_event::Event, delta::Piece,
};
use tollgate_providers::{EmbedCall, Mode, credential::Credential};

/// The body of a request that a client of OpenAI's writes, and what it goes without: unsupported, dropped.
fn sent(kind: &str, request: Value) -> (Value, Vec<String>, Vec<String>) {
    let request = read(request);
    let outgoing = written(kind, &call(&request, Mode::Whole)).unwrap();
    let unsupported = outgoing.unsupported.iter().map(|parameter| parameter.field.clone()).collect();
    (body(&outgoing), unsupported, outgoing.dropped)
}

fn tool(name: &str) -> Value {
    json!({"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {}}}})
}

fn embedding(kind: &str, request: Value) -> (Value, Vec<String>) {
    let request = tollgate_http::openai::read_embedding(request.to_string().as_bytes()).unwrap();
    let call = EmbedCall {
        request: &request,
        want_native: Dialect::Unspecified,
        drop_params: false,
        attempt_id: "a-1",
        traceparent: None,
    };
    let outgoing = provider(kind).embed().unwrap().request(&target(key()), &call).unwrap();
    (body(&outgoing), outgoing.unsupported.into_iter().map(|parameter| parameter.field).collect())
}

fn decoded(kind: &str, mode: Mode, answer: &str) -> Result<Vec<CompletionEvent>, Failure> {
    let request = read(json!({}));
    let mut decoder = provider(kind).chat().unwrap().decoder(&target(key()), &call(&request, mode));
    let mut events = Vec::new();
    decoder.feed(&Bytes::copy_from_slice(answer.as_bytes()), &mut events)?;
    decoder.end(&mut events)?;
    Ok(events)
}

fn deltas(events: &[CompletionEvent]) -> Vec<&Delta> {
    let deltas = events.iter().filter_map(|event| match &event.event {
        Some(Event::Delta(delta)) => Some(delta),
        _ => None,
    });
    deltas.collect()
}

#[test]
fn mistral_is_asked_in_its_own_words_and_for_nothing_that_it_does_not_know() {
    let (body, unsupported, dropped) = sent(
        "mistral",
        json!({
            "seed": 7, "max_tokens": 5, "reasoning_effort": "high", "safe_prompt": true, "user": "u", "stop": "END",
            "top_k": 3, "store": true, "logit_bias": {"1": 2}, "n": 2,
            "tools": [tool("a")], "tool_choice": {"type": "function", "function": {"name": "a"}},
            "messages": [
                {"role": "developer", "content": "Be brief."},
                {"role": "user", "name": "Ana", "content": [
                    {"type": "image_url", "image_url": "https://host.example/a.png"},
                    {"type": "document_url", "document_url": "https://host.example/a.pdf"},
                    {"type": "file", "file": {"filename": "b.pdf", "file_data": "data:application/pdf;base64,JVBERg=="}},
                ]},
                {"role": "assistant", "content": "It shows"},
            ],
        }),
    );
    assert_eq!(
        body,
        json!({
            "model": "m", "random_seed": 7, "max_tokens": 5, "reasoning_effort": "high", "safe_prompt": true,
            "stop": ["END"], "n": 2, "tools": [tool("a")],
            "tool_choice": {"type": "function", "function": {"name": "a"}},
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": [
                    {"type": "image_url", "image_url": {"url": "https://host.example/a.png"}},
                    {"type": "document_url", "document_url": "https://host.example/a.pdf"},
                    {"type": "document_url", "document_url": "data:application/pdf;base64,JVBERg==", "document_name": "b.pdf"},
                ]},
                {"role": "assistant", "content": "It shows", "prefix": true},
            ],
        })
    );
    assert_eq!(unsupported, ["messages[1].name", "top_k", "logit_bias", "store"]);
    assert_eq!(dropped, ["user"]);
}

#[test]
fn mistral_is_never_sent_the_bytes_of_openais_dialect() {
    let text = r#"{"model":"alias","seed":7,"messages":[{"role":"user","content":"hi"}]}"#;
    let original = Original { dialect: Dialect::OpenaiChat as i32, body: text.as_bytes().to_vec().into() };
    let request = CompletionRequest { original: Some(original), ..read(serde_json::from_str(text).unwrap()) };
    let mut call = call(&request, Mode::Stream);
    call.prefill = Some("Once");
    call.output_cap = Some(9);
    let body = body(&written("mistral", &call).unwrap());
    assert_eq!(body["random_seed"], 7);
    assert_eq!(body["max_tokens"], 9);
    assert_eq!(body["messages"][1], json!({"role": "assistant", "content": "Once", "prefix": true}));
    assert_eq!(body["stream"], true);
    assert!(body.get("stream_options").is_none() && body.get("seed").is_none());
}

#[test]
fn cohere_is_asked_in_its_own_words() {
    let (body, unsupported, dropped) = sent(
        "cohere",
        json!({
            "top_p": 0.9, "top_k": 3, "seed": 7, "logprobs": true, "stop": ["A", "B"], "reasoning_effort": "none",
            "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object"}}},
            "priority": 3, "n": 2, "service_tier": "flex", "top_logprobs": 1, "user": "u", "store": true,
        }),
    );
    assert_eq!(
        body,
        json!({
            "model": "m", "messages": [{"role": "user", "content": "Hi"}],
            "p": 0.9, "k": 3, "seed": 7, "logprobs": true, "stop_sequences": ["A", "B"], "priority": 3,
            "response_format": {"type": "json_object", "json_schema": {"type": "object"}},
            "thinking": {"type": "disabled"},
        })
    );
    assert_eq!(unsupported, ["store", "n", "top_logprobs", "service_tier"]);
    assert_eq!(dropped, ["user"]);
}

#[test]
fn cohere_is_told_to_call_a_function_by_being_offered_no_other() {
    let tools = json!([tool("a"), tool("b")]);
    let choose = |choice: Value| sent("cohere", json!({"tools": tools, "tool_choice": choice})).0;
    let named = choose(json!({"type": "function", "function": {"name": "b"}}));
    assert_eq!(named["tools"], json!([tool("b")]));
    assert_eq!(named["tool_choice"], "REQUIRED");
    assert_eq!(choose(json!("none"))["tool_choice"], "NONE");
    assert!(choose(json!("auto")).get("tool_choice").is_none());
    let unknown = read(json!({"tools": tools, "tool_choice": {"type": "function", "function": {"name": "c"}}}));
    let failure = written("cohere", &call(&unknown, Mode::Whole)).unwrap_err();
    assert_eq!(failure.class, Class::InvalidRequest);
    assert!(failure.message.starts_with("tool_choice.function.name"), "{}", failure.message);
}

#[test]
fn cohere_gives_json_without_tools_and_documents_alone() {
    let format = json!({"type": "json_object"});
    for more in [json!({"tools": [tool("a")]}), json!({"documents": ["Lima is a city."]})] {
        let mut request = more.clone();
        request["response_format"] = format.clone();
        let (body, unsupported, _) = sent("cohere", request);
        assert_eq!(unsupported, ["response_format"]);
        assert!(body.get("response_format").is_none());
        assert_eq!(body.get("documents"), more.get("documents"));
    }
}

#[test]
fn cohere_thinks_within_a_budget_or_as_it_likes() {
    let mut request = read(json!({"reasoning_effort": "high"}));
    let outgoing = written("cohere", &call(&request, Mode::Whole)).unwrap();
    assert_eq!(body(&outgoing)["thinking"], json!({"type": "enabled"}));
    assert_eq!(outgoing.dropped, ["reasoning_effort"]);
    request.reasoning.as_mut().unwrap().budget_tokens = Some(500);
    let outgoing = written("cohere", &call(&request, Mode::Whole)).unwrap();
    assert_eq!(body(&outgoing)["thinking"], json!({"type": "enabled", "token_budget": 500}));
    assert_eq!(outgoing.dropped, Vec::<String>::new());
}

#[test]
fn references_of_mistrals_are_kept_and_a_full_window_is_an_end_by_length() {
    let answer = concat!(
        r#"data: {"id":"x","choices":[{"index":0,"delta":{"role":"assistant","content":[{"type":"text","text":"4"},{"type":"reference","reference_ids":[1]}]}}]}"#,
        "\n\n",
        r#"data: {"id":"x","choices":[{"index":0,"delta":{"content":"."},"finish_reason":"model_length"}]}"#,
        "\n\ndata: [DONE]\n\n",
    );
    let events = decoded("mistral", Mode::Stream, answer).unwrap();
    let pieces: Vec<String> = deltas(&events)
        .into_iter()
        .map(|delta| match delta.piece.clone().unwrap() {
            Piece::Text(text) | Piece::OpaqueJson(text) => text,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(pieces, ["4", r#"{"reference":{"type":"reference","reference_ids":[1]}}"#, "."]);
    let finished = events.iter().find_map(|event| match &event.event {
        Some(Event::Finished(finished)) => Some(finished.reason()),
        _ => None,
    });
    assert_eq!(finished, Some(FinishReason::Length));
}

#[test]
fn what_breaks_an_answer_is_told_by_its_own_class() {
    let error = |more: &str| format!("data: {{\"object\":\"error\",\"message\":\"no\"{more}}}\n\n");
    let end = |word: &str| {
        let usage = r#""usage":{"tokens":{"input_tokens":6.0,"output_tokens":1}}"#;
        format!(r#"{{"id":"x","message":{{"role":"assistant","content":[]}},"finish_reason":"{word}",{usage}}}"#)
    };
    for (kind, mode, answer, class) in [
        ("mistral", Mode::Stream, error(r#","code":"1300","raw_status_code":429"#), Class::RateLimit),
        ("mistral", Mode::Stream, error(r#","type":"rate_limited""#), Class::RateLimit),
        ("mistral", Mode::Stream, error(r#","code":"3505","raw_status_code":503"#), Class::Overloaded),
        ("cohere", Mode::Whole, end("TIMEOUT"), Class::Timeout),
        ("cohere", Mode::Whole, end("ERROR"), Class::ServerError),
        (
            "ollama",
            Mode::Stream,
            "{\"error\":\"input length exceeds maximum context length\"}\n".into(),
            Class::ContextLength,
        ),
    ] {
        let failure = decoded(kind, mode, &answer).unwrap_err();
        assert_eq!(failure.class, class, "{answer}");
        if kind == "cohere" {
            assert_eq!(failure.usage.unwrap().input.unwrap().total, 6, "what it counted until then");
        }
    }
}

#[test]
fn citations_and_log_probabilities_of_coheres_are_kept() {
    let answer = r#"{"id":"x","message":{"role":"assistant","content":[{"type":"text","text":"4"}],"citations":[{"start":0,"end":1,"text":"4"}]},
        "finish_reason":"COMPLETE","logprobs":[{"text":"4","token_ids":[7],"logprobs":[-0.5]}]}"#;
    let events = decoded("cohere", Mode::Whole, answer).unwrap();
    let deltas = deltas(&events);
    let logprobs: Value = serde_json::from_str(&deltas[0].logprobs_json).unwrap();
    assert_eq!(logprobs["content"][0]["token"], "4");
    assert_eq!(logprobs["content"][0]["logprob"], -0.5);
    let Some(Piece::OpaqueJson(citation)) = &deltas[1].piece else { panic!("{deltas:?}") };
    let citation: Value = serde_json::from_str(citation).unwrap();
    assert_eq!(citation, json!({"citation": {"start": 0, "end": 1, "text": "4"}}));
}

#[test]
fn ollama_is_asked_in_its_own_words() {
    let (body, unsupported, dropped) = sent(
        "ollama",
        json!({
            "top_k": 3, "seed": 7, "presence_penalty": 0.5, "stop": "END", "max_tokens": 5, "reasoning_effort": "high",
            "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object"}}},
            "keep_alive": "5m", "num_ctx": 8192, "options": {"num_gpu": 1, "seed": 8}, "n": 2, "logprobs": true,
        }),
    );
    assert_eq!(
        body,
        json!({
            "model": "m", "messages": [{"role": "user", "content": "Hi"}], "stream": false, "truncate": false,
            "think": true, "format": {"type": "object"}, "keep_alive": "5m",
            "options": {"top_k": 3, "seed": 7, "presence_penalty": 0.5, "stop": ["END"], "num_predict": 5, "num_ctx": 8192, "num_gpu": 1},
        })
    );
    assert_eq!(unsupported, ["n", "logprobs"]);
    assert_eq!(dropped, ["reasoning_effort"]);
    assert_eq!(sent("ollama", json!({"truncate": true})).0["truncate"], true);
    assert_eq!(sent("ollama", json!({"response_format": {"type": "json_object"}})).0["format"], "json");
    assert_eq!(sent("ollama", json!({"reasoning_effort": "none"})).0["think"], false);
}

#[test]
fn ollama_cannot_be_made_to_call_a_tool_but_can_be_kept_from_it() {
    let choose = |choice: Value| sent("ollama", json!({"tools": [tool("a")], "tool_choice": choice}));
    for forced in [json!("required"), json!({"type": "function", "function": {"name": "a"}})] {
        let (body, unsupported, _) = choose(forced);
        assert_eq!(unsupported, ["tool_choice"]);
        assert_eq!(body["tools"], json!([tool("a")]));
    }
    let (body, unsupported, _) = choose(json!("none"));
    assert!(body.get("tools").is_none() && unsupported.is_empty());
    let (body, unsupported, _) = choose(json!("auto"));
    assert!(body.get("tools").is_some() && body.get("tool_choice").is_none() && unsupported.is_empty());
}

#[test]
fn ollama_takes_images_by_value_and_arguments_as_objects() {
    let image = json!([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://host.example/a.png"}}]}]);
    let call_text = json!([{"role": "assistant", "content": null, "tool_calls": [
        {"id": "c", "type": "function", "function": {"name": "a", "arguments": "{\"city\":"}},
    ]}]);
    for (path, messages) in [("messages[0].content[0]", image), ("messages[0].tool_calls.arguments", call_text)] {
        let request = read(json!({ "messages": messages }));
        let failure = written("ollama", &call(&request, Mode::Whole)).unwrap_err();
        assert_eq!(failure.class, Class::Unsupported);
        assert!(failure.message.starts_with(path), "{}", failure.message);
    }
    let chat = provider("ollama");
    assert!(!chat.chat().unwrap().fetches("m", "https://host.example/a.png"));
}

#[test]
fn ollama_is_shown_a_key_only_where_there_is_one() {
    let request = read(json!({}));
    let sent = |credential| {
        let ollama = provider("ollama");
        let outgoing = ollama.chat().unwrap().request(&target(credential), &call(&request, Mode::Whole)).unwrap();
        outgoing.request.headers().get("authorization").cloned()
    };
    assert_eq!(sent(Credential::None), None);
    assert_eq!(sent(key()).unwrap(), "Bearer sk-upstream-test");
}

#[test]
fn a_prompt_that_ollama_still_held_is_counted_as_an_estimate() {
    let read_usage = |counts: &str| {
        let answer =
            format!(r#"{{"model":"m","message":{{"content":"ok"}},"done":true,"done_reason":"stop"{counts}}}"#);
        decoded("ollama", Mode::Whole, &answer).unwrap().into_iter().find_map(|event| match event.event {
            Some(Event::Usage(usage)) => Some(usage.estimated),
            _ => None,
        })
    };
    assert_eq!(read_usage(r#","eval_count":2"#), Some(true));
    assert_eq!(read_usage(r#","prompt_eval_count":3,"eval_count":2"#), Some(false));
    assert_eq!(read_usage(""), None);
}

#[test]
fn embeddings_are_asked_for_in_each_dialect() {
    let request =
        json!({"model": "alias", "input": ["a", "b"], "dimensions": 4, "encoding_format": "base64", "store": true});
    let (body, unsupported) = embedding("mistral", request.clone());
    let expected = json!({"model": "m", "input": ["a", "b"], "encoding_format": "float", "output_dimension": 4});
    assert_eq!((body, unsupported), (expected, vec!["store".to_owned()]));
    let (body, _) = embedding("cohere", request.clone());
    let expected = json!({
        "model": "m", "texts": ["a", "b"], "input_type": "search_document", "embedding_types": ["float"],
        "output_dimension": 4,
    });
    assert_eq!(body, expected);
    let query = json!({"model": "alias", "input": "a", "input_type": "search_query"});
    let (body, unsupported) = embedding("cohere", query);
    assert_eq!((&body["input_type"], unsupported.len()), (&json!("search_query"), 0));
    let (body, _) = embedding("ollama", request);
    assert_eq!(body, json!({"model": "m", "input": ["a", "b"], "dimensions": 4, "truncate": false}));
}

#[test]
fn a_check_asks_for_the_list_of_models() {
    for (kind, path) in [("mistral", "/models"), ("cohere", "/v1/models"), ("ollama", "/api/tags")] {
        let request = provider(kind).check(&target(key())).unwrap();
        assert_eq!((request.method().as_str(), request.uri().path()), ("GET", path));
        assert_eq!(request.headers()["authorization"], "Bearer sk-upstream-test");
    }
}
