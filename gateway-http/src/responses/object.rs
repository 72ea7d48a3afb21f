//! The `response` object: what was asked, said back, around what was answered.

use serde_json::{Map, Value, json};
use tollgate_proto::v1::{FinishReason, Finished, Started, Usage, completion_event::Event};

use crate::{
    chat::receipt_text,
    error::Refusal,
    openai::{Invalid, members::Members},
};

/// The member that has what the gateway itself tells of an answer, where it is asked for.
pub(super) const OWN: &str = "tollgate";

/// Notes what the gateway itself tells of an answer.
pub(super) fn note(own: &mut Map<String, Value>, event: &Event) {
    match event {
        Event::Routing(routing) => own.insert("route".into(), routing.in_words().into()),
        Event::Receipt(receipt) => own.insert("receipt".into(), receipt_text(receipt).into()),
        _ => None,
    };
}

/// The same of one that failed.
pub(super) fn note_failure(own: &mut Map<String, Value>, refusal: &Refusal) {
    if let Some(receipt) = refusal.receipt() {
        own.insert("receipt".into(), receipt.into());
    }
}

/// What a request that says nothing of it means, in the order in which it is shown.
const DEFAULTS: [(&str, &str); 21] = [
    ("background", "false"),
    ("instructions", "null"),
    ("max_output_tokens", "null"),
    ("max_tool_calls", "null"),
    ("parallel_tool_calls", "true"),
    ("prompt_cache_key", "null"),
    ("prompt_cache_retention", "null"),
    ("reasoning", r#"{"effort":null,"summary":null}"#),
    ("safety_identifier", "null"),
    ("service_tier", r#""default""#),
    ("temperature", "1.0"),
    ("top_p", "1.0"),
    ("presence_penalty", "0.0"),
    ("frequency_penalty", "0.0"),
    ("text", r#"{"format":{"type":"text"}}"#),
    ("tool_choice", r#""auto""#),
    ("tools", "[]"),
    ("top_logprobs", "0"),
    ("truncation", r#""disabled""#),
    ("user", "null"),
    ("metadata", "{}"),
];

/// What a request says of its answer.
pub(super) fn asked(body: &str) -> Result<Map<String, Value>, Invalid> {
    let mut m = Members::read(body, "")?;
    let mut object = Map::new();
    for (name, default) in DEFAULTS {
        let json = m.raw(name).unwrap_or(default);
        let value: Value = serde_json::from_str(json).map_err(|e| Invalid::at(name, e.to_string()))?;
        object.insert(name.to_owned(), value);
    }
    if let Some(text) = object.get_mut("text").and_then(Value::as_object_mut) {
        text.entry("format").or_insert_with(|| json!({"type": "text"}));
    }
    Ok(object)
}

/// The object of an answer that begins.
pub(super) fn begun(asked: &Map<String, Value>, id: &str, started: &Started) -> Map<String, Value> {
    let mut object = Map::new();
    object.insert("id".into(), id.into());
    object.insert("object".into(), "response".into());
    object.insert("created_at".into(), started.created.into());
    object.insert("status".into(), "in_progress".into());
    object.insert("completed_at".into(), Value::Null);
    object.insert("error".into(), Value::Null);
    object.insert("incomplete_details".into(), Value::Null);
    object.insert("model".into(), started.served_model.as_str().into());
    object.insert("output".into(), json!([]));
    object.insert("usage".into(), Value::Null);
    object.extend(asked.clone());
    object
}

/// The object of an answer that is still to begin.
pub(super) fn queued(asked: &Map<String, Value>, id: &str, model: &str, created: u64) -> Map<String, Value> {
    let started = Started {
        created: created.try_into().unwrap_or_default(),
        served_model: model.to_owned(),
        ..Started::default()
    };
    let mut object = begun(asked, id, &started);
    object.insert("status".into(), "queued".into());
    object
}

/// The status of an answer that ended, and why it is not complete.
pub(super) fn status(finished: Option<&Finished>) -> (&'static str, Option<&'static str>) {
    match finished.map(Finished::reason) {
        Some(FinishReason::Length) => ("incomplete", Some("max_output_tokens")),
        Some(FinishReason::ContentFilter) => ("incomplete", Some("content_filter")),
        _ => ("completed", None),
    }
}

/// The tier that served, in words of the API; `None`: it has none for it.
pub(super) fn service_tier(native: &str) -> Option<&str> {
    const WORDS: [&str; 6] = ["auto", "default", "flex", "scale", "priority", "fast"];
    match native {
        "standard" => Some("default"),
        word => WORDS.contains(&word).then_some(word),
    }
}

/// The `usage` object.
pub(super) fn usage(usage: &Usage) -> Value {
    let (input, output) = (usage.input.unwrap_or_default(), usage.output.unwrap_or_default());
    json!({
        "input_tokens": input.total,
        "input_tokens_details": {
            "cached_tokens": input.cached_read,
            "cache_write_tokens": input.cache_write_5m.saturating_add(input.cache_write_1h),
        },
        "output_tokens": output.total,
        "output_tokens_details": {"reasoning_tokens": output.reasoning},
        "total_tokens": input.total.saturating_add(output.total),
    })
}

/// The `error` of an answer that failed.
pub(super) fn error(refusal: &Refusal) -> Value {
    json!({"code": refusal.code().unwrap_or("server_error"), "message": refusal.message()})
}
