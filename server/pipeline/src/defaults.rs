//! What a deployment gives to completions where their caller says nothing.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use tollgate_domain::{Class, Failure};
use tollgate_proto::v1::{CompletionRequest, Dialect, Original, OutputLimitSpelling, Reasoning, StopSequences};
use tollgate_providers::json::edit;
use tollgate_router::Defaults;

/// `request` with what it does not say; its own bytes say the same then. Not copied unless something changes.
pub(crate) fn fill(
    request: Arc<CompletionRequest>,
    defaults: Option<&Defaults>,
) -> Result<Arc<CompletionRequest>, Failure> {
    let Some(defaults) = defaults else { return Ok(request) };
    let mut filled = CompletionRequest::clone(&request);
    let dialect = request.original.as_ref().map(Original::dialect);
    let mut edits: Vec<(&str, Option<String>)> = Vec::new();
    let mut say = |parameter, value: Value| {
        if let Some(name) = dialect.and_then(|dialect| named(dialect, parameter)) {
            edits.push((name, Some(value.to_string())));
        }
    };
    macro_rules! fill {
        ($($field:ident),+) => {
            $(if let (None, Some(value)) = (filled.$field, defaults.$field) {
                filled.$field = Some(value);
                say(stringify!($field), json!(value));
            })+
        };
    }
    fill!(temperature, top_p, top_k, frequency_penalty, presence_penalty, seed);
    if filled.stop.is_none() && !defaults.stop.is_empty() {
        filled.stop = Some(StopSequences { sequences: defaults.stop.clone(), single: false });
        say("stop", json!(defaults.stop));
    }
    if let (None, Some(limit)) = (filled.max_output_tokens, defaults.max_output_tokens) {
        filled.max_output_tokens = i64::try_from(limit).ok();
        filled.max_output_spelling = OutputLimitSpelling::MaxTokens as i32;
        say("max_output_tokens", json!(limit));
    }
    if let (None, Some(word)) = (&filled.reasoning, &defaults.reasoning_effort) {
        filled.reasoning = Some(Reasoning { effort_native: Some(word.clone()), budget_tokens: None });
        let is_object = dialect == Some(Dialect::OpenaiResponses);
        say("reasoning_effort", if is_object { json!({"effort": word}) } else { json!(word) });
    }
    // Members without a name in the contract are of the request's own dialect.
    if matches!(dialect, None | Some(Dialect::OpenaiChat | Dialect::OpenaiCompletions)) && !defaults.extra.is_empty() {
        let mut extra: Map<String, Value> = match filled.extra_json.as_str() {
            "" => Map::new(),
            text => serde_json::from_str(text).map_err(unsendable)?,
        };
        for (name, value) in defaults.extra.iter().filter(|(name, _)| !request_says(&request, name)) {
            extra.insert(name.clone(), serde_json::from_str(value).map_err(unsendable)?);
            if dialect.is_some() {
                edits.push((name, Some(value.clone())));
            }
        }
        filled.extra_json = Value::from(extra).to_string();
    }
    if let Some(original) = filled.original.as_mut().filter(|_| !edits.is_empty()) {
        original.body = edit(&original.body, &edits).map_err(unsendable)?.into();
    }
    Ok(Arc::new(filled))
}

fn request_says(request: &CompletionRequest, name: &str) -> bool {
    serde_json::from_str::<Map<String, Value>>(&request.extra_json).is_ok_and(|extra| extra.contains_key(name))
}

/// How a dialect calls a parameter; `None`: it has none.
fn named(dialect: Dialect, parameter: &'static str) -> Option<&'static str> {
    use Dialect::{AnthropicMessages, OpenaiChat, OpenaiCompletions, OpenaiResponses};
    match (dialect, parameter) {
        (OpenaiChat | OpenaiCompletions, "max_output_tokens") => Some("max_tokens"),
        (OpenaiCompletions, "reasoning_effort") => None,
        (OpenaiChat | OpenaiCompletions, other) => Some(other),
        (OpenaiResponses, "reasoning_effort") => Some("reasoning"),
        (OpenaiResponses, "temperature" | "top_p" | "max_output_tokens") => Some(parameter),
        (AnthropicMessages, "max_output_tokens") => Some("max_tokens"),
        (AnthropicMessages, "stop") => Some("stop_sequences"),
        (AnthropicMessages, "temperature" | "top_p" | "top_k") => Some(parameter),
        _ => None,
    }
}

fn unsendable(error: impl std::fmt::Display) -> Failure {
    Failure::new(Class::InvalidRequest, format!("the request cannot be sent on: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn defaults() -> Defaults {
        Defaults {
            temperature: Some(0.5),
            top_k: Some(40),
            stop: vec!["END".into()],
            max_output_tokens: Some(100),
            reasoning_effort: Some("low".into()),
            extra: vec![("guided".into(), r#"{"a":1}"#.into()), ("own".into(), "2".into())],
            ..Defaults::default()
        }
    }

    fn written(dialect: Dialect, body: &str, request: CompletionRequest) -> (CompletionRequest, String) {
        let original = Some(Original { dialect: dialect as i32, body: body.to_owned().into() });
        let filled = fill(Arc::new(CompletionRequest { original, ..request }), Some(&defaults())).unwrap();
        let body = String::from_utf8(filled.original.as_ref().unwrap().body.to_vec()).unwrap();
        (CompletionRequest::clone(&filled), body)
    }

    #[test]
    fn what_the_caller_says_stays_and_the_rest_is_said_in_the_callers_dialect() {
        let said =
            CompletionRequest { temperature: Some(1.0), extra_json: r#"{"own":1}"#.into(), ..Default::default() };
        let (filled, body) = written(Dialect::OpenaiChat, r#"{"temperature":1.0,"own":1}"#, said);
        let expected = r#"{"temperature":1.0,"own":1,"top_k":40,"stop":["END"],"max_tokens":100,"reasoning_effort":"low","guided":{"a":1}}"#;
        assert_eq!(body, expected);
        assert_eq!((filled.temperature, filled.top_k, filled.max_output_tokens), (Some(1.0), Some(40), Some(100)));
        assert_eq!(filled.extra_json, r#"{"own":1,"guided":{"a":1}}"#);

        let said = CompletionRequest { max_output_tokens: Some(7), ..Default::default() };
        let (filled, body) = written(Dialect::AnthropicMessages, r#"{"max_tokens":7}"#, said);
        assert_eq!(body, r#"{"max_tokens":7,"temperature":0.5,"top_k":40,"stop_sequences":["END"]}"#);
        assert_eq!((filled.max_output_tokens, filled.extra_json.as_str()), (Some(7), ""));

        let (_, body) = written(Dialect::OpenaiResponses, "{}", CompletionRequest::default());
        assert_eq!(body, r#"{"temperature":0.5,"max_output_tokens":100,"reasoning":{"effort":"low"}}"#);
    }

    #[test]
    fn without_defaults_nothing_is_copied() {
        let request = Arc::new(CompletionRequest::default());
        assert!(Arc::ptr_eq(&fill(request.clone(), None).unwrap(), &request));
    }
}
