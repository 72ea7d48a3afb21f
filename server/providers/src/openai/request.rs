//! Our call to their JSON: spliced where the caller wrote it in this very dialect, else encoded.

use tollgate_domain::{Class, Failure};
use tollgate_proto::v1::{CompletionRequest, Dialect};

use super::{Prefill, Quirks, encode};
use crate::{
    ChatCall, Mode, Target, Written,
    json::{self, Object},
};

pub(super) fn chat(quirks: &Quirks, target: &Target, call: &ChatCall<'_>) -> Result<Written, Failure> {
    match &call.request.original {
        Some(original) if original.dialect() == Dialect::OpenaiChat => {
            Ok(Written::whole(splice(quirks, &original.body, target, call)?))
        }
        _ => encode::chat(quirks, target, call),
    }
}

/// The caller's own bytes, edited only where the gateway must: model, stream, usage, and a cap that a budget needs.
fn splice(quirks: &Quirks, body: &[u8], target: &Target, call: &ChatCall<'_>) -> Result<Vec<u8>, Failure> {
    let model = serde_json::to_string(&target.model).unwrap_or_default();
    let mut edits = vec![("model", Some(model))];
    match call.mode {
        Mode::Stream => {
            edits.push(("stream", Some("true".to_owned())));
            edits.push(("stream_options", Some(with_usage(body)?)));
        }
        Mode::Whole => {
            // Absent means no, everywhere in this dialect.
            edits.push(("stream", None));
            edits.push(("stream_options", None));
        }
    }
    // A wish to the gateway, which servers refuse.
    edits.push(("fallbacks", None));
    if let Some(prefill) = call.prefill {
        edits.push(("messages", Some(messages_and(quirks, body, prefill)?)));
        edits.extend(continues(quirks).map(|(name, json)| (name, Some(json.to_owned()))));
    }
    if let Some(cap) = call.output_cap {
        // One limit, in the spelling that the server heeds.
        let (heeded, other) = match limit_field(quirks, call.request) {
            field @ "max_tokens" => (field, "max_completion_tokens"),
            field => (field, "max_tokens"),
        };
        edits.push((heeded, Some(cap.to_string())));
        edits.push((other, None));
    }
    json::edit(body, &edits).map_err(unsendable)
}

/// The caller's messages, and the beginning of the answer.
fn messages_and(quirks: &Quirks, body: &[u8], prefill: &str) -> Result<String, Failure> {
    #[derive(serde::Deserialize)]
    struct Messages<'a> {
        #[serde(borrow)]
        messages: Vec<&'a serde_json::value::RawValue>,
    }
    let body: Messages<'_> = serde_json::from_slice(body).map_err(unsendable)?;
    let beginning = beginning(quirks, prefill);
    let all: Vec<&str> = body.messages.iter().map(|message| message.get()).chain([beginning.as_str()]).collect();
    Ok(format!("[{}]", all.join(",")))
}

/// The beginning of the answer as a message.
pub(super) fn beginning(quirks: &Quirks, prefill: &str) -> String {
    let mut message = Object::default();
    message.field("role", "assistant").field("content", prefill);
    if quirks.prefill == Prefill::Prefix {
        message.field("prefix", &true);
    }
    message.finish()
}

/// Members of the body that make the model go on from its last message.
pub(super) fn continues(quirks: &Quirks) -> impl Iterator<Item = (&'static str, &'static str)> {
    let members = [("add_generation_prompt", "false"), ("continue_final_message", "true")];
    members.into_iter().filter(|_| quirks.prefill == Prefill::FinalMessage)
}

pub(super) fn limit_field(quirks: &Quirks, request: &CompletionRequest) -> &'static str {
    use tollgate_proto::v1::OutputLimitSpelling::*;
    if !quirks.both_limits {
        return quirks.output_limit;
    }
    match request.max_output_spelling() {
        MaxTokens => "max_tokens",
        MaxCompletionTokens => "max_completion_tokens",
        Unspecified => quirks.output_limit,
    }
}

/// The caller's stream options with usage asked for: every call is billed by the provider's own figures.
fn with_usage(body: &[u8]) -> Result<String, Failure> {
    #[derive(serde::Deserialize)]
    struct Options<'a> {
        #[serde(borrow)]
        stream_options: Option<&'a serde_json::value::RawValue>,
    }
    let options: Options<'_> = serde_json::from_slice(body).map_err(unsendable)?;
    match options.stream_options.map(|o| o.get()).filter(|o| o.starts_with('{')) {
        None => Ok(r#"{"include_usage":true}"#.to_owned()),
        Some(object) => {
            let edited =
                json::edit(object.as_bytes(), &[("include_usage", Some("true".into()))]).map_err(unsendable)?;
            Ok(String::from_utf8_lossy(&edited).into_owned())
        }
    }
}

pub(crate) fn unsendable(error: impl std::fmt::Display) -> Failure {
    Failure::new(Class::InvalidRequest, format!("the request cannot be sent on: {error}"))
}
