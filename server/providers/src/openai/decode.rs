//! Their answers to our events: one state machine for whole and streamed ones.

use bytes::Bytes;
use tollgate_domain::{Class, Failure};
use tollgate_proto::v1::{
    CompletionEvent, Delta, Dialect, FinishReason, Finished, InputUsage, Original, OutputUsage, PartDone, Started,
    ToolCallStart, Usage, completion_event::Event, delta::Piece,
};

use super::{Quirks, wire};
use crate::{
    ChatCall, Decoder,
    framing::{Ended, Framing, cut_short},
    json, refusal,
    sse::SseEvent,
};

/// Decodes one answer.
pub(super) struct ChatDecoder {
    quirks: &'static Quirks,
    framing: Framing,
    native: bool,
    /// The caller did not ask for usage in the stream, so what only we asked for is taken out of native chunks.
    hide_usage: bool,
    started: bool,
    choices: Vec<ChoiceState>,
    usage: Option<Usage>,
    done: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Reasoning,
    Refusal,
    Other,
}

#[derive(Default)]
struct ChoiceState {
    next_part: u32,
    /// The part that grows now, unless it is a tool call.
    open: Option<(Kind, u32)>,
    tools: Vec<ToolState>,
    finished: bool,
}

struct ToolState {
    index: u32,
    part: u32,
    id: String,
    type_native: String,
    /// Whether the start was told: it waits for the name.
    is_told: bool,
    has_arguments: bool,
}

impl ChatDecoder {
    pub(super) fn new(quirks: &'static Quirks, call: &ChatCall<'_>) -> Self {
        let native_usage = call.request.tollgate.as_ref().is_some_and(|o| o.native_usage);
        Self {
            quirks,
            framing: Framing::new(call.mode),
            native: call.want_native == Dialect::OpenaiChat,
            hide_usage: !native_usage,
            started: false,
            choices: Vec::new(),
            usage: None,
            done: false,
        }
    }

    fn events(&mut self, parsed: Vec<SseEvent>, out: &mut Vec<CompletionEvent>) -> Result<(), Failure> {
        for event in parsed {
            if event.data.as_ref() == b"[DONE]" {
                self.done = true;
                continue;
            }
            if event.name == "error" {
                return Err(self.failed(refusal::in_band(200, &event.data, self.quirks.trusts_inner_status)));
            }
            let from = out.len();
            let usage_only = match self.chunk(event.text(), out) {
                // Garbage behind the answer's end harms nothing.
                Err(failure) if failure.class == Class::UpstreamProtocol && self.is_complete() => {
                    self.done = true;
                    continue;
                }
                read => read?,
            };
            if self.native {
                self.attach_native(event.data, usage_only, from, out);
            }
        }
        Ok(())
    }

    fn attach_native(&self, data: Bytes, usage_only: bool, from: usize, out: &mut Vec<CompletionEvent>) {
        if usage_only && self.hide_usage {
            return;
        }
        let holds_null_usage = || memchr::memmem::find(&data, b"\"usage\":null").is_some();
        let body = match self.hide_usage && holds_null_usage() {
            true => json::edit(&data, &[("usage", None)]).map_or(data.clone(), Bytes::from),
            false => data,
        };
        let native = Some(Original { dialect: Dialect::OpenaiChat as i32, body });
        match out.get_mut(from) {
            Some(first) => first.native = native,
            None => out.push(CompletionEvent { native, ..CompletionEvent::default() }),
        }
    }

    /// Reads a chunk or a whole answer. Tells whether it held nothing but usage.
    fn chunk(&mut self, text: &str, out: &mut Vec<CompletionEvent>) -> Result<bool, Failure> {
        let chunk: wire::Chunk<'_> = serde_json::from_str(text).map_err(|error| {
            let what = format!("the provider sent what is not its own JSON: {error}");
            self.failed(Failure::new(Class::UpstreamProtocol, what))
        })?;
        let usage = chunk.usage.or(chunk.x_groq.as_ref().and_then(|g| g.usage)).filter(|u| u.get() != "null");
        if let Some(raw) = usage {
            self.usage = normal(raw.get()).or(self.usage.take());
        }
        let choices = chunk.choices.unwrap_or_default();
        let is_flat_error = chunk.object.as_deref() == Some("error");
        if is_flat_error || chunk.error.is_some_and(|e| e.get() != "null") {
            self.text_before_error(choices, out);
            return Err(self.failed(refusal::in_band(200, text.as_bytes(), self.quirks.trusts_inner_status)));
        }
        let usage_only = choices.is_empty() && usage.is_some();
        if !self.started && !usage_only {
            self.started = true;
            let mut extra = json::Object::default();
            for (name, raw) in [("system_fingerprint", chunk.system_fingerprint), ("service_tier", chunk.service_tier)]
            {
                if let Some(raw) = raw.filter(|r| r.get() != "null") {
                    extra.raw(name, raw.get());
                }
            }
            let extra_json = extra.finish();
            push(
                out,
                Event::Started(Started {
                    response_id: chunk.id.unwrap_or_default(),
                    created: chunk.created.map_or(0, |c| c as i64),
                    served_model: chunk.model.unwrap_or_default(),
                    extra_json: if extra_json == "{}" { String::new() } else { extra_json },
                    ..Started::default()
                }),
            );
        }
        for choice in choices {
            self.choice(choice, out)?;
        }
        Ok(usage_only)
    }

    /// What a broken answer had said before it broke still counts.
    fn text_before_error(&mut self, choices: Vec<wire::Choice<'_>>, out: &mut Vec<CompletionEvent>) {
        for choice in choices {
            let index = choice.index.unwrap_or(0);
            if let Some(delta) = choice.delta.or(choice.message) {
                self.delta(index, delta, "", out);
            }
        }
    }

    fn choice(&mut self, choice: wire::Choice<'_>, out: &mut Vec<CompletionEvent>) -> Result<(), Failure> {
        let index = choice.index.unwrap_or(0).min(1_023);
        let logprobs = choice.logprobs.map(|l| l.get()).filter(|l| *l != "null").unwrap_or_default();
        let is_whole = choice.message.is_some();
        if let Some(delta) = choice.delta.or(choice.message) {
            self.delta(index, delta, logprobs, out);
        }
        if let Some(error) = choice.error.filter(|e| e.get() != "null") {
            return Err(self.failed(refusal::in_band(200, error.get().as_bytes(), self.quirks.trusts_inner_status)));
        }
        let word = choice.finish_reason.or_else(|| is_whole.then(|| "stop".to_owned()));
        let Some(word) = word.filter(|w| !w.is_empty()) else { return Ok(()) };
        let state = self.state(index);
        if state.finished {
            return Ok(()); // the first reason wins
        }
        let reason = match word.as_str() {
            "length" => FinishReason::Length,
            "tool_calls" | "function_call" => FinishReason::ToolCalls,
            "content_filter" | "sensitive" => FinishReason::ContentFilter,
            "insufficient_system_resource" => {
                return Err(self.failed(Failure::new(Class::Overloaded, "the provider ran out of resources")));
            }
            "error" | "abort" | "network_error" => {
                let message = format!("the provider ended the answer with {word:?}");
                return Err(self.failed(Failure::new(Class::ServerError, message)));
            }
            _ if !state.tools.is_empty() => FinishReason::ToolCalls,
            _ => FinishReason::Stop,
        };
        state.finished = true;
        state.close(index, out);
        push(
            out,
            Event::Finished(Finished {
                choice: index,
                reason: reason as i32,
                native_reason: choice.native_finish_reason.unwrap_or(word),
                stop_sequence: choice.stop_reason.and_then(|r| serde_json::from_str::<String>(r.get()).ok()),
            }),
        );
        Ok(())
    }

    fn delta(&mut self, index: u32, delta: wire::Delta<'_>, logprobs: &str, out: &mut Vec<CompletionEvent>) {
        let from = out.len();
        let state = self.state(index);
        let mut said = delta.reasoning_content.or(delta.reasoning).map(|t| t.0).filter(|t| !t.is_empty());
        let details = delta.reasoning_details.unwrap_or_default();
        if said.is_none() {
            let texts = details.iter().filter_map(|d| d.text.as_deref().or(d.summary.as_deref()));
            said = Some(texts.collect::<String>()).filter(|t| !t.is_empty());
        }
        if let Some(text) = said {
            state.grow(index, Kind::Reasoning, Piece::Reasoning(text), out);
        }
        for detail in details {
            if let Some(signature) = detail.signature.filter(|s| !s.is_empty()) {
                state.grow(index, Kind::Reasoning, Piece::ReasoningSignature(signature), out);
            }
            if let Some(data) = detail.data.filter(|d| !d.is_empty()) {
                state.alone(index, Piece::ReasoningRedacted(data), out);
            }
        }
        if let Some(text) = delta.content.map(|t| t.0).filter(|t| !t.is_empty()) {
            state.grow(index, Kind::Text, Piece::Text(text), out);
        }
        if let Some(text) = delta.refusal.filter(|t| !t.is_empty()) {
            state.grow(index, Kind::Refusal, Piece::Refusal(text), out);
        }
        for (name, raw) in [("audio", delta.audio), ("annotations", delta.annotations)] {
            if let Some(raw) = raw.filter(|r| !matches!(r.get(), "null" | "[]")) {
                let mut object = json::Object::default();
                object.raw(name, raw.get());
                state.alone(index, Piece::OpaqueJson(object.finish()), out);
            }
        }
        for call in delta.tool_calls.unwrap_or_default() {
            state.tool(index, call, out);
        }
        if let Some(function) = delta.function_call {
            let kind = Some("function_call".to_owned());
            state.tool(
                index,
                wire::ToolCall { index: Some(0), id: None, kind, function: Some(function), custom: None },
                out,
            );
        }
        if !logprobs.is_empty() {
            match out[from..].iter_mut().find_map(|e| match &mut e.event {
                Some(Event::Delta(delta)) => Some(delta),
                _ => None,
            }) {
                Some(first) => first.logprobs_json = logprobs.to_owned(),
                None => {
                    push(out, Event::Delta(Delta { choice: index, logprobs_json: logprobs.into(), ..Delta::default() }))
                }
            }
        }
    }

    fn is_complete(&self) -> bool {
        !self.choices.is_empty() && self.choices.iter().all(|c| c.finished)
    }

    fn state(&mut self, index: u32) -> &mut ChoiceState {
        let index = index as usize;
        if self.choices.len() <= index {
            self.choices.resize_with(index + 1, ChoiceState::default);
        }
        &mut self.choices[index]
    }

    /// The failure, with the usage that was known before it.
    fn failed(&self, failure: Failure) -> Failure {
        // A running count of an answer that broke is no final one.
        let known = self.usage.clone().map(|usage| Usage { estimated: !self.is_complete(), ..usage });
        Failure { usage: failure.usage.or(known), ..failure }
    }

    fn whole(&mut self, body: Bytes, out: &mut Vec<CompletionEvent>) -> Result<(), Failure> {
        let Ok(text) = std::str::from_utf8(&body) else {
            return Err(self.failed(Failure::new(Class::UpstreamProtocol, "the answer is not valid UTF-8")));
        };
        if text.trim().is_empty() {
            return Err(self.failed(Failure::new(Class::UpstreamTruncated, "the answer is empty")));
        }
        let from = out.len();
        self.chunk(text, out)?;
        if self.native
            && let Some(first) = out.get_mut(from)
        {
            first.native = Some(Original { dialect: Dialect::OpenaiChat as i32, body });
        }
        self.done = true;
        Ok(())
    }
}

impl Decoder for ChatDecoder {
    fn feed(&mut self, bytes: &Bytes, out: &mut Vec<CompletionEvent>) -> Result<(), Failure> {
        let (parsed, framed) = self.framing.feed(bytes);
        self.events(parsed, out)?;
        framed
    }

    fn end(&mut self, out: &mut Vec<CompletionEvent>) -> Result<(), Failure> {
        match self.framing.end() {
            (Ended::Whole(body), _) => self.whole(body, out)?,
            (Ended::Events(parsed), framed) => self.events(parsed, out).and(framed).map_err(cut_short)?,
        }
        if !self.is_complete() {
            let message = "the provider's answer ended before its end";
            return Err(self.failed(Failure::new(Class::UpstreamTruncated, message)));
        }
        if let Some(usage) = self.usage.take() {
            push(out, Event::Usage(usage));
        }
        Ok(())
    }

    fn done(&self) -> bool {
        self.done
    }
}

impl ChoiceState {
    fn grow(&mut self, choice: u32, kind: Kind, piece: Piece, out: &mut Vec<CompletionEvent>) {
        let part = match self.open {
            Some((open, part)) if open == kind => part,
            _ => {
                self.close_open(choice, out);
                let part = self.take_part();
                self.open = Some((kind, part));
                part
            }
        };
        push_piece(choice, part, piece, out);
    }

    /// A part that comes in one piece.
    fn alone(&mut self, choice: u32, piece: Piece, out: &mut Vec<CompletionEvent>) {
        self.close_open(choice, out);
        let part = self.take_part();
        self.open = Some((Kind::Other, part));
        push_piece(choice, part, piece, out);
    }

    fn tool(&mut self, choice: u32, call: wire::ToolCall<'_>, out: &mut Vec<CompletionEvent>) {
        self.close_open(choice, out);
        let (name, text) = match (call.function, call.custom) {
            (Some(function), _) => (function.name, function.arguments.map(wire::text_of)),
            (None, Some(custom)) => (custom.name, custom.input.map(wire::text_of)),
            (None, None) => (None, None),
        };
        let id = call.id.filter(|id| !id.is_empty());
        // Whole answers number nothing: each call is the next one.
        let index = call.index.unwrap_or(match &id {
            Some(_) => self.tools.len() as u32,
            None => self.tools.len().saturating_sub(1) as u32,
        });
        let known = self.tools.iter().rposition(|t| t.index == index && id.as_ref().is_none_or(|id| *id == t.id));
        let at = known.unwrap_or_else(|| {
            let id = id.unwrap_or_else(|| format!("call_{}", uuid::Uuid::new_v4().simple()));
            let type_native = call.kind.filter(|k| k != "function").unwrap_or_default();
            let part = self.take_part();
            self.tools.push(ToolState { index, part, id, type_native, is_told: false, has_arguments: false });
            self.tools.len() - 1
        });
        let tool = &mut self.tools[at];
        if !tool.is_told
            && let Some(name) = name.filter(|n| !n.is_empty())
        {
            tool.tell(choice, name, out);
        }
        if let Some(text) = text.filter(|t| !t.is_empty()) {
            // Arguments before a name: the name is not coming.
            tool.tell(choice, String::new(), out);
            let text = if text == "null" && !tool.has_arguments { "{}".to_owned() } else { text };
            tool.has_arguments = true;
            push_piece(choice, tool.part, Piece::ToolArguments(text), out);
        }
    }

    fn close_open(&mut self, choice: u32, out: &mut Vec<CompletionEvent>) {
        if let Some((_, part)) = self.open.take() {
            push(out, Event::PartDone(PartDone { choice, part }));
        }
    }

    fn close(&mut self, choice: u32, out: &mut Vec<CompletionEvent>) {
        self.close_open(choice, out);
        for tool in &mut self.tools {
            tool.tell(choice, String::new(), out);
            if !tool.has_arguments {
                push_piece(choice, tool.part, Piece::ToolArguments("{}".into()), out);
            }
            push(out, Event::PartDone(PartDone { choice, part: tool.part }));
        }
    }

    fn take_part(&mut self) -> u32 {
        self.next_part += 1;
        self.next_part - 1
    }
}

impl ToolState {
    fn tell(&mut self, choice: u32, name: String, out: &mut Vec<CompletionEvent>) {
        if !std::mem::replace(&mut self.is_told, true) {
            let start = ToolCallStart { id: self.id.clone(), name, type_native: self.type_native.clone() };
            push_piece(choice, self.part, Piece::ToolCallStart(start), out);
        }
    }
}

fn push(out: &mut Vec<CompletionEvent>, event: Event) {
    out.push(CompletionEvent { event: Some(event), ..CompletionEvent::default() });
}

fn push_piece(choice: u32, part: u32, piece: Piece, out: &mut Vec<CompletionEvent>) {
    push(out, Event::Delta(Delta { choice, part, piece: Some(piece), logprobs_json: String::new() }));
}

/// Their usage in the contract's normal form.
pub(super) fn normal(text: &str) -> Option<Usage> {
    let usage: wire::Usage = serde_json::from_str(text).ok()?;
    let count = |n: Option<f64>| n.filter(|n| *n >= 0.0).map_or(0, |n| n as u64);
    let prompt = usage.prompt_tokens_details.unwrap_or_default();
    let completion = usage.completion_tokens_details.unwrap_or_default();
    let total_in = count(usage.prompt_tokens);
    let reasoning = count(completion.reasoning_tokens);
    let mut total_out = count(usage.completion_tokens);
    // xAI leaves reasoning out of the completion, but not out of the total.
    let with_reasoning = total_out.saturating_add(reasoning);
    if reasoning > 0 && count(usage.total_tokens) == total_in.saturating_add(with_reasoning) {
        total_out = with_reasoning;
    }
    Some(Usage {
        input: Some(InputUsage {
            total: total_in,
            cached_read: count(prompt.cached_tokens.or(usage.cached_tokens).or(usage.prompt_cache_hit_tokens)),
            cache_write_5m: count(prompt.cache_write_tokens),
            cache_write_1h: 0,
            audio: count(prompt.audio_tokens),
        }),
        output: Some(OutputUsage { total: total_out, reasoning, audio: count(completion.audio_tokens) }),
        native_json: Some(text.to_owned()),
        ..Usage::default()
    })
}
