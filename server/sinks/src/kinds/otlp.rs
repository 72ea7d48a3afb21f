//! <https://opentelemetry.io/docs/specs/otlp/#otlphttp>: logs, as protobuf over HTTP.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};
use opentelemetry_proto::tonic::{
    collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse},
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value},
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs, SeverityNumber},
    resource::v1::Resource,
};
use prost::Message;
use serde_json::Value;
use tollgate_domain::Secret;
use tollgate_outbound::Poster;

use super::{below, gzip, headers, post};
use crate::{
    Event, json,
    target::{Report, Target, Why, judged},
};

/// A collector.
#[derive(Clone, Debug)]
pub struct Otlp {
    /// Base URL, up to but without `/v1/logs`.
    pub endpoint: String,
    /// Headers sent along.
    pub headers: Vec<(String, Secret)>,
    /// `service.name` of the resource.
    pub service: String,
}

impl Otlp {
    pub(super) fn open(self, replica: &str) -> Result<Client, String> {
        Ok(Client {
            url: below(&self.endpoint, "/v1/logs", "endpoint")?,
            headers: headers(&self.headers)?,
            resource: Resource {
                attributes: vec![
                    text("service.name", &self.service),
                    text("service.instance.id", replica),
                    text("service.version", env!("CARGO_PKG_VERSION")),
                ],
                ..Resource::default()
            },
            poster: Poster::new(),
        })
    }
}

pub(super) struct Client {
    url: String,
    headers: Vec<(HeaderName, HeaderValue)>,
    resource: Resource,
    poster: Poster,
}

fn text(key: &str, value: &str) -> KeyValue {
    KeyValue { key: key.into(), value: Some(any(&Value::from(value))), ..KeyValue::default() }
}

/// JSON in OTLP's words.
fn any(value: &Value) -> AnyValue {
    use any_value::Value as Any;
    let value = match value {
        Value::Null => None,
        Value::Bool(is) => Some(Any::BoolValue(*is)),
        Value::Number(number) => Some(match number.as_i64() {
            Some(whole) => Any::IntValue(whole),
            None => Any::StringValue(number.to_string()),
        }),
        Value::String(text) => Some(Any::StringValue(text.clone())),
        Value::Array(items) => {
            let values = items.iter().map(any).collect();
            Some(Any::ArrayValue(opentelemetry_proto::tonic::common::v1::ArrayValue { values }))
        }
        Value::Object(map) => {
            let values = map.iter().map(|(key, value)| named(key, value)).collect();
            Some(Any::KvlistValue(opentelemetry_proto::tonic::common::v1::KeyValueList { values }))
        }
    };
    AnyValue { value }
}

fn named(key: &str, value: &Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(any(value)), ..KeyValue::default() }
}

fn log(event: &Event) -> LogRecord {
    let record = event.record();
    let severity = if event.error().is_some() { SeverityNumber::Error } else { SeverityNumber::Info };
    let attributes = json::whole(event).iter().map(|(key, value)| named(&format!("tollgate.{key}"), value)).collect();
    let nanoseconds = u64::try_from(event.end_us()).unwrap_or(0).saturating_mul(1_000);
    LogRecord {
        time_unix_nano: nanoseconds,
        observed_time_unix_nano: nanoseconds,
        severity_number: severity as i32,
        severity_text: if event.error().is_some() { "ERROR" } else { "INFO" }.into(),
        event_name: "tollgate.call".into(),
        body: Some(any(&Value::from(format!("{} {} {}", record.action, record.model, event.error().unwrap_or("OK"))))),
        attributes,
        ..LogRecord::default()
    }
}

#[async_trait]
impl Target for Client {
    async fn send(&self, batch: &[Event], limit: Duration) -> Report {
        let scope = InstrumentationScope { name: "tollgate.sinks".into(), ..InstrumentationScope::default() };
        let logs =
            ScopeLogs { scope: Some(scope), log_records: batch.iter().map(log).collect(), ..ScopeLogs::default() };
        let of =
            ResourceLogs { resource: Some(self.resource.clone()), scope_logs: vec![logs], ..ResourceLogs::default() };
        let body = ExportLogsServiceRequest { resource_logs: vec![of] }.encode_to_vec();
        let mut request = post(&self.url, "application/x-protobuf").header("content-encoding", "gzip");
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let Ok(request) = request.body(Bytes::from(gzip(&body))) else {
            return Report::none(Why::Refused("makes no request".into()));
        };
        match judged(self.poster.send(request, limit).await) {
            Ok(answer) if answer.status == StatusCode::OK => {
                let told = ExportLogsServiceResponse::decode(answer.body).unwrap_or_default();
                let rejected = told.partial_success.map_or(0, |partly| partly.rejected_log_records);
                Report { refused: usize::try_from(rejected).unwrap_or(0).min(batch.len()), ..Report::all(batch) }
            }
            Ok(_) => Report::all(batch),
            Err(why) => Report::none(why),
        }
    }
}
