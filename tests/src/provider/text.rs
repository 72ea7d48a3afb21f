//! OpenAI's older wire: prompts and their completions, whole and streamed.

use serde_json::{Value, json};

use super::{
    answer::{Answer, Ask, Delta},
    openai,
    playback::{Frame, Kind},
    script::Step,
};

/// Reads a call as if its prompt had been said in a chat. `Err` is the message of the 400.
pub(super) fn read(body: &Value) -> Result<Ask, String> {
    let prompt = body["prompt"].as_str().ok_or("Missing required parameter: 'prompt'.")?;
    if body.get("messages").is_some() {
        return Err("Unrecognized request argument supplied: messages".into());
    }
    let mut chat = body.clone();
    chat["messages"] = json!([{"role": "user", "content": prompt}]);
    openai::read(&chat)
}

fn document(ask: &Ask, step: &Step, seq: u64, created: u64, choices: &[Value]) -> Value {
    json!({
        "id": format!("cmpl-{seq:012}"), "object": "text_completion", "created": created,
        "model": step.served_model.as_ref().unwrap_or(&ask.model), "choices": choices,
    })
}

fn choice(text: &str, finish: &Value) -> Value {
    json!({"text": text, "index": 0, "logprobs": null, "finish_reason": finish})
}

/// The whole answer as one JSON document.
pub(super) fn whole(ask: &Ask, answer: &Answer, step: &Step, seq: u64, created: u64) -> Vec<u8> {
    let choice = choice(&Delta::join(&answer.text), &openai::finish_word(answer, step));
    let mut document = document(ask, step, seq, created, &[choice]);
    document["usage"] = openai::usage_json(&answer.usage);
    document.to_string().into_bytes()
}

/// The answer as an event stream.
pub(super) fn stream(ask: &Ask, answer: &Answer, step: &Step, seq: u64, created: u64) -> Vec<Frame> {
    let event = |choices: &[Value]| format!("data: {}\n\n", document(ask, step, seq, created, choices));
    let deltas = answer.text.iter();
    let mut frames: Vec<Frame> = deltas
        .map(|piece| Frame::new(Kind::Delta, piece.tokens, event(&[choice(&piece.text, &Value::Null)])))
        .collect();
    frames.push(Frame::new(Kind::Tail, 0, event(&[choice("", &openai::finish_word(answer, step))])));
    if ask.include_usage {
        let mut usage = document(ask, step, seq, created, &[]);
        usage["usage"] = openai::usage_json(&answer.usage);
        frames.push(Frame::new(Kind::Tail, 0, format!("data: {usage}\n\n")));
    }
    frames.push(Frame::new(Kind::Tail, 0, "data: [DONE]\n\n"));
    frames
}
