//! Parameters of requests that a row gives.

use serde_json::{Map, Value, json};

use super::{node::Node, section::Section};
use crate::config::Defaults;

/// Those that our own file has, with the values they may have.
const NUMBERS: [(&str, f64, f64); 4] =
    [("temperature", 0.0, 2.0), ("top_p", 0.0, 1.0), ("frequency_penalty", -2.0, 2.0), ("presence_penalty", -2.0, 2.0)];
const MOST_TOKENS: u64 = 1_000_000_000;

/// The defaults of a row; `None`: it gives none.
pub(super) fn defaults(params: &Section<'_>) -> Option<Value> {
    let mut defaults = Map::new();
    for (key, least, most) in NUMBERS {
        let Some(text) = params.text(key) else { continue };
        match text.parse::<f64>().ok().filter(|n| (least..=most).contains(n)) {
            Some(number) => drop(defaults.insert(key.into(), json!(number))),
            None => params.ignored(key, format!("must be a number from {least} to {most}")),
        }
    }
    for (key, least) in [("top_k", 1), ("seed", 0)] {
        if let Some(number) = params.count(key, least) {
            defaults.insert(key.into(), number.into());
        }
    }
    let limits = ["max_tokens", "max_completion_tokens"].map(|key| (key, params.count(key, 1)));
    if let Some((key, limit)) = limits.iter().find_map(|(key, limit)| Some((*key, (*limit)?))) {
        match limit <= MOST_TOKENS {
            true => drop(defaults.insert("max_tokens".into(), limit.into())),
            false => params.ignored(key, format!("must be at most {MOST_TOKENS}")),
        }
    }
    if let Some(stop) = params.texts("stop").filter(|stop| !stop.is_empty()) {
        match stop.len() <= 16 && stop.iter().all(|text| !text.is_empty()) {
            true => drop(defaults.insert("stop".into(), json!(stop))),
            false => params.ignored("stop", "must be at most 16 texts that are not empty"),
        }
    }
    if let Some(word) = params.text("reasoning_effort") {
        defaults.insert("reasoning_effort".into(), word.into());
    }
    if let Some(extra) = extra(params) {
        defaults.insert("extra_body".into(), extra.into());
    }
    (!defaults.is_empty()).then(|| defaults.into())
}

fn extra(params: &Section<'_>) -> Option<Map<String, Value>> {
    let Node::Map(entries) = params.node("extra_body")? else {
        params.ignored("extra_body", "must be a map");
        return None;
    };
    params.differently("extra_body", "added to calls in OpenAI's dialect that do not say the same themselves");
    let mut extra = Map::new();
    for (name, node) in entries {
        match Defaults::takes(name) {
            true => drop(extra.insert(name.clone(), value(node))),
            false => params.ignored(&format!("extra_body.{name}"), "is the gateway's or the caller's to say"),
        }
    }
    (!extra.is_empty()).then_some(extra)
}

fn value(node: &Node) -> Value {
    match node {
        Node::Null => Value::Null,
        Node::Flag(flag) => (*flag).into(),
        Node::Number(text) => serde_json::from_str(text).unwrap_or_else(|_| text.clone().into()),
        Node::Text(text) => text.clone().into(),
        Node::List(items) => items.iter().map(value).collect(),
        Node::Map(entries) => entries.iter().map(|(name, node)| (name.clone(), value(node))).collect(),
    }
}
