//! Their answers to our events: one state machine for whole and streamed ones. What `.done` events repeat is told only where no delta
//! told it before.

use bytes::Bytes;
use serde_json::value::RawValue;
use tollgate_domain::{Class, Failure};
use tollgate_proto::v1::{
    CompletionEvent, Dialect, FinishReason, InputUsage, Original, OutputUsage, Started, Usage, completion_event::Event,
};

use super::wire;
use crate::{
    ChatCall, Decoder,
    answer::{Choice, ToolPiece, attach_logprobs, push, started_first},
    framing::{Ended, Framing, before_end, cut_short, ended_early, sse::SseEvent},
    json::{Object, array},
    refusal,
};

/// Between the parts of a summary, which are paragraphs.
const PARAGRAPH: &str = "\n\n";

/// Decodes one answer.
pub(super) struct ResponseDecoder {
    framing: Framing,
    /// The caller speaks this dialect: it gets the provider's own events.
    native: bool,
    is_started: bool,
    choice: Choice,
    /// Items by their place in the output: those that deltas told of, and those that are complete.
    told: Vec<u32>,
    complete: Vec<u32>,
    usage: Option<Usage>,
    is_stopped: bool,
}

impl ResponseDecoder {
    pub(super) fn new(call: &ChatCall<'_>) -> Self {
        Self {
            framing: Framing::new(call.mode),
            native: call.want_native == Dialect::OpenaiResponses,
            is_started: false,
            choice: Choice::new(0),
            told: Vec::new(),
            complete: Vec::new(),
            usage: None,
            is_stopped: false,
        }
    }

    fn events(&mut self, parsed: Vec<SseEvent>, out: &mut Vec<CompletionEvent>) -> Result<(), Failure> {
        for event in parsed {
            // Some servers of the dialect end it as they end chats.
            if self.is_stopped {
                return Ok(());
            }
            if event.data.as_ref() == b"[DONE]" {
                continue;
            }
            let from = out.len();
            let read = self.event(event.text(), out);
            started_first(&mut self.is_started, from, out);
            read?;
            if self.native {
                attach(event.data, from, out);
            }
        }
        Ok(())
    }

    fn event(&mut self, text: &str, out: &mut Vec<CompletionEvent>) -> Result<(), Failure> {
        let event: wire::StreamEvent<'_> = serde_json::from_str(text).map_err(|e| self.broken(e))?;
        let index = event.output_index.unwrap_or(0);
        match event.kind.as_str() {
            "response.created" | "response.in_progress" | "response.queued" => {
                if let Some(response) = &event.response {
                    self.start(response, out);
                }
            }
            "response.output_item.added" => {
                if let Some(item) = event.item {
                    self.begin(index, item, out)?;
                }
            }
            "response.output_item.done" => {
                if let Some(item) = event.item {
                    self.complete(index, item, out)?;
                }
            }
            "response.completed" | "response.incomplete" | "response.failed" => match event.response {
                Some(response) => self.close(response, out)?,
                None => {
                    let what = format!("the provider ended the answer with a bare {:?}", event.kind);
                    return Err(self.failed(Failure::new(Class::UpstreamProtocol, what)));
                }
            },
            _ if event.kind == "error" || event.error.is_some() => {
                return Err(self.failed(refusal::in_band(200, text.as_bytes(), false)));
            }
            _ => self.delta(index, event, out),
        }
        Ok(())
    }

    fn delta(&mut self, index: u32, event: wire::StreamEvent<'_>, out: &mut Vec<CompletionEvent>) {
        let from = out.len();
        let text = event.delta.and_then(|delta| serde_json::from_str::<String>(delta.get()).ok());
        match (event.kind.as_str(), text) {
            ("response.output_text.delta", Some(text)) => {
                self.choice.text(text, out);
                attach_logprobs(0, &in_chat_form(event.logprobs), from, out);
            }
            ("response.refusal.delta", Some(text)) => self.choice.refusal(text, out),
            ("response.reasoning_summary_text.delta" | "response.reasoning_text.delta", Some(text)) => {
                self.choice.reasoning(text, out)
            }
            ("response.reasoning_summary_part.added", _) if event.summary_index.is_some_and(|i| i > 0) => {
                self.choice.reasoning(PARAGRAPH, out);
            }
            ("response.function_call_arguments.delta" | "response.custom_tool_call_input.delta", Some(text)) => {
                let piece = ToolPiece { key: Some(index), arguments: Some(text), ..ToolPiece::default() };
                self.choice.tool(piece, out);
            }
            ("response.output_text.annotation.added", _) => {
                if let Some(annotation) = event.annotation {
                    self.choice.opaque(annotations(&[annotation]), out);
                }
            }
            _ => return, // what `.done` events repeat, and what is to come
        }
        if !self.told.contains(&index) {
            self.told.push(index);
        }
    }

    fn start(&mut self, response: &wire::Response<'_>, out: &mut Vec<CompletionEvent>) {
        if std::mem::replace(&mut self.is_started, true) {
            return;
        }
        let mut extra = Object::default();
        if let Some(tier) = response.service_tier.filter(|tier| tier.get() != "null") {
            extra.raw("service_tier", tier.get());
        }
        let extra_json = extra.finish();
        let started = Started {
            response_id: response.id.clone().unwrap_or_default(),
            created: response.created_at.map_or(0, |created| created as i64),
            served_model: response.model.clone().unwrap_or_default(),
            extra_json: if extra_json == "{}" { String::new() } else { extra_json },
            ..Started::default()
        };
        push(out, Event::Started(started));
    }

    /// An item begins: each is a part of its own.
    fn begin(&mut self, index: u32, raw: &RawValue, out: &mut Vec<CompletionEvent>) -> Result<(), Failure> {
        self.choice.close_part(out);
        let kind: wire::Kind = self.read(raw)?;
        if let Some(type_native) = tool_type(&kind.kind) {
            let item: wire::Item<'_> = self.read(raw)?;
            let (id, name) = (item.call_id, item.name);
            self.choice.tool(ToolPiece { key: Some(index), id, name, arguments: None, type_native }, out);
        }
        Ok(())
    }

    /// An item is complete: what no delta told of it is told now.
    fn complete(&mut self, index: u32, raw: &RawValue, out: &mut Vec<CompletionEvent>) -> Result<(), Failure> {
        if self.complete.contains(&index) {
            return Ok(());
        }
        self.complete.push(index);
        let is_told = self.told.contains(&index);
        if !is_told {
            self.choice.close_part(out);
        }
        let kind: wire::Kind = self.read(raw)?;
        match kind.kind.as_str() {
            "message" if is_told => {}
            "message" => {
                let item: wire::Item<'_> = self.read(raw)?;
                self.message(item.content.unwrap_or_default(), out);
            }
            "reasoning" => {
                let item: wire::Item<'_> = self.read(raw)?;
                if !is_told {
                    let texts = item.summary.into_iter().chain(item.content).flatten().filter_map(|part| part.text);
                    self.choice.reasoning(texts.collect::<Vec<_>>().join(PARAGRAPH), out);
                }
                self.choice.signature(item.encrypted_content.unwrap_or_default(), out);
            }
            kind => match tool_type(kind) {
                Some(type_native) => {
                    let item: wire::Item<'_> = self.read(raw)?;
                    let arguments = item.arguments.or(item.input).filter(|_| !is_told);
                    let (id, name) = (item.call_id, item.name);
                    self.choice.tool(ToolPiece { key: Some(index), id, name, arguments, type_native }, out);
                }
                // Tools that the provider runs itself, and items to come.
                None => self.choice.opaque(raw.get(), out),
            },
        }
        self.choice.close_part(out);
        Ok(())
    }

    fn read<'a, T: serde::Deserialize<'a>>(&self, raw: &'a RawValue) -> Result<T, Failure> {
        serde_json::from_str(raw.get()).map_err(|e| self.broken(e))
    }

    fn message(&mut self, content: Vec<wire::Content<'_>>, out: &mut Vec<CompletionEvent>) {
        for part in content {
            let from = out.len();
            self.choice.text(part.text.unwrap_or_default(), out);
            attach_logprobs(0, &in_chat_form(part.logprobs), from, out);
            self.choice.refusal(part.refusal.unwrap_or_default(), out);
            if let Some(cited) = part.annotations.filter(|cited| !cited.is_empty()) {
                self.choice.opaque(annotations(&cited), out);
            }
        }
    }

    /// The answer as it stands at its end.
    fn close(&mut self, response: wire::Response<'_>, out: &mut Vec<CompletionEvent>) -> Result<(), Failure> {
        if let Some(usage) = response.usage {
            self.usage = normal(usage.get());
        }
        let tier = response.service_tier.and_then(|raw| serde_json::from_str(raw.get()).ok()).flatten();
        if let Some(usage) = &mut self.usage {
            usage.service_tier_native = tier;
        }
        let error = response.error.filter(|error| error.get() != "null");
        if error.is_some() || matches!(response.status.as_deref(), Some("failed" | "cancelled")) {
            let said = error.map_or("{}", |error| error.get());
            return Err(self.failed(refusal::in_band(200, said.as_bytes(), false)));
        }
        self.start(&response, out);
        for (index, item) in response.output.into_iter().flatten().enumerate() {
            self.complete(index as u32, item, out)?;
        }
        let (reason, word) = match response.status.as_deref() {
            None | Some("completed") => (FinishReason::Stop, "completed".to_owned()),
            Some("incomplete") => {
                let word = response.incomplete_details.and_then(|details| details.reason).unwrap_or_default();
                let reason = match word.as_str() {
                    "max_output_tokens" => FinishReason::Length,
                    "content_filter" => FinishReason::ContentFilter,
                    _ => FinishReason::Stop,
                };
                (reason, word)
            }
            Some(_) => return Ok(()), // still at it
        };
        self.choice.finish(reason, word, None, out);
        self.is_stopped = true;
        Ok(())
    }

    fn broken(&self, error: serde_json::Error) -> Failure {
        let what = format!("the provider sent what is not its own JSON: {error}");
        self.failed(Failure::new(Class::UpstreamProtocol, what))
    }

    /// The failure, with the usage that was known before it.
    fn failed(&self, failure: Failure) -> Failure {
        Failure { usage: failure.usage.or(self.usage.clone()), ..failure }
    }

    fn whole(&mut self, body: &[u8], out: &mut Vec<CompletionEvent>) -> Result<(), Failure> {
        if body.iter().all(u8::is_ascii_whitespace) {
            return Err(Failure::new(Class::UpstreamTruncated, "the answer is empty"));
        }
        let response = serde_json::from_slice(body).map_err(|e| self.broken(e))?;
        let from = out.len();
        self.close(response, out)?;
        if self.native {
            attach(Bytes::copy_from_slice(body), from, out);
        }
        Ok(())
    }
}

impl Decoder for ResponseDecoder {
    fn feed(&mut self, bytes: &Bytes, out: &mut Vec<CompletionEvent>) -> Result<(), Failure> {
        let (parsed, framed) = self.framing.feed(bytes);
        self.events(parsed, out)?;
        before_end(self.is_stopped, framed)
    }

    fn end(&mut self, out: &mut Vec<CompletionEvent>) -> Result<(), Failure> {
        match self.framing.end() {
            (Ended::Whole(body), _) => self.whole(&body, out)?,
            (Ended::Events(parsed), framed) => {
                self.events(parsed, out).and_then(|()| before_end(self.is_stopped, framed)).map_err(cut_short)?;
            }
        }
        if !self.is_stopped {
            return Err(self.failed(ended_early()));
        }
        if let Some(usage) = self.usage.take() {
            push(out, Event::Usage(usage));
        }
        Ok(())
    }

    fn done(&self) -> bool {
        self.is_stopped
    }
}

/// Puts the provider's own bytes on the first event that was made of them.
fn attach(body: Bytes, from: usize, out: &mut Vec<CompletionEvent>) {
    let native = Some(Original { dialect: Dialect::OpenaiResponses as i32, body });
    match out.get_mut(from) {
        Some(first) => first.native = native,
        None => out.push(CompletionEvent { native, ..CompletionEvent::default() }),
    }
}

/// The contract's type of a tool call of the caller's; `None`: the item is none.
fn tool_type(kind: &str) -> Option<Option<String>> {
    match kind {
        "function_call" => Some(None),
        "custom_tool_call" => Some(Some("custom".to_owned())),
        _ => None,
    }
}

fn annotations(cited: &[&RawValue]) -> String {
    let cited: Vec<String> = cited.iter().map(|annotation| annotation.get().to_owned()).collect();
    let mut object = Object::default();
    object.raw("annotations", &array(&cited));
    object.finish()
}

/// Log probabilities in the form of chat completions; empty where there are none.
fn in_chat_form(logprobs: Option<&RawValue>) -> String {
    let Some(tokens) = logprobs.filter(|tokens| !matches!(tokens.get(), "null" | "[]")) else { return String::new() };
    let mut object = Object::default();
    object.raw("content", tokens.get());
    object.finish()
}

/// Their usage in the contract's normal form.
pub(crate) fn normal(text: &str) -> Option<Usage> {
    let usage: Option<wire::Usage> = serde_json::from_str(text).ok()?;
    let usage = usage?;
    let input = usage.input_tokens_details.unwrap_or_default();
    let output = usage.output_tokens_details.unwrap_or_default();
    Some(Usage {
        input: Some(InputUsage {
            total: usage.input_tokens,
            cached_read: input.cached_tokens.unwrap_or(0),
            cache_write_5m: input.cache_write_tokens.unwrap_or(0),
            ..InputUsage::default()
        }),
        output: Some(OutputUsage {
            total: usage.output_tokens,
            reasoning: output.reasoning_tokens.unwrap_or(0),
            ..OutputUsage::default()
        }),
        native_json: Some(text.to_owned()),
        ..Usage::default()
    })
}
