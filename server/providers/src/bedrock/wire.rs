//! Their types, their names, nothing of ours. Every field may be missing; unknown ones are ignored.

use serde::Deserialize;
use serde_json::value::RawValue;

/// A whole answer.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Answer<'a> {
    #[serde(borrow)]
    pub(super) output: Option<Output<'a>>,
    pub(super) stop_reason: Option<String>,
    #[serde(borrow)]
    pub(super) usage: Option<&'a RawValue>,
    #[serde(rename = "serviceTier")]
    pub(super) service_tier: Option<ServiceTier>,
    /// `message`: one of Anthropic's own.
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Output<'a> {
    #[serde(borrow)]
    pub(super) message: Option<Message<'a>>,
}

#[derive(Deserialize)]
pub(super) struct Message<'a> {
    #[serde(borrow, default)]
    pub(super) content: Vec<&'a RawValue>,
}

/// A block of a whole answer: one of these.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Block<'a> {
    pub(super) text: Option<String>,
    #[serde(borrow)]
    pub(super) tool_use: Option<ToolUse<'a>>,
    pub(super) reasoning_content: Option<Reasoning>,
    #[serde(borrow)]
    pub(super) citations_content: Option<Citations<'a>>,
}

/// A tool call: whole, or as it stands when its block begins.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ToolUse<'a> {
    pub(super) tool_use_id: Option<String>,
    pub(super) name: Option<String>,
    #[serde(borrow)]
    pub(super) input: Option<&'a RawValue>,
    /// `server_tool_use`: Bedrock runs it itself.
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
}

impl ToolUse<'_> {
    /// Whether the caller is to run it.
    pub(super) fn is_callers(&self) -> bool {
        self.kind.as_deref() != Some("server_tool_use")
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Reasoning {
    pub(super) reasoning_text: Option<ReasoningText>,
    pub(super) redacted_content: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct ReasoningText {
    pub(super) text: Option<String>,
    pub(super) signature: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Citations<'a> {
    #[serde(default)]
    pub(super) content: Vec<CitedText>,
    #[serde(borrow, default)]
    pub(super) citations: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
pub(super) struct CitedText {
    pub(super) text: Option<String>,
}

/// An event of a stream, whichever it is.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Event<'a> {
    pub(super) content_block_index: Option<u32>,
    #[serde(borrow)]
    pub(super) start: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) delta: Option<&'a RawValue>,
    pub(super) stop_reason: Option<String>,
    #[serde(borrow)]
    pub(super) usage: Option<&'a RawValue>,
    #[serde(rename = "serviceTier")]
    pub(super) service_tier: Option<ServiceTier>,
}

/// How a block begins.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Start<'a> {
    #[serde(borrow)]
    pub(super) tool_use: Option<ToolUse<'a>>,
}

/// A piece of a block: one of these.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Delta {
    pub(super) text: Option<String>,
    pub(super) tool_use: Option<InputPiece>,
    pub(super) reasoning_content: Option<ReasoningDelta>,
}

#[derive(Deserialize)]
pub(super) struct InputPiece {
    pub(super) input: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ReasoningDelta {
    pub(super) text: Option<String>,
    pub(super) signature: Option<String>,
    pub(super) redacted_content: Option<String>,
}

/// An event of InvokeModelWithResponseStream: base64 of an event in the model's own dialect.
#[derive(Deserialize)]
pub(super) struct Chunk {
    pub(super) bytes: Option<String>,
}

/// Counts. Cached tokens are not in `input_tokens`; some answers spell them in two ways.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Usage {
    pub(super) input_tokens: Option<u64>,
    pub(super) output_tokens: Option<u64>,
    pub(super) cache_read_input_tokens: Option<u64>,
    pub(super) cache_read_input_token_count: Option<u64>,
    pub(super) cache_write_input_tokens: Option<u64>,
    pub(super) cache_write_input_token_count: Option<u64>,
    pub(super) cache_details: Option<Vec<CacheDetail>>,
}

/// What was written to a cache of one lifetime.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CacheDetail {
    pub(super) ttl: Option<String>,
    pub(super) input_tokens: Option<u64>,
}

/// An error, wherever it stands.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Error {
    #[serde(alias = "Message")]
    pub(super) message: Option<String>,
    #[serde(rename = "__type", alias = "code")]
    pub(super) name: Option<String>,
}

/// The tier that served the call.
#[derive(Deserialize)]
pub(super) struct ServiceTier {
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
}
