//! Events as OpenAI's chunks: the provider's own where it speaks this dialect, synthesised ones where it does not.

use std::collections::BTreeMap;

use bytes::BytesMut;
use serde_json::{Value, json};
use tollgate_proto::v1::{
    CompletionEvent, Delta, MidstreamPolicy, ReasoningPart, Restarted, Started, completion_event::Event, delta::Piece,
};

use super::{
    functions::as_function,
    response::{detail, finish_word, opaque, usage},
};
use crate::{
    chat::receipt_text,
    error::Refusal,
    stream::{Printer, data},
};

/// Prints chunks in one of OpenAI's dialects.
pub(crate) trait Print: Send + Unpin + 'static {
    /// An event, if it is told.
    fn print(&mut self, event: CompletionEvent, out: &mut BytesMut);
}

/// Prints a stream of chunks.
pub(crate) struct Sse<C> {
    is_native: bool,
    chunks: C,
}

impl<C: Print> Sse<C> {
    /// The first event decides: chunks of the provider's own, or ours.
    pub(crate) fn new(first: &CompletionEvent, chunks: C) -> Self {
        Self { is_native: first.native.is_some(), chunks }
    }
}

impl<C: Print> Printer for Sse<C> {
    const KEEP_ALIVE: &'static [u8] = b": ping\n\n";

    fn print(&mut self, event: CompletionEvent, out: &mut BytesMut) {
        if !self.is_native {
            return self.chunks.print(event, out);
        }
        match (&event.native, &event.event) {
            (_, Some(Event::Restarted(_))) => {
                self.is_native = false;
                self.chunks.print(event, out);
            }
            (_, Some(Event::Routing(_) | Event::Receipt(_))) => self.chunks.print(event, out),
            (Some(native), _) => {
                data(&native.body, out);
                if matches!(event.event, Some(Event::Started(_))) {
                    // Learns the ids, in case that the end is ours.
                    self.chunks.print(event, &mut BytesMut::new());
                }
            }
            // An end of the gateway's own: a budget affords no more.
            (None, Some(Event::Finished(finished))) if finished.native_reason == "budget" => {
                self.chunks.print(event, out)
            }
            _ => {}
        }
    }

    fn fail(&mut self, refusal: Refusal, out: &mut BytesMut) {
        data(refusal.event().as_bytes(), out);
    }

    fn end(&mut self, out: &mut BytesMut) {
        data(b"[DONE]", out);
    }
}

/// What is told where another attempt takes over, and whether all before it is void.
pub(super) fn boundary(restarted: &Restarted) -> (Value, bool) {
    let starts_over = restarted.policy() == MidstreamPolicy::Restart;
    let mut told = json!({
        "attempt": restarted.attempt,
        "reason": restarted.reason,
        "policy": if starts_over { "restart" } else { "continue" },
    });
    if starts_over {
        told["discard"] = true.into();
    }
    (told, starts_over)
}

/// Prints `chat.completion.chunk`s.
pub(crate) struct Chunks {
    include_usage: bool,
    /// The caller knows functions, and no tools.
    functions: bool,
    started: Started,
    choices: BTreeMap<u32, Spoken>,
    /// Another attempt has taken over where one broke.
    goes_on: bool,
}

/// What a choice has said so far.
#[derive(Default)]
struct Spoken {
    has_role: bool,
    /// Part of each tool call, in order: its place is the index that OpenAI counts.
    tools: Vec<u32>,
    /// Citations, which are told at its end: clients keep only the last list that they see.
    citations: Vec<Value>,
}

impl Print for Chunks {
    fn print(&mut self, event: CompletionEvent, out: &mut BytesMut) {
        match event.event {
            // An answer that goes on keeps its id.
            Some(Event::Started(started)) if !self.goes_on => self.started = started,
            Some(Event::Restarted(restarted)) => self.restarted(&restarted, out),
            Some(Event::Routing(routing)) => self.tell("route", routing.in_words().into(), out),
            Some(Event::Receipt(receipt)) => self.tell("receipt", receipt_text(&receipt).into(), out),
            Some(Event::Delta(delta)) => self.delta(delta, out),
            Some(Event::Finished(finished)) => {
                self.role(finished.choice, out);
                self.cite(finished.choice, out);
                let choice = json!({
                    "index": finished.choice,
                    "delta": {},
                    "logprobs": null,
                    "finish_reason": finish_word(&finished),
                });
                self.chunk(json!([choice]), None, out);
            }
            Some(Event::Usage(reported)) if self.include_usage => {
                self.chunk(json!([]), Some(usage(&reported)), out);
            }
            _ => {}
        }
    }
}

impl Chunks {
    pub(crate) fn new(include_usage: bool, functions: bool) -> Self {
        Self { include_usage, functions, started: Started::default(), choices: BTreeMap::new(), goes_on: false }
    }

    /// A chunk without choices, which clients that know nothing of it read past.
    fn restarted(&mut self, restarted: &Restarted, out: &mut BytesMut) {
        let (told, starts_over) = boundary(restarted);
        if starts_over {
            self.choices.clear();
        }
        self.goes_on = !starts_over;
        self.tell("restarted", told, out);
    }

    /// Something of the gateway's own, in a chunk without choices.
    fn tell(&self, name: &str, what: Value, out: &mut BytesMut) {
        let mut chunk = self.body(json!([]));
        chunk["tollgate"] = json!({ name: what });
        data(chunk.to_string().as_bytes(), out);
    }

    fn delta(&mut self, delta: Delta, out: &mut BytesMut) {
        self.role(delta.choice, out);
        let spoken = self.choices.entry(delta.choice).or_default();
        let logprobs: Value = serde_json::from_str(&delta.logprobs_json).unwrap_or_default();
        let format = Some(delta.reasoning_format).filter(|format| !format.is_empty());
        let said = match delta.piece {
            Some(Piece::Text(text)) => json!({"content": text}),
            // Twice: clients that carry reasoning back join the details by their index, others show the text.
            Some(Piece::Reasoning(text)) => {
                let part = ReasoningPart { text: text.clone(), ..ReasoningPart::default() };
                json!({"reasoning_content": text, "reasoning_details": [detail(&part, delta.part)]})
            }
            Some(Piece::ReasoningSignature(signature)) => {
                let part = ReasoningPart { signature: Some(signature), format, ..ReasoningPart::default() };
                json!({"reasoning_details": [detail(&part, delta.part)]})
            }
            Some(Piece::ReasoningRedacted(redacted)) => {
                let part = ReasoningPart { redacted: Some(redacted), format, ..ReasoningPart::default() };
                json!({"reasoning_details": [detail(&part, delta.part)]})
            }
            Some(Piece::Refusal(text)) => json!({"refusal": text}),
            Some(Piece::ToolCallStart(start)) => {
                spoken.tools.push(delta.part);
                let index = spoken.tools.len() - 1;
                let function = json!({"name": start.name, "arguments": ""});
                json!({"tool_calls": [{"index": index, "id": start.id, "type": "function", "function": function}]})
            }
            Some(Piece::ToolArguments(text)) => {
                let index = spoken.tools.iter().position(|part| *part == delta.part).unwrap_or_default();
                json!({"tool_calls": [{"index": index, "function": {"arguments": text}}]})
            }
            Some(Piece::OpaqueJson(text)) => {
                let (cited, rest) = opaque(&text);
                spoken.citations.extend(cited);
                let Some(rest) = rest else { return };
                json!({"provider_parts": [rest]})
            }
            None => json!({}),
        };
        let choice = json!({"index": delta.choice, "delta": said, "logprobs": logprobs, "finish_reason": null});
        self.chunk(json!([choice]), None, out);
    }

    /// The role comes first, once.
    fn role(&mut self, index: u32, out: &mut BytesMut) {
        let spoken = self.choices.entry(index).or_default();
        if !std::mem::replace(&mut spoken.has_role, true) {
            let delta = json!({"role": "assistant", "content": ""});
            let choice = json!({"index": index, "delta": delta, "logprobs": null, "finish_reason": null});
            self.chunk(json!([choice]), None, out);
        }
    }

    fn cite(&mut self, index: u32, out: &mut BytesMut) {
        let Some(spoken) = self.choices.get_mut(&index) else { return };
        let citations = std::mem::take(&mut spoken.citations);
        if !citations.is_empty() {
            let delta = json!({"annotations": citations});
            let choice = json!({"index": index, "delta": delta, "logprobs": null, "finish_reason": null});
            self.chunk(json!([choice]), None, out);
        }
    }

    fn chunk(&self, mut choices: Value, usage: Option<Value>, out: &mut BytesMut) {
        if self.functions {
            choices.as_array_mut().into_iter().flatten().for_each(as_function);
        }
        let mut chunk = self.body(choices);
        if self.include_usage {
            chunk["usage"] = usage.unwrap_or_default();
        }
        data(chunk.to_string().as_bytes(), out);
    }

    fn body(&self, choices: Value) -> Value {
        json!({
            "id": self.started.response_id,
            "object": "chat.completion.chunk",
            "created": self.started.created,
            "model": self.started.served_model,
            "choices": choices,
        })
    }
}

#[cfg(test)]
mod tests {
    use tollgate_proto::v1::Finished;

    use super::*;

    /// The first choice of every chunk that these events make.
    fn choices(events: impl IntoIterator<Item = Event>) -> Vec<Value> {
        let (mut chunks, mut out) = (Chunks::new(false, false), BytesMut::new());
        for event in events {
            chunks.print(CompletionEvent { event: Some(event), ..CompletionEvent::default() }, &mut out);
        }
        let text = String::from_utf8(out.to_vec()).unwrap();
        let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
        data.map(|data| serde_json::from_str::<Value>(data).unwrap()["choices"][0].clone()).collect()
    }

    fn piece(part: u32, piece: Piece) -> Event {
        Event::Delta(Delta { part, piece: Some(piece), ..Delta::default() })
    }

    #[test]
    fn probabilities_stand_beside_the_text_that_they_are_of() {
        let logprobs = json!({"content": [{"token": "Lima", "logprob": -0.5, "bytes": null, "top_logprobs": []}]});
        let delta =
            Delta { piece: Some(Piece::Text("Lima".into())), logprobs_json: logprobs.to_string(), ..Delta::default() };
        let told = choices([Event::Delta(delta)]);
        assert_eq!((&told[1]["delta"]["content"], &told[1]["logprobs"]), (&json!("Lima"), &logprobs));
    }

    #[test]
    fn citations_are_told_in_one_list_before_the_end() {
        let page = |url: &str| json!({"start_index": 0, "end_index": 4, "url": url, "title": "Lima"});
        let cited = |url: &str| {
            let mut flat = page(url);
            flat["type"] = "url_citation".into();
            Piece::OpaqueJson(json!({"annotations": [flat]}).to_string())
        };
        let told = choices([
            piece(0, Piece::Text("Lima".into())),
            piece(1, cited("https://a.example")),
            piece(2, cited("https://b.example")),
            Event::Finished(Finished::default()),
        ]);
        let said: Vec<_> = told.iter().filter_map(|choice| choice["delta"].get("annotations")).collect();
        let in_chats = |url: &str| json!({"type": "url_citation", "url_citation": page(url)});
        assert_eq!(said, [&json!([in_chats("https://a.example"), in_chats("https://b.example")])]);
        assert_eq!((told.len(), &told[3]["finish_reason"]), (4, &json!("stop")), "{told:?}");
        assert!(told.iter().all(|choice| choice["delta"].get("provider_parts").is_none()), "{told:?}");
    }
}
