//! Cases that users of LiteLLM meet, over a configuration of its own: what falls back and what does not, what is tried how often, what a
//! limit lets through at once. The whole list is in `docs/migrating-from-litellm.md`.

use std::time::Instant;

use futures::future::join_all;
use serde_json::{Value, json};
use tollgate_tests::{provider::Step, support::http::Caller};

use crate::{
    litellm_config::{MASTER_KEY, Started},
    support::hello,
};

const CONFIG: &str = r#"
model_list:
  - {model_name: first, litellm_params: {model: openai/first-upstream, input_cost_per_token: 1e-6, output_cost_per_token: 1e-6}}
  - {model_name: second, litellm_params: {model: openai/second-upstream, input_cost_per_token: 1e-6, output_cost_per_token: 1e-6}}
  - {model_name: alone, litellm_params: {model: openai/alone-upstream, input_cost_per_token: 1e-6, output_cost_per_token: 1e-6}}
router_settings:
  fallbacks: [{first: [second]}]
  num_retries: RETRIES
  timeout: 1
  allowed_fails: 1000
general_settings: {master_key: os.environ/LITELLM_MASTER_KEY}
"#;

async fn retrying(times: usize) -> Started {
    Started::text(&CONFIG.replace("RETRIES", &times.to_string()), &[]).await
}

fn code(body: &Value) -> &str {
    body["error"]["code"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn what_another_model_may_answer_falls_back_and_without_a_fallback_the_failure_is_told() {
    let world = retrying(0).await;
    // What is wrong with the call is wrong everywhere.
    world.provider.always("first-upstream", [Step::fails(400)]);
    assert_eq!(world.ask(json!({"model": "first"})).await.0, 400);
    assert_eq!(world.served("second-upstream"), 0);
    for (what, fails, status) in [
        ("an error of the provider", Step::fails(500), 502),
        ("silence", Step::text("late").after_ms(5_000), 504),
        ("a limit of the provider", Step::fails(429), 429),
        ("a credential that it refuses", Step::fails(401), 502),
    ] {
        for model in ["first-upstream", "alone-upstream"] {
            world.provider.always(model, [fails.clone()]);
        }
        let (before, begun) = (world.served("second-upstream"), Instant::now());
        let (answered, body) = world.ask(json!({"model": "first"})).await;
        assert_eq!((answered, world.served("second-upstream") - before), (200, 1), "{what}: {body}");
        assert!(begun.elapsed().as_secs() < 4, "{what}: nobody waits for the silent one");
        let (answered, body) = world.ask(json!({"model": "alone"})).await;
        assert_eq!(answered, status, "{what}: {body}");
        assert!(!code(&body).is_empty() && body["error"]["message"].is_string(), "{what}: {body}");
    }
}

#[tokio::test]
async fn a_failure_that_may_pass_is_tried_as_often_as_configured_and_a_mistake_once() {
    let world = retrying(2).await;
    world.provider.script("alone-upstream", [Step::fails(500), Step::fails(503), Step::text("there")]);
    assert_eq!(world.ask(json!({"model": "alone"})).await.0, 200);
    assert_eq!(world.served("alone-upstream"), 3, "one attempt and two more");
    world.provider.always("alone-upstream", [Step::fails(500)]);
    assert_eq!(world.ask(json!({"model": "alone"})).await.0, 502);
    assert_eq!(world.served("alone-upstream"), 6);
    for (status, told) in [(400, 400), (401, 502)] {
        let before = world.served("alone-upstream");
        world.provider.always("alone-upstream", [Step::fails(status)]);
        assert_eq!(world.ask(json!({"model": "alone"})).await.0, told);
        assert_eq!(world.served("alone-upstream") - before, 1, "{status}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_calls_at_once_on_five_a_minute_are_five_and_the_rest_hear_when_to_come_back() {
    let world = retrying(0).await;
    let url = world.gateway.v1("").trim_end_matches("/v1/").to_owned();
    let admin = Caller::bearer(MASTER_KEY);
    let made = admin.post(&format!("{url}/key/generate"), &json!({"rpm_limit": 5})).await.unwrap().json();
    let caller = Caller::bearer(made["key"].as_str().unwrap());
    let (route, body) = (world.gateway.v1("chat/completions"), hello(json!({"model": "alone"})));
    let replies = join_all((0..20).map(|_| caller.post(&route, &body))).await;
    let (mut passed, mut refused) = (0, 0);
    for reply in replies {
        let reply = reply.unwrap();
        match reply.status.as_u16() {
            200 => passed += 1,
            429 => {
                refused += 1;
                assert_eq!(code(&reply.json()), "rate_limit_exceeded");
                assert!(reply.header("retry-after").parse::<u64>().is_ok_and(|seconds| seconds > 0));
            }
            status => panic!("{status}: {}", reply.json()),
        }
    }
    assert_eq!((passed, refused, world.served("alone-upstream")), (5, 15, 5));
}
