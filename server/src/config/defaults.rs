//! Parameters that a deployment gives to completions.

use std::sync::Arc;

use anyhow::ensure;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

/// Parameters of completions where the caller says nothing of them. What a caller says is never changed.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Defaults {
    /// Sampling temperature, 0 to 2.
    pub temperature: Option<f64>,
    /// Nucleus sampling, 0 to 1.
    pub top_p: Option<f64>,
    /// Sample among the k likeliest tokens; providers that have it.
    pub top_k: Option<i64>,
    /// -2 to 2; positive values discourage tokens by their count so far.
    pub frequency_penalty: Option<f64>,
    /// -2 to 2; positive values discourage tokens that appeared at all.
    pub presence_penalty: Option<f64>,
    /// Best-effort determinism.
    pub seed: Option<i64>,
    /// Where to stop, at most 16 sequences.
    pub stop: Vec<String>,
    /// Output limit in tokens. Budgets hold for it as for one that the caller names.
    pub max_tokens: Option<u64>,
    /// How much to reason, in the model's word: `low`, `medium`, `high`, ...
    pub reasoning_effort: Option<String>,
    /// Members of the body that have no name of their own here, for calls in OpenAI's dialect: `{chat_template_kwargs: {...}}`.
    pub extra_body: Map<String, Value>,
}

/// What the gateway writes itself, or what money and answers hang on.
const TAKEN: &[&str] = &[
    "model",
    "messages",
    "prompt",
    "input",
    "stream",
    "stream_options",
    "n",
    "best_of",
    "tools",
    "tool_choice",
    "functions",
    "function_call",
    "response_format",
    "service_tier",
    "max_completion_tokens",
    "max_tokens",
    "temperature",
    "top_p",
    "top_k",
    "frequency_penalty",
    "presence_penalty",
    "seed",
    "stop",
    "reasoning_effort",
    "logprobs",
    "top_logprobs",
    "logit_bias",
    "user",
    "metadata",
    "litellm_metadata",
    "tags",
    "fallbacks",
    "drop_params",
    "parallel_tool_calls",
];

impl Defaults {
    /// Whether `extra_body` may have a member of this name.
    pub fn takes(name: &str) -> bool {
        !TAKEN.contains(&name)
    }

    /// As the router has them; `None`: there are none.
    pub fn build(&self) -> anyhow::Result<Option<Arc<tollgate_router::Defaults>>> {
        let within = |name: &str, given: Option<f64>, least: f64, most: f64| {
            ensure!(given.is_none_or(|n| (least..=most).contains(&n)), "{name}: must be from {least} to {most}");
            Ok(())
        };
        within("temperature", self.temperature, 0.0, 2.0)?;
        within("top_p", self.top_p, 0.0, 1.0)?;
        within("frequency_penalty", self.frequency_penalty, -2.0, 2.0)?;
        within("presence_penalty", self.presence_penalty, -2.0, 2.0)?;
        ensure!(self.top_k.is_none_or(|k| k > 0), "top_k: must be positive");
        let tokens = self.max_tokens.is_none_or(|n| (1..=1_000_000_000).contains(&n));
        ensure!(tokens, "max_tokens: must be from 1 to 1000000000");
        ensure!(self.stop.len() <= 16, "stop: at most 16 sequences");
        ensure!(self.stop.iter().all(|text| !text.is_empty()), "stop: a sequence must not be empty");
        ensure!(
            self.reasoning_effort.as_ref().is_none_or(|word| !word.is_empty()),
            "reasoning_effort: must not be empty"
        );
        if let Some(name) = self.extra_body.keys().find(|name| !Self::takes(name)) {
            anyhow::bail!("extra_body.{name}: is not for here; what has a name in `defaults` is written there");
        }
        if *self == Self::default() {
            return Ok(None);
        }
        Ok(Some(Arc::new(tollgate_router::Defaults {
            temperature: self.temperature,
            top_p: self.top_p,
            top_k: self.top_k,
            frequency_penalty: self.frequency_penalty,
            presence_penalty: self.presence_penalty,
            seed: self.seed,
            stop: self.stop.clone(),
            max_output_tokens: self.max_tokens,
            reasoning_effort: self.reasoning_effort.clone(),
            extra: self.extra_body.iter().map(|(name, value)| (name.clone(), value.to_string())).collect(),
        })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_out_of_range_or_the_gateways_own_is_refused_by_name() {
        let built = |yaml: &str| serde_yaml_ng::from_str::<Defaults>(yaml).unwrap().build();
        assert!(built("{}").unwrap().is_none());
        let defaults = built("{temperature: 0.2, max_tokens: 100, extra_body: {guided: {a: 1}}}").unwrap().unwrap();
        assert_eq!((defaults.temperature, defaults.max_output_tokens), (Some(0.2), Some(100)));
        assert_eq!(defaults.extra, [("guided".to_owned(), r#"{"a":1}"#.to_owned())]);
        for (yaml, field) in [
            ("{temperature: 2.1}", "temperature:"),
            ("{top_p: -1}", "top_p:"),
            ("{top_k: 0}", "top_k:"),
            ("{max_tokens: 0}", "max_tokens:"),
            ("{stop: ['']}", "stop:"),
            ("{extra_body: {n: 5}}", "extra_body.n:"),
        ] {
            let refused = built(yaml).unwrap_err().to_string();
            assert!(refused.starts_with(field), "{yaml}: {refused}");
        }
    }
}
