//! A small document for a JSON schema: enough to satisfy the schemas of tools and response formats.

use serde_json::{Map, Value, json};

/// A value that satisfies `schema`, the same one every time.
///
/// Known: `type` (also a list), `properties` (all of them, required or not), `items`, `minItems`, `enum`, `const`,
/// `default`, `anyOf`/`oneOf`/`allOf` (the first), `$ref` within the document, numeric minima, string length minima.
pub(super) fn example(schema: &Value) -> Value {
    build(schema, schema, 0)
}

fn build(schema: &Value, root: &Value, depth: usize) -> Value {
    // A recursive schema can always end in null here: its recursion must be optional to be satisfiable at all.
    if depth > 8 {
        return Value::Null;
    }
    let inner = |schema: &Value| build(schema, root, depth + 1);
    if let Some(value) = schema.get("const").or_else(|| schema.get("default")) {
        return value.clone();
    }
    if let Some(value) = schema["enum"].get(0) {
        return value.clone();
    }
    if let Some(target) = schema["$ref"].as_str().and_then(|path| root.pointer(path.trim_start_matches('#'))) {
        return inner(target);
    }
    if let Some(choice) = ["anyOf", "oneOf", "allOf"].iter().find_map(|name| schema[*name].get(0)) {
        return inner(choice);
    }
    let kind = schema["type"].as_str().or_else(|| schema["type"][0].as_str());
    match kind {
        Some("string") => {
            let least = schema["minLength"].as_u64().unwrap_or(0) as usize;
            json!(format!("{:x<least$}", "scripted"))
        }
        Some("integer") => json!(schema["minimum"].as_f64().unwrap_or(7.0).ceil() as i64),
        Some("number") => json!(schema["minimum"].as_f64().unwrap_or(1.5)),
        Some("boolean") => json!(true),
        Some("null") => Value::Null,
        Some("array") => {
            let least = schema["minItems"].as_u64().unwrap_or(1).max(1) as usize;
            vec![inner(&schema["items"]); least].into()
        }
        _ => {
            let properties = schema["properties"].as_object();
            let fields = properties.into_iter().flatten().map(|(name, schema)| (name.clone(), inner(schema)));
            fields.collect::<Map<_, _>>().into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_schema_gets_a_value_that_fits() {
        let schema = json!({
            "type": "object",
            "$defs": { "unit": { "enum": ["C", "F"] } },
            "properties": {
                "city": { "type": "string" },
                "days": { "type": "integer", "minimum": 3 },
                "unit": { "$ref": "#/$defs/unit" },
                "tags": { "type": "array", "items": { "type": "string" }, "minItems": 2 },
                "note": { "type": ["string", "null"] },
                "exact": { "anyOf": [{ "type": "boolean" }, { "type": "null" }] }
            },
            "required": ["city"]
        });
        let expected = json!({
            "city": "scripted", "days": 3, "unit": "C", "tags": ["scripted", "scripted"], "note": "scripted", "exact": true
        });
        assert_eq!(example(&schema), expected);
    }

    #[test]
    fn a_recursive_schema_ends() {
        example(&json!({ "type": "object", "properties": { "next": { "$ref": "#" } } }));
    }
}
