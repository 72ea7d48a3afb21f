//! The native file of a translation, with what it says and what was lost as comments.

use std::fmt::Write;

use serde_json::{Map, Value};

use super::{
    Translated,
    report::{Note, Verdict},
};

/// What stands before each part.
const COMMENTS: &[(&str, &str)] = &[
    ("listen", "The one port for gRPC, gRPC-Web and REST."),
    ("log", "Never a prompt, an answer or a secret."),
    ("limits", "On what comes in."),
    (
        "missing_secrets",
        "As LiteLLM does: a secret that is not there does not stop the start. `refuse_start` is safer.",
    ),
    ("store", "What replicas share. Virtual keys are hashed with `secret`: with another one, none of them works."),
    ("budgets", "Made once at the start; later changes are made by BudgetService."),
    ("providers", "Accounts at providers. `tollgate models` lists what the catalogue knows of their models."),
    ("models", "The names that callers use, and what serves them. Prices are dollars for a million tokens."),
    ("drop_params", "Whether parameters that a provider cannot heed are left out instead of refused."),
    ("routing", "Rules over all models: docs/routing.md."),
    ("admin_completions", "Whether admin keys may call models, as the master key did."),
    ("keys", "Virtual keys that exist from the start, made once; others are made over the admin API."),
];

/// The native file.
pub fn convert(translated: &Translated, origin: &str) -> Result<String, serde_yaml_ng::Error> {
    let mut text = format!("# Converted from {origin}, in LiteLLM's dialect.\n");
    if has_secrets(&translated.native) {
        text.push_str("# Secrets that stood there as text stand here as text: put them into variables (`env:NAME`) or files (`file:PATH`).\n");
    }
    let rest: Vec<&Note> = translated.report.rest().collect();
    if !rest.is_empty() {
        text.push_str("#\n# Not as it was:\n");
    }
    for note in rest {
        let (mark, why) = match &note.verdict {
            Verdict::Differently(how) => ("differently", how),
            Verdict::Ignored(why) => ("not honoured", why),
            Verdict::Honoured => continue,
        };
        // One line each, whatever stands in the path.
        let path = note.path.replace(['\n', '\r'], " ");
        let _ = writeln!(text, "# - {path}: {mark}: {}", why.replace(['\n', '\r'], " "));
    }
    for (key, value) in &translated.native {
        let comment = COMMENTS.iter().find(|(part, _)| part == key).map_or("", |(_, comment)| comment);
        let part: Map<String, Value> = [(key.clone(), value.clone())].into_iter().collect();
        let _ = write!(text, "\n# {comment}\n{}", serde_yaml_ng::to_string(&part)?);
    }
    Ok(text)
}

/// Whether a secret stands in it as text.
fn has_secrets(native: &Map<String, Value>) -> bool {
    const REFERENCES: [&str; 4] = ["env:", "file:", "template:", "derive:"];
    const SECRETS: [&str; 9] = [
        "api_key",
        "secret",
        "secret_key",
        "client_secret",
        "secret_access_key",
        "session_token",
        "credentials",
        "postgres_url",
        "redis_url",
    ];
    fn any(value: &Value, is_secret: bool) -> bool {
        match value {
            Value::String(text) => is_secret && !REFERENCES.iter().any(|kind| text.starts_with(kind)),
            Value::Object(map) => map.iter().any(|(key, value)| any(value, SECRETS.contains(&key.as_str()))),
            Value::Array(items) => items.iter().any(|item| any(item, false)),
            _ => false,
        }
    }
    native.values().any(|value| any(value, false))
}
