//! Items as messages. What the model said in one turn (words, reasoning, calls) is one message of ours, in order.

use tollgate_proto::v1::{
    ImagePart, Message, OpaquePart, Part, ReasoningPart, RefusalPart, Role, TextPart, ToolCallPart, ToolResultPart,
    part::Content,
};

use super::thought;
use crate::openai::{
    Invalid,
    content::{data_url, input_audio, read_file},
    members::{Members, items, string},
};

/// The conversation as it is read.
#[derive(Default)]
pub(super) struct Turns(pub(super) Vec<Message>);

impl Turns {
    /// Reads `input`: a string, or items.
    pub(super) fn input(&mut self, json: &str) -> Result<(), Invalid> {
        if let Some(text) = string(json) {
            self.say(Role::User, vec![text_part(text)]);
            return Ok(());
        }
        if !json.starts_with('[') {
            return Err(Invalid::at("input", "must be a string or an array of items"));
        }
        for (i, item) in items(json, "input")?.into_iter().enumerate() {
            self.item(item, &format!("input[{i}]"))?;
        }
        Ok(())
    }

    /// A message of its own; the model's words join what it said before.
    pub(super) fn say(&mut self, role: Role, parts: Vec<Part>) {
        match self.0.last_mut().filter(|last| role == Role::Assistant && last.role() == role) {
            Some(last) => last.parts.extend(parts),
            None => self.0.push(Message { role: role as i32, parts, ..Message::default() }),
        }
    }

    fn item(&mut self, json: &str, path: &str) -> Result<(), Invalid> {
        let mut m = Members::read(json, path)?;
        let kind: Option<String> = m.take("type")?;
        match kind.as_deref() {
            None | Some("message") => self.message(&mut m)?,
            Some("function_call") => self.call(&mut m, "", "arguments")?,
            Some("custom_tool_call") => self.call(&mut m, "custom", "input")?,
            Some("function_call_output" | "custom_tool_call_output") => self.result(&mut m)?,
            Some("reasoning") => {
                if let Some(reasoning) = thought::read(&mut m)? {
                    self.say(Role::Assistant, vec![reasoning_part(reasoning)]);
                }
            }
            Some("item_reference") => {
                let what = "refers to an item that is not here; send the item itself, or `previous_response_id`";
                return Err(Invalid::at(path, what));
            }
            // Of tools that the provider runs, and items to come: for a provider of this dialect.
            Some(kind) => {
                let is_given = kind.ends_with("_output") || kind.ends_with("_response");
                let role = if is_given { Role::User } else { Role::Assistant };
                self.say(role, vec![opaque(kind, json)]);
            }
        }
        Ok(())
    }

    fn message(&mut self, m: &mut Members<'_>) -> Result<(), Invalid> {
        let role: String = required(m, "role")?;
        let role = match role.as_str() {
            "user" => Role::User,
            "assistant" => Role::Assistant,
            "system" => Role::System,
            "developer" => Role::Developer,
            _ => return Err(Invalid::at(m.path("role"), "must be user, assistant, system or developer")),
        };
        let path = m.path("content");
        let content = m.raw("content").ok_or_else(|| Invalid::at(path.clone(), "is required"))?;
        let parts = read_content(content, &path)?;
        match role == Role::Assistant && self.has_spoken() {
            true => self.0.push(Message { role: role as i32, parts, ..Message::default() }),
            false => self.say(role, parts),
        }
        Ok(())
    }

    /// Whether the conversation ends with words of the model's that led to no call: what it says then is another message.
    fn has_spoken(&self) -> bool {
        let Some(last) = self.0.last().filter(|last| last.role() == Role::Assistant) else { return false };
        let is_call = |part: &Part| matches!(part.content, Some(Content::ToolCall(_)));
        let said = last.parts.last().and_then(|part| part.content.as_ref());
        matches!(said, Some(Content::Text(_) | Content::Refusal(_))) && !last.parts.iter().any(is_call)
    }

    fn call(&mut self, m: &mut Members<'_>, type_native: &str, arguments: &str) -> Result<(), Invalid> {
        let call = ToolCallPart {
            id: required(m, "call_id")?,
            name: required(m, "name")?,
            arguments_json: m.take(arguments)?.unwrap_or_default(),
            type_native: type_native.to_owned(),
        };
        self.say(Role::Assistant, vec![part(Content::ToolCall(call))]);
        Ok(())
    }

    fn result(&mut self, m: &mut Members<'_>) -> Result<(), Invalid> {
        let tool_call_id = required(m, "call_id")?;
        let path = m.path("output");
        let output = m.raw("output").ok_or_else(|| Invalid::at(path.clone(), "is required"))?;
        let content = read_content(output, &path)?;
        let result = ToolResultPart { tool_call_id, content, is_error: None };
        self.say(Role::Tool, vec![part(Content::ToolResult(result))]);
        Ok(())
    }
}

fn part(content: Content) -> Part {
    Part { content: Some(content), ..Part::default() }
}

pub(super) fn text_part(text: String) -> Part {
    part(Content::Text(TextPart { text }))
}

fn reasoning_part(reasoning: ReasoningPart) -> Part {
    part(Content::Reasoning(reasoning))
}

fn opaque(kind: &str, json: &str) -> Part {
    part(Content::Opaque(OpaquePart { r#type: kind.to_owned(), json: json.to_owned() }))
}

fn required(m: &mut Members<'_>, name: &str) -> Result<String, Invalid> {
    m.take(name)?.ok_or_else(|| Invalid::at(m.path(name), "is required"))
}

fn read_content(json: &str, path: &str) -> Result<Vec<Part>, Invalid> {
    if let Some(text) = string(json) {
        return Ok(vec![text_part(text)]);
    }
    if !json.starts_with('[') {
        return Err(Invalid::at(path, "must be a string or an array of parts"));
    }
    let parts = items(json, path)?.into_iter().enumerate();
    parts.map(|(i, json)| read_part(json, &format!("{path}[{i}]"))).collect()
}

fn read_part(json: &str, path: &str) -> Result<Part, Invalid> {
    let mut m = Members::read(json, path)?;
    let kind = required(&mut m, "type")?;
    let content = match kind.as_str() {
        "input_text" | "text" => Content::Text(TextPart { text: required(&mut m, "text")? }),
        // What stands beside it is another answer's.
        "output_text" => return Ok(text_part(required(&mut m, "text")?)),
        "refusal" => Content::Refusal(RefusalPart { text: required(&mut m, "refusal")? }),
        "input_image" => match m.take::<String>("image_url")? {
            Some(url) => Content::Image(image(url, m.take("detail")?, &m.path("image_url"))?),
            None => return Ok(opaque(&kind, json)),
        },
        "input_file" => {
            let file = read_file(json, path)?;
            if file.data.is_none() && file.url.is_none() && file.file_id.is_none() {
                return Err(Invalid::at(path, "needs file_data, file_url or file_id"));
            }
            return Ok(part(Content::File(file)));
        }
        "input_audio" => match m.raw("input_audio") {
            Some(audio) => Content::Audio(input_audio(audio, &m.path("input_audio"))?),
            None => return Err(Invalid::at(m.path("input_audio"), "is required")),
        },
        _ => return Ok(opaque(&kind, json)),
    };
    let cache_control_json = m.raw("cache_control").unwrap_or_default().to_owned();
    Ok(Part { content: Some(content), cache_control_json, extra_json: m.rest() })
}

fn image(url: String, detail: Option<String>, path: &str) -> Result<ImagePart, Invalid> {
    Ok(match data_url(&url, path)? {
        Some((media_type, data)) => {
            ImagePart { data: Some(data.into()), media_type: Some(media_type), detail, url: None }
        }
        None => ImagePart { url: Some(url), detail, ..ImagePart::default() },
    })
}
