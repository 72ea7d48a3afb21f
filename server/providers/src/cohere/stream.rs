//! Their answers to our events: one state machine for whole and streamed ones.

use bytes::Bytes;
use serde_json::{json, value::RawValue};
use tollgate_domain::{Class, Failure};
use tollgate_proto::v1::{
    CompletionEvent, FinishReason, InputUsage, OutputUsage, Started, Usage, completion_event::Event,
};

use super::wire::{self, count};
use crate::{
    Decoder, Mode,
    answer::{Choice, ToolPiece, attach_logprobs, push, started_first},
    framing::{Ended, Framing, before_end, cut_short, ended_early, sse::SseEvent},
    json::Object,
    refusal,
};

/// Decodes one answer.
pub(super) struct ChatDecoder {
    framing: Framing,
    is_started: bool,
    choice: Choice,
    usage: Option<Usage>,
    done: bool,
}

impl ChatDecoder {
    pub(super) fn new(mode: Mode) -> Self {
        Self { framing: Framing::new(mode), is_started: false, choice: Choice::new(0), usage: None, done: false }
    }

    fn events(&mut self, parsed: Vec<SseEvent>, out: &mut Vec<CompletionEvent>) -> Result<(), Failure> {
        for event in parsed {
            if self.done || event.data.as_ref() == b"[DONE]" {
                self.done = true;
                return Ok(());
            }
            let from = out.len();
            let read = self.event(event.text(), out);
            started_first(&mut self.is_started, from, out);
            read?;
        }
        Ok(())
    }

    fn event(&mut self, text: &str, out: &mut Vec<CompletionEvent>) -> Result<(), Failure> {
        let event: wire::StreamEvent<'_> = read(text)?;
        let Some(kind) = event.kind else { return Err(refusal::in_band(200, text.as_bytes(), false)) };
        let delta = event.delta.unwrap_or_default();
        let message = delta.message.unwrap_or_default();
        match kind.as_str() {
            "message-start" => self.start(event.id, out),
            "content-start" | "content-delta" => {
                let from = out.len();
                if let Some(content) = object::<wire::Content>(message.content)? {
                    self.content(content, out);
                }
                attach_logprobs(0, &logprobs(event.logprobs), from, out);
            }
            "content-end" => self.choice.close_part(out),
            "tool-plan-delta" => self.choice.reasoning(message.tool_plan.unwrap_or_default(), out),
            "tool-call-start" | "tool-call-delta" => {
                if let Some(call) = object::<wire::ToolCall>(message.tool_calls)? {
                    self.choice.tool(piece(event.index, call), out);
                }
            }
            "citation-start" => {
                if let Some(citation) = message.citations.filter(|c| c.get().starts_with('{')) {
                    self.choice.opaque(cited(citation), out);
                }
            }
            "message-end" => {
                self.done = true;
                self.finish(delta.finish_reason, delta.error, delta.usage, out)?;
            }
            _ => {} // ends of calls and citations, and what is to come
        }
        Ok(())
    }

    fn start(&mut self, id: Option<String>, out: &mut Vec<CompletionEvent>) {
        if !std::mem::replace(&mut self.is_started, true) {
            push(out, Event::Started(Started { response_id: id.unwrap_or_default(), ..Started::default() }));
        }
    }

    fn content(&mut self, content: wire::Content, out: &mut Vec<CompletionEvent>) {
        self.choice.reasoning(content.thinking.unwrap_or_default(), out);
        self.choice.text(content.text.unwrap_or_default(), out);
    }

    fn finish(
        &mut self,
        word: Option<String>,
        error: Option<&RawValue>,
        usage: Option<&RawValue>,
        out: &mut Vec<CompletionEvent>,
    ) -> Result<(), Failure> {
        self.usage = usage.and_then(|usage| normal(usage.get()));
        let word = word.unwrap_or_default();
        let error = error.filter(|e| e.get() != "null");
        if error.is_some() || matches!(word.as_str(), "ERROR" | "TIMEOUT") {
            return Err(self.failed(&word, error));
        }
        let reason = match word.as_str() {
            "MAX_TOKENS" => FinishReason::Length,
            "TOOL_CALL" => FinishReason::ToolCalls,
            "ERROR_TOXIC" => FinishReason::ContentFilter,
            _ => FinishReason::Stop,
        };
        self.choice.finish(reason, word, None, out);
        Ok(())
    }

    /// The provider gave up, and says what it counted until then.
    fn failed(&mut self, word: &str, error: Option<&RawValue>) -> Failure {
        let told = match error.map(|e| e.get()) {
            Some(error) => serde_json::from_str(error).unwrap_or_else(|_| error.to_owned()),
            None => format!("the provider ended the answer with {word:?}"),
        };
        let failure = refusal::in_band(200, json!({ "message": told }).to_string().as_bytes(), false);
        let class = if word == "TIMEOUT" { Class::Timeout } else { failure.class };
        Failure { class, usage: self.usage.take(), ..failure }
    }

    fn whole(&mut self, body: &[u8], out: &mut Vec<CompletionEvent>) -> Result<(), Failure> {
        if body.iter().all(u8::is_ascii_whitespace) {
            return Err(Failure::new(Class::UpstreamTruncated, "the answer is empty"));
        }
        let text = std::str::from_utf8(body).map_err(broken)?;
        let answer: wire::Answer<'_> = read(text)?;
        let Some(message) = object::<wire::Message<'_>>(answer.message)? else {
            return Err(refusal::in_band(200, body, false));
        };
        self.done = true;
        self.start(answer.id, out);
        let from = out.len();
        for content in message.content.unwrap_or_default() {
            self.content(content, out);
        }
        attach_logprobs(0, &logprobs(answer.logprobs), from, out);
        if let Some(plan) = message.tool_plan {
            self.choice.close_part(out);
            self.choice.reasoning(plan, out);
        }
        for call in message.tool_calls.unwrap_or_default() {
            self.choice.tool(piece(None, call), out);
        }
        for citation in message.citations.unwrap_or_default() {
            self.choice.opaque(cited(citation), out);
        }
        self.finish(answer.finish_reason, None, answer.usage, out)
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
            (Ended::Whole(body), _) => self.whole(&body, out)?,
            (Ended::Events(parsed), framed) => {
                self.events(parsed, out).and_then(|()| before_end(self.done, framed)).map_err(cut_short)?;
            }
        }
        if !self.choice.is_finished() {
            return Err(ended_early());
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

fn broken(error: impl std::fmt::Display) -> Failure {
    Failure::new(Class::UpstreamProtocol, format!("the provider sent what is not its own JSON: {error}"))
}

fn read<'a, T: serde::Deserialize<'a>>(text: &'a str) -> Result<T, Failure> {
    serde_json::from_str(text).map_err(broken)
}

/// A member that is an object; lists, which open a stream, are empty.
fn object<'a, T: serde::Deserialize<'a>>(member: Option<&'a RawValue>) -> Result<Option<T>, Failure> {
    member.map(RawValue::get).filter(|json| json.starts_with('{')).map(read).transpose()
}

fn piece(key: Option<u32>, call: wire::ToolCall) -> ToolPiece {
    let (name, arguments) = call.function.map_or((None, None), |f| (f.name, f.arguments));
    ToolPiece { key, id: call.id, name, arguments, type_native: None }
}

fn cited(citation: &RawValue) -> String {
    let mut object = Object::default();
    object.raw("citation", citation.get());
    object.finish()
}

/// In OpenAI's form: one or a list of stretches of text; a stretch of several tokens is as likely as all of them.
fn logprobs(raw: Option<&RawValue>) -> String {
    let Some(json) = raw.map(RawValue::get).filter(|json| *json != "null") else { return String::new() };
    let one = |json| serde_json::from_str::<wire::Logprobs>(json).map(|item| vec![item]);
    let items = serde_json::from_str::<Vec<wire::Logprobs>>(json).or_else(|_| one(json)).unwrap_or_default();
    let content: Vec<_> = items
        .into_iter()
        .map(|item| {
            let likely: f64 = item.logprobs.unwrap_or_default().iter().sum();
            json!({"token": item.text.unwrap_or_default(), "logprob": likely, "bytes": null, "top_logprobs": []})
        })
        .collect();
    if content.is_empty() { String::new() } else { json!({ "content": content }).to_string() }
}

/// Their usage in the contract's normal form: what the model read and wrote, not what of it is charged.
fn normal(text: &str) -> Option<Usage> {
    let usage: wire::Usage = serde_json::from_str(text).ok()?;
    let tokens = usage.tokens.or(usage.billed_units)?;
    Some(Usage {
        input: Some(InputUsage {
            total: count(tokens.input_tokens),
            cached_read: count(usage.cached_tokens),
            ..InputUsage::default()
        }),
        output: Some(OutputUsage { total: count(tokens.output_tokens), ..OutputUsage::default() }),
        native_json: Some(text.to_owned()),
        ..Usage::default()
    })
}
