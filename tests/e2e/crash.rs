//! `kill -9` under load, again and again: nothing is lost, nothing doubled, doubt is flagged.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use serde_json::json;
use tollgate_client::v1::{CheckLedgerRequest, LedgerEntryKind};
use tollgate_tests::{
    provider::{Outcome, Step},
    support::{Gateway, http::Caller},
};

use crate::support::{World, cost, eventually, hello};

const ROUNDS: usize = 20;
const CALLERS: usize = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_twenty_kills_under_load_the_ledger_and_the_provider_still_agree() {
    let mut world = World::start().await;
    world.provider.always("scripted-upstream", [Step::streams(8).every_ms(3)]);
    let (url, key) = (world.v1("chat/completions"), world.gateway.key().to_owned());
    let mut complete: Vec<String> = Vec::new();
    for round in 0..ROUNDS {
        let load = (0..CALLERS).map(|n| {
            let (url, key) = (url.clone(), key.clone());
            tokio::spawn(async move {
                let caller = Caller::bearer(key);
                let body = hello(json!({"stream": n % 2 == 0, "max_completion_tokens": 64}));
                let mut whole = Vec::new();
                // Until the gateway is gone.
                while let Ok(stream) = caller.stream(&url, &body).await {
                    match stream.whole().await {
                        Ok(reply) if reply.status == 200 && is_complete(&reply.body) => {
                            whole.push(reply.header("x-request-id").to_owned());
                        }
                        _ => break,
                    }
                }
                whole
            })
        });
        let load: Vec<_> = load.collect();
        tokio::time::sleep(Duration::from_millis(60 + 17 * round as u64 % 90)).await;
        world.gateway.kill9();
        for caller in load {
            complete.extend(caller.await.unwrap());
        }
        world.gateway.restart().await;
    }
    let world = Arc::new(world);
    eventually("the provider has ended every attempt", async || world.provider.log().stats().open == 0).await;

    let billed: HashMap<String, (i64, Outcome)> = world
        .provider
        .log()
        .records()
        .into_iter()
        .map(|r| (r.client_request_id.clone().unwrap(), (cost(r.prompt_tokens, r.completion_tokens), r.outcome)))
        .collect();
    let entries = world.entries().await;
    let (mut exact_booked, mut exact_billed, mut doubtful) = (0, 0, 0);
    for entry in &entries {
        match entry.kind() {
            LedgerEntryKind::Exact => {
                let (cost, _) =
                    billed.get(&entry.attempt_id).expect("an exact entry is an attempt that the provider saw");
                assert_eq!(entry.cost_nano_usd, *cost, "{}", entry.attempt_id);
                exact_booked += entry.cost_nano_usd;
                exact_billed += cost;
            }
            // Flagged, and what the provider billed lies inside what the entry says.
            _ => {
                let cost = billed.get(&entry.attempt_id).map_or(0, |(cost, _)| *cost);
                assert!((entry.low_nano_usd..=entry.high_nano_usd).contains(&cost), "{entry:?} against {cost}");
                doubtful += 1;
            }
        }
    }
    assert_eq!(exact_booked, exact_billed);
    let booked: HashSet<&str> = entries.iter().map(|e| e.attempt_id.as_str()).collect();
    assert_eq!(booked.len(), entries.len(), "no attempt is booked twice");
    for (id, (cost, outcome)) in &billed {
        assert!(
            booked.contains(id.as_str()),
            "the provider billed {cost} for {id} ({outcome:?}), the ledger does not know it"
        );
    }
    // Before its last frame: whoever saw an answer whole has its entry, exact, whatever happened a moment later.
    let exact: HashSet<&str> =
        entries.iter().filter(|e| e.kind() == LedgerEntryKind::Exact).map(|e| e.call_id.as_str()).collect();
    for call in &complete {
        assert!(exact.contains(call.as_str()), "the answer of {call} was seen whole and is not booked exactly");
    }
    let complete = complete.len();
    let sum: i64 = entries.iter().map(|e| e.cost_nano_usd).sum();
    let budget = world.budget().await;
    assert_eq!((budget.spent_nano_usd, budget.held_nano_usd), (sum, 0));
    assert!(
        complete > ROUNDS && doubtful > 0,
        "{complete} complete, {doubtful} in doubt: the load was not killed in flight"
    );
    println!("{} entries, {complete} answers seen whole, {doubtful} in doubt and flagged", entries.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_new_calls_and_loses_no_end_of_those_in_flight() {
    // A file may not grow any more: what a full disk is to a process, for whoever may not mount one.
    let mut world = World::with(|builder| builder.wrapped_in(["sh", "-c", r#"trap "" XFSZ; exec "$0" "$@""#])).await;
    let url = world.v1("chat/completions");
    let call = async |world: &World| world.gateway.caller().post(&url, &hello(json!({}))).await.unwrap();
    assert_eq!(call(&world).await.status, 200);
    world.provider.script("scripted-upstream", [Step::streams(10).every_ms(40)]);
    let mut stream = world.gateway.caller().stream(&url, &hello(json!({"stream": true}))).await.unwrap();
    stream.next().await.unwrap();
    fill_disk(&world.gateway);

    let whole = stream.whole().await.unwrap();
    assert!(is_complete(&whole.body), "a call in flight ends well: {:?}", String::from_utf8_lossy(&whole.body));
    let refused = call(&world).await;
    assert_eq!((refused.status.as_u16(), &refused.json()["error"]["code"]), (503, &json!("ledger_unavailable")));
    assert_eq!(world.budget().await.held_nano_usd, 0, "a refused call holds nothing");
    assert_eq!(world.provider.log().stats().calls, 2, "nor is it sent");

    file_size_limit(world.gateway.pid(), "unlimited:");
    eventually("calls go on", async || call(&world).await.status == 200).await;
    world.gateway.kill9();
    world.gateway.restart().await;
    let entries = world.entries().await;
    assert!(entries.iter().all(|e| e.kind() == LedgerEntryKind::Exact), "{entries:?}");
    assert_eq!(entries.len(), 3, "the end that the disk refused is there");
    let checked = world.admin().await.budgets().check_ledger(CheckLedgerRequest {}).await.unwrap().into_inner();
    assert_eq!(checked.findings, []);
}

/// From now on the journal's file cannot grow.
pub(crate) fn fill_disk(gateway: &Gateway) {
    let length = |entry: std::io::Result<std::fs::DirEntry>| {
        let entry = entry.unwrap();
        entry.path().extension().is_some_and(|e| e == "journal").then(|| entry.metadata().unwrap().len())
    };
    let files = std::fs::read_dir(gateway.data_dir().join("journal")).unwrap();
    let written = files.filter_map(length).max().unwrap();
    file_size_limit(gateway.pid(), &format!("{written}:"));
}

pub(crate) fn file_size_limit(pid: u32, limit: &str) {
    let status = std::process::Command::new("prlimit")
        .args([format!("--pid={pid}"), format!("--fsize={limit}")])
        .status()
        .expect("prlimit of util-linux");
    assert!(status.success());
}

/// A stream to its end, or a whole JSON answer.
fn is_complete(body: &[u8]) -> bool {
    body.ends_with(b"data: [DONE]\n\n") || (body.starts_with(b"{") && body.ends_with(b"}"))
}
