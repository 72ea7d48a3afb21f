//! Sinks and alerts of a whole gateway: what leaves it beside the calls.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::{Router, extract::State, http::StatusCode};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tollgate_client::v1;
use tollgate_tests::{provider::Step, support::gateway::locate};

use crate::{
    metrics::{exposed, value},
    support::{World, eventually, hello},
};

/// Takes JSON, unless it is told to fail.
#[derive(Clone)]
pub(crate) struct Receiver {
    pub(crate) url: String,
    taken: Arc<Mutex<Vec<Value>>>,
    fails: Arc<AtomicBool>,
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/taken", listener.local_addr().unwrap());
        let receiver = Self { url, taken: Arc::default(), fails: Arc::default() };
        let router = Router::new().fallback(take).with_state(receiver.clone());
        tokio::spawn(async move { axum::serve(listener, router.into_make_service()).await });
        receiver
    }

    fn fails(&self, fails: bool) {
        self.fails.store(fails, Ordering::Relaxed);
    }

    /// Everything that it took; of arrays each part.
    pub(crate) fn taken(&self) -> Vec<Value> {
        let taken = self.taken.lock();
        taken.iter().flat_map(|body| body.as_array().cloned().unwrap_or_else(|| vec![body.clone()])).collect()
    }

    pub(crate) fn calls(&self) -> Vec<String> {
        self.taken().iter().map(|record| record["call_id"].as_str().unwrap_or_default().to_owned()).collect()
    }
}

async fn take(State(receiver): State<Receiver>, body: axum::body::Bytes) -> StatusCode {
    if receiver.fails.load(Ordering::Relaxed) {
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    receiver.taken.lock().push(serde_json::from_slice(&body).unwrap_or_default());
    StatusCode::OK
}

async fn call(world: &World) -> http::StatusCode {
    world.gateway.caller().post(&world.v1("chat/completions"), &hello(json!({}))).await.unwrap().status
}

/// Ids of the calls in the audit log, in its order.
async fn audited(world: &World) -> Vec<String> {
    let records = world.records().await.into_iter();
    records.filter(|record| record.action.starts_with("completion.")).map(|record| record.call_id).collect()
}

fn sink(receiver: &Receiver) -> Value {
    json!({ "calls": { "webhook": { "url": receiver.url }, "batch": { "max_age": "20ms" } } })
}

#[tokio::test]
async fn every_closed_call_reaches_a_sink_with_its_owner_and_its_cost() {
    let receiver = Receiver::start().await;
    let world = World::with(|builder| builder.set("/sinks", sink(&receiver))).await;
    for _ in 0..5 {
        assert_eq!(call(&world).await, 200);
    }
    world.provider.script("scripted-upstream", [Step::fails(400)]);
    assert_eq!(call(&world).await, 400);
    eventually("all are there", async || receiver.calls().len() >= 6).await;
    assert_eq!(receiver.calls(), audited(&world).await);
    let taken = receiver.taken();
    assert!(taken[0]["cost_nano_usd"].as_i64().is_some_and(|cost| cost > 0), "{}", taken[0]);
    assert!(taken[0]["key_name"].is_string() && taken[0]["provider"] == "scripted", "{}", taken[0]);
    assert_eq!([&taken[0]["status"], &taken[5]["status"]], ["ok", "error"]);
    let told = json!(taken).to_string();
    assert!(!told.contains("Say hello") && !told.contains(world.gateway.key()), "no prompt and no key: {told}");
}

#[tokio::test]
async fn an_outage_of_a_sink_and_a_kill_within_it_lose_nothing_and_no_caller_sees_them() {
    let receiver = Receiver::start().await;
    let mut world = World::with(|builder| builder.set("/sinks", sink(&receiver))).await;
    receiver.fails(true);
    for _ in 0..10 {
        assert_eq!(call(&world).await, 200);
    }
    let dir = world.gateway.data_dir().join("sinks/calls");
    let bytes = |dir: &Path| -> u64 {
        let files = std::fs::read_dir(dir).into_iter().flatten().flatten();
        files
            .filter(|file| file.path().extension().is_some_and(|e| e == "spill"))
            .map(|f| f.metadata().unwrap().len())
            .sum()
    };
    let mut last = 0;
    eventually("all are on disk", async || {
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        let before = std::mem::replace(&mut last, bytes(&dir));
        last > 0 && last == before
    })
    .await;
    world.gateway.kill9();
    world.gateway.restart().await;
    assert_eq!(call(&world).await, 200);
    receiver.fails(false);
    eventually("all are there", async || receiver.calls().len() >= 11).await;
    assert_eq!(receiver.calls(), audited(&world).await);
    eventually("nothing is left on disk", async || bytes(&dir) == 0).await;
}

#[tokio::test]
async fn what_waits_at_the_end_is_sent_before_the_gateway_ends() {
    let receiver = Receiver::start().await;
    let slow = json!({ "calls": { "webhook": { "url": receiver.url }, "batch": { "max_age": "1h" } } });
    let mut world = World::with(|builder| builder.set("/sinks", slow)).await;
    for _ in 0..3 {
        assert_eq!(call(&world).await, 200);
    }
    assert!(receiver.taken().is_empty());
    world.gateway.sigterm(std::time::Duration::from_secs(10)).await.unwrap();
    assert_eq!(receiver.calls().len(), 3);
}

#[tokio::test]
async fn metrics_tell_of_a_sink_what_was_taken_what_waits_and_what_failed() {
    let receiver = Receiver::start().await;
    let world = World::with(|builder| builder.set("/sinks", sink(&receiver))).await;
    let labels = [r#"sink="calls""#, r#"kind="webhook""#];
    let told = async |name: &str, more: &[&str]| {
        value(&exposed(&world.gateway).await, &format!("tollgate_sink_{name}"), &[&labels, more].concat()).unwrap()
    };
    receiver.fails(true);
    for _ in 0..3 {
        assert_eq!(call(&world).await, 200);
    }
    eventually("all wait on disk", async || {
        told("waiting_records", &[r#"place="disk""#]).await == 3.0 && told("failures_total", &[]).await >= 1.0
    })
    .await;
    assert!(told("spilled_bytes", &[]).await > 0.0);
    assert_eq!(told("records_total", &[]).await, 0.0);
    receiver.fails(false);
    eventually("all are taken", async || told("records_total", &[]).await == 3.0).await;
    eventually("none waits", async || {
        told("waiting_records", &[r#"place="disk""#]).await + told("waiting_records", &[r#"place="memory""#]).await
            == 0.0
    })
    .await;
    for cause in ["queue", "spill", "refused"] {
        assert_eq!(told("dropped_total", &[&format!(r#"cause="{cause}""#)]).await, 0.0);
    }
}

#[tokio::test]
async fn metrics_tell_what_became_of_notices() {
    let receiver = Receiver::start().await;
    let rule = json!({ "budget_exhausted": { "within": "1m" }, "settled": "100ms" });
    let world = World::with_provider(|builder, provider| {
        let channels = json!({
            "taken": { "webhook": { "url": receiver.url } },
            // It knows no such path, and says so.
            "refused": { "webhook": { "url": format!("{provider}/no/such/path") } },
        });
        let alerts = json!({ "channels": channels, "rules": { "rule": rule }, "every": "100ms" });
        builder.set("/alerts", alerts).budget_usd("0.000000001")
    })
    .await;
    assert_eq!(call(&world).await, 429);
    eventually("both are told of", async || {
        let text = exposed(&world.gateway).await;
        let notices = |labels: &[&str]| value(&text, "tollgate_alert_notices_total", labels);
        notices(&[r#"channel="taken""#, r#"outcome="delivered""#]) == Some(1.0)
            && notices(&[r#"channel="refused""#, r#"outcome="lost""#]) == Some(1.0)
            && notices(&[r#"channel="taken""#, r#"outcome="lost""#]) == Some(0.0)
    })
    .await;
}

/// A key that ends by itself in an hour.
pub(crate) fn ends_in_an_hour() -> v1::Key {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let seconds = i64::try_from(now.as_secs()).unwrap() + 3_600;
    let expire_time = Some(prost_types::Timestamp { seconds, nanos: 0 });
    v1::Key { display_name: "ci".into(), models: vec!["*".into()], expire_time, ..Default::default() }
}

pub(crate) fn watched(receiver: &Receiver, rule: Value) -> Value {
    let mut rule = rule;
    rule["settled"] = "100ms".into();
    json!({
        "channels": { "hook": { "webhook": { "url": receiver.url } } },
        "rules": { "rule": rule },
        "every": "100ms",
        "source": "gateway-1",
    })
}

#[tokio::test]
async fn a_provider_that_fails_is_told_of_and_its_recovery_too() {
    let receiver = Receiver::start().await;
    let rule = json!({ "provider_failures": { "percent": 50, "window": "2s", "least": 3 }, "severity": "critical" });
    let world = World::with(|builder| {
        builder
            .set("/alerts", watched(&receiver, rule))
            .set("/models/0/retries", 0)
            // It is asked again and again.
            .set("/routing", json!({ "cooldown": { "time": "0s" } }))
    })
    .await;
    world.provider.always("scripted-upstream", [Step::fails(500)]);
    for _ in 0..3 {
        assert_ne!(call(&world).await, 200);
    }
    eventually("it is told", async || !receiver.taken().is_empty()).await;
    let told = receiver.taken().remove(0);
    assert_eq!(
        (&told["state"], &told["subject"], &told["severity"]),
        (&json!("firing"), &json!("scripted"), &json!("critical"))
    );
    eventually("its end is told", async || receiver.taken().len() >= 2).await;
    let end = receiver.taken().remove(1);
    assert_eq!((&end["state"], &end["id"]), (&json!("resolved"), &told["id"]));
}

#[tokio::test]
async fn calls_that_a_budget_refuses_are_told_of() {
    let receiver = Receiver::start().await;
    let rule = json!({ "budget_exhausted": { "within": "1m" } });
    let world = World::with(|builder| builder.set("/alerts", watched(&receiver, rule)).budget_usd("0.000000001")).await;
    assert_eq!(call(&world).await, 429);
    eventually("it is told", async || !receiver.taken().is_empty()).await;
    let told = receiver.taken().remove(0);
    assert!(told["subject"].as_str().is_some_and(|subject| subject.starts_with("key:key_")), "{told}");
}

#[tokio::test]
async fn a_key_that_ends_in_an_hour_is_told_of() {
    let receiver = Receiver::start().await;
    let rule = json!({ "key_expiring": { "within": "2h" } });
    let world = World::with(|builder| builder.set("/alerts", watched(&receiver, rule))).await;
    let asked = v1::CreateKeyRequest { key: Some(ends_in_an_hour()), ..Default::default() };
    let made = world.admin().await.keys().create_key(asked).await.unwrap().into_inner().key.unwrap();
    eventually("it is told", async || !receiver.taken().is_empty()).await;
    let told = receiver.taken().remove(0);
    assert_eq!((&told["state"], &told["subject"]), (&json!("firing"), &json!(made.id)));
    assert!(told["summary"].as_str().is_some_and(|text| text.starts_with("the key ci (")), "{told}");
}

#[tokio::test]
async fn a_soft_budget_of_which_four_fifths_are_spent_is_told_of() {
    let receiver = Receiver::start().await;
    let rule = json!({ "budget_threshold": { "from_percent": 80 } });
    let world = World::with(|builder| builder.set("/alerts", watched(&receiver, rule))).await;
    assert_eq!(call(&world).await, 200);
    // The next one costs as much: 85 % of it.
    let entry = world.entries().await.remove(0);
    let budget = v1::Budget {
        limit_nano_usd: entry.cost_nano_usd * 100 / 85,
        enforcement: v1::BudgetEnforcement::Soft as i32,
        scope: Some(v1::BudgetScope { kind: v1::ScopeKind::Key as i32, id: entry.key_id, ..Default::default() }),
        display_name: "the pilot".into(),
        ..Default::default()
    };
    let asked = v1::CreateBudgetRequest { budget: Some(budget), ..Default::default() };
    let made = world.admin().await.budgets().create_budget(asked).await.unwrap().into_inner().budget.unwrap();
    assert_eq!(call(&world).await, 200);
    eventually("it is told", async || !receiver.taken().is_empty()).await;
    let told = receiver.taken().remove(0);
    assert_eq!((&told["state"], &told["subject"]), (&json!("firing"), &json!(format!("{}@80", made.id))));
    assert!(told["summary"].as_str().is_some_and(|text| text.starts_with("80 % of the budget the pilot")), "{told}");
}

#[tokio::test]
async fn alerts_are_tested_by_a_command_that_names_whoever_does_not_take_them() {
    let receiver = Receiver::start().await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tollgate.yaml");
    let channels = json!({
        "hook": { "webhook": { "url": receiver.url, "secret": "shared" } },
        "nobody": { "slack": { "webhook_url": "http://127.0.0.1:9/services/hidden" } },
    });
    let config = json!({ "data_dir": dir.path().join("data"), "alerts": { "channels": channels } });
    std::fs::write(&file, config.to_string()).unwrap();
    let command =
        tokio::process::Command::new(locate().unwrap()).args(["alerts", "test", "--config"]).arg(&file).output();
    let done = command.await.unwrap();
    let said = String::from_utf8(done.stdout).unwrap();
    assert!(said.contains("hook: delivered\n") && said.contains("nobody: refused: "), "{said}");
    assert!(!said.contains("hidden") && done.status.code() == Some(1), "{said}");
    let states: Vec<_> = receiver.taken().iter().map(|notice| notice["state"].clone()).collect();
    assert_eq!(states, ["firing", "resolved"]);
}

#[tokio::test]
async fn calls_go_on_where_neither_logs_nor_greeting_can_be_written() {
    let full = ["sh", "-c", r#"exec "$0" "$@" > /dev/full 2> /dev/full"#];
    let world = World::with(|builder| builder.wrapped_in(full).set("/log", json!({ "level": "debug" }))).await;
    for _ in 0..3 {
        assert_eq!(call(&world).await, 200);
    }
    assert_eq!(audited(&world).await.len(), 3);
    assert_eq!(world.gateway.logs(), "");
}

#[tokio::test]
async fn a_check_names_the_pattern_that_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tollgate.yaml");
    let check = async |patterns: Value| {
        std::fs::write(&file, json!({ "audit": { "redact_patterns": patterns } }).to_string()).unwrap();
        let mut command = tokio::process::Command::new(locate().unwrap());
        command.args(["check", "--config"]).arg(&file).output().await.unwrap()
    };
    assert!(check(json!(["ACME-[0-9]{6}"])).await.status.success());
    let done = check(json!(["ACME-[0-9]{6}", "(unclosed"])).await;
    let said = String::from_utf8(done.stderr).unwrap();
    assert!(!done.status.success() && said.contains("audit.redact_patterns") && said.contains("(unclosed"), "{said}");
    assert!(!said.contains("ACME"), "{said}");
}
