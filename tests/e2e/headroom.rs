//! What the heads of providers' answers say: limits, waits, request ids.

use std::collections::BTreeMap;

use serde_json::json;
use tollgate_client::v1;
use tollgate_tests::provider::Step;

use crate::support::{World, hello};

/// Two deployments, the first to be asked first.
async fn first_and_second() -> World {
    let at = |model: &str, order: u32| {
        json!({"provider": "scripted", "model": model, "name": model, "order": order,
               "price": {"input": "0.15", "output": "0.60"}})
    };
    let group = json!({"name": "scripted", "deployments": [at("first", 0), at("second", 1)], "retries": 0});
    World::with(|builder| builder.set("/models/0", group)).await
}

fn saying(status: u16, headers: &[(&str, &str)]) -> Step {
    let headers: BTreeMap<_, _> = headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    Step { status: Some(status), headers, ..Step::default() }
}

/// Calls, and tells which deployment answered.
async fn served_by(world: &World) -> String {
    let reply = world.gateway.caller().post(&world.v1("chat/completions"), &hello(json!({}))).await.unwrap();
    assert_eq!(reply.status, 200, "{:?}", reply.body);
    world.provider.log().last().unwrap().model
}

async fn states(world: &World) -> Vec<v1::RouteState> {
    let asked = v1::GetRouteStateRequest { model: "scripted".into() };
    world.admin().await.models().get_route_state(asked).await.unwrap().into_inner().states
}

#[tokio::test]
async fn who_says_that_it_has_none_left_is_passed_over_and_says_so_in_its_state() {
    let world = first_and_second().await;
    let none_left = [
        ("x-ratelimit-limit-tokens", "30000"),
        ("x-ratelimit-remaining-tokens", "0"),
        ("x-ratelimit-reset-tokens", "50s"),
        ("x-ratelimit-remaining-requests", "499"),
    ];
    world.provider.script("first", [saying(200, &none_left)]);
    assert_eq!(served_by(&world).await, "first");
    assert_eq!(served_by(&world).await, "second");
    let state = states(&world).await.remove(0);
    let tokens = state.tokens_left.unwrap();
    assert_eq!((tokens.remaining, tokens.limit), (0, Some(30_000)));
    assert!((40_000..=50_000).contains(&tokens.reset_ms.unwrap()), "{tokens:?}");
    assert_eq!(state.requests_left, Some(v1::LimitLeft { remaining: 499, ..Default::default() }));
    assert_eq!(state.circuit(), v1::CircuitState::Closed, "it is not left alone for it");
    let asked = v1::ExplainRouteRequest { request: Some(crate::support::request()) };
    let answer = world.caller().await.models().explain_route(asked).await.unwrap().into_inner();
    let order: Vec<_> = answer.order.iter().map(|c| (c.deployment.as_str(), c.reason.as_str())).collect();
    let last = "next by shuffle, although it said it has none left";
    assert_eq!(order, [("second", "next by shuffle"), ("first", last)]);
}

#[tokio::test]
async fn a_refusal_tells_what_is_left_too() {
    let world = first_and_second().await;
    world.provider.script("first", [saying(429, &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "40")])]);
    assert_eq!(served_by(&world).await, "second");
    assert_eq!(served_by(&world).await, "second");
    assert_eq!(states(&world).await[0].requests_left.unwrap().remaining, 0);
}

#[tokio::test]
async fn a_retry_after_beside_a_good_answer_is_no_cooldown() {
    let world = first_and_second().await;
    world.provider.always("first", [saying(200, &[]).retry_after(60)]);
    for _ in 0..2 {
        assert_eq!(served_by(&world).await, "first");
    }
    let state = states(&world).await.remove(0);
    assert_eq!((state.circuit(), state.cooldown_left_ms), (v1::CircuitState::Closed, None));
}

#[tokio::test]
async fn the_id_of_the_answer_stands_for_that_of_the_request_where_the_head_names_none() {
    let world = World::start().await;
    world.provider.script("scripted-upstream", [Step::default(), saying(200, &[("x-request-id", "")])]);
    let url = world.v1("chat/completions");
    for _ in 0..2 {
        world.gateway.caller().post(&url, &hello(json!({}))).await.unwrap();
    }
    let ids: Vec<_> = world.entries().await.into_iter().map(|entry| entry.upstream_request_id).collect();
    assert_eq!(ids[0], world.provider.log().records()[0].provider_request_id);
    assert!(ids[1].starts_with("chatcmpl-"), "{ids:?}");
    let body = json!({"model": "scripted", "input": "x"});
    assert_eq!(world.gateway.caller().post(&world.v1("embeddings"), &body).await.unwrap().status, 200);
    let entry = world.entries().await.pop().unwrap();
    assert_eq!(entry.upstream_request_id, world.provider.log().last().unwrap().provider_request_id);
}
