//! The rules Anthropic holds a conversation's history to: roles, tool results, and thinking blocks that come back
//! exactly as they were given out.

use serde_json::Value;

/// What the scripted model thinks, always.
pub(super) const THINKING: &str = "The script says what to answer, so there is little to think about.";

/// The signature of a thinking text: something a gateway can neither guess nor repair.
pub(super) fn signature(thinking: &str) -> String {
    // FNV-1a, twice with different starts: an opaque mark is wanted, not a secret.
    let digest = |start: u64| {
        thinking.bytes().fold(start, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
    };
    format!("scr{:016x}{:016x}==", digest(0xcbf2_9ce4_8422_2325), digest(0x9e37_79b9_7f4a_7c15))
}

/// The blocks of one type in a message.
pub(super) fn blocks<'a>(message: &'a Value, kind: &'a str) -> impl Iterator<Item = &'a Value> {
    message["content"].as_array().into_iter().flatten().filter(move |block| block["type"] == kind)
}

/// Checks a history. `Err` is the message of the 400.
pub(super) fn check(messages: &[Value], thinking: bool) -> Result<(), String> {
    let Some(first) = messages.first() else {
        return Err("messages: at least one message is required".into());
    };
    if first["role"] != "user" {
        return Err("messages: first message must use the \"user\" role".into());
    }
    for (at, message) in messages.iter().enumerate() {
        if message["role"] != "user" && message["role"] != "assistant" {
            return Err(format!("messages.{at}.role: Input should be 'user' or 'assistant'"));
        }
        check_blocks(at, message)?;
        check_tool_results(at, message, at.checked_sub(1).map(|before| &messages[before]))?;
        let open = message["role"] == "assistant" && blocks(message, "tool_use").next().is_some();
        let next = messages.get(at + 1).unwrap_or(&Value::Null);
        if let Some(missing) = unanswered(message, next).filter(|_| open) {
            return Err(format!(
                "messages.{at}: `tool_use` ids were found without `tool_result` blocks immediately after: {missing}. \
                 Each `tool_use` block must have a corresponding `tool_result` block in the next message."
            ));
        }
    }
    match thinking {
        true => check_loop(messages),
        false => Ok(()),
    }
}

fn check_blocks(at: usize, message: &Value) -> Result<(), String> {
    for (index, block) in message["content"].as_array().into_iter().flatten().enumerate() {
        if block["type"] == "text" && block["text"].as_str().is_none_or(str::is_empty) {
            return Err("messages: text content blocks must be non-empty".into());
        }
        let thought = block["thinking"].as_str().unwrap_or_default();
        // An omitted thought comes back empty with the signature of the real one.
        let signed = block["signature"] == signature(thought)
            || (thought.is_empty() && block["signature"] == signature(THINKING));
        if block["type"] == "thinking" && !signed {
            return Err(format!("messages.{at}.content.{index}: Invalid `signature` in `thinking` block"));
        }
        if block["type"] == "tool_use" && !block["input"].is_object() {
            return Err(format!("messages.{at}.content.{index}.tool_use.input: Input should be a valid dictionary"));
        }
    }
    Ok(())
}

/// Results come first in their message and answer a call of the message before.
fn check_tool_results(at: usize, message: &Value, before: Option<&Value>) -> Result<(), String> {
    let content = message["content"].as_array().map_or(&[][..], Vec::as_slice);
    let results = blocks(message, "tool_result").count();
    if content.iter().take(results).any(|block| block["type"] != "tool_result") {
        return Err(format!("messages.{at}: `tool_result` blocks must come before other content in their message"));
    }
    for result in blocks(message, "tool_result") {
        let id = &result["tool_use_id"];
        let called = before.is_some_and(|before| blocks(before, "tool_use").any(|call| call["id"] == *id));
        if !called {
            return Err(format!(
                "messages.{at}.content.0: unexpected `tool_use_id` found in `tool_result` blocks: {}. Each \
                 `tool_result` block must have a corresponding `tool_use` block in the previous message.",
                id.as_str().unwrap_or_default()
            ));
        }
    }
    Ok(())
}

fn unanswered(message: &Value, next: &Value) -> Option<String> {
    let answered = |id: &Value| blocks(next, "tool_result").any(|result| result["tool_use_id"] == *id);
    let open = blocks(message, "tool_use").find(|call| !answered(&call["id"]))?;
    Some(open["id"].as_str().unwrap_or_default().to_owned())
}

/// In a tool loop with thinking on, the assistant's turn begins with the thoughts that led to its calls.
fn check_loop(messages: &[Value]) -> Result<(), String> {
    let in_loop = messages.last().is_some_and(|last| blocks(last, "tool_result").next().is_some());
    let turn = messages.iter().enumerate().rev().find(|(_, message)| message["role"] == "assistant");
    let Some((at, turn)) = turn.filter(|_| in_loop) else {
        return Ok(());
    };
    let first = turn["content"][0]["type"].as_str().unwrap_or("text");
    match first {
        "thinking" | "redacted_thinking" => Ok(()),
        other => Err(format!(
            "messages.{at}.content.0.type: Expected `thinking` or `redacted_thinking`, but found `{other}`. When \
             `thinking` is enabled, a final `assistant` message must start with a thinking block."
        )),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tool_loop(assistant: Value) -> Vec<Value> {
        let result = json!([{ "type": "tool_result", "tool_use_id": "t1", "content": "4" }]);
        vec![
            json!({ "role": "user", "content": "2+2?" }),
            json!({ "role": "assistant", "content": assistant }),
            json!({ "role": "user", "content": result }),
        ]
    }

    fn call() -> Value {
        json!({ "type": "tool_use", "id": "t1", "name": "add", "input": {} })
    }

    #[test]
    fn thoughts_must_come_back_as_they_were() {
        let thought = |signature: &str| json!({ "type": "thinking", "thinking": THINKING, "signature": signature });
        assert_eq!(check(&tool_loop(json!([thought(&signature(THINKING)), call()])), true), Ok(()));
        let changed = check(&tool_loop(json!([thought("mine"), call()])), true);
        assert!(changed.unwrap_err().contains("Invalid `signature`"));
        let missing = check(&tool_loop(json!([call()])), true);
        assert!(missing.unwrap_err().contains("Expected `thinking`"));
        assert_eq!(check(&tool_loop(json!([call()])), false), Ok(()));
    }

    #[test]
    fn every_call_needs_its_result_and_every_result_its_call() {
        let mut history = tool_loop(json!([call()]));
        history.pop();
        assert!(check(&history, false).unwrap_err().contains("without `tool_result`"));
        let stray = tool_loop(json!([{ "type": "text", "text": "no call" }]));
        assert!(check(&stray, false).unwrap_err().contains("unexpected `tool_use_id`"));
    }
}
