//! What a request goes without, found out while it is written: for dialects that say less than OpenAI's.

use std::collections::BTreeMap;

use serde_json::{Value, value::RawValue};
use tollgate_proto::v1::{
    CompletionRequest, FunctionTool, ImagePart, Message, Part, Role, Tool, ToolChoice, ToolChoiceMode, part::Content,
    tool::Kind, tool_choice::Choice,
};

use crate::{Unsupported, Written, conversation::members, json::Object};

/// Tools that OpenAI runs itself, by their types in the Responses API.
const HOSTED: [&str; 13] = [
    "apply_patch",
    "code_interpreter",
    "computer",
    "computer_use_preview",
    "file_search",
    "image_generation",
    "local_shell",
    "mcp",
    "namespace",
    "shell",
    "tool_search",
    "web_search",
    "web_search_preview",
];

/// Whether a tool is one that only the Responses API has. A service with a tool of the same name writes it one level deeper.
pub(crate) fn is_hosted(json: &str) -> bool {
    let tool: BTreeMap<String, &RawValue> = serde_json::from_str(json).unwrap_or_default();
    let kind = tool.get("type").and_then(|kind| serde_json::from_str::<String>(kind.get()).ok()).unwrap_or_default();
    HOSTED.contains(&kind.as_str()) && !tool.contains_key(&kind)
}

/// The request without tools that are not taken, and what to say of them; `None`: all are taken.
pub(crate) fn without_tools(
    request: &CompletionRequest,
    is_taken: impl Fn(&str) -> bool,
) -> Option<(CompletionRequest, Vec<Unsupported>)> {
    let is_foreign = |tool: &Tool| matches!(&tool.kind, Some(Kind::NativeJson(json)) if !is_taken(json));
    let foreign = request.tools.iter().enumerate().filter(|(_, tool)| is_foreign(tool));
    let why = "is a tool that this provider does not have";
    let unsupported: Vec<_> = foreign.map(|(i, _)| Unsupported::because(format!("tools[{i}]"), why)).collect();
    if unsupported.is_empty() {
        return None;
    }
    let mut copy = CompletionRequest { original: None, ..request.clone() };
    copy.tools.retain(|tool| !is_foreign(tool));
    // Nothing is left to choose among.
    copy.tool_choice = copy.tool_choice.filter(|_| !copy.tools.is_empty());
    Some((copy, unsupported))
}

/// The request with the functions alone that its choice allows (`allowed_tools` of OpenAI's dialect), for dialects that cannot keep a model
/// from some of them; `None`: it says no such thing, or allows what is no function of the call.
pub(crate) fn allowed_alone(request: &CompletionRequest) -> Option<CompletionRequest> {
    let Some(Choice::NativeJson(json)) = request.tool_choice.as_ref()?.choice.as_ref() else { return None };
    let choice: Value = serde_json::from_str(json).ok()?;
    let allowed = choice.get("allowed_tools").filter(|_| choice["type"] == "allowed_tools")?;
    let mode = match allowed["mode"].as_str()? {
        "auto" => ToolChoiceMode::Auto,
        "required" => ToolChoiceMode::Required,
        _ => return None,
    };
    let tools = allowed["tools"].as_array().filter(|tools| !tools.is_empty())?;
    let names: Vec<&str> = tools.iter().map(|tool| tool["function"]["name"].as_str()).collect::<Option<_>>()?;
    let is = |tool: &Tool, name: &str| matches!(&tool.kind, Some(Kind::Function(function)) if function.name == name);
    if !names.iter().all(|name| request.tools.iter().any(|tool| is(tool, name))) {
        return None;
    }
    let mut copy = CompletionRequest { original: None, ..request.clone() };
    copy.tools.retain(|tool| names.iter().any(|name| is(tool, name)));
    copy.tool_choice = Some(ToolChoice { choice: Some(Choice::Mode(mode as i32)) });
    Some(copy)
}

/// Parameters that have no counterpart, by their paths in the caller's dialect: see [`crate::Outgoing`].
#[derive(Default)]
pub(crate) struct LeftOut {
    unsupported: Vec<Unsupported>,
    dropped: Vec<String>,
}

impl LeftOut {
    pub(crate) fn unsupported(&mut self, field: impl Into<String>) {
        self.unsupported.push(Unsupported::new(field));
    }

    pub(crate) fn because(&mut self, field: impl Into<String>, why: &'static str) {
        self.unsupported.push(Unsupported::because(field, why));
    }

    /// Without harm to the answer.
    pub(crate) fn dropped(&mut self, field: impl Into<String>) {
        self.dropped.push(field.into());
    }

    /// Parameters that the provider does not have, where they are set.
    pub(crate) fn absent(&mut self, fields: &[(&str, bool)]) {
        self.unsupported.extend(fields.iter().filter(|(_, is_set)| *is_set).map(|(name, _)| Unsupported::new(*name)));
    }

    /// What a provider of one choice that knows no end users cannot heed.
    pub(crate) fn one_choice(&mut self, request: &CompletionRequest) {
        if request.n.is_some_and(|n| n > 1) {
            self.because("n", "must be 1: the provider gives one choice");
        }
        self.user(request.user.as_ref());
    }

    /// Whose call it is harms no answer.
    pub(crate) fn user(&mut self, user: Option<&String>) {
        if user.is_some() {
            self.dropped("user");
        }
    }

    /// What a message says beside its parts. Members of an answer that some provider gave earlier are its own; those of other
    /// messages are asked for.
    pub(crate) fn beside(&mut self, message: &Message, path: &str) {
        self.members(&message.extra_json, message.role(), path);
        if message.name.is_some() && message.role() != Role::Tool {
            self.unsupported(format!("{path}.name"));
        }
    }

    /// What a part says beside its content.
    pub(crate) fn beside_part(&mut self, part: &Part, role: Role, path: &str) {
        self.members(&part.extra_json, role, path);
        if !part.cache_control_json.is_empty() {
            self.dropped(format!("{path}.cache_control"));
        }
    }

    /// What messages, parts and functions say beside what every dialect has of them. Caching hints are for those who know their own.
    pub(crate) fn besides(&mut self, request: &CompletionRequest) {
        for (i, message) in request.messages.iter().enumerate() {
            let path = format!("messages[{i}]");
            self.beside(message, &path);
            for (j, part) in message.parts.iter().enumerate() {
                let path = format!("{path}.content[{j}]");
                self.of_part(part, message.role(), &path);
                if let Some(Content::ToolResult(result)) = &part.content {
                    result.content.iter().for_each(|inner| self.of_part(inner, message.role(), &path));
                }
            }
        }
        for (i, tool) in request.tools.iter().enumerate() {
            self.of_function(tool, &format!("tools[{i}]"));
        }
    }

    fn of_part(&mut self, part: &Part, role: Role, path: &str) {
        self.members(&part.extra_json, role, path);
        if let Some(Content::Image(ImagePart { detail: Some(detail), .. })) = &part.content
            && detail != "auto"
        {
            self.dropped(format!("{path}.image_url.detail"));
        }
    }

    fn of_function(&mut self, tool: &Tool, path: &str) {
        self.members(&tool.extra_json, Role::Unspecified, path);
        if let Some(Kind::Function(function)) = &tool.kind {
            self.members(&function.extra_json, Role::Unspecified, &format!("{path}.function"));
        }
    }

    /// Adds what an adapter has found by itself.
    pub(crate) fn and(mut self, unsupported: Vec<Unsupported>, dropped: Vec<String>) -> Self {
        self.unsupported.extend(unsupported);
        self.dropped.extend(dropped);
        self
    }

    fn members(&mut self, extra_json: &str, role: Role, path: &str) {
        for name in members(extra_json) {
            match role {
                Role::Assistant => self.dropped(format!("{path}.{name}")),
                _ => self.unsupported(format!("{path}.{name}")),
            }
        }
    }

    /// The tools that are functions, without what only OpenAI's dialect says of them, and where each stands among all.
    pub(crate) fn functions(&mut self, request: &CompletionRequest) -> Vec<(usize, Tool)> {
        let mut functions = Vec::with_capacity(request.tools.len());
        for (i, tool) in request.tools.iter().enumerate() {
            let path = format!("tools[{i}]");
            let Some(Kind::Function(function)) = &tool.kind else {
                self.because(path, "must be a function for this provider");
                continue;
            };
            self.of_function(tool, &path);
            if !tool.cache_control_json.is_empty() {
                self.dropped(format!("{path}.cache_control"));
            }
            let parameters = function.parameters_json.clone();
            let function = FunctionTool {
                parameters_json: parameters.or_else(|| Some(r#"{"type":"object","properties":{}}"#.into())),
                extra_json: String::new(),
                ..function.clone()
            };
            functions.push((i, Tool { kind: Some(Kind::Function(function)), ..Tool::default() }));
        }
        functions
    }

    /// The members of an object (JSON text, or empty) that the provider knows by the same name; the others are unsupported.
    pub(crate) fn known(&mut self, extra_json: &str, known: &[&str]) -> Vec<(String, String)> {
        let all: BTreeMap<String, &RawValue> = serde_json::from_str(extra_json).unwrap_or_default();
        let (known, other): (Vec<_>, Vec<_>) = all.into_iter().partition(|(name, _)| known.contains(&name.as_str()));
        self.unsupported.extend(other.into_iter().map(|(name, _)| Unsupported::new(name)));
        known.into_iter().map(|(name, json)| (name, json.get().to_owned())).collect()
    }

    /// What is unsupported, and what was dropped.
    pub(crate) fn told(self) -> (Vec<Unsupported>, Vec<String>) {
        (self.unsupported, self.dropped)
    }

    /// With the body that was written meanwhile.
    pub(crate) fn of(self, body: &Object) -> Written {
        Written { body: body.finish().into_bytes(), unsupported: self.unsupported, dropped: self.dropped }
    }
}
