//! Files and batches: passed through to one deployment, each key's own, charged when they begin and corrected when they end.

mod cluster;
mod elsewhere;
mod upload;

use std::time::Duration;

use serde_json::{Value, json};
use tollgate_client::v1::{self, LedgerEntryKind};
use tollgate_tests::support::{
    GatewayBuilder,
    http::{Caller, Reply},
    keys::virtual_key,
};

use crate::support::{World, eventually};

/// Standard and batch prices in dollars per million tokens: 2 and 10 for what is asked now, half of it for what may wait.
fn priced() -> Value {
    json!({ "provider": "scripted", "model": "upstream-name", "price": { "input": "2", "output": "10", "batch_input": "1", "batch_output": "5" },
            "max_output_tokens": 4096, "context_window": 400_000 })
}

pub(crate) fn quick(builder: GatewayBuilder) -> GatewayBuilder {
    builder.deployment("bulk", priced()).set("/batches", json!({"poll": "50ms"}))
}

async fn world() -> World {
    World::with(quick).await
}

fn line(n: usize, model: &str, word: &str) -> String {
    let body = json!({"model": model, "messages": [{"role": "user", "content": word}], "max_completion_tokens": 100});
    json!({"custom_id": format!("r{n}"), "method": "POST", "url": "/v1/chat/completions", "body": body}).to_string()
}

pub(crate) fn lines(count: usize, word: &str) -> String {
    (0..count).map(|n| line(n, "bulk", word) + "\n").collect()
}

async fn uploaded(world: &World, caller: &Caller, input: &str) -> Reply {
    caller.upload(&world.v1("files"), &[("purpose", "batch"), ("file", "input.jsonl")], input).await.unwrap()
}

fn ok(reply: Reply) -> Value {
    assert_eq!(reply.status, 200, "{}", String::from_utf8_lossy(&reply.body));
    reply.json()
}

async fn begin(url: &str, caller: &Caller, file: &Value) -> Reply {
    let asked = json!({"input_file_id": file["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h",
                       "metadata": {"what": "nightly"}});
    caller.post(url, &asked).await.unwrap()
}

/// A batch of so many lines that goes on.
pub(crate) async fn begun(world: &World, count: usize, word: &str) -> Value {
    let caller = world.gateway.caller();
    let file = ok(uploaded(world, &caller, &lines(count, word)).await);
    ok(begin(&world.v1("batches"), &caller, &file).await)
}

/// What the lines of an output cost at the batch price, each rounded up.
pub(crate) fn cost_of(output: &str) -> i64 {
    let of_line = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        let usage = &line["response"]["body"]["usage"];
        let tokens = |name: &str| usage[name].as_i64().unwrap();
        tokens("prompt_tokens") * 1_000 + tokens("completion_tokens") * 5_000
    };
    output.lines().map(of_line).sum()
}

pub(crate) async fn get(world: &World, route: &str) -> Value {
    ok(world.gateway.caller().get(&world.v1(route)).await.unwrap())
}

pub(crate) async fn content(world: &World, id: &Value) -> String {
    let url = world.v1(&format!("files/{}/content", id.as_str().unwrap()));
    let reply = world.gateway.caller().get(&url).await.unwrap();
    assert_eq!(reply.status, 200);
    String::from_utf8(reply.body.to_vec()).unwrap()
}

pub(crate) async fn settled(world: &World, id: &Value) -> v1::Batch {
    let id = id.as_str().unwrap().to_owned();
    let mut batches = world.caller().await.batches();
    let mut found = v1::Batch::default();
    eventually("the batch is settled", async || {
        let asked = v1::GetBatchRequest { id: id.clone() };
        found = batches.get_batch(asked).await.unwrap().into_inner().batch.unwrap();
        found.cost_nano_usd.is_some()
    })
    .await;
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_is_charged_at_its_bound_and_corrected_to_what_it_cost() {
    let world = world().await;
    let batch = begun(&world, 3, "hello").await;
    assert_eq!((&batch["object"], &batch["status"]), (&json!("batch"), &json!("validating")));
    assert_eq!(batch["metadata"], json!({"what": "nightly"}));
    assert!(batch["id"].as_str().unwrap().starts_with("batch_0"), "{batch}");
    let sent = world.provider.files().concat();
    assert_eq!(sent.matches(r#""model":"upstream-name""#).count(), 3, "{sent}");

    let [charge] = &world.entries().await[..] else { panic!("one entry") };
    assert_eq!((charge.kind(), charge.outcome.as_str()), (LedgerEntryKind::Estimated, "batch"));
    let (least, most) = (3 * 100 * 5_000, 3 * 100 * 10_000);
    assert!((least..most).contains(&charge.cost_nano_usd), "the output limits at the batch price, and the input");
    assert_eq!(world.budget().await.spent_nano_usd, charge.cost_nano_usd);

    world.provider.end_batches("hello", "completed", usize::MAX);
    let ended = settled(&world, &batch["id"]).await;
    let told = get(&world, &format!("batches/{}", ended.id)).await;
    assert_eq!((&told["status"], &told["request_counts"]["completed"]), (&json!("completed"), &json!(3)));
    let cost = cost_of(&content(&world, &told["output_file_id"]).await);
    assert_eq!(ended.cost_nano_usd, Some(cost));
    let entries = world.entries().await;
    assert_eq!(entries.iter().map(|entry| entry.cost_nano_usd).sum::<i64>(), cost);
    let correction = &entries[1];
    assert_eq!((correction.kind(), correction.outcome.as_str()), (LedgerEntryKind::Adjustment, "batch_ended"));
    assert_eq!(correction.adjusts_attempt_id, charge.attempt_id);
    assert_eq!((&correction.key_id, &correction.model), (&charge.key_id, &charge.model));
    assert!(correction.usage.as_ref().unwrap().output.unwrap().total > 0);
    assert_eq!(world.budget().await.spent_nano_usd, cost);

    let spend = world.caller().await.budgets().get_spend(v1::GetSpendRequest::default()).await.unwrap().into_inner();
    let total = spend.total.unwrap();
    assert_eq!((total.cost_nano_usd, total.estimated_nano_usd), (cost, 0));
    let actions: Vec<_> = world.records().await.into_iter().filter(|r| r.action.contains("batch")).collect();
    let names: Vec<_> = actions.iter().map(|record| record.action.as_str()).collect();
    assert_eq!(names, ["batch.create", "batch.settle"]);
    assert!(actions.iter().all(|record| record.key_id == charge.key_id && record.model == "bulk"), "{actions:?}");
    let checked = world.admin().await.budgets().check_ledger(v1::CheckLedgerRequest {}).await.unwrap().into_inner();
    assert_eq!(checked.findings, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_names_the_call_that_it_is_booked_under() {
    let world = world().await;
    let caller = world.gateway.caller();
    let file = ok(uploaded(&world, &caller, &lines(1, "named")).await);
    let begun = begin(&world.v1("batches"), &caller, &file).await;
    let call_id = world.entries().await[0].call_id.clone();
    let url = world.v1(&format!("batches/{}", begun.json()["id"].as_str().unwrap()));
    let shown = caller.get(&url).await.unwrap();
    let cancelled = caller.post(&format!("{url}/cancel"), &json!({})).await.unwrap();
    for reply in [begun, shown, cancelled] {
        assert_eq!(reply.status, 200, "{}", reply.json());
        for name in ["x-request-id", "x-tollgate-request-id", "x-litellm-call-id"] {
            assert_eq!(reply.header(name), call_id, "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_is_cut_short_pays_for_what_was_answered() {
    let world = world().await;
    for (word, status, answered) in [("one", "expired", 2), ("two", "failed", 0), ("three", "cancelled", 1)] {
        let batch = begun(&world, 3, word).await;
        if status == "cancelled" {
            let url = world.v1(&format!("batches/{}/cancel", batch["id"].as_str().unwrap()));
            let told = ok(world.gateway.caller().post(&url, &json!({})).await.unwrap());
            assert_eq!((&told["id"], &told["status"]), (&batch["id"], &json!("cancelling")));
        }
        world.provider.end_batches(word, status, answered);
        let ended = settled(&world, &batch["id"]).await;
        let cost = match ended.output_file_id.as_str() {
            "" => 0,
            id => cost_of(&content(&world, &json!(id)).await),
        };
        assert_eq!((ended.status.as_str(), ended.cost_nano_usd), (status, Some(cost)));
        assert_eq!(cost > 0, answered > 0, "{status}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_output_that_comes_short_is_read_again() {
    let world = world().await;
    let batch = begun(&world, 3, "short").await;
    world.provider.cut_output();
    world.provider.end_batches("short", "completed", usize::MAX);
    let ended = settled(&world, &batch["id"]).await;
    let output = content(&world, &json!(ended.output_file_id)).await;
    assert_eq!(output.lines().count(), 3, "it came short once, to the gateway");
    assert_eq!(ended.cost_nano_usd, Some(cost_of(&output)));
    let entries = world.entries().await;
    assert_eq!(entries.len(), 2);
    assert!(entries[1].reason.ends_with("3 of 3 lines are paid for"), "{}", entries[1].reason);
    assert!(!entries[1].usage.as_ref().unwrap().estimated);
    assert_eq!(world.budget().await.spent_nano_usd, cost_of(&output));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_whose_output_comes_short_is_listed_as_ended() {
    let world = World::with(|builder| quick(builder).set("/batches", json!({"poll": "5s"}))).await;
    begun(&world, 3, "short").await;
    world.provider.cut_output();
    world.provider.end_batches("short", "completed", usize::MAX);
    let is_told = async || get(&world, "batches").await["data"][0]["status"] == "completed";
    eventually("it is told as completed", is_told).await;
    assert_eq!(world.entries().await.len(), 1, "it is not settled yet");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_output_that_comes_short_is_read_no_sooner_for_being_asked_after() {
    let world = World::with(|builder| quick(builder).set("/batches", json!({"poll": "1h"}))).await;
    let batch = begun(&world, 3, "short").await;
    world.provider.cut_output();
    world.provider.end_batches("short", "completed", usize::MAX);
    for _ in 0..5 {
        let told = get(&world, &format!("batches/{}", batch["id"].as_str().unwrap())).await;
        assert_eq!(told["status"], "completed");
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    assert_eq!(world.entries().await.len(), 1, "the output came short when it was first told to have ended");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_the_budget_cannot_afford_does_not_begin() {
    let world = World::with(|builder| quick(builder).budget_usd("0.001")).await;
    let caller = world.gateway.caller();
    let file = ok(uploaded(&world, &caller, &lines(3, "dear")).await);
    let refused = begin(&world.v1("batches"), &caller, &file).await;
    assert_eq!((refused.status.as_u16(), &refused.json()["error"]["code"]), (429, &json!("budget_exceeded")));
    assert_eq!(world.entries().await, []);
    let balance = world.budget().await;
    assert_eq!((balance.spent_nano_usd, balance.held_nano_usd), (0, 0));
    let small = ok(uploaded(&world, &caller, &lines(1, "cheap")).await);
    ok(begin(&world.v1("batches"), &caller, &small).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_keeps_to_the_tags_that_bind_it() {
    let world = World::with(|builder| quick(builder).set("/routing", json!({"tags": ["pii"]}))).await;
    let caller = world.gateway.caller();
    let file = ok(uploaded(&world, &caller, &lines(1, "private")).await);
    let url = world.v1("batches");
    let refused = begin(&url, &caller.clone().with("x-tollgate-tags", "pii"), &file).await;
    assert_eq!((refused.status.as_u16(), &refused.json()["error"]["code"]), (400, &json!("no_route")));
    assert_eq!(world.entries().await, [], "nothing was begun, and nothing is charged");
    let asked = |metadata: Value, tags: Value| {
        json!({"input_file_id": file["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h",
               "metadata": metadata, "tags": tags})
    };
    for body in [asked(json!({"tags": ["pii"]}), json!([])), asked(json!({"what": "nightly"}), json!("pii"))] {
        let refused = caller.post(&url, &body).await.unwrap();
        assert_eq!((refused.status.as_u16(), &refused.json()["error"]["code"]), (400, &json!("no_route")), "{body}");
    }
    assert_eq!(world.entries().await, [], "nor for tags in its body");
    // What binds nobody labels what is spent.
    ok(begin(&url, &caller.clone().with("x-tollgate-tags", "team-a"), &file).await);
    let labelled = asked(json!({"what": "nightly", "tags": ["team-b"]}), json!(["team-c"]));
    let batch = ok(caller.post(&url, &labelled).await.unwrap());
    assert_eq!(batch["metadata"], json!({"what": "nightly"}), "the provider's part of it");
    let tags: Vec<_> = world.entries().await.into_iter().map(|entry| entry.tags).collect();
    assert_eq!(tags, [vec!["team-a"], vec!["team-b", "team-c"]]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_settles_over_a_restart_without_its_caller() {
    let mut world = world().await;
    let batch = begun(&world, 2, "night").await;
    let charge = world.entries().await[0].cost_nano_usd;
    world.gateway.restart().await;
    assert_eq!(world.budget().await.spent_nano_usd, charge, "the charge outlives the process");
    world.provider.end_batches("night", "completed", usize::MAX);
    eventually("it is settled", async || world.entries().await.len() == 2).await;
    let cost = settled(&world, &batch["id"]).await.cost_nano_usd.unwrap();
    assert!((1..charge).contains(&cost), "{cost} of {charge}");
    assert_eq!(world.entries().await.iter().map(|entry| entry.cost_nano_usd).sum::<i64>(), cost);
    // Looked at again, and after another start, nothing moves.
    world.gateway.restart().await;
    get(&world, &format!("batches/{}", batch["id"].as_str().unwrap())).await;
    assert_eq!(world.entries().await.len(), 2);
    assert_eq!(world.budget().await.spent_nano_usd, cost);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_key_has_no_other_sees() {
    let other = virtual_key();
    let world =
        World::with(|builder| quick(builder).key(json!({"name": "other", "secret": other, "models": ["*"]}))).await;
    let (mine, theirs) = (world.gateway.caller(), Caller::bearer(&other));
    let batch = begun(&world, 1, "secret").await;
    world.provider.end_batches("secret", "completed", 1);
    let output = settled(&world, &batch["id"]).await.output_file_id;
    let (file, batch) = (batch["input_file_id"].as_str().unwrap(), batch["id"].as_str().unwrap());
    for id in [file, &output] {
        for route in [format!("files/{id}"), format!("files/{id}/content")] {
            assert_eq!(mine.get(&world.v1(&route)).await.unwrap().status, 200, "{route}");
            assert_eq!(theirs.get(&world.v1(&route)).await.unwrap().status, 404, "{route}");
        }
        assert_eq!(theirs.delete(&world.v1(&format!("files/{id}"))).await.unwrap().status, 404);
    }
    assert_eq!(theirs.get(&world.v1(&format!("batches/{batch}"))).await.unwrap().status, 404);
    let cancel = world.v1(&format!("batches/{batch}/cancel"));
    assert_eq!(theirs.post(&cancel, &json!({})).await.unwrap().status, 404);
    let stolen = begin(&world.v1("batches"), &theirs, &json!({"id": file})).await;
    assert_eq!(stolen.status, 404, "nor may it be the input of another's batch");
    for route in ["files", "batches"] {
        assert_eq!(ok(theirs.get(&world.v1(route)).await.unwrap())["data"], json!([]));
        assert_ne!(ok(mine.get(&world.v1(route)).await.unwrap())["data"], json!([]));
    }
}
