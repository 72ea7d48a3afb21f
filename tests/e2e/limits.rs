//! Rate limits and the queue before a deployment, as callers meet them.

use std::time::{Duration, Instant};

use serde_json::json;
use tollgate_client::{Client, reason, v1};
use tollgate_tests::{provider::Step, support::http::Caller};
use tonic_types::StatusExt;

use crate::support::{World, eventually, hello, request};

impl World {
    /// A key made by the admin.
    pub(crate) async fn key(&self, key: v1::Key) -> v1::CreateKeyResponse {
        let key = v1::Key { models: vec!["*".into()], ..key };
        let asked = v1::CreateKeyRequest { key: Some(key), ..Default::default() };
        self.admin().await.keys().create_key(asked).await.unwrap().into_inner()
    }

    /// A team in an organization of its own.
    pub(crate) async fn team(&self, team: v1::Team) -> v1::Team {
        let mut tenancy = self.admin().await.tenancy();
        let asked = v1::CreateOrganizationRequest {
            organization: Some(v1::Organization { display_name: "org".into(), ..Default::default() }),
            ..Default::default()
        };
        let organization = tenancy.create_organization(asked).await.unwrap().into_inner().organization.unwrap();
        let team = v1::Team { organization_id: organization.id, ..team };
        let asked = v1::CreateTeamRequest { team: Some(team), ..Default::default() };
        tenancy.create_team(asked).await.unwrap().into_inner().team.unwrap()
    }
}

#[tokio::test]
async fn a_keys_limit_is_told_in_openais_headers_and_refused_with_the_time_to_wait() {
    let world = World::start().await;
    let limits = v1::RateLimits { requests_per_minute: Some(4), tokens_per_minute: Some(60_000), ..Default::default() };
    let made = world.key(v1::Key { limits: Some(limits), ..Default::default() }).await;
    let (caller, url) = (Caller::bearer(&made.secret), world.v1("chat/completions"));
    let first = caller.post(&url, &hello(json!({}))).await.unwrap();
    assert_eq!(first.status, 200);
    assert_eq!(first.header("x-ratelimit-limit-requests"), "4");
    assert_eq!(first.header("x-ratelimit-remaining-requests"), "1");
    assert_eq!(first.header("x-ratelimit-reset-requests"), "15s");
    assert_eq!(first.header("x-ratelimit-limit-tokens"), "60000");
    let stream = caller.stream(&url, &hello(json!({"stream": true}))).await.unwrap().whole().await.unwrap();
    assert_eq!(stream.header("x-ratelimit-remaining-requests"), "0");

    let refused = caller.post(&url, &hello(json!({}))).await.unwrap();
    assert_eq!((refused.status.as_u16(), &refused.json()["error"]["code"]), (429, &json!("rate_limit_exceeded")));
    let wait: u64 = refused.header("retry-after").parse().unwrap();
    assert!((14..=15).contains(&wait), "{wait}");
    assert_eq!(refused.header("x-ratelimit-limit-requests"), "4");
    assert_eq!(refused.header("x-ratelimit-remaining-requests"), "0");
    assert_eq!(refused.header("x-should-retry"), "", "an SDK may try again");
    assert_eq!(world.provider.log().stats().calls, 2, "nothing was sent");

    let client = Client::connect(&world.gateway.grpc(), &made.secret).await.unwrap();
    let call = v1::CreateCompletionRequest { request: Some(request()) };
    let status = client.completions().create_completion(call).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::ResourceExhausted);
    assert_eq!(reason(&status), Some(v1::ErrorReason::RateLimited));
    let details = status.get_error_details();
    assert!(details.retry_info().unwrap().retry_delay.unwrap() > Duration::from_secs(13));
    assert!(details.quota_failure().unwrap().violations[0].subject.starts_with("key key_"));
    // Money was neither held nor spent for what was refused.
    assert_eq!(world.entries().await.len(), 2);
}

#[tokio::test]
async fn a_team_shares_its_limit_and_a_refusal_names_it() {
    let world = World::start().await;
    let limits = v1::RateLimits { requests_per_minute: Some(2), full_burst: true, ..Default::default() };
    let team = world.team(v1::Team { limits: Some(limits), ..Default::default() }).await;
    let url = world.v1("chat/completions");
    let mut codes = Vec::new();
    for _ in 0..3 {
        let made = world.key(v1::Key { team_id: team.id.clone(), ..Default::default() }).await;
        let reply = Caller::bearer(&made.secret).post(&url, &hello(json!({}))).await.unwrap();
        codes.push(reply.status.as_u16());
        if reply.status == 429 {
            assert!(reply.json()["error"]["message"].as_str().unwrap().contains(&team.id));
        }
    }
    assert_eq!(codes, [200, 200, 429]);
}

#[tokio::test]
async fn tokens_are_corrected_to_what_was_used() {
    let world = World::start().await;
    // A burst of a thousand; a call is expected to write 256 and writes a few.
    let limits = v1::RateLimits { tokens_per_minute: Some(6_000), ..Default::default() };
    let made = world.key(v1::Key { limits: Some(limits), ..Default::default() }).await;
    let (caller, url) = (Caller::bearer(&made.secret), world.v1("chat/completions"));
    for _ in 0..20 {
        assert_eq!(caller.post(&url, &hello(json!({}))).await.unwrap().status, 200);
    }
}

#[tokio::test]
async fn calls_in_flight_are_limited() {
    let world = World::start().await;
    world.provider.always("scripted-upstream", [Step::streams(1_000).every_ms(20)]);
    let limits = v1::RateLimits { concurrent_requests: Some(1), ..Default::default() };
    let made = world.key(v1::Key { limits: Some(limits), ..Default::default() }).await;
    let (caller, url) = (Caller::bearer(&made.secret), world.v1("chat/completions"));
    let mut first = caller.stream(&url, &hello(json!({"stream": true}))).await.unwrap();
    first.next().await.unwrap();
    let second = caller.post(&url, &hello(json!({}))).await.unwrap();
    assert_eq!((second.status.as_u16(), second.header("retry-after")), (429, "1"));
    drop(first);
    world.provider.always("scripted-upstream", [Step::text("hi")]);
    crate::support::eventually("the place is free", async || {
        caller.post(&url, &hello(json!({}))).await.unwrap().status == 200
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_chatbot_goes_before_a_flood_of_batch() {
    let slots = json!({
        "provider": "scripted", "model": "slow-upstream", "price": {"input": "0", "output": "1"},
        "limits": {"concurrent_requests": 4}
    });
    let world = World::with(|b| b.deployment("slow", slots)).await;
    world.provider.always("slow-upstream", [Step::text("done").after_ms(150)]);
    let batch = world.key(v1::Key { priority: v1::Priority::Batch as i32, ..Default::default() }).await.secret;
    let chat = world.key(v1::Key { priority: v1::Priority::Interactive as i32, ..Default::default() }).await.secret;
    let url = world.v1("chat/completions");
    let flood: Vec<_> = (0..24)
        .map(|_| {
            let (batch, url) = (batch.clone(), url.clone());
            tokio::spawn(async move {
                Caller::bearer(&batch).post(&url, &hello(json!({"model": "slow"}))).await.unwrap().status.as_u16()
            })
        })
        .collect();
    let queue = async || {
        let asked = v1::GetModelRequest { name: "slow".into() };
        let model = world.admin().await.models().get_model(asked).await.unwrap().into_inner().model.unwrap();
        model.deployments[0].queue.clone()
    };
    crate::support::eventually("batch queues", async || {
        queue().await.is_some_and(|q| q.classes[2].in_use == 3 && q.classes[2].waiting > 10)
    })
    .await;
    // Batch leaves room: the chatbot starts at once, before all that wait.
    for _ in 0..3 {
        let asked = std::time::Instant::now();
        let reply = Caller::bearer(&chat).post(&url, &hello(json!({"model": "slow"}))).await.unwrap();
        assert_eq!(reply.status, 200);
        assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    }
    assert!(queue().await.unwrap().classes[2].waiting > 0, "the flood was not over by then");
    for call in flood {
        assert_eq!(call.await.unwrap(), 200);
    }
}

#[tokio::test]
async fn a_call_waits_for_a_deployment_at_its_rate_and_hears_the_time_to_wait_where_it_cannot() {
    // Ten at once, then one every three seconds.
    let limited = json!({"provider": "scripted", "model": "slow", "price": {"input": "0.15", "output": "0.60"},
                         "limits": {"requests_per_minute": 20}});
    let world = World::with(|b| b.deployment("slow", limited).set("/models/1/retries", 0)).await;
    let (caller, url) = (world.gateway.caller(), world.v1("chat/completions"));
    let body = hello(json!({"model": "slow"}));
    for _ in 0..10 {
        assert_eq!(caller.post(&url, &body).await.unwrap().status, 200);
    }
    let begun = Instant::now();
    let hurried = caller.clone().with("x-request-timeout", "1").post(&url, &body).await.unwrap();
    assert_eq!((hurried.status.as_u16(), &hurried.json()["error"]["code"]), (429, &json!("rate_limit_exceeded")));
    let wait: u64 = hurried.header("retry-after").parse().unwrap();
    assert!((1..=3).contains(&wait), "{wait}");
    assert!(begun.elapsed() < Duration::from_secs(1), "who cannot wait so long hears it at once");

    let patient = caller.clone().with("x-request-timeout", "30");
    let (first, second) = tokio::join!(patient.post(&url, &body), async {
        let queue = async || {
            let models = world.caller().await.models().list_models(v1::ListModelsRequest::default()).await.unwrap();
            let model = models.into_inner().models.into_iter().find(|m| m.name == "slow").unwrap();
            model.deployments[0].queue.clone().map_or(0, |q| q.classes.iter().map(|c| c.waiting).sum::<i64>())
        };
        eventually("the queue shows who waits", async || queue().await == 1).await;
        patient.post(&url, &body).await
    });
    assert_eq!((first.unwrap().status.as_u16(), second.unwrap().status.as_u16()), (200, 200));
    let waited = begun.elapsed().as_secs_f64();
    assert!((4.0..8.0).contains(&waited), "two turns of three seconds: {waited}");
    assert_eq!(world.provider.log().stats().calls, 12, "nothing was sent that the limit forbids");
}
