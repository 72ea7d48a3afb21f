//! Anthropic's wire: messages, whole and streamed with named events, and the shape of errors.
//!
//! The thinking text is fixed and its signature a digest of it, so that a history can be checked without memory.

use serde_json::{Value, json};

use super::answer::{Answer, Ask, Delta, Finish, Usage, count_words};
use super::history::{self, THINKING};
use super::playback::{Frame, Kind};
use super::script::{Step, directive};

/// Reads a messages call. `Err` is the message of the 400.
pub(super) fn read(body: &Value) -> Result<Ask, String> {
    let model = body["model"].as_str().ok_or("model: Field required")?;
    let limit = body["max_tokens"].as_u64().ok_or("max_tokens: Field required")?;
    let messages = body["messages"].as_array().ok_or("messages: Field required")?;
    let thinking = matches!(body["thinking"]["type"].as_str(), Some("enabled" | "adaptive"));
    check_parameters(body, limit, thinking)?;
    history::check(messages, thinking)?;

    let system = &body["system"];
    let mut prompt_tokens = 3 * (messages.len() as u64 + u64::from(!system.is_null()));
    each_text(system, &mut |text| prompt_tokens += count_words(text));
    messages.iter().for_each(|message| each_text(&message["content"], &mut |text| prompt_tokens += count_words(text)));
    let mut last_text = String::new();
    let user = messages.iter().rev().find(|message| message["role"] == "user");
    user.into_iter().for_each(|message| each_text(&message["content"], &mut |text| last_text.push_str(text)));

    let answered = messages.last().is_some_and(|message| history::blocks(message, "tool_result").next().is_some());
    let choice = &body["tool_choice"];
    let mut wanted = wanted_tools(&body["tools"], choice).into_iter();
    let format = &body["output_config"]["format"];
    Ok(Ask {
        model: model.into(),
        stream: body["stream"] == true,
        include_usage: true,
        prompt_tokens,
        limit: Some(limit),
        choices: 1,
        tool: wanted.next(),
        second_tool: wanted.next(),
        one_tool_only: choice["disable_parallel_tool_use"] == true,
        has_result: answered && !matches!(choice["type"].as_str(), Some("any" | "tool")),
        schema: (format["type"] == "json_schema").then(|| format["schema"].clone()),
        reasoning: thinking,
        directive: directive(&last_text)?,
    })
}

fn check_parameters(body: &Value, limit: u64, thinking: bool) -> Result<(), String> {
    if limit == 0 {
        return Err("max_tokens: must be greater than or equal to 1".into());
    }
    if body["temperature"].as_f64().is_some_and(|value| !(0.0..=1.0).contains(&value)) {
        return Err("temperature: range: 0..1".into());
    }
    if !thinking {
        return Ok(());
    }
    if matches!(body["tool_choice"]["type"].as_str(), Some("any" | "tool")) {
        return Err("Thinking may not be enabled when tool_choice forces tool use.".into());
    }
    match body["thinking"]["budget_tokens"].as_u64() {
        Some(budget) if budget < 1024 => Err("thinking.enabled.budget_tokens: must be at least 1024".into()),
        Some(budget) if budget >= limit => Err("`max_tokens` must be greater than `thinking.budget_tokens`".into()),
        None if body["thinking"]["type"] == "enabled" => Err("thinking.enabled.budget_tokens: Field required".into()),
        _ => Ok(()),
    }
}

fn wanted_tools(tools: &Value, choice: &Value) -> Vec<(String, Value)> {
    if choice["type"] == "none" {
        return Vec::new();
    }
    let forced = choice["name"].as_str();
    let named = tools.as_array().into_iter().flatten().filter_map(|tool| Some((tool["name"].as_str()?, tool)));
    let allowed = named.filter(|(name, _)| forced.is_none_or(|forced| *name == forced));
    allowed.map(|(name, tool)| (name.to_owned(), tool["input_schema"].clone())).collect()
}

/// Texts of a message or system prompt, those inside tool results included.
fn each_text(content: &Value, see: &mut impl FnMut(&str)) {
    if let Some(text) = content.as_str() {
        return see(text);
    }
    for block in content.as_array().into_iter().flatten() {
        match block["type"].as_str() {
            Some("tool_result") => {
                let inner = block["content"].as_array().into_iter().flatten();
                let texts = inner.filter_map(|block| block["text"].as_str());
                block["content"].as_str().into_iter().chain(texts).for_each(&mut *see);
            }
            _ => block["text"].as_str().into_iter().for_each(&mut *see),
        }
    }
}

fn stop_reason(answer: &Answer, step: &Step) -> Value {
    match (&step.finish_reason, answer.finish) {
        (Some(word), _) if word.is_empty() => Value::Null,
        (Some(word), _) => word.as_str().into(),
        (None, Finish::Stop) => "end_turn".into(),
        (None, Finish::Length) => "max_tokens".into(),
        (None, Finish::ToolCalls) => "tool_use".into(),
    }
}

fn usage_json(usage: &Usage, output: u64) -> Value {
    let fresh = usage.prompt_tokens - usage.cached_tokens;
    json!({
        "input_tokens": fresh.saturating_sub(usage.cache_write_tokens),
        "cache_creation_input_tokens": usage.cache_write_tokens.min(fresh),
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": output,
        "service_tier": "standard"
    })
}

fn tool_use(seq: u64, at: usize, name: &str, input: Value) -> Value {
    json!({ "type": "tool_use", "id": format!("toolu_{seq:08}{at:02}"), "name": name, "input": input })
}

/// The whole answer as one JSON document.
pub(super) fn whole(ask: &Ask, answer: &Answer, step: &Step, seq: u64) -> Vec<u8> {
    let mut content = Vec::new();
    if ask.reasoning {
        content.push(json!({ "type": "thinking", "thinking": THINKING, "signature": history::signature(THINKING) }));
    }
    if !answer.text.is_empty() {
        content.push(json!({ "type": "text", "text": Delta::join(&answer.text) }));
    }
    for (at, tool) in answer.tools.iter().enumerate() {
        let input = serde_json::from_str(&Delta::join(&tool.arguments)).unwrap_or_default();
        content.push(tool_use(seq, at, &tool.name, input));
    }
    let mut document = json!({
        "id": format!("msg_{seq:012}"), "type": "message", "role": "assistant",
        "model": step.served_model.as_ref().unwrap_or(&ask.model),
        "content": content, "stop_reason": stop_reason(answer, step), "stop_sequence": null
    });
    if step.usage != Some(false) {
        document["usage"] = usage_json(&answer.usage, answer.usage.completion_tokens);
    }
    document.to_string().into_bytes()
}

/// Frames of a stream under construction, with the index of the block being written.
#[derive(Default)]
struct Blocks {
    frames: Vec<Frame>,
    index: usize,
}

impl Blocks {
    fn event(&mut self, kind: Kind, tokens: u64, event: &Value) {
        self.frames.push(Frame::new(kind, tokens, sse(event)));
    }

    /// One content block: its start, its deltas, its end.
    fn block(&mut self, start: Value, deltas: impl Iterator<Item = (Kind, u64, Value)>) {
        let index = self.index;
        self.index += 1;
        self.event(Kind::Head, 0, &json!({ "type": "content_block_start", "index": index, "content_block": start }));
        if index == 0 {
            self.event(Kind::Head, 0, &json!({ "type": "ping" }));
        }
        for (kind, tokens, delta) in deltas {
            self.event(kind, tokens, &json!({ "type": "content_block_delta", "index": index, "delta": delta }));
        }
        self.event(Kind::Tail, 0, &json!({ "type": "content_block_stop", "index": index }));
    }
}

/// The answer as a stream of named events.
pub(super) fn stream(ask: &Ask, answer: &Answer, step: &Step, seq: u64) -> Vec<Frame> {
    let mut blocks = Blocks::default();
    let mut message = json!({
        "id": format!("msg_{seq:012}"), "type": "message", "role": "assistant",
        "model": step.served_model.as_ref().unwrap_or(&ask.model),
        "content": [], "stop_reason": null, "stop_sequence": null
    });
    if step.usage != Some(false) {
        message["usage"] = usage_json(&answer.usage, answer.usage.reasoning_tokens.min(1));
    }
    let start = json!({ "type": "message_start", "message": message });
    blocks.event(Kind::Head, answer.usage.reasoning_tokens, &start);

    if ask.reasoning {
        let (first, second) = THINKING.split_at(THINKING.len() / 2);
        let thoughts = [first, second].map(|text| json!({ "type": "thinking_delta", "thinking": text }));
        let signed = json!({ "type": "signature_delta", "signature": history::signature(THINKING) });
        let empty = json!({ "type": "thinking", "thinking": "", "signature": "" });
        blocks.block(empty, thoughts.into_iter().chain([signed]).map(|delta| (Kind::Head, 0, delta)));
    }
    if !answer.text.is_empty() {
        let delta = |piece: &Delta| (Kind::Delta, piece.tokens, json!({ "type": "text_delta", "text": piece.text }));
        blocks.block(json!({ "type": "text", "text": "" }), answer.text.iter().map(delta));
    }
    for (at, tool) in answer.tools.iter().enumerate() {
        let part = |text: &str| json!({ "type": "input_json_delta", "partial_json": text });
        let deltas = tool.arguments.iter().map(|piece| (Kind::Delta, piece.tokens, part(&piece.text)));
        let empty = [(Kind::Head, 0, part(""))].into_iter();
        blocks.block(tool_use(seq, at, &tool.name, json!({})), empty.chain(deltas));
    }
    let reason = stop_reason(answer, step);
    if !reason.is_null() {
        let mut last = json!({ "type": "message_delta", "delta": { "stop_reason": reason, "stop_sequence": null } });
        if step.usage != Some(false) {
            last["usage"] = json!({ "output_tokens": answer.usage.completion_tokens });
        }
        blocks.event(Kind::Tail, 0, &last);
        blocks.event(Kind::Tail, 0, &json!({ "type": "message_stop" }));
    }
    blocks.frames
}

/// One named event; the name is the type, as on the real wire.
pub(super) fn sse(event: &Value) -> String {
    format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap_or("error"))
}

/// The usual error body of a status.
pub(super) fn error(status: u16, message: Option<&str>, request_id: &str) -> Value {
    let (kind, usual) = match status {
        401 => ("authentication_error", "invalid x-api-key"),
        402 => ("billing_error", "Your credit balance is too low."),
        403 => ("permission_error", "Your API key does not have permission to use the specified resource."),
        404 => ("not_found_error", "model: not found"),
        409 => ("conflict_error", "The request conflicts with another one."),
        413 => ("request_too_large", "Request exceeds the maximum size"),
        429 => ("rate_limit_error", "Number of request tokens has exceeded your per-minute rate limit"),
        504 => ("timeout_error", "The request timed out."),
        529 | 503 => ("overloaded_error", "Overloaded"),
        500.. => ("api_error", "Internal server error"),
        _ => ("invalid_request_error", "The request is not valid."),
    };
    let error = json!({ "type": kind, "message": message.unwrap_or(usual) });
    json!({ "type": "error", "error": error, "request_id": request_id })
}
