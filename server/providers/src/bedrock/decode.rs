//! Their answers to our events: one state machine for whole and streamed ones.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde_json::value::RawValue;
use tollgate_domain::{Class, Failure};
use tollgate_proto::v1::{
    CompletionEvent, FinishReason, InputUsage, OutputUsage, Started, Usage, completion_event::Event,
};

use super::{refusal, wire};
use crate::{
    ChatCall, Decoder,
    answer::{Choice, ToolPiece, push},
    anthropic,
    framing::{
        Ended, Framing, ended_early,
        event_stream::{EventStream, Frame},
    },
    json::Object,
};

/// What the body turned out to be.
enum Body {
    /// Nothing has come yet that tells; how it is framed if it is JSON.
    Unknown(Framing),
    Frames(EventStream),
    Json(Framing),
}

/// Decodes one answer.
pub(super) struct ConverseDecoder {
    body: Body,
    /// Reads answers that InvokeModel gives in Anthropic's dialect.
    claude: Box<dyn Decoder>,
    is_claudes: bool,
    is_started: bool,
    choice: Choice,
    /// Blocks of tools that Bedrock runs itself: no calls of ours.
    hidden: Vec<u32>,
    usage: Option<Usage>,
    /// The answer ended with a word that makes it unusable; told once its usage has come.
    spoiled: Option<Failure>,
    is_done: bool,
}

impl ConverseDecoder {
    pub(super) fn new(call: &ChatCall<'_>) -> Self {
        Self {
            body: Body::Unknown(Framing::new(call.mode)),
            claude: anthropic::decoder(call),
            is_claudes: false,
            is_started: false,
            choice: Choice::new(0),
            hidden: Vec::new(),
            usage: None,
            spoiled: None,
            is_done: false,
        }
    }

    fn frame(&mut self, frame: Frame, out: &mut Vec<CompletionEvent>) -> Result<(), Failure> {
        match frame {
            // An answer is in one dialect to its end.
            Frame::Event { name, payload } if name == "chunk" && !self.is_started => {
                self.is_claudes = true;
                self.claude.feed(&unpacked(&payload)?, out)
            }
            Frame::Event { .. } if self.is_claudes => Ok(()),
            Frame::Event { name, payload } => match self.event(&name, &payload, out) {
                // Garbage behind the answer's end harms nothing.
                Err(failure) if failure.class == Class::UpstreamProtocol && self.is_complete() => Ok(()),
                read => read,
            },
            Frame::Exception { name, payload } => Err(self.failed(refusal::exception(&name, &payload))),
            Frame::Error { code, message } => Err(self.failed(refusal::in_band(&code, &message))),
        }
    }

    fn event(&mut self, name: &str, payload: &[u8], out: &mut Vec<CompletionEvent>) -> Result<(), Failure> {
        let event: wire::Event<'_> = serde_json::from_slice(payload).map_err(broken)?;
        self.start(out);
        let block = event.content_block_index.unwrap_or(0);
        match name {
            "contentBlockStart" => event.start.map_or(Ok(()), |start| self.block_start(block, start, out)),
            "contentBlockDelta" => event.delta.map_or(Ok(()), |delta| self.delta(block, delta, out)),
            "contentBlockStop" => {
                self.choice.close_part(out);
                Ok(())
            }
            "messageStop" => {
                self.finish(event.stop_reason.unwrap_or_default(), out);
                Ok(())
            }
            "metadata" => {
                self.count(event.usage, event.service_tier)?;
                self.is_done = self.choice.is_finished();
                self.spoiled.take().map_or(Ok(()), |failure| Err(self.failed(failure)))
            }
            _ => Ok(()), // messageStart, and what is to come
        }
    }

    fn start(&mut self, out: &mut Vec<CompletionEvent>) {
        if !std::mem::replace(&mut self.is_started, true) {
            // They give an answer no id, and do not say which model it is from.
            push(out, Event::Started(Started::default()));
        }
    }

    fn block_start(&mut self, block: u32, start: &RawValue, out: &mut Vec<CompletionEvent>) -> Result<(), Failure> {
        let begun: wire::Start<'_> = serde_json::from_str(start.get()).map_err(broken)?;
        match begun.tool_use {
            Some(call) if call.is_callers() => {
                let piece =
                    ToolPiece { key: Some(block), id: call.tool_use_id, name: call.name, ..ToolPiece::default() };
                self.choice.tool(piece, out);
            }
            Some(_) => {
                self.hidden.push(block);
                self.choice.opaque(start.get(), out);
            }
            None if start.get() == "{}" => {}
            None => self.choice.opaque(start.get(), out),
        }
        Ok(())
    }

    fn delta(&mut self, block: u32, delta: &RawValue, out: &mut Vec<CompletionEvent>) -> Result<(), Failure> {
        let piece: wire::Delta = serde_json::from_str(delta.get()).map_err(broken)?;
        if let Some(text) = piece.text {
            self.choice.text(text, out);
        } else if let Some(reasoning) = piece.reasoning_content {
            self.choice.reasoning(reasoning.text.unwrap_or_default(), out);
            self.choice.signature(reasoning.signature.unwrap_or_default(), out);
            if let Some(data) = reasoning.redacted_content {
                self.choice.redacted(data, out);
            }
        } else if let Some(call) = piece.tool_use.filter(|_| !self.hidden.contains(&block)) {
            self.choice.tool(ToolPiece { key: Some(block), arguments: call.input, ..ToolPiece::default() }, out);
        } else if delta.get() != "{}" {
            self.choice.opaque(delta.get(), out);
        }
        Ok(())
    }

    fn block(&mut self, text: &RawValue, out: &mut Vec<CompletionEvent>) -> Result<(), Failure> {
        let block: wire::Block<'_> = serde_json::from_str(text.get()).map_err(broken)?;
        if let Some(text) = block.text {
            self.choice.text(text, out);
        } else if let Some(reasoning) = block.reasoning_content {
            if let Some(said) = reasoning.reasoning_text {
                self.choice.reasoning(said.text.unwrap_or_default(), out);
                self.choice.signature(said.signature.unwrap_or_default(), out);
            }
            if let Some(data) = reasoning.redacted_content {
                self.choice.redacted(data, out);
            }
        } else if let Some(call) = block.tool_use.filter(wire::ToolUse::is_callers) {
            let input = call.input.map_or_else(String::new, |input| input.get().to_owned());
            self.choice.whole_tool(call.tool_use_id, call.name.unwrap_or_default(), input, out);
        } else if let Some(cited) = block.citations_content {
            for piece in cited.content {
                self.choice.text(piece.text.unwrap_or_default(), out);
            }
            for citation in cited.citations {
                let mut object = Object::default();
                object.raw("citation", citation.get());
                self.choice.opaque(object.finish(), out);
            }
        } else {
            self.choice.opaque(text.get(), out);
        }
        self.choice.close_part(out);
        Ok(())
    }

    fn finish(&mut self, word: String, out: &mut Vec<CompletionEvent>) {
        let reason = match word.as_str() {
            "max_tokens" | "model_context_window_exceeded" => FinishReason::Length,
            "tool_use" => FinishReason::ToolCalls,
            "guardrail_intervened" | "content_filtered" => FinishReason::ContentFilter,
            "malformed_model_output" | "malformed_tool_use" => {
                let message = format!("the provider ended the answer with {word:?}");
                self.spoiled = Some(Failure { native_code: word, ..Failure::new(Class::ServerError, message) });
                return;
            }
            _ => FinishReason::Stop,
        };
        self.choice.finish(reason, word, None, out);
    }

    fn count(&mut self, usage: Option<&RawValue>, tier: Option<wire::ServiceTier>) -> Result<(), Failure> {
        if let Some(raw) = usage {
            let told: wire::Usage = serde_json::from_str(raw.get()).map_err(broken)?;
            let service_tier_native = tier.and_then(|tier| tier.kind);
            self.usage = Some(Usage { service_tier_native, ..normal(&told, raw.get()) });
        }
        Ok(())
    }

    fn is_complete(&self) -> bool {
        if self.is_claudes { self.claude.done() } else { self.choice.is_finished() }
    }

    /// The failure, with the usage that was known before it.
    fn failed(&mut self, failure: Failure) -> Failure {
        let known = match self.is_claudes {
            true => self.claude.end(&mut Vec::new()).err().and_then(|failure| failure.usage),
            false => self.usage.take(),
        };
        Failure { usage: failure.usage.or(known), ..failure }
    }

    fn whole(&mut self, body: Bytes, out: &mut Vec<CompletionEvent>) -> Result<(), Failure> {
        if body.iter().all(u8::is_ascii_whitespace) {
            return Ok(()); // told as an answer that has not ended
        }
        let answer: wire::Answer<'_> = serde_json::from_slice(&body).map_err(broken)?;
        let Some(output) = answer.output else {
            if answer.kind.as_deref() == Some("message") {
                self.is_claudes = true;
                return self.claude.feed(&body, out);
            }
            return Err(refusal::exception("", &body));
        };
        self.start(out);
        self.count(answer.usage, answer.service_tier)?;
        for block in output.message.map(|message| message.content).unwrap_or_default() {
            self.block(block, out)?;
        }
        if let Some(word) = answer.stop_reason {
            self.finish(word, out);
        }
        self.is_done = true;
        Ok(())
    }
}

impl Decoder for ConverseDecoder {
    fn feed(&mut self, bytes: &Bytes, out: &mut Vec<CompletionEvent>) -> Result<(), Failure> {
        if let Body::Unknown(framing) = &mut self.body
            && let Some(first) = bytes.first()
        {
            // A frame begins with the high byte of its length.
            self.body = match first {
                0 | 1 => Body::Frames(EventStream::default()),
                _ => Body::Json(std::mem::replace(framing, Framing::Unknown)),
            };
        }
        match &mut self.body {
            Body::Unknown(_) => Ok(()),
            Body::Json(framing) => framing.feed(bytes).1,
            Body::Frames(stream) => {
                let (frames, framed) = stream.feed(bytes);
                for frame in frames {
                    if self.done() {
                        return Ok(());
                    }
                    self.frame(frame, out)?;
                }
                framed.or_else(|failure| if self.is_complete() { Ok(()) } else { Err(self.failed(failure)) })
            }
        }
    }

    fn end(&mut self, out: &mut Vec<CompletionEvent>) -> Result<(), Failure> {
        if let Body::Json(framing) = &mut self.body
            && let (Ended::Whole(body), _) = framing.end()
        {
            self.whole(body, out)?;
        }
        if self.is_claudes {
            return self.claude.end(out);
        }
        if let Some(failure) = self.spoiled.take() {
            return Err(self.failed(failure));
        }
        if !self.choice.is_finished() {
            return Err(self.failed(ended_early()));
        }
        if let Some(usage) = self.usage.take() {
            push(out, Event::Usage(usage));
        }
        Ok(())
    }

    fn done(&self) -> bool {
        if self.is_claudes { self.claude.done() } else { self.is_done }
    }
}

/// In the normal form: cached tokens are part of the input, which they are not with this provider.
fn normal(usage: &wire::Usage, text: &str) -> Usage {
    let read = usage.cache_read_input_tokens.or(usage.cache_read_input_token_count).unwrap_or(0);
    let written = usage.cache_write_input_tokens.or(usage.cache_write_input_token_count).unwrap_or(0);
    let lasting = usage.cache_details.iter().flatten().filter(|detail| detail.ttl.as_deref() == Some("1h"));
    let one_hour = lasting.filter_map(|detail| detail.input_tokens).fold(0u64, u64::saturating_add).min(written);
    Usage {
        input: Some(InputUsage {
            total: usage.input_tokens.unwrap_or(0).saturating_add(read).saturating_add(written),
            cached_read: read,
            cache_write_5m: written - one_hour,
            cache_write_1h: one_hour,
            ..InputUsage::default()
        }),
        output: Some(OutputUsage { total: usage.output_tokens.unwrap_or(0), ..OutputUsage::default() }),
        native_json: Some(text.to_owned()),
        ..Usage::default()
    }
}

/// An event in the model's own dialect, framed as that dialect frames it.
fn unpacked(payload: &[u8]) -> Result<Bytes, Failure> {
    let chunk: wire::Chunk = serde_json::from_slice(payload).map_err(broken)?;
    let json = STANDARD.decode(chunk.bytes.unwrap_or_default()).map_err(broken)?;
    let mut event = Vec::with_capacity(json.len() + 8);
    for line in json.split(|byte| *byte == b'\n') {
        event.extend_from_slice(b"data: ");
        event.extend_from_slice(line);
        event.push(b'\n');
    }
    event.push(b'\n');
    Ok(event.into())
}

fn broken(error: impl std::fmt::Display) -> Failure {
    Failure::new(Class::UpstreamProtocol, format!("the provider sent what is not its own JSON: {error}"))
}
