//! Deployments that live in the store: made while the gateway runs, kept over restarts, with credentials that nobody reads.

use serde_json::json;
use tollgate_client::{reason, v1};
use tollgate_tests::{provider::UPSTREAM_KEY, support::http::Caller};

use crate::support::{World, eventually, hello};

/// A deployment at the scripted provider, with an account of its own.
pub(crate) fn deployment(alias: &str, base_url: &str) -> v1::RuntimeModel {
    v1::RuntimeModel {
        model: alias.into(),
        kind: "openai".into(),
        base_url: base_url.into(),
        api_key: UPSTREAM_KEY.into(),
        provider_model: "made-upstream".into(),
        price: Some(v1::Price { input_pico_usd: 150_000, output_pico_usd: 600_000, ..Default::default() }),
        max_output_tokens: Some(4_096),
        context_window: Some(400_000),
        ..Default::default()
    }
}

async fn make(world: &World, model: v1::RuntimeModel) -> Result<v1::RuntimeModel, tonic::Status> {
    let asked = v1::CreateModelRequest { model: Some(model), ..Default::default() };
    world.admin().await.models().create_model(asked).await.map(|made| made.into_inner().model.unwrap())
}

async fn status_of(world: &World, alias: &str) -> u16 {
    let body = hello(json!({"model": alias, "max_completion_tokens": 10}));
    let url = world.gateway.v1("chat/completions");
    Caller::bearer(world.gateway.key()).post(&url, &body).await.unwrap().status.as_u16()
}

#[tokio::test]
async fn a_deployment_serves_from_the_answer_on_until_it_is_deleted() {
    let mut world = World::start().await;
    assert_eq!(status_of(&world, "made").await, 404);
    let made = make(&world, deployment("made", &world.provider.base_url())).await.unwrap();
    assert!(made.id.starts_with("model_") && made.api_key.is_empty());
    assert_eq!(status_of(&world, "made").await, 200);
    let entry = world.entries().await.pop().unwrap();
    assert_eq!((entry.deployment, entry.upstream_model), (made.id.clone(), "made-upstream".to_owned()));
    assert!(entry.cost_nano_usd > 0, "at its own price");

    // A configuration that is read anew keeps it, and so does a crash.
    let config = std::fs::read_to_string(world.gateway.config_file()).unwrap();
    std::fs::write(world.gateway.config_file(), config.replace("scripted-upstream", "other-upstream")).unwrap();
    eventually("the file is read anew", async || {
        status_of(&world, "scripted").await;
        world.entries().await.pop().unwrap().upstream_model == "other-upstream"
    })
    .await;
    assert_eq!(status_of(&world, "made").await, 200);
    world.gateway.kill9();
    world.gateway.restart().await;
    assert_eq!(status_of(&world, "made").await, 200);

    let listed = world.admin().await.models().list_runtime_models(v1::ListRuntimeModelsRequest::default()).await;
    assert_eq!(listed.unwrap().into_inner().models, std::slice::from_ref(&made));
    let delete = v1::DeleteModelRequest { id: made.id };
    world.admin().await.models().delete_model(delete.clone()).await.unwrap();
    assert_eq!(status_of(&world, "made").await, 404);
    let status = world.admin().await.models().delete_model(delete).await.unwrap_err();
    assert_eq!(reason(&status), Some(v1::ErrorReason::ResourceNotFound));
}

#[tokio::test]
async fn a_deployment_shares_the_calls_of_an_alias_that_is_configured() {
    let world = World::start().await;
    // Of a higher order than the configured one, which then never gets a call.
    let of_the_file = v1::RuntimeModel {
        model: "scripted".into(),
        provider: "scripted".into(),
        provider_model: "second-upstream".into(),
        price: deployment("", "").price,
        order: 1,
        ..Default::default()
    };
    make(&world, of_the_file).await.unwrap();
    assert_eq!(status_of(&world, "scripted").await, 200);
    let asked = v1::GetModelRequest { name: "scripted".into() };
    let model = world.admin().await.models().get_model(asked).await.unwrap().into_inner().model.unwrap();
    let served: Vec<_> = model.deployments.iter().map(|d| (d.provider.as_str(), d.provider_model.as_str())).collect();
    assert_eq!(served, [("scripted", "scripted-upstream"), ("scripted", "second-upstream")]);
}

#[tokio::test]
async fn what_cannot_be_served_is_refused_and_changes_nothing() {
    let world = World::start().await;
    let good = deployment("made", &world.provider.base_url());
    let with = |change: fn(&mut v1::RuntimeModel)| {
        let mut model = good.clone();
        change(&mut model);
        model
    };
    for model in [
        with(|m| m.model.clear()),
        with(|m| m.provider_model.clear()),
        with(|m| m.kind = "nonsense".into()),
        with(|m| m.kind.clear()),
        with(|m| m.kind = "bedrock".into()),
        with(|m| m.base_url = "no url".into()),
        with(|m| m.base_url = "https://user:password@host/v1".into()),
        with(|m| m.api_key = "env:HOME".into()),
        with(|m| m.api_key = "file:/etc/hostname".into()),
        with(|m| m.api_key = "os.environ/HOME".into()),
        with(|m| m.provider = "scripted".into()),
        with(|m| m.base_model = "openai/listed-nowhere".into()),
        with(|m| m.limits = Some(v1::RateLimits { requests_per_minute: Some(0), ..Default::default() })),
        with(|m| m.price.as_mut().unwrap().per_query_pico_usd = Some(1)),
        with(|m| m.price.as_mut().unwrap().input_pico_usd = -1),
        with(|m| m.price.as_mut().unwrap().reasoning_pico_usd = Some(-1)),
        v1::RuntimeModel {
            model: "x".into(),
            provider: "gone".into(),
            provider_model: "y".into(),
            ..Default::default()
        },
    ] {
        let status = make(&world, model.clone()).await.err().unwrap_or_else(|| panic!("{model:?} was made"));
        assert_eq!(reason(&status), Some(v1::ErrorReason::InvalidField), "{model:?}: {status:?}");
        assert!(!format!("{status:?}").contains(UPSTREAM_KEY));
    }
    assert_eq!(status_of(&world, "made").await, 404);
    assert_eq!(status_of(&world, "scripted").await, 200);
}

#[tokio::test]
async fn a_credential_is_written_nowhere_in_clear() {
    let world = World::start().await;
    let model =
        v1::RuntimeModel { api_key: "sk-never-in-clear".into(), ..deployment("made", &world.provider.base_url()) };
    make(&world, model).await.unwrap();
    status_of(&world, "made").await;
    world.records().await;
    let mut folders = vec![world.gateway.data_dir()];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            files += 1;
            let bytes = std::fs::read(&path).unwrap();
            assert!(!bytes.windows(17).any(|part| part == b"sk-never-in-clear"), "{}", path.display());
        }
    }
    assert!(files > 2);
    assert!(!world.gateway.logs().contains("sk-never-in-clear"));
}
