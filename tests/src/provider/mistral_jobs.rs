//! Mistral's jobs: batches by other names, whose lines are requests and nothing else.

use bytes::Bytes;
use hyper::StatusCode;
use serde_json::{Value, json};

use super::batches::{Refused, lines, refused};

/// What a chat of Mistral's may have in it.
const OF_CHATS: [&str; 16] = [
    "model",
    "messages",
    "max_tokens",
    "temperature",
    "top_p",
    "random_seed",
    "stop",
    "n",
    "tools",
    "tool_choice",
    "response_format",
    "frequency_penalty",
    "presence_penalty",
    "parallel_tool_calls",
    "reasoning_effort",
    "safe_prompt",
];

/// A job that is asked for, as a batch.
pub(super) fn asked(job: &Value, content: impl Fn(&str) -> Option<Bytes>) -> Result<Value, Refused> {
    let wrong = |message: String| refused(StatusCode::UNPROCESSABLE_ENTITY, message);
    let known = ["input_files", "endpoint", "model", "metadata", "timeout_hours"];
    if let Some(name) = job.as_object().and_then(|job| job.keys().find(|name| !known.contains(&name.as_str()))) {
        return Err(wrong(format!("Extra inputs are not permitted: {name}")));
    }
    if !job["model"].is_string() || !job["timeout_hours"].is_u64() {
        return Err(wrong("model and timeout_hours: Field required".into()));
    }
    let input = job["input_files"][0].as_str().unwrap_or_default();
    for line in lines(&content(input).unwrap_or_default()) {
        let members = line.as_object().into_iter().flat_map(|line| line.keys());
        if let Some(name) = members.into_iter().find(|name| !["custom_id", "body"].contains(&name.as_str())) {
            return Err(wrong(format!("a line: Extra inputs are not permitted: {name}")));
        }
        let members = line["body"].as_object().into_iter().flat_map(|body| body.keys());
        if let Some(name) = members.into_iter().find(|name| !OF_CHATS.contains(&name.as_str())) {
            return Err(wrong(format!("a line's body: Extra inputs are not permitted: {name}")));
        }
    }
    Ok(json!({
        "input_file_id": input, "endpoint": job["endpoint"], "completion_window": format!("{}h", job["timeout_hours"]),
        "metadata": job["metadata"], "model": job["model"],
    }))
}

/// A batch as a job.
pub(super) fn told(batch: &Value) -> Value {
    let status = match batch["status"].as_str().unwrap_or_default() {
        "validating" => "QUEUED",
        "in_progress" => "RUNNING",
        "completed" => "SUCCESS",
        "failed" => "FAILED",
        "expired" => "TIMEOUT_EXCEEDED",
        "cancelling" => "CANCELLATION_REQUESTED",
        _ => "CANCELLED",
    };
    let counts = &batch["request_counts"];
    let (succeeded, failed) = (counts["completed"].as_u64().unwrap_or(0), counts["failed"].as_u64().unwrap_or(0));
    let ended = if batch["output_file_id"].is_string() { json!(1_700_000_600) } else { Value::Null };
    json!({
        "id": batch["id"], "object": "batch", "input_files": [batch["input_file_id"]], "metadata": batch["metadata"],
        "endpoint": batch["endpoint"], "model": batch["model"], "agent_id": null, "output_file": batch["output_file_id"],
        "error_file": batch["error_file_id"], "errors": [], "status": status, "created_at": batch["created_at"],
        "total_requests": counts["total"], "completed_requests": succeeded + failed, "succeeded_requests": succeeded,
        "failed_requests": failed, "started_at": 1_700_000_100, "completed_at": ended,
    })
}
