use tollgate_proto::v1::{Dialect, FinishReason, Original, Started, ToolCallStart};

use super::*;

fn of(event: Event) -> CompletionEvent {
    CompletionEvent { event: Some(event), ..CompletionEvent::default() }
}

fn piece(part: u32, piece: Piece) -> CompletionEvent {
    of(Event::Delta(Delta { part, piece: Some(piece), ..Delta::default() }))
}

fn call(part: u32, name: &str) -> CompletionEvent {
    piece(part, Piece::ToolCallStart(ToolCallStart { id: name.into(), name: name.into(), ..ToolCallStart::default() }))
}

fn arguments(part: u32, text: &str) -> CompletionEvent {
    piece(part, Piece::ToolArguments(text.into()))
}

fn done(part: u32) -> CompletionEvent {
    of(Event::PartDone(PartDone { choice: 0, part }))
}

fn finished(native_reason: &str) -> CompletionEvent {
    let (reason, native_reason) = (FinishReason::Length as i32, native_reason.into());
    of(Event::Finished(Finished { reason, native_reason, ..Finished::default() }))
}

fn native(event: Option<Event>, body: Value) -> CompletionEvent {
    let dialect = Dialect::AnthropicMessages as i32;
    let native = Some(Original { dialect, body: body.to_string().into() });
    CompletionEvent { event, native, ..CompletionEvent::default() }
}

/// What is printed, each event in short: its type, its block, and what is in it.
fn printed(events: Vec<CompletionEvent>) -> Vec<String> {
    let mut printer = Events::new(&events[0]);
    let mut out = BytesMut::new();
    events.into_iter().for_each(|event| printer.print(event, &mut out));
    printer.end(&mut out);
    let text = String::from_utf8(out.to_vec()).unwrap();
    let short = |event: &str| {
        let (name, data) = event.split_once("\ndata: ").unwrap();
        let data: Value = serde_json::from_str(data).unwrap();
        assert_eq!(name.strip_prefix("event: "), data["type"].as_str());
        let inner = [&data["content_block"]["name"], &data["delta"]["partial_json"], &data["delta"]["text"]];
        let told = inner.into_iter().chain([&data["delta"]["stop_reason"]]).find_map(Value::as_str);
        let name = data["type"].as_str().unwrap().replace("content_block_", "");
        let place = data["index"].as_u64().map(|index| index.to_string());
        [Some(name), place, told.map(str::to_owned)].into_iter().flatten().collect::<Vec<_>>().join(" ")
    };
    text.split_terminator("\n\n").map(short).collect()
}

#[test]
fn calls_that_are_told_in_turns_become_blocks_one_after_another() {
    let told = printed(vec![
        of(Event::Started(Started::default())),
        call(0, "f"),
        arguments(0, r#"{"a":"#),
        call(1, "g"),
        arguments(1, r#"{"b""#),
        arguments(0, "1}"),
        arguments(1, ":2}"),
        done(0),
        done(1),
        finished("stop"),
        of(Event::Usage(Usage::default())),
    ]);
    let expected = [
        "message_start",
        "start 0 f",
        r#"delta 0 {"a":"#,
        "delta 0 1}",
        "stop 0",
        "start 1 g",
        r#"delta 1 {"b""#,
        "delta 1 :2}",
        "stop 1",
        "message_delta max_tokens",
        "message_stop",
    ];
    assert_eq!(told, expected);
}

#[test]
fn a_call_that_is_whole_does_not_hold_up_the_next() {
    let mut printer = Events::new(&CompletionEvent::default());
    let mut out = BytesMut::new();
    for event in [call(0, "f"), arguments(0, "{}"), call(1, "g")] {
        printer.print(event, &mut out);
    }
    assert!(String::from_utf8(out.to_vec()).unwrap().contains(r#""name":"g""#));
}

#[test]
fn what_a_budget_cuts_is_ended_behind_the_providers_own_events() {
    let start = json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}});
    let text = json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hi"}});
    let second = json!({"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}});
    let begun = vec![
        native(Some(Event::Started(Started::default())), json!({"type": "message_start", "message": {}})),
        native(None, start),
        native(piece(0, Piece::Text("hi".into())).event, text),
    ];
    let end = [finished("budget"), of(Event::Usage(Usage::default()))];
    let told = printed(begun.iter().cloned().chain(end.clone()).collect());
    let expected = ["message_start", "start 0", "delta 0 hi", "stop 0", "message_delta max_tokens", "message_stop"];
    assert_eq!(told, expected);
    // A block that was begun and said nothing yet.
    let stop = native(done(0).event, json!({"type": "content_block_stop", "index": 0}));
    let told = printed(begun.into_iter().chain([stop, native(None, second)]).chain(end).collect());
    let expected = ["stop 0", "start 1", "stop 1", "message_delta max_tokens", "message_stop"];
    assert_eq!(told[3..], expected);
}

#[test]
fn an_answer_that_starts_over_goes_on_behind_the_void_blocks() {
    let restarted = Restarted { policy: MidstreamPolicy::Restart as i32, ..Restarted::default() };
    let told = printed(vec![
        of(Event::Started(Started::default())),
        piece(0, Piece::Text("void".into())),
        of(Event::Restarted(restarted)),
        of(Event::Started(Started::default())),
        piece(0, Piece::Text("new".into())),
        finished("stop"),
        of(Event::Usage(Usage::default())),
    ]);
    assert_eq!(told[3..6], ["stop 0", "tollgate", "start 1"]);
    assert_eq!(told[6], "delta 1 new");
}

#[test]
fn a_proof_says_whose_it_is_unless_it_is_claudes() {
    let signed = |format: &str| {
        let piece = Some(Piece::ReasoningSignature("s".into()));
        let delta = Delta { piece, reasoning_format: format.into(), ..Delta::default() };
        let mut out = BytesMut::new();
        Events::new(&CompletionEvent::default()).print(of(Event::Delta(delta)), &mut out);
        String::from_utf8(out.to_vec()).unwrap()
    };
    assert!(signed("google-gemini-v1").contains(r#""signature":"tollgate:google-gemini-v1:s""#));
    assert!(signed("anthropic-claude-v1").contains(r#""signature":"s""#));
}
