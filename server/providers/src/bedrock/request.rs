//! Our call to Converse's JSON.

use std::collections::BTreeMap;

use serde_json::Value;
use tollgate_domain::Failure;
use tollgate_proto::v1::{CompletionRequest, Reasoning, response_format::Format};

use super::{tools::Tools, turns::Turns};
use crate::{
    ChatCall, Unsupported, Written,
    anthropic::{thinking, within},
    conversation::members,
    json::{Object, array},
    left_out::{LeftOut, allowed_alone},
};

/// The body, and what it goes without.
pub(super) fn body(model: &str, call: &ChatCall<'_>) -> Result<Written, Failure> {
    let narrowed = allowed_alone(call.request);
    let call = &ChatCall { request: narrowed.as_ref().unwrap_or(call.request), ..*call };
    let request = call.request;
    let is_claude = model.contains("claude");
    // An ARN need not say which model it is of: its owner knows, and asks for a cache or does not.
    let caches = is_claude || model.contains("nova") || model.starts_with("arn:");
    let mut unsupported = without_counterpart(request, is_claude);
    let mut turns = Turns::read(&request.messages, caches)?;
    if let Some(prefill) = call.prefill {
        turns.begin_answer(prefill);
    }
    // As with Claude elsewhere: a tool loop that lost its thoughts goes on without thinking.
    let has_lost_thoughts = is_claude && request.reasoning.is_some() && turns.have_lost_thoughts();
    // An answer that is gone on with is past it.
    let thought = request.reasoning.as_ref().filter(|_| call.prefill.is_none() && !has_lost_thoughts);
    let tools = Tools::read(request, is_claude, &mut turns, &mut unsupported);
    let mut body = Object::default();
    if !turns.system.is_empty() {
        body.raw("system", &array(&turns.system));
    }
    body.raw("messages", &turns.messages());
    if !tools.config.is_empty() {
        body.raw("toolConfig", &tools.config);
    }
    member(&mut body, "inferenceConfig", &inference(call));
    let mut native = Object::default();
    if is_claude {
        native.maybe("top_k", request.top_k.as_ref());
        let limit = call.output_cap.or(asked(request));
        let fits = thought.map(|r| within(r, limit, request, &mut unsupported, &mut turns.dropped));
        if let Some(thinking) = fits.as_ref().and_then(thinking) {
            native.raw("thinking", &thinking);
        }
        if !tools.claude_choice.is_empty() {
            native.raw("tool_choice", &tools.claude_choice);
        }
    }
    member(&mut body, "additionalModelRequestFields", &native);
    member(&mut body, "outputConfig", &output(request, thought));
    if let Some(tier) = service_tier(request, &mut unsupported) {
        let mut object = Object::default();
        object.field("type", tier);
        body.raw("serviceTier", &object.finish());
    }
    if let Some(metadata) = metadata(request) {
        body.field("requestMetadata", &metadata);
    }
    if has_lost_thoughts {
        turns.dropped.push("reasoning_effort".into());
    }
    unsupported.extend(turns.unsupported);
    let mut left_out = LeftOut::default();
    left_out.besides(request);
    left_out.user(request.user.as_ref());
    Ok(left_out.and(unsupported, turns.dropped).of(&body))
}

fn asked(request: &CompletionRequest) -> Option<u64> {
    request.max_output_tokens.and_then(|n| u64::try_from(n).ok())
}

/// An object that says something.
fn member(body: &mut Object, name: &str, object: &Object) {
    let json = object.finish();
    if json != "{}" {
        body.raw(name, &json);
    }
}

fn inference(call: &ChatCall<'_>) -> Object {
    let request = call.request;
    let mut config = Object::default();
    config.maybe("maxTokens", call.output_cap.or(asked(request)).as_ref());
    config.maybe("temperature", request.temperature.as_ref().filter(|t| **t <= 1.0));
    config.maybe("topP", request.top_p.as_ref());
    config.maybe("stopSequences", request.stop.as_ref().map(|s| &s.sequences).filter(|s| !s.is_empty()));
    config
}

/// The form of the answer, and how much to think about it.
fn output(request: &CompletionRequest, thought: Option<&Reasoning>) -> Object {
    let mut config = Object::default();
    if let Some(Format::JsonSchema(format)) = request.response_format.as_ref().and_then(|f| f.format.as_ref()) {
        let mut schema = Object::default();
        // The schema is text inside JSON here.
        schema.field("schema", format.schema_json.as_deref().unwrap_or("{}"));
        schema.maybe("name", Some(format.name.as_str()).filter(|name| !name.is_empty()));
        schema.maybe("description", format.description.as_ref());
        let (mut structure, mut text_format) = (Object::default(), Object::default());
        structure.raw("jsonSchema", &schema.finish());
        text_format.field("type", "json_schema").raw("structure", &structure.finish());
        config.raw("textFormat", &text_format.finish());
    }
    if let Some(reasoning) = thought {
        config.maybe("effort", reasoning.effort_native.as_ref().filter(|effort| *effort != "none"));
    }
    config
}

fn service_tier<'a>(request: &'a CompletionRequest, unsupported: &mut Vec<Unsupported>) -> Option<&'a str> {
    match request.service_tier_native.as_deref() {
        Some(tier @ ("default" | "flex" | "priority" | "reserved")) => Some(tier),
        // The provider's own choice.
        None | Some("auto") => None,
        Some(_) => {
            let why = "must be auto, default, flex, priority or reserved for bedrock";
            unsupported.push(Unsupported::because("service_tier", why));
            None
        }
    }
}

/// Labels of the caller's, which the account's invocation logs keep.
fn metadata(request: &CompletionRequest) -> Option<BTreeMap<String, String>> {
    let extra: Value = serde_json::from_str(&request.extra_json).ok()?;
    let labels: BTreeMap<String, String> = serde_json::from_value(extra.get("metadata")?.clone()).ok()?;
    (1..=16).contains(&labels.len()).then_some(labels)
}

fn without_counterpart(request: &CompletionRequest, is_claude: bool) -> Vec<Unsupported> {
    let absent = [
        ("seed", request.seed.is_some()),
        ("frequency_penalty", request.frequency_penalty.is_some()),
        ("presence_penalty", request.presence_penalty.is_some()),
        ("logit_bias", !request.logit_bias.is_empty()),
        ("logprobs", request.logprobs == Some(true)),
        ("top_logprobs", request.top_logprobs.is_some()),
    ];
    let absent = absent.into_iter().filter(|(_, is_set)| *is_set).map(|(name, _)| Unsupported::new(name));
    let mut unsupported: Vec<_> = absent.collect();
    for name in members(&request.extra_json) {
        match name.as_str() {
            "metadata" if metadata(request).is_some() => {}
            "metadata" => {
                let why = "must be 1 to 16 strings by name for bedrock";
                unsupported.push(Unsupported::because(name, why));
            }
            _ => unsupported.push(Unsupported::new(name)),
        }
    }
    if request.n.is_some_and(|n| n > 1) {
        unsupported.push(Unsupported::because("n", "must be 1 for bedrock, which gives one choice"));
    }
    if request.temperature.is_some_and(|t| t > 1.0) {
        unsupported.push(Unsupported::because("temperature", "must be 0 to 1 for bedrock"));
    }
    match request.response_format.as_ref().and_then(|f| f.format.as_ref()) {
        Some(Format::JsonObject(_)) => {
            let why = "json_object is not offered by bedrock; json_schema is";
            unsupported.push(Unsupported::because("response_format", why));
        }
        Some(Format::NativeJson(_)) => unsupported.push(Unsupported::new("response_format")),
        _ => {}
    }
    if !is_claude {
        let why = "is passed on to Claude models only with bedrock";
        if request.top_k.is_some() {
            unsupported.push(Unsupported::because("top_k", why));
        }
        let reasoning = request.reasoning.as_ref();
        if reasoning.is_some_and(|r| r.budget_tokens.is_some()) {
            unsupported.push(Unsupported::because("reasoning.budget_tokens", why));
        }
        if reasoning.is_some_and(|r| r.effort_native.as_deref() == Some("none")) {
            let why = "can be none for Claude models only with bedrock";
            unsupported.push(Unsupported::because("reasoning_effort", why));
        }
    }
    unsupported
}
