//! Our call to their JSON.

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use tollgate_domain::Failure;
use tollgate_proto::v1::{CompletionRequest, ToolChoiceMode, response_format::Format, tool::Kind, tool_choice::Choice};

use super::messages::messages;
use crate::{
    ChatCall, Mode, Target, Written,
    conversation::members,
    json::{Object, array},
    left_out::{LeftOut, allowed_alone},
    openai::encode,
};

/// What may be asked for in Ollama's own words: of the server, and of the model (`options`).
const OWN: [&str; 3] = ["keep_alive", "options", "truncate"];
const OWN_OPTIONS: [&str; 6] = ["min_p", "num_ctx", "num_keep", "repeat_last_n", "repeat_penalty", "typical_p"];

/// The body, and what it goes without.
pub(super) fn body(target: &Target, call: &ChatCall<'_>) -> Result<Written, Failure> {
    let narrowed = allowed_alone(call.request);
    let call = &ChatCall { request: narrowed.as_ref().unwrap_or(call.request), ..*call };
    let request = call.request;
    let mut left_out = LeftOut::default();
    let own = left_out.known(&request.extra_json, &[&OWN[..], &OWN_OPTIONS[..]].concat());
    let mut body = Object::default();
    body.field("model", &target.model).raw("messages", &messages(call, &mut left_out)?);
    tools(request, &mut body, &mut left_out);
    format(request, &mut body, &mut left_out);
    think(request, &target.model, &mut body, &mut left_out);
    let options = options(call, &own);
    if options != "{}" {
        body.raw("options", &options);
    }
    if !own.iter().any(|(name, _)| name == "truncate") {
        // Else a prompt that is too long loses its beginning, and nobody is told.
        body.field("truncate", &false);
    }
    for (name, json) in own.iter().filter(|(name, _)| OWN.contains(&name.as_str()) && name != "options") {
        body.raw(name, json);
    }
    left_out.one_choice(request);
    left_out.absent(&[
        ("parallel_tool_calls", request.parallel_tool_calls == Some(false)),
        ("logprobs", request.logprobs == Some(true)),
        ("top_logprobs", request.top_logprobs.is_some()),
        ("logit_bias", !request.logit_bias.is_empty()),
        ("service_tier", request.service_tier_native.is_some()),
    ]);
    // A stream is what comes unasked.
    body.field("stream", &(call.mode == Mode::Stream));
    Ok(left_out.of(&body))
}

fn tools(request: &CompletionRequest, body: &mut Object, left_out: &mut LeftOut) {
    match request.tool_choice.as_ref().and_then(|c| c.choice.as_ref()) {
        Some(Choice::Mode(mode)) if *mode == ToolChoiceMode::None as i32 => return,
        Some(Choice::Mode(mode)) if *mode == ToolChoiceMode::Auto as i32 => {}
        Some(_) => left_out.because("tool_choice", "must be auto or none for ollama, which cannot force a call"),
        None => {}
    }
    let mut functions = left_out.functions(request);
    for (i, tool) in &mut functions {
        if let Some(Kind::Function(function)) = &mut tool.kind
            && function.strict.take() == Some(true)
        {
            left_out.unsupported(format!("tools[{i}].function.strict"));
        }
    }
    if !functions.is_empty() {
        body.raw("tools", &array(&functions.iter().map(|(_, tool)| encode::tool(tool)).collect::<Vec<_>>()));
    }
}

fn format(request: &CompletionRequest, body: &mut Object, left_out: &mut LeftOut) {
    match request.response_format.as_ref().and_then(|f| f.format.as_ref()) {
        Some(Format::JsonObject(_)) => {
            body.field("format", "json");
        }
        Some(Format::JsonSchema(schema)) => {
            body.raw("format", schema.schema_json.as_deref().unwrap_or(r#""json""#));
        }
        Some(Format::NativeJson(_)) => left_out.unsupported("response_format"),
        Some(Format::Text(_)) | None => {}
    }
}

/// Most models think or do not; these take a level, and refuse to be told less.
const LEVELLED: &str = "gpt-oss";

fn think(request: &CompletionRequest, model: &str, body: &mut Object, left_out: &mut LeftOut) {
    let Some(reasoning) = &request.reasoning else { return };
    match reasoning.effort_native.as_deref() {
        Some("none") => body.field("think", &false),
        Some(level @ ("low" | "medium" | "high")) if model.contains(LEVELLED) => body.field("think", level),
        Some(_) => {
            left_out.dropped("reasoning_effort");
            body.field("think", &true)
        }
        None => body,
    };
    if reasoning.budget_tokens.is_some() {
        left_out.unsupported("reasoning.budget_tokens");
    }
}

/// The model's options. What the call itself says goes before what it says in Ollama's words.
fn options(call: &ChatCall<'_>, own: &[(String, String)]) -> String {
    let request = call.request;
    let mut options = Object::default();
    options.maybe("temperature", request.temperature.as_ref());
    options.maybe("top_p", request.top_p.as_ref()).maybe("top_k", request.top_k.as_ref());
    options.maybe("frequency_penalty", request.frequency_penalty.as_ref());
    options.maybe("presence_penalty", request.presence_penalty.as_ref());
    options.maybe("seed", request.seed.as_ref()).maybe("num_predict", call.output_limit().as_ref());
    options.maybe("stop", request.stop.as_ref().map(|s| &s.sequences).filter(|s| !s.is_empty()));
    for (name, json) in own.iter().filter(|(name, _)| OWN_OPTIONS.contains(&name.as_str())) {
        options.raw(name, json);
    }
    let said = members(&options.finish());
    let more = own.iter().find(|(name, _)| name == "options").map_or("", |(_, json)| json);
    let more: BTreeMap<String, &RawValue> = serde_json::from_str(more).unwrap_or_default();
    for (name, json) in more.iter().filter(|(name, _)| !said.contains(name)) {
        options.raw(name, json.get());
    }
    options.finish()
}
