//! Our messages as their items. Reasoning stands directly before the item that it led to, as the contract orders parts anyway.

use tollgate_domain::Failure;
use tollgate_proto::v1::{
    FilePart, ImagePart, Message, Part, ReasoningPart, Role, ToolCallPart, ToolResultPart, part::Content,
};

use crate::{
    Unsupported,
    conversation::{data_url, members, plain_text},
    json::{Object, array},
    provider::{cannot, invalid},
};

/// What the conversation becomes.
#[derive(Default)]
pub(super) struct Input {
    /// The system messages that the conversation begins with.
    pub(super) instructions: Option<String>,
    items: Vec<String>,
    /// Reasoning that waits for the item that it led to.
    reasoning: Vec<(String, String)>,
    /// Ids of tool calls that are no functions: their results have another type.
    custom_calls: Vec<String>,
    pub(super) unsupported: Vec<Unsupported>,
    pub(super) dropped: Vec<String>,
}

impl Input {
    pub(super) fn read(messages: &[Message]) -> Result<Self, Failure> {
        let mut input = Self::default();
        let leading = messages.iter().map_while(instruction).collect::<Vec<_>>();
        // A conversation of nothing but instructions still has to have an input.
        let skipped = if leading.len() < messages.len() { leading.len() } else { 0 };
        if skipped > 0 {
            input.instructions = Some(leading.join("\n\n"));
        }
        for (i, message) in messages.iter().enumerate().skip(skipped) {
            input.message(message, &format!("messages[{i}]"))?;
        }
        Ok(input)
    }

    /// The `input` array.
    pub(super) fn items(&self) -> String {
        array(&self.items)
    }

    /// The model goes on from here.
    pub(super) fn begin_answer(&mut self, text: &str) {
        let part = typed_text("output_text", "text", text);
        self.items.push(said("assistant", &[part]));
    }

    fn message(&mut self, message: &Message, path: &str) -> Result<(), Failure> {
        if message.name.is_some() {
            self.unsupported.push(Unsupported::new(format!("{path}.name")));
        }
        self.dropped.extend(members(&message.extra_json).into_iter().map(|name| format!("{path}.{name}")));
        match message.role() {
            Role::System => self.turn("system", message, path)?,
            Role::Developer => self.turn("developer", message, path)?,
            Role::User => self.turn("user", message, path)?,
            Role::Assistant => self.turn("assistant", message, path)?,
            Role::Tool => {
                for (j, part) in message.parts.iter().enumerate() {
                    if let Some(Content::ToolResult(result)) = &part.content {
                        self.tool_result(result, &format!("{path}.content[{j}]"))?;
                    }
                }
            }
            Role::Unspecified => return Err(cannot(&format!("{path}.role"), "is not known to this provider")),
        }
        // What led to nothing that is sent is refused.
        self.dropped.extend(self.reasoning.drain(..).map(|(_, path)| path));
        Ok(())
    }

    /// Content in one message, as far as no other item stands between.
    fn turn(&mut self, role: &str, message: &Message, path: &str) -> Result<(), Failure> {
        let mut content = Vec::new();
        for (j, part) in message.parts.iter().enumerate() {
            let path = format!("{path}.content[{j}]");
            match &part.content {
                Some(Content::Reasoning(reasoning)) => {
                    self.say(role, &mut content);
                    match item_of_reasoning(reasoning) {
                        Some(item) => self.reasoning.push((item, format!("{path}.reasoning"))),
                        // Without its proof it would be nobody's.
                        None => self.dropped.push(format!("{path}.reasoning")),
                    }
                }
                Some(Content::ToolCall(call)) => {
                    self.say(role, &mut content);
                    self.tool_call(call);
                }
                _ => content.extend(self.content(role, part, &path)?),
            }
        }
        self.say(role, &mut content);
        Ok(())
    }

    fn say(&mut self, role: &str, content: &mut Vec<String>) {
        if !content.is_empty() {
            self.item(said(role, content));
            content.clear();
        }
    }

    /// An item, behind the reasoning that led to it.
    fn item(&mut self, item: String) {
        self.items.extend(self.reasoning.drain(..).map(|(reasoning, _)| reasoning));
        self.items.push(item);
    }

    fn tool_call(&mut self, call: &ToolCallPart) {
        let is_custom = call.type_native == "custom";
        let (kind, arguments) = if is_custom { ("custom_tool_call", "input") } else { ("function_call", "arguments") };
        let mut item = Object::default();
        item.field("type", kind).field("call_id", &call.id).field("name", &call.name);
        item.field(arguments, &call.arguments_json);
        if is_custom {
            self.custom_calls.push(call.id.clone());
        }
        self.item(item.finish());
    }

    fn tool_result(&mut self, result: &ToolResultPart, path: &str) -> Result<(), Failure> {
        let is_custom = self.custom_calls.contains(&result.tool_call_id);
        let kind = if is_custom { "custom_tool_call_output" } else { "function_call_output" };
        let mut item = Object::default();
        item.field("type", kind).field("call_id", &result.tool_call_id);
        match plain_text(&result.content) {
            Some(text) => {
                item.field("output", &text);
            }
            None => {
                let mut parts = Vec::new();
                for (k, part) in result.content.iter().enumerate() {
                    parts.extend(self.content("user", part, &format!("{path}[{k}]"))?);
                }
                item.raw("output", &array(&parts));
            }
        }
        if result.is_error.is_some() {
            self.dropped.push(format!("{path}.is_error"));
        }
        self.item(item.finish());
        Ok(())
    }

    /// A part of a message.
    fn content(&mut self, role: &str, part: &Part, path: &str) -> Result<Option<String>, Failure> {
        if !part.cache_control_json.is_empty() {
            self.dropped.push(format!("{path}.cache_control"));
        }
        self.dropped.extend(members(&part.extra_json).into_iter().map(|name| format!("{path}.{name}")));
        let text = if role == "assistant" { "output_text" } else { "input_text" };
        Ok(match &part.content {
            // Empty text says nothing.
            Some(Content::Text(part)) if part.text.is_empty() => None,
            Some(Content::Text(part)) => Some(typed_text(text, "text", &part.text)),
            Some(Content::Refusal(refusal)) => Some(typed_text("refusal", "refusal", &refusal.text)),
            Some(Content::Image(image)) => Some(input_image(image)),
            Some(Content::File(file)) => Some(input_file(file, path)?),
            Some(Content::Audio(_)) => return Err(cannot(path, "audio is not taken by this provider")),
            Some(Content::ToolResult(_)) => return Err(invalid(path, "a tool result belongs in a tool message")),
            Some(Content::Opaque(opaque)) => {
                let what = if opaque.r#type.is_empty() { path.to_owned() } else { format!("{path}.{}", opaque.r#type) };
                self.unsupported.push(Unsupported::new(what));
                None
            }
            // Items of their own.
            Some(Content::ToolCall(_) | Content::Reasoning(_)) | None => None,
        })
    }
}

/// The text of a system message; `None`: it is another message, or holds more than text.
fn instruction(message: &Message) -> Option<String> {
    let is_system = matches!(message.role(), Role::System | Role::Developer) && message.name.is_none();
    plain_text(&message.parts).filter(|_| is_system)
}

fn said(role: &str, content: &[String]) -> String {
    let mut item = Object::default();
    item.field("role", role).raw("content", &array(content));
    item.finish()
}

fn typed_text(kind: &str, member: &str, text: &str) -> String {
    let mut part = Object::default();
    part.field("type", kind).field(member, text);
    part.finish()
}

fn input_image(image: &ImagePart) -> String {
    let url = match (&image.url, &image.data) {
        (Some(url), _) => url.clone(),
        (None, data) => data_url(image.media_type(), data.as_deref().unwrap_or_default()),
    };
    let mut part = Object::default();
    part.field("type", "input_image").field("image_url", &url);
    part.field("detail", image.detail.as_deref().unwrap_or("auto"));
    part.finish()
}

fn input_file(file: &FilePart, path: &str) -> Result<String, Failure> {
    let mut part = Object::default();
    part.field("type", "input_file");
    match (&file.data, &file.url, &file.file_id) {
        (Some(data), ..) => {
            let media_type = file.media_type.as_deref().unwrap_or("application/pdf");
            part.field("filename", file.filename.as_deref().unwrap_or("file"));
            part.field("file_data", &data_url(media_type, data))
        }
        (None, Some(url), _) => part.field("file_url", url),
        (None, None, Some(id)) => part.field("file_id", id),
        (None, None, None) => return Err(invalid(path, "the file has neither data nor url nor id")),
    };
    Ok(part.finish())
}

/// Unchanged, or the provider does not recognise its own reasoning.
fn item_of_reasoning(reasoning: &ReasoningPart) -> Option<String> {
    let proof = reasoning.signature.as_ref().or(reasoning.redacted.as_ref())?;
    let mut item = Object::default();
    item.field("type", "reasoning").maybe("id", reasoning.native_id.as_ref());
    let summary = Some(&reasoning.text).filter(|text| !text.is_empty());
    let summary: Vec<String> = summary.iter().map(|text| typed_text("summary_text", "text", text)).collect();
    item.raw("summary", &array(&summary)).field("encrypted_content", proof);
    Some(item.finish())
}
