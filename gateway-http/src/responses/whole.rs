//! An answer in one piece: the same events, unseen, and what they come to.

use bytes::BytesMut;
use serde_json::{Map, Value};
use tollgate_proto::v1::{
    Completion, CompletionEvent, Delta, Part, PartDone, ToolCallStart, completion_event::Event, delta::Piece,
    part::Content,
};

use super::{events::Events, kept::Keeper};

/// A collected completion of another dialect: the same events, and what they come to.
pub(super) async fn answer(completion: Completion, shown: Map<String, Value>, keeper: &mut Keeper) -> String {
    let mut events = Events::new(shown);
    let mut unseen = BytesMut::new();
    for event in told(completion) {
        events.take(CompletionEvent { event: Some(event), ..CompletionEvent::default() }, &mut unseen);
        unseen.clear();
    }
    let mut response = events.response();
    let text = Value::Object(response.clone()).to_string();
    if keeper.keep(events.id(), text.clone()).await {
        return text;
    }
    response.insert("store".into(), false.into());
    Value::Object(response).to_string()
}

/// A completion as the events that it is the fold of.
fn told(completion: Completion) -> Vec<Event> {
    let mut events = vec![Event::Started(completion.started.unwrap_or_default())];
    if let Some(choice) = completion.choices.into_iter().find(|choice| choice.index == 0) {
        let mut logprobs = choice.logprobs_json;
        for (part, said) in (0..).zip(choice.message.unwrap_or_default().parts) {
            for piece in pieces(said) {
                let format = match &piece {
                    (_, Some(format)) => format.clone(),
                    _ => String::new(),
                };
                let is_text = matches!(piece.0, Piece::Text(_));
                let logprobs_json = if is_text { std::mem::take(&mut logprobs) } else { String::new() };
                let delta =
                    Delta { part, piece: Some(piece.0), logprobs_json, reasoning_format: format, ..Delta::default() };
                events.push(Event::Delta(delta));
            }
            events.push(Event::PartDone(PartDone { choice: 0, part }));
        }
        events.push(Event::Finished(choice.finished.unwrap_or_default()));
    }
    events.extend(completion.usage.map(Event::Usage));
    events.extend(completion.routing.map(Event::Routing));
    events.extend(completion.receipt.map(Event::Receipt));
    events
}

/// What a part was told in, each with the word whose reasoning it is.
fn pieces(part: Part) -> Vec<(Piece, Option<String>)> {
    match part.content {
        Some(Content::Text(text)) => vec![(Piece::Text(text.text), None)],
        Some(Content::Refusal(refusal)) => vec![(Piece::Refusal(refusal.text), None)],
        Some(Content::Reasoning(reasoning)) => {
            let format = reasoning.format;
            let text = Some(reasoning.text).filter(|text| !text.is_empty()).map(Piece::Reasoning);
            let signature = reasoning.signature.map(Piece::ReasoningSignature);
            let redacted = reasoning.redacted.map(Piece::ReasoningRedacted);
            text.into_iter().chain(signature).chain(redacted).map(|piece| (piece, format.clone())).collect()
        }
        Some(Content::ToolCall(call)) => {
            let start = ToolCallStart { id: call.id, name: call.name, type_native: call.type_native };
            vec![(Piece::ToolCallStart(start), None), (Piece::ToolArguments(call.arguments_json), None)]
        }
        Some(Content::Opaque(opaque)) => vec![(Piece::OpaqueJson(opaque.json), None)],
        _ => Vec::new(),
    }
}
