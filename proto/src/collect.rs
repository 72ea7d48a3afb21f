//! A whole answer is its stream, collected: the fold of the events.

use std::collections::BTreeMap;

use crate::v1::{
    Choice, Completion, CompletionEvent, Delta, Message, OpaquePart, Part, ReasoningPart, RefusalPart, Role, TextPart,
    ToolCallPart, completion_event::Event, delta::Piece, part::Content,
};
use serde_json::value::RawValue;

/// More parts than any answer has.
const MAX_PARTS: usize = 10_000;

/// Folds events into a completion.
#[derive(Default)]
pub struct Collector {
    completion: Completion,
    choices: BTreeMap<u32, Choice>,
}

impl Collector {
    /// Takes the next event.
    pub fn take(&mut self, event: CompletionEvent) {
        if event.native.is_some() && self.completion.native.is_none() {
            self.completion.native = event.native;
        }
        match event.event {
            // What came so far is void; where the answer goes on, it does so in the same parts.
            Some(Event::Restarted(restarted)) if restarted.discard_from_seq.is_some() => {
                self.choices.clear();
                self.completion.native = None;
            }
            Some(Event::Started(started)) => self.completion.started = Some(started),
            Some(Event::Delta(delta)) => self.delta(delta),
            Some(Event::Finished(finished)) => {
                let index = finished.choice;
                self.choice(index).finished = Some(finished);
            }
            Some(Event::Usage(usage)) => self.completion.usage = Some(usage),
            Some(Event::Routing(routing)) => self.completion.routing = Some(routing),
            Some(Event::Receipt(receipt)) => self.completion.receipt = Some(receipt),
            Some(Event::PartDone(_) | Event::Restarted(_)) | None => {}
        }
    }

    /// The completion.
    pub fn finish(mut self) -> Completion {
        for message in self.choices.values_mut().filter_map(|c| c.message.as_mut()) {
            message.parts.retain(|part| part.content.is_some());
        }
        self.completion.choices = self.choices.into_values().collect();
        self.completion
    }

    fn choice(&mut self, index: u32) -> &mut Choice {
        self.choices.entry(index).or_insert_with(|| Choice {
            index,
            message: Some(Message { role: Role::Assistant as i32, ..Message::default() }),
            ..Choice::default()
        })
    }

    fn delta(&mut self, delta: Delta) {
        let choice = self.choice(delta.choice);
        if !delta.logprobs_json.is_empty() {
            choice.logprobs_json = joined_logprobs(&choice.logprobs_json, delta.logprobs_json);
        }
        let Some(piece) = delta.piece else { return };
        let parts = &mut choice.message.get_or_insert_default().parts;
        let index = delta.part as usize;
        if index >= MAX_PARTS {
            return;
        }
        // A part that said nothing left no delta behind.
        if index >= parts.len() {
            parts.resize_with(index + 1, Part::default);
        }
        grow(&mut parts[index].content, piece);
        if let Some(Content::Reasoning(part)) = &mut parts[index].content
            && !delta.reasoning_format.is_empty()
        {
            part.format = Some(delta.reasoning_format);
        }
    }
}

fn grow(content: &mut Option<Content>, piece: Piece) {
    match (content.as_mut(), piece) {
        (Some(Content::Text(part)), Piece::Text(text)) => part.text.push_str(&text),
        (Some(Content::Reasoning(part)), Piece::Reasoning(text)) => part.text.push_str(&text),
        (Some(Content::Reasoning(part)), Piece::ReasoningSignature(signature)) => part.signature = Some(signature),
        (Some(Content::Refusal(part)), Piece::Refusal(text)) => part.text.push_str(&text),
        (Some(Content::ToolCall(part)), Piece::ToolArguments(text)) => part.arguments_json.push_str(&text),
        (Some(_), _) => {}
        (None, piece) => {
            *content = Some(match piece {
                Piece::Text(text) => Content::Text(TextPart { text }),
                Piece::Reasoning(text) => Content::Reasoning(ReasoningPart { text, ..ReasoningPart::default() }),
                Piece::ReasoningSignature(signature) => {
                    Content::Reasoning(ReasoningPart { signature: Some(signature), ..ReasoningPart::default() })
                }
                Piece::ReasoningRedacted(redacted) => {
                    Content::Reasoning(ReasoningPart { redacted: Some(redacted), ..ReasoningPart::default() })
                }
                Piece::Refusal(text) => Content::Refusal(RefusalPart { text }),
                Piece::ToolCallStart(start) => Content::ToolCall(ToolCallPart {
                    id: start.id,
                    name: start.name,
                    type_native: start.type_native,
                    arguments_json: String::new(),
                }),
                Piece::ToolArguments(arguments_json) => {
                    Content::ToolCall(ToolCallPart { arguments_json, ..ToolCallPart::default() })
                }
                Piece::OpaqueJson(json) => Content::Opaque(OpaquePart { json, ..OpaquePart::default() }),
            });
        }
    }
}

/// Joins two objects of arrays (`{"content": [...]}`) member by member.
fn joined_logprobs(before: &str, more: String) -> String {
    type Lists<'a> = BTreeMap<&'a str, Option<Vec<&'a RawValue>>>;
    if before.is_empty() {
        return more;
    }
    let (Ok(mut all), Ok(new)) = (serde_json::from_str::<Lists<'_>>(before), serde_json::from_str::<Lists<'_>>(&more))
    else {
        return before.to_owned();
    };
    for (name, items) in new {
        if let Some(items) = items {
            all.entry(name).or_default().get_or_insert_default().extend(items);
        }
    }
    serde_json::to_string(&all).unwrap_or_else(|_| before.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_that_said_nothing_hides_none_behind_it() {
        let mut collector = Collector::default();
        for (part, text) in [(0, "a"), (2, "b"), (2, "c")] {
            let delta = Delta { part, piece: Some(Piece::Text(text.into())), ..Delta::default() };
            collector.take(CompletionEvent { event: Some(Event::Delta(delta)), ..CompletionEvent::default() });
        }
        let completion = collector.finish();
        let parts = &completion.choices[0].message.as_ref().unwrap().parts;
        let texts = parts.iter().filter_map(|p| match &p.content {
            Some(Content::Text(text)) => Some(text.text.as_str()),
            _ => None,
        });
        assert_eq!(texts.collect::<Vec<_>>(), ["a", "bc"]);
    }
}
