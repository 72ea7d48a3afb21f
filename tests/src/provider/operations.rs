//! Operations with one answer besides embeddings: rankings in Cohere's shape, moderations, images.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::answer::{Usage, count_words};
use super::embeddings::Embed;
use super::script::{Step, directive};

/// Tokens of an image when the script says nothing.
const TOKENS_PER_IMAGE: u64 = 1056;

/// A call that is answered in one document.
#[derive(Debug)]
pub(super) enum Ask {
    Embed(Embed),
    Rerank(Rerank),
    Moderate(Moderate),
    Draw(Draw),
}

/// A ranking: a document has to do with the query as much as they share words.
#[derive(Debug)]
pub(super) struct Rerank {
    model: String,
    query: String,
    documents: Vec<String>,
    top_n: usize,
    prompt_tokens: u64,
    directive: Option<Step>,
}

/// A moderation: whoever says "kill" is violent.
#[derive(Debug)]
pub(super) struct Moderate {
    model: String,
    /// One for each result.
    texts: Vec<String>,
    directive: Option<Step>,
}

/// Images: each is its number.
#[derive(Debug)]
pub(super) struct Draw {
    model: String,
    count: u64,
    prompt_tokens: u64,
    directive: Option<Step>,
}

/// Reads a ranking. `Err` is the message of the 400.
pub(super) fn rerank(body: &Value) -> Result<Ask, String> {
    let text = |value: &Value| value.as_str().or(value["text"].as_str()).map(str::to_owned);
    let documents = body["documents"].as_array().ok_or("documents must be a list")?;
    let documents: Option<Vec<String>> = documents.iter().map(text).collect();
    let documents = documents.filter(|d| !d.is_empty()).ok_or("documents must be texts")?;
    let query = body["query"].as_str().ok_or("query is required")?;
    let prompt_tokens = documents.iter().map(|d| count_words(d) + count_words(query)).sum();
    Ok(Ask::Rerank(Rerank {
        model: model(body)?,
        query: query.to_owned(),
        top_n: body["top_n"].as_u64().map_or(documents.len(), |n| n as usize),
        documents,
        prompt_tokens,
        directive: directive(query)?,
    }))
}

/// Reads a moderation. `Err` is the message of the 400.
pub(super) fn moderate(body: &Value) -> Result<Ask, String> {
    let part = |part: &Value| part["text"].as_str().or(part["image_url"]["url"].as_str()).map(str::to_owned);
    let texts = match &body["input"] {
        Value::String(text) => vec![text.clone()],
        Value::Array(list) if list.iter().all(Value::is_string) => {
            list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
        }
        Value::Array(parts) => {
            let parts: Option<Vec<String>> = parts.iter().map(part).collect();
            vec![parts.ok_or("input must be texts or parts")?.join(" ")]
        }
        _ => return Err("input must be texts or parts".into()),
    };
    let directive = directive(&texts.join(" "))?;
    Ok(Ask::Moderate(Moderate { model: model(body)?, texts, directive }))
}

/// Reads an image call. `Err` is the message of the 400.
pub(super) fn draw(body: &Value) -> Result<Ask, String> {
    if body.get("response_format").is_some() {
        return Err("Unknown parameter: 'response_format'.".into());
    }
    let prompt = body["prompt"].as_str().ok_or("prompt is required")?;
    Ok(Ask::Draw(Draw {
        model: model(body)?,
        count: body["n"].as_u64().unwrap_or(1),
        prompt_tokens: count_words(prompt),
        directive: directive(prompt)?,
    }))
}

fn model(body: &Value) -> Result<String, String> {
    body["model"].as_str().map(str::to_owned).ok_or("you must provide a model parameter".into())
}

impl Ask {
    pub(super) fn model(&self) -> &str {
        match self {
            Ask::Embed(embed) => &embed.model,
            Ask::Rerank(rerank) => &rerank.model,
            Ask::Moderate(moderate) => &moderate.model,
            Ask::Draw(draw) => &draw.model,
        }
    }

    pub(super) fn directive(&self) -> Option<&Step> {
        match self {
            Ask::Embed(embed) => embed.directive.as_ref(),
            Ask::Rerank(rerank) => rerank.directive.as_ref(),
            Ask::Moderate(moderate) => moderate.directive.as_ref(),
            Ask::Draw(draw) => draw.directive.as_ref(),
        }
    }

    /// What the answer is billed by, in tokens.
    pub(super) fn usage(&self, step: &Step) -> Usage {
        let (prompt_tokens, completion_tokens) = match self {
            Ask::Embed(embed) => (embed.prompt_tokens, 0),
            Ask::Rerank(rerank) => (rerank.prompt_tokens, 0),
            Ask::Moderate(_) => (0, 0),
            Ask::Draw(draw) => (draw.prompt_tokens, step.output_tokens.unwrap_or(draw.count * TOKENS_PER_IMAGE)),
        };
        Usage { prompt_tokens: step.prompt_tokens.unwrap_or(prompt_tokens), completion_tokens, ..Usage::default() }
    }

    /// The answer as one JSON document.
    pub(super) fn whole(&self, step: &Step) -> Vec<u8> {
        let usage = self.usage(step);
        let tells = step.usage != Some(false);
        let mut document = match self {
            Ask::Embed(embed) => return embed.whole(step),
            Ask::Rerank(rerank) => {
                let mut document = json!({ "id": "rank-1", "results": rerank.results() });
                if tells {
                    let units = step.search_units.unwrap_or((rerank.documents.len() as u64).div_ceil(100));
                    document["meta"] = json!({ "billed_units": { "search_units": units } });
                    document["usage"] = json!({ "total_tokens": usage.prompt_tokens });
                }
                document
            }
            Ask::Moderate(moderate) => json!({ "id": "modr-1", "results": moderate.results() }),
            Ask::Draw(draw) => {
                let image = |at: u64| json!({ "b64_json": BASE64_STANDARD.encode(format!("image {at}")) });
                let images: Vec<Value> = (0..draw.count).map(image).collect();
                let mut document = json!({ "created": 1_770_000_000, "output_format": "png", "data": images });
                if tells {
                    let (read, written) = (usage.prompt_tokens, usage.completion_tokens);
                    document["usage"] = json!({
                        "input_tokens": read, "output_tokens": written, "total_tokens": read + written,
                        "input_tokens_details": { "text_tokens": read, "image_tokens": 0 }
                    });
                }
                return document.to_string().into_bytes();
            }
        };
        document["model"] = json!(step.served_model.as_deref().unwrap_or(self.model()));
        document.to_string().into_bytes()
    }
}

impl Rerank {
    fn results(&self) -> Vec<Value> {
        let shared = |document: &String| document.split(' ').filter(|w| self.query.split(' ').any(|q| q == *w)).count();
        let mut ranks: Vec<(usize, usize)> = self.documents.iter().map(shared).enumerate().collect();
        ranks.sort_by_key(|(index, shared)| (std::cmp::Reverse(*shared), *index));
        let row = |(index, shared): &(usize, usize)| json!({ "index": index, "relevance_score": *shared as f64 / 8.0 });
        ranks.iter().take(self.top_n).map(row).collect()
    }
}

/// What OpenAI's newest moderation judges.
const CATEGORIES: [&str; 13] = [
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/instructions",
    "self-harm/intent",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
];

impl Moderate {
    fn results(&self) -> Vec<Value> {
        let by_category = |value: &dyn Fn(&str) -> Value| -> Value {
            CATEGORIES.iter().map(|name| ((*name).to_owned(), value(name))).collect::<serde_json::Map<_, _>>().into()
        };
        let result = |text: &String| {
            let is_violent = text.contains("kill");
            let score = if is_violent { 0.75 } else { 0.25 };
            json!({
                "flagged": is_violent,
                "categories": by_category(&|name| json!(is_violent && name == "violence")),
                "category_scores": by_category(&|name| json!(if name == "violence" { score } else { 0.0 })),
                "category_applied_input_types": by_category(&|_| json!(["text"])),
            })
        };
        self.texts.iter().map(result).collect()
    }
}
