//! A loop of tools comes back to Mistral, Cohere and Ollama as they began it: ids on both sides, and what they thought.

#![allow(clippy::unwrap_used)] // a test says by panicking

#[path = "support/ask.rs"]
mod ask;

use ask::{body, call, key, provider, read, target, written};
use bytes::Bytes;
use serde_json::{Value, json};
use tollgate_proto::v1::{
    CompletionEvent, CompletionRequest, Delta, Message, Part, ReasoningPart, Role, TextPart, ToolCallPart,
    ToolResultPart, completion_event::Event, delta::Piece, part::Content,
};
use tollgate_providers::Mode;

/// An answer as a message of the next turn.
fn answered(kind: &str, mode: Mode, bytes: &str) -> Vec<Part> {
    let request = read(json!({}));
    let mut decoder = provider(kind).chat().unwrap().decoder(&target(key()), &call(&request, mode));
    let mut events: Vec<CompletionEvent> = Vec::new();
    decoder.feed(&Bytes::copy_from_slice(bytes.as_bytes()), &mut events).unwrap();
    decoder.end(&mut events).unwrap();
    let mut parts: Vec<Part> = Vec::new();
    for event in events {
        if let Some(Event::Delta(Delta { part, piece: Some(piece), .. })) = event.event {
            parts.resize_with(parts.len().max(part as usize + 1), Part::default);
            grow(&mut parts[part as usize].content, piece);
        }
    }
    parts
}

fn grow(content: &mut Option<Content>, piece: Piece) {
    match (content, piece) {
        (Some(Content::Text(part)), Piece::Text(text)) => part.text += &text,
        (Some(Content::Reasoning(part)), Piece::Reasoning(text)) => part.text += &text,
        (Some(Content::ToolCall(call)), Piece::ToolArguments(text)) => call.arguments_json += &text,
        (content @ None, Piece::Text(text)) => *content = Some(Content::Text(TextPart { text })),
        (content @ None, Piece::Reasoning(text)) => {
            *content = Some(Content::Reasoning(ReasoningPart { text, ..ReasoningPart::default() }));
        }
        (content @ None, Piece::ToolCallStart(start)) => {
            *content =
                Some(Content::ToolCall(ToolCallPart { id: start.id, name: start.name, ..ToolCallPart::default() }));
        }
        (_, other) => panic!("{other:?}"),
    }
}

/// What is sent when the tools that an answer asked for have answered "19" each.
fn next_turn(kind: &str, answer: Vec<Part>) -> (Value, Vec<String>) {
    let text = |text: &str| Part { content: Some(Content::Text(TextPart { text: text.into() })), ..Part::default() };
    let results = answer.iter().filter_map(|part| match &part.content {
        Some(Content::ToolCall(call)) => {
            let result = ToolResultPart {
                tool_call_id: call.id.clone(),
                content: vec![text("19")],
                ..ToolResultPart::default()
            };
            Some(Part { content: Some(Content::ToolResult(result)), ..Part::default() })
        }
        _ => None,
    });
    let message = |role: Role, parts: Vec<Part>| Message { role: role as i32, parts, ..Message::default() };
    let results = message(Role::Tool, results.collect());
    let messages = vec![message(Role::User, vec![text("Hi")]), message(Role::Assistant, answer), results];
    let request = CompletionRequest { messages, ..CompletionRequest::default() };
    let outgoing = written(kind, &call(&request, Mode::Whole)).unwrap();
    (body(&outgoing)["messages"].clone(), outgoing.dropped)
}

#[test]
fn mistral_gets_its_thinking_and_its_ids_back() {
    let answer = r#"{"id":"x","model":"m","choices":[{"index":0,"finish_reason":"tool_calls","message":{"role":"assistant",
        "content":[{"type":"thinking","thinking":[{"type":"text","text":"Look"},{"type":"text","text":" it up."}]},{"type":"text","text":"One moment."}],
        "tool_calls":[{"id":"35bC59XSm","function":{"name":"get_weather","arguments":"{\"city\": \"Lima\"}"}}]}}]}"#;
    let (messages, dropped) = next_turn("mistral", answered("mistral", Mode::Whole, answer));
    assert_eq!(dropped, Vec::<String>::new());
    assert_eq!(
        messages[1],
        json!({
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": [{"type": "text", "text": "Look it up."}]},
                {"type": "text", "text": "One moment."},
            ],
            "tool_calls": [{
                "id": "35bC59XSm",
                "type": "function",
                "function": {"name": "get_weather", "arguments": "{\"city\": \"Lima\"}"},
            }],
        })
    );
    let result = json!({"role": "tool", "tool_call_id": "35bC59XSm", "name": "get_weather", "content": "19"});
    assert_eq!(messages[2], result);
}

#[test]
fn ids_of_another_provider_meet_again_at_mistral() {
    let call = |id: &str, name: &str| ToolCallPart { id: id.into(), name: name.into(), ..ToolCallPart::default() };
    let part = |call| Part { content: Some(Content::ToolCall(call)), ..Part::default() };
    let signed = ReasoningPart { text: "Hm".into(), signature: Some("c2ln".into()), ..ReasoningPart::default() };
    let signed = Part { content: Some(Content::Reasoning(signed)), ..Part::default() };
    let (messages, dropped) =
        next_turn("mistral", vec![signed, part(call("toolu_01", "a")), part(call("call_2", "b"))]);
    assert_eq!(dropped, ["messages[1].reasoning"], "what another provider signed is not Mistral's");
    let calls = &messages[1]["tool_calls"];
    assert_ne!(calls[0]["id"], calls[1]["id"]);
    for (i, name) in ["a", "b"].into_iter().enumerate() {
        assert_eq!(calls[i]["id"].as_str().unwrap().len(), 9);
        assert_eq!(messages[2 + i]["tool_call_id"], calls[i]["id"]);
        assert_eq!(messages[2 + i]["name"], name);
    }
}

#[test]
fn cohere_gets_its_plan_and_its_thinking_back() {
    let answer = concat!(
        "data: {\"type\":\"message-start\",\"id\":\"x\",\"delta\":{\"message\":{\"role\":\"assistant\",\"content\":[],\"tool_calls\":[]}}}\n\n",
        "data: {\"type\":\"content-start\",\"index\":0,\"delta\":{\"message\":{\"content\":{\"type\":\"thinking\",\"thinking\":\"Hm.\"}}}}\n\n",
        "data: {\"type\":\"content-end\",\"index\":0}\n\n",
        "data: {\"type\":\"tool-plan-delta\",\"delta\":{\"message\":{\"tool_plan\":\"I will look.\"}}}\n\n",
        "data: {\"type\":\"tool-call-start\",\"index\":0,\"delta\":{\"message\":{\"tool_calls\":{\"id\":\"w_1\",\"type\":\"function\",\"function\":{\"name\":\"get_weather\",\"arguments\":\"\"}}}}}\n\n",
        "data: {\"type\":\"tool-call-end\",\"index\":0}\n\n",
        "data: {\"type\":\"message-end\",\"delta\":{\"finish_reason\":\"TOOL_CALL\"}}\n\n",
    );
    let (messages, dropped) = next_turn("cohere", answered("cohere", Mode::Stream, answer));
    assert_eq!(dropped, Vec::<String>::new());
    assert_eq!(
        messages[1],
        json!({
            "role": "assistant",
            "content": [{"type": "thinking", "thinking": "Hm."}],
            "tool_plan": "I will look.",
            "tool_calls": [{"id": "w_1", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}],
        })
    );
    assert_eq!(messages[2], json!({"role": "tool", "tool_call_id": "w_1", "content": "19"}));
    let plain = r#"{"id":"x","message":{"role":"assistant","content":[{"type":"thinking","thinking":"Hm."},{"type":"text","text":"4"}]},"finish_reason":"COMPLETE"}"#;
    let (messages, _) = next_turn("cohere", answered("cohere", Mode::Whole, plain));
    let content = json!([{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "4"}]);
    assert_eq!(messages[1], json!({"role": "assistant", "content": content}));
}

#[test]
fn ollama_gets_its_thinking_back_and_ids_that_it_never_gave() {
    let answer = concat!(
        r#"{"model":"m","message":{"role":"assistant","content":"","thinking":"Look"},"done":false}"#,
        "\n",
        r#"{"model":"m","message":{"role":"assistant","content":"","thinking":" it up."},"done":false}"#,
        "\n",
        r#"{"model":"m","message":{"role":"assistant","content":"","tool_calls":[{"function":{"name":"a","arguments":{"city":"Lima"}}},{"function":{"name":"b","arguments":{}}}]},"done":false}"#,
        "\n",
        r#"{"model":"m","message":{"role":"assistant","content":""},"done_reason":"stop","done":true}"#,
        "\n",
    );
    let (messages, _) = next_turn("ollama", answered("ollama", Mode::Stream, answer));
    let assistant = &messages[1];
    assert_eq!(assistant["thinking"], "Look it up.");
    let ids: Vec<&Value> = (0..2).map(|i| &assistant["tool_calls"][i]["id"]).collect();
    assert!(ids[0].is_string() && ids[0] != ids[1]);
    assert_eq!(assistant["tool_calls"][0]["function"], json!({"name": "a", "arguments": {"city": "Lima"}}));
    for (i, name) in ["a", "b"].into_iter().enumerate() {
        let result = json!({"role": "tool", "tool_name": name, "tool_call_id": ids[i], "content": "19"});
        assert_eq!(messages[2 + i], result);
    }
}
