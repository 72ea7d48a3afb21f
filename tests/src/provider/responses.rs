//! OpenAI's other wire: responses, whole and streamed with named events. It keeps nothing, so it takes no reference to what it said
//! before, and its reasoning comes back with the very proof that it was given out with.

use serde_json::{Value, json};

use super::answer::{Answer, Ask, Delta, Finish, Usage, count_words};
use super::history::{THINKING, signature};
use super::playback::{Frame, Kind};
use super::script::{Step, directive};

/// Reads a call. `Err` is the message of the 400.
pub(super) fn read(body: &Value) -> Result<Ask, String> {
    let model = body["model"].as_str().ok_or("Missing required parameter: 'model'.")?;
    if body["store"] != false || !body["previous_response_id"].is_null() {
        return Err("This organization keeps nothing: send store: false and no previous_response_id.".into());
    }
    let said = json!([{"role": "user", "content": body["input"]}]);
    let input = if body["input"].is_string() { &said } else { &body["input"] };
    let input = input.as_array().filter(|input| !input.is_empty()).ok_or("Missing required parameter: 'input'.")?;
    check(input)?;

    let mut prompt_tokens = 3 * (input.len() as u64 + u64::from(!body["instructions"].is_null()));
    prompt_tokens += count_words(body["instructions"].as_str().unwrap_or_default());
    input.iter().for_each(|item| each_text(item, &mut |text| prompt_tokens += count_words(text)));
    let mut last_text = String::new();
    let user = input.iter().rev().find(|item| item["role"] == "user");
    user.into_iter().for_each(|item| each_text(item, &mut |text| last_text.push_str(text)));

    let answered = input.last().is_some_and(|item| item["type"] == "function_call_output");
    let mut wanted = wanted_tools(&body["tools"], &body["tool_choice"], answered).into_iter();
    let format = &body["text"]["format"];
    Ok(Ask {
        model: model.into(),
        stream: body["stream"] == true,
        include_usage: true,
        prompt_tokens,
        limit: body["max_output_tokens"].as_u64(),
        choices: 1,
        tool: wanted.next(),
        second_tool: wanted.next(),
        one_tool_only: body["parallel_tool_calls"] == false,
        has_result: false,
        schema: (format["type"] == "json_schema").then(|| format["schema"].clone()),
        reasoning: body["reasoning"]["effort"].as_str().is_some_and(|effort| effort != "none"),
        directive: directive(&last_text)?,
    })
}

/// Results answer calls, and reasoning has its proof.
fn check(input: &[Value]) -> Result<(), String> {
    let mut made: Vec<&Value> = Vec::new();
    for (at, item) in input.iter().enumerate() {
        match item["type"].as_str() {
            Some("function_call") => made.push(&item["call_id"]),
            Some("function_call_output") if !made.contains(&&item["call_id"]) => {
                return Err(format!("No tool call found for function call output with call_id {}.", item["call_id"]));
            }
            Some("reasoning") if item["encrypted_content"] != signature(THINKING) => {
                return Err(format!(
                    "Item 'input[{at}]' of type reasoning was not found, or its content is not known."
                ));
            }
            Some("item_reference") => return Err(format!("Item {} not found.", item["id"])),
            _ => {}
        }
    }
    Ok(())
}

fn wanted_tools(tools: &Value, choice: &Value, answered: bool) -> Vec<(String, Value)> {
    let forced = choice["name"].as_str();
    if choice == "none" || (answered && forced.is_none() && choice != "required") {
        return Vec::new();
    }
    let named = tools.as_array().into_iter().flatten().filter_map(|tool| Some((tool["name"].as_str()?, tool)));
    let allowed = named.filter(|(name, _)| forced.is_none_or(|forced| *name == forced));
    allowed.map(|(name, tool)| (name.to_owned(), tool["parameters"].clone())).collect()
}

fn each_text(item: &Value, see: &mut impl FnMut(&str)) {
    let content = if item["output"].is_null() { &item["content"] } else { &item["output"] };
    let parts = content.as_array().into_iter().flatten().filter_map(|part| part["text"].as_str());
    content.as_str().into_iter().chain(parts).for_each(see);
}

fn usage_json(usage: &Usage) -> Value {
    json!({
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": { "cached_tokens": usage.cached_tokens, "cache_write_tokens": 0 },
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": { "reasoning_tokens": usage.reasoning_tokens },
        "total_tokens": usage.prompt_tokens + usage.completion_tokens
    })
}

fn items(ask: &Ask, answer: &Answer, seq: u64) -> Vec<Value> {
    let mut items = Vec::new();
    if ask.reasoning {
        items.push(
            json!({ "id": format!("rs_{seq:012}"), "type": "reasoning", "encrypted_content": signature(THINKING),
                           "summary": [{ "type": "summary_text", "text": THINKING }] }),
        );
    }
    if answer.tools.is_empty() {
        let text =
            json!({ "type": "output_text", "text": Delta::join(&answer.text), "annotations": [], "logprobs": [] });
        items.push(json!({ "id": format!("msg_{seq:012}"), "type": "message", "status": "completed",
                           "role": "assistant", "content": [text] }));
    }
    for (at, tool) in answer.tools.iter().enumerate() {
        items.push(json!({ "id": format!("fc_{seq:08}{at:02}"), "type": "function_call", "status": "completed",
                           "call_id": format!("call_{seq:08}{at:02}"), "name": tool.name,
                           "arguments": Delta::join(&tool.arguments) }));
    }
    items
}

/// The response: begun, or as it is at its end.
fn response(ask: &Ask, step: &Step, seq: u64, created: u64, ended: Option<(&Answer, Vec<Value>)>) -> Value {
    let mut response = json!({
        "id": format!("resp_{seq:012}"), "object": "response", "created_at": created, "status": "in_progress",
        "error": null, "incomplete_details": null, "model": step.served_model.as_ref().unwrap_or(&ask.model),
        "output": [], "previous_response_id": null, "store": false, "usage": null, "x_scripted": { "kept": 1.0 }
    });
    if let Some((answer, items)) = ended {
        let is_cut = answer.finish == Finish::Length;
        response["status"] = if is_cut { "incomplete" } else { "completed" }.into();
        if is_cut {
            response["incomplete_details"] = json!({ "reason": "max_output_tokens" });
        }
        response["output"] = items.into();
        if step.usage != Some(false) {
            response["usage"] = usage_json(&answer.usage);
        }
    }
    response
}

/// The whole answer as one JSON document.
pub(super) fn whole(ask: &Ask, answer: &Answer, step: &Step, seq: u64, created: u64) -> Vec<u8> {
    response(ask, step, seq, created, Some((answer, items(ask, answer, seq)))).to_string().into_bytes()
}

/// An event, with its name.
pub(super) fn sse(name: &str, data: &Value) -> String {
    format!("event: {name}\ndata: {data}\n\n")
}

/// The event of a stream that breaks.
pub(super) fn broken() -> Value {
    json!({ "type": "error", "code": "server_error", "message": "The server had an error.", "param": null })
}

/// Frames of a stream under construction.
struct Frames {
    frames: Vec<Frame>,
    sequence: u64,
}

impl Frames {
    fn push(&mut self, kind: Kind, tokens: u64, name: &str, mut data: Value) {
        data["type"] = name.into();
        data["sequence_number"] = self.sequence.into();
        self.sequence += 1;
        self.frames.push(Frame::new(kind, tokens, sse(name, &data)));
    }
}

/// The answer as an event stream.
pub(super) fn stream(ask: &Ask, answer: &Answer, step: &Step, seq: u64, created: u64) -> Vec<Frame> {
    let mut frames = Frames { frames: Vec::new(), sequence: 0 };
    let begun = response(ask, step, seq, created, None);
    frames.push(Kind::Head, answer.usage.reasoning_tokens, "response.created", json!({ "response": begun }));
    frames.push(Kind::Head, 0, "response.in_progress", json!({ "response": begun }));
    let items = items(ask, answer, seq);
    let mut tools = answer.tools.iter();
    for (at, item) in items.iter().enumerate() {
        let place = json!({ "item_id": item["id"], "output_index": at });
        let placed = |more: Value| {
            let mut data = place.clone();
            data.as_object_mut()
                .into_iter()
                .for_each(|data| data.extend(more.as_object().cloned().unwrap_or_default()));
            data
        };
        let mut empty = item.clone();
        match item["type"].as_str() {
            Some("message") => {
                (empty["content"], empty["status"]) = (json!([]), "in_progress".into());
                frames.push(Kind::Head, 0, "response.output_item.added", json!({ "output_index": at, "item": empty }));
                let part = json!({ "type": "output_text", "text": "", "annotations": [], "logprobs": [] });
                let part = placed(json!({ "content_index": 0, "part": part }));
                frames.push(Kind::Head, 0, "response.content_part.added", part);
                for piece in &answer.text {
                    let data = placed(json!({ "content_index": 0, "delta": piece.text, "logprobs": [] }));
                    frames.push(Kind::Delta, piece.tokens, "response.output_text.delta", data);
                }
                let text = placed(json!({ "content_index": 0, "text": item["content"][0]["text"], "logprobs": [] }));
                frames.push(Kind::Tail, 0, "response.output_text.done", text);
                let part = placed(json!({ "content_index": 0, "part": item["content"][0] }));
                frames.push(Kind::Tail, 0, "response.content_part.done", part);
            }
            Some("function_call") => {
                (empty["arguments"], empty["status"]) = ("".into(), "in_progress".into());
                frames.push(Kind::Head, 0, "response.output_item.added", json!({ "output_index": at, "item": empty }));
                for piece in tools.next().map_or(&[][..], |tool| &tool.arguments) {
                    let data = placed(json!({ "delta": piece.text }));
                    frames.push(Kind::Delta, piece.tokens, "response.function_call_arguments.delta", data);
                }
                let data = placed(json!({ "arguments": item["arguments"], "name": item["name"] }));
                frames.push(Kind::Tail, 0, "response.function_call_arguments.done", data);
            }
            _ => frames.push(Kind::Head, 0, "response.output_item.added", json!({ "output_index": at, "item": empty })),
        }
        frames.push(Kind::Tail, 0, "response.output_item.done", json!({ "output_index": at, "item": item }));
    }
    let ended = response(ask, step, seq, created, Some((answer, items)));
    let name = if answer.finish == Finish::Length { "response.incomplete" } else { "response.completed" };
    frames.push(Kind::Tail, 0, name, json!({ "response": ended }));
    frames.frames
}
