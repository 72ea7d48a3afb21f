//! Tools and the choice among them. Here they are flat; in the contract those that are no functions stand as chat completions have them,
//! one level deeper.

use serde_json::{Value, json};
use tollgate_proto::v1::{FunctionTool, Tool, ToolChoice, ToolChoiceMode, tool::Kind, tool_choice::Choice};

use crate::openai::{
    Invalid,
    members::{Members, string},
};

pub(super) fn tool(json: &str, path: &str) -> Result<Tool, Invalid> {
    let mut m = Members::read(json, path)?;
    let kind: Option<String> = m.take("type")?;
    match kind.as_deref() {
        Some("function") => {
            let function = FunctionTool {
                name: m.take("name")?.ok_or_else(|| Invalid::at(m.path("name"), "is required"))?,
                description: m.take("description")?,
                parameters_json: m.raw("parameters").map(str::to_owned),
                strict: m.take("strict")?,
                extra_json: m.rest(),
            };
            Ok(Tool { kind: Some(Kind::Function(function)), ..Tool::default() })
        }
        Some("custom") => {
            let custom: Value = serde_json::from_str(json).map_err(|e| Invalid::at(path, e.to_string()))?;
            Ok(native(deeper(custom).to_string()))
        }
        Some(_) => Ok(native(json.to_owned())),
        None => Err(Invalid::at(m.path("type"), "is required")),
    }
}

fn native(json: String) -> Tool {
    Tool { kind: Some(Kind::NativeJson(json)), ..Tool::default() }
}

/// A custom tool in the form of chat completions.
fn deeper(mut custom: Value) -> Value {
    if let Some(tool) = custom.as_object_mut() {
        tool.shift_remove("type");
    }
    if custom["format"]["type"] == "grammar"
        && let Some(grammar) = custom["format"].as_object_mut()
    {
        grammar.shift_remove("type");
        let grammar = std::mem::take(grammar);
        custom["format"] = json!({"type": "grammar", "grammar": grammar});
    }
    json!({"type": "custom", "custom": custom})
}

pub(super) fn choice(json: &str) -> Result<ToolChoice, Invalid> {
    const KNOWN: &str = "must be auto, none, required or an object";
    let choice = match string(json).as_deref() {
        Some("auto") => Choice::Mode(ToolChoiceMode::Auto as i32),
        Some("none") => Choice::Mode(ToolChoiceMode::None as i32),
        Some("required") => Choice::Mode(ToolChoiceMode::Required as i32),
        Some(_) => return Err(Invalid::at("tool_choice", KNOWN)),
        None => object(json)?,
    };
    Ok(ToolChoice { choice: Some(choice) })
}

fn object(json: &str) -> Result<Choice, Invalid> {
    let mut m = Members::read(json, "tool_choice")?;
    let kind: Option<String> = m.take("type")?;
    let name: Option<String> = m.take("name")?;
    Ok(match (kind.as_deref(), name) {
        (Some("function"), Some(name)) => Choice::FunctionName(name),
        (Some("function"), None) => return Err(Invalid::at("tool_choice.name", "is required")),
        (Some("custom"), Some(name)) => {
            Choice::NativeJson(json!({"type": "custom", "custom": {"name": name}}).to_string())
        }
        (Some("allowed_tools"), _) => {
            let tools: Vec<Value> = m.take("tools")?.unwrap_or_default();
            let tools: Vec<Value> = tools.into_iter().map(named_deeper).collect();
            let mode = m.take::<String>("mode")?.unwrap_or_else(|| "auto".to_owned());
            let allowed = json!({"mode": mode, "tools": tools});
            Choice::NativeJson(json!({"type": "allowed_tools", "allowed_tools": allowed}).to_string())
        }
        _ => Choice::NativeJson(json.to_owned()),
    })
}

fn named_deeper(tool: Value) -> Value {
    match (tool["type"].as_str(), tool["name"].as_str()) {
        (Some(kind @ ("function" | "custom")), Some(name)) => json!({"type": kind, kind: {"name": name}}),
        _ => tool,
    }
}
