//! What the simulated provider says.

use base64::{Engine, engine::general_purpose::STANDARD};
use rand::{Rng, SeedableRng, rngs::SmallRng};
use serde_json::{Value, json};

use super::{ask::Ask, schema};

/// One answer: pieces that stand for tokens.
pub(super) struct Answer {
    pub(super) reasoning: Vec<String>,
    pub(super) pieces: Vec<String>,
    tool: Option<(String, String)>,
    finish: &'static str,
    id: String,
}

impl Answer {
    pub(super) fn tokens(&self) -> usize {
        self.reasoning.len() + self.pieces.len()
    }
}

const OPENINGS: [&str; 5] = [
    "Let us look at {}.",
    "A word about {}, then.",
    "You ask about {}; gladly.",
    "Here is what a simulated model would say about {}.",
    "Imagine a large model thinking hard about {}.",
];
const MIDDLES: [&str; 5] = [
    "No provider was called and no key was needed: this text was made inside the gateway.",
    "Still, your call was authenticated, held against a budget, routed, streamed and settled like any other.",
    "Point a model at a real provider in tollgate.yaml and only this text will change.",
    "Every token you see here stands in the ledger, to the nano-dollar.",
    "The audit log knows when it was asked, by which key, and what it cost.",
];
const CLOSINGS: [&str; 3] =
    ["That is all I pretend to know.", "Ask me something else.", "Now try it with your own model."];

pub(super) fn answer(ask: &Ask) -> Answer {
    let mut rng = SmallRng::seed_from_u64(hash(&ask.prompt) ^ ask.seed);
    let topic = topic(&ask.prompt);
    let id = format!("{:016x}", rng.random::<u64>());
    let reasoning = match ask.reasons {
        true => pieces(&format!("The prompt is about {topic}. A short answer will do.")),
        false => Vec::new(),
    };
    if let Some(tool) = &ask.tool {
        let arguments = schema::example(&tool.parameters, &topic);
        let arguments = if arguments.is_object() { arguments.to_string() } else { "{}".into() };
        let parts = arguments.as_bytes().chunks(8).map(|c| String::from_utf8_lossy(c).into_owned()).collect::<Vec<_>>();
        // Cutting bytes could split a character: then it goes in one piece.
        let pieces = if parts.concat() == arguments { parts } else { vec![arguments] };
        return Answer {
            reasoning,
            pieces,
            tool: Some((format!("call_{id}"), tool.name.clone())),
            finish: "tool_calls",
            id,
        };
    }
    let text = match &ask.schema {
        Some(schema) => schema::example(schema, &topic).to_string(),
        None if ask.has_result => format!("The tool answered: {}. {}", ask.prompt.trim(), pick(&CLOSINGS, &mut rng)),
        None => {
            let middles = rng.random_range(1..=3);
            let mut sentences = vec![pick(&OPENINGS, &mut rng).replace("{}", &topic)];
            let first = rng.random_range(0..MIDDLES.len());
            sentences.extend((0..middles).map(|n| MIDDLES[(first + n) % MIDDLES.len()].to_owned()));
            sentences.push(pick(&CLOSINGS, &mut rng).to_owned());
            sentences.join(" ")
        }
    };
    let (text, mut finish) = match ask.stop.iter().filter_map(|s| text.find(s.as_str())).min() {
        Some(at) => (text[..at].to_owned(), "stop"),
        None => (text, "stop"),
    };
    let mut pieces = pieces(&text);
    if let Some(limit) = ask.limit.filter(|l| *l < reasoning.len() + pieces.len()) {
        pieces.truncate(limit.saturating_sub(reasoning.len()));
        finish = "length";
    }
    let reasoning = reasoning.into_iter().take(ask.limit.unwrap_or(usize::MAX)).collect();
    Answer { reasoning, pieces, tool: None, finish, id }
}

fn pick<'a>(from: &[&'a str], rng: &mut SmallRng) -> &'a str {
    from[rng.random_range(0..from.len())]
}

/// Words with the space before them: about a token each.
fn pieces(text: &str) -> Vec<String> {
    text.split_inclusive(' ').map(str::to_owned).collect()
}

/// The last few telling words of the prompt.
fn topic(prompt: &str) -> String {
    let is_telling = |w: &&str| w.chars().filter(|c| c.is_alphanumeric()).count() > 2;
    let words: Vec<&str> = prompt.split_whitespace().filter(is_telling).collect();
    let last = &words[words.len().saturating_sub(4)..];
    let text = last.join(" ").trim_matches(|c: char| !c.is_alphanumeric()).to_owned();
    if text.is_empty() { "nothing in particular".into() } else { text.chars().take(80).collect() }
}

fn usage(answer: &Answer, ask: &Ask) -> Value {
    let completion = answer.tokens() as u64 * ask.choices;
    json!({
        "prompt_tokens": ask.prompt_tokens,
        "completion_tokens": completion,
        "total_tokens": ask.prompt_tokens + completion,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": answer.reasoning.len() as u64 * ask.choices},
    })
}

pub(super) fn completion(model: &str, answer: &Answer, ask: &Ask) -> Value {
    let mut message = json!({"role": "assistant", "content": answer.pieces.concat(), "refusal": null});
    if let Some((id, name)) = &answer.tool {
        let function = json!({"name": name, "arguments": answer.pieces.concat()});
        message["content"] = Value::Null;
        message["tool_calls"] = json!([{"id": id, "type": "function", "function": function}]);
    }
    if !answer.reasoning.is_empty() {
        message["reasoning_content"] = json!(answer.reasoning.concat());
    }
    let choice =
        |index: u64| json!({"index": index, "message": message, "logprobs": null, "finish_reason": answer.finish});
    json!({
        "id": format!("chatcmpl-{}", answer.id),
        "object": "chat.completion",
        "created": 1_767_225_600,
        "model": model,
        "choices": (0..ask.choices).map(choice).collect::<Vec<_>>(),
        "usage": usage(answer, ask),
    })
}

/// The chunks of a stream, `[DONE]` included.
pub(super) fn chunks(model: &str, answer: &Answer, ask: &Ask) -> Vec<String> {
    let chunk = |choices: Value| {
        let mut chunk = json!({
            "id": format!("chatcmpl-{}", answer.id),
            "object": "chat.completion.chunk",
            "created": 1_767_225_600,
            "model": model,
            "choices": choices,
        });
        if ask.include_usage {
            chunk["usage"] = Value::Null;
        }
        chunk
    };
    let mut chunks = Vec::new();
    for index in 0..ask.choices {
        let mut delta = |delta: Value, finish: Value| {
            chunks.push(
                chunk(json!([{"index": index, "delta": delta, "logprobs": null, "finish_reason": finish}])).to_string(),
            );
        };
        delta(json!({"role": "assistant", "content": ""}), Value::Null);
        for piece in &answer.reasoning {
            delta(json!({"reasoning_content": piece}), Value::Null);
        }
        if let Some((id, name)) = &answer.tool {
            let function = json!({"name": name, "arguments": ""});
            delta(
                json!({"tool_calls": [{"index": 0, "id": id, "type": "function", "function": function}]}),
                Value::Null,
            );
        }
        for piece in &answer.pieces {
            match answer.tool {
                Some(_) => delta(json!({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}), Value::Null),
                None => delta(json!({"content": piece}), Value::Null),
            }
        }
        delta(json!({}), json!(answer.finish));
    }
    if ask.include_usage {
        let mut last = chunk(json!([]));
        last["usage"] = usage(answer, ask);
        chunks.push(last.to_string());
    }
    chunks.push("[DONE]".into());
    chunks
}

pub(super) fn embeddings(body: &Value) -> Value {
    let inputs: Vec<String> = match &body["input"] {
        Value::Array(items) if items.iter().all(Value::is_u64) => vec![body["input"].to_string()],
        Value::Array(items) => items.iter().map(|i| i.as_str().map_or_else(|| i.to_string(), str::to_owned)).collect(),
        other => vec![other.as_str().unwrap_or_default().to_owned()],
    };
    let length = usize::try_from(body["dimensions"].as_u64().unwrap_or(256)).unwrap_or(256).clamp(1, 4_096);
    let is_base64 = body["encoding_format"] == "base64";
    let row = |(index, text): (usize, &String)| {
        let vector = vector(text, length);
        let embedding = match is_base64 {
            true => json!(STANDARD.encode(vector.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<_>>())),
            false => json!(vector),
        };
        json!({"object": "embedding", "index": index, "embedding": embedding})
    };
    let tokens: usize = inputs.iter().map(|i| i.split_whitespace().count().max(1)).sum();
    json!({
        "object": "list",
        "data": inputs.iter().enumerate().map(row).collect::<Vec<_>>(),
        "model": body["model"],
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    })
}

fn vector(text: &str, length: usize) -> Vec<f32> {
    let mut rng = SmallRng::seed_from_u64(hash(text));
    let raw: Vec<f32> = (0..length).map(|_| rng.random_range(-1.0..1.0)).collect();
    let norm = raw.iter().map(|x| x * x).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
    raw.into_iter().map(|x| x / norm).collect()
}

/// FNV-1a: the same on every machine.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
}
