//! The typed call in OpenAI's JSON.

use std::borrow::Cow;

use base64::{Engine, engine::general_purpose::STANDARD};
use tollgate_proto::v1::{
    CompletionRequest, ContentShape, Message, Part, Role, ToolChoice, ToolChoiceMode, part::Content,
    response_format::Format, tool::Kind, tool_choice::Choice,
};

use super::{
    Family, Quirks, ReasoningIn,
    request::{added, beginning, budget, continues, effort, limit_field},
};
use crate::{
    ChatCall, Mode, Target, Unsupported, Written,
    conversation::{data_url, members},
    json::{self, Object, array},
};

/// The body, and what it goes without.
pub(super) fn chat(quirks: &Quirks, family: Option<&Family>, target: &Target, call: &ChatCall<'_>) -> Written {
    let request = call.request;
    let mut dropped = Vec::new();
    let mut body = Object::default();
    body.field("model", &target.model);
    let unhinted = (!quirks.hints).then(|| without_hints(request, &mut dropped)).flatten();
    let request = unhinted.as_ref().unwrap_or(request);
    let mut messages: Vec<String> = request.messages.iter().flat_map(|m| message(quirks, m, &mut dropped)).collect();
    messages.extend(call.prefill.map(|prefill| beginning(quirks, prefill)));
    body.raw("messages", &array(&messages));
    if !request.tools.is_empty() {
        let tools: Vec<String> = request.tools.iter().map(tool).collect();
        body.raw("tools", &array(&tools));
    }
    if let Some(choice) = &request.tool_choice {
        body.raw("tool_choice", &tool_choice(choice));
    }
    body.maybe("parallel_tool_calls", request.parallel_tool_calls.as_ref());
    if let Some(format) = request.response_format.as_ref().and_then(|f| f.format.as_ref()) {
        body.raw("response_format", &response_format(format));
    }
    sampling(&mut body, request);
    if let Some(limit) = call.output_limit() {
        body.field(limit_field(quirks, family, request), &limit);
    }
    for (name, json) in effort(quirks, request) {
        if let Some(json) = json {
            body.raw(name, &json);
        }
    }
    body.maybe("service_tier", request.service_tier_native.as_ref());
    body.maybe("user", request.user.as_ref());
    let (extra, foreign) = own_extras(&request.extra_json);
    body.merge(&extra);
    for (name, json) in added(quirks, request).chain(continues(quirks).filter(|_| call.prefill.is_some())) {
        body.raw(name, json);
    }
    if call.mode == Mode::Stream {
        body.field("stream", &true);
        body.raw("stream_options", r#"{"include_usage":true}"#);
    }
    let unsupported = budget(quirks, request).into_iter().chain(foreign).collect();
    Written { body: body.finish().into_bytes(), unsupported, dropped }
}

/// Members that only the Responses API has.
const RESPONSES_ALONE: [&str; 4] = ["context_management", "max_tool_calls", "prompt", "truncation"];

/// The members of an object (JSON text, or empty) that this API may have, and the others.
fn own_extras(extra_json: &str) -> (Cow<'_, str>, Vec<Unsupported>) {
    let foreign: Vec<_> =
        members(extra_json).into_iter().filter(|name| RESPONSES_ALONE.contains(&name.as_str())).collect();
    if foreign.is_empty() {
        return (extra_json.into(), Vec::new());
    }
    let edits: Vec<_> = foreign.iter().map(|name| (name.as_str(), None)).collect();
    let own = json::edit(extra_json.as_bytes(), &edits).unwrap_or_default();
    (String::from_utf8_lossy(&own).into_owned().into(), foreign.into_iter().map(Unsupported::new).collect())
}

/// A copy without caching hints, where there are any.
fn without_hints(request: &CompletionRequest, dropped: &mut Vec<String>) -> Option<CompletionRequest> {
    let before = dropped.len();
    let mut take = |hint: &mut String, path: &dyn Fn() -> String| {
        if !std::mem::take(hint).is_empty() {
            dropped.push(format!("{}.cache_control", path()));
        }
    };
    let mut copy = CompletionRequest { original: None, ..request.clone() };
    for (i, message) in copy.messages.iter_mut().enumerate() {
        for (j, part) in message.parts.iter_mut().enumerate() {
            let path = || format!("messages[{i}].content[{j}]");
            take(&mut part.cache_control_json, &path);
            if let Some(Content::ToolResult(result)) = &mut part.content {
                result.content.iter_mut().for_each(|inner| take(&mut inner.cache_control_json, &path));
            }
        }
    }
    for (i, tool) in copy.tools.iter_mut().enumerate() {
        take(&mut tool.cache_control_json, &|| format!("tools[{i}]"));
    }
    (dropped.len() > before).then_some(copy)
}

fn sampling(body: &mut Object, request: &CompletionRequest) {
    body.maybe("temperature", request.temperature.as_ref());
    body.maybe("top_p", request.top_p.as_ref());
    body.maybe("top_k", request.top_k.as_ref());
    body.maybe("frequency_penalty", request.frequency_penalty.as_ref());
    body.maybe("presence_penalty", request.presence_penalty.as_ref());
    body.maybe("seed", request.seed.as_ref());
    if let Some(stop) = &request.stop {
        match stop.sequences.as_slice() {
            [only] if stop.single => body.field("stop", only),
            many => body.field("stop", many),
        };
    }
    body.maybe("n", request.n.as_ref());
    body.maybe("logprobs", request.logprobs.as_ref());
    body.maybe("top_logprobs", request.top_logprobs.as_ref());
    if !request.logit_bias.is_empty() {
        let mut biases = Object::default();
        for bias in &request.logit_bias {
            biases.field(&bias.token_id, &bias.bias);
        }
        body.raw("logit_bias", &biases.finish());
    }
}

/// One message of ours is one of theirs; only tool results, which they quote one by one, may become several.
fn message(quirks: &Quirks, message: &Message, dropped: &mut Vec<String>) -> Vec<String> {
    if message.role() == Role::Tool {
        return message.parts.iter().filter_map(|p| tool_message(p, message)).collect();
    }
    let mut object = Object::default();
    object.field("role", role(message));
    let (calls, rest): (Vec<&Part>, Vec<&Part>) =
        message.parts.iter().partition(|p| matches!(p.content, Some(Content::ToolCall(_))));
    let (reasoning, content): (Vec<&Part>, Vec<&Part>) =
        rest.into_iter().partition(|p| matches!(p.content, Some(Content::Reasoning(_))));
    let (refusals, content): (Vec<&Part>, Vec<&Part>) = content.into_iter().partition(|p| {
        matches!(p.content, Some(Content::Refusal(_))) && message.content_shape() != ContentShape::Array
    });
    match (content.as_slice(), message.content_shape()) {
        ([], ContentShape::Absent) => {}
        ([], ContentShape::Array) => {
            object.raw("content", "[]");
        }
        ([], ContentShape::String) => {
            object.field("content", "");
        }
        ([], _) => {
            object.raw("content", "null");
        }
        ([only], shape) if shape != ContentShape::Array && is_plain_text(only) => {
            if let Some(Content::Text(text)) = &only.content {
                object.field("content", &text.text);
            }
        }
        (many, _) => {
            let parts: Vec<String> = many.iter().map(|p| part(p)).collect();
            object.raw("content", &array(&parts));
        }
    }
    for refusal in refusals {
        if let Some(Content::Refusal(refusal)) = &refusal.content {
            object.field("refusal", &refusal.text);
        }
    }
    reasoning_back(quirks, &reasoning, &mut object, dropped);
    object.maybe("name", message.name.as_ref());
    if !calls.is_empty() {
        let calls: Vec<String> = calls.iter().filter_map(|p| tool_call(p)).collect();
        object.raw("tool_calls", &array(&calls));
    }
    object.merge(&message.extra_json);
    vec![object.finish()]
}

fn role(message: &Message) -> &str {
    match message.role() {
        Role::System => "system",
        Role::Developer => "developer",
        Role::User => "user",
        Role::Assistant => "assistant",
        Role::Tool => "tool",
        Role::Unspecified => &message.role_native,
    }
}

fn is_plain_text(part: &Part) -> bool {
    matches!(part.content, Some(Content::Text(_))) && part.extra_json.is_empty() && part.cache_control_json.is_empty()
}

fn tool_message(outer: &Part, message: &Message) -> Option<String> {
    let Some(Content::ToolResult(result)) = &outer.content else { return None };
    let mut object = Object::default();
    object.field("role", "tool").field("tool_call_id", &result.tool_call_id);
    match result.content.as_slice() {
        [] => {
            object.field("content", "");
        }
        [only] if is_plain_text(only) && message.content_shape() != ContentShape::Array => {
            if let Some(Content::Text(text)) = &only.content {
                object.field("content", &text.text);
            }
        }
        many => {
            let parts: Vec<String> = many.iter().map(part).collect();
            object.raw("content", &array(&parts));
        }
    }
    object.merge(&message.extra_json);
    Some(object.finish())
}

fn reasoning_back(quirks: &Quirks, parts: &[&Part], object: &mut Object, dropped: &mut Vec<String>) {
    if parts.is_empty() {
        return;
    }
    let parts = parts.iter().filter_map(|p| match &p.content {
        Some(Content::Reasoning(reasoning)) => Some(reasoning),
        _ => None,
    });
    match quirks.reasoning_in {
        None => dropped.push("messages.reasoning".into()),
        Some(ReasoningIn::Content) => {
            object.field("reasoning_content", &parts.map(|r| r.text.as_str()).collect::<String>());
        }
        Some(ReasoningIn::Details) => {
            let details: Vec<String> = parts
                .map(|r| {
                    let mut item = Object::default();
                    match &r.redacted {
                        Some(data) => item.field("type", "reasoning.encrypted").field("data", data),
                        None => item.field("type", "reasoning.text").field("text", &r.text),
                    };
                    item.maybe("signature", r.signature.as_ref()).maybe("id", r.native_id.as_ref());
                    item.finish()
                })
                .collect();
            object.raw("reasoning_details", &array(&details));
        }
    }
}

fn tool_call(part: &Part) -> Option<String> {
    let Some(Content::ToolCall(call)) = &part.content else { return None };
    let mut inner = Object::default();
    let mut object = Object::default();
    object.field("id", &call.id);
    if call.type_native == "custom" {
        inner.field("name", &call.name).field("input", &call.arguments_json);
        object.field("type", "custom").raw("custom", &inner.finish());
    } else {
        inner.field("name", &call.name).field("arguments", &call.arguments_json);
        object.field("type", "function").raw("function", &inner.finish());
    }
    object.merge(&part.extra_json);
    Some(object.finish())
}

fn part(part: &Part) -> String {
    let mut object = Object::default();
    match &part.content {
        Some(Content::Text(text)) => {
            object.field("type", "text").field("text", &text.text);
        }
        Some(Content::Image(image)) => {
            let url = match (&image.url, &image.data) {
                (Some(url), _) => url.clone(),
                (None, data) => data_url(image.media_type(), data.as_deref().unwrap_or_default()),
            };
            let mut inner = Object::default();
            inner.field("url", &url).maybe("detail", image.detail.as_ref());
            object.field("type", "image_url").raw("image_url", &inner.finish());
        }
        Some(Content::Audio(audio)) => {
            let mut inner = Object::default();
            let data = audio.data.as_deref().map(|d| STANDARD.encode(d));
            inner.maybe("id", audio.id.as_ref()).maybe("data", data.as_ref()).maybe("format", audio.format.as_ref());
            object.field("type", "input_audio").raw("input_audio", &inner.finish());
        }
        Some(Content::File(file)) => {
            let mut inner = Object::default();
            let data = file.data.as_deref().map(|d| data_url(file.media_type(), d));
            inner.maybe("file_id", file.file_id.as_ref()).maybe("filename", file.filename.as_ref());
            inner.maybe("file_data", data.as_ref()).maybe("file_url", file.url.as_ref());
            object.field("type", "file").raw("file", &inner.finish());
        }
        Some(Content::Refusal(refusal)) => {
            object.field("type", "refusal").field("refusal", &refusal.text);
        }
        Some(Content::Opaque(opaque)) => return opaque.json.clone(),
        // Not parts of a content array.
        Some(Content::ToolCall(_) | Content::ToolResult(_) | Content::Reasoning(_)) | None => {}
    }
    if !part.cache_control_json.is_empty() {
        object.raw("cache_control", &part.cache_control_json);
    }
    object.merge(&part.extra_json);
    object.finish()
}

pub(crate) fn tool(tool: &tollgate_proto::v1::Tool) -> String {
    let function = match &tool.kind {
        Some(Kind::Function(function)) => function,
        Some(Kind::NativeJson(json)) => return json.clone(),
        None => return "{}".into(),
    };
    let mut inner = Object::default();
    inner.field("name", &function.name).maybe("description", function.description.as_ref());
    if let Some(parameters) = &function.parameters_json {
        inner.raw("parameters", parameters);
    }
    inner.maybe("strict", function.strict.as_ref()).merge(&function.extra_json);
    let mut object = Object::default();
    object.field("type", "function").raw("function", &inner.finish());
    if !tool.cache_control_json.is_empty() {
        object.raw("cache_control", &tool.cache_control_json);
    }
    object.merge(&tool.extra_json);
    object.finish()
}

pub(crate) fn tool_choice(choice: &ToolChoice) -> String {
    match &choice.choice {
        Some(Choice::FunctionName(name)) => {
            let mut inner = Object::default();
            inner.field("name", name);
            let mut object = Object::default();
            object.field("type", "function").raw("function", &inner.finish());
            object.finish()
        }
        Some(Choice::NativeJson(json)) => json.clone(),
        Some(Choice::Mode(mode)) => match ToolChoiceMode::try_from(*mode) {
            Ok(ToolChoiceMode::None) => r#""none""#.into(),
            Ok(ToolChoiceMode::Required) => r#""required""#.into(),
            _ => r#""auto""#.into(),
        },
        None => r#""auto""#.into(),
    }
}

pub(crate) fn response_format(format: &Format) -> String {
    let mut object = Object::default();
    match format {
        Format::Text(_) => {
            object.field("type", "text");
        }
        Format::JsonObject(_) => {
            object.field("type", "json_object");
        }
        Format::NativeJson(json) => return json.clone(),
        Format::JsonSchema(schema) => {
            let mut inner = Object::default();
            inner.field("name", &schema.name).maybe("description", schema.description.as_ref());
            if let Some(json) = &schema.schema_json {
                inner.raw("schema", json);
            }
            inner.maybe("strict", schema.strict.as_ref()).merge(&schema.extra_json);
            object.field("type", "json_schema").raw("json_schema", &inner.finish());
        }
    }
    object.finish()
}
