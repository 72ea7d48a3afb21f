//! Retries, fallbacks, and streams that break.

use std::time::Duration;

use serde_json::{Value, json};
use tollgate_client::v1;
use tollgate_tests::fault_proxy::{Fault, FaultProxy};
use tollgate_tests::provider::{Cut, Malformed, Step};

use crate::support::{World, eventually, hello};

async fn with_fallback() -> World {
    let fallback = json!({"name": "scripted", "deployments": [
        {"provider": "scripted", "model": "scripted-upstream", "price": {"input": "0.15", "output": "0.60"}}
    ], "fallbacks": ["spare"], "retries": 0});
    World::with(|b| b.set("/models/0", fallback).model("spare", "scripted", "spare-upstream")).await
}

#[tokio::test]
async fn failures_before_the_first_content_fall_back_invisibly() {
    for (step, class) in [
        (Step::fails(429), "rate_limit"),
        (Step::fails(500), "server_error"),
        (Step::fails(503), "overloaded"),
        (Step::fails(401), "authentication"),
        (Step { no_reply: true, ..Step::default() }, "connection"),
        (Step::streams(4).then_cuts(0, Cut::Rst), "upstream_truncated"),
    ] {
        let world = with_fallback().await;
        let url = world.v1("chat/completions");
        world.provider.script("scripted-upstream", [step]);
        world.provider.script("spare-upstream", [Step::text("from the spare")]);
        let (events, ended) =
            world.gateway.caller().stream(&url, &hello(json!({"stream": true}))).await.unwrap().rest().await;
        ended.unwrap();
        let text: String = events
            .iter()
            .filter(|e| e.data != "[DONE]")
            .filter_map(|e| e.json()["choices"][0]["delta"]["content"].as_str().map(str::to_owned))
            .collect();
        assert_eq!(text, "from the spare", "{class}");
        assert_eq!(events.last().unwrap().data, "[DONE]", "{class}");
        let record = world.records().await.pop().unwrap();
        let classes: Vec<_> = record.routing.unwrap().attempts.into_iter().map(|a| a.class).collect();
        assert_eq!(classes, [class, "ok"]);
    }
}

#[tokio::test]
async fn an_answer_in_one_piece_tells_how_many_attempts_it_took() {
    let world = with_fallback().await;
    let url = world.v1("chat/completions");
    world.provider.script("scripted-upstream", [Step::text("at once"), Step::fails(503)]);
    for (attempts, model) in [("1", "scripted-upstream"), ("2", "spare-upstream")] {
        let reply = world.gateway.caller().post(&url, &hello(json!({}))).await.unwrap();
        assert_eq!((reply.header("x-tollgate-attempts"), reply.header("x-tollgate-model")), (attempts, model));
    }
}

#[tokio::test]
async fn the_callers_own_mistakes_are_never_retried() {
    let world = with_fallback().await;
    world.provider.always("scripted-upstream", [Step::fails(400)]);
    let reply = world.gateway.caller().post(&world.v1("chat/completions"), &hello(json!({}))).await.unwrap();
    assert_eq!(reply.status, 400);
    assert_eq!(world.provider.log().stats().calls, 1);
}

#[tokio::test]
async fn a_rate_limit_is_retried_when_the_provider_says_and_told_when_nothing_is_left() {
    let world = World::start().await;
    let url = world.v1("chat/completions");
    world.provider.script("scripted-upstream", [Step::fails(429).retry_after(1)]);
    let begun = std::time::Instant::now();
    assert_eq!(world.gateway.caller().post(&url, &hello(json!({}))).await.unwrap().status, 200);
    assert!(begun.elapsed() >= Duration::from_secs(1));
    world.provider.always("scripted-upstream", [Step::fails(429).retry_after(60)]);
    let reply = world.gateway.caller().post(&url, &hello(json!({}))).await.unwrap();
    assert_eq!((reply.status.as_u16(), reply.header("retry-after")), (429, "60"));
    assert_eq!(reply.json()["error"]["code"], "rate_limit_exceeded");
}

#[tokio::test]
async fn a_stream_that_breaks_after_its_first_content_ends_with_an_error_and_is_booked() {
    let world = with_fallback().await;
    let url = world.v1("chat/completions");
    let breaks = [
        Step::streams(8).then_cuts(3, Cut::Rst),
        Step::streams(8).then_cuts(3, Cut::Fin),
        Step::streams(8).then_errs(3),
        Step { malformed: Some(Malformed::Json), ..Step::streams(8) },
    ];
    let count = breaks.len();
    for step in breaks {
        let shown = format!("{step:?}");
        world.provider.script("scripted-upstream", [step]);
        let (events, _) =
            world.gateway.caller().stream(&url, &hello(json!({"stream": true}))).await.unwrap().rest().await;
        let last = events.last().unwrap();
        assert!(last.json()["error"]["message"].is_string(), "{shown}: {last:?}");
        assert!(events.iter().all(|e| e.data != "[DONE]"), "{shown}");
    }
    let entries = world.entries().await;
    assert_eq!(entries.len(), count);
    assert!(entries.iter().all(|e| e.outcome == "failed" && e.cost_nano_usd > 0));
}

#[tokio::test]
async fn a_provider_nobody_reaches_is_a_bad_gateway_and_costs_nothing() {
    let world = World::with(|b| {
        b.provider("gone", "http://127.0.0.1:9/v1").model("gone", "gone", "m").set("/models/1/retries", 0)
    })
    .await;
    let reply =
        world.gateway.caller().post(&world.v1("chat/completions"), &hello(json!({"model": "gone"}))).await.unwrap();
    assert_eq!((reply.status.as_u16(), &reply.json()["error"]["code"]), (502, &json!("provider_failed")));
    assert_eq!(world.entries().await.len(), 0);
    assert_eq!(world.budget().await.held_nano_usd, 0);
}

#[tokio::test]
async fn anthropic_serves_openai_callers_with_tools_and_signed_reasoning() {
    let provider = tollgate_tests::provider::ScriptedProvider::start().await;
    let gateway = tollgate_tests::support::gateway::Gateway::builder()
        .provider_of_kind("claude", "anthropic", &provider.base_url())
        .model("claude", "claude", "claude-upstream")
        .start()
        .await;
    let url = gateway.v1("chat/completions");
    let tools = json!([{"type": "function", "function": {"name": "weather", "parameters": {
        "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}]);
    let mut messages = vec![json!({"role": "user", "content": "What is the weather?"})];
    for _ in 0..2 {
        let body = json!({"model": "claude", "messages": messages, "tools": tools, "reasoning_effort": "low", "max_tokens": 4000});
        let reply = gateway.caller().post(&url, &body).await.unwrap();
        assert_eq!(reply.status, 200, "{:?}", reply.body);
        let message = reply.json()["choices"][0]["message"].clone();
        messages.push(message.clone());
        if let Some(call) = message["tool_calls"].get(0) {
            assert!(message["reasoning_details"][0]["signature"].is_string(), "{message}");
            messages.push(json!({"role": "tool", "tool_call_id": call["id"], "content": "19 degrees"}));
        }
    }
    // The provider refuses a turn whose reasoning was lost or changed: that it answered is the proof.
    assert_eq!(provider.log().stats().complete, 2);
}

#[tokio::test]
async fn a_cut_anthropic_stream_is_booked_by_its_reported_input_and_what_arrived() {
    let world = World::with_provider(|b, base_url| {
        b.provider_of_kind("claude", "anthropic", base_url).model("claude", "claude", "claude-upstream")
    })
    .await;
    world.provider.script("claude-upstream", [Step::streams(40).then_cuts(30, Cut::Rst)]);
    let body = hello(json!({"model": "claude", "stream": true}));
    let (events, _) = world.gateway.caller().stream(&world.v1("chat/completions"), &body).await.unwrap().rest().await;
    assert!(events.last().unwrap().json()["error"].is_object());
    let entry = world.entries().await.pop().unwrap();
    let billed = world.provider.log().settled(1).await.pop().unwrap();
    let usage = entry.usage.clone().unwrap();
    assert_eq!(entry.kind(), tollgate_client::v1::LedgerEntryKind::Estimated);
    assert_eq!(usage.input.unwrap().total, billed.prompt_tokens);
    assert!(usage.output.unwrap().total > 5, "{usage:?} against {}", billed.completion_tokens);
}

/// A model of two deployments, with more said of the second and of the model.
async fn with_two(second: Value, model: Value) -> World {
    let price = json!({"input": "0.15", "output": "0.60"});
    let first = json!({"provider": "scripted", "model": "scripted-upstream", "price": price});
    let mut other = json!({"provider": "scripted", "price": price});
    other.as_object_mut().unwrap().extend(second.as_object().unwrap().clone());
    let mut all = json!({"name": "scripted", "deployments": [first, other], "retries": 0});
    all.as_object_mut().unwrap().extend(model.as_object().unwrap().clone());
    World::with(|b| b.set("/models/0", all)).await
}

/// Where the calls of a model went, by what the provider saw.
fn served(world: &World, upstream: &str) -> usize {
    world.provider.log().records().iter().filter(|r| r.model == upstream).count()
}

#[tokio::test]
async fn a_deployment_that_fails_is_left_alone_and_comes_back() {
    let cooldown = json!({"cooldown": {"allowed_fails": 2, "time": "3s"}});
    let world = with_two(json!({"model": "spare-upstream", "order": 1}), cooldown).await;
    let url = world.v1("chat/completions");
    let call = async || world.gateway.caller().post(&url, &hello(json!({}))).await.unwrap().status;
    let state = async || {
        let asked = v1::GetRouteStateRequest { model: "scripted".into() };
        world.admin().await.models().get_route_state(asked).await.unwrap().into_inner().states[0].clone()
    };
    world.provider.always("scripted-upstream", [Step::fails(500)]);
    for _ in 0..6 {
        assert_eq!(call().await, 200, "the spare serves");
    }
    assert_eq!(served(&world, "scripted-upstream"), 3, "two are allowed, the third is one too many");
    let open = state().await;
    assert_eq!((open.circuit(), open.cooldown_class.as_str()), (v1::CircuitState::Open, "server_error"));
    assert!(open.cooldown_left_ms.is_some_and(|left| (1..=3_000).contains(&left)), "{open:?}");
    assert_eq!((open.requests, open.failures, open.in_flight), (3, 3, 0));

    world.provider.always("scripted-upstream", [Step::text("back")]);
    eventually("it is tried again and serves", async || {
        call().await;
        state().await.circuit() == v1::CircuitState::Closed
    })
    .await;
    let before = served(&world, "spare-upstream");
    assert_eq!(call().await, 200);
    assert_eq!(served(&world, "spare-upstream"), before, "all traffic is back");
}

#[tokio::test]
async fn a_bad_credential_is_left_alone_at_once() {
    let world = with_fallback().await;
    world.provider.always("scripted-upstream", [Step::fails(401)]);
    for _ in 0..5 {
        let reply = world.gateway.caller().post(&world.v1("chat/completions"), &hello(json!({}))).await.unwrap();
        assert_eq!(reply.status, 200);
    }
    assert_eq!(served(&world, "scripted-upstream"), 1);
}

#[tokio::test]
async fn a_route_is_explained_without_a_call() {
    let world = with_fallback().await;
    let asked = v1::ExplainRouteRequest { request: Some(crate::support::request()) };
    let explained = world.caller().await.models().explain_route(asked).await.unwrap().into_inner();
    let order: Vec<_> = explained.order.iter().map(|c| (c.model.as_str(), c.reason.as_str())).collect();
    assert_eq!(order, [("scripted", "next by shuffle"), ("spare", "next by shuffle")]);
    assert_eq!(world.provider.log().stats().calls, 0);
    assert!(world.entries().await.is_empty());
}

#[tokio::test]
async fn a_tagged_call_reaches_only_deployments_with_its_tag() {
    let world = with_two(json!({"model": "local-upstream", "tags": ["pii"]}), json!({})).await;
    let url = world.v1("chat/completions");
    let tagged = world.gateway.caller().with("x-tollgate-tags", "pii,team-a");
    for _ in 0..10 {
        assert_eq!(tagged.post(&url, &hello(json!({}))).await.unwrap().status, 200);
    }
    assert_eq!((served(&world, "local-upstream"), served(&world, "scripted-upstream")), (10, 0));
    world.provider.always("local-upstream", [Step::fails(500)]);
    assert_eq!(tagged.post(&url, &hello(json!({}))).await.unwrap().status, 502, "rather nowhere than elsewhere");
    assert_eq!(served(&world, "scripted-upstream"), 0);
}

#[tokio::test]
async fn tags_of_a_key_bind_its_calls() {
    let world = with_two(json!({"model": "local-upstream", "tags": ["pii"]}), json!({})).await;
    let key = world.key(v1::Key { tags: vec!["pii".into()], ..Default::default() }).await;
    let caller = tollgate_tests::support::http::Caller::bearer(&key.secret);
    let url = world.v1("chat/completions");
    for _ in 0..10 {
        assert_eq!(caller.post(&url, &hello(json!({}))).await.unwrap().status, 200);
    }
    assert_eq!((served(&world, "local-upstream"), served(&world, "scripted-upstream")), (10, 0));
}

#[tokio::test]
async fn a_call_names_its_own_fallbacks_or_none() {
    let world = with_fallback().await;
    world.provider.always("scripted-upstream", [Step::fails(500)]);
    let url = world.v1("chat/completions");
    let with = |name, value| world.gateway.caller().with("x-tollgate-want-routing", "true").with(name, value);
    let body = hello(json!({}));
    let spare = with("x-tollgate-fallbacks", "spare").post(&url, &body).await.unwrap();
    assert_eq!(spare.status, 200);
    let route = spare.header("x-tollgate-route");
    let classes: Vec<_> = route.split(", ").filter_map(|attempt| attempt.split(';').nth(1)).collect();
    assert_eq!(classes, ["server_error", "ok"], "{route}");
    assert_eq!(with("x-tollgate-fallbacks", "none").post(&url, &body).await.unwrap().status, 502);
    let unknown = with("x-tollgate-fallbacks", "nobody").post(&url, &body).await.unwrap();
    assert_eq!(unknown.status, 400);
    let error = unknown.json()["error"].clone();
    assert_eq!(error["param"], "fallbacks[0]");
    assert!(error["message"].as_str().unwrap().starts_with("fallbacks[0]: there is no model"), "{error}");
    let in_the_body = hello(json!({"fallbacks": ["spare"]}));
    assert_eq!(world.gateway.caller().post(&url, &in_the_body).await.unwrap().status, 200);
    let sent = world.provider.log().last().unwrap().body.unwrap();
    assert!(sent.get("fallbacks").is_none(), "what is meant for the gateway goes no further: {sent}");
    let words = hello(json!({"fallbacks": "spare"}));
    assert_eq!(world.gateway.caller().post(&url, &words).await.unwrap().status, 400);
    let nowhere = with("x-tollgate-region", "eu").post(&url, &body).await.unwrap();
    assert_eq!((nowhere.status.as_u16(), &nowhere.json()["error"]["code"]), (400, &json!("no_route")));
}

#[tokio::test]
async fn a_mirrored_call_costs_its_caller_nothing_and_is_recorded_apart() {
    let shadow = json!({"name": "shadow", "deployments": [
        {"provider": "scripted", "model": "shadow-upstream", "price": {"input": "1", "output": "1"}}
    ], "retries": 0});
    let world = World::with(|b| {
        b.model("shadow", "scripted", "shadow-upstream")
            .set("/models/1", shadow)
            .set("/models/0/mirror", json!({"model": "shadow", "percent": 100}))
    })
    .await;
    let scope = v1::BudgetScope { kind: v1::ScopeKind::Tag as i32, id: "experiment".into(), ..Default::default() };
    let budget = v1::Budget { scope: Some(scope), limit_nano_usd: 1_000_000_000, ..Default::default() };
    let asked = v1::CreateBudgetRequest { budget: Some(budget), ..Default::default() };
    let of_tag = world.admin().await.budgets().create_budget(asked).await.unwrap().into_inner().budget.unwrap().id;
    world.provider.script("shadow-upstream", [Step::streams(3).every_ms(1_200), Step::fails(500)]);
    let url = world.v1("chat/completions");
    let tagged = world.gateway.caller().with("x-tollgate-tags", "experiment");
    for _ in 0..2 {
        assert_eq!(tagged.post(&url, &hello(json!({}))).await.unwrap().status, 200);
    }
    let answers = world.provider.log().stats().complete;
    assert_eq!(answers, 2, "the caller's own: the copy, which takes seconds, is not waited for");
    eventually("the copies are on record", async || {
        world.records().await.iter().filter(|r| r.action == "completion.mirror").count() == 2
    })
    .await;
    let entries = world.entries().await;
    let (copies, own): (Vec<_>, Vec<_>) = entries.into_iter().partition(|e| e.key_id == "mirror");
    assert_eq!((copies.len(), own.len()), (1, 2), "one copy failed and is not billed");
    assert_eq!((copies[0].model.as_str(), copies[0].tags.as_slice()), ("shadow", ["experiment".to_owned()].as_slice()));
    let spent: i64 = own.iter().map(|e| e.cost_nano_usd).sum();
    let budget = world.budget().await;
    assert_eq!((budget.spent_nano_usd, budget.held_nano_usd), (spent, 0));
    let asked = v1::GetBudgetRequest { id: of_tag, ..Default::default() };
    let of_tag = world.admin().await.budgets().get_budget(asked).await.unwrap().into_inner().budget.unwrap();
    assert_eq!((of_tag.spent_nano_usd, of_tag.held_nano_usd), (spent, 0), "nor do budgets on its tags");
    let record = world.records().await.into_iter().find(|r| r.action == "completion.mirror").unwrap();
    assert!(own.iter().any(|e| Some(&e.call_id) == record.metadata.get("mirror_of")), "{record:?}");
}

#[tokio::test]
async fn a_call_is_pinned_to_one_deployment_and_to_no_other() {
    let world = with_two(json!({"model": "second-upstream", "name": "second"}), json!({"fallbacks": []})).await;
    let (caller, url, body) = (world.gateway.caller(), world.v1("chat/completions"), hello(json!({})));
    for _ in 0..8 {
        let reply = caller.clone().with("x-tollgate-pin", "second").post(&url, &body).await.unwrap();
        assert_eq!((reply.status.as_u16(), reply.header("x-tollgate-deployment")), (200, "second"));
    }
    world.provider.always("second-upstream", [Step::fails(503)]);
    assert_eq!(caller.clone().with("x-tollgate-pin", "second").post(&url, &body).await.unwrap().status, 503);
    assert_eq!(served(&world, "scripted-upstream"), 0);
    let unknown = caller.clone().with("x-tollgate-pin", "third").post(&url, &body).await.unwrap();
    assert_eq!((unknown.status.as_u16(), &unknown.json()["error"]["code"]), (400, &json!("no_route")));
    let told = unknown.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(told.contains("not the one that the call is pinned to"), "{told}");
}

#[tokio::test]
async fn a_provider_that_is_down_is_left_alone_before_anybody_calls_and_is_back_when_a_check_succeeds() {
    let provider = tollgate_tests::provider::ScriptedProvider::start().await;
    let line = FaultProxy::before(provider.address(), 3).unwrap();
    line.set(Fault::Refuse);
    let price = json!({"input": "0.15", "output": "0.60"});
    let deployment = |provider: &str| json!({"name": provider, "provider": provider, "model": "m", "price": price});
    let world = World::with_provider(|b, url| {
        b.provider("flaky", &format!("http://{}/v1", line.address()))
            .provider("steady", url)
            .set("/providers/flaky/health_check", json!({"interval": "200ms", "allowed_fails": 1}))
            .set("/models/0", json!({"name": "scripted", "deployments": [deployment("flaky")], "fallbacks": ["spare"]}))
            .deployment("spare", deployment("steady"))
    })
    .await;
    let state = async || {
        let asked = v1::GetRouteStateRequest { model: "scripted".into() };
        let answer = world.caller().await.models().get_route_state(asked).await.unwrap().into_inner();
        answer.states[0].circuit()
    };
    eventually("nobody has called, and it is left alone", async || state().await == v1::CircuitState::Open).await;
    let (caller, url, body) = (world.gateway.caller(), world.v1("chat/completions"), hello(json!({})));
    let reply = caller.post(&url, &body).await.unwrap();
    assert_eq!((reply.header("x-tollgate-deployment"), reply.header("x-tollgate-attempts")), ("steady", "1"));
    line.heal();
    eventually("it may be tried again", async || state().await == v1::CircuitState::HalfOpen).await;
    let reply = caller.post(&url, &body).await.unwrap();
    assert_eq!(reply.header("x-tollgate-deployment"), "flaky");
    assert_eq!(state().await, v1::CircuitState::Closed);
}

#[tokio::test]
async fn a_storm_of_refusals_is_retried_within_its_budget_alone() {
    let retries = json!({"retries": 3, "retry_budget": {"percent": 10, "per_second": 0}, "cooldown": {"time": "0s"}});
    let world = with_two(json!({"model": "second-upstream"}), retries).await;
    for upstream in ["scripted-upstream", "second-upstream"] {
        world.provider.always(upstream, [Step::fails(429)]);
    }
    let (caller, url, body) = (world.gateway.caller(), world.v1("chat/completions"), hello(json!({})));
    for _ in 0..100 {
        assert_eq!(caller.post(&url, &body).await.unwrap().status, 429);
    }
    // Each deployment once for each call, a tenth of the calls again, and the ten retries that a full budget begins with.
    let calls = world.provider.log().stats().calls;
    assert!((200..=220).contains(&calls), "{calls} attempts of 100 calls at two deployments");
}

#[tokio::test]
async fn fallbacks_that_name_each_other_end() {
    let alias = |name: &str, falls_back: &str| {
        json!({"name": name, "retries": 0, "fallbacks": [falls_back], "deployments": [
            {"name": format!("{name}-1"), "provider": "scripted", "model": format!("{name}-upstream"),
             "price": {"input": "0.15", "output": "0.60"}}]})
    };
    let world = World::with(|b| b.set("/models", json!([alias("left", "right"), alias("right", "left")]))).await;
    for upstream in ["left-upstream", "right-upstream"] {
        world.provider.always(upstream, [Step::fails(500)]);
    }
    let reply =
        world.gateway.caller().post(&world.v1("chat/completions"), &hello(json!({"model": "left"}))).await.unwrap();
    assert_eq!(reply.status, 502);
    let asked: Vec<_> = world.provider.log().records().into_iter().map(|r| r.model).collect();
    assert_eq!(asked, ["left-upstream", "right-upstream"]);
}

#[tokio::test]
async fn a_provider_that_does_not_answer_in_time_is_replaced_and_mistakes_of_credentials_are_not_retried_there() {
    for (step, class) in [
        (Step::text("late").after_ms(5_000), "timeout"),
        // Its head comes at once, its first word does not.
        (Step { first_token_ms: Some(5_000), ..Step::text("late") }, "timeout"),
        (Step::fails(401), "authentication"),
        (Step::fails(403), "permission"),
    ] {
        let world = with_two(json!({"model": "second-upstream", "order": 1}), json!({"retries": 2})).await;
        let config = std::fs::read_to_string(world.gateway.config_file()).unwrap();
        let mut config: Value = serde_yaml_ng::from_str(&config).unwrap();
        config["providers"]["scripted"]["timeouts"] = json!({"first_byte": "300ms", "first_token": "400ms"});
        std::fs::write(world.gateway.config_file(), config.to_string()).unwrap();
        world.gateway.send_signal("HUP").unwrap();
        eventually("the new timeout is in force", async || world.gateway.logs().contains("are read anew")).await;
        world.provider.always("scripted-upstream", [step]);
        let (caller, url) = (world.gateway.caller(), world.v1("chat/completions"));
        let reply = caller.stream(&url, &hello(json!({"stream": true}))).await.unwrap().whole().await.unwrap();
        assert_eq!(reply.status, 200, "{class}");
        let record = world.records().await.pop().unwrap();
        let classes: Vec<_> = record.routing.unwrap().attempts.into_iter().map(|a| a.class).collect();
        assert_eq!(classes, [class, "ok"]);
    }
}

#[tokio::test]
async fn a_streamed_answer_and_an_error_tell_their_route_too_where_it_is_asked_for() {
    let world = with_fallback().await;
    let (caller, url) = (world.gateway.caller().with("x-tollgate-want-routing", "true"), world.v1("chat/completions"));
    world.provider.script("scripted-upstream", [Step::fails(503)]);
    let (events, ended) = caller.stream(&url, &hello(json!({"stream": true}))).await.unwrap().rest().await;
    ended.unwrap();
    let told = events[events.len() - 2].json();
    assert_eq!((&told["choices"], events.last().unwrap().data.as_str()), (&json!([]), "[DONE]"));
    let route = told["tollgate"]["route"].as_str().unwrap().to_owned();
    assert!(route.contains(";overloaded;") && route.contains(";ok;"), "{route}");
    for upstream in ["scripted-upstream", "spare-upstream"] {
        world.provider.always(upstream, [Step::fails(500)]);
    }
    let refused = caller.post(&url, &hello(json!({}))).await.unwrap();
    let route = refused.header("x-tollgate-route");
    assert!(route.starts_with("scripted:") && route.contains(", spare:"), "{route}");
}

#[tokio::test]
async fn a_key_that_may_not_use_a_fallback_is_not_served_by_it() {
    let narrow = tollgate_tests::support::keys::virtual_key();
    let fallback = json!({"name": "scripted", "fallbacks": ["spare", "allowed"], "retries": 0, "deployments": [
        {"provider": "scripted", "model": "scripted-upstream", "price": {"input": "0.15", "output": "0.60"}}]});
    let world = World::with(|b| {
        b.set("/models/0", fallback)
            .model("spare", "scripted", "spare-upstream")
            .model("allowed", "scripted", "allowed-upstream")
            .key(json!({"name": "narrow", "secret": narrow, "models": ["scripted", "allowed"]}))
    })
    .await;
    world.provider.always("scripted-upstream", [Step::fails(500)]);
    let caller = tollgate_tests::support::http::Caller::bearer(&narrow);
    let reply = caller.post(&world.v1("chat/completions"), &hello(json!({}))).await.unwrap();
    assert_eq!((reply.status.as_u16(), reply.header("x-tollgate-model")), (200, "allowed-upstream"));
    assert_eq!(served(&world, "spare-upstream"), 0);
}

#[tokio::test]
async fn what_nobody_named_falls_back_by_default_and_calls_without_a_label_stay_with_the_default_one() {
    let price = json!({"input": "0.15", "output": "0.60"});
    let model = |name: &str, tag: &str| {
        json!({"name": name, "retries": 0, "deployments": [
            {"provider": "scripted", "model": format!("{name}-upstream"), "price": price, "tags": [tag]}]})
    };
    let world = World::with(|b| {
        b.set("/models", json!([model("scripted", "general"), model("secret", "pii"), model("spare", "general")]))
            .set("/routing", json!({"default_fallbacks": ["secret", "spare"], "default_tag": "general"}))
    })
    .await;
    world.provider.always("scripted-upstream", [Step::fails(500)]);
    let reply = world.gateway.caller().post(&world.v1("chat/completions"), &hello(json!({}))).await.unwrap();
    assert_eq!((reply.status.as_u16(), reply.header("x-tollgate-model")), (200, "spare-upstream"));
    assert_eq!(served(&world, "secret-upstream"), 0);
}

#[tokio::test]
async fn a_connection_that_is_refused_and_one_that_falls_silent_before_its_first_word_are_replaced() {
    let spare = |b: tollgate_tests::support::GatewayBuilder| b.model("spare", "scripted", "spare-upstream");
    let gone = json!({"name": "scripted", "retries": 0, "fallbacks": ["spare"], "deployments": [
        {"provider": "gone", "model": "m", "price": {"input": "0.15", "output": "0.60"}}]});
    let world = World::with(|b| spare(b.provider("gone", "http://127.0.0.1:9/v1").set("/models/0", gone))).await;
    let url = world.v1("chat/completions");
    let reply = world.gateway.caller().post(&url, &hello(json!({}))).await.unwrap();
    assert_eq!(reply.header("x-tollgate-model"), "spare-upstream");
    let record = world.records().await.pop().unwrap();
    assert_eq!(record.routing.unwrap().attempts[0].class, "connection");

    let silent = json!({"name": "scripted", "retries": 0, "fallbacks": ["spare"], "deployments": [
        {"provider": "scripted", "model": "scripted-upstream", "price": {"input": "0.15", "output": "0.60"}}]});
    for timeouts in [json!({"idle": "300ms"}), json!({"total": "300ms"})] {
        let world =
            World::with(|b| spare(b.set("/models/0", silent.clone()).set("/providers/scripted/timeouts", timeouts)))
                .await;
        let (caller, url) = (world.gateway.caller(), world.v1("chat/completions"));
        world.provider.script("scripted-upstream", [Step::streams(5).then_stalls(0)]);
        let stream = caller.stream(&url, &hello(json!({"stream": true}))).await.unwrap();
        assert_eq!(stream.headers["x-tollgate-model"], "spare-upstream");
        stream.rest().await.1.unwrap();
        // Behind its first word the silence ends the call.
        world.provider.script("scripted-upstream", [Step::streams(5).then_stalls(2)]);
        let (events, _) = caller.stream(&url, &hello(json!({"stream": true}))).await.unwrap().rest().await;
        assert!(events.last().unwrap().json()["error"]["message"].is_string(), "{events:?}");
    }
}

#[tokio::test]
async fn a_wait_stated_in_milliseconds_is_waited_for() {
    let world = World::start().await;
    let headers = [("retry-after-ms".to_owned(), "400".to_owned()), ("retry-after".to_owned(), "9".to_owned())].into();
    world.provider.script("scripted-upstream", [Step { headers, ..Step::fails(429) }]);
    let begun = std::time::Instant::now();
    let reply = world.gateway.caller().post(&world.v1("chat/completions"), &hello(json!({}))).await.unwrap();
    assert_eq!(reply.status, 200);
    assert!((400..5_000).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn callers_stick_by_customer_or_by_what_their_metadata_says() {
    for (by, field) in [("customer", "customer"), ("metadata.session", "session")] {
        let second = json!({"model": "second-upstream", "name": "second"});
        let world = with_two(second, json!({"sticky": by})).await;
        let client = world.caller().await;
        let asked = |who: String| {
            let customer = (field == "customer").then(|| who.clone());
            let options =
                v1::GatewayOptions { customer, metadata: [(field.to_owned(), who)].into(), ..Default::default() };
            let request = v1::CompletionRequest { tollgate: Some(options), ..crate::support::request() };
            v1::CreateCompletionRequest { request: Some(request) }
        };
        let mut seen = std::collections::HashSet::new();
        for who in 0..12 {
            let mut own = std::collections::HashSet::new();
            for _ in 0..4 {
                let call = asked(format!("who-{who}"));
                let answer = client.completions().create_completion(call).await.unwrap().into_inner();
                own.insert(answer.completion.unwrap().started.unwrap().deployment);
            }
            assert_eq!(own.len(), 1, "{by}: {own:?}");
            seen.extend(own);
        }
        assert_eq!(seen.len(), 2, "{by}: both have callers");
    }
}
