//! Files and batches at Mistral: "Files" and "Batch" of its API reference. Files are OpenAI's; a batch is a job there, with other names for
//! everything, and its lines are requests in Mistral's own words.

use bytes::Bytes;
use http::{Method, header};
use serde_json::{Map, Value, json, value::RawValue};
use tollgate_domain::{Class, Failure};
use tollgate_proto::v1::Dialect;

use super::{Mistral, embed, request};
use crate::{
    ChatCall, EmbedCall, Mode, Provider, Target,
    exchange::heeded,
    files::{Files, Line, LineAsk, built},
    json::Object,
    provider::cannot,
};

/// The longest that a job may take, in hours.
const MOST_HOURS: u64 = 168;

impl Files for Mistral {
    fn request(
        &self,
        target: &Target,
        method: Method,
        path: &str,
        content_type: Option<&str>,
        body: Bytes,
    ) -> Result<http::Request<Bytes>, Failure> {
        let path = match path.strip_prefix("/batches") {
            Some(rest) => format!("/batch/jobs{rest}"),
            None => path.to_owned(),
        };
        let request = built(method, format!("{}{path}", target.base_url), content_type, body)?;
        target.dress(request, header::AUTHORIZATION, "Bearer ")
    }

    fn line(&self, target: &Target, line: &Line<'_>) -> Result<String, Failure> {
        let written = match line.request {
            LineAsk::Chat(request) if line.url == "/v1/chat/completions" => {
                let call = ChatCall {
                    output_cap: line.cap,
                    drop_params: line.drop_params,
                    ..ChatCall::new(request, Mode::Whole)
                };
                request::body(target, &call)?
            }
            LineAsk::Embedding(request) => {
                let call = EmbedCall {
                    request,
                    want_native: Dialect::Unspecified,
                    drop_params: line.drop_params,
                    attempt_id: "",
                    traceparent: None,
                };
                embed::body(target, &call)?
            }
            _ => return Err(cannot("url", "must be /v1/chat/completions or /v1/embeddings for mistral")),
        };
        let _dropped = heeded(self.name(), written.unsupported, line.drop_params)?;
        let members: std::collections::BTreeMap<String, &RawValue> = serde_json::from_str(line.written)
            .map_err(|error| Failure::new(Class::InvalidRequest, error.to_string()))?;
        let mut object = Object::default();
        if let Some(custom_id) = members.get("custom_id") {
            object.raw("custom_id", custom_id.get());
        }
        object.raw("body", &String::from_utf8_lossy(&written.body));
        Ok(object.finish())
    }

    fn deletes_files(&self) -> bool {
        false
    }

    fn begins(&self, target: &Target, mut asked: Map<String, Value>) -> Result<Map<String, Value>, Failure> {
        let mut take = |name: &str| asked.shift_remove(name).unwrap_or_default();
        let window = take("completion_window");
        let hours = window.as_str().and_then(|text| text.strip_suffix('h')?.parse::<u64>().ok());
        let Some(hours) = hours.filter(|hours| (1..=MOST_HOURS).contains(hours)) else {
            return Err(cannot("completion_window", "must be 1h to 168h for mistral"));
        };
        let job = json!({
            "input_files": [take("input_file_id")], "endpoint": take("endpoint"), "model": target.model,
            "timeout_hours": hours, "metadata": take("metadata"),
        });
        if let Some(name) = asked.keys().next() {
            return Err(cannot(name, "is not known to mistral"));
        }
        let Value::Object(mut job) = job else { return Ok(Map::new()) };
        job.retain(|_, value| !value.is_null());
        Ok(job)
    }

    fn told(&self, job: Map<String, Value>) -> Map<String, Value> {
        let get = |name: &str| job.get(name).cloned().unwrap_or_default();
        let count = |name: &str| job.get(name).and_then(Value::as_i64).unwrap_or(0);
        let native = job.get("status").and_then(Value::as_str).unwrap_or_default();
        let status = match native {
            "QUEUED" => "validating",
            "RUNNING" => "in_progress",
            "SUCCESS" => "completed",
            "FAILED" => "failed",
            "TIMEOUT_EXCEEDED" => "expired",
            "CANCELLATION_REQUESTED" => "cancelling",
            "CANCELLED" => "cancelled",
            other => other,
        };
        let errors: Vec<Value> = job.get("errors").and_then(Value::as_array).into_iter().flatten().cloned().collect();
        // What is not counted is not nothing.
        let counts = job.get("succeeded_requests").filter(|count| count.is_i64()).map(|succeeded| {
            json!({"total": count("total_requests"), "completed": succeeded, "failed": count("failed_requests")})
        });
        let mut batch = json!({
            "id": get("id"), "object": "batch", "endpoint": get("endpoint"), "model": get("model"),
            "errors": match errors.is_empty() { true => Value::Null, false => json!({"object": "list", "data": errors}) },
            "input_file_id": get("input_files").get(0).cloned().unwrap_or_default(),
            "status": status, "output_file_id": get("output_file"), "error_file_id": get("error_file"),
            "created_at": get("created_at"), "in_progress_at": get("started_at"), "metadata": get("metadata"),
            "request_counts": counts,
        });
        if let "completed" | "failed" | "expired" | "cancelled" = status {
            batch[format!("{status}_at")] = get("completed_at");
        }
        match batch {
            Value::Object(batch) => batch,
            _ => Map::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_of_a_job_has_a_word_of_openais() {
        let told = |status: &str| {
            let Value::Object(job) = json!({"id": "j", "status": status, "completed_at": 7, "errors": []}) else {
                panic!()
            };
            Mistral.told(job)
        };
        for (job, batch) in [
            ("QUEUED", "validating"),
            ("RUNNING", "in_progress"),
            ("SUCCESS", "completed"),
            ("FAILED", "failed"),
            ("TIMEOUT_EXCEEDED", "expired"),
            ("CANCELLATION_REQUESTED", "cancelling"),
            ("CANCELLED", "cancelled"),
            ("NEW_WORD", "NEW_WORD"),
        ] {
            assert_eq!(told(job)["status"], batch);
        }
        assert_eq!((&told("SUCCESS")["completed_at"], &told("SUCCESS")["errors"]), (&json!(7), &Value::Null));
        assert!(told("RUNNING").get("completed_at").is_none());
    }

    #[test]
    fn counts_of_a_job_are_told_as_far_as_it_has_them() {
        let told = |job: Value| {
            let Value::Object(job) = job else { panic!() };
            Mistral.told(job)["request_counts"].clone()
        };
        let counted = json!({"id": "j", "total_requests": 3, "succeeded_requests": 2, "failed_requests": 1});
        assert_eq!(told(counted), json!({"total": 3, "completed": 2, "failed": 1}));
        assert_eq!(told(json!({"id": "j", "status": "SUCCESS"})), Value::Null);
    }
}
