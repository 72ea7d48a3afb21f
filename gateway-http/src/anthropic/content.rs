//! Messages and their blocks.

use base64::{Engine, engine::general_purpose::STANDARD};
use tollgate_proto::v1::{
    ContentShape, FilePart, ImagePart, Message, OpaquePart, Part, ReasoningPart, Role, TextPart, ToolCallPart,
    ToolResultPart, part::Content,
};

use super::proof::{self, UNSIGNED};
use crate::openai::{
    Invalid,
    members::{Members, items, string},
};

/// The instructions, which stand beside the messages.
pub(super) fn system(json: &str) -> Result<Message, Invalid> {
    let (shape, parts) = blocks(json, "system")?;
    let mut message = Message { parts, ..Message::default() };
    message.set_role(Role::System);
    message.set_content_shape(shape);
    Ok(message)
}

/// One message. Results of tools, which stand in the user's, are messages of their own in the contract.
pub(super) fn message(json: &str, path: &str) -> Result<Vec<Message>, Invalid> {
    let mut m = Members::read(json, path)?;
    let said: String = m.take("role")?.ok_or_else(|| Invalid::at(m.path("role"), "is required"))?;
    let role = match said.as_str() {
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "system" => Role::System,
        _ => return Err(Invalid::at(m.path("role"), "must be user or assistant")),
    };
    let content = m.raw("content").ok_or_else(|| Invalid::at(m.path("content"), "is required"))?;
    let (shape, parts) = blocks(content, &m.path("content"))?;
    m.without_nulls();
    let extra_json = m.rest();
    let mut messages: Vec<Message> = Vec::with_capacity(1);
    for part in parts {
        let role = if matches!(part.content, Some(Content::ToolResult(_))) { Role::Tool } else { role };
        match messages.last_mut() {
            Some(last) if last.role() == role => last.parts.push(part),
            _ => {
                let mut next = Message { parts: vec![part], extra_json: extra_json.clone(), ..Message::default() };
                next.set_role(role);
                next.set_content_shape(shape);
                messages.push(next);
            }
        }
    }
    if messages.is_empty() {
        let mut empty = Message { extra_json, ..Message::default() };
        empty.set_role(role);
        empty.set_content_shape(shape);
        messages.push(empty);
    }
    Ok(messages)
}

/// A string, or blocks.
fn blocks(json: &str, path: &str) -> Result<(ContentShape, Vec<Part>), Invalid> {
    if json.starts_with('"') {
        let text = string(json).ok_or_else(|| Invalid::at(path, "is not a valid string"))?;
        return Ok((ContentShape::String, vec![text_part(text)]));
    }
    if !json.starts_with('[') {
        return Err(Invalid::at(path, "must be a string or an array of content blocks"));
    }
    let blocks = items(json, path)?.into_iter().enumerate();
    let parts = blocks.map(|(i, json)| block(json, &format!("{path}[{i}]"))).collect::<Result<_, _>>()?;
    // Text alone may be written plainly by dialects that prefer it so.
    Ok((ContentShape::Unspecified, parts))
}

fn text_part(text: String) -> Part {
    Part { content: Some(Content::Text(TextPart { text })), ..Part::default() }
}

fn block(json: &str, path: &str) -> Result<Part, Invalid> {
    let mut m = Members::read(json, path)?;
    let kind: String = required(&mut m, "type")?;
    let content = match kind.as_str() {
        "text" => Content::Text(TextPart { text: required(&mut m, "text")? }),
        "image" => match image(source(&mut m)?)? {
            Some(image) => Content::Image(image),
            None => return Ok(opaque(kind, json)),
        },
        "document" => match document(source(&mut m)?, &mut m)? {
            Some(content) => content,
            None => return Ok(opaque(kind, json)),
        },
        "search_result" => search_result(&mut m)?,
        "tool_use" => Content::ToolCall(ToolCallPart {
            id: required(&mut m, "id")?,
            name: required(&mut m, "name")?,
            arguments_json: m.raw("input").unwrap_or("{}").to_owned(),
            ..ToolCallPart::default()
        }),
        "tool_result" => {
            let tool_call_id = required(&mut m, "tool_use_id")?;
            let content = match m.raw("content") {
                Some(content) => blocks(content, &m.path("content"))?.1,
                None => Vec::new(),
            };
            Content::ToolResult(ToolResultPart { tool_call_id, content, is_error: m.take("is_error")? })
        }
        "thinking" => Content::Reasoning(thought(required(&mut m, "thinking")?, m.take("signature")?)),
        "redacted_thinking" => {
            let (data, format) = proof::unpacked(required(&mut m, "data")?);
            Content::Reasoning(ReasoningPart { redacted: Some(data), format, ..ReasoningPart::default() })
        }
        _ => return Ok(opaque(kind, json)),
    };
    let cache_control_json = m.raw("cache_control").unwrap_or_default().to_owned();
    m.without_nulls();
    Ok(Part { content: Some(content), cache_control_json, extra_json: m.rest() })
}

/// What only Anthropic's own models read keeps its place and its bytes.
fn opaque(kind: String, json: &str) -> Part {
    let opaque = OpaquePart { r#type: kind, json: json.to_owned() };
    Part { content: Some(Content::Opaque(opaque)), ..Part::default() }
}

fn required(m: &mut Members<'_>, name: &str) -> Result<String, Invalid> {
    m.take(name)?.ok_or_else(|| Invalid::at(m.path(name), "is required"))
}

fn source<'a>(m: &mut Members<'a>) -> Result<Members<'a>, Invalid> {
    let source = m.raw("source").ok_or_else(|| Invalid::at(m.path("source"), "is required"))?;
    Members::read(source, &m.path("source"))
}

fn base64(m: &mut Members<'_>) -> Result<Vec<u8>, Invalid> {
    let data = required(m, "data")?;
    STANDARD.decode(data).map_err(|e| Invalid::at(m.path("data"), format!("is not valid base64: {e}")))
}

/// `None`: it lies at the provider.
fn image(mut source: Members<'_>) -> Result<Option<ImagePart>, Invalid> {
    Ok(match required(&mut source, "type")?.as_str() {
        "base64" => {
            let media_type = Some(required(&mut source, "media_type")?);
            Some(ImagePart { data: Some(base64(&mut source)?.into()), media_type, ..ImagePart::default() })
        }
        "url" => Some(ImagePart { url: Some(required(&mut source, "url")?), ..ImagePart::default() }),
        _ => None,
    })
}

/// A file, or its words where it is nothing but words: those every model reads. `None`: of a kind to come.
fn document(mut source: Members<'_>, m: &mut Members<'_>) -> Result<Option<Content>, Invalid> {
    let mut file = FilePart { filename: m.take("title")?, ..FilePart::default() };
    match required(&mut source, "type")?.as_str() {
        "base64" => {
            file.media_type = Some(required(&mut source, "media_type")?);
            file.data = Some(base64(&mut source)?.into());
        }
        "url" => file.url = Some(required(&mut source, "url")?),
        "file" => file.file_id = Some(required(&mut source, "file_id")?),
        "text" => {
            let text = required(&mut source, "data")?;
            return Ok(Some(words(file.filename.into_iter().chain(m.take("context")?), text)));
        }
        "content" => {
            let path = source.path("content");
            let content = source.raw("content").ok_or_else(|| Invalid::at(path.clone(), "is required"))?;
            let parts = blocks(content, &path)?.1;
            let Some(text) = text_of(&parts) else { return Ok(None) };
            return Ok(Some(words(file.filename.into_iter().chain(m.take("context")?), text)));
        }
        _ => return Ok(None),
    }
    Ok(Some(Content::File(file)))
}

/// What was found, below where.
fn search_result(m: &mut Members<'_>) -> Result<Content, Invalid> {
    let (title, place) = (required(m, "title")?, required(m, "source")?);
    let content = m.raw("content").ok_or_else(|| Invalid::at(m.path("content"), "is required"))?;
    let parts = blocks(content, &m.path("content"))?.1;
    Ok(words([title, place], text_of(&parts).unwrap_or_default()))
}

fn words(above: impl IntoIterator<Item = String>, text: String) -> Content {
    let above = above.into_iter().filter(|line| !line.is_empty());
    Content::Text(TextPart { text: above.chain([text]).collect::<Vec<_>>().join("\n") })
}

/// `None`: not all of it is text.
fn text_of(parts: &[Part]) -> Option<String> {
    let texts = parts.iter().map(|part| match &part.content {
        Some(Content::Text(text)) => Some(text.text.as_str()),
        _ => None,
    });
    texts.collect::<Option<Vec<_>>>().map(|texts| texts.join("\n"))
}

/// Thinking without a signature is that of a model that signs none.
fn thought(text: String, signature: Option<String>) -> ReasoningPart {
    let Some(signature) = signature.filter(|signature| !signature.is_empty()) else {
        return ReasoningPart { text, format: Some(UNSIGNED.to_owned()), ..ReasoningPart::default() };
    };
    let (signature, format) = proof::unpacked(signature);
    ReasoningPart { text, signature: Some(signature), format, ..ReasoningPart::default() }
}
