//! Our call to their JSON: encoded, whatever dialect the caller wrote.

use tollgate_domain::Failure;
use tollgate_proto::v1::{CompletionRequest, ToolChoiceMode, response_format::Format, tool_choice::Choice};

use super::messages::messages;
use crate::{
    ChatCall, Mode, Target, Written,
    json::{Object, array},
    left_out::{LeftOut, allowed_alone},
    openai::encode,
};

/// What may be asked for in Mistral's own words.
const OWN: [&str; 6] = ["guardrails", "metadata", "prediction", "prompt_cache_key", "prompt_mode", "safe_prompt"];

/// The body, and what it goes without.
pub(super) fn body(target: &Target, call: &ChatCall<'_>) -> Result<Written, Failure> {
    let narrowed = allowed_alone(call.request);
    let call = &ChatCall { request: narrowed.as_ref().unwrap_or(call.request), ..*call };
    let request = call.request;
    let mut left_out = LeftOut::default();
    let mut body = Object::default();
    body.field("model", &target.model).raw("messages", &messages(call, &mut left_out)?);
    tools(request, &mut body, &mut left_out);
    response_format(request, &mut body, &mut left_out);
    sampling(request, &mut body);
    body.maybe("max_tokens", call.output_limit().as_ref());
    if let Some(reasoning) = &request.reasoning {
        body.maybe("reasoning_effort", reasoning.effort_native.as_ref());
    }
    body.maybe("service_tier", request.service_tier_native.as_ref());
    left_out.absent(&[
        ("top_k", request.top_k.is_some()),
        ("top_logprobs", request.top_logprobs.is_some()),
        ("logit_bias", !request.logit_bias.is_empty()),
        ("reasoning.budget_tokens", request.reasoning.as_ref().is_some_and(|r| r.budget_tokens.is_some())),
    ]);
    for (name, json) in left_out.known(&request.extra_json, &OWN) {
        body.raw(&name, &json);
    }
    left_out.user(request.user.as_ref());
    if call.mode == Mode::Stream {
        // Usage comes without being asked for; some deployments refuse to be asked.
        body.field("stream", &true);
    }
    Ok(left_out.of(&body))
}

fn tools(request: &CompletionRequest, body: &mut Object, left_out: &mut LeftOut) {
    let functions: Vec<String> = left_out.functions(request).iter().map(|(_, tool)| encode::tool(tool)).collect();
    if !functions.is_empty() {
        body.raw("tools", &array(&functions));
    }
    match request.tool_choice.as_ref().and_then(|c| c.choice.as_ref()) {
        // Old models know this word alone for it.
        Some(Choice::Mode(mode)) if *mode == ToolChoiceMode::Required as i32 => {
            body.field("tool_choice", "any");
        }
        Some(Choice::NativeJson(_)) => left_out.unsupported("tool_choice"),
        Some(_) => {
            body.raw("tool_choice", &request.tool_choice.as_ref().map(encode::tool_choice).unwrap_or_default());
        }
        None => {}
    }
    body.maybe("parallel_tool_calls", request.parallel_tool_calls.as_ref());
}

fn response_format(request: &CompletionRequest, body: &mut Object, left_out: &mut LeftOut) {
    match request.response_format.as_ref().and_then(|f| f.format.as_ref()) {
        None => {}
        Some(Format::NativeJson(_)) => left_out.unsupported("response_format"),
        Some(format) => {
            body.raw("response_format", &encode::response_format(format));
        }
    }
}

fn sampling(request: &CompletionRequest, body: &mut Object) {
    body.maybe("temperature", request.temperature.as_ref()).maybe("top_p", request.top_p.as_ref());
    body.maybe("frequency_penalty", request.frequency_penalty.as_ref());
    body.maybe("presence_penalty", request.presence_penalty.as_ref());
    body.maybe("random_seed", request.seed.as_ref());
    body.maybe("stop", request.stop.as_ref().map(|s| &s.sequences).filter(|s| !s.is_empty()));
    body.maybe("n", request.n.as_ref()).maybe("logprobs", request.logprobs.as_ref());
}
