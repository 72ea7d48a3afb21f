//! What each receiver requires, and that it gets it.

use std::time::Duration;

use axum::http::StatusCode;
use hmac::{Hmac, KeyInit, Mac};
use opentelemetry_proto::tonic::{
    collector::logs::v1::{ExportLogsPartialSuccess, ExportLogsServiceRequest, ExportLogsServiceResponse},
    common::v1::{AnyValue, any_value},
};
use prost::Message;
use serde_json::{Value, json};
use tollgate_domain::Secret;
use tollgate_sinks::{
    Act, Batching, Datadog, Field, Filter, Helicone, Kind, Langfuse, Otlp, Redaction, Sampling, Sentry, Webhook,
};

use crate::support::{Mood, Receiver, Request, World, each, eventually, expect, failed, hasty, id, is_time, record};

/// A receiver of each kind that speaks HTTP, and the sink that leads there.
pub(crate) fn all() -> Vec<(&'static str, Receiver, Kind)> {
    vec![langfuse(), helicone(), datadog(), sentry(), webhook(), otlp(), crate::objects::s3_like()]
}

pub(crate) fn langfuse() -> (&'static str, Receiver, Kind) {
    let receiver = Receiver::start(read_langfuse, StatusCode::MULTI_STATUS);
    let kind = Kind::Langfuse(Langfuse {
        host: receiver.url.clone(),
        public_key: Secret::new("pk-lf-1"),
        secret_key: Secret::new("sk-lf-2"),
        environment: Some("test".into()),
    });
    ("langfuse", receiver, kind)
}

/// `POST /api/public/ingestion`: envelopes of `id`, `type`, `timestamp`, `body`; of a generation id, trace, times, model, usage, cost.
fn read_langfuse(request: &Request) -> Result<Vec<Value>, String> {
    request.posted_to("/api/public/ingestion")?;
    request.requires("content-type", "application/json")?;
    request.requires("authorization", "Basic cGstbGYtMTpzay1sZi0y")?;
    let items = each(&request.json()?["batch"], &["id", "type", "timestamp", "body"])?;
    let mut seen = std::collections::HashSet::new();
    let mut generations = Vec::new();
    let mut traces = std::collections::HashSet::new();
    for item in items {
        expect(seen.insert(item["id"].to_string()), "an id twice", &item)?;
        expect(is_time(&item["timestamp"]), "timestamp", &item)?;
        let body = &item["body"];
        match item["type"].as_str() {
            Some("trace-create") => {
                traces.insert(body["id"].to_string());
                expect(is_time(&body["timestamp"]) && body["name"].is_string(), "trace", body)?;
            }
            Some("generation-create") => {
                expect(traces.contains(&body["traceId"].to_string()), "its trace comes first", body)?;
                expect(is_time(&body["startTime"]) && is_time(&body["endTime"]), "times", body)?;
                expect(body["startTime"].as_str() < body["endTime"].as_str(), "order of times", body)?;
                expect(body["usageDetails"].as_object().is_some_and(|u| u.values().all(Value::is_u64)), "usage", body)?;
                expect(body["costDetails"]["total"].is_f64(), "cost", body)?;
                expect(["DEFAULT", "ERROR"].contains(&body["level"].as_str().unwrap_or("")), "level", body)?;
                generations.push(body.clone());
            }
            _ => return Err(format!("type: {item}")),
        }
    }
    Ok(generations)
}

pub(crate) fn helicone() -> (&'static str, Receiver, Kind) {
    let receiver = Receiver::start(read_helicone, StatusCode::OK);
    let url = format!("{}/custom/v1/log", receiver.url);
    ("helicone", receiver, Kind::Helicone(Helicone { url, api_key: Secret::new("sk-helicone-1") }))
}

/// `POST /custom/v1/log`: `providerRequest` {`url`, `json`, `meta`: texts}, `providerResponse` {`json`, `status`, `headers`}, `timing`.
fn read_helicone(request: &Request) -> Result<Vec<Value>, String> {
    request.posted_to("/custom/v1/log")?;
    request.requires("content-type", "application/json")?;
    request.requires("authorization", "Bearer sk-helicone-1")?;
    let body = request.json()?;
    let (asked, answered, timing) = (&body["providerRequest"], &body["providerResponse"], &body["timing"]);
    expect(asked["url"] == "custom-model-nopath", "url", asked)?;
    expect(asked["json"].is_object(), "json", asked)?;
    let meta = asked["meta"].as_object().ok_or("meta")?;
    expect(meta.values().all(Value::is_string), "meta has texts alone", asked)?;
    expect(
        answered["json"].is_object() && answered["status"].is_u64() && answered["headers"].is_object(),
        "answer",
        answered,
    )?;
    for time in ["startTime", "endTime"] {
        expect(timing[time]["seconds"].is_i64() && timing[time]["milliseconds"].is_i64(), time, timing)?;
    }
    Ok(vec![json!({ "id": meta["Helicone-Request-Id"], "meta": meta, "answer": answered["json"] })])
}

pub(crate) fn datadog() -> (&'static str, Receiver, Kind) {
    let receiver = Receiver::start(read_datadog, StatusCode::ACCEPTED);
    let kind = Kind::Datadog(Datadog {
        url: receiver.url.clone(),
        api_key: Secret::new("dd-key"),
        service: "tollgate".into(),
        tags: vec!["env:test".into(), "team:core".into()],
    });
    ("datadog", receiver, kind)
}

/// `POST /api/v2/logs`: gzipped arrays of at most 1,000 logs, each of at most 1 MB.
fn read_datadog(request: &Request) -> Result<Vec<Value>, String> {
    request.posted_to("/api/v2/logs")?;
    request.requires("content-type", "application/json")?;
    request.requires("dd-api-key", "dd-key")?;
    let logs = serde_json::from_slice(&request.gunzipped()?).map_err(|e| e.to_string())?;
    let logs = each(&logs, &["message", "ddsource", "ddtags", "hostname", "service", "status", "timestamp"])?;
    for log in &logs {
        expect(log["ddtags"] == "env:test,team:core", "ddtags", log)?;
        expect(log.to_string().len() < 1_000_000, "size", log)?;
    }
    expect(logs.len() <= 1_000, "count", &crate::support::none())?;
    Ok(logs)
}

pub(crate) fn sentry() -> (&'static str, Receiver, Kind) {
    let receiver = Receiver::start(read_sentry, StatusCode::OK);
    let dsn = Secret::new(format!("{}/42", receiver.url.replace("http://", "http://publickey@")));
    ("sentry", receiver, Kind::Sentry(Sentry { dsn, environment: Some("test".into()) }))
}

/// `POST /api/PROJECT/envelope/`: a header, then for each item its header with its exact length, and its payload.
fn read_sentry(request: &Request) -> Result<Vec<Value>, String> {
    request.posted_to("/api/42/envelope/")?;
    request.requires("content-type", "application/x-sentry-envelope")?;
    let auth = request.header("x-sentry-auth");
    let has = |part: &str| auth.contains(part);
    if !auth.starts_with("Sentry ")
        || !has("sentry_version=7")
        || !has("sentry_key=publickey")
        || !has("sentry_client=")
    {
        return Err(format!("x-sentry-auth: {auth}"));
    }
    let text = String::from_utf8(request.body.clone()).map_err(|e| e.to_string())?;
    let mut lines = text.splitn(3, '\n');
    let mut next = || serde_json::from_str::<Value>(lines.next().unwrap_or_default()).map_err(|e| e.to_string());
    let (head, item) = (next()?, next()?);
    let payload = lines.next().unwrap_or_default().trim_end_matches('\n');
    let event: Value = serde_json::from_str(payload).map_err(|e| e.to_string())?;
    let is_id = |id: &Value| id.as_str().is_some_and(|id| id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()));
    expect(is_id(&head["event_id"]) && head["event_id"] == event["event_id"], "event_id", &head)?;
    expect(item["type"] == "event" && item["length"] == payload.len(), "item", &item)?;
    expect(is_time(&event["timestamp"]) && event["platform"] == "other" && event["level"] == "error", "event", &event)?;
    expect(event["exception"]["values"][0]["type"].is_string(), "exception", &event)?;
    Ok(vec![json!({ "id": event["extra"]["id"], "event": event })])
}

pub(crate) fn webhook() -> (&'static str, Receiver, Kind) {
    let receiver = Receiver::start(read_webhook, StatusCode::NO_CONTENT);
    let kind = Kind::Webhook(Webhook {
        url: Secret::new(format!("{}/calls?token=1", receiver.url)),
        secret: Some(Secret::new("shared")),
        headers: vec![("x-team".into(), Secret::new("core"))],
    });
    ("webhook", receiver, kind)
}

/// As a receiver would check the signature: by its own arithmetic.
fn read_webhook(request: &Request) -> Result<Vec<Value>, String> {
    request.posted_to("/calls")?;
    request.requires("content-type", "application/json")?;
    request.requires("x-team", "core")?;
    let signature = request.header("tollgate-signature");
    let (time, hex) = signature.strip_prefix("t=").and_then(|s| s.split_once(",v1=")).ok_or("no signature")?;
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(b"shared").map_err(|e| e.to_string())?;
    mac.update([time.as_bytes(), b".", &request.body].concat().as_slice());
    let right: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    if right != hex {
        return Err(format!("signature: {hex} instead of {right}"));
    }
    each(&request.json()?, &["id", "time", "action", "call_id", "status", "model", "cost_nano_usd", "cost_usd"])
}

pub(crate) fn otlp() -> (&'static str, Receiver, Kind) {
    let receiver = Receiver::start(read_otlp, StatusCode::OK);
    let kind = Kind::Otlp(Otlp {
        endpoint: receiver.url.clone(),
        headers: vec![("x-tenant".into(), Secret::new("one"))],
        service: "gateway".into(),
    });
    ("otlp", receiver, kind)
}

fn text(value: Option<&AnyValue>) -> String {
    match value.and_then(|value| value.value.as_ref()) {
        Some(any_value::Value::StringValue(text)) => text.clone(),
        Some(any_value::Value::IntValue(number)) => number.to_string(),
        _ => String::new(),
    }
}

/// `POST /v1/logs`: `ExportLogsServiceRequest`, of the official protos.
fn read_otlp(request: &Request) -> Result<Vec<Value>, String> {
    request.posted_to("/v1/logs")?;
    request.requires("content-type", "application/x-protobuf")?;
    request.requires("x-tenant", "one")?;
    let export = ExportLogsServiceRequest::decode(request.gunzipped()?.as_slice()).map_err(|e| e.to_string())?;
    let mut events = Vec::new();
    for of in export.resource_logs {
        let resource = of.resource.ok_or("no resource")?;
        let service = resource.attributes.iter().find(|a| a.key == "service.name").and_then(|a| a.value.as_ref());
        expect(text(service) == "gateway", "service.name", &crate::support::none())?;
        for log in of.scope_logs.into_iter().flat_map(|scope| scope.log_records) {
            let attribute =
                |name: &str| text(log.attributes.iter().find(|a| a.key == name).and_then(|a| a.value.as_ref()));
            expect(
                log.time_unix_nano > 0 && log.severity_number > 0 && log.body.is_some(),
                "log",
                &crate::support::none(),
            )?;
            events.push(json!({ "id": attribute("tollgate.id"), "cost": attribute("tollgate.cost_nano_usd"), "severity": log.severity_text }));
        }
    }
    Ok(events)
}

#[test]
fn every_receiver_gets_what_it_requires_in_order() {
    let mut receivers = Vec::new();
    let mut sinks = Vec::new();
    for (name, receiver, kind) in all() {
        receivers.push((name, receiver));
        sinks.push(hasty(name, kind));
    }
    let world = World::with(sinks);
    (0..25).for_each(|n| world.publish_one(&if n % 5 == 0 { failed(n) } else { record(n) }));
    for (name, receiver) in receivers {
        let only_failures = name == "sentry";
        let expected: Vec<_> = (0..25).filter(|n| !only_failures || n % 5 == 0).map(id).collect();
        let got = eventually(name, || receiver.ids(), |ids| ids.len() >= expected.len());
        assert_eq!(got, expected, "{name}");
    }
}

#[test]
fn figures_arrive_as_they_are_in_the_ledger() {
    let (_, receiver, kind) = langfuse();
    let world = World::with(vec![hasty("langfuse", kind)]);
    world.publish(0..1);
    let generation = eventually("it arrives", || receiver.taken(), |taken| !taken.is_empty()).remove(0);
    let usage = json!({ "input": 60, "input_cached_read": 40, "output": 15, "output_reasoning": 5, "total": 120 });
    assert_eq!(generation["usageDetails"], usage);
    assert_eq!(generation["costDetails"].to_string(), r#"{"total":0.001234567}"#);
    assert_eq!(generation["startTime"], "2025-11-22T01:59:59.500000Z");
    assert_eq!(generation["completionStartTime"], "2025-11-22T01:59:59.620000Z");
    assert_eq!(generation["metadata"]["team_id"], "team_1");
}

#[test]
fn what_langfuse_refuses_alone_is_counted_and_what_it_cannot_do_now_is_sent_again() {
    let (_, receiver, kind) = langfuse();
    let refused = json!({ "successes": [], "errors": [{ "id": id(1), "status": 400, "message": "bad" }] });
    receiver.is(Mood::Says(StatusCode::MULTI_STATUS, refused));
    let world = World::with(vec![hasty("langfuse", kind)]);
    world.publish(0..3);
    let stats = eventually("they are dealt with", || world.stats(0), |s| s.delivered + s.dropped.total() == 3);
    assert_eq!((stats.delivered, stats.dropped.refused), (2, 1));
    let later = json!({ "successes": [], "errors": [{ "id": id(3), "status": 503 }] });
    receiver.is(Mood::Says(StatusCode::MULTI_STATUS, later));
    world.publish(3..4);
    eventually("it fails", || world.stats(0), |stats| stats.failures >= 2);
    receiver.is(Mood::Takes);
    eventually("it is sent again", || world.stats(0), |stats| stats.delivered == 3);
}

#[test]
fn one_record_that_is_refused_keeps_no_other_from_arriving() {
    let (_, receiver, kind) = webhook();
    receiver.is(Mood::Refuses("call_000013".into()));
    let world = World::with(vec![hasty("webhook", kind)]);
    world.publish(0..40);
    let stats = eventually("they are dealt with", || world.stats(0), |s| s.delivered + s.dropped.total() == 40);
    assert_eq!((stats.delivered, stats.dropped.refused), (39, 1));
    assert_eq!(receiver.ids(), (0..40).filter(|n| *n != 13).map(id).collect::<Vec<_>>());
}

#[test]
fn a_sink_takes_what_its_filter_and_its_sample_let_through() {
    let ((_, of_failures, to_failures), (_, of_sample, to_sample)) = (webhook(), webhook());
    let mut filtered = hasty("filtered", to_failures);
    filtered.filter = Filter { only_failures: true, ..Filter::default() };
    let mut sampled = hasty("sampled", to_sample);
    sampled.sampling = Sampling { per_million: 0, all_failures: true };
    let world = World::with(vec![filtered, sampled]);
    // The last is one that both take: what came before it has been decided by then.
    (0..20).for_each(|n| world.publish_one(&if n % 5 == 4 { failed(n) } else { record(n) }));
    for (name, receiver) in [("filtered", of_failures), ("sampled", of_sample)] {
        let got = eventually(name, || receiver.ids(), |ids| ids.last() == Some(&id(19)));
        assert_eq!(got, [4, 9, 14, 19].map(id), "{name}");
    }
}

/// One batch of exactly so many records.
fn at_once(max_records: usize) -> Batching {
    Batching { max_records, max_bytes: 64 << 20, max_age: Duration::from_secs(3_600) }
}

#[test]
fn what_a_collector_rejects_in_part_counts_as_refused() {
    let (_, receiver, kind) = otlp();
    let partly = ExportLogsPartialSuccess { rejected_log_records: 2, error_message: "too old".into() };
    receiver.is(Mood::Answers(ExportLogsServiceResponse { partial_success: Some(partly) }.encode_to_vec()));
    let mut options = hasty("otlp", kind);
    options.batching = at_once(5);
    let world = World::with(vec![options]);
    world.publish(0..5);
    let stats = eventually("they are dealt with", || world.stats(0), |s| s.delivered + s.dropped.total() == 5);
    assert_eq!((stats.delivered, stats.dropped.refused), (3, 2));
}

#[test]
fn no_more_than_a_thousand_logs_go_to_datadog_at_once() {
    let (_, receiver, kind) = datadog();
    let mut options = hasty("datadog", kind);
    (options.batching, options.memory_records) = (at_once(2_500), 10_000);
    let world = World::with(vec![options]);
    world.publish(0..2_500);
    eventually("they are taken", || world.stats(0), |stats| stats.delivered == 2_500);
    // The receiver refuses more than it may be sent.
    assert_eq!((receiver.taken().len(), receiver.requests()), (2_500, 3));
}

#[test]
fn what_is_redacted_is_neither_sent_nor_written_to_disk() {
    let (_, receiver, kind) = webhook();
    receiver.is(Mood::Fails);
    let mut options = hasty("webhook", kind);
    options.redaction = Redaction(vec![
        (Field::Metadata, Act::Hash),
        (Field::Peer, Act::Drop),
        (Field::Tags, Act::Drop),
        (Field::User, Act::Hash),
    ]);
    let world = World::with(vec![options]);
    world.publish(0..5);
    eventually("they are on disk", || world.stats(0).spilled, |spilled| *spilled == 5);
    let mut told = String::new();
    for file in std::fs::read_dir(world.path().join("webhook")).unwrap() {
        told += &String::from_utf8_lossy(&std::fs::read(file.unwrap().path()).unwrap());
    }
    receiver.is(Mood::Takes);
    told += &json!(eventually("they arrive", || receiver.taken(), |taken| taken.len() == 5)).to_string();
    for secret in ["ann@example.org", "192.0.2.7", "nightly", "user_1"] {
        assert!(!told.contains(secret), "{secret}");
    }
    assert!(told.contains("call_000004") && told.contains("team_1"));
}
