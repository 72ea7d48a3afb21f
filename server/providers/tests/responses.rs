//! OpenAI's Responses API: what items a conversation becomes, and what of an answer can go back.

#![allow(clippy::unwrap_used)] // a test says by panicking

#[path = "support/sent.rs"]
mod sent;

use bytes::Bytes;
use sent::{original, sent, written};
use serde_json::{Value, json};
use tollgate_domain::{Class, Failure};
use tollgate_proto::v1::{
    CompletionEvent, CompletionRequest, FilePart, FinishReason, ImagePart, Message, Part, ReasoningPart, RefusalPart,
    Role, TextPart, ToolCallPart, ToolResultPart, completion_event::Event, delta::Piece, part::Content,
};
use tollgate_providers::{ChatCall, Mode, registry::registry};

fn body(request: &CompletionRequest) -> Value {
    sent("openai_responses", "m", request, Mode::Whole, None).body
}

fn message(role: Role, contents: Vec<Content>) -> Message {
    let parts = contents.into_iter().map(|content| Part { content: Some(content), ..Part::default() }).collect();
    Message { role: role as i32, parts, ..Message::default() }
}

fn text(text: &str) -> Content {
    Content::Text(TextPart { text: text.into() })
}

fn asking(messages: Vec<Message>) -> CompletionRequest {
    CompletionRequest { messages, ..CompletionRequest::default() }
}

fn reasoning(text: &str, signature: Option<&str>) -> ReasoningPart {
    ReasoningPart { text: text.into(), signature: signature.map(str::to_owned), ..ReasoningPart::default() }
}

#[test]
fn reasoning_goes_back_directly_before_what_it_led_to() {
    let first = ReasoningPart { native_id: Some("rs_1".into()), ..reasoning("Look it up.", Some("gAAAA-1")) };
    let only_redacted = ReasoningPart { redacted: Some("gAAAA-2".into()), ..reasoning("", None) };
    let call =
        ToolCallPart { id: "call_1".into(), name: "f".into(), arguments_json: "{}".into(), ..Default::default() };
    let result = ToolResultPart { tool_call_id: "call_1".into(), content: Vec::new(), is_error: None };
    let request = asking(vec![
        message(Role::User, vec![text("hi")]),
        message(Role::Assistant, vec![Content::Reasoning(first), Content::ToolCall(call)]),
        message(Role::Tool, vec![Content::ToolResult(result)]),
        message(Role::Assistant, vec![Content::Reasoning(only_redacted), text("Lima.")]),
    ]);
    let summary = json!([{"type": "summary_text", "text": "Look it up."}]);
    let expected = json!([
        {"role": "user", "content": [{"type": "input_text", "text": "hi"}]},
        {"type": "reasoning", "id": "rs_1", "summary": summary, "encrypted_content": "gAAAA-1"},
        {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "call_1", "output": ""},
        {"type": "reasoning", "summary": [], "encrypted_content": "gAAAA-2"},
        {"role": "assistant", "content": [{"type": "output_text", "text": "Lima."}]},
    ]);
    assert_eq!(body(&request)["input"], expected);
}

#[test]
fn reasoning_that_cannot_go_back_is_left_out() {
    let unproven = Content::Reasoning(reasoning("Hm.", None));
    let followed_by_nothing = Content::Reasoning(reasoning("So.", Some("gAAAA")));
    let request = asking(vec![
        message(Role::User, vec![text("hi")]),
        message(Role::Assistant, vec![unproven, text("Lima."), followed_by_nothing]),
    ]);
    let sent = sent("openai_responses", "m", &request, Mode::Whole, None);
    assert_eq!(sent.left_out(), ["messages[1].content[0].reasoning", "messages[1].content[2].reasoning"]);
    assert!(sent.unsupported.is_empty(), "its loss harms nothing");
    assert_eq!(sent.body["input"].as_array().unwrap().len(), 2);
}

#[test]
fn images_files_and_refusals_have_parts_of_their_own() {
    let image =
        ImagePart { url: Some("https://example.org/a.png".into()), detail: Some("low".into()), ..Default::default() };
    let file = |file: FilePart| Content::File(file);
    let stored = file(FilePart { file_id: Some("file-1".into()), ..FilePart::default() });
    let linked = file(FilePart { url: Some("https://example.org/a.pdf".into()), ..FilePart::default() });
    let sent_along = file(FilePart {
        data: Some(Bytes::from_static(b"%PDF")),
        filename: Some("a.pdf".into()),
        ..FilePart::default()
    });
    let shown = ToolResultPart {
        tool_call_id: "call_1".into(),
        content: vec![Part { content: Some(Content::Image(image.clone())), ..Part::default() }],
        is_error: None,
    };
    let request = asking(vec![
        message(Role::User, vec![Content::Image(image), stored, linked, sent_along]),
        message(Role::Assistant, vec![Content::Refusal(RefusalPart { text: "No.".into() })]),
        message(Role::Tool, vec![Content::ToolResult(shown)]),
    ]);
    let image = json!({"type": "input_image", "image_url": "https://example.org/a.png", "detail": "low"});
    let expected = json!([
        {"role": "user", "content": [
            image,
            {"type": "input_file", "file_id": "file-1"},
            {"type": "input_file", "file_url": "https://example.org/a.pdf"},
            {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERg=="},
        ]},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
        {"type": "function_call_output", "call_id": "call_1", "output": [image]},
    ]);
    assert_eq!(body(&request)["input"], expected);
}

#[test]
fn what_is_asked_for_stands_where_this_api_has_it() {
    let text = json!({
        "model": "alias",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "developer", "content": "Be kind."},
            {"role": "user", "content": "hi"},
            {"role": "system", "content": "Now in Spanish."},
        ],
        "response_format": {"type": "json_schema", "json_schema": {"name": "c", "strict": true, "schema": {"a": 1}}},
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "reasoning_effort": "high", "verbosity": "low", "prompt_cache_key": "k", "store": true,
        "logprobs": true, "top_logprobs": 2,
    });
    let sent = sent("openai_responses", "m", &original(&text.to_string()), Mode::Whole, Some(64));
    let expected = json!({
        "model": "m",
        "instructions": "Be brief.\n\nBe kind.",
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "hi"}]},
            {"role": "system", "content": [{"type": "input_text", "text": "Now in Spanish."}]},
        ],
        "tool_choice": {"type": "function", "name": "f"},
        "text": {"format": {"type": "json_schema", "name": "c", "strict": true, "schema": {"a": 1}}, "verbosity": "low"},
        "reasoning": {"effort": "high", "summary": "auto"},
        "include": ["reasoning.encrypted_content", "message.output_text.logprobs"],
        "top_logprobs": 2, "max_output_tokens": 64, "prompt_cache_key": "k", "store": false,
    });
    assert_eq!(sent.body, expected);
    assert_eq!(sent.parts.uri, "https://provider.example/v1/responses");
    assert_eq!(sent.dropped, ["store"]);
}

#[test]
fn choices_of_chat_completions_are_flat_here() {
    let choosing = |choice: &Value| {
        let text = json!({"model": "alias", "messages": [{"role": "user", "content": "hi"}], "tool_choice": choice});
        sent("openai_responses", "m", &written(&text.to_string()), Mode::Whole, None)
    };
    let function = json!({"type": "function", "function": {"name": "f"}});
    let custom = json!({"type": "custom", "custom": {"name": "c"}});
    let hosted = json!({"type": "file_search"});
    let flat_function = json!({"type": "function", "name": "f"});
    let flat_custom = json!({"type": "custom", "name": "c"});
    let allowed = json!({"mode": "required", "tools": [function, custom, hosted]});
    let flat = json!({"type": "allowed_tools", "mode": "required", "tools": [flat_function, flat_custom, hosted]});
    for (choice, expected) in [
        (custom, flat_custom),
        (json!({"type": "allowed_tools", "allowed_tools": allowed}), flat),
        (hosted.clone(), hosted),
    ] {
        let sent = choosing(&choice);
        assert_eq!(sent.body["tool_choice"], expected);
        assert!(sent.left_out().is_empty(), "{choice}: {:?}", sent.left_out());
    }
    for unknown in [json!({"type": "x_unheard_of"}), json!({"type": "allowed_tools"})] {
        let sent = choosing(&unknown);
        assert_eq!(sent.unsupported, ["tool_choice"]);
        assert!(sent.body.get("tool_choice").is_none(), "{}", sent.body);
    }
}

#[test]
fn what_this_api_does_not_have_is_refused_by_name() {
    let text = json!({
        "model": "alias", "messages": [{"role": "user", "name": "ada", "content": "hi"}],
        "stop": "END", "n": 2, "seed": 1, "frequency_penalty": 0.5, "presence_penalty": 0.5, "logit_bias": {"7": 1},
        "top_k": 5, "prediction": {}, "temperature": 0.5,
    });
    let unsupported =
        |model| sent("openai_responses", model, &written(&text.to_string()), Mode::Whole, None).unsupported;
    let always = [
        "messages[0].name",
        "prediction",
        "stop",
        "n",
        "seed",
        "frequency_penalty",
        "presence_penalty",
        "logit_bias",
        "top_k",
    ];
    assert_eq!(unsupported("gpt-4o"), always);
    assert_eq!(unsupported("o3"), [&always[..], &["temperature"]].concat());
    let reasons = sent("openai_responses", "o3", &asking(Vec::new()), Mode::Whole, None).body;
    assert_eq!(reasons["include"], json!(["reasoning.encrypted_content"]), "it reasons unasked");
}

fn decoded(body: String) -> (Vec<CompletionEvent>, Result<(), Failure>) {
    let request = CompletionRequest::default();
    let call = ChatCall::new(&request, Mode::Stream);
    let mut decoder = registry("openai_responses").unwrap().chat().unwrap().decoder(&sent::target("m"), &call);
    let mut events = Vec::new();
    let told = decoder.feed(&Bytes::from(body), &mut events).and_then(|()| decoder.end(&mut events));
    (events, told)
}

fn stream(events: &[Value]) -> String {
    events.iter().map(|event| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap())).collect()
}

/// Part and piece of each delta.
fn pieces(events: &[CompletionEvent]) -> Vec<(u32, Piece)> {
    let deltas = events.iter().filter_map(|event| match &event.event {
        Some(Event::Delta(delta)) => Some((delta.part, delta.piece.clone()?)),
        _ => None,
    });
    deltas.collect()
}

#[test]
fn a_summary_and_its_proof_are_one_part_streamed_or_whole() {
    let item = json!({"type": "reasoning", "id": "rs_1", "encrypted_content": "gAAAA", "summary": [
        {"type": "summary_text", "text": "First."}, {"type": "summary_text", "text": "Then."}]});
    let said = json!({"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Lima."}]});
    let response = json!({"id": "resp_1", "model": "o3", "status": "completed", "output": [item, said]});
    let streamed = stream(&[
        json!({"type": "response.created", "response": {"id": "resp_1", "status": "in_progress"}}),
        json!({"type": "response.output_item.added", "output_index": 0, "item": {"type": "reasoning", "summary": []}}),
        json!({"type": "response.reasoning_summary_part.added", "output_index": 0, "summary_index": 0}),
        json!({"type": "response.reasoning_summary_text.delta", "output_index": 0, "delta": "First."}),
        json!({"type": "response.reasoning_summary_text.done", "output_index": 0, "text": "First."}),
        json!({"type": "response.reasoning_summary_part.added", "output_index": 0, "summary_index": 1}),
        json!({"type": "response.reasoning_summary_text.delta", "output_index": 0, "delta": "Then."}),
        json!({"type": "response.output_item.done", "output_index": 0, "item": item}),
        json!({"type": "response.output_item.added", "output_index": 1, "item": {"type": "message", "content": []}}),
        json!({"type": "response.output_text.delta", "output_index": 1, "delta": "Lima."}),
        json!({"type": "response.output_item.done", "output_index": 1, "item": said}),
        json!({"type": "response.completed", "response": response}),
    ]);
    for body in [streamed, response.to_string()] {
        let (events, told) = decoded(body);
        told.unwrap();
        let joined =
            pieces(&events).into_iter().fold((String::new(), Vec::new()), |(mut words, mut rest), (part, piece)| {
                match piece {
                    Piece::Reasoning(text) => words.push_str(&text),
                    other => rest.push((part, other)),
                }
                (words, rest)
            });
        let rest = vec![(0, Piece::ReasoningSignature("gAAAA".into())), (1, Piece::Text("Lima.".into()))];
        assert_eq!(joined, ("First.\n\nThen.".to_owned(), rest));
    }
}

#[test]
fn tools_that_the_provider_runs_stay_as_they_are() {
    let search = json!({"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"query": "lima"}});
    let custom = json!({"type": "custom_tool_call", "call_id": "call_1", "name": "sh", "input": "ls"});
    let (events, told) = decoded(stream(&[
        json!({"type": "response.created", "response": {"id": "resp_1"}}),
        json!({"type": "response.output_item.added", "output_index": 0, "item": {"type": "web_search_call"}}),
        json!({"type": "response.web_search_call.searching", "output_index": 0}),
        json!({"type": "response.output_item.done", "output_index": 0, "item": search}),
        json!({"type": "response.output_item.done", "output_index": 1, "item": custom}),
        json!({"type": "response.completed", "response": {"id": "resp_1", "status": "completed"}}),
    ]));
    told.unwrap();
    let pieces = pieces(&events);
    assert_eq!(pieces[0], (0, Piece::OpaqueJson(search.to_string())));
    assert!(
        matches!(&pieces[1].1, Piece::ToolCallStart(start) if start.id == "call_1" && start.type_native == "custom")
    );
    assert_eq!(pieces[2], (1, Piece::ToolArguments("ls".into())));
    let finished = events.iter().find_map(|event| match &event.event {
        Some(Event::Finished(finished)) => Some(finished.reason()),
        _ => None,
    });
    assert_eq!(finished, Some(FinishReason::ToolCalls));
}

#[test]
fn a_failure_is_classed_by_its_code_wherever_it_stands() {
    let created = json!({"type": "response.created", "response": {"id": "resp_1"}});
    let failed = |code: &str| {
        let error = json!({"code": code, "message": "no"});
        json!({"type": "response.failed", "response": {"status": "failed", "error": error}})
    };
    for (event, class) in [
        (json!({"type": "error", "code": "rate_limit_exceeded", "message": "no"}), Class::RateLimit),
        (json!({"type": "error", "error": {"type": "invalid_request_error", "message": "no"}}), Class::InvalidRequest),
        (failed("rate_limit_exceeded"), Class::RateLimit),
        (failed("server_error"), Class::ServerError),
        (failed("invalid_image"), Class::InvalidRequest),
        (failed("insufficient_quota"), Class::QuotaExceeded),
    ] {
        let (_, told) = decoded(stream(&[created.clone(), event.clone()]));
        assert_eq!(told.unwrap_err().class, class, "{event}");
    }
}
