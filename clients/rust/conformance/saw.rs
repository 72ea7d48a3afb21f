//! What a program saw, in the words of tests/cases/README.md.

use serde_json::{Map, Value, json};
use tollgate_client::{
    Answer, BudgetState, Error, ErrorKind, json as proto_json,
    v1::{CompletionEvent, Receipt, Usage, completion_event::Event, delta::Piece},
};

/// A whole answer.
pub(crate) fn answer(answer: &Answer) -> anyhow::Result<Value> {
    let calls = answer.tool_calls().into_iter();
    let calls = calls.map(|c| json!({"id": c.id, "name": c.name, "arguments": c.arguments_json}));
    let reason = answer.finish_reason().as_str_name();
    let mut told = json!({
        "answer": proto_json::to_value(&answer.0)?,
        "text": answer.text(),
        "tool_calls": calls.collect::<Vec<_>>(),
        "finish_reason": reason.strip_prefix("FINISH_REASON_").unwrap_or(reason),
    });
    if let Some(usage) = answer.usage() {
        told["usage"] = self::usage(usage);
    }
    Ok(told)
}

/// What a call consumed.
pub(crate) fn usage(usage: &Usage) -> Value {
    json!({
        "input_tokens": usage.input.as_ref().map(|input| input.total),
        "output_tokens": usage.output.as_ref().map(|output| output.total),
        "cost_nano_usd": usage.cost_nano_usd,
        "estimated": usage.estimated,
    })
}

/// What the audit log promises, where that was asked for.
pub(crate) fn receipt(receipt: Option<&Receipt>) -> Value {
    receipt.and_then(|receipt| proto_json::to_value(receipt).ok()).into()
}

/// The events of a stream as they come.
#[derive(Default)]
pub(crate) struct Stream {
    pub(crate) received: usize,
    kinds: Vec<&'static str>,
    text: String,
}

impl Stream {
    pub(crate) fn take(&mut self, event: &CompletionEvent) {
        self.received += 1;
        let kind = match &event.event {
            Some(Event::Started(_)) => "started",
            Some(Event::Delta(delta)) => match &delta.piece {
                Some(Piece::Text(text)) => {
                    if delta.choice == 0 {
                        self.text.push_str(text);
                    }
                    "text"
                }
                Some(Piece::Reasoning(_)) => "reasoning",
                Some(Piece::ReasoningSignature(_)) => "reasoning_signature",
                Some(Piece::ReasoningRedacted(_)) => "reasoning_redacted",
                Some(Piece::Refusal(_)) => "refusal",
                Some(Piece::ToolCallStart(_)) => "tool_call_start",
                Some(Piece::ToolArguments(_)) => "tool_arguments",
                Some(Piece::OpaqueJson(_)) => "opaque_json",
                None => return,
            },
            Some(Event::PartDone(_)) => "part_done",
            Some(Event::Finished(_)) => "finished",
            Some(Event::Usage(_)) => "usage",
            Some(Event::Routing(_)) => "routing",
            Some(Event::Receipt(_)) => "receipt",
            Some(Event::Restarted(_)) => {
                self.text.clear();
                "restarted"
            }
            None => return,
        };
        if self.kinds.last() != Some(&kind) {
            self.kinds.push(kind);
        }
    }

    pub(crate) fn told(&self) -> Value {
        json!({"events": self.kinds, "received": self.received, "text": self.text})
    }
}

/// An error with its typed members.
pub(crate) fn error(error: &Error) -> Value {
    let mut fields = fields(&error.kind);
    if let Some(after) = error.retry_after {
        fields.insert("retry_after_ms".into(), (after.as_millis() as u64).into());
    }
    json!({
        "type": error.name(),
        "code": code(error.code),
        "reason": error.reason.map(|reason| reason.as_str_name().trim_start_matches("ERROR_REASON_")),
        "message": error.message,
        "request_id": error.request_id,
        "metadata": error.metadata,
        "fields": fields,
        "receipt": receipt(error.receipt.as_deref()),
    })
}

fn fields(kind: &ErrorKind) -> Map<String, Value> {
    let fields = match kind {
        ErrorKind::ModelNotAllowed { model } | ErrorKind::ModelNotFound { model } | ErrorKind::NoRoute { model } => {
            json!({"model": model})
        }
        ErrorKind::ResourceNotFound { resource, id }
        | ErrorKind::AlreadyExists { resource, id }
        | ErrorKind::ResourceInUse { resource, id } => json!({"resource": resource, "id": id}),
        ErrorKind::InvalidRequest { violations } => {
            let each = violations.iter().map(|v| json!({"field": v.field, "description": v.description}));
            json!({"field": violations.first().map(|v| &v.field), "violations": each.collect::<Vec<_>>()})
        }
        ErrorKind::UnsupportedField { field, provider } => json!({"field": field, "provider": provider}),
        ErrorKind::RequestTooLarge { limit_bytes } => json!({"limit_bytes": limit_bytes}),
        ErrorKind::BudgetExceeded(budget) | ErrorKind::BudgetHeld(budget) => self::budget(budget),
        ErrorKind::CallCostCeiling { max_cost_nano_usd, needed_nano_usd } => {
            json!({"max_cost_nano_usd": max_cost_nano_usd, "needed_nano_usd": needed_nano_usd})
        }
        ErrorKind::PriceUnknown { model, deployment } => json!({"model": model, "deployment": deployment}),
        ErrorKind::IdempotencyMismatch { call_id } | ErrorKind::IdempotencyReplayUnavailable { call_id } => {
            json!({"call_id": call_id})
        }
        ErrorKind::Provider(failure) => json!({
            "provider": failure.provider,
            "deployment": failure.deployment,
            "upstream_status": failure.upstream_status,
        }),
        ErrorKind::RateLimited { scope, limit, dimension } => {
            json!({"scope": scope, "limit": limit, "dimension": dimension})
        }
        _ => json!({}),
    };
    match fields {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

fn budget(budget: &BudgetState) -> Value {
    json!({
        "scope": budget.scope,
        "budget_id": budget.budget_id,
        "limit_nano_usd": budget.limit_nano_usd,
        "spent_nano_usd": budget.spent_nano_usd,
        "held_nano_usd": budget.held_nano_usd,
        "needed_nano_usd": budget.needed_nano_usd,
        "resets_at": budget.resets_at,
    })
}

/// The code's name in gRPC's own spelling.
fn code(code: tonic::Code) -> String {
    let mut name = String::new();
    for (at, letter) in format!("{code:?}").chars().enumerate() {
        if at > 0 && letter.is_uppercase() {
            name.push('_');
        }
        name.extend(letter.to_uppercase());
    }
    name
}
