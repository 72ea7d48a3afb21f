//! Their types, their names, nothing of ours. Every field may be missing or null; unknown ones are ignored.

use serde::Deserialize;
use serde_json::value::RawValue;

/// An event of the stream.
#[derive(Deserialize)]
pub(super) struct StreamEvent<'a> {
    #[serde(rename = "type", default)]
    pub(super) kind: String,
    #[serde(borrow)]
    pub(super) error: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) response: Option<Response<'a>>,
    pub(super) output_index: Option<u32>,
    #[serde(borrow)]
    pub(super) item: Option<&'a RawValue>,
    /// Text, in all events that are read.
    #[serde(borrow)]
    pub(super) delta: Option<&'a RawValue>,
    pub(super) summary_index: Option<u32>,
    #[serde(borrow)]
    pub(super) annotation: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) logprobs: Option<&'a RawValue>,
}

/// An answer: whole, or as it stands.
#[derive(Deserialize)]
pub(super) struct Response<'a> {
    pub(super) id: Option<String>,
    pub(super) created_at: Option<f64>,
    pub(super) model: Option<String>,
    pub(super) status: Option<String>,
    #[serde(borrow)]
    pub(super) error: Option<&'a RawValue>,
    pub(super) incomplete_details: Option<IncompleteDetails>,
    #[serde(borrow)]
    pub(super) output: Option<Vec<&'a RawValue>>,
    #[serde(borrow)]
    pub(super) service_tier: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) usage: Option<&'a RawValue>,
}

#[derive(Deserialize)]
pub(super) struct IncompleteDetails {
    pub(super) reason: Option<String>,
}

/// What an item of the output is. Those of other kinds than the ones below have members of their own.
#[derive(Deserialize)]
pub(super) struct Kind {
    #[serde(rename = "type", default)]
    pub(super) kind: String,
}

/// An item of the output: a message, reasoning, or a tool call of the caller's.
#[derive(Deserialize)]
pub(super) struct Item<'a> {
    pub(super) call_id: Option<String>,
    pub(super) name: Option<String>,
    pub(super) arguments: Option<String>,
    pub(super) input: Option<String>,
    #[serde(borrow)]
    pub(super) content: Option<Vec<Content<'a>>>,
    #[serde(borrow)]
    pub(super) summary: Option<Vec<Content<'a>>>,
    pub(super) encrypted_content: Option<String>,
}

/// A piece of a message, or of reasoning.
#[derive(Deserialize)]
pub(super) struct Content<'a> {
    pub(super) text: Option<String>,
    pub(super) refusal: Option<String>,
    #[serde(borrow)]
    pub(super) annotations: Option<Vec<&'a RawValue>>,
    #[serde(borrow)]
    pub(super) logprobs: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Usage {
    pub(super) input_tokens: u64,
    pub(super) output_tokens: u64,
    pub(super) input_tokens_details: Option<InputDetails>,
    pub(super) output_tokens_details: Option<OutputDetails>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct InputDetails {
    pub(super) cached_tokens: Option<u64>,
    pub(super) cache_write_tokens: Option<u64>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct OutputDetails {
    pub(super) reasoning_tokens: Option<u64>,
}
