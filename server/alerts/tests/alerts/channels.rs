//! What each channel's receiver requires, and that it gets it.

use std::collections::BTreeMap;

use axum::http::{HeaderMap, StatusCode};
use serde_json::Value;
use tollgate_alerts::{Channel, Channels, Email, Notice, PagerDuty, Severity, Slack, SmtpSecurity, State, Webhook};
use tollgate_domain::Secret;

use crate::support::{Receiver, expect, json};

const KEY: &str = "R0UT1NGKEY0123456789abcdefghijkl";

/// An incoming webhook: `text`, and blocks of types that Slack knows, each with its text.
fn read_slack(path: &str, headers: &HeaderMap, body: &[u8]) -> Result<Value, String> {
    let message = json(headers, body)?;
    expect(path == "/services/T0/B0/xyz", path, &message)?;
    expect(message["text"].as_str().is_some_and(|text| !text.is_empty()), "text", &message)?;
    for block in message["blocks"].as_array().ok_or("blocks")? {
        let is_text = |text: &Value| {
            text["type"] == "mrkdwn" && text["text"].as_str().is_some_and(|t| (1..3_000).contains(&t.len()))
        };
        match block["type"].as_str() {
            Some("section") => expect(is_text(&block["text"]), "section", block)?,
            Some("context") => {
                expect(block["elements"].as_array().is_some_and(|e| e.iter().all(is_text)), "context", block)?
            }
            _ => return Err(format!("type: {block}")),
        }
    }
    Ok(message)
}

/// Events API v2: a key of 32 characters, an action, and of a trigger the payload's summary, source and severity.
pub(crate) fn read_pagerduty(path: &str, headers: &HeaderMap, body: &[u8]) -> Result<Value, String> {
    let event = json(headers, body)?;
    expect(path == "/v2/enqueue", path, &event)?;
    expect(event["routing_key"].as_str().is_some_and(|key| key.len() == 32), "routing_key", &event)?;
    expect(event["dedup_key"].as_str().is_some_and(|key| (1..=255).contains(&key.len())), "dedup_key", &event)?;
    match event["event_action"].as_str() {
        Some("resolve") => {}
        Some("trigger") => {
            let payload = &event["payload"];
            expect(payload["summary"].as_str().is_some_and(|s| (1..=1_024).contains(&s.len())), "summary", payload)?;
            expect(payload["source"].is_string(), "source", payload)?;
            let known = ["critical", "error", "warning", "info"];
            expect(known.contains(&payload["severity"].as_str().unwrap_or("")), "severity", payload)?;
        }
        _ => return Err(format!("event_action: {event}")),
    }
    Ok(event)
}

fn read_webhook(_: &str, headers: &HeaderMap, body: &[u8]) -> Result<Value, String> {
    let signature = headers.get("tollgate-signature").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let time = signature.strip_prefix("t=").and_then(|s| s.split_once(',')).and_then(|(time, _)| time.parse().ok());
    let time = time.ok_or_else(|| format!("no signature: {signature:?}"))?;
    let right = tollgate_outbound::sign(&Secret::new("shared"), time, body);
    if right != signature {
        return Err(format!("signature: {signature} instead of {right}"));
    }
    json(headers, body)
}

fn notice() -> Notice {
    Notice {
        rule: "provider_down".into(),
        subject: "openai".into(),
        state: State::Firing,
        severity: Severity::Critical,
        summary: "95 % of 40 attempts at the provider <openai> & co failed".into(),
        details: BTreeMap::from([("percent".into(), "95".into())]),
        since_us: 1_700_000_000_000_000,
        time_us: 1_700_000_010_000_000,
        source: "gateway-1".into(),
    }
}

fn slack(receiver: &Receiver) -> (String, Channel) {
    let webhook_url = Secret::new(format!("{}/services/T0/B0/xyz", receiver.url));
    ("room".into(), Channel::Slack(Slack { webhook_url }))
}

pub(crate) fn pagerduty(receiver: &Receiver) -> (String, Channel) {
    let url = format!("{}/v2/enqueue", receiver.url);
    ("pager".into(), Channel::PagerDuty(PagerDuty { routing_key: Secret::new(KEY), url }))
}

#[tokio::test]
async fn slack_gets_a_message_in_which_nothing_is_markup_but_ours() {
    let receiver = Receiver::start(read_slack, StatusCode::OK, "ok").await;
    let channels = Channels::open(vec![slack(&receiver)]).unwrap();
    channels.tell(&[], &notice());
    channels.tell(&[], &notice().resolved());
    let taken = receiver.takes(2).await;
    let text = taken[0]["text"].as_str().unwrap();
    assert!(text.contains("[firing] provider_down") && text.contains("&lt;openai&gt; &amp; co"), "{text}");
    assert!(taken[1]["text"].as_str().unwrap().contains("[resolved] provider_down"));
}

#[tokio::test]
async fn pagerduty_gets_an_incident_and_its_resolution_under_one_key() {
    let receiver = Receiver::start(read_pagerduty, StatusCode::ACCEPTED, "{}").await;
    let channels = Channels::open(vec![pagerduty(&receiver)]).unwrap();
    channels.tell(&[], &notice());
    channels.tell(&[], &notice().resolved());
    let taken = receiver.takes(2).await;
    assert_eq!([&taken[0]["event_action"], &taken[1]["event_action"]], ["trigger", "resolve"]);
    assert_eq!(taken[0]["dedup_key"], "tollgate/provider_down/openai");
    assert_eq!(taken[0]["dedup_key"], taken[1]["dedup_key"]);
    assert_eq!(taken[0]["payload"]["timestamp"], "2023-11-14T22:13:20Z");
}

#[tokio::test]
async fn a_webhook_gets_a_signed_object_with_its_headers() {
    let receiver = Receiver::start(read_webhook, StatusCode::OK, "").await;
    let webhook = Webhook {
        url: Secret::new(format!("{}/alerts", receiver.url)),
        secret: Some(Secret::new("shared")),
        headers: vec![("x-team".into(), Secret::new("core"))],
    };
    let channels = Channels::open(vec![("hook".into(), Channel::Webhook(webhook))]).unwrap();
    channels.tell(&[], &notice());
    let taken = receiver.takes(1).await.remove(0);
    assert_eq!((&taken["state"], &taken["severity"]), (&"firing".into(), &"critical".into()));
    assert_eq!(taken["details"]["percent"], "95");
    assert_eq!(taken["time"], "2023-11-14T22:13:30Z");
}

#[tokio::test]
async fn a_channel_that_fails_for_a_moment_gets_everything_in_order() {
    let receiver = Receiver::start(read_pagerduty, StatusCode::ACCEPTED, "{}").await;
    receiver.fails(2);
    let channels = Channels::open(vec![pagerduty(&receiver)]).unwrap();
    channels.tell(&[], &notice());
    channels.tell(&[], &notice().resolved());
    let taken = receiver.takes(2).await;
    assert_eq!([&taken[0]["event_action"], &taken[1]["event_action"]], ["trigger", "resolve"]);
}

#[tokio::test]
async fn only_those_who_are_named_are_told() {
    let room = Receiver::start(read_slack, StatusCode::OK, "ok").await;
    let pager = Receiver::start(read_pagerduty, StatusCode::ACCEPTED, "{}").await;
    let channels = Channels::open(vec![slack(&room), pagerduty(&pager)]).unwrap();
    channels.tell(&["pager".into()], &notice());
    channels.tell(&[], &notice().resolved());
    assert_eq!(pager.takes(2).await.len(), 2);
    assert_eq!(room.takes(1).await.len(), 1);
}

#[tokio::test]
async fn a_test_tells_which_channel_did_not_take_it() {
    let room = Receiver::start(read_slack, StatusCode::OK, "ok").await;
    let wrong = Slack { webhook_url: Secret::new("http://127.0.0.1:9/services/secret-of-slack") };
    let channels = Channels::open(vec![slack(&room), ("wrong".into(), Channel::Slack(wrong))]).unwrap();
    let tried: BTreeMap<_, _> = channels.try_each(&Notice::test("gateway-1", 0)).await.into_iter().collect();
    assert_eq!(tried["room"], Ok(()));
    let error = tried["wrong"].as_ref().unwrap_err();
    assert!(!error.message.contains("secret-of-slack"), "{error}");
}

#[test]
fn an_address_that_is_none_is_named() {
    let email = |to: &str| Email {
        host: "localhost".into(),
        port: 25,
        security: SmtpSecurity::None,
        ca: None,
        login: None,
        from: "Tollgate <alerts@example.org>".into(),
        to: vec![to.into()],
    };
    let open = |to: &str| Channels::open(vec![("mail".into(), Channel::Email(email(to)))]);
    let error = open("nobody").err().unwrap().to_string();
    assert!(error.starts_with("alerts.channels.mail: to: \"nobody\" is no address"), "{error}");
}
