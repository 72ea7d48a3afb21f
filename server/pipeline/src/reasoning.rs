//! Reasoning that must come back: within a tool loop its provider refuses a turn that lost it, or thinks anew.
//!
//! Callers that carry it give it back themselves. For those that do not, such as clients that know only what OpenAI's API has, the gateway
//! keeps it for an hour: in memory, found again by the ids of the tool calls that it led to, under the virtual key that made the call.
//! Where it is lost all the same (another replica, a restart) adapters turn reasoning off for that turn. And no provider is given
//! another's.

use std::{sync::Arc, time::Duration};

use moka::sync::Cache;
use tollgate_proto::v1::{
    CompletionEvent, CompletionRequest, Message, Part, ReasoningPart, Role, completion_event::Event, delta::Piece,
    part::Content,
};

use tollgate_providers::{UNSIGNED, without_messages};

use crate::flow::FlowState;

/// How long it is kept.
const RETENTION: Duration = Duration::from_secs(3_600);
/// How many bytes of it at most; the least used goes first.
const MOST_BYTES: u64 = 64 << 20;

/// What was kept of an answer.
struct Kept {
    /// Whose it is, as in `ReasoningPart.format`.
    format: &'static str,
    /// In order, each with the tool call that it stands before; `None`: before text.
    parts: Vec<(Option<String>, ReasoningPart)>,
}

impl Kept {
    fn bytes(&self) -> usize {
        let of = |part: &ReasoningPart| part.text.len() + part.signature().len() + part.redacted().len() + 128;
        self.parts.iter().map(|(_, part)| of(part)).sum()
    }
}

impl FlowState {
    /// The request as a provider of `format` may see it, and what was left out.
    pub(crate) fn fit_reasoning(
        &self,
        request: &Arc<CompletionRequest>,
        format: &str,
    ) -> (Arc<CompletionRequest>, Vec<String>) {
        self.gated.memory.fit(request, self.permit.caller.key_id(), format)
    }

    /// Keeps what an answer that called tools had thought.
    pub(crate) fn keep_reasoning(&self, format: &'static str, gathered: Gathered) {
        self.gated.memory.keep(self.permit.caller.key_id(), format, gathered);
    }
}

/// What is kept, by virtual key and id of a tool call.
#[derive(Clone)]
pub(crate) struct Memory(Cache<(Arc<str>, String), Arc<Kept>>);

impl Memory {
    pub(crate) fn new() -> Self {
        let weight = |(_, id): &(Arc<str>, String), kept: &Arc<Kept>| {
            u32::try_from(kept.bytes().saturating_add(id.len())).unwrap_or(u32::MAX)
        };
        Self(Cache::builder().max_capacity(MOST_BYTES).weigher(weight).time_to_live(RETENTION).build())
    }

    /// Keeps what an answer that called tools had thought.
    pub(crate) fn keep(&self, key_id: &str, format: &'static str, gathered: Gathered) {
        let calls: Vec<_> = gathered.calls().into_iter().filter(|id| is_unique(id)).collect();
        if format.is_empty() || calls.is_empty() || gathered.is_empty() {
            return;
        }
        let key: Arc<str> = key_id.into();
        let kept = Arc::new(Kept { format, parts: gathered.parts() });
        for call in calls {
            self.0.insert((key.clone(), call), kept.clone());
        }
    }

    /// `request` as a provider of `format` may see it: without the reasoning of others, with what it had thought itself. And what was
    /// left out. Not copied unless something changes.
    pub(crate) fn fit(
        &self,
        request: &Arc<CompletionRequest>,
        key_id: &str,
        format: &str,
    ) -> (Arc<CompletionRequest>, Vec<String>) {
        let mut dropped = Vec::new();
        let mut fitted: Option<CompletionRequest> = None;
        for (i, message) in request.messages.iter().enumerate().filter(|(_, m)| m.role() == Role::Assistant) {
            let is_foreign = message.parts.iter().any(|part| belongs_elsewhere(part, format));
            let recalled = self.recall(message, key_id, format);
            if !is_foreign && recalled.is_none() {
                continue;
            }
            let copy = fitted.get_or_insert_with(|| CompletionRequest {
                // It says what the parts no longer do.
                original: request.original.as_ref().and_then(without_messages),
                ..CompletionRequest::clone(request)
            });
            let parts = &mut copy.messages[i].parts;
            if is_foreign {
                parts.retain(|part| !belongs_elsewhere(part, format));
                dropped.push(format!("messages[{i}].reasoning"));
            }
            if let Some(kept) = recalled {
                parts.retain(|part| !is_reasoning(part));
                put_back(parts, &kept);
            }
        }
        (fitted.map_or_else(|| request.clone(), Arc::new), dropped)
    }

    /// What a provider of `format` had thought before this turn's tool calls, where the caller does not say.
    fn recall(&self, message: &Message, key_id: &str, format: &str) -> Option<Arc<Kept>> {
        // Words alone are not what a provider that signs wants back.
        let is_signing = format != UNSIGNED;
        let carries =
            |part: &Part| is_reasoning(part) && !belongs_elsewhere(part, format) && (is_proven(part) || !is_signing);
        if format.is_empty() || message.parts.iter().any(carries) {
            return None;
        }
        let call = message.parts.iter().find_map(call_id)?;
        self.0.get(&(key_id.into(), call.to_owned())).filter(|kept| kept.format == format)
    }
}

fn is_reasoning(part: &Part) -> bool {
    matches!(part.content, Some(Content::Reasoning(_)))
}

fn is_proven(part: &Part) -> bool {
    matches!(&part.content, Some(Content::Reasoning(r)) if r.signature.is_some() || r.redacted.is_some())
}

/// Some providers number their calls (`functions.search:0`): such an id names a call of every conversation.
fn is_unique(id: &str) -> bool {
    !id.contains(['.', ':'])
}

fn belongs_elsewhere(part: &Part, format: &str) -> bool {
    matches!(&part.content, Some(Content::Reasoning(r)) if r.format.as_deref().is_some_and(|own| own != format))
}

fn call_id(part: &Part) -> Option<&str> {
    match &part.content {
        Some(Content::ToolCall(call)) => Some(&call.id),
        _ => None,
    }
}

/// Each before what it stood before.
fn put_back(parts: &mut Vec<Part>, kept: &Kept) {
    let mut text_at = 0;
    for (call, reasoning) in &kept.parts {
        let at = match call {
            Some(id) => parts.iter().position(|part| call_id(part) == Some(id)),
            None => None,
        };
        let part = Part { content: Some(Content::Reasoning(reasoning.clone())), ..Part::default() };
        let at = at.unwrap_or(text_at);
        parts.insert(at, part);
        text_at = text_at.max(at + 1);
    }
}

/// Watches an answer for what must come back.
#[derive(Default)]
pub(crate) struct Gathered(Vec<(u32, Item)>);

enum Item {
    Reasoning(ReasoningPart),
    Call(String),
}

impl Gathered {
    /// Watches an event pass. Only the first choice is gone on with.
    pub(crate) fn observe(&mut self, event: &CompletionEvent) {
        match &event.event {
            Some(Event::Delta(delta)) if delta.choice == 0 => match &delta.piece {
                Some(Piece::Reasoning(text)) => self.reasoning(delta.part).text.push_str(text),
                Some(Piece::ReasoningSignature(signature)) => {
                    let part = self.reasoning(delta.part);
                    part.signature = Some(signature.clone());
                    part.format = Some(delta.reasoning_format.clone()).filter(|format| !format.is_empty());
                }
                Some(Piece::ReasoningRedacted(data)) => {
                    let part = self.reasoning(delta.part);
                    part.redacted = Some(data.clone());
                    part.format = Some(delta.reasoning_format.clone()).filter(|format| !format.is_empty());
                }
                Some(Piece::ToolCallStart(start)) => self.0.push((delta.part, Item::Call(start.id.clone()))),
                _ => {}
            },
            // Another attempt takes over, whatever the one before it had thought.
            Some(Event::Restarted(_)) => self.0.clear(),
            _ => {}
        }
    }

    fn reasoning(&mut self, part: u32) -> &mut ReasoningPart {
        let known = self.0.iter().rposition(|(at, item)| *at == part && matches!(item, Item::Reasoning(_)));
        let at = known.unwrap_or_else(|| {
            self.0.push((part, Item::Reasoning(ReasoningPart::default())));
            self.0.len() - 1
        });
        match &mut self.0[at].1 {
            Item::Reasoning(reasoning) => reasoning,
            Item::Call(_) => unreachable!("looked for above"),
        }
    }

    fn is_empty(&self) -> bool {
        !self.0.iter().any(|(_, item)| matches!(item, Item::Reasoning(_)))
    }

    fn calls(&self) -> Vec<String> {
        let calls = self.0.iter().filter_map(|(_, item)| match item {
            Item::Call(id) => Some(id.clone()),
            Item::Reasoning(_) => None,
        });
        calls.collect()
    }

    fn parts(self) -> Vec<(Option<String>, ReasoningPart)> {
        let mut items = self.0.into_iter().peekable();
        let mut parts = Vec::new();
        while let Some((at, item)) = items.next() {
            let Item::Reasoning(reasoning) = item else { continue };
            // What follows it at once, if that is a call.
            let before = match items.peek() {
                Some((next, Item::Call(id))) if *next == at + 1 => Some(id.clone()),
                _ => None,
            };
            parts.push((before, reasoning));
        }
        parts
    }
}

#[cfg(test)]
mod tests;
