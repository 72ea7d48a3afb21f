use tollgate_proto::v1::{Delta, Original, TextPart, ToolCallPart, ToolCallStart};

use super::*;

const OURS: &str = "anthropic-claude-v1";
const THEIRS: &str = "google-gemini-v1";

fn said(part: u32, piece: Piece) -> CompletionEvent {
    let delta = Delta { part, piece: Some(piece), reasoning_format: OURS.into(), ..Delta::default() };
    CompletionEvent { event: Some(Event::Delta(delta)), ..CompletionEvent::default() }
}

fn call(part: u32, id: &str) -> CompletionEvent {
    said(part, Piece::ToolCallStart(ToolCallStart { id: id.into(), name: "look".into(), ..ToolCallStart::default() }))
}

fn part(content: Content) -> Part {
    Part { content: Some(content), ..Part::default() }
}

fn thought(text: &str, signature: &str, format: &str) -> Part {
    part(Content::Reasoning(ReasoningPart {
        text: text.into(),
        signature: Some(signature.into()),
        format: Some(format.into()),
        ..ReasoningPart::default()
    }))
}

fn text(text: &str) -> Part {
    part(Content::Text(TextPart { text: text.into() }))
}

fn called(id: &str) -> Part {
    part(Content::ToolCall(ToolCallPart { id: id.into(), ..ToolCallPart::default() }))
}

fn asking(parts: Vec<Part>) -> Arc<CompletionRequest> {
    let message = Message { role: Role::Assistant as i32, parts, ..Message::default() };
    let original = Some(Original::default());
    Arc::new(CompletionRequest { messages: vec![message], original, ..CompletionRequest::default() })
}

fn gathered(events: &[CompletionEvent]) -> Gathered {
    let mut gathered = Gathered::default();
    events.iter().for_each(|event| gathered.observe(event));
    gathered
}

/// Thinks, speaks, thinks again and calls two tools.
fn answer() -> Gathered {
    gathered(&[
        said(0, Piece::Reasoning("Hm".into())),
        said(0, Piece::Reasoning("m.".into())),
        said(0, Piece::ReasoningSignature("sig-0".into())),
        said(1, Piece::Text("Let me see.".into())),
        said(2, Piece::ReasoningSignature("sig-2".into())),
        call(3, "call_a"),
        call(4, "call_b"),
    ])
}

#[test]
fn what_a_caller_did_not_carry_is_put_back_where_it_stood() {
    let memory = Memory::new();
    memory.keep("key-1", OURS, answer());
    let request = asking(vec![text("Let me see."), called("call_a"), called("call_b")]);
    let (fitted, dropped) = memory.fit(&request, "key-1", OURS);
    let expected = vec![
        thought("Hmm.", "sig-0", OURS),
        text("Let me see."),
        thought("", "sig-2", OURS),
        called("call_a"),
        called("call_b"),
    ];
    assert_eq!(fitted.messages[0].parts, expected);
    assert!(dropped.is_empty());
    assert!(fitted.original.is_none(), "the caller's own bytes lack what was put back");
}

#[test]
fn what_a_caller_carries_is_left_as_it_is() {
    let memory = Memory::new();
    memory.keep("key-1", OURS, answer());
    let request = asking(vec![thought("Hmm.", "sig-0", OURS), called("call_a")]);
    assert!(Arc::ptr_eq(&memory.fit(&request, "key-1", OURS).0, &request));
}

#[test]
fn words_without_their_proof_are_replaced_by_what_was_kept() {
    let memory = Memory::new();
    memory.keep("key-1", OURS, answer());
    let words = part(Content::Reasoning(ReasoningPart { text: "Hmm.".into(), ..ReasoningPart::default() }));
    let request = asking(vec![words, called("call_a"), called("call_b")]);
    let (fitted, _) = memory.fit(&request, "key-1", OURS);
    assert_eq!(fitted.messages[0].parts[0], thought("Hmm.", "sig-0", OURS));
    assert_eq!(fitted.messages[0].parts.len(), 4);
}

#[test]
fn what_led_to_a_call_that_is_only_numbered_is_not_kept() {
    let memory = Memory::new();
    let numbered = gathered(&[said(0, Piece::ReasoningSignature("sig".into())), call(1, "functions.search:0")]);
    memory.keep("key-1", OURS, numbered);
    let request = asking(vec![called("functions.search:0")]);
    assert!(Arc::ptr_eq(&memory.fit(&request, "key-1", OURS).0, &request));
}

#[test]
fn another_key_and_another_provider_are_given_nothing() {
    let memory = Memory::new();
    memory.keep("key-1", OURS, answer());
    let request = asking(vec![called("call_a")]);
    for (key, format) in [("key-2", OURS), ("key-1", THEIRS), ("key-1", "")] {
        assert!(Arc::ptr_eq(&memory.fit(&request, key, format).0, &request), "{key} {format}");
    }
}

#[test]
fn a_provider_is_not_given_what_another_thought() {
    let memory = Memory::new();
    let request = asking(vec![thought("Hmm.", "sig", THEIRS), text("Hello")]);
    let (fitted, dropped) = memory.fit(&request, "key-1", OURS);
    assert_eq!(fitted.messages[0].parts, [text("Hello")]);
    assert_eq!(dropped, ["messages[0].reasoning"]);
}

#[test]
fn an_answer_without_tools_or_without_reasoning_is_not_kept() {
    let memory = Memory::new();
    memory.keep("key-1", OURS, gathered(&[said(0, Piece::Reasoning("Hm".into()))]));
    memory.keep("key-1", OURS, gathered(&[call(0, "call_a")]));
    memory.0.run_pending_tasks();
    assert_eq!(memory.0.entry_count(), 0);
}
