//! Events of another dialect as those of the Responses API: each item, each of its parts and each piece told when it comes, and told
//! again whole when it is done.

use std::{
    collections::HashMap,
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::{BufMut, BytesMut};
use serde_json::{Map, Value, json};
use tollgate_proto::v1::{
    CompletionEvent, Delta, Finished, ReasoningPart, ToolCallStart, Usage, completion_event::Event, delta::Piece,
};

use super::{
    item::{Body, Call, Content, Item},
    object,
};
use crate::error::Refusal;

/// Prints the events of one answer.
pub(super) struct Events {
    asked: Map<String, Value>,
    object: Map<String, Value>,
    /// What the ids of all items share.
    stem: String,
    sequence: u64,
    items: Vec<Item>,
    /// Where each part of the contract's stands: its item, and its place in the content.
    places: HashMap<u32, (usize, usize)>,
    /// The message that takes further content.
    open: Option<usize>,
    finished: Option<Finished>,
    usage: Option<Usage>,
    /// What the gateway itself tells.
    own: Map<String, Value>,
}

/// One event of the stream.
pub(super) fn write(kind: &str, data: &[u8], out: &mut BytesMut) {
    out.reserve(kind.len() + data.len() + 18);
    for piece in [b"event: ".as_slice(), kind.as_bytes(), b"\ndata: ", data, b"\n\n"] {
        out.put_slice(piece);
    }
}

/// The end of a stream that cannot say how its response ended.
pub(super) fn error(number: i64, refusal: &Refusal, out: &mut BytesMut) {
    let event = json!({
        "type": "error",
        "sequence_number": number,
        "code": refusal.code(),
        "message": refusal.message(),
        "param": refusal.param(),
    });
    write("error", event.to_string().as_bytes(), out);
}

/// The events that were written, each with its name and its data on one line.
pub(super) fn written(out: &[u8]) -> Vec<(String, String)> {
    let text = String::from_utf8_lossy(out);
    let events = text.split("\n\n").filter_map(|event| {
        let (kind, data) = event.strip_prefix("event: ")?.split_once("\ndata: ")?;
        // Outside of strings, where alone JSON has such, a line's end means nothing.
        Some((kind.to_owned(), data.replace(['\r', '\n'], " ")))
    });
    events.collect()
}

impl Events {
    pub(super) fn new(asked: Map<String, Value>) -> Self {
        Self {
            asked,
            object: Map::new(),
            stem: String::new(),
            sequence: 0,
            items: Vec::new(),
            places: HashMap::new(),
            open: None,
            finished: None,
            usage: None,
            own: Map::new(),
        }
    }

    pub(super) fn take(&mut self, event: CompletionEvent, out: &mut BytesMut) {
        match event.event {
            // An answer that goes on elsewhere keeps its id.
            Some(Event::Started(started)) if self.object.is_empty() => {
                self.stem = started.call_id.replace('-', "");
                self.object = object::begun(&self.asked, &self.id(), &started);
                for kind in ["response.created", "response.in_progress"] {
                    self.emit(kind, json!({"response": self.object}), out);
                }
            }
            Some(Event::Delta(delta)) if delta.choice == 0 => self.delta(delta, out),
            Some(Event::PartDone(done)) if done.choice == 0 => self.part_done(done.part, out),
            Some(Event::Finished(finished)) if finished.choice == 0 => {
                self.finished = Some(finished);
                for index in 0..self.items.len() {
                    self.item_done(index, out);
                }
            }
            Some(Event::Usage(usage)) => self.usage = Some(usage),
            Some(told) => object::note(&mut self.own, &told),
            None => {}
        }
    }

    /// The id of the response.
    pub(super) fn id(&self) -> String {
        format!("resp_{}", self.stem)
    }

    /// The response as it is at its end.
    pub(super) fn response(&self) -> Map<String, Value> {
        let (status, why) = object::status(self.finished.as_ref());
        let mut response = self.object.clone();
        response.insert("status".into(), status.into());
        match why {
            Some(reason) => response.insert("incomplete_details".into(), json!({"reason": reason})),
            None => response.insert("completed_at".into(), seconds_now().into()),
        };
        response.insert("output".into(), self.output());
        if let Some(usage) = &self.usage {
            response.insert("usage".into(), object::usage(usage));
            if let Some(tier) = usage.service_tier_native.as_deref().and_then(object::service_tier) {
                response.insert("service_tier".into(), tier.into());
            }
        }
        self.put_own(&mut response);
        response
    }

    /// The last event.
    pub(super) fn end(&mut self, response: Map<String, Value>, out: &mut BytesMut) {
        let kind = match response.get("status").and_then(Value::as_str) {
            Some("incomplete") => "response.incomplete",
            _ => "response.completed",
        };
        self.emit(kind, json!({"response": response}), out);
    }

    /// The last event of an answer that broke.
    pub(super) fn fail(&mut self, refusal: &Refusal, out: &mut BytesMut) {
        let mut response = self.object.clone();
        response.insert("status".into(), "failed".into());
        response.insert("error".into(), object::error(refusal));
        response.insert("output".into(), self.output());
        object::note_failure(&mut self.own, refusal);
        self.put_own(&mut response);
        self.emit("response.failed", json!({"response": response}), out);
    }

    fn put_own(&self, response: &mut Map<String, Value>) {
        if !self.own.is_empty() {
            response.insert(object::OWN.into(), self.own.clone().into());
        }
    }

    /// The items so far; what is not complete says so.
    pub(super) fn output(&self) -> Value {
        self.items.iter().map(|item| item.shown(true)).collect()
    }

    fn emit(&mut self, kind: &str, fields: Value, out: &mut BytesMut) {
        let mut event = json!({"type": kind, "sequence_number": self.sequence});
        if let (Some(event), Value::Object(fields)) = (event.as_object_mut(), fields) {
            event.extend(fields);
        }
        self.sequence += 1;
        write(kind, event.to_string().as_bytes(), out);
    }

    /// An event about an item. `content`: the name of the place within it, and the place.
    fn tell(&mut self, kind: &str, item: usize, place: Option<(&str, usize)>, more: Value, out: &mut BytesMut) {
        let mut fields = json!({"item_id": self.items[item].id, "output_index": item});
        if let Some((name, at)) = place {
            fields[name] = at.into();
        }
        if let (Some(fields), Value::Object(more)) = (fields.as_object_mut(), more) {
            fields.extend(more);
        }
        self.emit(kind, fields, out);
    }

    fn delta(&mut self, delta: Delta, out: &mut BytesMut) {
        let part = delta.part;
        match delta.piece {
            Some(Piece::Text(text)) => self.say(part, false, text, tokens(&delta.logprobs_json), out),
            Some(Piece::Refusal(text)) => self.say(part, true, text, Vec::new(), out),
            Some(Piece::Reasoning(text)) => self.think(part, text, out),
            Some(Piece::ReasoningSignature(signature)) => {
                if let Some((_, reasoning)) = self.reasoning(part, out) {
                    reasoning.signature = Some(signature);
                    reasoning.format = Some(delta.reasoning_format).filter(|format| !format.is_empty());
                }
            }
            Some(Piece::ReasoningRedacted(redacted)) => {
                if let Some((_, reasoning)) = self.reasoning(part, out) {
                    reasoning.redacted = Some(redacted);
                    reasoning.format = Some(delta.reasoning_format).filter(|format| !format.is_empty());
                }
            }
            Some(Piece::ToolCallStart(start)) => self.call(part, start, out),
            Some(Piece::ToolArguments(text)) => self.arguments(part, text, out),
            Some(Piece::OpaqueJson(text)) => self.opaque(&text, out),
            None => {}
        }
    }

    /// A new item. Only messages take further content; whatever else grows is ended by its own part.
    fn begin(&mut self, part: Option<u32>, body: Body, out: &mut BytesMut) -> usize {
        if let Some(open) = self.open.take() {
            self.item_done(open, out);
        }
        let index = self.items.len();
        let id = match &body {
            Body::Native(item) if item["id"].is_string() => item["id"].as_str().unwrap_or_default().to_owned(),
            _ => format!("{}_{}_{index}", body.prefix(), self.stem),
        };
        self.items.push(Item { id, body, is_done: false });
        if let Some(part) = part {
            self.places.insert(part, (index, 0));
        }
        let shown = self.items[index].shown(false);
        self.emit("response.output_item.added", json!({"output_index": index, "item": shown}), out);
        index
    }

    fn say(&mut self, part: u32, is_refusal: bool, text: String, logprobs: Vec<Value>, out: &mut BytesMut) {
        let (item, at) = match self.places.get(&part) {
            Some(known) => *known,
            None => self.content(part, is_refusal, out),
        };
        let Body::Message(content) = &mut self.items[item].body else { return };
        let Some(said) = content.get_mut(at) else { return };
        said.text.push_str(&text);
        said.logprobs.extend(logprobs.iter().cloned());
        let place = Some(("content_index", at));
        match is_refusal {
            true => self.tell("response.refusal.delta", item, place, json!({"delta": text}), out),
            false => {
                let more = json!({"delta": text, "logprobs": logprobs});
                self.tell("response.output_text.delta", item, place, more, out);
            }
        }
    }

    /// A new part of the message that is open, or of a new one.
    fn content(&mut self, part: u32, is_refusal: bool, out: &mut BytesMut) -> (usize, usize) {
        let item = match self.open {
            Some(open) => open,
            None => self.begin(None, Body::Message(Vec::new()), out),
        };
        self.open = Some(item);
        let mut at = 0;
        let mut shown = Value::Null;
        if let Body::Message(content) = &mut self.items[item].body {
            at = content.len();
            let new = Content { is_refusal, ..Content::default() };
            shown = new.shown();
            content.push(new);
        }
        self.places.insert(part, (item, at));
        self.tell("response.content_part.added", item, Some(("content_index", at)), json!({"part": shown}), out);
        (item, at)
    }

    /// The reasoning that a part is, and its place.
    fn reasoning(&mut self, part: u32, out: &mut BytesMut) -> Option<(usize, &mut ReasoningPart)> {
        let index = match self.places.get(&part) {
            Some((index, _)) => *index,
            None => self.begin(Some(part), Body::Reasoning(ReasoningPart::default()), out),
        };
        match &mut self.items[index].body {
            Body::Reasoning(reasoning) => Some((index, reasoning)),
            _ => None, // no part is two things
        }
    }

    fn think(&mut self, part: u32, text: String, out: &mut BytesMut) {
        let Some((index, reasoning)) = self.reasoning(part, out) else { return };
        let is_first = reasoning.text.is_empty();
        reasoning.text.push_str(&text);
        let place = Some(("summary_index", 0));
        if is_first {
            let empty = json!({"part": {"type": "summary_text", "text": ""}});
            self.tell("response.reasoning_summary_part.added", index, place, empty, out);
        }
        self.tell("response.reasoning_summary_text.delta", index, place, json!({"delta": text}), out);
    }

    fn call(&mut self, part: u32, start: ToolCallStart, out: &mut BytesMut) {
        let call = Call {
            is_custom: start.type_native == "custom",
            call_id: start.id,
            name: start.name,
            arguments: String::new(),
        };
        self.begin(Some(part), Body::Call(call), out);
    }

    fn arguments(&mut self, part: u32, text: String, out: &mut BytesMut) {
        let Some((index, _)) = self.places.get(&part).copied() else { return };
        let Body::Call(call) = &mut self.items[index].body else { return };
        call.arguments.push_str(&text);
        let kind = match call.is_custom {
            true => "response.custom_tool_call_input.delta",
            false => "response.function_call_arguments.delta",
        };
        self.tell(kind, index, None, json!({"delta": text}), out);
    }

    /// Citations of the text before them, or an item of a tool that the provider ran. What else a provider's own dialect has is left out.
    fn opaque(&mut self, text: &str, out: &mut BytesMut) {
        let Ok(said) = serde_json::from_str::<Value>(text) else { return };
        if let Some(cited) = said["annotations"].as_array() {
            cited.iter().for_each(|annotation| self.cite(annotation, out));
        } else if said["type"].as_str().is_some_and(|kind| kind.ends_with("_call")) && said["id"].is_string() {
            let index = self.begin(None, Body::Native(said), out);
            self.item_done(index, out);
        }
    }

    fn cite(&mut self, annotation: &Value, out: &mut BytesMut) {
        let Some(item) = self.items.iter().rposition(|item| matches!(item.body, Body::Message(_))) else { return };
        let Body::Message(content) = &mut self.items[item].body else { return };
        let Some(at) = content.iter().rposition(|part| !part.is_refusal) else { return };
        let annotation = flat(annotation);
        content[at].annotations.push(annotation.clone());
        let more = json!({"annotation_index": content[at].annotations.len() - 1, "annotation": annotation});
        self.tell("response.output_text.annotation.added", item, Some(("content_index", at)), more, out);
    }

    fn part_done(&mut self, part: u32, out: &mut BytesMut) {
        let Some((item, at)) = self.places.get(&part).copied() else { return };
        match self.items[item].body {
            // The message waits for further content, and citations for their text's end.
            Body::Message(_) => self.content_done(item, at, out),
            _ => self.item_done(item, out),
        }
    }

    fn content_done(&mut self, item: usize, at: usize, out: &mut BytesMut) {
        let Body::Message(content) = &mut self.items[item].body else { return };
        let Some(part) = content.get_mut(at).filter(|part| !part.is_done) else { return };
        part.is_done = true;
        let shown = part.shown();
        let (kind, whole) = match part.is_refusal {
            true => ("response.refusal.done", json!({"refusal": part.text})),
            false => ("response.output_text.done", json!({"text": part.text, "logprobs": part.logprobs})),
        };
        let place = Some(("content_index", at));
        self.tell(kind, item, place, whole, out);
        self.tell("response.content_part.done", item, place, json!({"part": shown}), out);
    }

    /// An item is complete, with all that it holds.
    fn item_done(&mut self, index: usize, out: &mut BytesMut) {
        if self.items[index].is_done {
            return;
        }
        match &self.items[index].body {
            Body::Message(content) => (0..content.len()).for_each(|at| self.content_done(index, at, out)),
            Body::Reasoning(reasoning) if !reasoning.text.is_empty() => {
                let (place, text) = (Some(("summary_index", 0)), reasoning.text.clone());
                let part = json!({"part": {"type": "summary_text", "text": text}});
                self.tell("response.reasoning_summary_text.done", index, place, json!({"text": text}), out);
                self.tell("response.reasoning_summary_part.done", index, place, part, out);
            }
            Body::Call(call) => {
                let (kind, whole) = match call.is_custom {
                    true => ("response.custom_tool_call_input.done", json!({"input": call.arguments})),
                    false => (
                        "response.function_call_arguments.done",
                        json!({"name": call.name, "arguments": call.arguments}),
                    ),
                };
                self.tell(kind, index, None, whole, out);
            }
            Body::Reasoning(_) | Body::Native(_) => {}
        }
        self.items[index].is_done = true;
        if self.open == Some(index) {
            self.open = None;
        }
        let shown = self.items[index].shown(false);
        self.emit("response.output_item.done", json!({"output_index": index, "item": shown}), out);
    }
}

fn seconds_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The tokens of a piece's log probabilities, which have the form of chat completions.
fn tokens(logprobs_json: &str) -> Vec<Value> {
    let logprobs: Value = serde_json::from_str(logprobs_json).unwrap_or_default();
    logprobs["content"].as_array().cloned().unwrap_or_default()
}

/// A citation of chat completions has its members one level deeper.
fn flat(annotation: &Value) -> Value {
    let kind = annotation["type"].as_str().unwrap_or_default();
    match annotation.get(kind).and_then(Value::as_object) {
        Some(inner) => {
            let mut flat = json!({"type": kind});
            if let Some(flat) = flat.as_object_mut() {
                flat.extend(inner.clone());
            }
            flat
        }
        None => annotation.clone(),
    }
}

#[cfg(test)]
mod tests;
