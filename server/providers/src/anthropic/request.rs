//! Our call to their JSON.

use std::collections::BTreeMap;

use serde_json::{Value, value::RawValue};
use tollgate_domain::Failure;
use tollgate_proto::v1::{
    CompletionRequest, Dialect, Reasoning, Tool, ToolChoiceMode, response_format::Format, tool::Kind,
    tool_choice::Choice,
};

use super::{splice, turns::Turns};
use crate::{
    ChatCall, Mode, Unsupported, Written,
    conversation::members,
    json::{Object, array},
    left_out::{LeftOut, allowed_alone, is_hosted, without_tools},
};

/// A limit is required; where nobody names one, this is it.
const DEFAULT_MAX_TOKENS: u64 = 4_096;

/// The output limit: the pipeline's, the caller's, the deployment's or ours.
pub(super) fn limit(call: &ChatCall<'_>) -> u64 {
    call.output_limit().or(call.max_output).unwrap_or(DEFAULT_MAX_TOKENS)
}

/// The body behind the members that a host begins it with, and what it goes without: spliced where the caller wrote it in this very
/// dialect, else encoded.
pub(super) fn body(body: Object, call: &ChatCall<'_>) -> Result<Written, Failure> {
    let original = call.request.original.as_ref();
    if let Some(original) = original.filter(|original| original.dialect() == Dialect::AnthropicMessages) {
        return splice::body(&body, &original.body, call);
    }
    let narrowed = allowed_alone(call.request);
    let call = &ChatCall { request: narrowed.as_ref().unwrap_or(call.request), ..*call };
    // Its own tools are flat; those of OpenAI's dialect are not.
    let Some((fewer, unsupported)) = without_tools(call.request, |json| !is_hosted(json) && !is_custom(json)) else {
        return taken(body, call);
    };
    let mut written = taken(body, &ChatCall { request: &fewer, ..*call })?;
    written.unsupported.extend(unsupported);
    Ok(written)
}

/// Whether a tool is a custom one of chat completions.
fn is_custom(json: &str) -> bool {
    let tool: BTreeMap<String, &RawValue> = serde_json::from_str(json).unwrap_or_default();
    tool.get("type").is_some_and(|kind| kind.get() == "\"custom\"") && tool.contains_key("custom")
}

fn taken(mut body: Object, call: &ChatCall<'_>) -> Result<Written, Failure> {
    let request = call.request;
    let mut unsupported = without_counterpart(request);
    let mut turns = Turns::read(&request.messages, false)?;
    if let Some(prefill) = call.prefill {
        turns.begin_answer(prefill);
    }
    let limit = limit(call);
    body.field("max_tokens", &limit);
    system(&turns, &mut body);
    body.raw("messages", &turns.messages());
    body.maybe("temperature", request.temperature.as_ref().filter(|t| **t <= 1.0));
    body.maybe("top_p", request.top_p.as_ref()).maybe("top_k", request.top_k.as_ref());
    if let Some(stop) = request.stop.as_ref().filter(|s| !s.sequences.is_empty()) {
        body.field("stop_sequences", &stop.sequences);
    }
    if !request.tools.is_empty() {
        body.raw("tools", &array(&request.tools.iter().map(tool).collect::<Vec<_>>()));
    }
    tool_choice(request, &mut body, &mut unsupported);
    let has_lost_thoughts = request.reasoning.is_some() && turns.have_lost_thoughts();
    let thinks = call.prefill.is_none() && !has_lost_thoughts;
    let reasoning = request.reasoning.as_ref().filter(|_| thinks);
    let reasoning = reasoning.map(|r| within(r, Some(limit), request, &mut unsupported, &mut turns.dropped));
    output_and_thinking(request, reasoning.as_ref(), &mut body);
    if let Some(user) = &request.user {
        let mut metadata = Object::default();
        metadata.field("user_id", user);
        body.raw("metadata", &metadata.finish());
    }
    if has_lost_thoughts {
        turns.dropped.push("reasoning_effort".into());
    }
    match request.service_tier_native.as_deref() {
        Some(tier @ ("auto" | "standard_only")) => {
            body.field("service_tier", tier);
        }
        // OpenAI's word for it.
        Some("default") => {
            body.field("service_tier", "standard_only");
        }
        Some(_) => {
            let why = "must be auto, default or standard_only for anthropic";
            unsupported.push(Unsupported::because("service_tier", why));
        }
        None => {}
    }
    if call.mode == Mode::Stream {
        body.field("stream", &true);
    }
    unsupported.extend(turns.unsupported);
    let mut left_out = LeftOut::default();
    left_out.besides(request);
    Ok(left_out.and(unsupported, turns.dropped).of(&body))
}

fn system(turns: &Turns, body: &mut Object) {
    if turns.system.is_empty() {
        return;
    }
    if turns.system.iter().all(|(_, hint)| hint.is_empty()) {
        let texts: Vec<&str> = turns.system.iter().map(|(text, _)| text.as_str()).collect();
        body.field("system", &texts.join("\n\n"));
        return;
    }
    let block = |(text, hint): &(String, String)| {
        let mut block = Object::default();
        block.field("type", "text").field("text", text);
        if !hint.is_empty() {
            block.raw("cache_control", hint);
        }
        block.finish()
    };
    body.raw("system", &array(&turns.system.iter().map(block).collect::<Vec<_>>()));
}

fn tool(tool: &Tool) -> String {
    let function = match &tool.kind {
        Some(Kind::Function(function)) => function,
        Some(Kind::NativeJson(json)) => return json.clone(),
        None => return "{}".into(),
    };
    let mut object = Object::default();
    object.field("name", &function.name).maybe("description", function.description.as_ref());
    let schema = function.parameters_json.as_deref().unwrap_or(r#"{"type":"object","properties":{}}"#);
    object.raw("input_schema", schema);
    if function.strict == Some(true) {
        object.field("strict", &true);
    }
    if !tool.cache_control_json.is_empty() {
        object.raw("cache_control", &tool.cache_control_json);
    }
    object.finish()
}

fn tool_choice(request: &CompletionRequest, body: &mut Object, unsupported: &mut Vec<Unsupported>) {
    let one_at_a_time = request.parallel_tool_calls == Some(false);
    let chosen = request.tool_choice.as_ref().and_then(|c| c.choice.as_ref());
    if let Some(Choice::NativeJson(json)) = chosen {
        if is_own_choice(json) {
            body.raw("tool_choice", json);
            return;
        }
        let why = "must be auto, none, required or a function for anthropic";
        unsupported.push(Unsupported::because("tool_choice", why));
    }
    let mut choice = Object::default();
    match chosen {
        None | Some(Choice::NativeJson(_)) if !one_at_a_time || request.tools.is_empty() => return,
        None | Some(Choice::NativeJson(_)) => {
            choice.field("type", "auto");
        }
        Some(Choice::FunctionName(name)) => {
            choice.field("type", "tool").field("name", name);
        }
        Some(Choice::Mode(mode)) => match ToolChoiceMode::try_from(*mode) {
            Ok(ToolChoiceMode::Required) => {
                choice.field("type", "any");
            }
            Ok(ToolChoiceMode::None) => {
                body.raw("tool_choice", r#"{"type":"none"}"#);
                return;
            }
            _ => {
                choice.field("type", "auto");
            }
        },
    }
    if one_at_a_time {
        choice.field("disable_parallel_tool_use", &true);
    }
    body.raw("tool_choice", &choice.finish());
}

/// Whether a choice is said in this dialect: those of others are of other types.
fn is_own_choice(json: &str) -> bool {
    let choice: Value = serde_json::from_str(json).unwrap_or_default();
    matches!(choice["type"].as_str(), Some("auto" | "any" | "tool" | "none"))
}

/// Without reasoning where the provider would refuse it: in an answer that is gone on with, and in a tool loop that lost its thoughts.
fn output_and_thinking(request: &CompletionRequest, reasoning: Option<&Reasoning>, body: &mut Object) {
    let mut config = Object::default();
    if let Some(Format::JsonSchema(schema)) = request.response_format.as_ref().and_then(|f| f.format.as_ref()) {
        let mut format = Object::default();
        format.field("type", "json_schema").raw("schema", schema.schema_json.as_deref().unwrap_or("{}"));
        config.raw("format", &format.finish());
    }
    if let Some(reasoning) = reasoning {
        if let Some(thinking) = thinking(reasoning) {
            body.raw("thinking", &thinking);
        }
        let effort = reasoning.effort_native.as_deref();
        config.maybe("effort", effort.filter(|e| *e != "none"));
    }
    let config = config.finish();
    if config != "{}" {
        body.raw("output_config", &config);
    }
}

/// How much to think, as the model takes it; `None`: nothing is said of it.
pub(crate) fn thinking(reasoning: &Reasoning) -> Option<String> {
    match (reasoning.effort_native.as_deref(), reasoning.budget_tokens) {
        (Some("none"), _) => Some(r#"{"type":"disabled"}"#.to_owned()),
        (_, Some(budget)) => Some(format!(r#"{{"type":"enabled","budget_tokens":{budget}}}"#)),
        (Some(_), None) => Some(r#"{"type":"adaptive"}"#.to_owned()),
        (None, None) => None,
    }
}

/// The least that may be thought, in tokens ("Extended thinking", budget_tokens).
const LEAST_THOUGHT: u64 = 1_024;

/// With a budget below the output limit, which the provider insists on: a limit of ours makes it less, a limit of the caller's own
/// contradicts it.
pub(crate) fn within(
    reasoning: &Reasoning,
    limit: Option<u64>,
    request: &CompletionRequest,
    unsupported: &mut Vec<Unsupported>,
    dropped: &mut Vec<String>,
) -> Reasoning {
    let mut fits = reasoning.clone();
    let budget = reasoning.budget_tokens.and_then(|budget| u64::try_from(budget).ok());
    let (Some(budget), Some(limit)) = (budget, limit) else { return fits };
    if budget < limit {
        return fits;
    }
    let field = "reasoning.budget_tokens";
    fits.budget_tokens = None;
    if request.max_output_tokens.is_some_and(|asked| u64::try_from(asked).is_ok_and(|asked| asked <= budget)) {
        unsupported.push(Unsupported::because(field, "must be below the call's output limit"));
    } else {
        fits.budget_tokens = i64::try_from(limit - 1).ok().filter(|_| limit > LEAST_THOUGHT);
        dropped.push(field.into());
    }
    fits
}

fn without_counterpart(request: &CompletionRequest) -> Vec<Unsupported> {
    let absent = [
        ("seed", request.seed.is_some()),
        ("frequency_penalty", request.frequency_penalty.is_some()),
        ("presence_penalty", request.presence_penalty.is_some()),
        ("logit_bias", !request.logit_bias.is_empty()),
        ("logprobs", request.logprobs == Some(true)),
        ("top_logprobs", request.top_logprobs.is_some()),
    ];
    let absent = absent.into_iter().filter(|(_, is_set)| *is_set).map(|(name, _)| name.to_owned());
    let mut unsupported: Vec<_> = absent.chain(members(&request.extra_json)).map(Unsupported::new).collect();
    if request.n.is_some_and(|n| n > 1) {
        unsupported.push(Unsupported::because("n", "must be 1 for anthropic, which gives one choice"));
    }
    if request.temperature.is_some_and(|t| t > 1.0) {
        unsupported.push(Unsupported::because("temperature", "must be 0 to 1 for anthropic"));
    }
    match request.response_format.as_ref().and_then(|f| f.format.as_ref()) {
        Some(Format::JsonObject(_)) => {
            let why = "json_object is not offered by anthropic; json_schema is";
            unsupported.push(Unsupported::because("response_format", why));
        }
        Some(Format::NativeJson(_)) => unsupported.push(Unsupported::new("response_format")),
        _ => {}
    }
    unsupported
}
