//! Their answers to our events: one state machine for whole and streamed ones.

use bytes::Bytes;
use tollgate_domain::{Class, Failure};
use tollgate_proto::v1::{CompletionEvent, FinishReason, Started, Usage, completion_event::Event};

use super::{logprobs, pieces::PiecedCall, usage::Counts, wire};
use crate::{
    Decoder, Mode,
    answer::{Choice, attach_logprobs, push},
    framing::{Ended, Framing, cut_short, ended_early, sse::SseEvent},
    json::Object,
    refusal,
};

/// Decodes one answer.
pub(super) struct ContentDecoder {
    framing: Framing,
    is_started: bool,
    candidates: Vec<Candidate>,
    counts: Counts,
}

/// One candidate as it grows.
struct Candidate {
    choice: Choice,
    pieced: Option<PiecedCall>,
    /// Whether it said anything beside reasoning.
    has_content: bool,
}

impl ContentDecoder {
    pub(super) fn new(mode: Mode) -> Self {
        Self { framing: Framing::new(mode), is_started: false, candidates: Vec::new(), counts: Counts::default() }
    }

    fn events(&mut self, parsed: Vec<SseEvent>, out: &mut Vec<CompletionEvent>) -> Result<(), Failure> {
        for event in parsed {
            match self.response(event.text(), out) {
                // Garbage behind the answer's end harms nothing.
                Err(failure) if failure.class == Class::UpstreamProtocol && self.is_complete() => {}
                read => read?,
            }
        }
        Ok(())
    }

    fn response(&mut self, text: &str, out: &mut Vec<CompletionEvent>) -> Result<(), Failure> {
        let response: wire::Response<'_> = serde_json::from_str(text).map_err(|e| self.broken(e))?;
        if let Some(raw) = response.usage_metadata {
            self.counts.take(raw.get()).map_err(|e| self.broken(e))?;
        }
        if response.error.is_some() {
            return Err(self.failed(refusal::in_band(200, text.as_bytes(), false)));
        }
        let candidates = response.candidates.unwrap_or_default();
        let blocked = response.prompt_feedback.and_then(|f| f.block_reason).filter(|_| candidates.is_empty());
        if !self.is_started && (blocked.is_some() || !candidates.is_empty()) {
            self.is_started = true;
            let started = Started {
                response_id: response.response_id.unwrap_or_default(),
                served_model: response.model_version.unwrap_or_default(),
                ..Started::default()
            };
            push(out, Event::Started(started));
        }
        for candidate in candidates {
            self.candidate(candidate, out)?;
        }
        if let Some(reason) = blocked {
            self.state(0).choice.finish(FinishReason::ContentFilter, reason, None, out);
        }
        Ok(())
    }

    fn candidate(&mut self, told: wire::Candidate<'_>, out: &mut Vec<CompletionEvent>) -> Result<(), Failure> {
        let index = told.index.unwrap_or(0).min(1_023);
        if self.state(index).choice.is_finished() {
            return Ok(()); // the first reason wins, and what follows it is none of the answer
        }
        let from = out.len();
        for raw in told.content.and_then(|c| c.parts).unwrap_or_default() {
            let part: wire::Part<'_> = serde_json::from_str(raw.get()).map_err(|e| self.broken(e))?;
            self.state(index).part(part, raw.get(), out);
        }
        let metadata = [
            ("groundingMetadata", told.grounding_metadata),
            ("citationMetadata", told.citation_metadata),
            ("urlContextMetadata", told.url_context_metadata),
        ];
        for (name, raw) in metadata {
            if let Some(raw) = raw.filter(|raw| raw.get() != "{}") {
                let mut object = Object::default();
                object.raw(name, raw.get());
                self.state(index).choice.opaque(object.finish(), out);
            }
        }
        if let Some(result) = told.logprobs_result {
            attach_logprobs(index, &logprobs::normal(&result), from, out);
        }
        match told.finish_reason {
            Some(word) if word != "FINISH_REASON_UNSPECIFIED" => self.finish(index, word, told.finish_message, out),
            _ => Ok(()),
        }
    }

    fn finish(
        &mut self,
        index: u32,
        word: String,
        message: Option<String>,
        out: &mut Vec<CompletionEvent>,
    ) -> Result<(), Failure> {
        let usage = self.counts.normal();
        let state = self.state(index);
        if let Some(call) = state.pieced.take() {
            state.call(call, out);
        }
        let reason = match word.as_str() {
            "MAX_TOKENS" | "CONTINUATION" => FinishReason::Length,
            "SAFETY" | "RECITATION" | "LANGUAGE" | "BLOCKLIST" | "PROHIBITED_CONTENT" | "SPII" | "MODEL_ARMOR"
            | "ESCALATION" | "OTHER" => FinishReason::ContentFilter,
            word if word.starts_with("IMAGE_") => FinishReason::ContentFilter,
            // The model's own slips: a second try may pass.
            "MALFORMED_FUNCTION_CALL"
            | "MALFORMED_RESPONSE"
            | "UNEXPECTED_TOOL_CALL"
            | "TOO_MANY_TOOL_CALLS"
            | "MISSING_THOUGHT_SIGNATURE" => {
                if !state.has_content {
                    let what = message.unwrap_or_else(|| "the model's answer is not usable".into());
                    let failure = Failure::new(Class::ServerError, format!("{word}: {}", refusal::scrub(&what)));
                    return Err(Failure { native_code: word, usage, ..failure });
                }
                FinishReason::Error
            }
            _ => FinishReason::Stop,
        };
        state.choice.finish(reason, word, None, out);
        Ok(())
    }

    fn state(&mut self, index: u32) -> &mut Candidate {
        while self.candidates.len() <= index as usize {
            let choice = Choice::new(self.candidates.len() as u32);
            self.candidates.push(Candidate { choice, pieced: None, has_content: false });
        }
        &mut self.candidates[index as usize]
    }

    fn is_complete(&self) -> bool {
        !self.candidates.is_empty() && self.candidates.iter().all(|c| c.choice.is_finished())
    }

    fn broken(&self, error: serde_json::Error) -> Failure {
        let what = format!("the provider sent what is not its own JSON: {error}");
        self.failed(Failure::new(Class::UpstreamProtocol, what))
    }

    /// The failure, with the usage that was known before it: a running count of an answer that broke is no final one.
    fn failed(&self, failure: Failure) -> Failure {
        let known = self.counts.normal().map(|usage| Usage { estimated: !self.is_complete(), ..usage });
        Failure { usage: failure.usage.or(known), ..failure }
    }

    fn whole(&mut self, body: &[u8], out: &mut Vec<CompletionEvent>) -> Result<(), Failure> {
        let Ok(text) = std::str::from_utf8(body) else {
            return Err(Failure::new(Class::UpstreamProtocol, "the answer is not valid UTF-8"));
        };
        if text.trim().is_empty() {
            return Err(Failure::new(Class::UpstreamTruncated, "the answer is empty"));
        }
        self.response(text, out)
    }
}

impl Candidate {
    /// A signature is told before the text or call that carries it: see `turns.rs`.
    fn part(&mut self, part: wire::Part<'_>, raw: &str, out: &mut Vec<CompletionEvent>) {
        let is_opaque = part.is_opaque();
        let signature = part.thought_signature.filter(|s| !s.is_empty());
        if part.thought == Some(true) && part.function_call.is_none() {
            self.choice.reasoning(part.text.unwrap_or_default(), out);
            if let Some(signature) = signature {
                self.choice.signature(signature, out);
                self.choice.close_part(out);
            }
            return;
        }
        let is_signed = signature.is_some();
        if let Some(signature) = signature {
            self.choice.signature(signature, out);
        }
        if let Some(call) = part.function_call {
            self.function_call(call, out);
        } else if is_opaque {
            self.choice.opaque(raw, out);
            self.has_content = true;
        } else {
            let text = part.text.unwrap_or_default();
            self.has_content |= !text.is_empty();
            self.choice.text(text, out);
            if is_signed {
                // What follows is not what was signed.
                self.choice.close_part(out);
            }
        }
    }

    fn function_call(&mut self, call: wire::FunctionCall<'_>, out: &mut Vec<CompletionEvent>) {
        self.has_content = true;
        let continues = call.will_continue == Some(true);
        if self.pieced.is_none() && !continues && call.partial_args.is_none() {
            let arguments = call.args.map_or("{}", |args| args.get()).to_owned();
            self.choice.whole_tool(call.id, call.name.unwrap_or_default(), arguments, out);
            return;
        }
        let mut pieced = self.pieced.take().unwrap_or_else(|| PiecedCall::new(&call));
        pieced.take(call.partial_args.unwrap_or_default());
        match continues {
            true => self.pieced = Some(pieced),
            false => self.call(pieced, out),
        }
    }

    fn call(&mut self, call: PiecedCall, out: &mut Vec<CompletionEvent>) {
        let arguments = call.arguments();
        self.choice.whole_tool(call.id, call.name, arguments, out);
    }
}

impl Decoder for ContentDecoder {
    fn feed(&mut self, bytes: &Bytes, out: &mut Vec<CompletionEvent>) -> Result<(), Failure> {
        let (parsed, framed) = self.framing.feed(bytes);
        self.events(parsed, out)?;
        framed
    }

    fn end(&mut self, out: &mut Vec<CompletionEvent>) -> Result<(), Failure> {
        match self.framing.end() {
            (Ended::Whole(body), _) => self.whole(&body, out)?,
            (Ended::Events(parsed), framed) => self.events(parsed, out).and(framed).map_err(cut_short)?,
        }
        if !self.is_complete() {
            return Err(self.failed(ended_early()));
        }
        if let Some(usage) = self.counts.normal() {
            push(out, Event::Usage(usage));
        }
        Ok(())
    }
}
