//! A collected completion of another dialect as OpenAI's JSON.

use super::functions::as_function;
use serde_json::{Map, Value, json};
use tollgate_proto::v1::{Choice, Completion, FinishReason, Finished, Part, ReasoningPart, Usage, part::Content};

/// `chat.completion`. `functions`: the caller knows functions, and no tools.
pub(crate) fn completion(completion: &Completion, functions: bool) -> String {
    let started = completion.started.clone().unwrap_or_default();
    let mut body = Map::new();
    body.insert("id".into(), json!(started.response_id));
    body.insert("object".into(), json!("chat.completion"));
    body.insert("created".into(), json!(started.created));
    body.insert("model".into(), json!(started.served_model));
    let shown = completion.choices.iter().map(|given| {
        let mut shown = choice(given);
        if functions {
            as_function(&mut shown);
        }
        shown
    });
    body.insert("choices".into(), shown.collect());
    if let Some(shown) = &completion.usage {
        body.insert("usage".into(), usage(shown));
    }
    if let Ok(Value::Object(extra)) = serde_json::from_str(&started.extra_json) {
        body.extend(extra);
    }
    Value::Object(body).to_string()
}

fn choice(choice: &Choice) -> Value {
    let parts = choice.message.iter().flat_map(|m| &m.parts);
    let mut message = Map::new();
    message.insert("role".into(), json!("assistant"));
    let (mut text, mut refusal, mut reasoning) = (None::<String>, None::<String>, String::new());
    let (mut details, mut calls, mut annotations) = (Vec::new(), Vec::new(), Vec::new());
    for (index, part) in (0..).zip(parts) {
        match &part.content {
            Some(Content::Text(t)) => text.get_or_insert_default().push_str(&t.text),
            Some(Content::Refusal(r)) => refusal.get_or_insert_default().push_str(&r.text),
            Some(Content::Reasoning(r)) => {
                reasoning.push_str(&r.text);
                details.push(detail(r, index));
            }
            Some(Content::ToolCall(_)) => calls.extend(tool_call(part)),
            Some(Content::Opaque(o)) => annotations.extend(serde_json::from_str::<Value>(&o.json).ok()),
            _ => {}
        }
    }
    message.insert("content".into(), json!(text));
    message.insert("refusal".into(), json!(refusal));
    if !reasoning.is_empty() {
        message.insert("reasoning_content".into(), json!(reasoning));
    }
    if !details.is_empty() {
        message.insert("reasoning_details".into(), Value::Array(details));
    }
    if !calls.is_empty() {
        message.insert("tool_calls".into(), Value::Array(calls));
    }
    if !annotations.is_empty() {
        message.insert("provider_parts".into(), Value::Array(annotations));
    }
    json!({
        "index": choice.index,
        "message": message,
        "logprobs": serde_json::from_str::<Value>(&choice.logprobs_json).unwrap_or_default(),
        "finish_reason": choice.finished.as_ref().map_or("stop", finish_word),
    })
}

/// OpenAI's word.
pub(super) fn finish_word(finished: &Finished) -> &'static str {
    match finished.reason() {
        FinishReason::Length => "length",
        FinishReason::ToolCalls => "tool_calls",
        FinishReason::ContentFilter => "content_filter",
        FinishReason::Stop | FinishReason::Error | FinishReason::Unspecified => "stop",
    }
}

/// Reasoning in the form that clients carry back unchanged. `index`: its place among all parts of the message.
pub(super) fn detail(reasoning: &ReasoningPart, index: u32) -> Value {
    let mut detail = match &reasoning.redacted {
        Some(data) => json!({"type": "reasoning.encrypted", "data": data, "index": index}),
        None => json!({"type": "reasoning.text", "text": reasoning.text, "index": index}),
    };
    for (name, value) in
        [("signature", &reasoning.signature), ("id", &reasoning.native_id), ("format", &reasoning.format)]
    {
        if let Some(value) = value {
            detail[name] = json!(value);
        }
    }
    detail
}

fn tool_call(part: &Part) -> Option<Value> {
    let Some(Content::ToolCall(call)) = &part.content else { return None };
    Some(match call.type_native.as_str() {
        "" => json!({
            "id": call.id,
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments_json},
        }),
        other => json!({"id": call.id, "type": other, other: {"name": call.name, "input": call.arguments_json}}),
    })
}

/// The `usage` object.
pub(crate) fn usage(usage: &Usage) -> Value {
    let (input, output) = (usage.input.unwrap_or_default(), usage.output.unwrap_or_default());
    json!({
        "prompt_tokens": input.total,
        "completion_tokens": output.total,
        "total_tokens": input.total.saturating_add(output.total),
        "prompt_tokens_details": {"cached_tokens": input.cached_read, "audio_tokens": input.audio},
        "completion_tokens_details": {"reasoning_tokens": output.reasoning, "audio_tokens": output.audio},
    })
}
