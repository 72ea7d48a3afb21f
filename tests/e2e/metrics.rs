//! `GET /metrics`, `GET /version` and the probes, and the files that operators make of them.

use std::{collections::BTreeSet, path::PathBuf};

use serde_json::json;
use tollgate_client::v1;
use tollgate_services::promtool;
use tollgate_tests::{
    provider::Step,
    support::{Gateway, http::Caller},
};

use crate::{
    crash::{file_size_limit, fill_disk},
    support::{World, eventually, hello},
};

/// The lines of an exposition, as whoever reaches the port reads them.
pub(crate) async fn exposed(gateway: &Gateway) -> String {
    let reply = Caller::default().get(&format!("{}/metrics", gateway.url())).await.unwrap();
    assert_eq!(reply.status, 200);
    String::from_utf8(reply.body.to_vec()).unwrap()
}

/// A directory of the repository's examples.
pub(crate) fn examples(directory: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../examples")).join(directory)
}

/// The value of a series, by its name and some of its labels; `None`: there is none.
pub(crate) fn value(text: &str, name: &str, labels: &[&str]) -> Option<f64> {
    let line = text.lines().find(|line| {
        let rest = line.strip_prefix(name).filter(|rest| rest.starts_with(['{', ' ']));
        rest.is_some_and(|rest| labels.iter().all(|label| rest.contains(label)))
    });
    line?.rsplit_once(' ')?.1.parse().ok()
}

#[tokio::test]
async fn calls_are_counted_by_what_became_of_them_and_by_what_they_cost() {
    let world = World::with(|b| {
        let nowhere = json!({"provider": "nowhere", "model": "none", "price": {"input": "1", "output": "1"}});
        b.provider("nowhere", "http://127.0.0.1:1")
            .deployment("falls", nowhere)
            .set("/models/1/fallbacks", json!(["scripted"]))
            .set("/models/1/retries", 0)
    })
    .await;
    let (caller, url) = (world.gateway.caller(), world.v1("chat/completions"));
    let spent = {
        for model in ["scripted", "falls", "made-up-name"] {
            caller.post(&url, &hello(json!({"model": model}))).await.unwrap();
        }
        let streamed = hello(json!({"stream": true}));
        caller.stream(&url, &streamed).await.unwrap().whole().await.unwrap();
        assert_eq!(Caller::bearer("sk-nobody").post(&url, &hello(json!({}))).await.unwrap().status, 401);
        world.entries().await.iter().map(|entry| entry.cost_nano_usd).sum::<i64>()
    };
    let text = exposed(&world.gateway).await;
    let found = |name: &str, labels: &[&str]| value(&text, name, labels);
    let requests = "tollgate_requests_total";
    let create = r#"operation="completion.create""#;
    assert_eq!(found(requests, &[create, r#"model="scripted""#, r#"reason="OK""#]), Some(1.0), "{text}");
    assert_eq!(found(requests, &[create, r#"model="falls""#, r#"reason="OK""#]), Some(1.0));
    assert_eq!(found(requests, &[create, r#"model="other""#, r#"reason="MODEL_NOT_FOUND""#]), Some(1.0));
    assert_eq!(found(requests, &[r#"reason="API_KEY_INVALID""#]), Some(1.0));
    assert_eq!(found(requests, &[r#"operation="completion.stream""#]), Some(1.0));
    assert!(!text.contains("made-up-name"));
    assert_eq!(
        found("tollgate_fallbacks_total", &[r#"model="falls""#, r#"to="scripted""#, r#"class="connection""#]),
        Some(1.0)
    );
    let attempts = found("tollgate_attempts_total", &[r#"provider="nowhere""#, r#"class="connection""#]).unwrap();
    let retries = found("tollgate_retries_total", &[r#"model="falls""#, r#"class="connection""#]).unwrap_or(0.0);
    assert_eq!(attempts, retries + 1.0, "the first, and each that followed before it fell back");
    // The very money of the ledger, over two models.
    let cost: f64 = text
        .lines()
        .filter(|line| line.starts_with("tollgate_cost_usd_total{"))
        .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
        .sum();
    assert_eq!((cost * 1e9).round() as i64, spent, "{text}");
    assert_eq!(found("tollgate_time_to_first_token_seconds_count", &[r#"model="scripted""#]), Some(1.0));
    assert_eq!(found("tollgate_time_between_tokens_seconds_count", &[r#"model="scripted""#]), Some(1.0));
    // The one without a key among them.
    assert_eq!(found("tollgate_request_duration_seconds_count", &[create, r#"model="scripted""#]), Some(2.0));
    assert!(found("tollgate_tokens_total", &[r#"class="output""#, r#"model="falls""#]).unwrap() > 0.0);
    assert_eq!(found("tollgate_holds", &[]), Some(0.0));
    assert_eq!(found("tollgate_ready", &[r#"check="journal""#]), Some(1.0));
    assert!(found("tollgate_resident_memory_bytes", &[]).unwrap() > 1e6);
    let key = world.budget().await.scope.unwrap().id;
    assert!(!text.contains(&key), "no key is a label unless that is switched on");
}

#[tokio::test]
async fn what_a_cache_served_is_counted_apart() {
    let world = World::start().await;
    let url = world.v1("chat/completions");
    world.provider.script("scripted-upstream", [Step { cached_tokens: Some(2), ..Step::text("hello") }]);
    let caller = world.gateway.caller().with("idempotency-key", "asked-again");
    for _ in 0..3 {
        assert_eq!(caller.post(&url, &hello(json!({}))).await.unwrap().status, 200);
    }
    world.gateway.caller().post(&url, &hello(json!({}))).await.unwrap();
    let text = exposed(&world.gateway).await;
    let hits = |cache: &str| value(&text, "tollgate_cache_hits_total", &[cache, r#"model="scripted""#]);
    assert_eq!(hits(r#"cache="prompt""#), Some(1.0), "{text}");
    assert_eq!(hits(r#"cache="replay""#), Some(2.0), "{text}");
}

#[tokio::test]
async fn calls_tokens_and_money_of_a_team_are_counted_as_its_own() {
    let world = World::start().await;
    let admin = world.admin().await;
    let asked = v1::CreateTeamRequest { team: Some(v1::Team::default()), ..Default::default() };
    let team = admin.tenancy().create_team(asked).await.unwrap().into_inner().team.unwrap().id;
    let key = v1::Key { team_id: team.clone(), models: vec!["*".into()], ..Default::default() };
    let asked = v1::CreateKeyRequest { key: Some(key), ..Default::default() };
    let secret = admin.keys().create_key(asked).await.unwrap().into_inner().secret;
    let url = world.v1("chat/completions");
    for caller in [Caller::bearer(&secret), world.gateway.caller()] {
        assert_eq!(caller.post(&url, &hello(json!({}))).await.unwrap().status, 200);
    }
    let text = exposed(&world.gateway).await;
    let of_team = format!(r#"team="{team}""#);
    let model = r#"model="scripted""#;
    assert_eq!(value(&text, "tollgate_requests_total", &[&of_team, model]), Some(1.0), "{text}");
    for name in ["tollgate_tokens_total", "tollgate_cost_usd_total"] {
        assert!(value(&text, name, &[&of_team, model]).is_some_and(|n| n > 0.0), "{name} in {text}");
    }
}

#[tokio::test]
async fn a_model_behind_a_star_is_counted_under_the_name_with_the_star() {
    let star = json!({"provider": "scripted", "model": "*", "price": {"input": "1", "output": "1"}});
    let world = World::with(|b| b.deployment("x/*", star)).await;
    let body = hello(json!({"model": "x/anything"}));
    let reply = world.gateway.caller().post(&world.v1("chat/completions"), &body).await.unwrap();
    assert_eq!(reply.status, 200, "{}", String::from_utf8_lossy(&reply.body));
    let text = exposed(&world.gateway).await;
    for name in ["tollgate_requests_total", "tollgate_attempts_total"] {
        assert_eq!(value(&text, name, &[r#"model="x/*""#]), Some(1.0), "{name} in {text}");
    }
    assert!(!text.contains("x/anything") && !text.contains(r#"model="other""#), "{text}");
}

#[tokio::test]
async fn keys_and_their_budgets_are_labels_where_that_is_switched_on() {
    let world = World::with(|b| b.budget_usd("10").set("/metrics", json!({"labels": ["key"]}))).await;
    world.gateway.caller().post(&world.v1("chat/completions"), &hello(json!({}))).await.unwrap();
    let budget = world.budget().await;
    let (id, key) = (format!(r#"budget="{}""#, budget.id), budget.scope.unwrap().id);
    let text = exposed(&world.gateway).await;
    assert!(value(&text, "tollgate_cost_usd_total", &[&format!(r#"key="{key}""#)]).unwrap() > 0.0, "{text}");
    assert_eq!(value(&text, "tollgate_budget_limit_usd", &[&id, r#"scope="key""#]), Some(10.0));
    let left = value(&text, "tollgate_budget_remaining_ratio", &[&id]).unwrap();
    assert!(left < 1.0 && left > 0.99, "{left}");
}

#[tokio::test]
async fn what_is_under_way_is_told_while_it_is_and_what_was_spent_afterwards() {
    let world = World::with(|b| {
        b.budget_usd("10")
            .set("/metrics", json!({"labels": ["key"]}))
            .set("/models/0/deployments/0/limits", json!({"concurrent_requests": 1}))
    })
    .await;
    world.provider.always("scripted-upstream", [Step::text("at last").after_ms(1_500)]);
    let calls = [(); 2].map(|()| {
        let (caller, url) = (world.gateway.caller(), world.v1("chat/completions"));
        tokio::spawn(async move { caller.post(&url, &hello(json!({}))).await.unwrap().status.as_u16() })
    });
    let mut text = String::new();
    eventually("one is answered and one waits", async || {
        text = exposed(&world.gateway).await;
        value(&text, "tollgate_queue_length", &[r#"priority="standard""#]) == Some(1.0)
            && value(&text, "tollgate_queue_oldest_seconds", &[]).is_some_and(|waits| waits > 0.0)
            && value(&text, "tollgate_deployment_in_flight", &[]) == Some(1.0)
    })
    .await;
    let found = |name: &str| value(&text, name, &[]).unwrap_or_else(|| panic!("no {name} in {text}"));
    assert_eq!(found("tollgate_deployment_slots"), 1.0);
    assert!(found("tollgate_holds") >= 1.0 && found("tollgate_holds_usd") > 0.0);
    let budget = format!(r#"budget="{}""#, world.budget().await.id);
    assert!(value(&text, "tollgate_budget_held_usd", &[&budget]).is_some_and(|held| held > 0.0), "{text}");
    for call in calls {
        assert_eq!(call.await.unwrap(), 200);
    }
    let spent = world.entries().await.iter().map(|entry| entry.cost_nano_usd).sum::<i64>() as f64 / 1e9;
    let text = exposed(&world.gateway).await;
    let told = value(&text, "tollgate_budget_spent_usd", &[&budget]).unwrap();
    assert!((told - spent).abs() < 1e-12 && spent > 0.0, "{told} {spent}");
    assert_eq!(value(&text, "tollgate_budget_held_usd", &[&budget]), Some(0.0));
    assert_eq!(value(&text, "tollgate_deployment_in_flight", &[]), Some(0.0));
    assert_eq!(value(&text, "tollgate_queue_length", &[r#"priority="standard""#]), Some(0.0));
    assert_eq!(value(&text, "tollgate_attempt_duration_seconds_count", &[]), Some(2.0));
}

#[tokio::test]
async fn the_process_tells_what_it_is_and_uses() {
    let before = std::time::SystemTime::now();
    let world = World::start().await;
    let text = exposed(&world.gateway).await;
    let found = |name: &str| value(&text, name, &[]).unwrap_or_else(|| panic!("no {name} in {text}"));
    let seconds = |time: std::time::SystemTime| time.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    let started = found("tollgate_start_time_seconds");
    assert!((seconds(before)..=seconds(std::time::SystemTime::now())).contains(&started), "{started}");
    assert!(found("tollgate_open_files") > 3.0);
    assert!(found("tollgate_journal_free_bytes") > 0.0);
    assert_eq!(found("tollgate_clock_skew_seconds"), 0.0, "its own clock is the ledger's");
    let version = format!(r#"version="{}""#, env!("CARGO_PKG_VERSION"));
    assert_eq!(value(&text, "tollgate_build_info", &[&version]), Some(1.0));
    eventually("it has used the processor", async || {
        value(&exposed(&world.gateway).await, "tollgate_cpu_seconds_total", &[]).is_some_and(|used| used > 0.0)
    })
    .await;
}

#[tokio::test]
async fn a_caller_that_hangs_up_is_counted_too() {
    let world = World::start().await;
    world.provider.script("scripted-upstream", [Step::streams(100).every_ms(50)]);
    let url = world.v1("chat/completions");
    let mut stream = world.gateway.caller().stream(&url, &hello(json!({"stream": true}))).await.unwrap();
    stream.next().await.unwrap();
    drop(stream);
    eventually("it is counted", async || {
        let text = exposed(&world.gateway).await;
        value(&text, "tollgate_requests_total", &[r#"reason="CANCELLED""#]) == Some(1.0)
            && value(&text, "tollgate_estimated_usage_total", &[]) == Some(1.0)
    })
    .await;
}

#[tokio::test]
async fn metrics_and_version_ask_for_a_key_where_that_is_set() {
    let world = World::with(|b| b.set("/metrics", json!({"require_key": true}))).await;
    let made = v1::Key { role: v1::KeyRole::Auditor as i32, ..Default::default() };
    let asked = v1::CreateKeyRequest { key: Some(made), ..Default::default() };
    let auditor = world.admin().await.keys().create_key(asked).await.unwrap().into_inner().secret;
    for route in ["metrics", "version"] {
        let url = format!("{}/{route}", world.gateway.url());
        let status = async |caller: Caller| caller.get(&url).await.unwrap().status.as_u16();
        assert_eq!(status(Caller::default()).await, 401, "{route}");
        assert_eq!(status(Caller::bearer("sk-nobody")).await, 401, "{route}");
        assert_eq!(status(world.gateway.caller()).await, 403, "{route}");
        assert_eq!(status(Caller::bearer(&world.admin)).await, 200, "{route}");
        assert_eq!(status(Caller::bearer(&auditor)).await, 200, "{route}");
    }
    let denied = world.records().await.into_iter().filter(|record| record.action == "metrics.read").count();
    assert_eq!(denied, 6, "denials are on record");
}

#[tokio::test]
async fn version_names_build_and_configuration() {
    let world = World::start().await;
    let told = Caller::default().get(&format!("{}/version", world.gateway.url())).await.unwrap().json();
    assert_eq!(told["version"], env!("CARGO_PKG_VERSION"));
    assert!(told["rustc"].as_str().unwrap().starts_with("1."), "{told}");
    world.gateway.caller().post(&world.v1("chat/completions"), &hello(json!({}))).await.unwrap();
    let routing = world.records().await.into_iter().find_map(|record| record.routing).unwrap();
    assert_eq!(told["config_hash"], routing.config_hash, "the one that records name");
    let text = exposed(&world.gateway).await;
    assert_eq!(value(&text, "tollgate_config_info", &[&format!(r#"hash="{}""#, routing.config_hash)]), Some(1.0));
}

#[tokio::test]
async fn readiness_names_what_fails_and_stays_ready_while_calls_can_begin() {
    let world = World::with(|b| b.provider("nowhere", "http://127.0.0.1:1").set("/models/0/retries", 0)).await;
    let base = world.v1("").replace("/v1/", "");
    let probe = async |name: &str| Caller::default().get(&format!("{base}/health/{name}")).await.unwrap();
    assert_eq!(probe("startup").await.json(), json!({"status": "started"}));
    let all_well = json!({"status": "ready", "db": "connected"});
    eventually("its checks are looked at", async || probe("readiness").await.json() == all_well).await;
    // A refused credential rests the only deployment there is.
    world.provider.always("scripted-upstream", [Step::fails(401)]);
    world.gateway.caller().post(&world.v1("chat/completions"), &hello(json!({}))).await.unwrap();
    eventually("readiness tells of it", async || probe("readiness").await.json()["failing"].is_object()).await;
    let told = probe("readiness").await;
    assert_eq!((told.status.as_u16(), &told.json()["status"]), (200, &json!("ready")), "others would do no better");
    let failing = told.json()["failing"].as_object().unwrap().clone();
    assert!(failing["deployments"].as_str().unwrap().contains("no deployment takes calls"), "{failing:?}");
    assert_eq!(failing.len(), 1);
    assert_eq!(health(&world, "tollgate.check.deployments").await, NOT_SERVING);
    assert_eq!(health(&world, "tollgate.v1.CompletionService").await, SERVING);
    let text = exposed(&world.gateway).await;
    assert_eq!(value(&text, "tollgate_ready", &[r#"check="deployments""#]), Some(0.0));
    assert_eq!(value(&text, "tollgate_deployment_state", &[r#"state="open""#]), Some(1.0));
    assert_eq!(value(&text, "tollgate_deployment_cooldowns_total", &[]), Some(1.0));
}

#[tokio::test]
async fn a_replica_that_cannot_write_its_journal_is_taken_out_until_it_can() {
    let world = World::with(|builder| builder.wrapped_in(["sh", "-c", r#"trap "" XFSZ; exec "$0" "$@""#])).await;
    let probe = async || Caller::default().get(&format!("{}/health/readiness", world.gateway.url())).await.unwrap();
    let call = async || {
        let reply = world.gateway.caller().post(&world.v1("chat/completions"), &hello(json!({}))).await;
        reply.unwrap().status.as_u16()
    };
    // Its log is a file too, and shorter than the journal by then.
    for _ in 0..20 {
        assert_eq!(call().await, 200);
    }
    fill_disk(&world.gateway);
    assert_eq!(call().await, 503);
    eventually("it is not ready", async || probe().await.status == 503).await;
    let told = probe().await.json();
    assert_eq!(told["reason"], "the journal cannot be written: no call can begin");
    assert_eq!(told["failing"]["journal"], told["reason"]);
    assert_eq!(health(&world, "").await, NOT_SERVING);
    assert_eq!(health(&world, "tollgate.v1.CompletionService").await, NOT_SERVING);
    assert_eq!(health(&world, "tollgate.v1.AuditService").await, SERVING, "what was can be read");
    assert!(value(&exposed(&world.gateway).await, "tollgate_journal_waiting_records", &[]).unwrap() >= 1.0);
    file_size_limit(world.gateway.pid(), "unlimited:");
    // Nobody calls a replica that is not ready: it finds out by itself.
    eventually("it is ready again", async || probe().await.status == 200).await;
    assert_eq!(health(&world, "").await, SERVING);
}

pub(crate) const SERVING: i32 = 1;
pub(crate) const NOT_SERVING: i32 = 2;

/// What `grpc.health.v1` says of a service.
async fn health(world: &World, service: &str) -> i32 {
    let channel = tonic::transport::Endpoint::from_shared(world.gateway.grpc()).unwrap().connect().await.unwrap();
    let asked = tonic_health::pb::HealthCheckRequest { service: service.into() };
    tonic_health::pb::health_client::HealthClient::new(channel).check(asked).await.unwrap().into_inner().status
}

#[tokio::test]
async fn prometheus_tools_take_the_exposition_the_rules_and_the_configuration() {
    let world = World::start().await;
    world.gateway.caller().post(&world.v1("chat/completions"), &hello(json!({}))).await.unwrap();
    let text = exposed(&world.gateway).await;
    let directory = examples("prometheus");
    for (arguments, input) in [
        (&["check", "metrics"][..], text.as_bytes()),
        (&["check", "rules", "tollgate-rules.yaml"], b""),
        (&["check", "config", "prometheus.yaml"], b""),
        (&["test", "rules", "tollgate-rules-test.yaml"], b""),
    ] {
        if let Err(told) = promtool(&directory, arguments, input) {
            panic!("promtool {arguments:?}: {told}");
        }
    }
    // The newer format is what a scraper gets that asks for it.
    let open = Caller::default().with("accept", "application/openmetrics-text;version=1.0.0");
    let reply = open.get(&format!("{}/metrics", world.gateway.url())).await.unwrap();
    assert!(reply.header("content-type").starts_with("application/openmetrics-text"));
    assert!(reply.body.ends_with(b"# EOF\n"));
}

#[tokio::test]
async fn every_metric_that_rules_and_dashboard_name_is_one_of_the_gateways() {
    let world = World::start().await;
    let text = exposed(&world.gateway).await;
    let heads: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
    let mut known = BTreeSet::new();
    for (name, kind) in heads {
        match kind {
            "histogram" => known.extend(["bucket", "sum", "count"].map(|suffix| format!("{name}_{suffix}"))),
            _ => drop(known.insert(name.to_owned())),
        }
    }
    for file in ["prometheus/tollgate-rules.yaml", "prometheus/tollgate-rules-test.yaml", "grafana/tollgate.json"] {
        let text = std::fs::read_to_string(examples(file)).unwrap();
        let named = named_in(&text);
        assert!(named.len() > 8, "{file}: {named:?}");
        let unknown: Vec<_> = named.difference(&known).collect();
        assert!(unknown.is_empty(), "{file} names metrics that there are none of: {unknown:?}");
    }
}

/// Words that begin as our metrics do, without the names of recorded rules, which have colons, and without words of prose.
fn named_in(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let words = text.split(|c: char| !is_part(c)).filter(|word| word.starts_with("tollgate_"));
    // What annotations say of histograms is their family.
    let families = ["tollgate_time_to_first_token_seconds", "tollgate_queue_wait_seconds"];
    words.filter(|word| !families.contains(word)).map(str::to_owned).collect()
}
