//! Our call to their JSON.

use serde_json::Value;
use tollgate_domain::Failure;
use tollgate_proto::v1::{
    CompletionRequest, Tool, ToolChoiceMode, response_format::Format, tool::Kind, tool_choice::Choice,
};

use super::{Host, model, turns::Turns};
use crate::{
    ChatCall, Target, Unsupported, Written,
    json::{Object, array},
    left_out::{LeftOut, allowed_alone},
};

/// The body, and what it goes without.
pub(super) fn body(host: Host, target: &Target, call: &ChatCall<'_>) -> Result<Written, Failure> {
    let narrowed = allowed_alone(call.request);
    let call = &ChatCall { request: narrowed.as_ref().unwrap_or(call.request), ..*call };
    let request = call.request;
    let mut turns = Turns::read(host, &target.model, &request.messages)?;
    if let Some(prefill) = call.prefill {
        turns.begin_answer(prefill);
    }
    let mut unsupported = std::mem::take(&mut turns.unsupported);
    unsupported.extend(without_counterpart(request));
    let mut body = Object::default();
    if let Some(system) = turns.system() {
        body.raw("systemInstruction", &system);
    }
    body.raw("contents", &turns.contents());
    if !request.tools.is_empty() {
        body.raw("tools", &tools(&request.tools, &mut unsupported));
    }
    if let Some(config) = tool_config(request, &mut unsupported) {
        body.raw("toolConfig", &config);
    }
    let mut config = generation_config(&target.model, call, &mut unsupported);
    extra(host, request, &mut body, &mut config, &mut unsupported);
    let config = config.finish();
    if config != "{}" {
        body.raw("generationConfig", &config);
    }
    let mut dropped = turns.dropped;
    let hinted = request.tools.iter().enumerate().filter(|(_, tool)| !tool.cache_control_json.is_empty());
    dropped.extend(hinted.map(|(i, _)| format!("tools[{i}].cache_control")));
    if request.user.is_some() {
        dropped.push("user".into());
    }
    let mut left_out = LeftOut::default();
    left_out.besides(request);
    Ok(left_out.and(unsupported, dropped).of(&body))
}

fn generation_config(model: &str, call: &ChatCall<'_>, unsupported: &mut Vec<Unsupported>) -> Object {
    let request = call.request;
    let mut config = Object::default();
    let asked = request.max_output_tokens.and_then(|n| u64::try_from(n).ok());
    config.maybe("maxOutputTokens", call.output_cap.or(asked).as_ref());
    config.maybe("temperature", request.temperature.as_ref());
    config.maybe("topP", request.top_p.as_ref()).maybe("topK", request.top_k.as_ref());
    config.maybe("seed", request.seed.as_ref());
    config.maybe("presencePenalty", request.presence_penalty.as_ref());
    config.maybe("frequencyPenalty", request.frequency_penalty.as_ref());
    config.maybe("candidateCount", request.n.as_ref().filter(|n| **n > 1));
    match request.stop.as_ref().map(|s| &s.sequences).filter(|s| !s.is_empty()) {
        Some(stop) if stop.len() > 5 => {
            unsupported.push(Unsupported::because("stop", "must be at most 5 sequences for gemini"));
        }
        stop => {
            config.maybe("stopSequences", stop);
        }
    }
    if request.logprobs == Some(true) {
        config.field("responseLogprobs", &true).maybe("logprobs", request.top_logprobs.as_ref());
    }
    match request.response_format.as_ref().and_then(|f| f.format.as_ref()) {
        Some(Format::JsonObject(_)) => {
            config.field("responseMimeType", "application/json");
        }
        Some(Format::JsonSchema(schema)) => {
            let schema = schema.schema_json.as_deref().unwrap_or("{}");
            config.field("responseMimeType", "application/json").raw("responseJsonSchema", schema);
        }
        Some(Format::NativeJson(_)) => unsupported.push(Unsupported::new("response_format")),
        Some(Format::Text(_)) | None => {}
    }
    match request.reasoning.as_ref().map(|reasoning| model::thinking(model, reasoning)).transpose() {
        Ok(Some(Some(thinking))) => {
            config.raw("thinkingConfig", &thinking);
        }
        Ok(_) => {}
        Err(left_out) => unsupported.push(left_out),
    }
    config
}

fn tools(tools: &[Tool], unsupported: &mut Vec<Unsupported>) -> String {
    let mut functions = Vec::new();
    let mut others = Vec::new();
    for (i, tool) in tools.iter().enumerate() {
        match &tool.kind {
            Some(Kind::Function(function)) => {
                let mut declaration = Object::default();
                declaration.field("name", &function.name).maybe("description", function.description.as_ref());
                if let Some(schema) = function.parameters_json.as_deref().filter(|schema| has_parameters(schema)) {
                    declaration.raw("parametersJsonSchema", schema);
                }
                functions.push(declaration.finish());
            }
            // Their own tools have no type: {"googleSearch": {}}.
            Some(Kind::NativeJson(json)) if !crate::conversation::members(json).iter().any(|name| name == "type") => {
                others.push(json.clone());
            }
            _ => unsupported.push(Unsupported::new(format!("tools[{i}]"))),
        }
    }
    if !functions.is_empty() {
        let mut declarations = Object::default();
        declarations.raw("functionDeclarations", &array(&functions));
        others.insert(0, declarations.finish());
    }
    array(&others)
}

/// An object without members is refused as a schema: a function that takes nothing has none.
fn has_parameters(schema: &str) -> bool {
    let Ok(Value::Object(schema)) = serde_json::from_str(schema) else { return true };
    let is_bare = schema.keys().all(|name| matches!(name.as_str(), "type" | "properties" | "additionalProperties"));
    let is_empty = schema.get("properties").is_none_or(|p| p.as_object().is_some_and(serde_json::Map::is_empty));
    !(is_bare && is_empty && schema.get("additionalProperties").is_none_or(|more| *more == false))
}

fn tool_config(request: &CompletionRequest, unsupported: &mut Vec<Unsupported>) -> Option<String> {
    if request.parallel_tool_calls == Some(false) {
        unsupported.push(Unsupported::because("parallel_tool_calls", "cannot be turned off for gemini"));
    }
    let is_strict = |tool: &Tool| matches!(&tool.kind, Some(Kind::Function(f)) if f.strict == Some(true));
    // `ANY` keeps to the schemas by itself; a model that may choose does so only when it is told.
    let automatic = if request.tools.iter().any(is_strict) { "VALIDATED" } else { "AUTO" };
    let mut config = Object::default();
    match request.tool_choice.as_ref().and_then(|c| c.choice.as_ref()) {
        None if automatic == "AUTO" => return None,
        None => config.field("mode", automatic),
        Some(Choice::FunctionName(name)) => config.field("mode", "ANY").field("allowedFunctionNames", &[name]),
        Some(Choice::NativeJson(_)) => {
            unsupported.push(Unsupported::new("tool_choice"));
            return None;
        }
        Some(Choice::Mode(mode)) => match ToolChoiceMode::try_from(*mode) {
            Ok(ToolChoiceMode::Required) => config.field("mode", "ANY"),
            Ok(ToolChoiceMode::None) => config.field("mode", "NONE"),
            _ => config.field("mode", automatic),
        },
    };
    let mut tool_config = Object::default();
    tool_config.raw("functionCallingConfig", &config.finish());
    Some(tool_config.finish())
}

/// Members that the contract does not name and the dialect knows, by the names that callers of other dialects give them.
fn extra(
    host: Host,
    request: &CompletionRequest,
    body: &mut Object,
    config: &mut Object,
    unsupported: &mut Vec<Unsupported>,
) {
    let members: serde_json::Map<String, Value> = serde_json::from_str(&request.extra_json).unwrap_or_default();
    for (name, value) in members {
        match (name.as_str(), &value) {
            ("safety_settings", Value::Array(_)) => {
                body.field("safetySettings", &value);
            }
            ("cached_content", Value::String(_)) => {
                body.field("cachedContent", &value);
            }
            ("modalities", Value::Array(modalities)) if modalities.iter().all(Value::is_string) => {
                let modalities: Vec<_> =
                    modalities.iter().filter_map(Value::as_str).map(str::to_ascii_uppercase).collect();
                config.field("responseModalities", &modalities);
            }
            ("metadata", Value::Object(labels)) if host == Host::Vertex && are_labels(labels) => {
                body.field("labels", &value);
            }
            ("metadata", _) if host == Host::Vertex => {
                let why = "must be labels for vertex: lower-case letters, digits, _ and -, at most 63 of them";
                unsupported.push(Unsupported::because(name, why));
            }
            _ => unsupported.push(Unsupported::new(name)),
        }
    }
}

/// Whether these are labels of Google Cloud ("Labels overview", requirements).
fn are_labels(labels: &serde_json::Map<String, Value>) -> bool {
    let is_label = |text: &str| {
        text.chars().count() <= 63
            && text.chars().all(|c| (c.is_alphanumeric() && !c.is_uppercase()) || "_-".contains(c))
    };
    let fits = |(name, value): (&String, &Value)| {
        name.starts_with(char::is_alphabetic) && is_label(name) && value.as_str().is_some_and(is_label)
    };
    labels.iter().all(fits)
}

fn without_counterpart(request: &CompletionRequest) -> Vec<Unsupported> {
    let mut unsupported = Vec::new();
    if !request.logit_bias.is_empty() {
        unsupported.push(Unsupported::new("logit_bias"));
    }
    if request.service_tier_native.as_deref().is_some_and(|tier| !matches!(tier, "auto" | "default")) {
        unsupported.push(Unsupported::because("service_tier", "must be auto or default for gemini"));
    }
    unsupported
}
