//! <https://api.reference.langfuse.com/#tag/ingestion>: a trace and a generation for each call, by Basic authentication.

use std::time::Duration;

use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json, value::RawValue};
use tollgate_domain::Secret;
use tollgate_outbound::Poster;

use super::{below, post, secret_header};
use crate::{
    Event,
    event::rfc3339,
    json,
    target::{Report, Target, Why, judged},
};

/// Langfuse's own ingestion.
#[derive(Clone, Debug)]
pub struct Langfuse {
    /// Base URL: `https://cloud.langfuse.com`, `https://us.cloud.langfuse.com`, or one's own.
    pub host: String,
    /// The project's public key, `pk-lf-...`.
    pub public_key: Secret,
    /// Its secret key, `sk-lf-...`.
    pub secret_key: Secret,
    /// What traces are marked with: `production`, ...
    pub environment: Option<String>,
}

impl Langfuse {
    pub(super) fn open(self) -> Result<Client, String> {
        let pair = format!("{}:{}", self.public_key.expose(), self.secret_key.expose());
        Ok(Client {
            url: below(&self.host, "/api/public/ingestion", "host")?,
            authorization: secret_header(&format!("Basic {}", STANDARD.encode(pair)), "secret_key")?,
            environment: self.environment,
            poster: Poster::new(),
        })
    }
}

pub(super) struct Client {
    url: String,
    authorization: HeaderValue,
    environment: Option<String>,
    poster: Poster,
}

/// What its 207 says of events.
#[derive(Default, Deserialize)]
struct Answer {
    #[serde(default)]
    errors: Vec<Failed>,
}

#[derive(Deserialize)]
struct Failed {
    id: String,
    status: u16,
    #[serde(default)]
    message: Option<Value>,
}

#[derive(Serialize)]
struct Envelope<B> {
    id: String,
    r#type: &'static str,
    timestamp: String,
    body: B,
}

/// A generation. Its cost is written by the digits: no float touches money.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Generation<'a> {
    id: String,
    trace_id: &'a str,
    name: &'a str,
    start_time: String,
    end_time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    completion_start_time: Option<String>,
    model: &'a str,
    level: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    status_message: Option<&'static str>,
    usage_details: Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cost_details: Option<Cost>,
    metadata: Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    environment: Option<&'a str>,
}

#[derive(Serialize)]
struct Cost {
    total: Box<RawValue>,
}

impl Client {
    fn body(&self, batch: &[Event]) -> serde_json::Result<Vec<u8>> {
        let mut items = Vec::with_capacity(batch.len() * 2);
        for event in batch {
            items.push(serde_json::value::to_raw_value(&self.trace(event))?);
            items.push(serde_json::value::to_raw_value(&self.generation(event))?);
        }
        #[derive(Serialize)]
        struct Batch {
            batch: Vec<Box<RawValue>>,
        }
        serde_json::to_vec(&Batch { batch: items })
    }

    fn trace(&self, event: &Event) -> Envelope<Value> {
        let record = event.record();
        let mut body = json!({
            "id": event.trace_id(),
            "timestamp": rfc3339(event.start_us()),
            "name": record.action,
            "tags": record.tags,
            "metadata": json::object(&record.metadata),
        });
        if !event.user_id.is_empty() {
            body["userId"] = json!(event.user_id);
        }
        if let Some(session) = record.metadata.get("session_id") {
            body["sessionId"] = json!(session);
        }
        if let Some(environment) = &self.environment {
            body["environment"] = json!(environment);
        }
        Envelope { id: format!("{}-trace", event.id), r#type: "trace-create", timestamp: rfc3339(event.end_us()), body }
    }

    fn generation<'a>(&'a self, event: &'a Event) -> Envelope<Generation<'a>> {
        let record = event.record();
        let first = event.attempt().and_then(|attempt| attempt.first_content_us);
        let mut metadata = json::whole(event);
        for told_already in ["id", "time", "usage", "metadata", "tags", "model", "action"] {
            metadata.remove(told_already);
        }
        let body = Generation {
            id: event.id.clone(),
            trace_id: event.trace_id(),
            name: &record.action,
            start_time: rfc3339(event.start_us()),
            end_time: rfc3339(event.end_us()),
            completion_start_time: first.map(|us| rfc3339(event.start_us().saturating_add(us))),
            model: &record.model,
            level: if event.error().is_some() { "ERROR" } else { "DEFAULT" },
            status_message: event.error(),
            usage_details: usage(event),
            cost_details: event
                .cost_usd()
                .and_then(|cost| RawValue::from_string(cost).ok())
                .map(|total| Cost { total }),
            metadata,
            environment: self.environment.as_deref(),
        };
        Envelope { id: event.id.clone(), r#type: "generation-create", timestamp: rfc3339(event.end_us()), body }
    }
}

/// Parts that add up: Langfuse sums what it is told where there is no total.
fn usage(event: &Event) -> Map<String, Value> {
    let Some(usage) = &event.record().usage else { return Map::new() };
    let (input, output) = (usage.input.unwrap_or_default(), usage.output.unwrap_or_default());
    let written = input.cache_write_5m.saturating_add(input.cache_write_1h);
    let parts = [
        ("input", input.total.saturating_sub(input.cached_read).saturating_sub(written)),
        ("input_cached_read", input.cached_read),
        ("input_cache_write", written),
        ("output", output.total.saturating_sub(output.reasoning)),
        ("output_reasoning", output.reasoning),
        ("total", input.total.saturating_add(output.total)),
    ];
    parts.into_iter().filter(|(_, n)| *n > 0).map(|(name, n)| (name.to_owned(), json!(n))).collect()
}

#[async_trait]
impl Target for Client {
    async fn send(&self, batch: &[Event], limit: Duration) -> Report {
        let Ok(body) = self.body(batch) else { return Report::none(Why::Refused("cannot be written as JSON".into())) };
        let request = post(&self.url, "application/json").header("authorization", self.authorization.clone());
        let Ok(request) = request.body(Bytes::from(body)) else {
            return Report::none(Why::Refused("makes no request".into()));
        };
        let answer = match judged(self.poster.send(request, limit).await) {
            Ok(answer) => answer,
            Err(why) => return Report::none(why),
        };
        if answer.status != StatusCode::MULTI_STATUS {
            return Report::all(batch);
        }
        let told: Answer = serde_json::from_slice(&answer.body).unwrap_or_default();
        // All again: it knows events by their ids.
        if let Some(failed) = told.errors.iter().find(|failed| failed.status >= 500 || failed.status == 429) {
            let reason = format!("event {}: {} {:?}", failed.id, failed.status, failed.message);
            return Report::none(Why::Later { reason, after: None });
        }
        let is_refused = |event: &&Event| {
            told.errors.iter().any(|f| f.id == event.id || f.id.strip_suffix("-trace") == Some(&event.id))
        };
        Report { refused: batch.iter().filter(is_refused).count(), ..Report::all(batch) }
    }

    /// Langfuse observes calls.
    fn wants(&self, event: &Event) -> bool {
        !event.record().call_id.is_empty()
    }
}
