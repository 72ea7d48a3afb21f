//! What completions get at a deployment where their caller says nothing.

/// Parameters of completions, each for callers that do not name it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Defaults {
    /// Sampling temperature.
    pub temperature: Option<f64>,
    /// Nucleus sampling.
    pub top_p: Option<f64>,
    /// Sample among the k likeliest tokens.
    pub top_k: Option<i64>,
    /// Discourages tokens by their count so far.
    pub frequency_penalty: Option<f64>,
    /// Discourages tokens that appeared at all.
    pub presence_penalty: Option<f64>,
    /// Best-effort determinism.
    pub seed: Option<i64>,
    /// Where to stop; empty: nothing is said.
    pub stop: Vec<String>,
    /// Output limit in tokens: held for like one that the caller names.
    pub max_output_tokens: Option<u64>,
    /// How much to reason, in the model's word.
    pub reasoning_effort: Option<String>,
    /// Members of a body in OpenAI's dialect that the contract does not name, with their JSON.
    pub extra: Vec<(String, String)>,
}
