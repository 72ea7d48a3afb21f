//! What is known of models, and how long prompts are: without making a call.

use serde_json::json;
use tollgate_client::{reason, v1};

use crate::support::{World, request};

#[tokio::test]
async fn the_catalogue_is_searched_page_by_page() {
    let world = World::start().await;
    let mut models = world.caller().await.models();
    let asked = v1::ListCatalogueModelsRequest {
        search: "CLAUDE".into(),
        capabilities: vec!["tools".into()],
        page_size: 7,
        ..Default::default()
    };
    let mut found: Vec<v1::CatalogueModel> = Vec::new();
    let mut page_token = String::new();
    loop {
        let asked = v1::ListCatalogueModelsRequest { page_token, ..asked.clone() };
        let page = models.list_catalogue_models(asked).await.unwrap().into_inner();
        assert!(page.models.len() <= 7);
        found.extend(page.models);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let names: Vec<_> = found.iter().map(|m| format!("{}/{}", m.provider, m.model)).collect();
    assert!(names.len() > 14 && names.is_sorted(), "{names:?}");
    assert!(found.iter().all(|m| m.capabilities.contains(&"tools".to_owned()) && !m.sources.is_empty()));
    for provider in ["anthropic", "bedrock", "vertex"] {
        assert!(found.iter().any(|m| m.provider == provider), "{provider} sells it too: {names:?}");
    }
    // A page goes on with its own search alone.
    let first = models.list_catalogue_models(asked.clone()).await.unwrap().into_inner();
    let other = v1::ListCatalogueModelsRequest {
        search: "gemini".into(),
        page_token: first.next_page_token,
        ..Default::default()
    };
    let refused = models.list_catalogue_models(other).await.unwrap_err();
    assert_eq!(reason(&refused), Some(v1::ErrorReason::InvalidField));
}

#[tokio::test]
async fn a_model_of_the_catalogue_is_told_with_every_price() {
    let world = World::start().await;
    let mut models = world.caller().await.models();
    let mut get = async |provider: &str, model: &str| {
        let asked = v1::GetCatalogueModelRequest { provider: provider.into(), model: model.into() };
        models.get_catalogue_model(asked).await.map(|found| found.into_inner().model.unwrap())
    };
    let price = get("openai", "gpt-5.5").await.unwrap().price.unwrap();
    assert_eq!((price.input_pico_usd, price.output_pico_usd), (5_000_000, 30_000_000));
    assert_eq!(price.tiers[0].above_input_tokens, 272_000);
    let priority = price.service_tiers.iter().find(|t| t.tier == "priority").unwrap().price.clone().unwrap();
    assert_eq!((priority.input_pico_usd, priority.output_pico_usd), (12_500_000, 75_000_000));
    let ranker = get("cohere", "rerank-v3.5").await.unwrap();
    assert_eq!(ranker.unit_price.unwrap().query_pico_usd, Some(2_000_000_000));
    let missing = get("openai", "no-such-model").await.unwrap_err();
    assert_eq!(reason(&missing), Some(v1::ErrorReason::ModelNotFound));
}

#[tokio::test]
async fn a_prompt_is_counted_at_each_deployment_without_a_call() {
    let world = World::with(|b| {
        let other = json!({"provider": "scripted", "model": "claude-sonnet-5", "name": "estimated"});
        b.model("known", "scripted", "gpt-4o").deployment("known", other)
    })
    .await;
    let mut completions = world.caller().await.completions();
    let count = |model: &str| v1::CountTokensRequest {
        request: Some(v1::CompletionRequest { model: Some(model.into()), ..request() }),
    };
    let counted = completions.count_tokens(count("known")).await.unwrap().into_inner();
    // "Say hello" is two tokens; a message is framed by four, the answer begins with three.
    let rows: Vec<_> = counted.deployments.iter().map(|d| (d.input_tokens, d.exact, d.tokenizer.as_str())).collect();
    assert_eq!(rows, [(9, true, "o200k_base"), (12, false, "o200k_base")]);
    assert_eq!((counted.input_tokens, counted.exact), (12, false));
    assert!(counted.bound > 12 && counted.bound < 200, "{counted:?}");
    let missing = completions.count_tokens(count("none")).await.unwrap_err();
    assert_eq!(reason(&missing), Some(v1::ErrorReason::ModelNotFound));
    assert!(world.provider.log().records().is_empty(), "nothing was sent");
    assert!(world.entries().await.is_empty());
}

#[tokio::test]
async fn what_may_be_served_is_held_and_what_served_is_charged() {
    let world = World::with(|b| {
        let price =
            json!({"input": "1", "output": "1", "priority_input": "3", "priority_output": "3", "flex_input": "0.5"});
        b.deployment(
            "tiered",
            json!({"provider": "scripted", "model": "scripted-upstream", "name": "t", "price": price}),
        )
    })
    .await;
    let mut completions = world.caller().await.completions();
    let mut used = async |tier: Option<&str>| {
        let request = v1::CompletionRequest {
            model: Some("tiered".into()),
            service_tier_native: tier.map(str::to_owned),
            max_output_tokens: Some(1_000),
            ..request()
        };
        let asked = v1::CreateCompletionRequest { request: Some(request) };
        completions.create_completion(asked).await.unwrap().into_inner().completion.unwrap().usage.unwrap()
    };
    let standard = used(None).await;
    for (tier, times) in [("default", 1), ("flex", 1), ("priority", 3), ("auto", 3)] {
        let usage = used(Some(tier)).await;
        assert_eq!(usage.held_nano_usd, times * standard.held_nano_usd, "{tier}");
        // The provider says that its default tier served.
        assert_eq!(usage.service_tier_native(), "default");
        assert_eq!(usage.cost_nano_usd, standard.cost_nano_usd, "{tier}");
    }
}
