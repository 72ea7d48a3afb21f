//! The items of an answer as they grow.

use serde_json::{Value, json};
use tollgate_proto::v1::ReasoningPart;

use super::thought;

/// One item of the output.
pub(super) struct Item {
    pub(super) id: String,
    pub(super) body: Body,
    pub(super) is_done: bool,
}

/// What an item is.
pub(super) enum Body {
    Message(Vec<Content>),
    Reasoning(ReasoningPart),
    Call(Call),
    /// As the provider wrote it.
    Native(Value),
}

/// A part of a message.
#[derive(Default)]
pub(super) struct Content {
    pub(super) is_refusal: bool,
    pub(super) text: String,
    pub(super) logprobs: Vec<Value>,
    pub(super) annotations: Vec<Value>,
    pub(super) is_done: bool,
}

/// The call of a tool.
pub(super) struct Call {
    pub(super) is_custom: bool,
    pub(super) call_id: String,
    pub(super) name: String,
    pub(super) arguments: String,
}

impl Body {
    /// What ids of its kind begin with.
    pub(super) fn prefix(&self) -> &'static str {
        match self {
            Self::Message(_) => "msg",
            Self::Reasoning(_) => "rs",
            Self::Call(call) if call.is_custom => "ctc",
            Self::Call(_) => "fc",
            Self::Native(_) => "item",
        }
    }
}

impl Content {
    /// As JSON.
    pub(super) fn shown(&self) -> Value {
        match self.is_refusal {
            true => json!({"type": "refusal", "refusal": self.text}),
            false => json!({"type": "output_text", "text": self.text, "annotations": self.annotations,
                            "logprobs": self.logprobs}),
        }
    }
}

impl Item {
    /// As it stands, as JSON. `is_cut`: the answer ended before it did.
    pub(super) fn shown(&self, is_cut: bool) -> Value {
        let status = match (self.is_done, is_cut) {
            (true, _) => "completed",
            (false, true) => "incomplete",
            (false, false) => "in_progress",
        };
        match &self.body {
            Body::Message(content) => {
                let content: Vec<Value> = content.iter().map(Content::shown).collect();
                json!({"id": self.id, "type": "message", "status": status, "role": "assistant", "content": content})
            }
            Body::Reasoning(reasoning) => {
                let mut item = json!({"id": self.id, "type": "reasoning", "summary": summary(reasoning)});
                if let Some(proof) = thought::seal(reasoning) {
                    item["encrypted_content"] = proof.into();
                }
                item
            }
            Body::Call(call) if call.is_custom => json!({
                "id": self.id, "type": "custom_tool_call", "status": status, "call_id": call.call_id,
                "name": call.name, "input": call.arguments,
            }),
            Body::Call(call) => json!({
                "id": self.id, "type": "function_call", "status": status, "call_id": call.call_id,
                "name": call.name, "arguments": call.arguments,
            }),
            Body::Native(item) => item.clone(),
        }
    }
}

fn summary(reasoning: &ReasoningPart) -> Value {
    match reasoning.text.is_empty() {
        true => json!([]),
        false => json!([{"type": "summary_text", "text": reasoning.text}]),
    }
}
