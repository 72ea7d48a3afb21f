//! Their types, their names, nothing of ours. Every field may be missing or null; unknown ones are ignored.

use serde::Deserialize;
use serde_json::{Number, value::RawValue};

/// A whole answer, or a chunk of a stream: both are the same object.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Response<'a> {
    #[serde(borrow)]
    pub(super) candidates: Option<Vec<Candidate<'a>>>,
    pub(super) prompt_feedback: Option<PromptFeedback>,
    #[serde(borrow)]
    pub(super) usage_metadata: Option<&'a RawValue>,
    pub(super) model_version: Option<String>,
    pub(super) response_id: Option<String>,
    #[serde(borrow)]
    pub(super) error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PromptFeedback {
    pub(super) block_reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Candidate<'a> {
    pub(super) index: Option<u32>,
    #[serde(borrow)]
    pub(super) content: Option<Content<'a>>,
    pub(super) finish_reason: Option<String>,
    pub(super) finish_message: Option<String>,
    pub(super) logprobs_result: Option<LogprobsResult>,
    #[serde(borrow)]
    pub(super) grounding_metadata: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) citation_metadata: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) url_context_metadata: Option<&'a RawValue>,
}

#[derive(Deserialize)]
pub(super) struct Content<'a> {
    #[serde(borrow)]
    pub(super) parts: Option<Vec<&'a RawValue>>,
}

/// A part, or the next piece of one.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Part<'a> {
    pub(super) text: Option<String>,
    /// The text is reasoning.
    pub(super) thought: Option<bool>,
    pub(super) thought_signature: Option<String>,
    pub(super) function_call: Option<FunctionCall<'a>>,
    #[serde(borrow)]
    pub(super) inline_data: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) file_data: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) executable_code: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) code_execution_result: Option<&'a RawValue>,
}

impl Part<'_> {
    /// Whether it holds something that the contract does not know.
    pub(super) fn is_opaque(&self) -> bool {
        [self.inline_data, self.file_data, self.executable_code, self.code_execution_result].iter().any(Option::is_some)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FunctionCall<'a> {
    pub(super) id: Option<String>,
    pub(super) name: Option<String>,
    #[serde(borrow)]
    pub(super) args: Option<&'a RawValue>,
    pub(super) partial_args: Option<Vec<PartialArg>>,
    /// The rest of the call comes in later parts.
    pub(super) will_continue: Option<bool>,
}

/// A piece of a call's arguments.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PartialArg {
    pub(super) json_path: Option<String>,
    pub(super) string_value: Option<String>,
    pub(super) number_value: Option<Number>,
    pub(super) bool_value: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LogprobsResult {
    pub(super) chosen_candidates: Option<Vec<TokenLogprob>>,
    pub(super) top_candidates: Option<Vec<TopCandidates>>,
}

#[derive(Deserialize)]
pub(super) struct TopCandidates {
    pub(super) candidates: Option<Vec<TokenLogprob>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TokenLogprob {
    pub(super) token: Option<String>,
    pub(super) log_probability: Option<f64>,
}

/// Counts so far. Early chunks of a stream may lack any of them; a later one restates them.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Usage {
    pub(super) prompt_token_count: Option<u64>,
    pub(super) candidates_token_count: Option<u64>,
    pub(super) thoughts_token_count: Option<u64>,
    pub(super) tool_use_prompt_token_count: Option<u64>,
    pub(super) cached_content_token_count: Option<u64>,
    pub(super) prompt_tokens_details: Option<Vec<ModalityCount>>,
    pub(super) tool_use_prompt_tokens_details: Option<Vec<ModalityCount>>,
    pub(super) candidates_tokens_details: Option<Vec<ModalityCount>>,
    pub(super) cache_tokens_details: Option<Vec<ModalityCount>>,
    pub(super) service_tier: Option<String>,
    /// Vertex's word for it.
    pub(super) traffic_type: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ModalityCount {
    pub(super) modality: Option<String>,
    pub(super) token_count: Option<u64>,
}
