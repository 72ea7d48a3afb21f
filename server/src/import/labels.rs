//! What people wrote on a row, and what of it has no counterpart here.

use std::collections::HashMap;

use serde_json::Value;

/// Entries of LiteLLM's `metadata` that mean something to it and that nothing here heeds; some hold secrets of loggers. None is copied.
const MEANT: [&str; 26] = [
    "callback_settings",
    "disable_global_guardrails",
    "enforced_params",
    "guardrails",
    "litellm_auth_metadata",
    "logging",
    "mcp_rpm_limit",
    "model_rpm_limit",
    "model_tpm_limit",
    "policies",
    "prompts",
    "rpm_limit_type",
    "scim_metadata",
    "secret_manager_settings",
    "soft_budget_alerting_emails",
    "tag_rpm_limit",
    "team_member_budget_duration",
    "team_member_budget_id",
    "team_member_key_duration",
    "team_member_rpm_limit",
    "team_member_tpm_limit",
    "temp_budget_expiry",
    "temp_budget_increase",
    "throttle_on_budget_exceeded",
    "tpm_limit_type",
    "user_api_key_auth",
];
/// What the contract takes, less the labels that the import adds.
const MOST: usize = 28;

/// Whether a column says nothing.
pub(super) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty() || text == "{}" || text == "[]",
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(true) | Value::Number(_) => false,
    }
}

/// Notes every one of `columns` that says something.
pub(super) fn left_out(row: &Value, columns: &[&str], notes: &mut Vec<String>) {
    for column in columns.iter().filter(|column| !is_empty(&row[**column])) {
        notes.push(format!("{column} has no counterpart"));
    }
}

/// Labels and tags of a row's `metadata`.
pub(super) fn labels(metadata: Option<&Value>, notes: &mut Vec<String>) -> (HashMap<String, String>, Vec<String>) {
    let (mut labels, mut tags) = (HashMap::new(), Vec::new());
    for (name, value) in metadata.and_then(Value::as_object).into_iter().flatten() {
        if is_empty(value) {
            continue;
        }
        if name == "tags" {
            tags.extend(value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned));
            continue;
        }
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        if MEANT.contains(&name.as_str()) {
            notes.push(format!("metadata.{name} has no counterpart"));
        } else if labels.len() == MOST || name.is_empty() || name.len() > 128 || text.len() > 1_024 {
            notes.push(format!("metadata.{} does not fit and is left out", short(name, 128)));
        } else {
            labels.insert(name.clone(), text);
        }
    }
    tags.retain(|tag| {
        let fits = (1..=128).contains(&tag.len());
        if !fits {
            notes.push("a tag of more than 128 bytes, or of none, is left out".into());
        }
        fits
    });
    if tags.len() > 32 {
        notes.push(format!("{} of {} tags do not fit and are left out", tags.len() - 32, tags.len()));
        tags.truncate(32);
    }
    (labels, tags)
}

/// The beginning of a text, of at most so many bytes.
pub(super) fn short(text: &str, most: usize) -> &str {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Which models, as a list that none bounds: of a team or organization.
pub(super) fn bound(models: Option<&Vec<String>>, notes: &mut Vec<String>) -> Vec<String> {
    let models = models.cloned().unwrap_or_default();
    if models.iter().any(|m| m == "*" || m == "all-proxy-models") {
        return Vec::new();
    }
    // Where nothing but this stands it stays: a name that no model has.
    let only = models.iter().all(|m| m == "no-default-models");
    patterns(models.into_iter().filter(|m| only || m != "no-default-models").collect(), notes)
}

/// A list of models that bounds those of a key, and what has it.
pub(super) type Bound<'a> = (&'a str, &'a [String]);

/// Which models a key may use: of its own list those that every bound has too.
pub(super) fn rights(own: Option<&Vec<String>>, bounds: &[Bound<'_>], notes: &mut Vec<String>) -> Vec<String> {
    let own = own.cloned().unwrap_or_default();
    let all = own.is_empty() || own.iter().any(|m| matches!(m.as_str(), "*" | "all-proxy-models" | "all-team-models"));
    let mut models = if all { vec!["*".to_owned()] } else { own };
    models.retain(|m| m != "no-default-models");
    for (whose, bound) in bounds {
        if bound.is_empty() || bound.iter().any(|m| m == "all-proxy-models" || m == "*") {
            continue;
        }
        notes.push(format!("only models that its {whose} may use as well: a {whose} has no list of models here"));
        let allowed: Vec<String> = bound.iter().filter(|m| *m != "no-default-models").cloned().collect();
        if models.iter().any(|m| m == "*") {
            models = allowed;
        } else {
            models.retain(|m| allowed.contains(m));
        }
    }
    patterns(models, notes)
}

fn patterns(models: Vec<String>, notes: &mut Vec<String>) -> Vec<String> {
    for model in models.iter().filter(|m| m.len() > 1 && m.contains('*')) {
        notes.push(format!("models: {:?} is taken over as it is written", short(model, 64)));
    }
    models
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn list(models: &[&str]) -> Option<Vec<String>> {
        Some(models.iter().map(|m| (*m).to_owned()).collect())
    }

    #[test]
    fn words_for_sets_of_models_become_such_sets() {
        let notes = &mut Vec::new();
        for (own, user, expected) in [
            (None, None, vec!["*"]),
            (list(&[]), None, vec!["*"]),
            (list(&["all-team-models"]), None, vec!["*"]),
            (list(&["gpt", "no-default-models"]), None, vec!["gpt"]),
            (list(&["no-default-models"]), None, vec![]),
            (list(&["gpt", "llama"]), list(&["llama"]), vec!["llama"]),
            (None, list(&["llama"]), vec!["llama"]),
            (None, list(&["no-default-models"]), vec![]),
        ] {
            let bounds: Vec<_> = user.as_deref().map(|models| ("user", models)).into_iter().collect();
            assert_eq!(rights(own.as_ref(), &bounds, notes), expected, "{own:?} {user:?}");
        }
        let (user, project) = (["gpt".to_owned(), "llama".to_owned()], ["llama".to_owned(), "claude".to_owned()]);
        assert_eq!(rights(None, &[("user", &user), ("project", &project)], notes), ["llama"], "every bound holds");
        for (models, expected) in [
            (&[] as &[&str], &[] as &[&str]),
            (&["all-proxy-models"], &[]),
            (&["no-default-models"], &["no-default-models"]),
            (&["gpt", "no-default-models"], &["gpt"]),
        ] {
            assert_eq!(bound(list(models).as_ref(), notes), expected, "{models:?}");
        }
    }

    #[test]
    fn what_loggers_need_is_never_copied() {
        let notes = &mut Vec::new();
        let metadata =
            json!({"logging": [{"secret": "s"}], "tags": ["a", ""], "cost centre": 7, "long": "x".repeat(1_025)});
        let (labels, tags) = labels(Some(&metadata), notes);
        assert_eq!(labels, HashMap::from([("cost centre".to_owned(), "7".to_owned())]));
        assert_eq!(tags, ["a"]);
        assert_eq!(notes.len(), 3, "{notes:?}");
        assert_eq!(short("aä", 2), "a");
    }
}
