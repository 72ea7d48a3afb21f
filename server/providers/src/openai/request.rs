//! Our call to their JSON: spliced where the caller wrote it in this very dialect, else encoded.

use tollgate_domain::{Class, Failure};
use tollgate_proto::v1::{CompletionRequest, Dialect, Original, Part, part::Content};

use super::{Effort, Family, Prefill, Quirks, encode, leave_out, media};
use crate::{
    ChatCall, Mode, Target, Unsupported, Written,
    conversation::members,
    json::{self, Object},
    left_out::{is_hosted, without_tools},
};

/// Whether the call completes a prompt as it stands, and the service knows how.
pub(crate) fn is_text(quirks: &Quirks, call: &ChatCall<'_>) -> bool {
    let dialect = call.request.original.as_ref().map(Original::dialect);
    quirks.completes && call.prefill.is_none() && dialect == Some(Dialect::OpenaiCompletions)
}

pub(crate) fn chat(quirks: &Quirks, target: &Target, call: &ChatCall<'_>) -> Result<Written, Failure> {
    let request = call.request;
    let family = Family::of(quirks.families, &target.model);
    media::check(quirks.refuses, request)?;
    let mut written = match &request.original {
        Some(original) if original.dialect() == Dialect::OpenaiChat && !is_foreign(quirks, request) => {
            let mut written = Written::whole(Vec::new());
            written.body = splice(quirks, family, &original.body, target, call)?;
            written.unsupported.extend(budget(quirks, request));
            written
        }
        Some(original) if is_text(quirks, call) => {
            let mut edits = edits(&original.body, target, call)?;
            edits.extend(call.output_cap.map(|cap| ("max_tokens", Some(cap.to_string()))));
            return Ok(Written::whole(json::edit(&original.body, &edits).map_err(unsendable)?));
        }
        _ => match without_tools(request, |json| !is_hosted(json)) {
            Some((fewer, unsupported)) => {
                let mut written = encode::chat(quirks, family, target, &ChatCall { request: &fewer, ..*call });
                written.unsupported.extend(unsupported);
                written
            }
            None => encode::chat(quirks, family, target, call),
        },
    };
    leave_out(quirks.lacks, "", request, &mut written)?;
    if let Some(family) = family {
        leave_out(family.lacks(request), "is not taken by this model while it reasons", request, &mut written)?;
    }
    Ok(written)
}

/// Whether the caller's own bytes say what the service must not get: reasoning of another's, or caching hints.
fn is_foreign(quirks: &Quirks, request: &CompletionRequest) -> bool {
    let is_reasoning = |part: &Part| matches!(part.content, Some(Content::Reasoning(_)));
    let is_hinted = |part: &Part| match &part.content {
        _ if !part.cache_control_json.is_empty() => true,
        Some(Content::ToolResult(result)) => result.content.iter().any(|inner| !inner.cache_control_json.is_empty()),
        _ => false,
    };
    let mut parts = request.messages.iter().flat_map(|message| &message.parts);
    parts.any(|part| (quirks.reasoning_in.is_none() && is_reasoning(part)) || (!quirks.hints && is_hinted(part)))
        || (!quirks.hints && request.tools.iter().any(|tool| !tool.cache_control_json.is_empty()))
}

/// The caller's own bytes, edited only where the gateway must: model, stream, usage, what the service spells otherwise, and a cap that a
/// budget needs.
fn splice(
    quirks: &Quirks,
    family: Option<&Family>,
    body: &[u8],
    target: &Target,
    call: &ChatCall<'_>,
) -> Result<Vec<u8>, Failure> {
    let mut edits = edits(body, target, call)?;
    if let Some(prefill) = call.prefill {
        edits.push(("messages", Some(messages_and(quirks, body, prefill)?)));
        edits.extend(continues(quirks).map(|(name, json)| (name, Some(json.to_owned()))));
    }
    edits.extend(limit_edits(quirks, family, call));
    // An object beside the word is the caller's own, and its service knows the word as well.
    if quirks.effort == Effort::Switch {
        edits.extend(effort(quirks, call.request));
    }
    edits.extend(added(quirks, call.request).map(|(name, json)| (name, Some(json.to_owned()))));
    json::edit(body, &edits).map_err(unsendable)
}

/// What is edited in any body: the model, the stream, and wishes to the gateway, which servers refuse.
fn edits(body: &[u8], target: &Target, call: &ChatCall<'_>) -> Result<Vec<(&'static str, Option<String>)>, Failure> {
    let model = serde_json::to_string(&target.model).unwrap_or_default();
    // Absent means no, everywhere in this dialect.
    let (stream, options) = match call.mode {
        Mode::Stream => (Some("true".to_owned()), Some(with_usage(body)?)),
        Mode::Whole => (None, None),
    };
    let edits = [("model", Some(model)), ("stream", stream), ("stream_options", options)];
    let metadata = json::untagged_metadata(body).map_err(unsendable)?.map(|metadata| ("metadata", metadata));
    let wishes = json::WISHES.map(|wish| (wish, None));
    Ok(edits.into_iter().chain(wishes).chain(metadata).collect())
}

/// One limit, in the spelling that the server and the model heed.
fn limit_edits(
    quirks: &Quirks,
    family: Option<&Family>,
    call: &ChatCall<'_>,
) -> impl Iterator<Item = (&'static str, Option<String>)> {
    let request = call.request;
    let asked =
        request.max_output_tokens.filter(|_| !quirks.both_limits || family.is_some_and(|f| f.limit().is_some()));
    let limit = call.output_cap.map(|cap| cap.to_string()).or(asked.map(|limit| limit.to_string()));
    let heeded = limit_field(quirks, family, request);
    let other = if heeded == "max_tokens" { "max_completion_tokens" } else { "max_tokens" };
    limit.into_iter().flat_map(move |limit| [(heeded, Some(limit)), (other, None)])
}

/// Members that say how much to reason; `None`: a member that may not be there.
pub(super) fn effort(quirks: &Quirks, request: &CompletionRequest) -> Vec<(&'static str, Option<String>)> {
    let Some(reasoning) = &request.reasoning else { return Vec::new() };
    let word = reasoning.effort_native.as_deref();
    let quoted = word.map(|word| serde_json::to_string(word).unwrap_or_default());
    let members = match (quirks.effort, word) {
        (Effort::Word, _) => vec![("reasoning_effort", quoted)],
        (Effort::Switch, None) => Vec::new(),
        (Effort::Switch, Some("none")) => {
            vec![("reasoning_effort", None), ("thinking", Some(r#"{"type":"disabled"}"#.to_owned()))]
        }
        (Effort::Switch, Some(_)) => {
            vec![("reasoning_effort", quoted), ("thinking", Some(r#"{"type":"enabled"}"#.to_owned()))]
        }
        (Effort::Object, _) => {
            // The service takes one of the two.
            let mut object = Object::default();
            match reasoning.budget_tokens {
                Some(budget) => object.field("max_tokens", &budget),
                None => object.maybe("effort", word),
            };
            let object = object.finish();
            vec![("reasoning", Some(object).filter(|object| object != "{}"))]
        }
    };
    let written = written_by_caller(request, || members.iter().any(|(name, _)| *name != "reasoning_effort"));
    members.into_iter().filter(|(name, _)| !written.iter().any(|w| w == name)).collect()
}

/// A budget of reasoning, where the service knows none.
pub(super) fn budget(quirks: &Quirks, request: &CompletionRequest) -> Option<Unsupported> {
    let budget = request.reasoning.as_ref().and_then(|reasoning| reasoning.budget_tokens);
    budget.filter(|_| quirks.effort != Effort::Object).map(|_| Unsupported::new("reasoning.budget_tokens"))
}

/// What the service gets unless the caller wrote it.
pub(super) fn added(
    quirks: &Quirks,
    request: &CompletionRequest,
) -> impl Iterator<Item = (&'static str, &'static str)> {
    let written = written_by_caller(request, || !quirks.adds.is_empty());
    quirks.adds.iter().copied().filter(move |(name, _)| !written.iter().any(|w| w == name))
}

/// Names of the members of the call that the contract does not name; read where it matters.
fn written_by_caller(request: &CompletionRequest, matters: impl Fn() -> bool) -> Vec<String> {
    if matters() { members(&request.extra_json) } else { Vec::new() }
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
    if let Prefill::Flag(name) = quirks.prefill {
        message.field(name, &true);
    }
    message.finish()
}

/// Members of the body that make the model go on from its last message.
pub(super) fn continues(quirks: &Quirks) -> impl Iterator<Item = (&'static str, &'static str)> {
    let members = [("add_generation_prompt", "false"), ("continue_final_message", "true")];
    members.into_iter().filter(|_| quirks.prefill == Prefill::FinalMessage)
}

pub(super) fn limit_field(quirks: &Quirks, family: Option<&Family>, request: &CompletionRequest) -> &'static str {
    use tollgate_proto::v1::OutputLimitSpelling::*;
    if let Some(only) = family.and_then(Family::limit) {
        return only;
    }
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
