//! Our call to their JSON.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json, value::RawValue};
use tollgate_domain::Failure;
use tollgate_proto::v1::{
    CompletionRequest, Dialect, Tool, ToolChoice, ToolChoiceMode, response_format::Format, tool::Kind,
    tool_choice::Choice,
};

use super::{input::Input, splice::splice};
use crate::{
    ChatCall, Mode, Target, Unsupported, Written,
    conversation::members,
    json::{Object, array},
    left_out::is_hosted,
    openai::{Family, OPENAI_MODELS, Param, leave_out},
};

/// What chat completions know and this API does not.
const LACKS: [Param; 7] = [
    Param::Stop,
    Param::N,
    Param::Seed,
    Param::FrequencyPenalty,
    Param::PresencePenalty,
    Param::LogitBias,
    Param::TopK,
];
/// Members of chat completions that mean the same here.
const SHARED: [&str; 5] =
    ["metadata", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "safety_identifier"];

/// Members of this API that chat completions do not know.
const OWN: [&str; 4] = ["truncation", "max_tool_calls", "prompt", "context_management"];

/// The body, and what it goes without.
pub(super) fn body(target: &Target, call: &ChatCall<'_>) -> Result<Written, Failure> {
    let request = call.request;
    let family = Family::of(&OPENAI_MODELS, &target.model);
    let original = request.original.as_ref().filter(|o| o.dialect() == Dialect::OpenaiResponses);
    if let Some(original) = original.filter(|_| call.prefill.is_none() && !super::splice::is_foreign(request)) {
        let mut written = Written::whole(splice(&original.body, family, target, call)?);
        if let Some(family) = family {
            leave_out(family.lacks(request), "is not taken by this model while it reasons", request, &mut written)?;
        }
        return Ok(written);
    }
    let mut input = Input::read(&request.messages)?;
    if let Some(prefill) = call.prefill {
        input.begin_answer(prefill);
    }
    let mut body = Object::default();
    body.field("model", &target.model).maybe("instructions", input.instructions.as_ref());
    body.raw("input", &input.items());
    let mut unsupported = std::mem::take(&mut input.unsupported);
    if !request.tools.is_empty() {
        body.raw("tools", &array(&request.tools.iter().map(|t| tool(t, &mut unsupported)).collect::<Vec<_>>()));
    }
    if let Some(choice) = request.tool_choice.as_ref().and_then(|choice| tool_choice(choice, &mut unsupported)) {
        body.raw("tool_choice", &choice);
    }
    body.maybe("parallel_tool_calls", request.parallel_tool_calls.as_ref());
    body.maybe("temperature", request.temperature.as_ref()).maybe("top_p", request.top_p.as_ref());
    body.maybe("top_logprobs", request.top_logprobs.as_ref());
    let asked = request.max_output_tokens.and_then(|n| u64::try_from(n).ok());
    body.maybe("max_output_tokens", call.output_cap.or(asked).as_ref());
    let extra = serde_json::from_str::<BTreeMap<String, &RawValue>>(&request.extra_json).unwrap_or_default();
    text(request, &extra, &mut body, &mut unsupported);
    reasoning(request, family, &mut body, &mut unsupported);
    body.maybe("service_tier", request.service_tier_native.as_ref());
    extras(request, &extra, &mut body, &mut unsupported, &mut input.dropped);
    if call.mode == Mode::Stream {
        body.field("stream", &true);
    }
    body.field("store", &false);
    let mut written = Written { body: body.finish().into_bytes(), unsupported, dropped: input.dropped };
    leave_out(&LACKS, "", request, &mut written)?;
    if let Some(family) = family {
        leave_out(family.lacks(request), "is not taken by this model while it reasons", request, &mut written)?;
    }
    Ok(written)
}

/// Flat, and not strict unless asked for: strict is the default here, and changes what schemas are taken.
fn tool(tool: &Tool, unsupported: &mut Vec<Unsupported>) -> String {
    let function = match &tool.kind {
        Some(Kind::Function(function)) => function,
        Some(Kind::NativeJson(json)) => return native_tool(json),
        None => return "{}".into(),
    };
    let extra = members(&function.extra_json).into_iter().chain(members(&tool.extra_json));
    unsupported.extend(extra.map(|name| Unsupported::new(format!("tools.{name}"))));
    let mut object = Object::default();
    object.field("type", "function").field("name", &function.name);
    object.maybe("description", function.description.as_ref());
    let nothing = r#"{"type":"object","properties":{},"additionalProperties":false}"#;
    object.raw("parameters", function.parameters_json.as_deref().unwrap_or(nothing));
    object.field("strict", &function.strict.unwrap_or(false));
    object.finish()
}

/// A tool of chat completions that is no function has its members one level deeper; others are the provider's own.
fn native_tool(json: &str) -> String {
    #[derive(serde::Deserialize)]
    struct Chosen {
        custom: Map<String, Value>,
    }
    let Ok(Chosen { mut custom }) = serde_json::from_str(json) else { return json.to_owned() };
    if let Some(Value::Object(mut grammar)) =
        custom.get_mut("format").and_then(|format| format.get_mut("grammar")).map(Value::take)
    {
        grammar.insert("type".into(), "grammar".into());
        custom.insert("format".into(), grammar.into());
    }
    custom.insert("type".into(), "custom".into());
    Value::Object(custom).to_string()
}

fn tool_choice(choice: &ToolChoice, unsupported: &mut Vec<Unsupported>) -> Option<String> {
    match choice.choice.as_ref()? {
        Choice::FunctionName(name) => {
            let mut object = Object::default();
            object.field("type", "function").field("name", name);
            Some(object.finish())
        }
        Choice::NativeJson(json) => {
            let choice = native_choice(json);
            if choice.is_none() {
                let why = "must be auto, none, required, allowed_tools, or a tool of a type that this API has";
                unsupported.push(Unsupported::because("tool_choice", why));
            }
            choice
        }
        Choice::Mode(mode) => Some(match ToolChoiceMode::try_from(*mode) {
            Ok(ToolChoiceMode::None) => r#""none""#.into(),
            Ok(ToolChoiceMode::Required) => r#""required""#.into(),
            _ => r#""auto""#.into(),
        }),
    }
}

/// A choice of chat completions that is no function has its members one level deeper, too; those of hosted tools are this API's own.
fn native_choice(json: &str) -> Option<String> {
    if is_hosted(json) {
        return Some(json.to_owned());
    }
    let choice: Value = serde_json::from_str(json).ok()?;
    if choice["type"] != "allowed_tools" {
        return Some(flat(&choice)?.to_string());
    }
    let allowed = &choice["allowed_tools"];
    let tools = allowed["tools"].as_array()?.iter().map(|tool| flat(tool).unwrap_or_else(|| tool.clone()));
    let tools: Vec<Value> = tools.collect();
    Some(json!({"type": "allowed_tools", "mode": allowed["mode"].as_str()?, "tools": tools}).to_string())
}

/// A function or custom tool that is named as chat completions do.
fn flat(tool: &Value) -> Option<Value> {
    let kind = tool["type"].as_str().filter(|kind| matches!(*kind, "function" | "custom"))?;
    let name = tool[kind]["name"].as_str()?;
    Some(json!({"type": kind, "name": name}))
}

/// The form of the answer, and how much it says.
fn text(
    request: &CompletionRequest,
    extra: &BTreeMap<String, &RawValue>,
    body: &mut Object,
    unsupported: &mut Vec<Unsupported>,
) {
    let mut format = Object::default();
    match request.response_format.as_ref().and_then(|f| f.format.as_ref()) {
        None | Some(Format::Text(_)) => {}
        Some(Format::JsonObject(_)) => {
            format.field("type", "json_object");
        }
        Some(Format::JsonSchema(schema)) => {
            format.field("type", "json_schema").field("name", &schema.name);
            format.maybe("description", schema.description.as_ref());
            format.raw("schema", schema.schema_json.as_deref().unwrap_or("{}"));
            format.maybe("strict", schema.strict.as_ref()).merge(&schema.extra_json);
        }
        Some(Format::NativeJson(_)) => unsupported.push(Unsupported::new("response_format")),
    }
    let mut text = Object::default();
    let format = format.finish();
    if format != "{}" {
        text.raw("format", &format);
    }
    if let Some(verbosity) = extra.get("verbosity") {
        text.raw("verbosity", verbosity.get());
    }
    let text = text.finish();
    if text != "{}" {
        body.raw("text", &text);
    }
}

/// How much to reason, in words that may be shown; and what has to be asked for because nothing is stored.
fn reasoning(
    request: &CompletionRequest,
    family: Option<&Family>,
    body: &mut Object,
    unsupported: &mut Vec<Unsupported>,
) {
    let effort = request.reasoning.as_ref().and_then(|reasoning| reasoning.effort_native.as_deref());
    if let Some(effort) = effort {
        let mut object = Object::default();
        object.field("effort", effort);
        if effort != "none" {
            object.field("summary", "auto");
        }
        body.raw("reasoning", &object.finish());
    }
    if request.reasoning.as_ref().is_some_and(|reasoning| reasoning.budget_tokens.is_some()) {
        unsupported.push(Unsupported::new("reasoning.budget_tokens"));
    }
    let reasons = match family {
        Some(family) => family.reasons(request),
        // Models that do not reason refuse to be asked for it.
        None => effort.is_some_and(|effort| effort != "none"),
    };
    let mut include = Vec::new();
    if reasons {
        include.push("reasoning.encrypted_content");
    }
    if request.logprobs == Some(true) {
        include.push("message.output_text.logprobs");
    }
    if !include.is_empty() {
        body.field("include", &include);
    }
}

/// Members that the contract does not name, and the end user, whose field has another name.
fn extras(
    request: &CompletionRequest,
    extra: &BTreeMap<String, &RawValue>,
    body: &mut Object,
    unsupported: &mut Vec<Unsupported>,
    dropped: &mut Vec<String>,
) {
    if !extra.contains_key("safety_identifier") {
        body.maybe("safety_identifier", request.user.as_ref());
    }
    for (name, value) in extra {
        match name.as_str() {
            shared if SHARED.contains(&shared) || OWN.contains(&shared) => {
                body.raw(shared, value.get());
            }
            "verbosity" => {}
            // Nothing is stored, which changes no answer.
            "store" => dropped.extend((value.get() == "true").then(|| name.clone())),
            _ => unsupported.push(Unsupported::new(name)),
        }
    }
}
