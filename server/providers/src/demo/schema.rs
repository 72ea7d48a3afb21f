//! Smallest JSON that satisfies a schema.

use serde_json::{Map, Value, json};

const DEEPEST: usize = 16;

pub(super) fn example(schema: &Value, topic: &str) -> Value {
    build(schema, schema, topic, 0)
}

fn build(root: &Value, schema: &Value, topic: &str, depth: usize) -> Value {
    if depth > DEEPEST {
        return Value::Null;
    }
    if let Some(path) = schema["$ref"].as_str().and_then(|r| r.strip_prefix('#')) {
        return root.pointer(path).map_or(Value::Null, |s| build(root, s, topic, depth + 1));
    }
    if let Some(constant) = schema.get("const") {
        return constant.clone();
    }
    if let Some(first) = schema["enum"].as_array().and_then(|e| e.first()) {
        return first.clone();
    }
    for any in ["anyOf", "oneOf", "allOf"] {
        if let Some(first) = schema[any].as_array().and_then(|o| o.first()) {
            return build(root, first, topic, depth + 1);
        }
    }
    let kind = match &schema["type"] {
        Value::Array(kinds) => kinds.first().and_then(Value::as_str),
        kind => kind.as_str(),
    };
    match kind {
        Some("string") => Value::String(fit_text(schema, topic)),
        Some("integer") => json!(schema["minimum"].as_i64().unwrap_or(1)),
        Some("number") => json!(schema["minimum"].as_f64().unwrap_or(1.5)),
        Some("boolean") => json!(true),
        Some("null") => Value::Null,
        Some("array") => {
            let count = schema["minItems"].as_u64().unwrap_or(1).min(64);
            (0..count).map(|_| build(root, &schema["items"], topic, depth + 1)).collect()
        }
        _ => {
            let properties = schema["properties"].as_object();
            let members =
                properties.into_iter().flatten().map(|(name, s)| (name.clone(), build(root, s, topic, depth + 1)));
            Value::Object(members.collect::<Map<_, _>>())
        }
    }
}

fn fit_text(schema: &Value, topic: &str) -> String {
    let mut text = match schema["format"].as_str() {
        Some("date") => "2026-01-31".to_owned(),
        Some("date-time") => "2026-01-31T12:00:00Z".to_owned(),
        Some("email") => "someone@example.com".to_owned(),
        Some("uri") => "https://example.com/".to_owned(),
        _ => topic.to_owned(),
    };
    let shortest = usize::try_from(schema["minLength"].as_u64().unwrap_or(0)).unwrap_or(0).min(4_096);
    while text.chars().count() < shortest {
        text.push('x');
    }
    match schema["maxLength"].as_u64().and_then(|n| usize::try_from(n).ok()) {
        Some(longest) => text.chars().take(longest).collect(),
        None => text,
    }
}
