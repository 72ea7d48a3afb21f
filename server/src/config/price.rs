use schemars::JsonSchema;
use serde::Deserialize;

/// Price in dollars per million tokens, per query of a ranking, second of the call, second of sound or million characters, as decimal strings. A class without a figure costs as the class it belongs to. `flex_`, `priority_`
/// and `batch_` figures hold where the provider's answer says that this service tier served the call; what is not given for a service
/// tier costs as at the standard one.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Price {
    /// Fresh input; required, except in a tier and beside figures for other units.
    pub input: Option<String>,
    /// Output; required, except in a tier and beside figures for other units.
    pub output: Option<String>,
    /// Input read from the provider's cache.
    pub cached_read: Option<String>,
    /// Input written to a five-minute cache.
    pub cache_write_5m: Option<String>,
    /// Input written to a one-hour cache.
    pub cache_write_1h: Option<String>,
    /// Reasoning.
    pub reasoning: Option<String>,
    /// Audio input.
    pub audio_input: Option<String>,
    /// Audio output.
    pub audio_output: Option<String>,
    /// Audio input read from the provider's cache; absent: as `cached_read`.
    pub audio_cached_read: Option<String>,
    /// Image input.
    pub image_input: Option<String>,
    /// Image output.
    pub image_output: Option<String>,
    /// Fresh input served at the tier `flex`.
    pub flex_input: Option<String>,
    /// Output served at the tier `flex`.
    pub flex_output: Option<String>,
    /// Cached input served at the tier `flex`.
    pub flex_cached_read: Option<String>,
    /// Fresh input served at the tier `priority`.
    pub priority_input: Option<String>,
    /// Output served at the tier `priority`.
    pub priority_output: Option<String>,
    /// Cached input served at the tier `priority`.
    pub priority_cached_read: Option<String>,
    /// Fresh input served as a batch.
    pub batch_input: Option<String>,
    /// Output served as a batch.
    pub batch_output: Option<String>,
    /// Cached input served as a batch.
    pub batch_cached_read: Option<String>,
    /// One query of a ranking, in dollars: with Cohere a search unit. Tokens without figures of their own cost nothing beside it.
    pub per_query: Option<String>,
    /// One second of an attempt, in dollars, from sending it to the end of its answer: what servers cost that are rented by the hour. Held for
    /// the whole of `timeouts.total`, or what is left until the caller's deadline. Tokens without figures of their own cost nothing beside it.
    pub per_second: Option<String>,
    /// One second of sound that is listened to, in dollars, where the provider's answer tells no tokens that have a price.
    pub per_audio_second: Option<String>,
    /// A million characters that are spoken, in dollars, besides tokens.
    pub per_million_characters: Option<String>,
    /// Figures for long prompts, ascending; what a tier does not give stays.
    pub tiers: Vec<PriceTier>,
}

/// Figures that hold for the whole call, output included, once its prompt is longer.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PriceTier {
    /// They hold above this many tokens of the prompt, cached ones included.
    pub above_input_tokens: u64,
    /// The figures that change; without `tiers` of their own.
    pub price: Price,
}

impl Price {
    /// The figures that are given, by class.
    pub fn figures(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let all = [
            ("input", &self.input),
            ("output", &self.output),
            ("cached_read", &self.cached_read),
            ("cache_write_5m", &self.cache_write_5m),
            ("cache_write_1h", &self.cache_write_1h),
            ("reasoning", &self.reasoning),
            ("audio_input", &self.audio_input),
            ("audio_output", &self.audio_output),
            ("audio_cached_read", &self.audio_cached_read),
            ("image_input", &self.image_input),
            ("image_output", &self.image_output),
            ("flex_input", &self.flex_input),
            ("flex_output", &self.flex_output),
            ("flex_cached_read", &self.flex_cached_read),
            ("priority_input", &self.priority_input),
            ("priority_output", &self.priority_output),
            ("priority_cached_read", &self.priority_cached_read),
            ("batch_input", &self.batch_input),
            ("batch_output", &self.batch_output),
            ("batch_cached_read", &self.batch_cached_read),
        ];
        all.into_iter().filter_map(|(class, figure)| Some((class, figure.as_deref()?)))
    }
}
