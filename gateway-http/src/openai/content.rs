//! Messages and their parts.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;
use tollgate_proto::v1::{
    AudioPart, ContentShape, FilePart, ImagePart, Message, OpaquePart, Part, ReasoningPart, RefusalPart, Role,
    TextPart, ToolCallPart, ToolResultPart, part::Content,
};

use super::{
    Invalid, functions,
    members::{Members, items, string},
};

pub(super) fn message(json: &str, path: &str) -> Result<Message, Invalid> {
    let mut m = Members::read(json, path)?;
    let role: String = m.take("role")?.ok_or_else(|| Invalid::at(m.path("role"), "is required"))?;
    let mut message = Message { name: m.take("name")?, ..Message::default() };
    match role.as_str() {
        "system" => message.set_role(Role::System),
        "developer" => message.set_role(Role::Developer),
        "user" => message.set_role(Role::User),
        "assistant" => message.set_role(Role::Assistant),
        "tool" => message.set_role(Role::Tool),
        _ => message.role_native = role,
    }
    let reasoning = if message.role() == Role::Assistant { reasoning(&mut m)? } else { Vec::new() };
    let has_content = m.peek("content").is_some();
    let (shape, mut content) = match m.raw("content") {
        None if has_content => (ContentShape::Null, Vec::new()),
        None => (ContentShape::Absent, Vec::new()),
        Some(json) => read_content(json, &m.path("content"))?,
    };
    message.set_content_shape(shape);
    if message.role() == Role::Tool {
        let tool_call_id: Option<String> = m.take("tool_call_id")?;
        let tool_call_id = tool_call_id.ok_or_else(|| Invalid::at(m.path("tool_call_id"), "is required"))?;
        let result = ToolResultPart { tool_call_id, content, is_error: None };
        message.parts.push(part(Content::ToolResult(result)));
    } else {
        message.parts.append(&mut content);
    }
    if let Some(text) = m.take::<String>("refusal")? {
        message.parts.push(part(Content::Refusal(RefusalPart { text })));
    }
    if let Some(calls) = m.raw("tool_calls") {
        let path = m.path("tool_calls");
        for (i, call) in items(calls, &path)?.into_iter().enumerate() {
            message.parts.push(tool_call(call, &format!("{path}[{i}]"))?);
        }
    }
    if message.role() == Role::Assistant {
        message.parts.extend(functions::call(&mut m)?);
    }
    put_at_their_places(&mut message.parts, reasoning);
    message.extra_json = m.rest();
    Ok(message)
}

fn part(content: Content) -> Part {
    Part { content: Some(content), ..Part::default() }
}

/// Reasoning that a client carried back, in any of the forms of the field, each with its place in the message. Signatures are kept as
/// they are.
fn reasoning(m: &mut Members<'_>) -> Result<Vec<(usize, Part)>, Invalid> {
    #[derive(Deserialize)]
    struct Detail {
        text: Option<String>,
        summary: Option<String>,
        signature: Option<String>,
        data: Option<String>,
        id: Option<String>,
        format: Option<String>,
        index: Option<usize>,
    }
    let plain: Option<String> = match m.take("reasoning_content")? {
        Some(text) => Some(text),
        None => m
            .peek("reasoning")
            .filter(|j| j.starts_with('"'))
            .is_some()
            .then(|| m.take("reasoning"))
            .transpose()?
            .flatten(),
    };
    let Some(details) = m.take::<Vec<Detail>>("reasoning_details")?.filter(|d| !d.is_empty()) else {
        let thought = plain.filter(|text| !text.is_empty());
        let thought = thought.map(|text| ReasoningPart { text, ..ReasoningPart::default() });
        return Ok(thought.map(|reasoning| (0, part(Content::Reasoning(reasoning)))).into_iter().collect());
    };
    let mut thoughts: Vec<(usize, ReasoningPart)> = details
        .into_iter()
        .map(|d| {
            let reasoning = ReasoningPart {
                text: d.text.or(d.summary).unwrap_or_default(),
                signature: d.signature,
                redacted: d.data,
                native_id: d.id,
                format: d.format,
            };
            (d.index.unwrap_or(0), reasoning)
        })
        .collect();
    // Clients that join the text apart from the details.
    if thoughts.iter().all(|(_, thought)| thought.text.is_empty())
        && let Some((_, first)) = thoughts.iter_mut().find(|(_, thought)| thought.redacted.is_none())
    {
        first.text = plain.unwrap_or_default();
    }
    thoughts.sort_by_key(|(place, _)| *place);
    Ok(thoughts.into_iter().map(|(place, reasoning)| (place, part(Content::Reasoning(reasoning)))).collect())
}

/// Each at its place, as far as there are parts before it.
fn put_at_their_places(parts: &mut Vec<Part>, reasoning: Vec<(usize, Part)>) {
    for (place, part) in reasoning {
        // Those that say no place come first, in order.
        let first = parts.iter().take_while(|p| matches!(p.content, Some(Content::Reasoning(_)))).count();
        let at = if place == 0 { first } else { place.min(parts.len()) };
        parts.insert(at, part);
    }
}

fn read_content(json: &str, path: &str) -> Result<(ContentShape, Vec<Part>), Invalid> {
    if json.starts_with('"') {
        let text = string(json).ok_or_else(|| Invalid::at(path, "is not a valid string"))?;
        return Ok((ContentShape::String, vec![part(Content::Text(TextPart { text }))]));
    }
    if !json.starts_with('[') {
        return Err(Invalid::at(path, "must be a string, an array of parts, or null"));
    }
    let parts = items(json, path)?.into_iter().enumerate();
    let parts = parts.map(|(i, json)| read_part(json, &format!("{path}[{i}]"))).collect::<Result<_, _>>()?;
    Ok((ContentShape::Array, parts))
}

fn read_part(json: &str, path: &str) -> Result<Part, Invalid> {
    let mut m = Members::read(json, path)?;
    let kind: String = m.take("type")?.ok_or_else(|| Invalid::at(m.path("type"), "is required"))?;
    let inner =
        |m: &mut Members<'_>, name: &str| -> Result<Option<String>, Invalid> { Ok(m.raw(name).map(str::to_owned)) };
    let content = match kind.as_str() {
        "text" => Content::Text(TextPart { text: required(&mut m, "text")? }),
        "refusal" => Content::Refusal(RefusalPart { text: required(&mut m, "refusal")? }),
        "image_url" => match inner(&mut m, "image_url")? {
            Some(image) => Content::Image(image_url(&image, &m.path("image_url"))?),
            None => return Err(Invalid::at(m.path("image_url"), "is required")),
        },
        "input_audio" => match inner(&mut m, "input_audio")? {
            Some(audio) => Content::Audio(input_audio(&audio, &m.path("input_audio"))?),
            None => return Err(Invalid::at(m.path("input_audio"), "is required")),
        },
        "file" => match inner(&mut m, "file")? {
            Some(file) => Content::File(read_file(&file, &m.path("file"))?),
            None => return Err(Invalid::at(m.path("file"), "is required")),
        },
        _ => return Ok(part(Content::Opaque(OpaquePart { r#type: kind, json: json.to_owned() }))),
    };
    let cache_control_json = m.raw("cache_control").unwrap_or_default().to_owned();
    Ok(Part { content: Some(content), cache_control_json, extra_json: m.rest() })
}

fn required(m: &mut Members<'_>, name: &str) -> Result<String, Invalid> {
    m.take(name)?.ok_or_else(|| Invalid::at(m.path(name), "is required"))
}

/// Media type and bytes of a `data:` URL.
pub(crate) fn data_url(url: &str, path: &str) -> Result<Option<(String, Vec<u8>)>, Invalid> {
    let Some(rest) = url.strip_prefix("data:") else { return Ok(None) };
    let Some((media_type, data)) = rest.split_once(";base64,") else {
        return Err(Invalid::at(path, "a data: URL must be base64"));
    };
    let bytes = STANDARD.decode(data).map_err(|e| Invalid::at(path, format!("is not valid base64: {e}")))?;
    Ok(Some((media_type.to_owned(), bytes)))
}

fn image_url(json: &str, path: &str) -> Result<ImagePart, Invalid> {
    // Some clients write the URL itself where the object belongs.
    let (url, detail) = match string(json) {
        Some(url) => (url, None),
        None => {
            let mut m = Members::read(json, path)?;
            (required(&mut m, "url")?, m.take("detail")?)
        }
    };
    Ok(match data_url(&url, &format!("{path}.url"))? {
        Some((media_type, data)) => {
            ImagePart { data: Some(data.into()), media_type: Some(media_type), detail, url: None }
        }
        None => ImagePart { url: Some(url), detail, ..ImagePart::default() },
    })
}

pub(crate) fn input_audio(json: &str, path: &str) -> Result<AudioPart, Invalid> {
    let mut m = Members::read(json, path)?;
    let data: String = required(&mut m, "data")?;
    let data = STANDARD.decode(data).map_err(|e| Invalid::at(m.path("data"), format!("is not valid base64: {e}")))?;
    Ok(AudioPart { data: Some(data.into()), format: m.take("format")?, id: None })
}

pub(crate) fn read_file(json: &str, path: &str) -> Result<FilePart, Invalid> {
    let mut m = Members::read(json, path)?;
    let mut file = FilePart { file_id: m.take("file_id")?, filename: m.take("filename")?, ..FilePart::default() };
    file.url = m.take("file_url")?;
    if let Some(data) = m.take::<String>("file_data")? {
        let path = m.path("file_data");
        let (media_type, bytes) = match data_url(&data, &path)? {
            Some((media_type, bytes)) => (Some(media_type), bytes),
            None => {
                let bytes =
                    STANDARD.decode(&data).map_err(|e| Invalid::at(path, format!("is not valid base64: {e}")))?;
                (None, bytes)
            }
        };
        (file.data, file.media_type) = (Some(bytes.into()), media_type);
    }
    Ok(file)
}

fn tool_call(json: &str, path: &str) -> Result<Part, Invalid> {
    let mut m = Members::read(json, path)?;
    let mut call = ToolCallPart { id: m.take("id")?.unwrap_or_default(), ..ToolCallPart::default() };
    let kind: Option<String> = m.take("type")?;
    let (member, arguments) = match kind.as_deref() {
        None | Some("function") => ("function", "arguments"),
        Some(other) => {
            call.type_native = other.to_owned();
            (other, "input")
        }
    };
    let path = m.path(member);
    let body = m.raw(member).ok_or_else(|| Invalid::at(path.clone(), "is required"))?;
    let mut f = Members::read(body, &path)?;
    call.name = required(&mut f, "name")?;
    call.arguments_json = f.take(arguments)?.unwrap_or_default();
    Ok(Part { content: Some(Content::ToolCall(call)), extra_json: m.rest(), ..Part::default() })
}
