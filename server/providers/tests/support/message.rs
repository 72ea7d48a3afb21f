//! Messages of a conversation: what a caller says, and what it keeps of an answer.

use std::collections::BTreeMap;

use tollgate_proto::v1::{
    CompletionEvent, Message, Part, ReasoningPart, Role, TextPart, ToolCallPart, ToolResultPart,
    completion_event::Event, delta::Piece, part::Content,
};

fn part(content: Content) -> Part {
    Part { content: Some(content), ..Part::default() }
}

fn text(text: &str) -> Part {
    part(Content::Text(TextPart { text: text.into() }))
}

pub(crate) fn user(said: &str) -> Message {
    Message { role: Role::User as i32, parts: vec![text(said)], ..Message::default() }
}

pub(crate) fn result(tool_call_id: &str, said: &str) -> Message {
    let result = ToolResultPart { tool_call_id: tool_call_id.into(), content: vec![text(said)], is_error: None };
    Message { role: Role::Tool as i32, parts: vec![part(Content::ToolResult(result))], ..Message::default() }
}

/// The message that the events of one choice add up to.
pub(crate) fn answered(events: &[CompletionEvent]) -> Message {
    let mut parts: BTreeMap<u32, Content> = BTreeMap::new();
    for event in events {
        let Some(Event::Delta(delta)) = &event.event else { continue };
        let Some(piece) = delta.piece.clone() else { continue };
        let content = parts.entry(delta.part).or_insert_with(|| match &piece {
            Piece::Text(_) => Content::Text(TextPart::default()),
            Piece::Reasoning(_) | Piece::ReasoningSignature(_) => Content::Reasoning(ReasoningPart::default()),
            Piece::ToolCallStart(_) => Content::ToolCall(ToolCallPart::default()),
            other => panic!("{other:?} is not expected here"),
        });
        match (content, piece) {
            (Content::Text(part), Piece::Text(more)) => part.text.push_str(&more),
            (Content::Reasoning(part), Piece::Reasoning(more)) => part.text.push_str(&more),
            (Content::Reasoning(part), Piece::ReasoningSignature(signature)) => {
                assert!(part.signature.replace(signature).is_none(), "two signatures of one part");
            }
            (Content::ToolCall(part), Piece::ToolCallStart(start)) => (part.id, part.name) = (start.id, start.name),
            (Content::ToolCall(part), Piece::ToolArguments(more)) => part.arguments_json.push_str(&more),
            (content, piece) => panic!("{piece:?} in {content:?}"),
        }
    }
    Message { role: Role::Assistant as i32, parts: parts.into_values().map(part).collect(), ..Message::default() }
}
