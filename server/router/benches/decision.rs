//! What a decision costs: a plan made and its first deployment taken, out of a hundred.

#![allow(clippy::unwrap_used)] // a benchmark says by panicking

use std::{hint::black_box, sync::Arc};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use tollgate_providers::{
    Target,
    exchange::Endpoint,
    registry::registry,
    transport::{Timeouts, Transport},
};
use tollgate_router::{
    CooldownPolicy, Deployment, ModelGroup, Needs, Plan, RetryPolicy, Routes, Step, Strategy, Tags, Wanted, stable_hash,
};

fn deployment(at: usize, transport: &Transport) -> Arc<Deployment> {
    let name = format!("deployment-{at}");
    let target = Target {
        base_url: "http://x".into(),
        api_version: None,
        credential: Default::default(),
        model: name.clone(),
        headers: Default::default(),
    };
    let deployment = Deployment {
        name_hash: stable_hash(&name),
        name,
        provider: "p".into(),
        endpoint: Endpoint {
            provider: registry("openai").unwrap(),
            target,
            timeouts: Timeouts::default(),
            transport: transport.clone(),
            fetcher: None,
        },
        weight: 1 + at as u32 % 5,
        order: 0,
        tags: Vec::new(),
        region: None,
        price: None,
        context_window: Some(128_000),
        max_output_tokens: None,
        capabilities: Vec::new(),
        drop_params: false,
        defaults: None,
        limits: None,
        cooldown: CooldownPolicy::default(),
        state: Default::default(),
    };
    deployment.state().begin(0).unwrap().first_content(1_000 * (1 + at as u64 * 37 % 100));
    Arc::new(deployment)
}

fn benches(c: &mut Criterion) {
    let transport = Transport::new();
    let tags = Arc::new(Tags { binding: vec!["pii".into()], ..Tags::default() });
    let mut group = c.benchmark_group("a decision among a hundred deployments");
    let sticky = [false, false, false, false, false, true];
    let strategies =
        [Strategy::Shuffle, Strategy::LeastBusy, Strategy::Latency, Strategy::Usage, Strategy::Cost, Strategy::Shuffle];
    for (strategy, sticky) in strategies.into_iter().zip(sticky) {
        let model = Arc::new(ModelGroup {
            name: "model".into(),
            deployments: (0..100).map(|at| deployment(at, &transport)).collect(),
            strategy,
            fallbacks: Vec::new(),
            context_window_fallbacks: Vec::new(),
            content_policy_fallbacks: Vec::new(),
            retry: RetryPolicy::default(),
            limits: None,
            sticky: None,
            mirror: None,
            on_midstream_failure: Default::default(),
            budget: Default::default(),
        });
        let mut seed = 0;
        let name = if sticky { "sticky" } else { strategy.name() };
        group.bench_function(BenchmarkId::from_parameter(name), |b| {
            b.iter(|| {
                seed += 1;
                let routes = Routes::new(model.clone(), Vec::new(), Vec::new(), Vec::new());
                let needs = Needs { sticky: sticky.then_some(seed), ..Needs::only(Wanted::Chat) };
                let mut plan = Plan::new(routes, needs, tags.clone(), seed, 1_000_000);
                match plan.next(None, 1_000_000) {
                    Step::Try { deployment, .. } => black_box(Arc::as_ptr(&deployment)),
                    Step::GiveUp { .. } => panic!("there are a hundred"),
                };
            });
        });
    }
    group.finish();
}

criterion_group!(group, benches);
criterion_main!(group);
