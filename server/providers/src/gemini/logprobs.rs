//! Their log probabilities in OpenAI's form.

use serde_json::{Value, json};

use super::wire::{LogprobsResult, TokenLogprob};

/// `{"content": [{token, logprob, bytes, top_logprobs}]}` as text.
pub(super) fn normal(result: &LogprobsResult) -> String {
    let tops = result.top_candidates.as_deref().unwrap_or_default();
    let content: Vec<Value> = result
        .chosen_candidates
        .iter()
        .flatten()
        .enumerate()
        .map(|(position, chosen)| {
            let top = tops.get(position).and_then(|t| t.candidates.as_deref()).unwrap_or_default();
            let mut token = token(chosen);
            token["top_logprobs"] = top.iter().map(self::token).collect();
            token
        })
        .collect();
    json!({ "content": content }).to_string()
}

fn token(told: &TokenLogprob) -> Value {
    let text = told.token.as_deref().unwrap_or_default();
    // Zeros are left out of their JSON, and the logarithm of certainty is one.
    json!({"token": text, "logprob": told.log_probability.unwrap_or(0.0), "bytes": text.as_bytes()})
}
