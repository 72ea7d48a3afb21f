//! Anthropic's models: their messages, with the model in the path and the version in the body.

use tollgate_domain::Failure;
use tollgate_proto::v1::{Message, part::Content};

use crate::{ChatCall, Mode, Written, anthropic, json::Object, provider::cannot};

/// The version of the API that the body names.
const VERSION: &str = "vertex-2023-10-16";

/// Whether the model is one of them.
pub(super) fn serves(model: &str) -> bool {
    model.starts_with("claude")
}

/// The method of a model that answers, behind its name and a colon.
pub(super) fn method(mode: Mode) -> &'static str {
    match mode {
        Mode::Whole => "rawPredict",
        Mode::Stream => "streamRawPredict",
    }
}

/// The body, and what it goes without.
pub(super) fn body(call: &ChatCall<'_>) -> Result<Written, Failure> {
    nothing_to_fetch(&call.request.messages)?;
    let mut version = Object::default();
    version.field("anthropic_version", VERSION);
    anthropic::body(version, call)
}

/// The body of a count of tokens.
pub(super) fn check(model: &str) -> Vec<u8> {
    let mut body = Object::default();
    body.field("model", model).raw("messages", r#"[{"role":"user","content":"."}]"#);
    body.finish().into_bytes()
}

/// Here these models take images and documents by value alone ("Vision" of the Anthropic API reference).
fn nothing_to_fetch(messages: &[Message]) -> Result<(), Failure> {
    for (i, message) in messages.iter().enumerate() {
        for (j, part) in message.parts.iter().enumerate() {
            let url = match &part.content {
                Some(Content::Image(image)) => image.url.as_ref(),
                Some(Content::File(file)) => file.url.as_ref(),
                _ => None,
            };
            if url.is_some() {
                let path = format!("messages[{i}].content[{j}]");
                return Err(cannot(&path, "Claude on Vertex AI fetches nothing; send the bytes"));
            }
        }
    }
    Ok(())
}
