//! Tools, and which of them the model may or must call.

use std::collections::BTreeSet;

use tollgate_proto::v1::{CompletionRequest, Tool, ToolChoiceMode, tool::Kind, tool_choice::Choice};

use super::turns::Turns;
use crate::{
    Unsupported,
    conversation::tool_names,
    json::{Object, array},
};

/// What the call says of tools, in their words.
#[derive(Default)]
pub(super) struct Tools {
    /// `toolConfig`; empty: none.
    pub(super) config: String,
    /// Claude's own `tool_choice`, for what `toolConfig` cannot say; empty: none.
    pub(super) claude_choice: String,
}

/// A schema that takes anything, for tools without one.
const ANY: &str = r#"{"type":"object","properties":{}}"#;

impl Tools {
    /// `toolConfig` must stand wherever the conversation holds calls, even where no tool is offered now.
    pub(super) fn read(
        request: &CompletionRequest,
        is_claude: bool,
        turns: &mut Turns,
        unsupported: &mut Vec<Unsupported>,
    ) -> Self {
        let called: BTreeSet<&str> = tool_names(&request.messages).into_values().collect();
        let choice = Wish::of(request);
        let is_forbidden = request.tools.is_empty() || choice == Wish::None;
        if is_forbidden && called.is_empty() {
            return Self::default();
        }
        let mut specs = Vec::new();
        for (i, tool) in request.tools.iter().enumerate() {
            match spec(tool) {
                Some(spec) => specs.push(spec),
                None => {
                    let why = "is not a function, which is all that bedrock's Converse takes";
                    unsupported.push(Unsupported::because(format!("tools[{i}]"), why));
                }
            }
            specs.extend(turns.cache_point(&tool.cache_control_json, &format!("tools[{i}]")));
        }
        if request.tools.is_empty() {
            specs.extend(called.into_iter().map(|name| spec_of(name, None, ANY, None)));
        }
        if specs.is_empty() {
            return Self::default();
        }
        let one_at_a_time = request.parallel_tool_calls == Some(false) && !is_forbidden;
        let mut config = Object::default();
        config.raw("tools", &array(&specs));
        let mut claude_choice = String::new();
        if is_claude && (is_forbidden || one_at_a_time) {
            // In its own words alone: a choice that is told twice is refused.
            claude_choice = if is_forbidden { r#"{"type":"none"}"#.to_owned() } else { choice.claudes() };
        } else if let Some(said) = choice.said() {
            config.raw("toolChoice", &said);
        }
        if !is_claude {
            if one_at_a_time {
                let why = "can be false for Claude models only with bedrock";
                unsupported.push(Unsupported::because("parallel_tool_calls", why));
            }
            if choice == Wish::None {
                let why =
                    "can be none with bedrock only while the conversation holds no tool calls, and for Claude models";
                unsupported.push(Unsupported::because("tool_choice", why));
            }
        }
        if choice == Wish::Unknown {
            unsupported.push(Unsupported::new("tool_choice"));
        }
        Self { config: config.finish(), claude_choice }
    }
}

fn spec(tool: &Tool) -> Option<String> {
    let Some(Kind::Function(function)) = &tool.kind else { return None };
    let schema = function.parameters_json.as_deref().unwrap_or(ANY);
    Some(spec_of(&function.name, function.description.as_deref(), schema, function.strict.filter(|strict| *strict)))
}

fn spec_of(name: &str, description: Option<&str>, schema: &str, strict: Option<bool>) -> String {
    let (mut input, mut spec, mut tool) = (Object::default(), Object::default(), Object::default());
    input.raw("json", schema);
    spec.field("name", name).maybe("description", description.filter(|text| !text.is_empty()));
    spec.raw("inputSchema", &input.finish()).maybe("strict", strict.as_ref());
    tool.raw("toolSpec", &spec.finish());
    tool.finish()
}

/// Which tools the model may or must call.
#[derive(PartialEq)]
enum Wish<'a> {
    Unsaid,
    Auto,
    Any,
    None,
    Named(&'a str),
    Unknown,
}

impl<'a> Wish<'a> {
    fn of(request: &'a CompletionRequest) -> Self {
        match request.tool_choice.as_ref().and_then(|c| c.choice.as_ref()) {
            None => Self::Unsaid,
            Some(Choice::FunctionName(name)) => Self::Named(name),
            Some(Choice::NativeJson(_)) => Self::Unknown,
            Some(Choice::Mode(mode)) => match ToolChoiceMode::try_from(*mode) {
                Ok(ToolChoiceMode::Required) => Self::Any,
                Ok(ToolChoiceMode::None) => Self::None,
                Ok(ToolChoiceMode::Auto) => Self::Auto,
                _ => Self::Unsaid,
            },
        }
    }

    /// As `toolChoice`.
    fn said(&self) -> Option<String> {
        match self {
            Self::Auto => Some(r#"{"auto":{}}"#.to_owned()),
            Self::Any => Some(r#"{"any":{}}"#.to_owned()),
            Self::Named(name) => {
                let (mut tool, mut choice) = (Object::default(), Object::default());
                tool.field("name", *name);
                choice.raw("tool", &tool.finish());
                Some(choice.finish())
            }
            Self::Unsaid | Self::None | Self::Unknown => None,
        }
    }

    /// As Claude's own, with one call at a time.
    fn claudes(&self) -> String {
        let mut choice = Object::default();
        match self {
            Self::Any => choice.field("type", "any"),
            Self::Named(name) => choice.field("type", "tool").field("name", *name),
            _ => choice.field("type", "auto"),
        };
        choice.field("disable_parallel_tool_use", &true);
        choice.finish()
    }
}
