//! An event as JSON: the same for every receiver that has no form of its own.

use serde_json::{Map, Value, json};
use tollgate_proto::v1::{Attempt, Usage};

use crate::{
    Event,
    event::{rfc3339, usd},
};

/// The whole event; what is empty is left out.
pub(crate) fn whole(event: &Event) -> Map<String, Value> {
    let record = event.record();
    let routing = record.routing.as_ref();
    let mut told = Map::new();
    let mut put = |name: &str, value: Value| {
        if !is_empty(&value) {
            told.insert(name.to_owned(), value);
        }
    };
    put("id", json!(event.id));
    put("time", json!(rfc3339(event.end_us())));
    put("action", json!(record.action));
    put("call_id", json!(record.call_id));
    put("status", json!(if event.error().is_some() { "error" } else { "ok" }));
    put("error", json!(event.error()));
    put("model", json!(record.model));
    if let Some(attempt) = event.attempt() {
        put("provider", json!(attempt.provider));
        put("deployment", json!(attempt.deployment));
    }
    put("duration_us", json!(record.duration_us));
    put("first_content_us", json!(event.attempt().and_then(|a| a.first_content_us)));
    if let Some(usage) = &record.usage {
        put("usage", json!(tokens(usage)));
        put("cost_nano_usd", json!(usage.cost_nano_usd));
        put("cost_usd", json!(usd(usage.cost_nano_usd)));
    }
    put("key_id", json!(record.key_id));
    put("key_name", json!(event.key_name));
    put("organization_id", json!(event.organization_id));
    put("team_id", json!(event.team_id));
    put("user_id", json!(event.user_id));
    put("tags", json!(record.tags));
    put("metadata", json!(object(&record.metadata)));
    put("finish_reasons", json!(record.finish_reasons().map(|r| plain(r.as_str_name())).collect::<Vec<_>>()));
    put("attempts", json!(routing.map(|r| r.attempts.iter().map(attempt).collect::<Vec<_>>())));
    put("config_hash", json!(routing.map(|r| &r.config_hash)));
    put("subject", json!(record.subject));
    put("changes", json!(record.changes));
    put("peer", json!(record.peer));
    put("replica", json!(event.replica));
    put("sequence", json!(record.sequence));
    told
}

/// Tokens by class; only what there was.
pub(crate) fn tokens(usage: &Usage) -> Map<String, Value> {
    let input = usage.input.unwrap_or_default();
    let output = usage.output.unwrap_or_default();
    let counts = [
        ("input_tokens", input.total),
        ("cached_read_tokens", input.cached_read),
        ("cache_write_tokens", input.cache_write_5m.saturating_add(input.cache_write_1h)),
        ("output_tokens", output.total),
        ("reasoning_tokens", output.reasoning),
    ];
    let mut told: Map<String, Value> =
        counts.into_iter().filter(|(_, n)| *n > 0).map(|(name, n)| (name.to_owned(), json!(n))).collect();
    if usage.estimated {
        told.insert("estimated".into(), json!(true));
    }
    told
}

fn attempt(attempt: &Attempt) -> Value {
    json!({
        "id": attempt.id,
        "deployment": attempt.deployment,
        "provider": attempt.provider,
        "class": attempt.class,
        "upstream_status": attempt.upstream_status,
        "native_code": attempt.native_code,
        "upstream_request_id": attempt.upstream_request_id,
        "start_us": attempt.start_us,
        "first_content_us": attempt.first_content_us,
        "end_us": attempt.end_us,
        "cost_nano_usd": attempt.usage.as_ref().map(|usage| usage.cost_nano_usd),
    })
}

/// In an order of its own: the same event gives the same bytes.
pub(crate) fn object(metadata: &std::collections::BTreeMap<String, String>) -> Map<String, Value> {
    metadata.iter().map(|(name, value)| (name.clone(), json!(value))).collect()
}

/// `FINISH_REASON_STOP` is `stop`.
fn plain(name: &str) -> String {
    name.trim_start_matches("FINISH_REASON_").to_ascii_lowercase()
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}
