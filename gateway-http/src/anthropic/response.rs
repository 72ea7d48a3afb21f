//! A collected completion of another dialect as Anthropic's message.

use serde_json::{Value, json, value::RawValue};
use tollgate_proto::v1::{Completion, FinishReason, Finished, Part, ReasoningPart, Started, Usage, part::Content};

use super::proof::packed;

/// A `message`.
pub(crate) fn message(completion: &Completion) -> String {
    let parts = completion.choices.first().and_then(|choice| choice.message.as_ref()).map(|m| m.parts.as_slice());
    let parts = parts.unwrap_or_default();
    let finished = completion.choices.first().and_then(|choice| choice.finished.clone()).unwrap_or_default();
    let has_refused = parts.iter().any(|part| matches!(part.content, Some(Content::Refusal(_))));
    let content: Vec<String> = parts.iter().filter_map(block).collect();
    let mut message = begun(&completion.started.clone().unwrap_or_default());
    message["stop_reason"] = stop_reason(&finished, has_refused).into();
    message["stop_sequence"] = json!(finished.stop_sequence);
    message["usage"] = usage(&completion.usage.clone().unwrap_or_default());
    // Arguments stay the text that the model wrote: their numbers and their order.
    let marked = message.to_string();
    marked.replacen(r#""content":[]"#, &format!(r#""content":[{}]"#, content.join(",")), 1)
}

/// A message before its first block.
pub(super) fn begun(started: &Started) -> Value {
    json!({
        "id": started.response_id,
        "type": "message",
        "role": "assistant",
        "model": started.served_model,
        "content": [],
        "stop_reason": null,
        "stop_sequence": null,
        "usage": usage(&Usage::default()),
    })
}

fn block(part: &Part) -> Option<String> {
    Some(match &part.content {
        Some(Content::Text(text)) => text_block(&text.text).to_string(),
        Some(Content::Refusal(refusal)) => text_block(&refusal.text).to_string(),
        Some(Content::Reasoning(reasoning)) => thinking(reasoning).to_string(),
        Some(Content::ToolCall(call)) => {
            let input = if is_object(&call.arguments_json) { call.arguments_json.trim() } else { "{}" };
            let (id, name) = (json!(call.id), json!(call.name));
            format!(r#"{{"type":"tool_use","id":{id},"name":{name},"input":{input}}}"#)
        }
        Some(Content::Opaque(opaque)) if is_own_block(&opaque.json) => opaque.json.clone(),
        _ => return None,
    })
}

pub(super) fn text_block(text: &str) -> Value {
    json!({"type": "text", "text": text})
}

fn thinking(reasoning: &ReasoningPart) -> Value {
    let format = reasoning.format.as_deref().unwrap_or_default();
    match (&reasoning.redacted, &reasoning.signature) {
        (Some(data), _) => json!({"type": "redacted_thinking", "data": packed(data, format)}),
        (None, Some(signature)) => {
            json!({"type": "thinking", "thinking": reasoning.text, "signature": packed(signature, format)})
        }
        (None, None) => json!({"type": "thinking", "thinking": reasoning.text, "signature": ""}),
    }
}

/// Whether `text` is one JSON object.
pub(super) fn is_object(text: &str) -> bool {
    text.trim_start().starts_with('{') && serde_json::from_str::<&RawValue>(text).is_ok()
}

/// Whether a part that the contract does not know is a block of Anthropic's: of a tool that the provider ran itself.
pub(super) fn is_own_block(json: &str) -> bool {
    #[derive(serde::Deserialize)]
    struct Block {
        r#type: String,
    }
    serde_json::from_str::<Block>(json).is_ok_and(|block| {
        let kind = block.r#type.as_str();
        matches!(kind, "server_tool_use" | "mcp_tool_use" | "container_upload") || kind.ends_with("_tool_result")
    })
}

/// Anthropic's word: its own where it served, else the one for the reason.
pub(super) fn stop_reason(finished: &Finished, has_refused: bool) -> &str {
    const OWN: [&str; 7] = [
        "end_turn",
        "max_tokens",
        "stop_sequence",
        "tool_use",
        "pause_turn",
        "refusal",
        "model_context_window_exceeded",
    ];
    match finished.reason() {
        _ if OWN.contains(&finished.native_reason.as_str()) => &finished.native_reason,
        FinishReason::Length => "max_tokens",
        FinishReason::ToolCalls => "tool_use",
        FinishReason::ContentFilter => "refusal",
        _ if has_refused => "refusal",
        _ if finished.stop_sequence.is_some() => "stop_sequence",
        FinishReason::Stop | FinishReason::Error | FinishReason::Unspecified => "end_turn",
    }
}

/// The `usage` object: here cached tokens are no part of the input.
pub(super) fn usage(usage: &Usage) -> Value {
    let (input, output) = (usage.input.unwrap_or_default(), usage.output.unwrap_or_default());
    let written = input.cache_write_5m.saturating_add(input.cache_write_1h);
    let mut told = json!({
        "input_tokens": input.total.saturating_sub(input.cached_read).saturating_sub(written),
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": input.cached_read,
        "cache_creation": {
            "ephemeral_5m_input_tokens": input.cache_write_5m,
            "ephemeral_1h_input_tokens": input.cache_write_1h,
        },
        "output_tokens": output.total,
    });
    if output.reasoning > 0 {
        told["output_tokens_details"] = json!({"thinking_tokens": output.reasoning});
    }
    told
}

#[cfg(test)]
mod tests {
    use tollgate_proto::v1::{Choice, Message, TextPart, ToolCallPart};

    use super::*;

    #[test]
    fn arguments_keep_their_numbers_and_their_order_and_what_is_no_object_is_none() {
        let call = |arguments: &str| {
            let call = ToolCallPart { id: "c".into(), arguments_json: arguments.into(), ..ToolCallPart::default() };
            block(&Part { content: Some(Content::ToolCall(call)), ..Part::default() }).unwrap()
        };
        let exact = r#"{"z":18446744073709551616,"a":1.0}"#;
        assert!(call(exact).ends_with(&format!(r#""input":{exact}}}"#)));
        assert!(call("{\"cut").ends_with(r#""input":{}}"#) && call("").ends_with(r#""input":{}}"#));
    }

    #[test]
    fn a_text_that_looks_like_the_mark_of_the_content_changes_nothing() {
        let text = TextPart { text: r#""content":[]"#.into() };
        let part = Part { content: Some(Content::Text(text)), ..Part::default() };
        let message = Message { parts: vec![part], ..Message::default() };
        let choice = Choice { message: Some(message), ..Choice::default() };
        let started = Started { served_model: r#""content":[]"#.into(), ..Started::default() };
        let completion = Completion { started: Some(started), choices: vec![choice], ..Completion::default() };
        let told: Value = serde_json::from_str(&super::message(&completion)).unwrap();
        assert_eq!(told["content"][0]["text"], r#""content":[]"#);
        assert_eq!(told["model"], r#""content":[]"#);
    }

    #[test]
    fn the_stop_sequence_that_was_met_is_told() {
        let reason = FinishReason::Stop as i32;
        let finished = Finished { reason, stop_sequence: Some("END".into()), ..Finished::default() };
        let choice = Choice { finished: Some(finished), ..Choice::default() };
        let completion = Completion { choices: vec![choice], ..Completion::default() };
        let told: Value = serde_json::from_str(&super::message(&completion)).unwrap();
        assert_eq!((&told["stop_reason"], &told["stop_sequence"]), (&json!("stop_sequence"), &json!("END")));
    }

    #[test]
    fn a_word_of_anthropics_own_stays() {
        let told = |reason: FinishReason, native: &str| {
            let finished = Finished { reason: reason as i32, native_reason: native.into(), ..Finished::default() };
            stop_reason(&finished, false).to_owned()
        };
        assert_eq!(told(FinishReason::Stop, "pause_turn"), "pause_turn");
        assert_eq!(told(FinishReason::Stop, "stop"), "end_turn");
        assert_eq!(told(FinishReason::Length, "length"), "max_tokens");
        assert_eq!(told(FinishReason::ToolCalls, "stop"), "tool_use");
        assert_eq!(told(FinishReason::ContentFilter, "SAFETY"), "refusal");
    }
}
