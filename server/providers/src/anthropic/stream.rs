//! Their answers to our events: one state machine for whole and streamed ones.

use bytes::Bytes;
use tollgate_domain::{Class, Failure};
use tollgate_proto::v1::{
    CompletionEvent, Dialect, FinishReason, Finished, InputUsage, Original, OutputUsage, PartDone, Started,
    ToolCallStart, Usage, completion_event::Event, delta::Piece,
};

use super::wire;
use crate::{
    ChatCall, Decoder,
    answer::{push, push_piece, started_first},
    framing::{Ended, Framing, before_end, cut_short, ended_early, sse::SseEvent},
    json::Object,
    refusal,
};

/// A block of content that is being told.
struct Block {
    index: u32,
    part: u32,
    /// A tool call: the input of its start, and whether any came after it.
    tool: Option<(String, bool)>,
}

/// Decodes one answer.
pub(super) struct MessageDecoder {
    framing: Framing,
    is_native: bool,
    id: Option<String>,
    is_started: bool,
    open: Option<Block>,
    parts: u32,
    has_tools: bool,
    usage: wire::Usage,
    native_usage: Option<String>,
    finished: bool,
    stopped: bool,
}

impl MessageDecoder {
    pub(super) fn new(call: &ChatCall<'_>) -> Self {
        Self {
            framing: Framing::new(call.mode),
            is_native: call.want_native == Dialect::AnthropicMessages,
            id: None,
            is_started: false,
            open: None,
            parts: 0,
            has_tools: false,
            usage: wire::Usage::default(),
            native_usage: None,
            finished: false,
            stopped: false,
        }
    }

    fn events(&mut self, parsed: Vec<SseEvent>, out: &mut Vec<CompletionEvent>) -> Result<(), Failure> {
        for event in parsed {
            if self.stopped {
                return Ok(());
            }
            let from = out.len();
            let read = self.event(event.text(), out);
            started_first(&mut self.is_started, from, out);
            if read? && self.is_native {
                attach_native(event.data, from, out);
            }
        }
        Ok(())
    }

    /// Tells whether the event is part of the answer.
    fn event(&mut self, text: &str, out: &mut Vec<CompletionEvent>) -> Result<bool, Failure> {
        let event: wire::StreamEvent<'_> = serde_json::from_str(text).map_err(|e| self.broken(e))?;
        match event.kind.as_str() {
            "message_start" => {
                let Some(message) = event.message else { return Ok(false) };
                if self.is_started && self.id == message.id {
                    return Ok(false); // told twice
                }
                if self.is_started {
                    let what = "the provider began another answer in the middle of this one";
                    return Err(self.failed(Failure::new(Class::UpstreamProtocol, what)));
                }
                self.count(message.usage)?;
                self.start(message.id, message.model, out);
            }
            // What follows its end is none of the answer.
            "content_block_start" | "content_block_delta" if self.finished => return Ok(false),
            "content_block_start" => {
                if let Some(block) = event.content_block {
                    self.open_block(event.index.unwrap_or(self.parts), block.get(), out)?;
                }
            }
            "content_block_delta" => self.delta(event.index, event.delta, out),
            "content_block_stop" => self.close_block(out),
            "message_delta" => {
                self.count(event.usage)?;
                if let Some(delta) = event.delta.filter(|d| d.stop_reason.is_some()) {
                    self.finish(delta.stop_reason.unwrap_or_default(), delta.stop_sequence, out);
                }
            }
            "message_stop" => self.stopped = true,
            "error" => return Err(self.failed(refusal::in_band(200, text.as_bytes(), false))),
            _ => {} // ping, and what is to come
        }
        Ok(true)
    }

    fn start(&mut self, id: Option<String>, model: Option<String>, out: &mut Vec<CompletionEvent>) {
        self.id.clone_from(&id);
        self.is_started = true;
        let started = Started {
            response_id: id.unwrap_or_default(),
            served_model: model.unwrap_or_default(),
            ..Started::default()
        };
        push(out, Event::Started(started));
    }

    fn open_block(&mut self, index: u32, text: &str, out: &mut Vec<CompletionEvent>) -> Result<(), Failure> {
        self.close_block(out);
        let block: wire::Block<'_> = serde_json::from_str(text).map_err(|e| self.broken(e))?;
        let part = self.parts;
        self.parts += 1;
        let mut open = Block { index, part, tool: None };
        let mut say = |piece| push_piece(0, part, piece, out);
        match block.kind.as_str() {
            "text" => {
                if let Some(text) = block.text.filter(|t| !t.is_empty()) {
                    say(Piece::Text(text));
                }
                for citation in block.citations.into_iter().flatten() {
                    say(Piece::OpaqueJson(cited(citation.get())));
                }
            }
            "thinking" => {
                if let Some(text) = block.thinking.filter(|t| !t.is_empty()) {
                    say(Piece::Reasoning(text));
                }
                if let Some(signature) = block.signature.filter(|s| !s.is_empty()) {
                    say(Piece::ReasoningSignature(signature));
                }
            }
            "redacted_thinking" => say(Piece::ReasoningRedacted(block.data.unwrap_or_default())),
            "tool_use" => {
                self.has_tools = true;
                let start = ToolCallStart {
                    id: block.id.unwrap_or_default(),
                    name: block.name.unwrap_or_default(),
                    type_native: String::new(),
                };
                say(Piece::ToolCallStart(start));
                // `{}` here is a placeholder for what the deltas bring.
                let input = block.input.map_or("{}", |i| i.get()).to_owned();
                open.tool = Some((input, false));
            }
            // Tools that the provider runs itself, and blocks to come.
            _ => say(Piece::OpaqueJson(text.to_owned())),
        }
        self.open = Some(open);
        Ok(())
    }

    fn delta(&mut self, index: Option<u32>, delta: Option<wire::Delta<'_>>, out: &mut Vec<CompletionEvent>) {
        let (Some(open), Some(delta)) = (&mut self.open, delta) else { return };
        if index.is_some_and(|i| i != open.index) {
            return;
        }
        let part = open.part;
        let piece = match delta.kind.as_deref() {
            Some("text_delta") => delta.text.filter(|t| !t.is_empty()).map(Piece::Text),
            Some("thinking_delta") => delta.thinking.filter(|t| !t.is_empty()).map(Piece::Reasoning),
            Some("signature_delta") => delta.signature.map(Piece::ReasoningSignature),
            Some("input_json_delta") => {
                let json = delta.partial_json.filter(|j| !j.is_empty());
                // Blocks that are no call of ours have no arguments to tell.
                open.tool.as_mut().zip(json).map(|((_, came), json)| {
                    *came = true;
                    Piece::ToolArguments(json)
                })
            }
            Some("citations_delta") => delta.citation.map(|c| Piece::OpaqueJson(cited(c.get()))),
            _ => None,
        };
        if let Some(piece) = piece {
            push_piece(0, part, piece, out);
        }
    }

    fn close_block(&mut self, out: &mut Vec<CompletionEvent>) {
        let Some(open) = self.open.take() else { return };
        if let Some((input, false)) = open.tool {
            push_piece(0, open.part, Piece::ToolArguments(input), out);
        }
        push(out, Event::PartDone(PartDone { choice: 0, part: open.part }));
    }

    fn finish(&mut self, word: String, stop_sequence: Option<String>, out: &mut Vec<CompletionEvent>) {
        if std::mem::replace(&mut self.finished, true) {
            return;
        }
        self.close_block(out);
        let reason = match word.as_str() {
            "max_tokens" | "model_context_window_exceeded" => FinishReason::Length,
            "tool_use" => FinishReason::ToolCalls,
            "refusal" => FinishReason::ContentFilter,
            _ if self.has_tools && word == "end_turn" => FinishReason::ToolCalls,
            _ => FinishReason::Stop,
        };
        let finished = Finished { choice: 0, reason: reason as i32, native_reason: word, stop_sequence };
        push(out, Event::Finished(finished));
    }

    /// Counts are cumulative; a later one wins, whatever it restates.
    fn count(&mut self, usage: Option<&serde_json::value::RawValue>) -> Result<(), Failure> {
        let Some(raw) = usage else { return Ok(()) };
        let new: wire::Usage = serde_json::from_str(raw.get()).map_err(|e| self.broken(e))?;
        let known = &mut self.usage;
        known.input_tokens = new.input_tokens.or(known.input_tokens);
        known.output_tokens = new.output_tokens.or(known.output_tokens);
        known.cache_creation_input_tokens = new.cache_creation_input_tokens.or(known.cache_creation_input_tokens);
        known.cache_read_input_tokens = new.cache_read_input_tokens.or(known.cache_read_input_tokens);
        known.cache_creation = new.cache_creation.or(known.cache_creation.take());
        known.output_tokens_details = new.output_tokens_details.or(known.output_tokens_details.take());
        known.service_tier = new.service_tier.or(known.service_tier.take());
        self.native_usage = Some(raw.get().to_owned());
        Ok(())
    }

    /// In the normal form: cached tokens are part of the input, which they are not with this provider.
    fn normal(&self) -> Option<Usage> {
        let usage = &self.usage;
        let output = usage.output_tokens?;
        let written = usage.cache_creation_input_tokens.unwrap_or(0);
        let read = usage.cache_read_input_tokens.unwrap_or(0);
        let one_hour =
            usage.cache_creation.as_ref().and_then(|c| c.ephemeral_1h_input_tokens).unwrap_or(0).min(written);
        let five_minutes = match usage.cache_creation.as_ref().and_then(|c| c.ephemeral_5m_input_tokens) {
            Some(n) if n.checked_add(one_hour) == Some(written) => n,
            _ => written - one_hour,
        };
        Some(Usage {
            input: Some(InputUsage {
                total: usage.input_tokens.unwrap_or(0).saturating_add(written).saturating_add(read),
                cached_read: read,
                cache_write_5m: five_minutes,
                cache_write_1h: one_hour,
                ..InputUsage::default()
            }),
            output: Some(OutputUsage {
                total: output,
                reasoning: usage.output_tokens_details.as_ref().and_then(|d| d.thinking_tokens).unwrap_or(0),
                ..OutputUsage::default()
            }),
            service_tier_native: usage.service_tier.clone(),
            native_json: self.native_usage.clone(),
            ..Usage::default()
        })
    }

    fn broken(&self, error: serde_json::Error) -> Failure {
        let what = format!("the provider sent what is not its own JSON: {error}");
        self.failed(Failure::new(Class::UpstreamProtocol, what))
    }

    /// The failure, with the usage that was known before it: the input is final, the output only a beginning.
    fn failed(&self, failure: Failure) -> Failure {
        let known = self.normal().map(|usage| Usage { estimated: !self.finished, ..usage });
        Failure { usage: failure.usage.or(known), ..failure }
    }

    fn whole(&mut self, body: &Bytes, out: &mut Vec<CompletionEvent>) -> Result<(), Failure> {
        let from = out.len();
        if body.iter().all(u8::is_ascii_whitespace) {
            return Err(Failure::new(Class::UpstreamTruncated, "the answer is empty"));
        }
        let message: wire::Message<'_> = serde_json::from_slice(body).map_err(|e| self.broken(e))?;
        if message.kind.as_deref() == Some("error") {
            return Err(self.failed(refusal::in_band(200, body, false)));
        }
        self.count(message.usage)?;
        self.start(message.id, message.model, out);
        for (index, block) in message.content.iter().enumerate() {
            self.open_block(index as u32, block.get(), out)?;
        }
        self.close_block(out);
        if let Some(word) = message.stop_reason {
            self.finish(word, message.stop_sequence, out);
        }
        if self.is_native {
            attach_native(body.clone(), from, out);
        }
        self.stopped = true;
        Ok(())
    }
}

/// The provider's own bytes go with the first event that was read from them, or alone.
fn attach_native(body: Bytes, from: usize, out: &mut Vec<CompletionEvent>) {
    let native = Some(Original { dialect: Dialect::AnthropicMessages as i32, body });
    match out.get_mut(from) {
        Some(first) => first.native = native,
        None => out.push(CompletionEvent { native, ..CompletionEvent::default() }),
    }
}

impl Decoder for MessageDecoder {
    fn feed(&mut self, bytes: &Bytes, out: &mut Vec<CompletionEvent>) -> Result<(), Failure> {
        let (parsed, framed) = self.framing.feed(bytes);
        self.events(parsed, out)?;
        before_end(self.stopped, framed)
    }

    fn end(&mut self, out: &mut Vec<CompletionEvent>) -> Result<(), Failure> {
        match self.framing.end() {
            (Ended::Whole(body), _) => self.whole(&body, out)?,
            (Ended::Events(parsed), framed) => {
                self.events(parsed, out).and_then(|()| before_end(self.stopped, framed)).map_err(cut_short)?;
            }
        }
        if !self.finished {
            return Err(self.failed(ended_early()));
        }
        if let Some(usage) = self.normal() {
            push(out, Event::Usage(usage));
        }
        Ok(())
    }

    fn done(&self) -> bool {
        self.stopped
    }
}

fn cited(citation: &str) -> String {
    let mut object = Object::default();
    object.raw("citation", citation);
    object.finish()
}
