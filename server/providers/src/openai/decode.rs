//! Their answers to our events: one state machine for whole and streamed ones.

use bytes::Bytes;
use tollgate_domain::{Class, Failure};
use tollgate_proto::v1::{
    CompletionEvent, Dialect, FinishReason, InputUsage, Original, OutputUsage, Started, Usage, completion_event::Event,
};

use super::{Quirks, request::is_text, wire};
use crate::{
    ChatCall, Decoder,
    answer::{Choice, ToolPiece, attach_logprobs, push, started_first},
    framing::{Ended, Framing, before_end, cut_short, ended_early, sse::SseEvent},
    json, refusal,
};

/// Decodes one answer.
pub(crate) struct ChatDecoder {
    quirks: &'static Quirks,
    framing: Framing,
    /// The dialect that the caller wants the provider's own pieces in.
    native: Option<Dialect>,
    /// The answer completes a prompt: text without messages.
    is_text: bool,
    /// The caller did not ask for usage in the stream, so what only we asked for is taken out of native chunks.
    hide_usage: bool,
    started: bool,
    choices: Vec<Choice>,
    /// A delta came: messages that follow repeat.
    has_deltas: bool,
    usage: Option<Usage>,
    service_tier: Option<String>,
    done: bool,
}

impl ChatDecoder {
    pub(crate) fn new(quirks: &'static Quirks, call: &ChatCall<'_>) -> Self {
        let is_text = is_text(quirks, call);
        let spoken = if is_text { Dialect::OpenaiCompletions } else { Dialect::OpenaiChat };
        let native_usage = call.request.tollgate.as_ref().is_some_and(|o| o.native_usage);
        Self {
            quirks,
            framing: Framing::new(call.mode),
            native: Some(call.want_native).filter(|wanted| *wanted == spoken),
            is_text,
            hide_usage: !native_usage,
            started: false,
            choices: Vec::new(),
            has_deltas: false,
            usage: None,
            service_tier: None,
            done: false,
        }
    }

    fn events(&mut self, parsed: Vec<SseEvent>, out: &mut Vec<CompletionEvent>) -> Result<(), Failure> {
        for event in parsed {
            if self.done || event.data.as_ref() == b"[DONE]" {
                self.done = true;
                return Ok(());
            }
            if event.name == "error" {
                return Err(self.failed(refusal::in_band(200, &event.data, self.quirks.trusts_inner_status)));
            }
            let from = out.len();
            let usage_only = match self.chunk(event.text(), out) {
                // Garbage behind the answer's end harms nothing.
                Err(failure) if failure.class == Class::UpstreamProtocol && self.is_complete() => {
                    self.done = true;
                    return Ok(());
                }
                read => read?,
            };
            if let Some(dialect) = self.native {
                self.attach_native(dialect, event.data, usage_only, from, out);
            }
        }
        Ok(())
    }

    fn attach_native(
        &self,
        dialect: Dialect,
        data: Bytes,
        usage_only: bool,
        from: usize,
        out: &mut Vec<CompletionEvent>,
    ) {
        if usage_only && self.hide_usage {
            return;
        }
        let holds_null_usage = || memchr::memmem::find(&data, b"\"usage\":null").is_some();
        let body = match self.hide_usage && holds_null_usage() {
            true => json::edit(&data, &[("usage", None)]).map_or(data.clone(), Bytes::from),
            false => data,
        };
        let native = Some(Original { dialect: dialect as i32, body });
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
        let choices = chunk.choices.unwrap_or_default();
        let elsewhere = || chunk.x_groq.as_ref().and_then(|g| g.usage).or(choices.iter().find_map(|c| c.usage));
        let usage = chunk.usage.or_else(elsewhere).filter(|u| u.get() != "null");
        if let Some(raw) = usage {
            self.usage = normal(raw.get()).or(self.usage.take());
        }
        if let Some(word) = chunk.service_tier.and_then(|raw| serde_json::from_str(raw.get()).ok()) {
            self.service_tier = word;
        }
        let is_flat_error = chunk.object.as_deref() == Some("error");
        if is_flat_error || chunk.error.is_some_and(|e| e.get() != "null") {
            let from = out.len();
            self.text_before_error(choices, out);
            started_first(&mut self.started, from, out);
            return Err(self.failed(refusal::in_band(200, text.as_bytes(), self.quirks.trusts_inner_status)));
        }
        let usage_only = choices.is_empty() && usage.is_some();
        // Azure's first chunk tells of its filter alone: neither id nor model.
        let is_nameless = choices.is_empty() && chunk.id.as_deref().is_none_or(str::is_empty);
        if !self.started && !usage_only && !is_nameless {
            self.started = true;
            let mut extra = json::Object::default();
            let members = [
                ("system_fingerprint", chunk.system_fingerprint),
                ("service_tier", chunk.service_tier),
                ("citations", chunk.citations),
                ("search_results", chunk.search_results),
            ];
            for (name, raw) in members {
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
            let index = place(&choice);
            if let Some(delta) = choice.delta.or(choice.message) {
                self.delta(index, delta, "", out);
            }
        }
    }

    fn choice(&mut self, choice: wire::Choice<'_>, out: &mut Vec<CompletionEvent>) -> Result<(), Failure> {
        let index = place(&choice);
        let logprobs = choice.logprobs.map(|l| l.get()).filter(|l| *l != "null").unwrap_or_default();
        // Some services repeat the message so far beside a delta (Perplexity), or in a last chunk without one (MiniMax).
        let is_whole = choice.message.is_some() && choice.delta.is_none();
        let is_repeated = is_whole && self.has_deltas;
        self.has_deltas |= choice.delta.is_some();
        if let Some(delta) = choice.delta.or(choice.message).filter(|_| !is_repeated) {
            self.delta(index, delta, logprobs, out);
        }
        if let Some(text) = choice.text.filter(|_| self.is_text) {
            let from = out.len();
            let state = self.state(index);
            if !state.is_finished() {
                state.text(text, out);
                attach_logprobs(index, logprobs, from, out);
            }
        }
        if let Some(error) = choice.error.filter(|e| e.get() != "null") {
            return Err(self.failed(refusal::in_band(200, error.get().as_bytes(), self.quirks.trusts_inner_status)));
        }
        let word = choice.finish_reason.or_else(|| is_whole.then(|| "stop".to_owned()));
        let Some(word) = word.filter(|w| !w.is_empty()) else { return Ok(()) };
        let state = self.state(index);
        if state.is_finished() {
            return Ok(()); // the first reason wins
        }
        let reason = match word.as_str() {
            "length" | "model_length" | "model_context_window_exceeded" => FinishReason::Length,
            "tool_calls" | "function_call" => FinishReason::ToolCalls,
            "content_filter" | "sensitive" => FinishReason::ContentFilter,
            "insufficient_system_resource" => {
                return Err(self.failed(Failure::new(Class::Overloaded, "the provider ran out of resources")));
            }
            "error" | "abort" | "network_error" => {
                let message = format!("the provider ended the answer with {word:?}");
                return Err(self.failed(Failure::new(Class::ServerError, message)));
            }
            _ => FinishReason::Stop,
        };
        let stop_sequence = choice.stop_reason.and_then(|r| serde_json::from_str::<String>(r.get()).ok());
        state.finish(reason, choice.native_finish_reason.unwrap_or(word), stop_sequence, out);
        Ok(())
    }

    fn delta(&mut self, index: u32, delta: wire::Delta<'_>, logprobs: &str, out: &mut Vec<CompletionEvent>) {
        let from = out.len();
        let state = self.state(index);
        if state.is_finished() {
            return;
        }
        let mut said = delta.reasoning_content.or(delta.reasoning).map(|t| t.0).filter(|t| !t.is_empty());
        let details = delta.reasoning_details.unwrap_or_default();
        if said.is_none() {
            let texts = details.iter().filter_map(|d| d.text.as_deref().or(d.summary.as_deref()));
            said = Some(texts.collect::<String>()).filter(|t| !t.is_empty());
        }
        if let Some(text) = said {
            state.reasoning(text, out);
        }
        for detail in details {
            if let Some(signature) = detail.signature {
                state.signature(signature, out);
            }
            if let Some(data) = detail.data.filter(|d| !d.is_empty()) {
                state.redacted(data, out);
            }
        }
        match delta.content {
            Some(wire::Content::Text(text)) => state.text(text, out),
            Some(wire::Content::Parts(parts)) => parts.iter().for_each(|json| part(json.get(), state, out)),
            None => {}
        }
        if let Some(text) = delta.refusal {
            state.refusal(text, out);
        }
        for (name, raw) in [("audio", delta.audio), ("annotations", delta.annotations)] {
            if let Some(raw) = raw.filter(|r| !matches!(r.get(), "null" | "[]")) {
                let mut object = json::Object::default();
                object.raw(name, raw.get());
                state.opaque(object.finish(), out);
            }
        }
        for call in delta.tool_calls.unwrap_or_default() {
            state.tool(piece(call), out);
        }
        if let Some(function) = delta.function_call {
            let type_native = Some("function_call".to_owned());
            state.tool(ToolPiece { key: Some(0), type_native, ..named(function) }, out);
        }
        attach_logprobs(index, logprobs, from, out);
    }

    fn is_complete(&self) -> bool {
        !self.choices.is_empty() && self.choices.iter().all(Choice::is_finished)
    }

    fn state(&mut self, index: u32) -> &mut Choice {
        while self.choices.len() <= index as usize {
            self.choices.push(Choice::new(self.choices.len() as u32));
        }
        &mut self.choices[index as usize]
    }

    /// The usage, with the service tier that any chunk named.
    fn served(&self) -> Option<Usage> {
        self.usage.clone().map(|usage| Usage { service_tier_native: self.service_tier.clone(), ..usage })
    }

    /// The failure, with the usage that was known before it.
    fn failed(&self, failure: Failure) -> Failure {
        // A running count of an answer that broke is no final one.
        let known = self.served().map(|usage| Usage { estimated: !self.is_complete(), ..usage });
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
        if let (Some(dialect), Some(first)) = (self.native, out.get_mut(from)) {
            first.native = Some(Original { dialect: dialect as i32, body });
        }
        self.done = true;
        Ok(())
    }
}

impl Decoder for ChatDecoder {
    fn feed(&mut self, bytes: &Bytes, out: &mut Vec<CompletionEvent>) -> Result<(), Failure> {
        let (parsed, framed) = self.framing.feed(bytes);
        self.events(parsed, out)?;
        before_end(self.done, framed)
    }

    fn end(&mut self, out: &mut Vec<CompletionEvent>) -> Result<(), Failure> {
        match self.framing.end() {
            (Ended::Whole(body), _) => self.whole(body, out)?,
            (Ended::Events(parsed), framed) => {
                self.events(parsed, out).and_then(|()| before_end(self.done, framed)).map_err(cut_short)?;
            }
        }
        if !self.is_complete() {
            return Err(self.failed(ended_early()));
        }
        if let Some(usage) = self.served() {
            push(out, Event::Usage(usage));
        }
        Ok(())
    }

    fn done(&self) -> bool {
        self.done
    }
}

/// Which choice of the answer it is: within bounds, for all before it are held as well.
fn place(choice: &wire::Choice<'_>) -> u32 {
    choice.index.unwrap_or(0).min(1_023)
}

/// A part of a list of content. What says nothing here is passed over.
fn part(json: &str, state: &mut Choice, out: &mut Vec<CompletionEvent>) {
    let Ok(part) = serde_json::from_str::<wire::Part>(json) else { return };
    if part.kind.as_deref() == Some("reference") {
        let mut reference = json::Object::default();
        reference.raw("reference", json);
        return state.opaque(reference.finish(), out);
    }
    state.reasoning(part.thinking.unwrap_or_default().0, out);
    state.text(part.text.unwrap_or_default(), out);
}

fn piece(call: wire::ToolCall<'_>) -> ToolPiece {
    let piece = match (call.function, call.custom) {
        (Some(function), _) => named(function),
        (None, Some(custom)) => {
            ToolPiece { name: custom.name, arguments: custom.input.map(wire::text_of), ..ToolPiece::default() }
        }
        (None, None) => ToolPiece::default(),
    };
    ToolPiece { key: call.index, id: call.id, type_native: call.kind, ..piece }
}

fn named(function: wire::Function<'_>) -> ToolPiece {
    let arguments = function.arguments.map(wire::text_of);
    ToolPiece { name: function.name, arguments, ..ToolPiece::default() }
}

/// Their usage in the contract's normal form.
pub(crate) fn normal(text: &str) -> Option<Usage> {
    let usage: wire::Usage = serde_json::from_str(text).ok()?;
    let count = |n: Option<f64>| n.filter(|n| *n >= 0.0).map_or(0, |n| n as u64);
    let prompt = usage.prompt_tokens_details.or(usage.prompt_token_details).unwrap_or_default();
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
            cached_read: count(
                prompt
                    .cached_tokens
                    .or(usage.cached_tokens)
                    .or(usage.prompt_cache_hit_tokens)
                    .or(usage.num_cached_tokens),
            ),
            cache_write_5m: count(prompt.cache_write_tokens),
            audio: count(prompt.audio_tokens),
            ..InputUsage::default()
        }),
        output: Some(OutputUsage {
            total: total_out,
            reasoning,
            audio: count(completion.audio_tokens),
            ..OutputUsage::default()
        }),
        native_json: Some(text.to_owned()),
        ..Usage::default()
    })
}
