//! Events of an answer as Anthropic's stream: the provider's own where it speaks this dialect, synthesised ones where it
//! does not.
//!
//! Blocks come one after another, each with an index of its own. Other dialects may tell of several tool calls in turns:
//! what comes of a later call waits until the earlier one is whole.

use std::collections::{BTreeSet, VecDeque};

use bytes::{BufMut, BytesMut};
use serde::Deserialize;
use serde_json::{Value, json};
use tollgate_proto::v1::{
    CompletionEvent, Delta, Finished, MidstreamPolicy, PartDone, Restarted, Usage, completion_event::Event,
    delta::Piece,
};

use super::{
    error::Refused,
    proof::packed,
    response::{begun, is_object, is_own_block, stop_reason, text_block, usage},
};
use crate::{chat::receipt_text, error::Refusal, stream::Printer};

/// Prints a message's events.
pub(crate) struct Events {
    /// Whether the provider's own events are passed on: what is told here is then only watched.
    is_native: bool,
    /// The block that the provider's own events have open.
    native_block: Option<u64>,
    is_started: bool,
    next: u64,
    open: Option<Open>,
    /// Parts that are told to their end.
    done: BTreeSet<u32>,
    waiting: VecDeque<Waiting>,
    has_refused: bool,
    finished: Option<Finished>,
    is_ended: bool,
}

/// A block that grows.
struct Open {
    part: u32,
    index: u64,
    kind: Kind,
    /// The arguments of a call so far.
    arguments: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Thinking,
    Call,
}

enum Waiting {
    Delta(Delta),
    Done(u32),
}

impl Open {
    fn may_grow(&self) -> bool {
        self.kind == Kind::Call && !is_object(&self.arguments)
    }
}

/// What the stream's own order is read from.
#[derive(Deserialize)]
struct Native<'a> {
    #[serde(borrow)]
    r#type: std::borrow::Cow<'a, str>,
    index: Option<u64>,
}

impl Printer for Events {
    const KEEP_ALIVE: &'static [u8] = b"event: ping\ndata: {\"type\":\"ping\"}\n\n";

    fn print(&mut self, mut event: CompletionEvent, out: &mut BytesMut) {
        let native = event.native.take();
        if self.is_native {
            // Where another attempt takes over, or a budget affords no more, the rest is the gateway's own.
            let is_ours = match &event.event {
                Some(Event::Restarted(_)) => true,
                Some(Event::Finished(finished)) => native.is_none() && finished.native_reason == "budget",
                _ => false,
            };
            if is_ours {
                self.take_over(out);
            } else if let Some(native) = native {
                self.pass_on(&native.body, out);
            }
        }
        match event.event {
            Some(Event::Started(started)) if !self.is_started => {
                self.is_started = true;
                self.send(out, "message_start", || json!({"message": begun(&started)}));
            }
            Some(Event::Delta(delta)) if delta.choice == 0 => self.delta(delta, out),
            Some(Event::PartDone(PartDone { choice: 0, part })) => self.part_done(part, out),
            Some(Event::Finished(finished)) if finished.choice == 0 => self.finish(finished, out),
            Some(Event::Usage(reported)) => self.tell_end(&reported, out),
            Some(Event::Restarted(restarted)) => self.restarted(&restarted, out),
            Some(Event::Routing(routing)) => tell(out, json!({"route": routing.in_words()})),
            Some(Event::Receipt(receipt)) => tell(out, json!({"receipt": receipt_text(&receipt)})),
            _ => {}
        }
    }

    fn fail(&mut self, refusal: Refusal, out: &mut BytesMut) {
        event("error", Refused::from(refusal).event().as_bytes(), out);
    }

    fn end(&mut self, out: &mut BytesMut) {
        if !self.is_ended {
            event("message_stop", br#"{"type":"message_stop"}"#, out);
        }
    }
}

impl Events {
    /// The first event decides: the provider's own, or ours.
    pub(crate) fn new(first: &CompletionEvent) -> Self {
        Self {
            is_native: first.native.is_some(),
            native_block: None,
            is_started: false,
            next: 0,
            open: None,
            done: BTreeSet::new(),
            waiting: VecDeque::new(),
            has_refused: false,
            finished: None,
            is_ended: false,
        }
    }

    /// The provider's own event as it is, under the name that its data has.
    fn pass_on(&mut self, body: &[u8], out: &mut BytesMut) {
        let Ok(native) = serde_json::from_slice::<Native<'_>>(body) else { return };
        match native.r#type.as_ref() {
            "message_start" => self.is_started = true,
            "content_block_start" => {
                self.native_block = native.index;
                self.next = native.index.unwrap_or(self.next);
            }
            "content_block_stop" => {
                self.native_block = None;
                self.next = native.index.map_or(self.next, |index| index + 1);
            }
            "message_stop" => self.is_ended = true,
            _ => {}
        }
        event(&native.r#type, body, out);
    }

    /// From here on events are the gateway's own.
    fn take_over(&mut self, out: &mut BytesMut) {
        self.is_native = false;
        if let (None, Some(index)) = (&self.open, self.native_block.take()) {
            // It was begun, and nothing came of it.
            self.send(out, "content_block_stop", || json!({"index": index}));
            self.next = index + 1;
        }
    }

    fn send(&self, out: &mut BytesMut, name: &str, make: impl FnOnce() -> Value) {
        if self.is_native {
            return;
        }
        let mut data = json!({"type": name});
        if let (Some(into), Value::Object(members)) = (data.as_object_mut(), make()) {
            into.extend(members);
        }
        event(name, data.to_string().as_bytes(), out);
    }

    fn delta(&mut self, delta: Delta, out: &mut BytesMut) {
        if self.done.contains(&delta.part) {
            return;
        }
        if let Some(open) = self.open.as_ref().filter(|open| open.part != delta.part && !self.is_native) {
            let may_grow = open.may_grow();
            if may_grow || !self.waiting.is_empty() {
                self.waiting.push_back(Waiting::Delta(delta));
                if !may_grow {
                    self.go_on(out);
                }
                return;
            }
        }
        let Delta { part, piece, reasoning_format: format, .. } = delta;
        match piece {
            Some(Piece::Text(text)) => self.grow(part, Kind::Text, || json!({"type": "text_delta", "text": text}), out),
            Some(Piece::Refusal(text)) => {
                self.has_refused = true;
                self.grow(part, Kind::Text, || json!({"type": "text_delta", "text": text}), out);
            }
            Some(Piece::Reasoning(text)) => {
                self.grow(part, Kind::Thinking, || json!({"type": "thinking_delta", "thinking": text}), out);
            }
            Some(Piece::ReasoningSignature(signature)) => {
                let piece = || json!({"type": "signature_delta", "signature": packed(&signature, &format)});
                self.grow(part, Kind::Thinking, piece, out);
            }
            Some(Piece::ReasoningRedacted(data)) => {
                self.alone(part, || json!({"type": "redacted_thinking", "data": packed(&data, &format)}), out);
            }
            Some(Piece::ToolCallStart(start)) => {
                let block = || json!({"type": "tool_use", "id": start.id, "name": start.name, "input": {}});
                self.begin(part, Kind::Call, block, out);
            }
            Some(Piece::ToolArguments(text)) => {
                if let Some(open) = self.open.as_mut().filter(|open| open.part == part && !self.is_native) {
                    open.arguments.push_str(&text);
                }
                self.grow(part, Kind::Call, || json!({"type": "input_json_delta", "partial_json": text}), out);
            }
            Some(Piece::OpaqueJson(text)) => self.opaque(part, &text, out),
            None => {}
        }
    }

    /// A piece of a block, which begins with it.
    fn grow(&mut self, part: u32, kind: Kind, piece: impl FnOnce() -> Value, out: &mut BytesMut) {
        if self.open.as_ref().is_none_or(|open| open.part != part) {
            let block = || match kind {
                Kind::Text => text_block(""),
                Kind::Thinking => json!({"type": "thinking", "thinking": "", "signature": ""}),
                Kind::Call => json!({"type": "tool_use", "id": "", "name": "", "input": {}}),
            };
            self.begin(part, kind, block, out);
        }
        let index = self.open.as_ref().map(|open| open.index);
        self.send(out, "content_block_delta", || json!({"index": index, "delta": piece()}));
    }

    fn begin(&mut self, part: u32, kind: Kind, block: impl FnOnce() -> Value, out: &mut BytesMut) {
        self.close(out);
        let index = self.next;
        self.next += 1;
        self.open = Some(Open { part, index, kind, arguments: String::new() });
        self.send(out, "content_block_start", || json!({"index": index, "content_block": block()}));
    }

    /// A block that is whole as it begins.
    fn alone(&mut self, part: u32, block: impl FnOnce() -> Value, out: &mut BytesMut) {
        self.begin(part, Kind::Text, block, out);
        self.close(out);
    }

    /// Citations belong to the text that they stand with; of what else the contract does not know, blocks of Anthropic's
    /// are told.
    fn opaque(&mut self, part: u32, text: &str, out: &mut BytesMut) {
        let Ok(told) = serde_json::from_str::<Value>(text) else { return };
        let is_in_text = self.open.as_ref().is_some_and(|open| open.part == part && open.kind == Kind::Text);
        if is_in_text && told.get("citation").is_some_and(Value::is_object) {
            let piece = || json!({"type": "citations_delta", "citation": told["citation"]});
            self.grow(part, Kind::Text, piece, out);
        } else if is_own_block(text) {
            self.alone(part, || told, out);
        }
    }

    fn part_done(&mut self, part: u32, out: &mut BytesMut) {
        match &self.open {
            Some(open) if open.part == part => self.close(out),
            Some(open) if open.may_grow() => return self.waiting.push_back(Waiting::Done(part)),
            _ => {}
        }
        self.go_on(out);
    }

    /// With what waited, in order.
    fn go_on(&mut self, out: &mut BytesMut) {
        for waiting in std::mem::take(&mut self.waiting) {
            match waiting {
                Waiting::Delta(delta) => self.delta(delta, out),
                Waiting::Done(part) => self.part_done(part, out),
            }
        }
    }

    fn close(&mut self, out: &mut BytesMut) {
        if let Some(open) = self.open.take() {
            self.done.insert(open.part);
            self.send(out, "content_block_stop", || json!({"index": open.index}));
        }
    }

    /// The end is told with what it cost, which comes last.
    fn finish(&mut self, finished: Finished, out: &mut BytesMut) {
        while let Some(open) = &self.open {
            let part = open.part;
            self.part_done(part, out);
        }
        self.finished = Some(finished);
    }

    fn tell_end(&mut self, reported: &Usage, out: &mut BytesMut) {
        let Some(finished) = self.finished.take() else { return };
        let delta = json!({
            "stop_reason": stop_reason(&finished, self.has_refused), "stop_sequence": finished.stop_sequence,
        });
        self.send(out, "message_delta", || json!({"delta": delta, "usage": usage(reported)}));
    }

    /// The message of an answer that starts over has the new one's blocks behind the void ones: clients cannot take back
    /// what they have.
    fn restarted(&mut self, restarted: &Restarted, out: &mut BytesMut) {
        let starts_over = restarted.policy() == MidstreamPolicy::Restart;
        if starts_over {
            self.waiting.clear();
            self.close(out);
            self.done.clear();
        }
        let mut told = json!({
            "attempt": restarted.attempt,
            "reason": restarted.reason,
            "policy": if starts_over { "restart" } else { "continue" },
        });
        if starts_over {
            told["discard_before_index"] = self.next.into();
        }
        tell(out, json!({"restarted": told}));
    }
}

/// Something of the gateway's own, in an event that clients which know nothing of it read past.
fn tell(out: &mut BytesMut, what: Value) {
    let mut data = json!({"type": "tollgate"});
    if let (Some(into), Value::Object(members)) = (data.as_object_mut(), what) {
        into.extend(members);
    }
    event("tollgate", data.to_string().as_bytes(), out);
}

fn event(name: &str, data: &[u8], out: &mut BytesMut) {
    out.reserve(name.len() + data.len() + 18);
    out.put_slice(b"event: ");
    out.put_slice(name.as_bytes());
    out.put_slice(b"\ndata: ");
    out.put_slice(data);
    out.put_slice(b"\n\n");
}

#[cfg(test)]
mod tests;
