//! What the simulated provider needs to know of a request.

use serde_json::Value;

pub(super) struct Ask {
    /// Text of the last message.
    pub(super) prompt: String,
    /// The last message is a tool's result.
    pub(super) has_result: bool,
    /// Words of the whole conversation, for usage.
    pub(super) prompt_tokens: u64,
    pub(super) tool: Option<Tool>,
    /// `None`: free text. `Some(schema)`: JSON that fits.
    pub(super) schema: Option<Value>,
    pub(super) limit: Option<usize>,
    pub(super) stop: Vec<String>,
    pub(super) choices: u64,
    pub(super) seed: u64,
    pub(super) reasons: bool,
    pub(super) stream: bool,
    pub(super) include_usage: bool,
}

pub(super) struct Tool {
    pub(super) name: String,
    pub(super) parameters: Value,
}

pub(super) fn read(body: &Value) -> Result<Ask, &'static str> {
    let messages = body["messages"].as_array().filter(|m| !m.is_empty()).ok_or("messages must not be empty")?;
    let last = &messages[messages.len() - 1];
    let has_result = last["role"] == "tool";
    let words: usize = messages.iter().map(|m| text(&m["content"]).split_whitespace().count() + 3).sum();
    let format = &body["response_format"];
    let schema = match format["type"].as_str() {
        Some("json_schema") => Some(format["json_schema"]["schema"].clone()),
        Some("json_object") => {
            Some(serde_json::json!({"type": "object", "properties": {"answer": {"type": "string"}}}))
        }
        _ => None,
    };
    let stop = match &body["stop"] {
        Value::String(one) => vec![one.clone()],
        Value::Array(many) => many.iter().filter_map(|s| s.as_str().map(str::to_owned)).collect(),
        _ => Vec::new(),
    };
    let limit = body["max_completion_tokens"].as_u64().or_else(|| body["max_tokens"].as_u64());
    Ok(Ask {
        prompt: text(&last["content"]),
        has_result,
        prompt_tokens: words as u64,
        tool: if has_result { None } else { chosen_tool(body) },
        schema,
        limit: limit.and_then(|n| usize::try_from(n).ok()),
        stop: stop.into_iter().filter(|s| !s.is_empty()).collect(),
        choices: body["n"].as_u64().unwrap_or(1).clamp(1, 128),
        seed: body["seed"].as_u64().unwrap_or(0),
        reasons: body["reasoning_effort"].as_str().is_some_and(|e| e != "none"),
        stream: body["stream"].as_bool().unwrap_or(false),
        include_usage: body["stream_options"]["include_usage"].as_bool().unwrap_or(false),
    })
}

fn chosen_tool(body: &Value) -> Option<Tool> {
    let tools = body["tools"].as_array()?;
    let choice = &body["tool_choice"];
    if choice == "none" {
        return None;
    }
    let wanted = choice["function"]["name"].as_str();
    let tool = tools.iter().find(|t| wanted.is_none_or(|w| t["function"]["name"] == w))?;
    let name = tool["function"]["name"].as_str()?.to_owned();
    Some(Tool { name, parameters: tool["function"]["parameters"].clone() })
}

fn text(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(|p| p["text"].as_str()).collect::<Vec<_>>().join(" "),
        _ => String::new(),
    }
}
