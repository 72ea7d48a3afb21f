//! OpenAI's wire: chat completions, whole and streamed, and the shape of errors.

use std::fmt::Write;

use serde_json::{Value, json};

use super::answer::{Answer, Ask, Delta, Finish, Usage, count_words};
use super::playback::{Frame, Kind};
use super::script::{Step, directive};

/// Reads a chat completion call. `Err` is the message of the 400.
pub(super) fn read(body: &Value) -> Result<Ask, String> {
    let model = body["model"].as_str().ok_or("you must provide a model parameter")?;
    let messages = body["messages"].as_array().filter(|messages| !messages.is_empty());
    let messages = messages.ok_or("Missing required parameter: 'messages'.")?;
    check_tool_results(messages)?;

    let mut prompt_tokens = 3 * messages.len() as u64;
    messages.iter().for_each(|message| each_text(&message["content"], &mut |text| prompt_tokens += count_words(text)));
    let mut last_text = String::new();
    let user = messages.iter().rev().find(|message| message["role"] == "user");
    user.into_iter().for_each(|message| each_text(&message["content"], &mut |text| last_text.push_str(text)));

    let answered = messages.last().is_some_and(|message| message["role"] == "tool" || message["role"] == "function");
    let tools = body["tools"].as_array().map_or(&[][..], Vec::as_slice);
    let mut wanted = wanted_tools(tools, &body["tool_choice"], answered).into_iter();
    let format = &body["response_format"];
    Ok(Ask {
        has_result: false,
        model: model.into(),
        stream: body["stream"] == true,
        include_usage: body["stream_options"]["include_usage"] == true,
        prompt_tokens,
        limit: body["max_completion_tokens"].as_u64().or(body["max_tokens"].as_u64()),
        choices: body["n"].as_u64().unwrap_or(1) as u32,
        tool: wanted.next(),
        second_tool: wanted.next(),
        one_tool_only: body["parallel_tool_calls"] == false,
        schema: match format["type"].as_str() {
            Some("json_schema") => Some(format["json_schema"]["schema"].clone()),
            Some("json_object") => Some(json!({ "properties": { "scripted": { "type": "boolean" } } })),
            _ => None,
        },
        reasoning: body["reasoning_effort"].as_str().is_some_and(|effort| effort != "none"),
        directive: directive(&last_text)?,
    })
}

/// The tools that may be called, the one to call first. None when a result has just been given.
fn wanted_tools(tools: &[Value], choice: &Value, answered: bool) -> Vec<(String, Value)> {
    let forced = choice["function"]["name"].as_str();
    if choice == "none" || (answered && forced.is_none() && choice != "required") {
        return Vec::new();
    }
    let functions = tools.iter().map(|tool| &tool["function"]);
    let named = functions.filter_map(|function| Some((function["name"].as_str()?, &function["parameters"])));
    let allowed = named.filter(|(name, _)| forced.is_none_or(|forced| *name == forced));
    allowed.map(|(name, parameters)| (name.to_owned(), parameters.clone())).collect()
}

/// A tool result must answer a call that was made.
fn check_tool_results(messages: &[Value]) -> Result<(), String> {
    let mut made: Vec<&Value> = Vec::new();
    for message in messages {
        made.extend(message["tool_calls"].as_array().into_iter().flatten().map(|call| &call["id"]));
        if message["role"] == "tool" && !made.contains(&&message["tool_call_id"]) {
            return Err("Invalid parameter: messages with role 'tool' must be a response to a preceding message with \
                        'tool_calls'."
                .into());
        }
    }
    Ok(())
}

fn each_text(content: &Value, see: &mut impl FnMut(&str)) {
    let parts = content.as_array().into_iter().flatten().filter_map(|part| part["text"].as_str());
    content.as_str().into_iter().chain(parts).for_each(see);
}

pub(super) fn finish_word(answer: &Answer, step: &Step) -> Value {
    match (&step.finish_reason, answer.finish) {
        (Some(word), _) if word.is_empty() => Value::Null,
        (Some(word), _) => word.as_str().into(),
        (None, Finish::Stop) => "stop".into(),
        (None, Finish::Length) => "length".into(),
        (None, Finish::ToolCalls) => "tool_calls".into(),
    }
}

pub(super) fn usage_json(usage: &Usage) -> Value {
    json!({
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": { "cached_tokens": usage.cached_tokens, "audio_tokens": 0 },
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning_tokens, "audio_tokens": 0,
            "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0
        }
    })
}

fn call_id(seq: u64, at: usize) -> String {
    format!("call_{seq:08}{at:02}")
}

/// The whole answer as one JSON document.
pub(super) fn whole(ask: &Ask, answer: &Answer, step: &Step, seq: u64, created: u64) -> Vec<u8> {
    let calls = answer.tools.iter().enumerate().map(|(at, tool)| {
        json!({ "id": call_id(seq, at), "type": "function",
                "function": { "name": tool.name, "arguments": Delta::join(&tool.arguments) } })
    });
    let content = if answer.tools.is_empty() { Value::from(Delta::join(&answer.text)) } else { Value::Null };
    let mut message = json!({ "role": "assistant", "content": content, "refusal": null, "annotations": [] });
    if !answer.tools.is_empty() {
        message["tool_calls"] = calls.collect();
    }
    let finish = finish_word(answer, step);
    let choice = |index| json!({ "index": index, "message": message, "logprobs": null, "finish_reason": finish });
    let mut document = json!({
        "id": format!("chatcmpl-{seq:012}"), "object": "chat.completion", "created": created,
        "model": step.served_model.as_ref().unwrap_or(&ask.model),
        "choices": (0..ask.choices.max(1)).map(choice).collect::<Vec<_>>(),
        "service_tier": "default", "system_fingerprint": "fp_scripted"
    });
    if step.usage != Some(false) {
        document["usage"] = usage_json(&answer.usage);
    }
    document.to_string().into_bytes()
}

/// The answer as an event stream.
pub(super) fn stream(ask: &Ask, answer: &Answer, step: &Step, seq: u64, created: u64) -> Vec<Frame> {
    let model = step.served_model.as_ref().unwrap_or(&ask.model);
    let opening = format!(
        r#"data: {{"id":"chatcmpl-{seq:012}","object":"chat.completion.chunk","created":{created},"model":{},"service_tier":"default","system_fingerprint":"fp_scripted","choices":["#,
        json!(model)
    );
    let closing = if ask.include_usage { "],\"usage\":null}\n\n" } else { "]}\n\n" };
    let event = |index: u32, delta: &str, finish: &Value| {
        let mut event = String::with_capacity(opening.len() + delta.len() + 96);
        // Writing into a string cannot fail.
        let _ = write!(
            event,
            r#"{opening}{{"index":{index},"delta":{delta},"logprobs":null,"finish_reason":{finish}}}{closing}"#
        );
        event
    };
    let choices = 0..ask.choices.max(1);
    let mut frames = Vec::with_capacity(answer.text.len() + 4);
    for index in choices.clone() {
        let role = match answer.tools.is_empty() {
            true => r#"{"role":"assistant","content":"","refusal":null}"#,
            false => r#"{"role":"assistant","content":null}"#,
        };
        let tokens = if index == 0 { answer.usage.reasoning_tokens } else { 0 };
        frames.push(Frame::new(Kind::Head, tokens, event(index, role, &Value::Null)));
    }
    for piece in &answer.text {
        for index in choices.clone() {
            let delta = format!(r#"{{"content":{}}}"#, json!(piece.text));
            frames.push(Frame::new(Kind::Delta, piece.tokens, event(index, &delta, &Value::Null)));
        }
    }
    for index in choices.clone() {
        for (at, tool) in answer.tools.iter().enumerate() {
            let named = json!({ "tool_calls": [{ "index": at, "id": call_id(seq, at), "type": "function",
                                                 "function": { "name": tool.name, "arguments": "" } }] });
            frames.push(Frame::new(Kind::Head, 0, event(index, &named.to_string(), &Value::Null)));
            for piece in &tool.arguments {
                let delta = json!({ "tool_calls": [{ "index": at, "function": { "arguments": piece.text } }] });
                frames.push(Frame::new(Kind::Delta, piece.tokens, event(index, &delta.to_string(), &Value::Null)));
            }
        }
    }
    let finish = finish_word(answer, step);
    if !finish.is_null() {
        frames.extend(choices.map(|index| Frame::new(Kind::Tail, 0, event(index, "{}", &finish))));
    }
    if ask.include_usage && step.usage != Some(false) {
        let usage = format!("{opening}],\"usage\":{}}}\n\n", usage_json(&answer.usage));
        frames.push(Frame::new(Kind::Tail, 0, usage));
    }
    frames.push(Frame::new(Kind::Tail, 0, "data: [DONE]\n\n"));
    frames
}

/// The usual error body of a status.
pub(super) fn error(status: u16, message: Option<&str>) -> Value {
    let (usual, kind, code) = match status {
        400 => ("The request is not valid.", "invalid_request_error", None),
        401 => {
            let text = "Incorrect API key provided. You can find your API key at your provider's console.";
            (text, "invalid_request_error", Some("invalid_api_key"))
        }
        403 => ("You are not allowed to use this model.", "invalid_request_error", Some("permission_denied")),
        404 => {
            ("The model does not exist or you do not have access.", "invalid_request_error", Some("model_not_found"))
        }
        413 => ("The request is too large.", "invalid_request_error", Some("request_too_large")),
        429 => ("Rate limit reached. Please try again later.", "requests", Some("rate_limit_exceeded")),
        503 => ("The engine is currently overloaded, please try again later.", "service_unavailable", None),
        500.. => ("The server had an error while processing your request.", "server_error", None),
        _ => ("The request was refused.", "invalid_request_error", None),
    };
    json!({ "error": { "message": message.unwrap_or(usual), "type": kind, "param": null, "code": code } })
}
