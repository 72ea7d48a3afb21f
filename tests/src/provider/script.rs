//! Scripts: what the provider is told to do instead of answering nicely at once.
//!
//! A [`Step`] describes one answer. It reaches a call in one of three ways, the first that applies:
//!
//! 1. a directive in the text of the last user message, `[[script {"status": 429}]]`: the test and the answer it
//!    wants stand side by side, and calls running at the same time do not disturb each other;
//! 2. the queue of the call's model, then the queue of model `*`: one step per call, in order of arrival;
//! 3. the default step: a plain, quick answer.

use std::collections::{BTreeMap, HashMap, VecDeque};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One scripted answer. Everything left out has a plain default, so `{}` is an ordinary answer.
///
/// Unknown fields are refused: a misspelt script would otherwise pass as a plain answer and the test with it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Step {
    /// HTTP status; 400 and above answer with an error body of the dialect. Default 200.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The error body in place of the dialect's own: an object is sent as JSON, a string as it is (as `text/html`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Value>,
    /// Value of the `retry-after` header: seconds, or text sent as it is (an HTTP date, nonsense).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<Value>,
    /// Further response headers; they replace the dialect's own of the same name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Wait before the response headers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<u64>,
    /// Wait between the headers and the first delta.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_token_ms: Option<u64>,
    /// Number of content deltas. Default: 16, or one per word when `text` is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chunks: Option<u32>,
    /// Completion tokens each delta stands for. Default 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_per_chunk: Option<u64>,
    /// Wait before every delta after the first. An answer that is not streamed takes as long in one piece.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chunk_delay_ms: Option<u64>,
    /// Completion tokens of the whole answer, spread over its deltas (reasoning tokens come on top).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<u64>,
    /// Prompt tokens reported as read from a prompt cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cached_tokens: Option<u64>,
    /// Prompt tokens reported as written to a prompt cache (Anthropic only).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_write_tokens: Option<u64>,
    /// Prompt tokens in place of the counting rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_tokens: Option<u64>,
    /// Search units that a ranking reports in place of one for every hundred documents.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub search_units: Option<u64>,
    /// Reasoning tokens when the call asks for reasoning. Default 7.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_tokens: Option<u64>,
    /// `false` leaves usage out of the answer although it was billed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<bool>,
    /// Drop the connection after so many deltas (0: after the opening event). An unstreamed answer is cut half-way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cut_after_chunks: Option<u32>,
    /// How the connection is dropped. Default [`Cut::Fin`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cut: Option<Cut>,
    /// Drop the connection instead of answering at all.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub no_reply: bool,
    /// Fall silent after so many deltas, with the connection open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stall_after_chunks: Option<u32>,
    /// Send the dialect's error event after so many deltas, then end the stream properly.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mid_stream_error_after: Option<u32>,
    /// Break the answer's form half-way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub malformed: Option<Malformed>,
    /// The literal answer. Default: deterministic words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The finish reason in the dialect's words, in place of the true one. Empty: the stream ends without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finish_reason: Option<String>,
    /// Answer two tool calls instead of one.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub parallel: bool,
    /// Call a tool although the conversation ends with the result of one (Anthropic and Gemini).
    #[serde(default)]
    pub calls_tool: bool,
    /// The model name the answer carries. Default: the one asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub served_model: Option<String>,
}

/// How a connection is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cut {
    /// An orderly TCP close in the middle of the answer.
    Fin,
    /// A TCP reset, as from a crashed peer or an impatient middlebox.
    Rst,
}

/// In which way an answer is malformed although the connection is fine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Malformed {
    /// Invalid JSON: an unstreamed body or the middle event of a stream.
    Json,
    /// The stream ends properly in the middle of an event.
    Sse,
}

impl Step {
    /// Where a stream is cut or falls silent once all of it is written, its last event too.
    pub const BEHIND_THE_END: u32 = u32::MAX;

    /// An answer with this literal text.
    pub fn text(text: impl Into<String>) -> Self {
        Step { text: Some(text.into()), ..Step::default() }
    }

    /// An answer of so many deltas, written without waiting.
    pub fn streams(chunks: u32) -> Self {
        Step { chunks: Some(chunks), ..Step::default() }
    }

    /// A refusal with this status and the dialect's usual body for it.
    pub fn fails(status: u16) -> Self {
        Step { status: Some(status), ..Step::default() }
    }

    /// ... asking the caller to come back after so many seconds.
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds.into());
        self
    }

    /// ... with this gap between deltas.
    pub fn every_ms(mut self, gap_ms: u64) -> Self {
        self.chunk_delay_ms = Some(gap_ms);
        self
    }

    /// ... whose headers come only after this time.
    pub fn after_ms(mut self, delay_ms: u64) -> Self {
        self.delay_ms = Some(delay_ms);
        self
    }

    /// ... falling silent after so many deltas.
    pub fn then_stalls(mut self, chunks: u32) -> Self {
        self.stall_after_chunks = Some(chunks);
        self
    }

    /// ... with the connection dropped after so many deltas.
    pub fn then_cuts(mut self, chunks: u32, cut: Cut) -> Self {
        (self.cut_after_chunks, self.cut) = (Some(chunks), Some(cut));
        self
    }

    /// ... with an error event after so many deltas.
    pub fn then_errs(mut self, chunks: u32) -> Self {
        self.mid_stream_error_after = Some(chunks);
        self
    }
}

/// Finds `[[script {json}]]` in a text.
///
/// `Err` tells what is wrong with a directive that cannot be read; the provider answers it with a 400.
pub fn directive(text: &str) -> Result<Option<Step>, String> {
    let Some((_, rest)) = text.split_once("[[script") else {
        return Ok(None);
    };
    let mut values = serde_json::Deserializer::from_str(rest).into_iter::<Step>();
    let step = match values.next() {
        Some(Ok(step)) => step,
        Some(Err(error)) => return Err(format!("unreadable script directive: {error}")),
        None => return Err("empty script directive".into()),
    };
    match rest[values.byte_offset()..].trim_start().starts_with("]]") {
        true => Ok(Some(step)),
        false => Err("a script directive ends with ]]".into()),
    }
}

/// The steps of one model, as posted to `/_control/script`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    /// The model as the provider sees it; `*` is for every model without steps of its own.
    pub model: String,
    /// One step per call. An empty list removes the model's script.
    pub steps: Vec<Step>,
    /// Start over after the last step instead of going back to the default.
    #[serde(default)]
    pub repeat: bool,
}

/// All queues. A step that was used is gone unless its script repeats.
#[derive(Debug, Default)]
pub(super) struct Scripts {
    queues: HashMap<String, Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    steps: VecDeque<Step>,
    repeat: bool,
}

impl Scripts {
    pub(super) fn set(&mut self, script: Script) {
        let Script { model, steps, repeat } = script;
        match steps.is_empty() {
            true => self.queues.remove(&model),
            false => self.queues.insert(model, Queue { steps: steps.into(), repeat }),
        };
    }

    pub(super) fn clear(&mut self) {
        self.queues.clear();
    }

    pub(super) fn next(&mut self, model: &str) -> Step {
        [model, "*"].iter().find_map(|name| self.queues.get_mut(*name)?.next()).unwrap_or_default()
    }

    pub(super) fn models(&self) -> impl Iterator<Item = &String> {
        self.queues.keys().filter(|model| *model != "*")
    }
}

impl Queue {
    fn next(&mut self) -> Option<Step> {
        let step = self.steps.pop_front()?;
        if self.repeat {
            self.steps.push_back(step.clone());
        }
        Some(step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directive_is_found_inside_a_sentence() {
        let step = directive(r#"please [[script {"status":429,"retry_after":2}]] thanks"#);
        assert_eq!(step, Ok(Some(Step::fails(429).retry_after(2))));
        assert_eq!(directive("nothing to see"), Ok(None));
    }

    #[test]
    fn a_misspelt_directive_is_reported() {
        assert!(directive(r#"[[script {"statsu":429}]]"#).unwrap_err().contains("statsu"));
        assert!(directive(r#"[[script {"status":429} ]"#).unwrap_err().contains("]]"));
    }

    #[test]
    fn steps_are_used_in_order_and_then_the_default_returns() {
        let mut scripts = Scripts::default();
        scripts.set(Script { model: "m".into(), steps: vec![Step::fails(500), Step::fails(429)], repeat: false });
        scripts.set(Script { model: "*".into(), steps: vec![Step::text("any")], repeat: true });

        assert_eq!(scripts.next("m"), Step::fails(500));
        assert_eq!(scripts.next("m"), Step::fails(429));
        assert_eq!(scripts.next("m"), Step::text("any"));
        assert_eq!(scripts.next("other"), Step::text("any"));
    }
}
