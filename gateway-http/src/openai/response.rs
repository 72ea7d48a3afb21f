//! A collected completion of another dialect as OpenAI's JSON.

use super::functions::as_function;
use serde_json::{Map, Value, json};
use tollgate_proto::v1::{Choice, Completion, FinishReason, Finished, Part, ReasoningPart, Usage, part::Content};

/// The type of a citation of a page, and the member that holds it.
const PAGE: &str = "url_citation";

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
    let (mut details, mut calls) = (Vec::new(), Vec::new());
    let (mut citations, mut others) = (Vec::new(), Vec::new());
    for (index, part) in (0..).zip(parts) {
        match &part.content {
            Some(Content::Text(t)) => text.get_or_insert_default().push_str(&t.text),
            Some(Content::Refusal(r)) => refusal.get_or_insert_default().push_str(&r.text),
            Some(Content::Reasoning(r)) => {
                reasoning.push_str(&r.text);
                details.push(detail(r, index));
            }
            Some(Content::ToolCall(_)) => calls.extend(tool_call(part)),
            Some(Content::Opaque(o)) => {
                let (cited, rest) = opaque(&o.json);
                citations.extend(cited);
                others.extend(rest);
            }
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
    if !citations.is_empty() {
        message.insert("annotations".into(), Value::Array(citations));
    }
    if !others.is_empty() {
        message.insert("provider_parts".into(), Value::Array(others));
    }
    json!({
        "index": choice.index,
        "message": message,
        "logprobs": serde_json::from_str::<Value>(&choice.logprobs_json).unwrap_or_default(),
        "finish_reason": choice.finished.as_ref().map_or("stop", finish_word),
    })
}

/// What the contract has no part for: citations of pages, which chats have, and what is left, as it came.
pub(super) fn opaque(json: &str) -> (Vec<Value>, Option<Value>) {
    let mut said: Value = serde_json::from_str(json).unwrap_or_default();
    let Some(Value::Array(annotations)) = said.get_mut("annotations") else {
        return (Vec::new(), Some(said).filter(|said| !said.is_null()));
    };
    let all = std::mem::take(annotations).into_iter();
    let (pages, others): (Vec<_>, Vec<_>) = all.partition(|annotation| annotation["type"] == PAGE);
    let is_empty = others.is_empty();
    *annotations = others;
    (pages.into_iter().map(in_chat_form).collect(), Some(said).filter(|_| !is_empty))
}

/// A citation of the Responses API has its members one level higher.
fn in_chat_form(citation: Value) -> Value {
    match citation {
        Value::Object(mut members) if !members.contains_key(PAGE) => {
            members.shift_remove("type");
            json!({"type": PAGE, PAGE: members})
        }
        already => already,
    }
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

#[cfg(test)]
mod tests {
    use tollgate_proto::v1::{Message, OpaquePart, TextPart};

    use super::*;

    #[test]
    fn citations_of_pages_are_annotations_and_what_chats_do_not_know_stays_as_it_came() {
        let page = json!({"start_index": 0, "end_index": 4, "url": "https://lima.example", "title": "Lima"});
        let mut flat = json!({"type": "url_citation"});
        flat.as_object_mut().unwrap().extend(page.as_object().unwrap().clone());
        let in_chats = json!({"type": "url_citation", "url_citation": page});
        let file = json!({"type": "file_citation", "file_id": "file-1", "index": 4});
        let search = json!({"type": "web_search_call", "id": "ws_1"});
        let text = Part { content: Some(Content::Text(TextPart { text: "Lima".into() })), ..Part::default() };
        let opaque = |json: Value| {
            let opaque = OpaquePart { json: json.to_string(), ..OpaquePart::default() };
            Part { content: Some(Content::Opaque(opaque)), ..Part::default() }
        };
        let parts = vec![
            opaque(search.clone()),
            text,
            opaque(json!({"annotations": [flat, file]})),
            // A service of chats writes them so itself.
            opaque(json!({"annotations": [in_chats]})),
        ];
        let message = Message { parts, ..Message::default() };
        let choices = vec![Choice { message: Some(message), ..Choice::default() }];
        let told = completion(&Completion { choices, ..Completion::default() }, false);
        let told: Value = serde_json::from_str(&told).unwrap();
        let message = &told["choices"][0]["message"];
        assert_eq!(message["annotations"], json!([in_chats, in_chats]));
        assert_eq!(message["provider_parts"], json!([search, {"annotations": [file]}]));
    }
}
