//! What several dialects ask of a conversation.

use std::collections::HashMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::de::IgnoredAny;
use tollgate_domain::Failure;
use tollgate_proto::v1::{
    CreateEmbeddingRequest, ImagePart, Message, Part, ReasoningPart, ToolCallPart, ToolResultPart,
    embedding_input::Input, part::Content,
};

use crate::{json::Object, left_out::LeftOut, provider::cannot};

/// A message, sorted as dialects of OpenAI's shape keep it apart.
#[derive(Default)]
pub(crate) struct Said<'a> {
    /// Text, images and the like, each with its path.
    pub(crate) content: Vec<(&'a Part, String)>,
    /// Reasoning in words. What a provider signed or encrypted is no other's, and left out.
    pub(crate) thoughts: Vec<&'a str>,
    pub(crate) calls: Vec<&'a ToolCallPart>,
    pub(crate) results: Vec<&'a ToolResultPart>,
}

impl<'a> Said<'a> {
    pub(crate) fn read(message: &'a Message, path: &str, left_out: &mut LeftOut) -> Self {
        let mut said = Self::default();
        left_out.beside(message, path);
        for (j, part) in message.parts.iter().enumerate() {
            let path_of_part = format!("{path}.content[{j}]");
            left_out.beside_part(part, message.role(), &path_of_part);
            match &part.content {
                Some(Content::Reasoning(ReasoningPart { text, signature: None, redacted: None, .. })) => {
                    said.thoughts.extend(Some(text.as_str()).filter(|text| !text.is_empty()))
                }
                Some(Content::Reasoning(_)) => left_out.dropped(format!("{path}.reasoning")),
                Some(Content::ToolCall(call)) => said.calls.push(call),
                Some(Content::ToolResult(result)) => {
                    for inner in &result.content {
                        left_out.beside_part(inner, message.role(), &path_of_part);
                    }
                    if result.is_error == Some(true) {
                        // Its text says so as well.
                        left_out.dropped(format!("{path}.is_error"));
                    }
                    said.results.push(result);
                }
                Some(_) => said.content.push((part, path_of_part)),
                None => {}
            }
        }
        said
    }

    /// The content, where it is one text; empty where there is none.
    pub(crate) fn one_text(&self) -> Option<&'a str> {
        match self.content.as_slice() {
            [] => Some(""),
            [(part, _)] => text(part),
            _ => None,
        }
    }
}

/// The words of a part, where it has any: a refusal is text to another model.
pub(crate) fn text(part: &Part) -> Option<&str> {
    match &part.content {
        Some(Content::Text(text)) => Some(&text.text),
        Some(Content::Refusal(refusal)) => Some(&refusal.text),
        _ => None,
    }
}

/// A part of text in OpenAI's shape.
pub(crate) fn text_part(text: &str) -> String {
    let mut object = Object::default();
    object.field("type", "text").field("text", text);
    object.finish()
}

/// An image in OpenAI's shape.
pub(crate) fn image_part(image: &ImagePart) -> String {
    let url = match &image.url {
        Some(url) => url.clone(),
        None => data_url(image.media_type(), image.data.as_deref().unwrap_or_default()),
    };
    let mut inner = Object::default();
    inner.field("url", &url).maybe("detail", image.detail.as_ref());
    let mut object = Object::default();
    object.field("type", "image_url").raw("image_url", &inner.finish());
    object.finish()
}

/// A call of a function in OpenAI's shape, under an id that the provider takes.
pub(crate) fn function_call(id: &str, call: &ToolCallPart) -> String {
    let mut inner = Object::default();
    let arguments = if call.arguments_json.is_empty() { "{}" } else { &call.arguments_json };
    inner.field("name", &call.name).field("arguments", arguments);
    let mut object = Object::default();
    object.field("id", id).field("type", "function").raw("function", &inner.finish());
    object.finish()
}

/// The inputs of a provider that takes texts alone.
pub(crate) fn texts(request: &CreateEmbeddingRequest) -> Result<Vec<&str>, Failure> {
    let texts = request.inputs.iter().enumerate().map(|(i, input)| match &input.input {
        Some(Input::Text(text)) => Ok(text.as_str()),
        _ => Err(cannot(&format!("input[{i}]"), "must be text: this provider takes no token ids")),
    });
    texts.collect()
}

/// Whose reasoning it is, as in `ReasoningPart.format`.
pub(crate) mod reasoning {
    /// Claude's, which recognises its own wherever it runs.
    pub(crate) const ANTHROPIC: &str = "anthropic-claude-v1";
    /// Gemini's.
    pub(crate) const GOOGLE: &str = "google-gemini-v1";
    /// OpenAI's, by its Responses API.
    pub(crate) const OPENAI: &str = "openai-responses-v1";
    /// Of other models on Bedrock.
    pub(crate) const BEDROCK: &str = "aws-bedrock-v1";
    /// Words without a proof, which anybody takes back who takes words.
    pub const UNSIGNED: &str = "unsigned";
}

/// `data:` URL of RFC 2397.
pub(crate) fn data_url(media_type: &str, data: &[u8]) -> String {
    format!("data:{media_type};base64,{}", STANDARD.encode(data))
}

/// The names of the tools that were called, by the id of the call: dialects whose results quote the name look it up here.
pub(crate) fn tool_names(messages: &[Message]) -> HashMap<&str, &str> {
    let parts = messages.iter().flat_map(|m| &m.parts);
    let calls = parts.filter_map(|part| match &part.content {
        Some(Content::ToolCall(call)) => Some((call.id.as_str(), call.name.as_str())),
        _ => None,
    });
    calls.collect()
}

/// The arguments of a call, for dialects that take an object and not its text.
pub(crate) fn arguments_object<'a>(call: &'a ToolCallPart, path: &str) -> Result<&'a str, Failure> {
    match call.arguments_json.trim() {
        "" | "null" => Ok("{}"),
        text if is_object(text) => Ok(text),
        _ => Err(cannot(&format!("{path}.arguments"), "must be a JSON object for this provider")),
    }
}

/// Whether `text` is one JSON object.
pub(crate) fn is_object(text: &str) -> bool {
    text.trim_start().starts_with('{') && serde_json::from_str::<IgnoredAny>(text).is_ok()
}

/// The text of parts that are nothing but text; `None` where any is something else.
pub(crate) fn plain_text(parts: &[Part]) -> Option<String> {
    let texts = parts.iter().map(|part| match &part.content {
        Some(Content::Text(text)) => Some(text.text.as_str()),
        _ => None,
    });
    texts.collect()
}

/// Names of the members of an object that is JSON text; none where it is empty.
pub(crate) fn members(object: &str) -> Vec<String> {
    let members: Result<serde_json::Map<String, serde_json::Value>, _> = serde_json::from_str(object);
    members.into_iter().flatten().map(|(name, _)| name).collect()
}
