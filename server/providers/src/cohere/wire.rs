//! Their types, their names, nothing of ours. Every field may be missing; unknown ones are ignored.

use serde::Deserialize;
use serde_json::value::RawValue;

/// An event of the stream.
#[derive(Deserialize)]
pub(super) struct StreamEvent<'a> {
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    pub(super) id: Option<String>,
    pub(super) index: Option<u32>,
    #[serde(borrow)]
    pub(super) delta: Option<Delta<'a>>,
    #[serde(borrow)]
    pub(super) logprobs: Option<&'a RawValue>,
}

/// What an event brings.
#[derive(Deserialize, Default)]
pub(super) struct Delta<'a> {
    #[serde(borrow)]
    pub(super) message: Option<DeltaMessage<'a>>,
    pub(super) finish_reason: Option<String>,
    #[serde(borrow)]
    pub(super) error: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) usage: Option<&'a RawValue>,
}

/// A piece of the message. Its members are objects, where those of a whole message are lists; the first event has empty lists.
#[derive(Deserialize, Default)]
pub(super) struct DeltaMessage<'a> {
    #[serde(borrow)]
    pub(super) content: Option<&'a RawValue>,
    pub(super) tool_plan: Option<String>,
    #[serde(borrow)]
    pub(super) tool_calls: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) citations: Option<&'a RawValue>,
}

/// A whole answer.
#[derive(Deserialize)]
pub(super) struct Answer<'a> {
    pub(super) id: Option<String>,
    /// An object; in a refusal a string.
    #[serde(borrow)]
    pub(super) message: Option<&'a RawValue>,
    pub(super) finish_reason: Option<String>,
    #[serde(borrow)]
    pub(super) usage: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) logprobs: Option<&'a RawValue>,
}

/// The message of a whole answer.
#[derive(Deserialize)]
pub(super) struct Message<'a> {
    pub(super) content: Option<Vec<Content>>,
    pub(super) tool_plan: Option<String>,
    pub(super) tool_calls: Option<Vec<ToolCall>>,
    #[serde(borrow)]
    pub(super) citations: Option<Vec<&'a RawValue>>,
}

/// Text or thinking.
#[derive(Deserialize)]
pub(super) struct Content {
    pub(super) text: Option<String>,
    pub(super) thinking: Option<String>,
}

/// A tool call, or the next piece of one.
#[derive(Deserialize)]
pub(super) struct ToolCall {
    pub(super) id: Option<String>,
    pub(super) function: Option<Function>,
}

#[derive(Deserialize)]
pub(super) struct Function {
    pub(super) name: Option<String>,
    pub(super) arguments: Option<String>,
}

/// Usage. Counts may be floats.
#[derive(Deserialize)]
pub(super) struct Usage {
    /// What the model read and wrote.
    pub(super) tokens: Option<Units>,
    /// What of it is charged.
    pub(super) billed_units: Option<Units>,
    pub(super) cached_tokens: Option<f64>,
}

#[derive(Deserialize, Clone, Copy)]
pub(super) struct Units {
    pub(super) input_tokens: Option<f64>,
    pub(super) output_tokens: Option<f64>,
}

/// A count as a whole number.
pub(super) fn count(n: Option<f64>) -> u64 {
    n.filter(|n| *n >= 0.0).map_or(0, |n| n as u64)
}

/// The log probabilities of a stretch of text, by its tokens.
#[derive(Deserialize)]
pub(super) struct Logprobs {
    pub(super) text: Option<String>,
    pub(super) logprobs: Option<Vec<f64>>,
}
