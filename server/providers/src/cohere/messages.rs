//! Our messages as theirs: plans beside tool calls, thinking as parts of a list.

use tollgate_domain::Failure;
use tollgate_proto::v1::{Part, Role, ToolResultPart, part::Content};

use crate::{
    ChatCall,
    conversation::{Said, function_call, image_part, plain_text, text, text_part},
    json::{Object, array},
    left_out::LeftOut,
    provider::cannot,
};

/// The `messages` array.
pub(super) fn messages(call: &ChatCall<'_>, left_out: &mut LeftOut) -> Result<String, Failure> {
    let messages = &call.request.messages;
    let mut written = Vec::with_capacity(messages.len() + 1);
    for (i, message) in messages.iter().enumerate() {
        let path = format!("messages[{i}]");
        let said = Said::read(message, &path, left_out);
        match message.role() {
            Role::System | Role::Developer => written.push(plain("system", &said, left_out)?),
            Role::User => written.push(plain("user", &said, left_out)?),
            Role::Assistant => written.push(assistant(&said, left_out)),
            Role::Tool => {
                for result in &said.results {
                    written.push(tool(result, &path)?);
                }
            }
            Role::Unspecified => return Err(cannot(&format!("{path}.role"), "is not known to this provider")),
        }
    }
    if let Some(prefill) = call.prefill {
        let mut object = Object::default();
        object.field("role", "assistant").field("content", prefill);
        written.push(object.finish());
    }
    Ok(array(&written))
}

fn plain(role: &str, said: &Said<'_>, left_out: &mut LeftOut) -> Result<String, Failure> {
    let mut object = Object::default();
    object.field("role", role);
    if let Some(text) = said.one_text() {
        object.field("content", text);
        return Ok(object.finish());
    }
    let mut parts = Vec::with_capacity(said.content.len());
    for (part, path) in &said.content {
        match &part.content {
            Some(Content::Image(image)) => parts.push(image_part(image)),
            Some(Content::Audio(_)) => return Err(cannot(path, "audio is not taken by this provider")),
            Some(Content::File(_)) => {
                return Err(cannot(path, "files are not taken by this provider; documents are, as text"));
            }
            Some(Content::Opaque(_)) => left_out.unsupported(path),
            _ => parts.extend(text(part).map(text_part)),
        }
    }
    object.raw("content", &array(&parts));
    Ok(object.finish())
}

/// What was thought last before tool calls is their plan, and the provider wants it back there; all else are parts of the content.
fn assistant(said: &Said<'_>, left_out: &mut LeftOut) -> String {
    let (thoughts, plan) = match said.thoughts.split_last() {
        Some((plan, before)) if !said.calls.is_empty() => (before, Some(plan)),
        _ => (said.thoughts.as_slice(), None),
    };
    let mut parts: Vec<String> = thoughts.iter().map(|thought| thinking(thought)).collect();
    let mut texts = Vec::with_capacity(said.content.len());
    for (part, path) in &said.content {
        match text(part) {
            Some(text) => texts.push(text),
            None => left_out.dropped(path), // citations of an earlier answer, for example
        }
    }
    let mut object = Object::default();
    object.field("role", "assistant");
    match (parts.as_slice(), texts.as_slice()) {
        ([], []) if !said.calls.is_empty() => {}
        ([], []) => {
            object.field("content", "");
        }
        ([], [only]) => {
            object.field("content", only);
        }
        _ => {
            parts.extend(texts.into_iter().map(text_part));
            object.raw("content", &array(&parts));
        }
    }
    object.maybe("tool_plan", plan);
    if !said.calls.is_empty() {
        let calls: Vec<String> = said.calls.iter().map(|call| function_call(&call.id, call)).collect();
        object.raw("tool_calls", &array(&calls));
    }
    object.finish()
}

fn thinking(thought: &str) -> String {
    let mut object = Object::default();
    object.field("type", "thinking").field("thinking", thought);
    object.finish()
}

fn tool(result: &ToolResultPart, path: &str) -> Result<String, Failure> {
    let mut object = Object::default();
    object.field("role", "tool").field("tool_call_id", &result.tool_call_id);
    match plain_text(&result.content) {
        Some(text) => object.field("content", &text),
        None => {
            let parts = result.content.iter().map(|part| result_part(part, path));
            object.raw("content", &array(&parts.collect::<Result<Vec<_>, _>>()?))
        }
    };
    Ok(object.finish())
}

fn result_part(part: &Part, path: &str) -> Result<String, Failure> {
    match &part.content {
        Some(Content::Opaque(opaque)) if opaque.r#type == "document" => Ok(opaque.json.clone()),
        _ => text(part)
            .map(text_part)
            .ok_or_else(|| cannot(&format!("{path}.content"), "a tool result must be text for this provider")),
    }
}
