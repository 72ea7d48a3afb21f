//! What several dialects ask of a conversation.

use std::collections::HashMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::de::IgnoredAny;
use tollgate_domain::Failure;
use tollgate_proto::v1::{Message, Part, ToolCallPart, part::Content};

use crate::provider::invalid;

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
        _ => Err(invalid(&format!("{path}.arguments"), "must be a JSON object for this provider")),
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
