//! Budgets that hold, over REST and gRPC, alone and under concurrency.

use std::sync::Arc;

use serde_json::json;
use tollgate_client::{reason, v1};
use tollgate_tests::{provider::Step, support::http::Caller};

use crate::support::{World, cost, hello, request};

/// A model whose every call costs what it holds: only output is priced, and the answer is as long as its limit.
async fn one_cent_world() -> World {
    let exact = json!({
        "provider": "scripted", "model": "exact-upstream", "price": {"input": "0", "output": "100"},
        "max_output_tokens": 4096
    });
    // 100 dollars per million tokens, 10 tokens a call: 0.001 dollars. A cent affords ten.
    World::with(|b| b.deployment("exact", exact).budget_usd("0.01")).await
}

fn ten_tokens() -> serde_json::Value {
    hello(json!({"model": "exact", "max_completion_tokens": 10}))
}

#[tokio::test]
async fn a_cent_affords_exactly_ten_calls_of_a_tenth_of_a_cent() {
    let world = one_cent_world().await;
    let caller = world.gateway.caller();
    let url = world.v1("chat/completions");
    for _ in 0..10 {
        assert_eq!(caller.post(&url, &ten_tokens()).await.unwrap().status, 200);
    }
    let refused = caller.post(&url, &ten_tokens()).await.unwrap();
    assert_eq!(refused.status, 429);
    assert_eq!(refused.json()["error"]["code"], "budget_exceeded");
    assert_eq!(refused.header("x-should-retry"), "false");

    let asked = v1::CompletionRequest { model: Some("exact".into()), max_output_tokens: Some(10), ..request() };
    let call = v1::CreateCompletionRequest { request: Some(asked) };
    let status = world.caller().await.completions().create_completion(call).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::ResourceExhausted);
    assert_eq!(reason(&status), Some(v1::ErrorReason::BudgetExhausted));

    let budget = world.budget().await;
    assert_eq!((budget.spent_nano_usd, budget.held_nano_usd), (10_000_000, 0));
    assert_eq!(world.provider.log().stats().complete, 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_concurrent_callers_change_nothing_about_that() {
    let world = Arc::new(one_cent_world().await);
    world.provider.always("exact-upstream", [Step::streams(10).every_ms(2)]);
    let callers = (0..64).map(|n| {
        let world = world.clone();
        tokio::spawn(async move {
            let caller = Caller::bearer(world.gateway.key());
            let body = if n % 2 == 0 {
                ten_tokens()
            } else {
                hello(json!({"model": "exact", "max_completion_tokens": 10, "stream": true}))
            };
            let mut passed = 0;
            loop {
                let stream = caller.stream(&world.v1("chat/completions"), &body).await.unwrap();
                let reply = stream.whole().await.unwrap();
                match reply.status.as_u16() {
                    200 => passed += 1,
                    429 if reply.json()["error"]["code"] == "budget_held" => {}
                    429 => {
                        assert_eq!(reply.json()["error"]["code"], "budget_exceeded");
                        return passed;
                    }
                    other => panic!("{other}: {:?}", reply.body),
                }
            }
        })
    });
    let mut passed = 0;
    for caller in callers.collect::<Vec<_>>() {
        passed += caller.await.unwrap();
    }
    assert_eq!(passed, 10);
    assert_eq!(world.provider.log().stats().complete, 10);
    let entries = world.entries().await;
    assert_eq!(entries.iter().map(|e| e.cost_nano_usd).sum::<i64>(), 10_000_000);
    assert_eq!(world.budget().await.held_nano_usd, 0);
}

#[tokio::test]
async fn the_ledger_and_the_providers_books_agree_to_the_nano_dollar() {
    let world = World::start().await;
    world.provider.script(
        "scripted-upstream",
        [
            Step::text("one two three"),
            Step { cached_tokens: Some(3), ..Step::streams(7) },
            Step::fails(400),
            Step { output_tokens: Some(1_234), ..Step::default() },
        ],
    );
    let caller = world.gateway.caller();
    for stream in [false, true, false, true] {
        let stream = caller.stream(&world.v1("chat/completions"), &hello(json!({"stream": stream}))).await;
        stream.unwrap().whole().await.unwrap();
    }
    let booked: Vec<i64> = world.entries().await.iter().map(|e| e.cost_nano_usd).collect();
    let records = world.provider.log().settled(4).await;
    let billed: Vec<i64> =
        records.iter().filter(|r| r.status == 200).map(|r| cost(r.prompt_tokens, r.completion_tokens)).collect();
    assert_eq!(booked, billed);
    assert_eq!(world.budget().await.spent_nano_usd, billed.iter().sum::<i64>());
}

#[tokio::test]
async fn an_answer_without_usage_is_estimated_and_flagged_never_free() {
    let world = World::start().await;
    world.provider.always("scripted-upstream", [Step { usage: Some(false), ..Step::text("some words to count") }]);
    world.gateway.caller().post(&world.v1("chat/completions"), &hello(json!({}))).await.unwrap();
    let entry = &world.entries().await[0];
    assert_eq!(entry.kind(), v1::LedgerEntryKind::Estimated);
    assert!(entry.cost_nano_usd > 0 && entry.cost_nano_usd <= entry.high_nano_usd);
}

#[tokio::test]
async fn a_raised_limit_lets_calls_through_again_and_a_stale_etag_is_refused() {
    let world = one_cent_world().await;
    let mut budgets = world.admin().await.budgets();
    let before = world.budget().await;
    let tight = v1::Budget { limit_nano_usd: 0, ..before.clone() };
    budgets.update_budget(v1::UpdateBudgetRequest { budget: Some(tight), update_mask: None }).await.unwrap();
    let url = world.v1("chat/completions");
    assert_eq!(world.gateway.caller().post(&url, &ten_tokens()).await.unwrap().status, 429);
    let stale = v1::Budget { limit_nano_usd: 1, ..before.clone() };
    let status =
        budgets.update_budget(v1::UpdateBudgetRequest { budget: Some(stale), update_mask: None }).await.unwrap_err();
    assert_eq!(reason(&status), Some(v1::ErrorReason::EtagMismatch));
    let raised = v1::Budget { limit_nano_usd: 1_000_000, etag: String::new(), ..before };
    budgets.update_budget(v1::UpdateBudgetRequest { budget: Some(raised), update_mask: None }).await.unwrap();
    assert_eq!(world.gateway.caller().post(&url, &ten_tokens()).await.unwrap().status, 200);
}

#[tokio::test]
async fn a_call_without_a_limit_is_capped_where_money_depends_on_it() {
    let world = World::with(|b| b.budget_usd("1").set("/budgets", json!({"default_output_cap": 5}))).await;
    let url = world.v1("chat/completions");
    let reply = world.gateway.caller().post(&url, &hello(json!({}))).await.unwrap();
    assert_eq!(reply.json()["choices"][0]["finish_reason"], "length");
    assert_eq!(world.provider.log().last().unwrap().body.unwrap()["max_completion_tokens"], 5);
}

#[tokio::test]
async fn absurd_usage_of_a_provider_ruins_no_ledger() {
    let world = World::with(|b| b.budget_usd("1000")).await;
    let url = world.v1("chat/completions");
    for prompt_tokens in [1 << 60, 1 << 61, 9_000_000_000] {
        world.provider.script("scripted-upstream", [Step { prompt_tokens: Some(prompt_tokens), ..Step::default() }]);
        let reply = world.gateway.caller().post(&url, &hello(json!({"stream": true}))).await;
        assert!(reply.is_ok());
    }
    assert_eq!(world.entries().await.len(), 3);
    for entry in world.entries().await {
        assert_eq!(entry.kind(), v1::LedgerEntryKind::Estimated, "{entry:?}");
        assert!(entry.cost_nano_usd <= entry.held_nano_usd);
    }
    assert_eq!(world.gateway.caller().post(&url, &hello(json!({}))).await.unwrap().status, 200);
}
