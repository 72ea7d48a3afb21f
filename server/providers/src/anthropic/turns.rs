//! Our messages as their turns: system apart, equal neighbours merged, tool results first.

use base64::{Engine, engine::general_purpose::STANDARD};
use tollgate_domain::Failure;
use tollgate_proto::v1::{
    FilePart, ImagePart, Message, Part, ReasoningPart, Role, ToolCallPart, ToolResultPart, part::Content,
};

use crate::{
    Unsupported,
    conversation::arguments_object,
    json::{Object, array},
    provider::{cannot, invalid},
};

/// What the conversation becomes.
#[derive(Default)]
pub(super) struct Turns {
    /// Text and caching hint of each system part.
    pub(super) system: Vec<(String, String)>,
    /// Role and blocks.
    turns: Vec<(&'static str, Vec<String>)>,
    pub(super) unsupported: Vec<Unsupported>,
    pub(super) dropped: Vec<String>,
    /// What the contract does not know of the messages is this dialect's own.
    is_native: bool,
}

impl Turns {
    pub(super) fn read(messages: &[Message], is_native: bool) -> Result<Self, Failure> {
        let mut turns = Self { is_native, ..Self::default() };
        for (i, message) in messages.iter().enumerate() {
            turns.message(message, &format!("messages[{i}]"))?;
        }
        Ok(turns)
    }

    /// The `messages` array.
    pub(super) fn messages(&self) -> String {
        let turn = |(role, blocks): &(&str, Vec<String>)| {
            let mut object = Object::default();
            object.field("role", role).raw("content", &array(blocks));
            object.finish()
        };
        array(&self.turns.iter().map(turn).collect::<Vec<_>>())
    }

    fn message(&mut self, message: &Message, path: &str) -> Result<(), Failure> {
        match message.role() {
            Role::System | Role::Developer => {
                for part in &message.parts {
                    match &part.content {
                        Some(Content::Text(text)) => {
                            self.system.push((text.text.clone(), part.cache_control_json.clone()))
                        }
                        _ => return Err(cannot(path, "a system message takes text only with this provider")),
                    }
                }
                Ok(())
            }
            Role::User => self.blocks("user", message, path),
            Role::Assistant => self.blocks("assistant", message, path),
            Role::Tool => {
                let mut results = Vec::new();
                for (j, part) in message.parts.iter().enumerate() {
                    if let Some(Content::ToolResult(result)) = &part.content {
                        results.push(self.tool_result(result, part, &format!("{path}.content[{j}]"))?);
                    }
                }
                // Results answer the assistant's turn before them, so they stand before anything else the user says.
                let turn = self.turn("user");
                let at = turn.iter().take_while(|b| b.starts_with(RESULT)).count();
                turn.splice(at..at, results);
                Ok(())
            }
            Role::Unspecified => Err(cannot(&format!("{path}.role"), "is not known to this provider")),
        }
    }

    /// Whether the last turn waits for the model to go on after tools that it called, and the thoughts that led to the calls are not there.
    pub(super) fn have_lost_thoughts(&self) -> bool {
        let [.., (_, called), (_, results)] = self.turns.as_slice() else { return false };
        let begins = |block: &String, with: &[&str]| with.iter().any(|start| block.starts_with(start));
        results.first().is_some_and(|block| begins(block, &[RESULT]))
            && called.iter().any(|block| begins(block, &[TOOL_USE]))
            && !called.iter().any(|block| begins(block, &THOUGHTS))
    }

    /// The model goes on from here.
    pub(super) fn begin_answer(&mut self, text: &str) {
        let mut block = Object::default();
        block.field("type", "text").field("text", text);
        self.turn("assistant").push(block.finish());
    }

    fn turn(&mut self, role: &'static str) -> &mut Vec<String> {
        if self.turns.last().is_none_or(|(last, _)| *last != role) {
            self.turns.push((role, Vec::new()));
        }
        let last = self.turns.len() - 1;
        &mut self.turns[last].1
    }

    fn blocks(&mut self, role: &'static str, message: &Message, path: &str) -> Result<(), Failure> {
        let mut blocks = Vec::new();
        for (j, part) in message.parts.iter().enumerate() {
            blocks.extend(self.block(part, message.role(), &format!("{path}.content[{j}]"))?);
        }
        if !blocks.is_empty() {
            self.turn(role).extend(blocks);
        }
        Ok(())
    }

    fn block(&mut self, part: &Part, role: Role, path: &str) -> Result<Option<String>, Failure> {
        let mut block = Object::default();
        match &part.content {
            // Empty text is refused by the provider and says nothing.
            Some(Content::Text(text)) if text.text.is_empty() => return Ok(None),
            Some(Content::Text(text)) => {
                block.field("type", "text").field("text", &text.text);
            }
            Some(Content::Refusal(refusal)) => {
                block.field("type", "text").field("text", &refusal.text);
            }
            Some(Content::Image(image)) => {
                block.field("type", "image").raw("source", &image_source(image));
            }
            Some(Content::File(file)) => document(file, path, &mut block)?,
            Some(Content::ToolCall(call)) => tool_use(call, path, &mut block)?,
            Some(Content::Reasoning(reasoning)) => match thinking(reasoning) {
                Some(json) => return Ok(Some(json)),
                None => {
                    // Without its signature the provider would refuse the whole turn.
                    self.dropped.push(format!("{path}.reasoning"));
                    return Ok(None);
                }
            },
            Some(Content::Audio(_)) => return Err(cannot(path, "audio is not taken by this provider")),
            Some(Content::ToolResult(_)) => return Err(invalid(path, "a tool result belongs in a tool message")),
            Some(Content::Opaque(opaque)) if self.is_native => return Ok(Some(opaque.json.clone())),
            // What another model said is not asked for again.
            Some(Content::Opaque(opaque)) if role == Role::Assistant => {
                self.dropped.push(format!("{path}.{}", opaque.r#type));
                return Ok(None);
            }
            Some(Content::Opaque(_)) => {
                self.unsupported.push(Unsupported::new(path));
                return Ok(None);
            }
            None => return Ok(None),
        }
        Ok(Some(self.hinted(block, part)))
    }

    fn tool_result(&mut self, result: &ToolResultPart, part: &Part, path: &str) -> Result<String, Failure> {
        let mut block = Object::default();
        block.field("type", "tool_result").field("tool_use_id", &result.tool_call_id);
        match result.content.as_slice() {
            [] => {}
            [only] if part_text(only).is_some() => {
                block.maybe("content", part_text(only));
            }
            many => {
                let mut blocks = Vec::new();
                for (k, inner) in many.iter().enumerate() {
                    blocks.extend(self.block(inner, Role::Tool, &format!("{path}[{k}]"))?);
                }
                block.raw("content", &array(&blocks));
            }
        }
        block.maybe("is_error", result.is_error.as_ref());
        Ok(self.hinted(block, part))
    }

    fn hinted(&self, mut block: Object, part: &Part) -> String {
        if !part.cache_control_json.is_empty() {
            block.raw("cache_control", &part.cache_control_json);
        }
        if self.is_native {
            block.merge(&part.extra_json);
        }
        block.finish()
    }
}

/// How blocks of a type begin, for telling them from others.
const RESULT: &str = r#"{"type":"tool_result""#;
const TOOL_USE: &str = r#"{"type":"tool_use""#;
const THOUGHTS: [&str; 2] = [r#"{"type":"thinking""#, r#"{"type":"redacted_thinking""#];

fn part_text(part: &Part) -> Option<&str> {
    match &part.content {
        Some(Content::Text(text)) if part.cache_control_json.is_empty() => Some(&text.text),
        _ => None,
    }
}

fn base64_source(media_type: &str, data: &[u8]) -> String {
    let mut source = Object::default();
    source.field("type", "base64").field("media_type", media_type).field("data", &STANDARD.encode(data));
    source.finish()
}

fn url_source(url: &str) -> String {
    let mut source = Object::default();
    source.field("type", "url").field("url", url);
    source.finish()
}

fn image_source(image: &ImagePart) -> String {
    match (&image.url, &image.data) {
        (Some(url), _) => url_source(url),
        (None, data) => base64_source(image.media_type(), data.as_deref().unwrap_or_default()),
    }
}

fn document(file: &FilePart, path: &str, block: &mut Object) -> Result<(), Failure> {
    let source = match (&file.data, &file.url, &file.file_id) {
        (Some(data), ..) => base64_source(file.media_type.as_deref().unwrap_or("application/pdf"), data),
        (None, Some(url), _) => url_source(url),
        (None, None, Some(id)) => {
            let mut source = Object::default();
            source.field("type", "file").field("file_id", id);
            source.finish()
        }
        (None, None, None) => return Err(invalid(path, "the file has neither data nor url nor id")),
    };
    block.field("type", "document").raw("source", &source).maybe("title", file.filename.as_ref());
    Ok(())
}

fn tool_use(call: &ToolCallPart, path: &str, block: &mut Object) -> Result<(), Failure> {
    let input = arguments_object(call, path)?;
    block.field("type", "tool_use").field("id", &call.id).field("name", &call.name).raw("input", input);
    Ok(())
}

/// Unchanged, or the provider does not recognise its own reasoning.
fn thinking(reasoning: &ReasoningPart) -> Option<String> {
    let mut block = Object::default();
    match (&reasoning.redacted, &reasoning.signature) {
        (Some(data), _) => block.field("type", "redacted_thinking").field("data", data),
        (None, Some(signature)) => {
            block.field("type", "thinking").field("thinking", &reasoning.text).field("signature", signature)
        }
        (None, None) => return None,
    };
    Some(block.finish())
}
