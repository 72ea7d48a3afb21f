//! Their answers to our events: a whole answer is a stream of one line.

use bytes::Bytes;
use tollgate_domain::{Class, Failure};
use tollgate_proto::v1::{CompletionEvent, FinishReason, Started, Usage, completion_event::Event};

use super::wire;
use crate::{
    Decoder, Mode,
    answer::{Choice, push},
    framing::{Ended, Framing, before_end, cut_short, ended_early, sse::SseEvent},
    openai::wire::text_of,
    refusal,
};

/// Decodes one answer.
pub(super) struct LineDecoder {
    framing: Framing,
    started: bool,
    choice: Choice,
    usage: Option<Usage>,
}

impl LineDecoder {
    pub(super) fn new(mode: Mode) -> Self {
        Self { framing: Framing::lines(mode), started: false, choice: Choice::new(0), usage: None }
    }

    fn lines(&mut self, lines: Vec<SseEvent>, out: &mut Vec<CompletionEvent>) -> Result<(), Failure> {
        lines.iter().try_for_each(|line| self.line(&line.data, out))
    }

    fn line(&mut self, json: &[u8], out: &mut Vec<CompletionEvent>) -> Result<(), Failure> {
        if self.choice.is_finished() {
            return Ok(());
        }
        let line: wire::Line<'_> = serde_json::from_slice(json).map_err(|error| {
            let what = format!("the provider sent what is not its own JSON: {error}");
            Failure::new(Class::UpstreamProtocol, what)
        })?;
        if line.error.is_some() {
            return Err(refusal::in_band(200, json, false));
        }
        if !std::mem::replace(&mut self.started, true) {
            let served_model = line.model.unwrap_or_default();
            push(out, Event::Started(Started { served_model, ..Started::default() }));
        }
        if let Some(message) = line.message {
            self.message(message, out);
        }
        if line.done {
            self.usage = wire::usage(line.prompt_eval_count, line.eval_count);
            let word = line.done_reason.unwrap_or_default();
            let reason = if word == "length" { FinishReason::Length } else { FinishReason::Stop };
            self.choice.finish(reason, word, None, out);
        }
        Ok(())
    }

    fn message(&mut self, message: wire::Message<'_>, out: &mut Vec<CompletionEvent>) {
        self.choice.reasoning(message.thinking.unwrap_or_default(), out);
        self.choice.text(message.content.unwrap_or_default(), out);
        for call in message.tool_calls.unwrap_or_default() {
            let arguments = call.function.arguments.map(text_of).unwrap_or_default();
            self.choice.whole_tool(call.id, call.function.name.unwrap_or_default(), arguments, out);
        }
    }
}

impl Decoder for LineDecoder {
    fn feed(&mut self, bytes: &Bytes, out: &mut Vec<CompletionEvent>) -> Result<(), Failure> {
        let (lines, framed) = self.framing.feed(bytes);
        self.lines(lines, out)?;
        before_end(self.done(), framed)
    }

    fn end(&mut self, out: &mut Vec<CompletionEvent>) -> Result<(), Failure> {
        match self.framing.end() {
            (Ended::Whole(body), _) if body.iter().all(u8::is_ascii_whitespace) => {
                return Err(Failure::new(Class::UpstreamTruncated, "the answer is empty"));
            }
            (Ended::Whole(body), _) => self.line(&body, out)?,
            (Ended::Events(lines), framed) => {
                self.lines(lines, out).and_then(|()| before_end(self.done(), framed)).map_err(cut_short)?;
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
        self.choice.is_finished()
    }
}
