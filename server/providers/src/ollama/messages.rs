//! Our messages as theirs: text is one string, images stand beside it, arguments are objects.

use std::collections::HashMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use tollgate_domain::Failure;
use tollgate_proto::v1::{Message, Part, Role, ToolCallPart, ToolResultPart, part::Content};

use crate::{
    ChatCall,
    conversation::{Said, arguments_object, text, tool_names},
    json::{Object, array},
    left_out::LeftOut,
    provider::cannot,
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
            Role::System | Role::Developer => written.push(turn("system", &said, &path, left_out)?),
            Role::User => written.push(turn("user", &said, &path, left_out)?),
            Role::Assistant => written.push(turn("assistant", &said, &path, left_out)?),
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
        object.field("role", "assistant").field("content", prefill);
        written.push(object.finish());
    }
    Ok(array(&written))
}

fn turn(role: &str, said: &Said<'_>, path: &str, left_out: &mut LeftOut) -> Result<String, Failure> {
    let mut object = Object::default();
    object.field("role", role);
    let mut content = Shown::default();
    for (part, path) in &said.content {
        content.take(part, role, path, left_out)?;
    }
    content.write(&mut object);
    if !said.thoughts.is_empty() {
        object.field("thinking", &said.thoughts.concat());
    }
    if !said.calls.is_empty() {
        let calls = said.calls.iter().map(|call| tool_call(call, path));
        object.raw("tool_calls", &array(&calls.collect::<Result<Vec<_>, _>>()?));
    }
    Ok(object.finish())
}

fn tool_call(call: &ToolCallPart, path: &str) -> Result<String, Failure> {
    let mut function = Object::default();
    function.field("name", &call.name).raw("arguments", arguments_object(call, &format!("{path}.tool_calls"))?);
    let mut object = Object::default();
    object.field("id", &call.id).raw("function", &function.finish());
    Ok(object.finish())
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
    object.field("role", "tool").maybe("tool_name", name).field("tool_call_id", &result.tool_call_id);
    let mut content = Shown::default();
    for part in &result.content {
        content.take(part, "tool", &format!("{path}.content"), left_out)?;
    }
    content.write(&mut object);
    Ok(object.finish())
}

/// What a message shows the model.
#[derive(Default)]
struct Shown<'a> {
    texts: Vec<&'a str>,
    /// As base64.
    images: Vec<String>,
}

impl<'a> Shown<'a> {
    fn take(&mut self, part: &'a Part, role: &str, path: &str, left_out: &mut LeftOut) -> Result<(), Failure> {
        match &part.content {
            Some(Content::Image(image)) => match &image.data {
                Some(data) => self.images.push(STANDARD.encode(data)),
                None => {
                    return Err(cannot(path, "must carry the image itself: this provider fetches none by its URL"));
                }
            },
            Some(Content::Audio(_)) => return Err(cannot(path, "audio is not taken by this provider")),
            Some(Content::File(_)) => return Err(cannot(path, "files are not taken by this provider")),
            Some(Content::Opaque(_)) if role == "assistant" => left_out.dropped(path),
            Some(Content::Opaque(_)) => left_out.unsupported(path),
            _ => self.texts.extend(text(part)),
        }
        Ok(())
    }

    fn write(&self, object: &mut Object) {
        object.field("content", &self.texts.join("\n"));
        if !self.images.is_empty() {
            object.field("images", &self.images);
        }
    }
}
