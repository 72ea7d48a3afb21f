//! Functions, as they were before tools (OpenAI, "Chat completions", `functions` and `function_call`, deprecated): read as tools, and
//! written as functions again for who asked for them.

use std::collections::HashMap;

use serde_json::Value;
use tollgate_proto::v1::{
    CompletionRequest, FunctionTool, Message, Part, Role, Tool, ToolCallPart, ToolChoice, ToolChoiceMode,
    ToolResultPart, part::Content, tool::Kind, tool_choice::Choice,
};

use super::{
    Invalid,
    members::{Members, items, string},
};

/// The role of a function's result.
const ROLE: &str = "function";

/// Reads functions and which of them to call. Whether there are any.
pub(super) fn offered(m: &mut Members<'_>, request: &mut CompletionRequest) -> Result<bool, Invalid> {
    let Some(functions) = m.raw("functions") else { return Ok(false) };
    for (i, function) in items(functions, "functions")?.into_iter().enumerate() {
        let function = read_function(Members::read(function, &format!("functions[{i}]"))?)?;
        request.tools.push(Tool { kind: Some(Kind::Function(function)), ..Tool::default() });
    }
    if let Some(json) = m.raw("function_call") {
        let choice = match string(json).as_deref() {
            Some("auto") => Choice::Mode(ToolChoiceMode::Auto as i32),
            Some("none") => Choice::Mode(ToolChoiceMode::None as i32),
            Some(_) => return Err(Invalid::at("function_call", "must be auto, none or an object")),
            None => {
                let name = Members::read(json, "function_call")?.take("name")?;
                Choice::FunctionName(name.ok_or_else(|| Invalid::at("function_call.name", "is required"))?)
            }
        };
        request.tool_choice.get_or_insert(ToolChoice { choice: Some(choice) });
    }
    Ok(true)
}

/// What a function is: the same with tools.
pub(super) fn read_function(mut f: Members<'_>) -> Result<FunctionTool, Invalid> {
    Ok(FunctionTool {
        name: f.take("name")?.unwrap_or_default(),
        description: f.take("description")?,
        parameters_json: f.raw("parameters").map(str::to_owned),
        strict: f.take("strict")?,
        extra_json: f.rest(),
    })
}

/// The call of a function in a message of the assistant's.
pub(super) fn call(m: &mut Members<'_>) -> Result<Option<Part>, Invalid> {
    let path = m.path("function_call");
    let Some(json) = m.raw("function_call") else { return Ok(None) };
    let mut call = Members::read(json, &path)?;
    let name = call.take("name")?.ok_or_else(|| Invalid::at(format!("{path}.name"), "is required"))?;
    let arguments_json = call.take("arguments")?.unwrap_or_default();
    let call = ToolCallPart { name, arguments_json, ..ToolCallPart::default() };
    Ok(Some(Part { content: Some(Content::ToolCall(call)), ..Part::default() }))
}

/// Calls of functions have no ids, and a result is of the last call of its function: both get one that the messages determine, so that
/// the same conversation is the same prompt to a cache.
pub(super) fn number(messages: &mut [Message]) {
    let mut last: HashMap<String, String> = HashMap::new();
    for (i, message) in messages.iter_mut().enumerate() {
        let mut calls = message.parts.iter_mut().filter_map(|part| match &mut part.content {
            Some(Content::ToolCall(call)) => Some(call),
            _ => None,
        });
        if let (Some(call), None) = (calls.next(), calls.next())
            && call.id.is_empty()
        {
            call.id = format!("call_{i}");
            last.insert(call.name.clone(), call.id.clone());
        }
        let id = message.name.as_ref().and_then(|name| last.get(name));
        if let (ROLE, Some(id)) = (message.role_native.as_str(), id) {
            let content = std::mem::take(&mut message.parts);
            let result = ToolResultPart { tool_call_id: id.clone(), content, is_error: None };
            message.parts = vec![Part { content: Some(Content::ToolResult(result)), ..Part::default() }];
            message.role_native.clear();
            message.set_role(Role::Tool);
        }
    }
}

/// A choice, whole or a piece of it, with its first call as that of a function: there was never more than one.
pub(super) fn as_function(choice: &mut Value) {
    for said in ["message", "delta"] {
        let Some(said) = choice.get_mut(said).and_then(Value::as_object_mut) else { continue };
        let Some(Value::Array(calls)) = said.remove("tool_calls") else { continue };
        let is_first = |call: &&Value| call.get("index").is_none_or(|index| *index == 0);
        if let Some(function) = calls.iter().find(is_first).and_then(|call| call.get("function")) {
            said.insert("function_call".into(), function.clone());
        }
    }
    if choice["finish_reason"] == "tool_calls" {
        choice["finish_reason"] = "function_call".into();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::openai::read_chat;

    #[test]
    fn functions_are_read_as_tools_and_results_find_their_calls() {
        let body = json!({
            "model": "m",
            "functions": [{"name": "look", "parameters": {"type": "object"}}],
            "function_call": {"name": "look"},
            "messages": [
                {"role": "user", "content": "hi"},
                {"role": "assistant", "content": null, "function_call": {"name": "look", "arguments": "{}"}},
                {"role": "function", "name": "look", "content": "seen"},
            ],
        });
        let request = read_chat(body.to_string().as_bytes()).unwrap();
        assert!(matches!(&request.tools[0].kind, Some(Kind::Function(f)) if f.name == "look"));
        assert_eq!(request.tool_choice.unwrap().choice, Some(Choice::FunctionName("look".into())));
        let Some(Content::ToolCall(call)) = &request.messages[1].parts[0].content else { panic!("no call") };
        let Some(Content::ToolResult(result)) = &request.messages[2].parts[0].content else { panic!("no result") };
        assert_eq!((call.id.as_str(), result.tool_call_id.as_str()), ("call_1", "call_1"));
        assert_eq!(request.extra_json, "");
    }

    #[test]
    fn the_first_call_is_shown_as_a_functions() {
        let function = json!({"name": "look", "arguments": "{}"});
        let mut whole = json!({"message": {"tool_calls": [{"id": "1", "function": function}, {"id": "2"}]},
                               "finish_reason": "tool_calls"});
        as_function(&mut whole);
        assert_eq!(whole, json!({"message": {"function_call": function}, "finish_reason": "function_call"}));
        let mut second = json!({"delta": {"tool_calls": [{"index": 1, "function": function}]}, "finish_reason": null});
        as_function(&mut second);
        assert_eq!(second, json!({"delta": {}, "finish_reason": null}));
    }
}
