//! `POST /v1/messages` as a `CompletionRequest`.

use serde_json::Value;
use tollgate_proto::v1::{
    CompletionRequest, FunctionTool, JsonSchemaFormat, Reasoning, ResponseFormat, StopSequences, Tool, ToolChoice,
    ToolChoiceMode, response_format::Format, tool::Kind, tool_choice::Choice,
};

use super::{Places, content};
use crate::openai::{
    Invalid, Wishes,
    members::{Members, items},
    wishes::{take_litellms, take_tags},
};

/// The name of a schema, which other dialects ask for.
const FORMAT: &str = "answer";
/// How much to think where a caller leaves it to the model.
const DEFAULT_EFFORT: &str = "high";

/// A conversation that the provider holds.
pub(super) const THREAD: &str = "thread";

pub(super) fn read(body: &str) -> Result<(CompletionRequest, Wishes, Places), Invalid> {
    let mut m = Members::read(body, "")?;
    let mut wishes = Wishes { stream: m.take("stream")?.unwrap_or(false), include_usage: true, ..Wishes::default() };
    wishes.fallbacks = m.raw("fallbacks").map(fallbacks).transpose()?.unwrap_or_default();
    wishes.tags = take_tags(&mut m)?;
    wishes.tags.extend(take_litellms(&mut m)?);
    wishes.drop_params = m.take("drop_params")?;
    // What a provider holds of a conversation cannot be weighed before it is billed, and is at no other deployment.
    if m.raw("thread").is_some() {
        return Err(Invalid::at(THREAD, "is not kept by the gateway; send the whole conversation"));
    }
    let mut request = CompletionRequest { model: m.take("model")?, ..CompletionRequest::default() };
    let mut places = Places::default();
    if let Some(system) = m.raw("system") {
        request.messages.push(content::system(system)?);
        places.system();
    }
    if let Some(messages) = m.raw("messages") {
        for (i, message) in items(messages, "messages")?.into_iter().enumerate() {
            let path = format!("messages[{i}]");
            let became = content::message(message, &path)?;
            places.message(&path, &became);
            request.messages.extend(became);
        }
    }
    if let Some(tools) = m.raw("tools") {
        for (i, json) in items(tools, "tools")?.into_iter().enumerate() {
            request.tools.push(tool(json, &format!("tools[{i}]"))?);
        }
    }
    if let Some(choice) = m.raw("tool_choice") {
        tool_choice(choice, &mut request)?;
    }
    request.max_output_tokens = m.take("max_tokens")?;
    request.temperature = m.take("temperature")?;
    request.top_p = m.take("top_p")?;
    request.top_k = m.take("top_k")?;
    let sequences: Option<Vec<String>> = m.take("stop_sequences")?;
    request.stop = sequences.map(|sequences| StopSequences { sequences, single: false });
    request.service_tier_native = m.take("service_tier")?;
    let output = output(&mut m, &mut request)?;
    let metadata = metadata(&mut m, &mut request, &mut wishes)?;
    m.without_nulls();
    request.extra_json = with(m.rest(), [("output_config", output), ("metadata", metadata)]);
    Ok((request, wishes, places))
}

/// Models to try instead: names, or objects that name them, as Anthropic writes it; a word of Anthropic's leaves them to
/// the gateway.
fn fallbacks(json: &str) -> Result<Vec<String>, Invalid> {
    #[derive(serde::Deserialize)]
    #[serde(untagged)]
    enum Fallback {
        Name(String),
        Model(Named),
    }
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Named {
        model: String,
    }
    if json.starts_with('"') {
        return Ok(Vec::new());
    }
    let all: Result<Vec<Fallback>, _> = serde_json::from_str(json);
    let all = all
        .map_err(|_| Invalid::at("fallbacks", "must be a list of names of models, or of objects with a model alone"))?;
    let name = |fallback| match fallback {
        Fallback::Name(name) | Fallback::Model(Named { model: name }) => name,
    };
    Ok(all.into_iter().map(name).collect())
}

/// An object's text, with what is left of its members that were looked into.
fn with<const N: usize>(object: String, more: [(&str, String); N]) -> String {
    let more = more.into_iter().filter(|(_, json)| !json.is_empty()).map(|(name, json)| format!("\"{name}\":{json}"));
    let inner = object.strip_prefix('{').and_then(|o| o.strip_suffix('}')).map(str::to_owned);
    let members: Vec<String> = inner.into_iter().chain(more).collect();
    if members.is_empty() { String::new() } else { format!("{{{}}}", members.join(",")) }
}

/// The end user, and tags, which are for the gateway. What is left of it.
fn metadata(m: &mut Members<'_>, request: &mut CompletionRequest, wishes: &mut Wishes) -> Result<String, Invalid> {
    let Some(metadata) = m.raw("metadata") else { return Ok(String::new()) };
    let mut metadata = Members::read(metadata, "metadata")?;
    request.user = metadata.take("user_id")?;
    wishes.tags.extend(take_tags(&mut metadata)?);
    metadata.without_nulls();
    Ok(metadata.rest())
}

/// How much to think, and the form of the answer. What is left of `output_config`.
fn output(m: &mut Members<'_>, request: &mut CompletionRequest) -> Result<String, Invalid> {
    let mut left = String::new();
    // As it was called before it had a place of its own.
    let mut format = m.raw("output_format").map(str::to_owned);
    let mut effort: Option<String> = None;
    if let Some(config) = m.raw("output_config") {
        let mut config = Members::read(config, "output_config")?;
        effort = config.take("effort")?;
        format = config.raw("format").map(str::to_owned).or(format);
        config.without_nulls();
        left = config.rest();
    }
    if let Some(format) = format {
        request.response_format = Some(response_format(&format)?);
    }
    request.reasoning = thinking(m, effort)?;
    Ok(left)
}

fn thinking(m: &mut Members<'_>, effort: Option<String>) -> Result<Option<Reasoning>, Invalid> {
    let Some(json) = m.raw("thinking") else {
        return Ok(effort.map(|effort| Reasoning { effort_native: Some(effort), budget_tokens: None }));
    };
    let mut thinking = Members::read(json, "thinking")?;
    Ok(match thinking.take::<String>("type")?.as_deref() {
        Some("enabled") => {
            let budget: Option<i64> = thinking.take("budget_tokens")?;
            let budget = budget.ok_or_else(|| Invalid::at("thinking.budget_tokens", "is required"))?;
            Some(Reasoning { effort_native: effort, budget_tokens: Some(budget) })
        }
        Some("adaptive") => {
            let effort = effort.unwrap_or_else(|| DEFAULT_EFFORT.to_owned());
            Some(Reasoning { effort_native: Some(effort), budget_tokens: None })
        }
        Some("disabled") => Some(Reasoning { effort_native: Some("none".to_owned()), budget_tokens: None }),
        _ => return Err(Invalid::at("thinking.type", "must be enabled, adaptive or disabled")),
    })
}

fn tool(json: &str, path: &str) -> Result<Tool, Invalid> {
    let mut m = Members::read(json, path)?;
    let kind: Option<String> = m.take("type")?;
    // Tools that the provider runs, or whose form it knows by itself.
    if kind.is_some_and(|kind| kind != "custom") {
        return Ok(Tool { kind: Some(Kind::NativeJson(json.to_owned())), ..Tool::default() });
    }
    let function = FunctionTool {
        name: m.take("name")?.unwrap_or_default(),
        description: m.take("description")?,
        parameters_json: m.raw("input_schema").map(str::to_owned),
        strict: m.take("strict")?,
        extra_json: String::new(),
    };
    let cache_control_json = m.raw("cache_control").unwrap_or_default().to_owned();
    m.without_nulls();
    Ok(Tool { kind: Some(Kind::Function(function)), cache_control_json, extra_json: m.rest() })
}

fn tool_choice(json: &str, request: &mut CompletionRequest) -> Result<(), Invalid> {
    let mut m = Members::read(json, "tool_choice")?;
    let choice = match m.take::<String>("type")?.as_deref() {
        Some("auto") => Choice::Mode(ToolChoiceMode::Auto as i32),
        Some("any") => Choice::Mode(ToolChoiceMode::Required as i32),
        Some("none") => Choice::Mode(ToolChoiceMode::None as i32),
        Some("tool") => {
            let name = m.take("name")?;
            Choice::FunctionName(name.ok_or_else(|| Invalid::at("tool_choice.name", "is required"))?)
        }
        _ => return Err(Invalid::at("tool_choice.type", "must be auto, any, tool or none")),
    };
    request.tool_choice = Some(ToolChoice { choice: Some(choice) });
    let one_at_a_time: Option<bool> = m.take("disable_parallel_tool_use")?;
    request.parallel_tool_calls = one_at_a_time.filter(|only_one| *only_one).map(|_| false);
    Ok(())
}

fn response_format(json: &str) -> Result<ResponseFormat, Invalid> {
    let mut m = Members::read(json, "output_config.format")?;
    if m.take::<String>("type")?.as_deref() != Some("json_schema") {
        return Ok(ResponseFormat { format: Some(Format::NativeJson(json.to_owned())) });
    }
    let path = m.path("schema");
    let schema = m.raw("schema").ok_or_else(|| Invalid::at(path, "is required"))?;
    let strict = serde_json::from_str(schema).is_ok_and(|schema| is_closed(&schema)).then_some(true);
    let format = JsonSchemaFormat {
        name: FORMAT.to_owned(),
        schema_json: Some(schema.to_owned()),
        strict,
        ..JsonSchemaFormat::default()
    };
    Ok(ResponseFormat { format: Some(Format::JsonSchema(format)) })
}

/// Whether every object of a schema has all of its members and no others: only then do services of OpenAI's dialect
/// enforce it.
fn is_closed(schema: &Value) -> bool {
    match schema {
        Value::Object(members) => {
            let names = members.get("properties").and_then(Value::as_object);
            let required = members.get("required").and_then(Value::as_array);
            let has_all = names.is_none_or(|names| {
                members.get("additionalProperties") == Some(&Value::Bool(false))
                    && names.keys().all(|name| required.is_some_and(|all| all.iter().any(|one| one == name)))
            });
            has_all && members.values().all(is_closed)
        }
        Value::Array(items) => items.iter().all(is_closed),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tollgate_proto::v1::{Role, part::Content};

    use super::*;

    fn asked(more: Value) -> CompletionRequest {
        let mut body = json!({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        read(&body.to_string()).unwrap().0
    }

    #[test]
    fn results_of_tools_are_messages_of_their_own_and_the_rest_follows_in_order() {
        let messages = json!([
            {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}}]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "t1", "content": "4", "is_error": true},
                {"type": "tool_result", "tool_use_id": "t2", "content": [{"type": "text", "text": "5"}]},
                {"type": "text", "text": "and now?"},
            ]},
        ]);
        let request = asked(json!({"system": "be brief", "messages": messages}));
        let roles: Vec<Role> = request.messages.iter().map(|message| message.role()).collect();
        assert_eq!(roles, [Role::System, Role::Assistant, Role::Tool, Role::User]);
        assert_eq!(request.messages[2].parts.len(), 2);
        let Some(Content::ToolResult(result)) = &request.messages[2].parts[0].content else { panic!() };
        assert_eq!((result.tool_call_id.as_str(), result.is_error), ("t1", Some(true)));
    }

    #[test]
    fn thinking_is_a_budget_or_an_effort() {
        let said = |more| asked(more).reasoning.map(|r| (r.effort_native, r.budget_tokens));
        let word = |word: &str| Some((Some(word.to_owned()), None));
        assert_eq!(said(json!({"thinking": {"type": "enabled", "budget_tokens": 2048}})), Some((None, Some(2048))));
        assert_eq!(said(json!({"thinking": {"type": "adaptive"}})), word("high"));
        assert_eq!(said(json!({"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}})), word("low"));
        assert_eq!(said(json!({"thinking": {"type": "disabled"}})), word("none"));
        assert_eq!(said(json!({"output_config": {"effort": "max"}})), word("max"));
        assert_eq!(said(json!({})), None);
    }

    #[test]
    fn what_has_no_name_in_the_contract_is_kept_in_order() {
        let config = json!({"effort": "low", "task_budget": {"total": 1}});
        let request = asked(json!({"context_management": {"edits": []}, "output_config": config, "container": null}));
        let expected = r#"{"context_management":{"edits":[]},"output_config":{"task_budget":{"total":1}}}"#;
        assert_eq!(request.extra_json, expected);
        assert_eq!(asked(json!({"metadata": {"user_id": "u", "tags": ["a"]}})).extra_json, "");
        assert_eq!(asked(json!({"litellm_metadata": {"tags": ["a"], "job": 1}})).extra_json, "");
    }

    #[test]
    fn a_schema_is_strict_where_it_can_be() {
        let format = |schema: Value| {
            let config = json!({"format": {"type": "json_schema", "schema": schema}});
            match asked(json!({"output_config": config})).response_format.and_then(|f| f.format) {
                Some(Format::JsonSchema(schema)) => schema.strict,
                _ => panic!(),
            }
        };
        let closed =
            json!({"type": "object", "properties": {"a": {}}, "required": ["a"], "additionalProperties": false});
        assert_eq!(format(closed), Some(true));
        assert_eq!(format(json!({"type": "object", "properties": {"a": {}}, "additionalProperties": false})), None);
    }

    #[test]
    fn fallbacks_are_names_in_either_form() {
        let read = |json: Value| fallbacks(&json.to_string());
        assert_eq!(read(json!(["a", {"model": "b"}])).unwrap(), ["a", "b"]);
        assert_eq!(read(json!("default")).unwrap(), [""; 0]);
        assert!(read(json!([{"model": "b", "max_tokens": 1}])).is_err());
    }

    #[test]
    fn one_tool_at_a_time_is_no_choice_of_a_tool() {
        let request = asked(json!({"tool_choice": {"type": "auto", "disable_parallel_tool_use": true}}));
        assert_eq!(request.parallel_tool_calls, Some(false));
        assert_eq!(asked(json!({"tool_choice": {"type": "any"}})).parallel_tool_calls, None);
    }
}
