//! LiteLLM's metadata is any JSON, the contract's labels are texts: texts stay as they are, everything else is kept as `json:` and its JSON. A
//! label of its own keeps the id that the caller chose, the same as the import writes.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use crate::litellm::failure::Failure;

/// The label of an organization that holds the id which the caller chose.
pub(crate) const ORGANIZATION_ID: &str = "litellm_organization_id";
/// The same of a team.
pub(crate) const TEAM_ID: &str = "litellm_team_id";
/// The same of a user.
pub(crate) const USER_ID: &str = "litellm_user_id";
/// The label that holds a user's role in LiteLLM's words.
const USER_ROLE: &str = "litellm_user_role";
const OWN: [&str; 4] = [ORGANIZATION_ID, TEAM_ID, USER_ID, USER_ROLE];
const JSON: &str = "json:";

/// Labels of LiteLLM's metadata.
pub(crate) fn written(metadata: BTreeMap<String, Value>) -> Result<HashMap<String, String>, Failure> {
    let text = |value: Value| match value {
        Value::String(text) if !text.starts_with(JSON) => text,
        other => format!("{JSON}{other}"),
    };
    let labels: HashMap<_, _> = metadata.into_iter().map(|(name, value)| (name, text(value))).collect();
    match labels.keys().find(|name| OWN.contains(&name.as_str())) {
        Some(name) => Err(Failure::field("metadata", format!("{name} is a label of the gateway's own"))),
        None => Ok(labels),
    }
}

/// LiteLLM's metadata of labels.
pub(crate) fn read(labels: &HashMap<String, String>) -> BTreeMap<String, Value> {
    let shown = labels.iter().filter(|(name, _)| !OWN.contains(&name.as_str()));
    let value = |text: &str| {
        let json = text.strip_prefix(JSON).and_then(|json| serde_json::from_str(json).ok());
        json.unwrap_or_else(|| Value::String(text.to_owned()))
    };
    shown.map(|(name, text)| (name.clone(), value(text))).collect()
}

/// The id that the caller chose, else the gateway's own.
pub(crate) fn shown_id(labels: &HashMap<String, String>, label: &str, id: &str) -> String {
    labels.get(label).map_or(id, String::as_str).to_owned()
}

/// Keeps the id that the caller chose.
pub(crate) fn choose_id(labels: &mut HashMap<String, String>, label: &str, id: Option<String>) {
    if let Some(id) = id {
        labels.insert(label.to_owned(), id);
    }
}

/// Makes the creation of what has an id of the caller's own repeatable, so that two requests at once do not make two of it.
pub(crate) fn request_id(labels: &HashMap<String, String>, label: &str) -> String {
    let chosen = labels.get(label).filter(|id| id.len() <= 64);
    chosen.map(|id| format!("{label}:{id}")).unwrap_or_default()
}

/// Whether these labels are of what the caller calls so.
pub(crate) fn is_chosen(labels: &HashMap<String, String>, label: &str, id: &str) -> bool {
    labels.get(label).is_some_and(|chosen| chosen == id)
}

/// Keeps a user's role in LiteLLM's words.
pub(crate) fn set_role(labels: &mut HashMap<String, String>, role: &str) {
    labels.insert(USER_ROLE.to_owned(), role.to_owned());
}

/// A user's role in LiteLLM's words.
pub(crate) fn role(labels: &HashMap<String, String>) -> Option<String> {
    labels.get(USER_ROLE).cloned()
}

/// New labels, with what the gateway keeps among the old ones.
pub(crate) fn replaced(old: &HashMap<String, String>, mut new: HashMap<String, String>) -> HashMap<String, String> {
    for name in OWN {
        if let Some(kept) = old.get(name) {
            new.insert(name.to_owned(), kept.clone());
        }
    }
    new
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn any_json_comes_back_as_it_went_in() {
        let given = json!({"team": "blue", "n": 5, "tags": ["a"], "odd": "json:5", "none": null, "quoted": "\"5\""});
        let given: BTreeMap<String, Value> = serde_json::from_value(given).unwrap();
        let labels = written(given.clone()).unwrap();
        assert_eq!(labels["team"], "blue");
        assert_eq!(labels["n"], "json:5");
        assert_eq!(read(&labels), given);
    }

    #[test]
    fn what_the_gateway_keeps_is_neither_given_nor_shown_nor_lost() {
        let given = BTreeMap::from([(TEAM_ID.to_owned(), json!("x"))]);
        assert!(written(given).is_err());
        let mut labels = HashMap::new();
        choose_id(&mut labels, USER_ID, Some("alice".into()));
        assert!(read(&labels).is_empty());
        let replaced = replaced(&labels, HashMap::from([("a".to_owned(), "b".to_owned())]));
        assert_eq!(shown_id(&replaced, USER_ID, "user_1"), "alice");
    }
}
