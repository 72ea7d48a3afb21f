use std::collections::BTreeMap;

use serde_json::{Value, json};
use tollgate_domain::Failure;
use tollgate_proto::v1::{CompletionEvent, Delta, FinishReason, Usage, completion_event::Event, delta::Piece};

#[derive(Default, Clone)]
struct Choice {
    text: String,
    reasoning: String,
    refusal: String,
    /// By part: id, name, arguments.
    tools: BTreeMap<u32, (String, String, String)>,
    opaque_reasoning: Vec<Value>,
    audio: String,
    logprobs: Vec<Value>,
    finish: Option<(String, String, Option<String>)>,
}

/// Folds events, and the failure that ended them, to the normal form of the fixtures.
pub(crate) fn fold(events: &[CompletionEvent], failure: Option<&Failure>) -> Value {
    let mut choices: BTreeMap<u32, Choice> = BTreeMap::new();
    let mut usage = None;
    for event in events {
        match &event.event {
            Some(Event::Delta(delta)) => take(choices.entry(delta.choice).or_default(), delta),
            Some(Event::Finished(finished)) => {
                let word = match finished.reason() {
                    FinishReason::Stop => "stop",
                    FinishReason::Length => "length",
                    FinishReason::ToolCalls => "tool_calls",
                    FinishReason::ContentFilter => "content_filter",
                    FinishReason::Error | FinishReason::Unspecified => "error",
                };
                let choice = choices.entry(finished.choice).or_default();
                assert!(choice.finish.is_none(), "a choice finished twice");
                choice.finish = Some((word.into(), finished.native_reason.clone(), finished.stop_sequence.clone()));
            }
            Some(Event::Usage(reported)) => usage = Some(reported.clone()),
            _ => {}
        }
    }
    let first = choices.get(&0).cloned().unwrap_or_default();
    let tools: Vec<Value> = first
        .tools
        .values()
        .map(|(id, name, arguments)| {
            let arguments: Value = serde_json::from_str(arguments).unwrap_or_else(|_| json!(arguments));
            json!({"id": id, "name": name, "arguments": arguments})
        })
        .collect();
    let (finish, native, stop_sequence) = first.finish.clone().unzip3();
    json!({
        "ok": failure.is_none(),
        "text": first.text,
        "reasoning": first.reasoning,
        "refusal": first.refusal,
        "tool_calls": tools,
        "finish_reason": if failure.is_some() { Value::Null } else { json!(finish) },
        "usage": if failure.is_some() { Value::Null } else { usage.as_ref().map_or(Value::Null, counts) },
        "error": failure.map_or(Value::Null, |f| json!({
            "class": f.class.name(),
            "upstream_status": f.status,
            "retryable": f.retryable(),
            "retry_after_ms": f.retry_after.map(|d| d.as_millis() as u64),
            "message": f.message,
        })),
        "native_code": failure.map(|f| f.native_code.clone()),
        "native_finish_reason": native,
        "stop_sequence": stop_sequence.flatten(),
        "reasoning_opaque": first.opaque_reasoning,
        "audio_transcript": first.audio,
        "logprobs_tokens": first.logprobs,
        "choices": choices.iter().map(|(index, c)| json!({
            "index": index,
            "text": c.text,
            "finish_reason": c.finish.as_ref().map(|f| f.0.clone()),
        })).collect::<Vec<_>>(),
    })
}

fn take(choice: &mut Choice, delta: &Delta) {
    if !delta.logprobs_json.is_empty() {
        let logprobs: Value = serde_json::from_str(&delta.logprobs_json).unwrap();
        let tokens = logprobs["content"].as_array().into_iter().flatten().map(|t| t["token"].clone());
        choice.logprobs.extend(tokens);
    }
    match &delta.piece {
        Some(Piece::Text(text)) => choice.text.push_str(text),
        Some(Piece::Reasoning(text)) => choice.reasoning.push_str(text),
        Some(Piece::Refusal(text)) => choice.refusal.push_str(text),
        Some(Piece::ToolCallStart(start)) => {
            let call = (start.id.clone(), start.name.clone(), String::new());
            assert!(choice.tools.insert(delta.part, call).is_none(), "two calls in one part");
        }
        Some(Piece::ToolArguments(text)) => choice.tools.get_mut(&delta.part).unwrap().2.push_str(text),
        Some(Piece::ReasoningSignature(signature)) => choice.opaque_reasoning.push(json!({"signature": signature})),
        Some(Piece::ReasoningRedacted(data)) => choice.opaque_reasoning.push(json!({"data": data})),
        Some(Piece::OpaqueJson(text)) => {
            let value: Value = serde_json::from_str(text).unwrap();
            choice.audio.push_str(value["audio"]["transcript"].as_str().unwrap_or_default());
        }
        None => {}
    }
}

pub(crate) fn counts(usage: &Usage) -> Value {
    let (input, output) = (usage.input.unwrap_or_default(), usage.output.unwrap_or_default());
    json!({
        "prompt_tokens": input.total,
        "completion_tokens": output.total,
        "total_tokens": input.total + output.total,
        "cached_tokens": input.cached_read,
        "cache_write_tokens": input.cache_write_5m + input.cache_write_1h,
        "reasoning_tokens": output.reasoning,
        "audio_input_tokens": input.audio,
        "audio_output_tokens": output.audio,
        "search_units": usage.search_units,
    })
}

/// What differs between `expect` and what was seen, in words; empty when nothing does.
pub(crate) fn differences(expect: &Value, seen: &Value) -> Vec<String> {
    let mut differences = Vec::new();
    for (name, wanted) in expect.as_object().unwrap() {
        let got = &seen[name];
        let fits = match name.as_str() {
            "error" => error_fits(wanted, got),
            "usage" => usage_fits(wanted, got),
            "tool_calls" => calls_fit(wanted, got),
            "reasoning_opaque" => opaque_fits(wanted, got),
            // Not events: a fact about billing that the native usage keeps.
            "cost" => true,
            _ => wanted == got,
        };
        if !fits {
            differences.push(format!("{name}: expected {wanted}, got {got}"));
        }
    }
    differences
}

fn error_fits(wanted: &Value, got: &Value) -> bool {
    let Some(wanted) = wanted.as_object() else { return wanted == got };
    wanted.iter().all(|(name, value)| match name.as_str() {
        "message_contains" => {
            got["message"].as_str().is_some_and(|m| m.to_lowercase().contains(&value.as_str().unwrap().to_lowercase()))
        }
        _ => got[name] == *value,
    })
}

fn usage_fits(wanted: &Value, got: &Value) -> bool {
    match wanted.as_object() {
        None => wanted == got,
        Some(counts) => counts.iter().all(|(name, value)| got[name] == *value),
    }
}

fn calls_fit(wanted: &Value, got: &Value) -> bool {
    let (wanted, got) = (wanted.as_array().unwrap(), got.as_array().unwrap());
    wanted.len() == got.len()
        && wanted.iter().zip(got).all(|(w, g)| {
            let id_fits =
                if w["id"].is_null() { g["id"].as_str().is_some_and(|i| !i.is_empty()) } else { w["id"] == g["id"] };
            id_fits && w["name"] == g["name"] && w["arguments"] == g["arguments"]
        })
}

/// Signatures and encrypted reasoning, in order; their type and place are the dialect's.
fn opaque_fits(wanted: &Value, got: &Value) -> bool {
    let bare = |items: &Value| -> Vec<Value> {
        let keep = |i: &Value| json!({"signature": i.get("signature"), "data": i.get("data")});
        items.as_array().into_iter().flatten().map(keep).collect()
    };
    bare(wanted) == bare(got)
}

trait Unzip3 {
    type Out;
    fn unzip3(self) -> Self::Out;
}

impl Unzip3 for Option<(String, String, Option<String>)> {
    type Out = (Option<String>, Option<String>, Option<Option<String>>);
    fn unzip3(self) -> Self::Out {
        match self {
            Some((a, b, c)) => (Some(a), Some(b), Some(c)),
            None => (None, None, None),
        }
    }
}
