//! Rankings, moderations and images: through both doors, settled to the nano-dollar, refused and replaced like any other call.

use serde_json::{Value, json};
use tollgate_client::{reason, v1};
use tollgate_tests::{
    provider::{Malformed, Step},
    support::http::{Caller, Reply},
};

use crate::support::{World, cost};

/// A query costs a fifth of a cent at Cohere; a server of its own is the spare.
async fn world_with(price: Value, budget_usd: &str) -> World {
    World::with_provider(|builder, base_url| {
        let ranker = json!({"provider": "ranker", "model": "ranks", "price": {"per_query": "0.002"}});
        let spare = json!({"provider": "server", "model": "spare-ranks", "order": 1, "price": {"per_query": "0.002"}});
        let deployment =
            |model: &str, order: u32| json!({"provider": "scripted", "model": model, "order": order, "price": price});
        builder
            .provider_of_kind("ranker", "cohere", base_url.trim_end_matches("/v1"))
            .provider_of_kind("server", "vllm", base_url)
            .deployment("rank", ranker)
            .deployment("rank", spare)
            .deployment("judge", deployment("judges", 0))
            .deployment("judge", deployment("spare-judges", 1))
            .deployment("draw", deployment("draws", 0))
            .deployment("draw", deployment("spare-draws", 1))
            .budget_usd(budget_usd)
    })
    .await
}

async fn world() -> World {
    world_with(json!({"input": "0.15", "output": "0.60"}), "100").await
}

/// A route and a body of each operation.
fn calls() -> [(&'static str, Value); 3] {
    [
        ("rerank", ranking()),
        ("moderations", json!({"model": "judge", "input": ["be nice", "kill it"]})),
        ("images/generations", json!({"model": "draw", "prompt": "a gate at dawn", "n": 2, "size": "1024x1024"})),
    ]
}

/// Over a hundred documents: two search units.
fn ranking() -> Value {
    let documents: Vec<String> = (0..101).map(|n| if n == 7 { "open gate".into() } else { format!("{n}") }).collect();
    json!({"model": "rank", "query": "open the gate", "documents": documents, "top_n": 3})
}

fn ranked() -> v1::RerankRequest {
    let body = ranking();
    v1::RerankRequest {
        model: Some("rank".into()),
        query: Some("open the gate".into()),
        documents: serde_json::from_value(body["documents"].clone()).unwrap(),
        top_n: Some(3),
        return_documents: true,
        ..Default::default()
    }
}

fn judged(inputs: Vec<v1::moderation_input::Input>) -> v1::CreateModerationRequest {
    let inputs = inputs.into_iter().map(|input| v1::ModerationInput { input: Some(input) }).collect();
    v1::CreateModerationRequest { model: Some("judge".into()), inputs, ..Default::default() }
}

fn drawn() -> v1::GenerateImageRequest {
    v1::GenerateImageRequest {
        model: Some("draw".into()),
        prompt: Some("a gate at dawn".into()),
        n: Some(2),
        output_format: Some("png".into()),
        ..Default::default()
    }
}

async fn post(world: &World, route: &str, body: &Value) -> Reply {
    world.gateway.caller().post(&world.v1(route), body).await.unwrap()
}

fn code(reply: &Reply) -> (u16, Value) {
    (reply.status.as_u16(), reply.json()["error"]["code"].clone())
}

#[tokio::test]
async fn a_ranking_comes_best_first_and_is_settled_by_the_query() {
    let world = world().await;
    let answer = world.caller().await.reranks().rerank(ranked()).await.unwrap().into_inner();
    assert_eq!(answer.results.len(), 3);
    assert_eq!((answer.results[0].index, answer.results[0].document.as_deref()), (7, Some("open gate")));
    assert!(answer.results[0].relevance_score > answer.results[1].relevance_score);
    let usage = answer.usage.unwrap();
    assert_eq!((usage.search_units, usage.cost_nano_usd, usage.estimated), (Some(2), 4_000_000, false));
    assert_eq!(answer.started.unwrap().provider, "ranker");

    for route in [world.v1("rerank"), world.gateway.v1("rerank").replace("/v1/", "/v2/")] {
        let reply = world.gateway.caller().post(&route, &ranking()).await.unwrap();
        assert_eq!(reply.json()["results"][0]["index"], 7, "{route}");
        assert_eq!(reply.header("x-tollgate-cost"), "0.004000000");
        assert_eq!(reply.json()["meta"]["billed_units"]["search_units"], 2, "the provider's own answer");
    }
    // The caller's own bytes, but for the model.
    let sent = world.provider.log().last().unwrap();
    assert_eq!((&sent.body.unwrap()["query"], sent.path.as_str()), (&json!("open the gate"), "/v2/rerank"));

    let entries = world.entries().await;
    assert_eq!(entries.iter().map(|e| e.cost_nano_usd).collect::<Vec<_>>(), [4_000_000; 3]);
    assert!(entries.iter().all(|e| e.kind() == v1::LedgerEntryKind::Exact && e.held_nano_usd == 4_000_000));
    let budget = world.budget().await;
    assert_eq!((budget.spent_nano_usd, budget.held_nano_usd), (12_000_000, 0));
    let actions: Vec<_> =
        world.records().await.into_iter().map(|r| r.action).filter(|a| a == "rerank.create").collect();
    assert_eq!(actions.len(), 3);
}

#[tokio::test]
async fn what_a_provider_bills_of_queries_is_settled_up_to_what_was_held() {
    let world = world().await;
    let one = Step { search_units: Some(1), ..Step::default() };
    let too_many = Step { search_units: Some(50), ..Step::default() };
    let silent = Step { usage: Some(false), ..Step::default() };
    for (step, cost, kind) in [
        (one, 2_000_000, v1::LedgerEntryKind::Exact),
        (too_many, 4_000_000, v1::LedgerEntryKind::Estimated),
        (silent, 4_000_000, v1::LedgerEntryKind::Estimated),
    ] {
        world.provider.script("ranks", [step.clone()]);
        assert_eq!(post(&world, "rerank", &ranking()).await.status, 200);
        let entry = world.entries().await.pop().unwrap();
        assert_eq!((entry.cost_nano_usd, entry.kind()), (cost, kind), "{step:?}");
    }
}

#[tokio::test]
async fn a_moderation_names_its_categories_and_free_ones_pass_any_budget() {
    let free = json!({"input": "0", "output": "0"});
    let world = world_with(free, "0").await;
    let text = |text: &str| v1::moderation_input::Input::Text(text.into());
    let asked = judged(vec![text("be nice"), text("kill it")]);
    let answer = world.caller().await.moderations().create_moderation(asked).await.unwrap().into_inner();
    assert_eq!(answer.results.iter().map(|r| r.flagged).collect::<Vec<_>>(), [false, true]);
    let violence = answer.results[1].categories.iter().find(|c| c.name == "violence").unwrap();
    assert_eq!(
        (violence.flagged, violence.score, violence.input_types.as_slice()),
        (true, Some(0.75), &["text".into()][..])
    );
    assert_eq!(answer.usage.unwrap().cost_nano_usd, 0);

    let image = v1::moderation_input::Input::ImageUrl("https://example.org/kill.png".into());
    let asked = judged(vec![text("what is it"), image]);
    let answer = world.caller().await.moderations().create_moderation(asked).await.unwrap().into_inner();
    assert_eq!(answer.results.len(), 1, "judged together");
    let sent = world.provider.log().last().unwrap().body.unwrap();
    assert_eq!(sent["input"][1], json!({"type": "image_url", "image_url": {"url": "https://example.org/kill.png"}}));

    let reply = post(&world, "moderations", &json!({"model": "judge", "input": "kill it"})).await;
    assert_eq!(
        (&reply.json()["results"][0]["flagged"], reply.header("x-tollgate-cost")),
        (&json!(true), "0.000000000")
    );
    assert_eq!(world.entries().await.len(), 3, "on the books all the same");
}

#[tokio::test]
async fn images_come_as_bytes_or_as_the_provider_wrote_them_and_cost_what_they_count() {
    let world = world().await;
    let answer = world.caller().await.images().generate_image(drawn()).await.unwrap().into_inner();
    let data: Vec<_> = answer.images.iter().map(|image| image.image.clone().unwrap()).collect();
    let drawn = |text: &'static str| v1::generated_image::Image::Data(text.into());
    assert_eq!(data, [drawn("image 0"), drawn("image 1")]);
    assert_eq!(answer.output_format, "png");
    // "a gate at dawn" is four words; two images of 1,056 tokens.
    let expected = cost(4, 2 * 1_056);
    assert_eq!(answer.usage.unwrap().cost_nano_usd, expected);

    let reply = post(&world, "images/generations", &calls()[2].1).await;
    assert_eq!(reply.json()["data"][1]["b64_json"], "aW1hZ2UgMQ==");
    assert_eq!(reply.json()["usage"]["output_tokens"], 2_112);
    let entries = world.entries().await;
    assert_eq!(entries.iter().map(|e| e.cost_nano_usd).collect::<Vec<_>>(), [expected; 2]);
    // Held by the pixels: the prompt's bytes and the most tokens that two images can be.
    assert!(entries.iter().all(|e| e.kind() == v1::LedgerEntryKind::Exact && e.held_nano_usd >= cost(14, 2 * 8_192)));

    let refused = json!({"model": "draw", "prompt": "x", "response_format": "url"});
    let reply = post(&world, "images/generations", &refused).await;
    assert_eq!(reply.status, 400);
    assert!(reply.json()["error"]["message"].as_str().unwrap().contains("response_format"));
    assert_eq!(world.entries().await.len(), 2, "a refusal costs nothing");
}

#[tokio::test]
async fn who_names_no_model_gets_the_one_that_openai_named_as_its_own() {
    let by = |model: &str| json!({"provider": "scripted", "model": model, "price": {"input": "1", "output": "1"}});
    let world =
        World::with(|b| b.deployment("omni-moderation-latest", by("judges")).deployment("gpt-image-1.5", by("draws")))
            .await;
    for (route, body, model) in [
        ("moderations", json!({"input": "be nice"}), "judges"),
        ("images/generations", json!({"prompt": "a gate"}), "draws"),
        ("images/generations", json!({"prompt": "a gate", "stream": true}), "draws"),
    ] {
        let reply = post(&world, route, &body).await;
        assert_eq!(reply.status, 200, "{route} {body}");
        assert_eq!(world.provider.log().last().unwrap().body.unwrap()["model"], model, "{route} {body}");
    }
}

#[tokio::test]
async fn images_that_tell_no_usage_and_answers_that_cannot_be_read_are_booked_at_the_hold() {
    let world = world().await;
    world.provider.script("draws", [Step { usage: Some(false), ..Step::default() }]);
    assert_eq!(post(&world, "images/generations", &calls()[2].1).await.status, 200);
    let silent = world.entries().await.pop().unwrap();
    assert_eq!(silent.kind(), v1::LedgerEntryKind::Estimated);
    assert_eq!(silent.usage.unwrap().output.unwrap().total, 2 * 8_192);

    world.provider.script("draws", [Step { malformed: Some(Malformed::Json), ..Step::default() }]);
    let reply = post(&world, "images/generations", &calls()[2].1).await;
    assert_eq!((reply.status.as_u16(), reply.header("x-tollgate-deployment")), (200, "draw:scripted/spare-draws"));
    let entries = world.entries().await;
    let broken = entries.iter().find(|e| e.outcome == "failed").unwrap();
    assert_eq!(broken.usage.as_ref().unwrap().output.unwrap().total, 2 * 8_192, "the provider made them");
    assert_eq!(entries.len(), 3);
}

#[tokio::test]
async fn an_exhausted_budget_refuses_every_operation_before_it_is_sent() {
    let world = world_with(json!({"input": "1", "output": "1"}), "0.000001").await;
    for (route, body) in calls() {
        let reply = post(&world, route, &body).await;
        assert_eq!(code(&reply), (429, json!("budget_exceeded")), "{route}");
    }
    let caller = world.caller().await;
    let exhausted = Some(v1::ErrorReason::BudgetExhausted);
    assert_eq!(reason(&caller.reranks().rerank(ranked()).await.unwrap_err()), exhausted);
    let asked = judged(vec![v1::moderation_input::Input::Text("kill it".into())]);
    assert_eq!(reason(&caller.moderations().create_moderation(asked).await.unwrap_err()), exhausted);
    assert_eq!(reason(&caller.images().generate_image(drawn()).await.unwrap_err()), exhausted);
    assert_eq!(world.provider.log().stats().calls, 0);
}

#[tokio::test]
async fn a_model_without_a_price_is_refused_under_a_hard_budget() {
    let world = World::with(|b| b.deployment("judge", json!({"provider": "scripted", "model": "judges"}))).await;
    assert_eq!(code(&post(&world, "moderations", &calls()[1].1).await), (400, json!("price_unknown")));
    // The catalogue lists this one, at nothing.
    let listed = json!({"provider": "scripted", "model": "omni-moderation-latest"});
    let world = World::with(|b| b.deployment("judge", listed).budget_usd("0")).await;
    assert_eq!(post(&world, "moderations", &calls()[1].1).await.status, 200);
}

#[tokio::test]
async fn a_failing_deployment_is_replaced_and_costs_nothing() {
    for (at, upstream) in [(0, "ranks"), (1, "judges"), (2, "draws")] {
        let world = world().await;
        let (route, body) = &calls()[at];
        world.provider.always(upstream, [Step::fails(500)]);
        let reply = post(&world, route, body).await;
        assert_eq!(reply.status, 200, "{route}");
        assert!(reply.header("x-tollgate-deployment").ends_with(&format!("/spare-{upstream}")), "{route}");
        assert_eq!(world.entries().await.len(), 1, "{route}");
        let attempts = world.records().await.pop().unwrap().routing.unwrap().attempts;
        assert_eq!(attempts.first().unwrap().class, "server_error", "{route}");
        assert!(!attempts.last().unwrap().upstream_request_id.is_empty(), "{route}");
    }
}

#[tokio::test]
async fn rights_bind_and_a_provider_without_the_operation_is_never_asked() {
    let narrow = tollgate_tests::support::keys::virtual_key();
    let world = World::with(|b| b.key(json!({"name": "narrow", "secret": narrow, "models": ["other"]}))).await;
    let body = |mut body: Value| {
        body["model"] = json!("scripted");
        body
    };
    for (route, asked) in calls() {
        let reply = Caller::bearer(&narrow).post(&world.v1(route), &body(asked)).await.unwrap();
        assert_eq!(code(&reply), (403, json!("model_not_allowed")), "{route}");
    }
    // Of the kind `openai`, which has no rankings.
    assert_eq!(code(&post(&world, "rerank", &body(ranking())).await), (400, json!("unsupported_parameter")));
    assert_eq!(world.provider.log().stats().calls, 0);
}

#[tokio::test]
async fn a_repetition_replays_and_one_key_is_one_request_of_one_operation() {
    let world = world().await;
    let caller = world.gateway.caller().with("idempotency-key", "k1");
    let first = caller.post(&world.v1("rerank"), &ranking()).await.unwrap();
    let again = caller.post(&world.v1("rerank"), &ranking()).await.unwrap();
    assert_eq!((first.status.as_u16(), &first.body), (200, &again.body));
    let other = caller.post(&world.v1("moderations"), &calls()[1].1).await.unwrap();
    assert_eq!(code(&other), (422, json!("idempotency_mismatch")));
    assert_eq!(world.provider.log().stats().calls, 1);
    assert_eq!(world.entries().await.len(), 1);
}

#[tokio::test]
async fn bad_bodies_are_refused_by_the_name_of_the_field() {
    let world = world().await;
    for (route, body, param) in [
        ("rerank", json!({"model": "rank", "documents": ["a"]}), "query"),
        ("rerank", json!({"model": "rank", "query": "q"}), "documents"),
        ("rerank", json!({"model": "rank", "query": "q", "documents": [{"title": "a"}]}), "documents[0]"),
        ("rerank", json!({"model": "rank", "query": "q", "documents": ["a"], "top_n": 0}), "top_n"),
        (
            "rerank",
            json!({"model": "rank", "query": "q", "documents": ["a"], "max_tokens_per_doc": 0}),
            "max_tokens_per_doc",
        ),
        ("moderations", json!({"model": "judge", "input": []}), "input"),
        ("moderations", json!({"model": "judge", "input": [{"type": "audio"}]}), "input[0]"),
        ("images/generations", json!({"model": "draw"}), "prompt"),
        ("images/generations", json!({"model": "draw", "prompt": "x", "n": 11}), "n"),
        ("images/generations", json!({"model": "draw", "prompt": "x", "stream": "yes"}), "stream"),
    ] {
        let reply = post(&world, route, &body).await;
        assert_eq!((reply.status.as_u16(), &reply.json()["error"]["param"]), (400, &json!(param)), "{body}");
    }
    assert_eq!(world.provider.log().stats().calls, 0);
}

#[tokio::test]
async fn an_original_from_outside_is_read_anew() {
    let world = world().await;
    let body = r#"{"model":"draw","prompt":"a gate at dawn","n":2}"#;
    let original = v1::Original { dialect: v1::Dialect::OpenaiImages as i32, body: body.into() };
    // The fields say one image; the bytes, which are sent, say two.
    let asked = v1::GenerateImageRequest { n: Some(1), original: Some(original), ..drawn() };
    let answer = world.caller().await.images().generate_image(asked.clone()).await.unwrap().into_inner();
    assert_eq!(answer.images.len(), 2);
    assert!(world.entries().await[0].held_nano_usd >= cost(14, 2 * 12_288));
    let wrong = v1::Original { dialect: v1::Dialect::OpenaiChat as i32, body: body.into() };
    let asked = v1::GenerateImageRequest { original: Some(wrong), ..asked };
    let status = world.caller().await.images().generate_image(asked).await.unwrap_err();
    assert_eq!(reason(&status), Some(v1::ErrorReason::InvalidField));
}

#[tokio::test]
async fn inputs_that_are_read_one_by_one_have_the_models_window_to_themselves() {
    let narrow = json!({"provider": "scripted", "model": "embeds", "price": {"input": "1", "output": "0"}, "context_window": 100});
    let world = World::with(|b| b.deployment("embed", narrow)).await;
    let fits = "x".repeat(300);
    let reply = post(&world, "embeddings", &json!({"model": "embed", "input": [fits, fits, fits]})).await;
    assert_eq!(reply.json()["data"].as_array().unwrap().len(), 3);
    let reply = post(&world, "embeddings", &json!({"model": "embed", "input": "x".repeat(1_000)})).await;
    assert_eq!(code(&reply), (400, json!("context_length_exceeded")));
}
