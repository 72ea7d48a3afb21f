//! Our messages as theirs: ids of nine characters, thinking as parts of a list.

use std::{borrow::Cow, collections::HashMap};

use base64::{Engine, engine::general_purpose::STANDARD};
use sha2::{Digest, Sha256};
use tollgate_domain::Failure;
use tollgate_proto::v1::{FilePart, Message, Part, Role, ToolResultPart, part::Content};

use crate::{
    ChatCall,
    conversation::{Said, data_url, function_call, image_part, text, text_part, tool_names},
    json::{Object, array},
    left_out::LeftOut,
    provider::{cannot, invalid},
};

/// The `messages` array.
pub(super) fn messages(call: &ChatCall<'_>, left_out: &mut LeftOut) -> Result<String, Failure> {
    let messages = &call.request.messages;
    let names = tool_names(messages);
    let mut written = Vec::with_capacity(messages.len() + 1);
    for (i, message) in messages.iter().enumerate() {
        let path = format!("messages[{i}]");
        let said = Said::read(message, &path, left_out);
        match message.role() {
            Role::System | Role::Developer => written.push(plain("system", &said, left_out)?),
            Role::User => written.push(plain("user", &said, left_out)?),
            Role::Assistant => {
                let goes_on = i + 1 == messages.len() && call.prefill.is_none() && said.calls.is_empty();
                written.push(assistant(&said, goes_on, left_out)?);
            }
            Role::Tool => {
                for result in &said.results {
                    written.push(tool(result, message, &names, &path, left_out)?);
                }
            }
            Role::Unspecified => return Err(cannot(&format!("{path}.role"), "is not known to this provider")),
        }
    }
    if let Some(prefill) = call.prefill {
        let mut object = Object::default();
        object.field("role", "assistant").field("content", prefill).field("prefix", &true);
        written.push(object.finish());
    }
    Ok(array(&written))
}

fn plain(role: &str, said: &Said<'_>, left_out: &mut LeftOut) -> Result<String, Failure> {
    let mut object = Object::default();
    object.field("role", role);
    match said.one_text() {
        Some(text) => object.field("content", text),
        None => object.raw("content", &array(&chunks(said, left_out)?)),
    };
    Ok(object.finish())
}

/// `goes_on`: the model continues what it says here, and refuses such a message that does not say so.
fn assistant(said: &Said<'_>, goes_on: bool, left_out: &mut LeftOut) -> Result<String, Failure> {
    let mut object = Object::default();
    object.field("role", "assistant");
    match said.one_text().filter(|_| said.thoughts.is_empty()) {
        Some(text) => object.field("content", text),
        None => {
            let mut parts: Vec<String> = said.thoughts.iter().map(|thought| thinking(thought)).collect();
            parts.extend(chunks(said, left_out)?);
            object.raw("content", &array(&parts))
        }
    };
    if !said.calls.is_empty() {
        let calls: Vec<String> = said.calls.iter().map(|call| function_call(&nine(&call.id), call)).collect();
        object.raw("tool_calls", &array(&calls));
    }
    if goes_on {
        object.field("prefix", &true);
    }
    Ok(object.finish())
}

fn thinking(thought: &str) -> String {
    let mut object = Object::default();
    object.field("type", "thinking").raw("thinking", &array(&[text_part(thought)]));
    object.finish()
}

fn tool(
    result: &ToolResultPart,
    message: &Message,
    names: &HashMap<&str, &str>,
    path: &str,
    left_out: &mut LeftOut,
) -> Result<String, Failure> {
    let mut object = Object::default();
    let name = names.get(result.tool_call_id.as_str()).copied().or(message.name.as_deref());
    object.field("role", "tool").field("tool_call_id", &nine(&result.tool_call_id)).maybe("name", name);
    match result.content.as_slice() {
        [] => object.field("content", ""),
        [only] if text(only).is_some() => object.maybe("content", text(only)),
        many => {
            let chunks = many.iter().map(|part| chunk(part, &format!("{path}.content"), left_out));
            let chunks: Vec<Option<String>> = chunks.collect::<Result<_, _>>()?;
            object.raw("content", &array(&chunks.into_iter().flatten().collect::<Vec<_>>()))
        }
    };
    Ok(object.finish())
}

fn chunks(said: &Said<'_>, left_out: &mut LeftOut) -> Result<Vec<String>, Failure> {
    let mut chunks = Vec::with_capacity(said.content.len());
    for (part, path) in &said.content {
        chunks.extend(chunk(part, path, left_out)?);
    }
    Ok(chunks)
}

/// A part of a list of content.
fn chunk(part: &Part, path: &str, left_out: &mut LeftOut) -> Result<Option<String>, Failure> {
    Ok(match &part.content {
        Some(Content::Text(_) | Content::Refusal(_)) => text(part).map(text_part),
        Some(Content::Image(image)) => Some(image_part(image)),
        Some(Content::File(file)) => Some(document(file, path)?),
        Some(Content::Audio(audio)) => {
            let Some(data) = &audio.data else { return Err(cannot(path, "must carry the sound itself")) };
            let mut object = Object::default();
            object.field("type", "input_audio").field("input_audio", &STANDARD.encode(data));
            Some(object.finish())
        }
        Some(Content::Opaque(opaque)) if ["document_url", "reference"].contains(&opaque.r#type.as_str()) => {
            Some(opaque.json.clone())
        }
        Some(Content::Opaque(_)) => {
            left_out.unsupported(path);
            None
        }
        Some(Content::ToolCall(_) | Content::ToolResult(_) | Content::Reasoning(_)) | None => None,
    })
}

fn document(file: &FilePart, path: &str) -> Result<String, Failure> {
    let mut object = Object::default();
    let url = match (&file.data, &file.url, &file.file_id) {
        (Some(data), ..) => data_url(file.media_type.as_deref().unwrap_or("application/pdf"), data),
        (None, Some(url), _) => url.clone(),
        (None, None, Some(id)) => {
            object.field("type", "file").field("file_id", id);
            return Ok(object.finish());
        }
        (None, None, None) => return Err(invalid(path, "the file has neither data nor url nor id")),
    };
    object.field("type", "document_url").field("document_url", &url);
    object.maybe("document_name", file.filename.as_ref());
    Ok(object.finish())
}

/// How long an id of a tool call is: others are refused.
const ID_LENGTH: usize = 9;

/// The id as the provider takes it: its own as it is, another one by its hash, so that a call and its result still meet.
fn nine(id: &str) -> Cow<'_, str> {
    if id.len() == ID_LENGTH && id.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return Cow::Borrowed(id);
    }
    const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let digest = Sha256::digest(id.as_bytes());
    let mut rest = digest.iter().take(8).fold(0u64, |n, byte| n << 8 | u64::from(*byte));
    let letters = std::iter::repeat_with(|| {
        let letter = ALPHABET[(rest % 62) as usize];
        rest /= 62;
        char::from(letter)
    });
    letters.take(ID_LENGTH).collect::<String>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_of_nine_stays_and_others_are_hashed_to_nine() {
        assert_eq!(nine("35bC59XSm"), "35bC59XSm");
        for foreign in ["call_A", "call_B", "toolu_01ABC", "", "35bC59XS-"] {
            let id = nine(foreign);
            assert!(id.len() == 9 && id.bytes().all(|b| b.is_ascii_alphanumeric()), "{foreign} became {id}");
            assert_eq!(id, nine(foreign));
        }
        assert_ne!(nine("call_A"), nine("call_B"));
    }
}
