//! Our messages as their turns: system apart, equal neighbours merged, tool results first, cache points behind what they close.

use std::collections::HashSet;

use base64::{Engine, engine::general_purpose::STANDARD};
use sha2::{Digest, Sha256};
use tollgate_domain::Failure;
use tollgate_proto::v1::{
    AudioPart, FilePart, ImagePart, Message, Part, ReasoningPart, Role, ToolCallPart, ToolResultPart, part::Content,
};

use super::is_s3;
use crate::{
    Unsupported,
    conversation::arguments_object,
    json::{Object, array},
    provider::{cannot, invalid},
};

/// What the conversation becomes.
pub(super) struct Turns {
    /// Blocks of the system prompt.
    pub(super) system: Vec<String>,
    turns: Vec<Turn>,
    /// Whether the model keeps a cache: one that does not refuses cache points.
    caches: bool,
    /// Names of documents, which must differ.
    names: HashSet<String>,
    pub(super) unsupported: Vec<Unsupported>,
    pub(super) dropped: Vec<String>,
}

struct Turn {
    role: &'static str,
    blocks: Vec<String>,
    /// Names of its documents.
    documents: Vec<String>,
    has_text: bool,
}

/// How blocks of a kind begin, for telling them from others.
const RESULT: &str = r#"{"toolResult":"#;
const TOOL_USE: &str = r#"{"toolUse":"#;
const THOUGHT: &str = r#"{"reasoningContent":"#;
const CACHE_POINT: &str = r#"{"cachePoint":"#;

impl Turns {
    pub(super) fn read(messages: &[Message], caches: bool) -> Result<Self, Failure> {
        let mut turns = Self {
            system: Vec::new(),
            turns: Vec::new(),
            caches,
            names: HashSet::new(),
            unsupported: Vec::new(),
            dropped: Vec::new(),
        };
        for (i, message) in messages.iter().enumerate() {
            turns.message(message, &format!("messages[{i}]"))?;
        }
        Ok(turns)
    }

    /// The `messages` array.
    pub(super) fn messages(&self) -> String {
        array(&self.turns.iter().map(Turn::json).collect::<Vec<_>>())
    }

    /// Whether the last turn waits for the model to go on after tools that it called, and the thoughts that led to the calls are not there.
    pub(super) fn have_lost_thoughts(&self) -> bool {
        let [.., called, results] = self.turns.as_slice() else { return false };
        let has = |turn: &Turn, start: &str| turn.blocks.iter().any(|block| block.starts_with(start));
        results.blocks.first().is_some_and(|block| block.starts_with(RESULT))
            && has(called, TOOL_USE)
            && !has(called, THOUGHT)
    }

    /// The model goes on from here.
    pub(super) fn begin_answer(&mut self, text: &str) {
        self.turn("assistant").blocks.push(text_block(text));
    }

    fn message(&mut self, message: &Message, path: &str) -> Result<(), Failure> {
        match message.role() {
            Role::System | Role::Developer => self.system_message(message, path),
            Role::User => self.said("user", message, path),
            Role::Assistant => self.said("assistant", message, path),
            Role::Tool => {
                let mut results = Vec::new();
                for (j, part) in message.parts.iter().enumerate() {
                    if let Some(Content::ToolResult(result)) = &part.content {
                        let path = format!("{path}.content[{j}]");
                        results.push(self.tool_result(result, &path)?);
                        results.extend(self.cache_point(&part.cache_control_json, &path));
                    }
                }
                // Results answer the assistant's turn before them, so they stand before anything else the user says.
                let blocks = &mut self.turn("user").blocks;
                let is_result = |block: &&String| block.starts_with(RESULT) || block.starts_with(CACHE_POINT);
                let at = match blocks.first() {
                    Some(first) if first.starts_with(RESULT) => blocks.iter().take_while(is_result).count(),
                    _ => 0,
                };
                blocks.splice(at..at, results);
                Ok(())
            }
            Role::Unspecified => Err(cannot(&format!("{path}.role"), "is not known to this provider")),
        }
    }

    fn system_message(&mut self, message: &Message, path: &str) -> Result<(), Failure> {
        for part in &message.parts {
            let Some(Content::Text(text)) = &part.content else {
                return Err(cannot(path, "a system message takes text only with this provider"));
            };
            if !is_blank(&text.text) {
                self.system.push(text_block(&text.text));
            }
            let point = self.cache_point(&part.cache_control_json, path);
            self.system.extend(point);
        }
        Ok(())
    }

    fn turn(&mut self, role: &'static str) -> &mut Turn {
        if self.turns.last().is_none_or(|last| last.role != role) {
            self.turns.push(Turn { role, blocks: Vec::new(), documents: Vec::new(), has_text: false });
        }
        let last = self.turns.len() - 1;
        &mut self.turns[last]
    }

    fn said(&mut self, role: &'static str, message: &Message, path: &str) -> Result<(), Failure> {
        let (mut blocks, mut documents, mut has_text) = (Vec::new(), Vec::new(), false);
        for (j, part) in message.parts.iter().enumerate() {
            let path = format!("{path}.content[{j}]");
            match &part.content {
                Some(Content::File(file)) => {
                    let (block, name) = self.document(file, &path)?;
                    blocks.push(block);
                    documents.push(name);
                }
                _ => {
                    let block = self.block(part, message.role(), &path)?;
                    has_text |= block.as_ref().is_some_and(|block| block.starts_with(r#"{"text":"#));
                    blocks.extend(block);
                }
            }
            blocks.extend(self.cache_point(&part.cache_control_json, &path));
        }
        if !blocks.is_empty() {
            let turn = self.turn(role);
            turn.blocks.extend(blocks);
            turn.documents.extend(documents);
            turn.has_text |= has_text;
        }
        Ok(())
    }

    /// Everything but documents.
    fn block(&mut self, part: &Part, role: Role, path: &str) -> Result<Option<String>, Failure> {
        Ok(Some(match &part.content {
            // Blank text is refused by the provider and says nothing.
            Some(Content::Text(text)) if is_blank(&text.text) => return Ok(None),
            Some(Content::Text(text)) => text_block(&text.text),
            Some(Content::Refusal(refusal)) => text_block(&refusal.text),
            Some(Content::Image(image)) => image_block(image, path)?,
            Some(Content::Audio(audio)) => audio_block(audio, path)?,
            Some(Content::ToolCall(call)) => tool_use(call, path)?,
            Some(Content::Reasoning(reasoning)) => match reasoning_block(reasoning) {
                Some(json) => json,
                None => {
                    // Without its signature the provider would refuse the whole turn.
                    self.dropped.push(format!("{path}.reasoning"));
                    return Ok(None);
                }
            },
            Some(Content::ToolResult(_)) => return Err(invalid(path, "a tool result belongs in a tool message")),
            // What another model said is not asked for again.
            Some(Content::Opaque(opaque)) if role == Role::Assistant => {
                self.dropped.push(format!("{path}.{}", opaque.r#type));
                return Ok(None);
            }
            Some(Content::Opaque(_)) => {
                self.unsupported.push(Unsupported::new(path));
                return Ok(None);
            }
            Some(Content::File(_)) | None => return Ok(None),
        }))
    }

    fn tool_result(&mut self, result: &ToolResultPart, path: &str) -> Result<String, Failure> {
        let mut content = Vec::new();
        for (k, inner) in result.content.iter().enumerate() {
            let path = format!("{path}[{k}]");
            match &inner.content {
                Some(Content::File(file)) => content.push(self.document(file, &path)?.0),
                _ => content.extend(self.block(inner, Role::Tool, &path)?),
            }
        }
        let mut block = Object::default();
        block.field("toolUseId", &tool_use_id(&result.tool_call_id)).raw("content", &array(&content));
        block.maybe("status", result.is_error.map(|is_error| if is_error { "error" } else { "success" }));
        Ok(wrapped("toolResult", &block))
    }

    fn document(&mut self, file: &FilePart, path: &str) -> Result<(String, String), Failure> {
        let source = match (&file.data, &file.url) {
            (Some(data), _) => bytes_source(data),
            (None, Some(url)) if is_s3(url) => s3_source(url),
            (None, Some(_)) => return Err(cannot(path, NOT_FETCHED)),
            (None, None) => return Err(invalid(path, "the file has neither data nor an s3:// URL")),
        };
        let given = file.filename.as_deref().or(file.url.as_deref());
        let Some(format) = document_format(file.media_type.as_deref(), given) else {
            let why = "must be pdf, csv, doc, docx, xls, xlsx, html, txt or md for this provider";
            return Err(cannot(&format!("{path}.media_type"), why));
        };
        let name = self.document_name(given.unwrap_or_default());
        let mut block = Object::default();
        block.field("format", format).field("name", &name).raw("source", &source);
        Ok((wrapped("document", &block), name))
    }

    /// Letters, digits, single blanks, hyphens and brackets are all that a name may hold, and no other document may have it.
    fn document_name(&mut self, given: &str) -> String {
        let file = given.rsplit('/').next().unwrap_or_default();
        let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
        let allowed = |c: char| if c.is_ascii_alphanumeric() || "-()[]".contains(c) { c } else { ' ' };
        let clean: String = stem.chars().map(allowed).collect();
        let mut clean = clean.split_whitespace().collect::<Vec<_>>().join(" ");
        clean.truncate(180);
        let clean = if clean.is_empty() { "document".to_owned() } else { clean.trim_end().to_owned() };
        let numbered = (2..).map(|n| format!("{clean} ({n})"));
        let mut names = std::iter::once(clean.clone()).chain(numbered);
        let name = names.find(|name| !self.names.contains(name)).unwrap_or(clean);
        self.names.insert(name.clone());
        name
    }

    /// What a hint becomes: a block of its own, behind what is to be cached.
    pub(super) fn cache_point(&mut self, hint: &str, path: &str) -> Option<String> {
        if hint.is_empty() {
            return None;
        }
        if !self.caches {
            self.dropped.push(format!("{path}.cache_control"));
            return None;
        }
        let hint: serde_json::Value = serde_json::from_str(hint).unwrap_or_default();
        let mut point = Object::default();
        point.field("type", "default").maybe("ttl", hint["ttl"].as_str().filter(|ttl| *ttl == "1h"));
        Some(wrapped("cachePoint", &point))
    }
}

impl Turn {
    fn json(&self) -> String {
        let mut blocks = self.blocks.clone();
        // A document alone is refused.
        if !self.has_text && !self.documents.is_empty() {
            blocks.push(text_block(&format!("Attached: {}", self.documents.join(", "))));
        }
        let mut turn = Object::default();
        turn.field("role", self.role).raw("content", &array(&blocks));
        turn.finish()
    }
}

const NOT_FETCHED: &str = "is not fetched by this provider: send its bytes, or an s3:// URL";

fn is_blank(text: &str) -> bool {
    text.trim().is_empty()
}

fn wrapped(name: &str, object: &Object) -> String {
    let mut block = Object::default();
    block.raw(name, &object.finish());
    block.finish()
}

fn text_block(text: &str) -> String {
    let mut block = Object::default();
    block.field("text", text);
    block.finish()
}

fn bytes_source(data: &[u8]) -> String {
    let mut source = Object::default();
    source.field("bytes", &STANDARD.encode(data));
    source.finish()
}

fn s3_source(url: &str) -> String {
    let mut location = Object::default();
    location.field("uri", url);
    wrapped("s3Location", &location)
}

/// What stands behind the last dot.
fn extension(name: &str) -> Option<String> {
    name.rsplit('/').next()?.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase())
}

/// A media type without its parameters.
fn essence(media_type: &str) -> String {
    media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn image_block(image: &ImagePart, path: &str) -> Result<String, Failure> {
    let (source, format) = match (&image.data, &image.url) {
        (Some(data), _) => (bytes_source(data), None),
        (None, Some(url)) if is_s3(url) => (s3_source(url), extension(url)),
        (None, Some(_)) => return Err(cannot(path, NOT_FETCHED)),
        (None, None) => return Err(invalid(path, "the image has neither data nor url")),
    };
    let stated = image.media_type.as_deref().map(essence);
    let format = match stated.as_deref().and_then(|t| t.strip_prefix("image/")).or(format.as_deref()) {
        Some("jpeg" | "jpg") => "jpeg",
        Some("png") => "png",
        Some("gif") => "gif",
        Some("webp") => "webp",
        _ => return Err(cannot(path, "the image must be png, jpeg, gif or webp for this provider")),
    };
    let mut block = Object::default();
    block.field("format", format).raw("source", &source);
    Ok(wrapped("image", &block))
}

fn audio_block(audio: &AudioPart, path: &str) -> Result<String, Failure> {
    let (Some(data), Some(format)) = (&audio.data, &audio.format) else {
        return Err(cannot(path, "audio needs its data and format with this provider"));
    };
    let mut block = Object::default();
    block.field("format", format).raw("source", &bytes_source(data));
    Ok(wrapped("audio", &block))
}

fn document_format(media_type: Option<&str>, name: Option<&str>) -> Option<&'static str> {
    const FORMATS: [(&str, &str); 9] = [
        ("pdf", "application/pdf"),
        ("csv", "text/csv"),
        ("doc", "application/msword"),
        ("docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
        ("xls", "application/vnd.ms-excel"),
        ("xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
        ("html", "text/html"),
        ("txt", "text/plain"),
        ("md", "text/markdown"),
    ];
    let stated = media_type.map(essence).filter(|t| t != "application/octet-stream");
    let ending = name.and_then(extension);
    // A name's ending says more than "plain text".
    let by_name = FORMATS.iter().find(|(format, _)| ending.as_deref() == Some(*format));
    let by_type = FORMATS.iter().find(|(_, media_type)| stated.as_deref() == Some(*media_type));
    match (by_type, by_name) {
        (Some(("txt", _)), Some((format, _))) | (Some((format, _)), _) => Some(format),
        (None, Some((format, _))) if stated.is_none() => Some(format),
        (None, None) if stated.is_none() && ending.is_none() => Some("pdf"),
        _ => None,
    }
}

/// Ids of other providers may be longer, or hold what is not allowed here: those go as a digest, the same for the call and its result.
fn tool_use_id(id: &str) -> String {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if (1..=64).contains(&id.len()) && id.chars().all(is_allowed) {
        return id.to_owned();
    }
    let digest: String = Sha256::digest(id.as_bytes()).iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("call_{digest}")
}

fn tool_use(call: &ToolCallPart, path: &str) -> Result<String, Failure> {
    let input = arguments_object(call, path)?;
    let mut block = Object::default();
    block.field("toolUseId", &tool_use_id(&call.id)).field("name", &call.name).raw("input", input);
    Ok(wrapped("toolUse", &block))
}

/// Unchanged, or the model does not recognise its own reasoning.
fn reasoning_block(reasoning: &ReasoningPart) -> Option<String> {
    let mut content = Object::default();
    match (&reasoning.redacted, &reasoning.signature) {
        (Some(data), _) => content.field("redactedContent", data),
        (None, Some(signature)) => {
            let mut said = Object::default();
            said.field("text", &reasoning.text).field("signature", signature);
            content.raw("reasoningText", &said.finish())
        }
        (None, None) => return None,
    };
    Some(wrapped("reasoningContent", &content))
}
