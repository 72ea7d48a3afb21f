//! Same key, same request: one call upstream, one entry in the ledger.

use std::time::Duration;

use serde_json::json;
use tollgate_tests::{provider::Step, support::http::Caller};

use crate::support::{World, eventually, hello};

fn with_key(world: &World, key: &str) -> Caller {
    world.gateway.caller().with("idempotency-key", key)
}

#[tokio::test]
async fn a_repetition_replays_the_answer_and_is_not_billed() {
    let world = World::start().await;
    let url = world.v1("chat/completions");
    let first = with_key(&world, "k1").post(&url, &hello(json!({}))).await.unwrap();
    let again = with_key(&world, "k1").post(&url, &hello(json!({}))).await.unwrap();
    assert_eq!(first.body, again.body);
    assert_eq!(world.provider.log().stats().calls, 1);
    assert_eq!(world.entries().await.len(), 1);
    let other = with_key(&world, "k1").post(&url, &hello(json!({"n": 2}))).await.unwrap();
    assert_eq!((other.status.as_u16(), &other.json()["error"]["code"]), (422, &json!("idempotency_mismatch")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_in_flight_are_joined_from_the_start() {
    let world = World::start().await;
    world.provider.always("scripted-upstream", [Step::streams(20).every_ms(10)]);
    let url = world.v1("chat/completions");
    let body = hello(json!({"stream": true}));
    let calls = (0..8).map(|n| {
        let (caller, url, body) = (with_key(&world, "k2"), url.clone(), body.clone());
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(n * 15)).await;
            caller.stream(&url, &body).await.unwrap().whole().await.unwrap().body
        })
    });
    let mut answers = Vec::new();
    for call in calls.collect::<Vec<_>>() {
        answers.push(call.await.unwrap());
    }
    assert!(answers.iter().all(|a| *a == answers[0] && a.ends_with(b"data: [DONE]\n\n")));
    assert_eq!(world.provider.log().stats().calls, 1);
    assert_eq!(world.entries().await.len(), 1);
}

#[tokio::test]
async fn a_client_that_gives_up_and_repeats_at_once_finds_its_call_still_running() {
    let world = World::start().await;
    world.provider.always("scripted-upstream", [Step::streams(10).every_ms(30)]);
    let url = world.v1("chat/completions");
    let body = hello(json!({}));
    let impatient = with_key(&world, "k3");
    let gave_up = tokio::time::timeout(Duration::from_millis(100), impatient.post(&url, &body)).await;
    assert!(gave_up.is_err());
    let reply = with_key(&world, "k3").post(&url, &body).await.unwrap();
    assert_eq!(reply.status, 200);
    assert_eq!(world.provider.log().stats().calls, 1);
}

#[tokio::test]
async fn without_any_reader_the_call_ends_within_a_second_and_its_key_is_free_again() {
    let world = World::start().await;
    world.provider.script("scripted-upstream", [Step::streams(500).every_ms(20)]);
    let url = world.v1("chat/completions");
    let body = hello(json!({"stream": true}));
    let mut stream = with_key(&world, "k4").stream(&url, &body).await.unwrap();
    stream.next().await.unwrap();
    let begun = std::time::Instant::now();
    drop(stream);
    world.provider.log().settled(1).await;
    assert!(begun.elapsed() < Duration::from_millis(1_000), "{:?}", begun.elapsed());
    eventually("the cut call is settled", async || world.entries().await.len() == 1).await;
    let reply = with_key(&world, "k4").stream(&url, &body).await.unwrap().whole().await.unwrap();
    assert_eq!(reply.status, 200);
    assert_eq!(world.provider.log().stats().calls, 2);
}

#[tokio::test]
async fn a_failure_is_not_kept_and_a_restart_never_bills_again() {
    let mut world = World::start().await;
    world.provider.script("scripted-upstream", [Step::fails(400)]);
    let url = world.v1("chat/completions");
    assert_eq!(with_key(&world, "k5").post(&url, &hello(json!({}))).await.unwrap().status, 400);
    assert_eq!(with_key(&world, "k5").post(&url, &hello(json!({}))).await.unwrap().status, 200);
    world.gateway.kill9();
    world.gateway.restart().await;
    let reply = with_key(&world, "k5").post(&url, &hello(json!({}))).await.unwrap();
    assert_eq!((reply.status.as_u16(), reply.header("x-should-retry")), (409, "false"));
    assert_eq!(reply.json()["error"]["code"], "idempotency_replay_unavailable");
    assert_eq!(world.provider.log().stats().calls, 2);
}
