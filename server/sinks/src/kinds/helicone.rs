//! <https://docs.helicone.ai/getting-started/integration-method/manual-logger-curl>: a request for each call.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderValue;
use serde_json::{Map, Value, json};
use tollgate_domain::Secret;
use tollgate_outbound::Poster;

use super::{checked, post, secret_header};
use crate::{
    Event, json,
    target::{Report, Target, one_by_one},
};

/// Helicone's log of calls that did not go through it.
#[derive(Clone, Debug)]
pub struct Helicone {
    /// The whole URL: `https://api.worker.helicone.ai/custom/v1/log`, or that of one's own.
    pub url: String,
    /// `sk-helicone-...`.
    pub api_key: Secret,
}

impl Helicone {
    pub(super) fn open(self) -> Result<Client, String> {
        Ok(Client {
            url: checked(&self.url, "url")?,
            authorization: secret_header(&format!("Bearer {}", self.api_key.expose()), "api_key")?,
            poster: Poster::new(),
        })
    }
}

pub(super) struct Client {
    url: String,
    authorization: HeaderValue,
    poster: Poster,
}

fn body(event: &Event) -> Value {
    let record = event.record();
    let usage = record.usage.as_ref();
    let (input, output) = usage.map_or((0, 0), |usage| {
        (usage.input.map_or(0, |input| input.total), usage.output.map_or(0, |output| output.total))
    });
    let mut answer = json!({
        "id": event.trace_id(),
        "model": record.model,
        "usage": { "prompt_tokens": input, "completion_tokens": output, "total_tokens": input.saturating_add(output) },
    });
    if let Some(error) = event.error() {
        answer["error"] = json!({ "message": error, "type": error });
    }
    let mut timing = json!({ "startTime": moment(event.start_us()), "endTime": moment(event.end_us()) });
    if let Some(first) = event.attempt().and_then(|attempt| attempt.first_content_us) {
        timing["timeToFirstToken"] = json!(first / 1_000);
    }
    json!({
        "providerRequest": {
            "url": "custom-model-nopath",
            "json": { "model": record.model },
            "meta": meta(event),
        },
        "providerResponse": { "json": answer, "status": status(event), "headers": {} },
        "timing": timing,
    })
}

/// Texts by name: what Helicone filters and groups by.
fn meta(event: &Event) -> Map<String, Value> {
    let record = event.record();
    let mut meta = Map::new();
    meta.insert("Helicone-Request-Id".into(), json!(event.id));
    if !event.user_id.is_empty() {
        meta.insert("Helicone-User-Id".into(), json!(event.user_id));
    }
    let known = [
        ("Call", record.call_id.clone()),
        ("Action", record.action.clone()),
        ("Key", record.key_id.clone()),
        ("Team", event.team_id.clone()),
        ("Organization", event.organization_id.clone()),
        ("Tags", record.tags.join(",")),
        ("Provider", event.attempt().map(|a| a.provider.clone()).unwrap_or_default()),
        ("Cost-Usd", event.cost_usd().unwrap_or_default()),
    ];
    let given = json::object(&record.metadata).into_iter().filter_map(|(k, v)| Some((k, v.as_str()?.to_owned())));
    for (name, value) in known.into_iter().map(|(name, value)| (name.to_owned(), value)).chain(given) {
        if !value.is_empty() {
            meta.insert(format!("Helicone-Property-{name}"), json!(value));
        }
    }
    meta
}

/// The provider's, where one answered; else what stands for success and failure.
fn status(event: &Event) -> u32 {
    match event.attempt().map_or(0, |attempt| attempt.upstream_status) {
        0 if event.error().is_some() => 500,
        0 => 200,
        status => status,
    }
}

fn moment(us: i64) -> Value {
    json!({ "seconds": us.div_euclid(1_000_000), "milliseconds": us.rem_euclid(1_000_000) / 1_000 })
}

#[async_trait]
impl Target for Client {
    async fn send(&self, batch: &[Event], limit: Duration) -> Report {
        let request = |event: &Event| {
            let request = post(&self.url, "application/json").header("authorization", self.authorization.clone());
            request.body(Bytes::from(body(event).to_string()))
        };
        one_by_one(&self.poster, batch, limit, request).await
    }

    /// Helicone observes calls.
    fn wants(&self, event: &Event) -> bool {
        !event.record().call_id.is_empty()
    }
}
