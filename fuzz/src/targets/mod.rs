//! What is fuzzed. A target takes any bytes, and panics where something does not hold that always must.
//!
//! The first eight bytes of an input say how the rest is played ([`Input`]), so that a fuzzer can look for the cut that breaks something
//! as it looks for the byte. `server/providers/tests/regressions.rs` plays the same targets without a fuzzer.

mod chat;
mod frames;
mod framings;
pub(crate) mod input;
mod others;
mod seeds;

use input::Input;

pub(crate) use self::seeds::{dictionary, seeds};

type Target = (&'static str, fn(&Input<'_>));

/// Every target by its name. Those of chats are named after the adapter, `openai_dialect` after all that speak it.
pub(crate) const TARGETS: &[Target] = &[
    ("sse", framings::sse),
    ("ndjson", framings::ndjson),
    ("json_array", framings::json_array),
    ("event_stream", framings::event_stream),
    ("json_edit", others::json_edit),
    ("refusal", others::refusal),
    ("embeddings", others::embeddings),
    ("openai", |input| chat::check("openai", "m", input)),
    ("openai_dialect", |input| chat::check(input.pick(&others::dialect()), "m", input)),
    ("anthropic", |input| chat::check("anthropic", "m", input)),
    ("gemini", |input| chat::check("gemini", "m", input)),
    ("vertex", |input| chat::check("vertex", if input.flag(4) { "claude" } else { "gemini" }, input)),
    ("bedrock", |input| chat::check("bedrock", if input.flag(4) { "invoke/claude" } else { "m" }, input)),
    ("mistral", |input| chat::check("mistral", "m", input)),
    ("cohere", |input| chat::check("cohere", "m", input)),
    ("ollama", |input| chat::check("ollama", "m", input)),
    ("openai_responses", |input| chat::check("openai_responses", "m", input)),
    ("azure", |input| chat::check("azure", "m", input)),
];

/// Plays an input. Panics where something is broken, or where there is no such target.
pub(crate) fn play(target: &str, data: &[u8]) {
    let known = TARGETS.iter().find(|(name, _)| *name == target);
    let (_, run) = known.unwrap_or_else(|| panic!("no target {target:?}; there are {:?}", names()));
    run(&Input::new(data));
}

/// The targets' names.
pub(crate) fn names() -> Vec<&'static str> {
    TARGETS.iter().map(|(name, _)| *name).collect()
}
