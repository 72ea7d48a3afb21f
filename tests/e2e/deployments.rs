//! What a deployment is given by the configuration: a price by the second, defaults of requests, a budget, retries by class.

use std::time::Duration;

use serde_json::{Value, json};
use tollgate_client::v1;
use tollgate_tests::provider::Step;

use crate::support::{World, hello};

/// One model with these deployments of the scripted provider.
fn model(deployments: &[Value], more: Value) -> Value {
    let mut model = json!({"name": "scripted", "deployments": deployments, "retries": 0});
    model.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    model
}

fn deployment(more: Value) -> Value {
    let mut deployment =
        json!({"provider": "scripted", "model": "scripted-upstream", "price": {"input": "0.15", "output": "0.60"}});
    deployment.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    deployment
}

async fn ask(world: &World, body: Value) -> (u16, Value) {
    let reply = world.gateway.caller().post(&world.v1("chat/completions"), &hello(body)).await.unwrap();
    (reply.status.as_u16(), reply.json())
}

#[tokio::test]
async fn a_second_of_an_attempt_has_a_price_and_is_held_for_the_whole_time_that_it_may_take() {
    let timed = deployment(json!({"price": {"per_second": "0.01"}}));
    let world = World::with(|b| {
        b.set("/models/0", model(&[timed], json!({}))).set("/providers/scripted/timeouts", json!({"total": "20s"}))
    })
    .await;
    world.provider.script("scripted-upstream", [Step::text("slow").after_ms(300)]);
    assert_eq!(ask(&world, json!({})).await.0, 200);
    let entry = world.entries().await.pop().unwrap();
    let us = entry.usage.as_ref().unwrap().upstream_us.unwrap();
    assert!((300_000..20_000_000).contains(&us), "{us}");
    // Ten nano-dollars a microsecond, to the nano-dollar.
    assert_eq!(entry.cost_nano_usd, i64::try_from(us).unwrap() * 10);
    assert_eq!((entry.held_nano_usd, entry.low_nano_usd), (200_000_000, entry.cost_nano_usd));
    let budget = world.budget().await;
    assert_eq!((budget.spent_nano_usd, budget.held_nano_usd), (entry.cost_nano_usd, 0));
}

#[tokio::test]
async fn a_second_of_sound_that_is_made_or_heard_has_its_price_too() {
    let timed = json!({"provider": "scripted", "model": "timed", "price": {"per_second": "0.01"}});
    let world = World::with(|b| b.deployment("timed", timed)).await;
    world.provider.always("timed", [Step::default().after_ms(300)]);
    let spoken = json!({"model": "timed", "input": "Hello", "voice": "coral"});
    assert_eq!(world.gateway.caller().post(&world.v1("audio/speech"), &spoken).await.unwrap().status, 200);
    let form = "--BOUNDARY\r\ncontent-disposition: form-data; name=\"model\"\r\n\r\ntimed\r\n\
                --BOUNDARY\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a.mp3\"\r\n\r\nsound\r\n\
                --BOUNDARY--\r\n";
    let form = futures::stream::iter([bytes::Bytes::from(form)]);
    let heard = world.gateway.caller().form(&world.v1("audio/transcriptions"), form).await.unwrap();
    assert_eq!(heard.whole().await.unwrap().status, 200);
    for entry in world.entries().await {
        let us = entry.usage.as_ref().unwrap().upstream_us.unwrap();
        assert!(us >= 300_000, "{us}");
        assert_eq!(entry.cost_nano_usd, i64::try_from(us).unwrap() * 10);
    }
    assert_eq!(world.entries().await.len(), 2);
}

#[tokio::test]
async fn a_caller_that_goes_pays_for_the_time_until_then() {
    let timed = deployment(json!({"price": {"per_second": "0.01"}}));
    let world = World::with(|b| b.set("/models/0", model(&[timed], json!({})))).await;
    world.provider.script("scripted-upstream", [Step::text("late").after_ms(60_000)]);
    let call = ask(&world, json!({}));
    assert!(tokio::time::timeout(Duration::from_millis(500), call).await.is_err());
    crate::support::eventually("the time until then is booked", async || {
        let entries = world.entries().await;
        entries.first().is_some_and(|entry| {
            let us = entry.usage.as_ref().unwrap().upstream_us.unwrap();
            entry.outcome == "cancelled" && us < 30_000_000 && entry.cost_nano_usd == i64::try_from(us).unwrap() * 10
        })
    })
    .await;
}

#[tokio::test]
async fn what_a_caller_does_not_say_is_said_by_the_deployment_and_held_for() {
    let given = json!({"temperature": 0.25, "max_tokens": 50, "extra_body": {"guided": "yes"}});
    let world = World::with(|b| b.set("/models/0", model(&[deployment(json!({"defaults": given}))], json!({})))).await;
    world.provider.log().keep_bodies(true);
    assert_eq!(ask(&world, json!({})).await.0, 200);
    assert_eq!(ask(&world, json!({"temperature": 1.0, "max_tokens": 10})).await.0, 200);
    let bodies: Vec<Value> = world.provider.log().records().into_iter().map(|record| record.body.unwrap()).collect();
    assert_eq!(bodies[0]["temperature"], 0.25);
    assert_eq!((&bodies[0]["max_tokens"], &bodies[0]["guided"]), (&json!(50), &json!("yes")));
    assert_eq!((&bodies[1]["temperature"], &bodies[1]["max_tokens"]), (&json!(1.0), &json!(10)));
    let held: Vec<_> = world.entries().await.iter().map(|entry| entry.held_nano_usd).collect();
    // Forty tokens of output less, at 600 nano-dollars each; the body of the second call is no longer in its messages.
    assert_eq!((held[0] - held[1]).abs(), 40 * 600, "{held:?}");
}

#[tokio::test]
async fn a_deployment_whose_budget_is_used_up_is_passed_over_and_the_call_fails_where_none_is_left() {
    // A call costs some thousand nano-dollars; it is held for more.
    let first = deployment(json!({"name": "first", "order": 0, "budget": {"limit_usd": "0.0000001"}}));
    let second = deployment(
        json!({"name": "second", "order": 1, "model": "spare-upstream", "budget": {"limit_usd": "1", "every": "1h"}}),
    );
    let world = World::with(|b| b.set("/models/0", model(&[first, second], json!({})))).await;
    let (status, _) = ask(&world, json!({"max_tokens": 50})).await;
    assert_eq!(status, 200);
    let entries = world.entries().await;
    assert_eq!(entries.iter().map(|e| e.deployment.as_str()).collect::<Vec<_>>(), ["second"]);
    let routing = world.records().await.pop().unwrap().routing.unwrap();
    let passed = routing.candidates.iter().find(|c| c.deployment == "first").unwrap();
    assert!(!passed.chosen && passed.reason.contains("budget"), "{passed:?}");
    let asked = v1::ListBudgetsRequest {
        scope: Some(v1::BudgetScope { deployment: "second".into(), ..Default::default() }),
        ..Default::default()
    };
    let budgets = world.admin().await.budgets().list_budgets(asked).await.unwrap().into_inner().budgets;
    assert_eq!(budgets.len(), 1);
    assert_eq!((budgets[0].spent_nano_usd, budgets[0].held_nano_usd), (entries[0].cost_nano_usd, 0));

    let only = deployment(json!({"name": "only", "budget": {"limit_usd": "0.0000001"}}));
    let world = World::with(|b| b.set("/models/0", model(&[only], json!({})))).await;
    let (status, body) = ask(&world, json!({"max_tokens": 50})).await;
    assert_eq!((status, &body["error"]["code"]), (429, &json!("budget_exceeded")), "{body}");
    assert_eq!(world.provider.log().stats().calls, 0);
    assert_eq!(world.budget().await.held_nano_usd, 0);
}

#[tokio::test]
async fn fifty_calls_at_once_never_spend_more_than_a_deployments_budget() {
    let narrow = deployment(json!({"name": "narrow", "order": 0, "budget": {"limit_usd": "0.0002"}}));
    let wide = deployment(json!({"name": "wide", "order": 1, "model": "spare-upstream"}));
    let world = World::with(|b| b.set("/models/0", model(&[narrow, wide], json!({})))).await;
    let calls = (0..50).map(|_| ask(&world, json!({"max_tokens": 50})));
    let statuses = futures::future::join_all(calls).await;
    assert!(statuses.iter().all(|(status, _)| *status == 200));
    let entries = world.entries().await;
    let narrow: i64 = entries.iter().filter(|e| e.deployment == "narrow").map(|e| e.cost_nano_usd).sum();
    assert!(narrow > 0 && narrow <= 200_000, "{narrow}");
    assert_eq!(entries.len(), 50);
}

#[tokio::test]
async fn retries_are_counted_by_the_class_of_the_failure() {
    let counts = json!({"retries": 1, "retries_by_class": {"rate_limit": 3, "server_error": 0, "invalid_request": 1, "authentication": 1}});
    for (status, attempts) in [(429, 4), (500, 1), (503, 2), (400, 2), (401, 2)] {
        let world = World::with(|b| b.set("/models/0", model(&[deployment(json!({}))], counts.clone()))).await;
        world.provider.always("scripted-upstream", [Step::fails(status)]);
        assert_ne!(ask(&world, json!({})).await.0, 200);
        assert_eq!(world.provider.log().stats().calls, attempts, "{status}");
    }
}
