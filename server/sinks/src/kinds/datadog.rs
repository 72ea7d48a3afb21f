//! <https://docs.datadoghq.com/api/latest/logs/#send-logs>: arrays of at most 1,000 logs and 5 MB, gzipped.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderValue;
use serde_json::{Value, json};
use tollgate_domain::Secret;
use tollgate_outbound::Poster;

use super::{below, gzip, post, secret_header};
use crate::{
    Event, json,
    target::{Report, Target, Why, judged},
};

/// So many logs it takes at once.
const MOST: usize = 1_000;
/// So many bytes, and a margin for brackets and commas.
const LARGEST: usize = 4_900_000;

/// Datadog's intake of logs.
#[derive(Clone, Debug)]
pub struct Datadog {
    /// Base URL of the intake: `https://http-intake.logs.datadoghq.com`, `https://http-intake.logs.datadoghq.eu`, ...
    pub url: String,
    /// The API key.
    pub api_key: Secret,
    /// `service` of the logs.
    pub service: String,
    /// `ddtags` of the logs: `env:production`, ...
    pub tags: Vec<String>,
}

impl Datadog {
    pub(super) fn open(self, replica: &str) -> Result<Client, String> {
        Ok(Client {
            url: below(&self.url, "/api/v2/logs", "url")?,
            api_key: secret_header(self.api_key.expose(), "api_key")?,
            service: self.service,
            tags: self.tags.join(","),
            replica: replica.to_owned(),
            poster: Poster::new(),
        })
    }
}

pub(super) struct Client {
    url: String,
    api_key: HeaderValue,
    service: String,
    tags: String,
    replica: String,
    poster: Poster,
}

impl Client {
    fn log(&self, event: &Event) -> Value {
        let record = event.record();
        let mut log = json::whole(event);
        let outcome = event.error().unwrap_or("OK");
        // Attributes with a meaning of their own in Datadog: a date in milliseconds, a duration in nanoseconds.
        log.insert("ddsource".into(), json!("tollgate"));
        log.insert("ddtags".into(), json!(self.tags));
        log.insert("hostname".into(), json!(self.replica));
        log.insert("service".into(), json!(self.service));
        log.insert("status".into(), json!(if event.error().is_some() { "error" } else { "info" }));
        log.insert("message".into(), json!(format!("{} {} {outcome}", record.action, record.model)));
        log.insert("timestamp".into(), json!(event.end_us() / 1_000));
        log.insert("duration".into(), json!(record.duration_us.saturating_mul(1_000)));
        Value::Object(log)
    }

    /// As many of the first as fit into a request, and it.
    fn body(&self, batch: &[Event]) -> (usize, String) {
        let mut logs = String::from("[");
        let mut count = 0;
        for event in batch.iter().take(MOST) {
            let log = self.log(event).to_string();
            if count > 0 && logs.len() + log.len() > LARGEST {
                break;
            }
            logs.push_str(if count > 0 { "," } else { "" });
            logs.push_str(&log);
            count += 1;
        }
        logs.push(']');
        (count, logs)
    }
}

#[async_trait]
impl Target for Client {
    async fn send(&self, batch: &[Event], limit: Duration) -> Report {
        let mut done = 0;
        while done < batch.len() {
            let (count, body) = self.body(&batch[done..]);
            let request = post(&self.url, "application/json")
                .header("dd-api-key", self.api_key.clone())
                .header("content-encoding", "gzip");
            let Ok(request) = request.body(Bytes::from(gzip(body.as_bytes()))) else {
                return Report { done, why: Some(Why::Refused("makes no request".into())), ..Report::default() };
            };
            if let Err(why) = judged(self.poster.send(request, limit).await) {
                return Report { done, why: Some(why), ..Report::default() };
            }
            done += count;
        }
        Report::all(batch)
    }
}
