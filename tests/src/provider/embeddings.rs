//! Embeddings: vectors that depend on the input alone, so that the same text is always at the same place.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::answer::count_words;
use super::script::{Step, directive};

/// Length of a vector when the call gives none.
const DIMENSIONS: u64 = 64;

/// An embedding call: the seed of each vector, and what they cost.
#[derive(Debug)]
pub(super) struct Embed {
    pub(super) model: String,
    pub(super) prompt_tokens: u64,
    pub(super) directive: Option<Step>,
    seeds: Vec<u64>,
    dimensions: u64,
    base64: bool,
}

/// Reads an embedding call. `Err` is the message of the 400.
///
/// The input is a text, a list of texts, one text as tokens, or a list of those. A text costs its words, tokens
/// cost their number.
pub(super) fn read(body: &Value) -> Result<Embed, String> {
    let model = body["model"].as_str().ok_or("you must provide a model parameter")?;
    let inputs = match &body["input"] {
        Value::Array(list) if list.first().is_some_and(Value::is_number) => vec![&body["input"]],
        Value::Array(list) => list.iter().collect(),
        one => vec![one],
    };
    let mut embed = Embed {
        model: model.into(),
        prompt_tokens: 0,
        directive: None,
        seeds: Vec::with_capacity(inputs.len()),
        dimensions: body["dimensions"].as_u64().unwrap_or(DIMENSIONS),
        base64: body["encoding_format"] == "base64",
    };
    if embed.dimensions == 0 || embed.dimensions > 8192 {
        return Err("Invalid value for 'dimensions'.".into());
    }
    for input in inputs {
        match input {
            Value::String(text) if !text.is_empty() => {
                embed.prompt_tokens += count_words(text);
                embed.seeds.push(seed(text.bytes().map(u64::from)));
                embed.directive = embed.directive.or(directive(text)?);
            }
            Value::Array(tokens) if !tokens.is_empty() && tokens.iter().all(Value::is_u64) => {
                embed.prompt_tokens += tokens.len() as u64;
                embed.seeds.push(seed(tokens.iter().filter_map(Value::as_u64)));
            }
            _ => return Err("'$.input' is invalid. Please check the API reference.".into()),
        }
    }
    match embed.seeds.is_empty() {
        true => Err("Input cannot be an empty array.".into()),
        false => Ok(embed),
    }
}

impl Embed {
    /// The answer as one JSON document.
    pub(super) fn whole(&self, step: &Step) -> Vec<u8> {
        let encode = |vector: Vec<f32>| match self.base64 {
            true => {
                let bytes: Vec<u8> = vector.iter().flat_map(|part| part.to_le_bytes()).collect();
                BASE64_STANDARD.encode(bytes).into()
            }
            false => json!(vector),
        };
        let entry = |(index, seed): (usize, &u64)| json!({ "object": "embedding", "index": index, "embedding": encode(vector(*seed, self.dimensions)) });
        let mut document = json!({
            "object": "list",
            "data": self.seeds.iter().enumerate().map(entry).collect::<Vec<_>>(),
            "model": step.served_model.as_ref().unwrap_or(&self.model)
        });
        if step.usage != Some(false) {
            let tokens = step.prompt_tokens.unwrap_or(self.prompt_tokens);
            document["usage"] = json!({ "prompt_tokens": tokens, "total_tokens": tokens });
        }
        document.to_string().into_bytes()
    }
}

fn seed(units: impl Iterator<Item = u64>) -> u64 {
    units.fold(0xcbf2_9ce4_8422_2325, |hash, unit| (hash ^ unit).wrapping_mul(0x0000_0100_0000_01b3))
}

/// A vector of length one; its parts come from a xorshift generator.
fn vector(seed: u64, dimensions: u64) -> Vec<f32> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u32 << 23) as f32 - 1.0
    };
    let raw: Vec<f32> = (0..dimensions).map(|_| next()).collect();
    let length = raw.iter().map(|part| part * part).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
    raw.into_iter().map(|part| part / length).collect()
}
