//! Gemini's wire: content whole and streamed as events with CRLF, and the shape of errors.
//!
//! Function calls are signed, as by Gemini 3: the first of a turn carries a digest of itself, and a history whose calls lost it, or carry
//! another, is refused.

use serde_json::{Value, json};

use super::answer::{Answer, Ask, Delta, Finish, ToolCall, Usage, count_words};
use super::history::{THINKING, signature};
use super::playback::{Frame, Kind};
use super::script::{Step, directive};

/// Model and method of a path: `.../models/MODEL:METHOD`.
pub(super) fn address(path: &str) -> Option<(&str, &str)> {
    path.rsplit_once("/models/")?.1.split_once(':').filter(|(_, method)| method.ends_with("enerateContent"))
}

/// Reads a call. `Err` is the message of the 400.
pub(super) fn read(path: &str, body: &Value) -> Result<Ask, String> {
    let (model, method) = address(path).ok_or("Method not found.")?;
    let contents = body["contents"].as_array().ok_or("contents is not specified")?;
    check(contents)?;
    let texts = |content: &Value| -> Vec<String> {
        let parts = content["parts"].as_array().into_iter().flatten();
        parts.filter_map(|part| part["text"].as_str().map(str::to_owned)).collect()
    };
    let all = contents.iter().chain([&body["systemInstruction"]]).flat_map(&texts);
    let prompt_tokens = 3 * contents.len() as u64 + all.map(|text| count_words(&text)).sum::<u64>();
    let last = contents.iter().rev().find(|content| content["role"] == "user");
    let config = &body["generationConfig"];
    let declared = body["tools"].as_array().into_iter().flatten();
    let declared = declared.flat_map(|tool| tool["functionDeclarations"].as_array().into_iter().flatten());
    let mut wanted = declared.filter_map(|f| Some((f["name"].as_str()?.to_owned(), f["parametersJsonSchema"].clone())));
    Ok(Ask {
        model: model.into(),
        stream: method == "streamGenerateContent",
        include_usage: true,
        prompt_tokens,
        limit: config["maxOutputTokens"].as_u64(),
        choices: 1,
        tool: wanted.next(),
        second_tool: wanted.next(),
        has_result: contents.last().is_some_and(|last| responses(last).next().is_some()),
        reasoning: config["thinkingConfig"]["includeThoughts"] == true,
        directive: directive(&last.map(texts).unwrap_or_default().concat())?,
        ..Ask::default()
    })
}

fn calls(content: &Value) -> impl Iterator<Item = &Value> {
    content["parts"].as_array().into_iter().flatten().filter(|part| part["functionCall"].is_object())
}

fn responses(content: &Value) -> impl Iterator<Item = &Value> {
    let parts = content["parts"].as_array().into_iter().flatten();
    parts.map(|part| &part["functionResponse"]).filter(|response| response.is_object())
}

fn signed(call: &Value) -> String {
    signature(&format!("{}{}", call["name"], call["args"]))
}

/// Checks a history. `Err` is the message of the 400.
fn check(contents: &[Value]) -> Result<(), String> {
    for (at, content) in contents.iter().enumerate() {
        for (n, part) in calls(content).enumerate() {
            let name = part["functionCall"]["name"].as_str().unwrap_or_default();
            match (n, part["thoughtSignature"].as_str()) {
                (0, None) => {
                    return Err(format!("Function call is missing a thought_signature in functionCall parts: {name}."));
                }
                (0, Some(shown)) if shown == signed(&part["functionCall"]) => {}
                (0, Some(_)) => return Err("Thought signature is not valid.".into()),
                (_, None) => {}
                (_, Some(_)) => return Err(format!("contents[{at}]: the signature of another function call.")),
            }
        }
        let called: Vec<_> = calls(content).map(|part| &part["functionCall"]["name"]).collect();
        let answered: Vec<_> = contents.get(at + 1).into_iter().flat_map(responses).map(|r| &r["name"]).collect();
        if !called.is_empty() && called != answered {
            return Err("Please ensure that the number of function response parts is equal to the number of function \
                        call parts of the function call turn."
                .into());
        }
    }
    Ok(())
}

fn finish(answer: &Answer, step: &Step) -> Value {
    match (&step.finish_reason, answer.finish) {
        (Some(word), _) if word.is_empty() => Value::Null,
        (Some(word), _) => word.as_str().into(),
        // Of tools it says nothing.
        (None, Finish::Stop | Finish::ToolCalls) => "STOP".into(),
        (None, Finish::Length) => "MAX_TOKENS".into(),
    }
}

fn usage_json(usage: &Usage) -> Value {
    json!({
        "promptTokenCount": usage.prompt_tokens,
        "cachedContentTokenCount": usage.cached_tokens,
        "candidatesTokenCount": usage.completion_tokens - usage.reasoning_tokens,
        "thoughtsTokenCount": usage.reasoning_tokens,
        "totalTokenCount": usage.prompt_tokens + usage.completion_tokens,
    })
}

fn call_parts(tools: &[ToolCall]) -> Vec<Value> {
    let part = |(n, tool): (usize, &ToolCall)| {
        let args: Value = serde_json::from_str(&Delta::join(&tool.arguments)).unwrap_or_default();
        let call = json!({ "name": tool.name, "args": args });
        match n {
            0 => json!({ "thoughtSignature": signed(&call), "functionCall": call }),
            _ => json!({ "functionCall": call }),
        }
    };
    tools.iter().enumerate().map(part).collect()
}

fn document(ask: &Ask, step: &Step, seq: u64, parts: Vec<Value>) -> Value {
    json!({
        "candidates": [{ "content": { "role": "model", "parts": parts }, "index": 0 }],
        "modelVersion": step.served_model.as_ref().unwrap_or(&ask.model),
        "responseId": format!("gem_{seq:012}")
    })
}

/// The whole answer as one JSON document.
pub(super) fn whole(ask: &Ask, answer: &Answer, step: &Step, seq: u64) -> Vec<u8> {
    let mut parts = Vec::new();
    if ask.reasoning {
        parts.push(json!({ "text": THINKING, "thought": true }));
    }
    if !answer.text.is_empty() {
        parts.push(json!({ "text": Delta::join(&answer.text) }));
    }
    parts.extend(call_parts(&answer.tools));
    let mut document = document(ask, step, seq, parts);
    document["candidates"][0]["finishReason"] = finish(answer, step);
    if step.usage != Some(false) {
        document["usageMetadata"] = usage_json(&answer.usage);
    }
    document.to_string().into_bytes()
}

/// The answer as a stream of unnamed events.
pub(super) fn stream(ask: &Ask, answer: &Answer, step: &Step, seq: u64) -> Vec<Frame> {
    let mut frames = Vec::new();
    let event = |parts: Vec<Value>| document(ask, step, seq, parts);
    if ask.reasoning {
        let thought = event(vec![json!({ "text": THINKING, "thought": true })]);
        frames.push(Frame::new(Kind::Head, answer.usage.reasoning_tokens, sse(&thought)));
    }
    for piece in &answer.text {
        frames.push(Frame::new(Kind::Delta, piece.tokens, sse(&event(vec![json!({ "text": piece.text })]))));
    }
    for (tool, part) in answer.tools.iter().zip(call_parts(&answer.tools)) {
        let tokens = tool.arguments.iter().map(|piece| piece.tokens).sum();
        frames.push(Frame::new(Kind::Delta, tokens, sse(&event(vec![part]))));
    }
    let reason = finish(answer, step);
    if !reason.is_null() {
        let mut last = event(vec![json!({ "text": "" })]);
        last["candidates"][0]["finishReason"] = reason;
        if step.usage != Some(false) {
            last["usageMetadata"] = usage_json(&answer.usage);
        }
        frames.push(Frame::new(Kind::Tail, 0, sse(&last)));
    }
    frames
}

/// One event; lines end in CRLF, as on the real wire.
pub(super) fn sse(event: &Value) -> String {
    format!("data: {event}\r\n\r\n")
}

/// The usual error body of a status.
pub(super) fn error(status: u16, message: Option<&str>) -> Value {
    let (word, usual) = match status {
        401 => ("UNAUTHENTICATED", "Request had invalid authentication credentials."),
        403 => ("PERMISSION_DENIED", "The caller does not have permission."),
        404 => ("NOT_FOUND", "The model is not found."),
        429 => ("RESOURCE_EXHAUSTED", "Resource has been exhausted (e.g. check quota)."),
        503 => ("UNAVAILABLE", "The model is overloaded. Please try again later."),
        504 => ("DEADLINE_EXCEEDED", "The request timed out."),
        500.. => ("INTERNAL", "An internal error has occurred."),
        _ => ("INVALID_ARGUMENT", "The request is not valid."),
    };
    json!({ "error": { "code": status, "message": message.unwrap_or(usual), "status": word } })
}
