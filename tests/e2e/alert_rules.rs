//! The alert rules of `examples/prometheus`, in a real Prometheus over real gateways: each fires when what it is for is the case.

use std::{
    collections::BTreeSet,
    path::Path,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::task::JoinSet;
use tollgate_services::{Postgres, Prometheus, Redis};
use tollgate_tests::{
    provider::{ScriptedProvider, Step},
    support::{Gateway, http::Caller},
};

use crate::{metrics::examples, support::hello};

/// The rules as they are, but quick: what must last for minutes need not last, and what is looked back at is seconds.
fn quick_rules() -> (String, BTreeSet<String>) {
    let text = std::fs::read_to_string(examples("prometheus/tollgate-rules.yaml")).unwrap();
    let alerts = text.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).map(str::to_owned).collect();
    let lines = text.lines().filter(|line| !line.trim().starts_with("for: "));
    let quick = lines.collect::<Vec<_>>().join("\n").replace("[5m]", "[6s]").replace("[1h]", "[6s]");
    (quick, alerts)
}

/// Names of the alerts that fire.
async fn firing(prometheus: &Prometheus) -> BTreeSet<String> {
    let told = Caller::default().get(&format!("{}/alerts", prometheus.api())).await.unwrap().json();
    let alerts = told["data"]["alerts"].as_array().cloned().unwrap_or_default();
    let fires = alerts.iter().filter(|alert| alert["state"] == "firing");
    fires.filter_map(|alert| alert["labels"]["alertname"].as_str().map(str::to_owned)).collect()
}

async fn is_up(prometheus: &Prometheus, targets: usize) -> bool {
    let told = Caller::default().get(&format!("{}/query?query=sum(up)", prometheus.api())).await;
    let up = told.map(|told| told.json()["data"]["result"][0]["value"][1].as_str().and_then(|up| up.parse().ok()));
    up.is_ok_and(|up| up == Some(targets))
}

/// Waits until all of these fire.
async fn all_fire(prometheus: &Prometheus, wanted: &BTreeSet<String>, within: Duration) {
    let begun = Instant::now();
    let mut seen = BTreeSet::new();
    while !seen.is_superset(wanted) {
        seen.extend(firing(prometheus).await);
        let missing: Vec<_> = wanted.difference(&seen).collect();
        assert!(begun.elapsed() < within, "after {within:?} these have not fired: {missing:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Makes this call over and over, until the set is dropped.
fn keep_calling(calls: &mut JoinSet<()>, gateway: &Gateway, body: Value, pause: Duration) {
    let (caller, url) = (gateway.caller(), gateway.v1("chat/completions"));
    calls.spawn(async move {
        loop {
            // Refused or not: what is counted is the gateway's to say.
            if let Ok(stream) = caller.stream(&url, &body).await {
                let _ = stream.whole().await;
            }
            tokio::time::sleep(pause).await;
        }
    });
}

/// A gateway with a deployment for every trouble.
async fn troubled(provider: &ScriptedProvider, copy: &Path) -> Gateway {
    let at = |provider: &str, model: &str| json!({ "provider": provider, "model": model, "price": {"input": "0", "output": "100"}, "max_output_tokens": 4096 });
    let with = |mut deployment: Value, name: &str, value: Value| {
        deployment[name] = value;
        deployment
    };
    // Every call costs a tenth of a cent: ten cents are a hundred calls, a cent ten.
    let budget = |limit: &str| json!({ "limit_usd": limit });
    // Nobody listens, and there is room for nothing: but for one model, there is nothing to send.
    let sink = json!({ "webhook": {"url": "http://127.0.0.1:1"}, "filter": {"models": ["failing"]}, "memory_records": 1,
                       "spill_max_bytes": 1 });
    Gateway::over(provider)
        .provider("nowhere", "http://127.0.0.1:1")
        .set("/sinks", json!({ "full": sink }))
        .deployment("failing", at("nowhere", "a"))
        .deployment("falling", at("nowhere", "b"))
        .set("/models/1/retries", 0)
        .set("/models/2/retries", 0)
        .set("/models/2/fallbacks", json!(["scripted"]))
        .deployment("slow", at("scripted", "slow-upstream"))
        .deployment("narrow", with(at("scripted", "narrow-upstream"), "limits", json!({"concurrent_requests": 1})))
        .deployment("nearly", with(at("scripted", "nearly-upstream"), "budget", budget("0.1")))
        .deployment("spent", with(at("scripted", "spent-upstream"), "budget", budget("0.01")))
        .deployment(
            "overrun",
            json!({ "provider": "scripted", "model": "overrun-upstream", "price": {"input": "100", "output": "0"}, "max_output_tokens": 4096 }),
        )
        .set("/audit", json!({ "export": { "local": { "dir": copy }, "every": "1s" } }))
        .start()
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_alert_fires_when_its_condition_is_there() {
    let (rules, mut alerts) = quick_rules();
    let (mut postgres, redis) = (Postgres::start(), Redis::start());
    let provider = ScriptedProvider::start().await;
    provider.always("slow-upstream", [Step::streams(3).after_ms(5_500)]);
    provider.always("narrow-upstream", [Step::text("at last").after_ms(7_000)]);
    // A prompt that is longer than it can be: what was held does not cover it.
    provider.always("overrun-upstream", [Step { prompt_tokens: Some(50_000), ..Step::text("dear") }]);
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy");
    let alone = troubled(&provider, &copy).await;
    let store = json!({ "postgres_url": postgres.database().url, "redis_url": redis.url(), "replica_id": "r1",
                        "secret": "a secret that all replicas of this test share" });
    let mut replica = Gateway::over(&provider).set("/store", store).start().await;
    let targets = [&alone, &replica].map(|gateway| gateway.url().replace("http://", ""));
    let prometheus = Prometheus::start(&targets, &rules);
    // It looks for its targets every five seconds.
    let begun = Instant::now();
    while !is_up(&prometheus, 2).await {
        assert!(begun.elapsed() < Duration::from_secs(20), "Prometheus does not scrape both");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let mut calls = JoinSet::new();
    let often = Duration::from_millis(50);
    keep_calling(&mut calls, &alone, hello(json!({})), often);
    keep_calling(&mut calls, &replica, hello(json!({})), often);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(firing(&prometheus).await, BTreeSet::new(), "all is well");

    tokio::task::block_in_place(|| postgres.kill());
    std::fs::remove_dir_all(&copy).unwrap();
    std::fs::write(&copy, "no directory any more").unwrap();
    for model in ["failing", "falling", "spent", "overrun"] {
        let ten_tokens = hello(json!({"model": model, "max_completion_tokens": 10}));
        keep_calling(&mut calls, &alone, ten_tokens, often);
    }
    for _ in 0..3 {
        keep_calling(&mut calls, &alone, hello(json!({"model": "narrow"})), often);
        keep_calling(&mut calls, &alone, hello(json!({"model": "slow", "stream": true})), often);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let nearly = hello(json!({"model": "nearly", "max_completion_tokens": 10}));
    for _ in 0..85 {
        assert_eq!(alone.caller().post(&alone.v1("chat/completions"), &nearly).await.unwrap().status, 200);
    }
    assert!(alerts.remove("TollgateReplicaDown"));
    all_fire(&prometheus, &alerts, Duration::from_secs(40)).await;
    assert!(!firing(&prometheus).await.contains("TollgateReplicaDown"), "both are there");
    replica.kill9();
    all_fire(&prometheus, &["TollgateReplicaDown".to_owned()].into(), Duration::from_secs(10)).await;
}
