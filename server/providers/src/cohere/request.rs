//! Our call to their JSON.

use tollgate_domain::Failure;
use tollgate_proto::v1::{
    CompletionRequest, Tool, ToolChoiceMode, response_format::Format, tool::Kind, tool_choice::Choice,
};

use super::messages::messages;
use crate::{
    ChatCall, Mode, Target, Written,
    json::{Object, array},
    left_out::{LeftOut, allowed_alone},
    openai::encode,
    provider::invalid,
};

/// What may be asked for in Cohere's own words.
const OWN: [&str; 5] = ["citation_options", "documents", "priority", "safety_mode", "strict_tools"];
/// The most sequences to stop at.
const MAX_STOPS: usize = 5;

/// The body, and what it goes without.
pub(super) fn body(target: &Target, call: &ChatCall<'_>) -> Result<Written, Failure> {
    let narrowed = allowed_alone(call.request);
    let call = &ChatCall { request: narrowed.as_ref().unwrap_or(call.request), ..*call };
    let request = call.request;
    let mut left_out = LeftOut::default();
    let own = left_out.known(&request.extra_json, &OWN);
    let says = |name: &str| own.iter().any(|(own, _)| own == name);
    let mut body = Object::default();
    body.field("model", &target.model).raw("messages", &messages(call, &mut left_out)?);
    tools(request, says("strict_tools"), &mut body, &mut left_out)?;
    if request.tools.is_empty() && !says("documents") {
        response_format(request, &mut body, &mut left_out);
    } else if request.response_format.as_ref().is_some_and(|f| !matches!(f.format, Some(Format::Text(_)) | None)) {
        left_out.because("response_format", "does not go together with tools or documents for cohere");
    }
    sampling(request, &mut body, &mut left_out);
    body.maybe("max_tokens", call.output_limit().as_ref());
    thinking(request, &mut body, &mut left_out);
    for (name, json) in &own {
        body.raw(name, json);
    }
    left_out.one_choice(request);
    left_out.absent(&[
        ("parallel_tool_calls", request.parallel_tool_calls == Some(false)),
        ("top_logprobs", request.top_logprobs.is_some()),
        ("logit_bias", !request.logit_bias.is_empty()),
        ("service_tier", request.service_tier_native.is_some()),
    ]);
    if call.mode == Mode::Stream {
        body.field("stream", &true);
    }
    Ok(left_out.of(&body))
}

/// One named function is asked for by offering no other.
fn tools(
    request: &CompletionRequest,
    says_strict: bool,
    body: &mut Object,
    left_out: &mut LeftOut,
) -> Result<(), Failure> {
    let mut functions = left_out.functions(request);
    let choice = request.tool_choice.as_ref().and_then(|c| c.choice.as_ref());
    let word = match choice {
        Some(Choice::FunctionName(name)) => {
            functions.retain(|(_, tool)| matches!(&tool.kind, Some(Kind::Function(f)) if f.name == *name));
            if functions.is_empty() {
                return Err(invalid("tool_choice.function.name", "names no tool of the call"));
            }
            Some("REQUIRED")
        }
        Some(Choice::Mode(mode)) => match ToolChoiceMode::try_from(*mode) {
            Ok(ToolChoiceMode::Required) => Some("REQUIRED"),
            Ok(ToolChoiceMode::None) => Some("NONE"),
            _ => None,
        },
        Some(Choice::NativeJson(_)) => {
            left_out.unsupported("tool_choice");
            None
        }
        None => None,
    };
    if functions.is_empty() {
        return Ok(());
    }
    let is_strict = |tool: &Tool| matches!(&tool.kind, Some(Kind::Function(f)) if f.strict == Some(true));
    let all_strict = functions.iter().all(|(_, tool)| is_strict(tool));
    for (i, tool) in &mut functions {
        if is_strict(tool) && !all_strict {
            left_out.because(format!("tools[{i}].function.strict"), "must be the same for all tools for cohere");
        }
        if let Some(Kind::Function(function)) = &mut tool.kind {
            function.strict = None;
        }
    }
    body.raw("tools", &array(&functions.iter().map(|(_, tool)| encode::tool(tool)).collect::<Vec<_>>()));
    if all_strict && !says_strict {
        body.field("strict_tools", &true);
    }
    body.maybe("tool_choice", word);
    Ok(())
}

fn response_format(request: &CompletionRequest, body: &mut Object, left_out: &mut LeftOut) {
    let mut format = Object::default();
    format.field("type", "json_object");
    match request.response_format.as_ref().and_then(|f| f.format.as_ref()) {
        Some(Format::JsonObject(_)) => {}
        Some(Format::JsonSchema(schema)) => {
            format.raw("json_schema", schema.schema_json.as_deref().unwrap_or("{}"));
        }
        Some(Format::NativeJson(_)) => return left_out.unsupported("response_format"),
        Some(Format::Text(_)) | None => return,
    }
    body.raw("response_format", &format.finish());
}

fn sampling(request: &CompletionRequest, body: &mut Object, left_out: &mut LeftOut) {
    body.maybe("temperature", request.temperature.as_ref());
    body.maybe("p", request.top_p.as_ref()).maybe("k", request.top_k.as_ref());
    body.maybe("frequency_penalty", request.frequency_penalty.as_ref());
    body.maybe("presence_penalty", request.presence_penalty.as_ref());
    body.maybe("seed", request.seed.as_ref()).maybe("logprobs", request.logprobs.as_ref());
    match request.stop.as_ref().map(|s| s.sequences.as_slice()) {
        None | Some([]) => {}
        Some(stops) if stops.len() > MAX_STOPS => left_out.because("stop", "must be at most 5 sequences for cohere"),
        Some(stops) => {
            body.field("stop_sequences", stops);
        }
    }
}

fn thinking(request: &CompletionRequest, body: &mut Object, left_out: &mut LeftOut) {
    let Some(reasoning) = &request.reasoning else { return };
    let mut thinking = Object::default();
    match (reasoning.effort_native.as_deref(), reasoning.budget_tokens) {
        (None, None) => return,
        (Some("none"), _) => thinking.field("type", "disabled"),
        (_, Some(budget)) => thinking.field("type", "enabled").field("token_budget", &budget),
        (Some(_), None) => {
            // It thinks or does not; how much is asked for in tokens alone.
            left_out.dropped("reasoning_effort");
            thinking.field("type", "enabled")
        }
    };
    body.raw("thinking", &thinking.finish());
}
