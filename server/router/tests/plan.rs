//! The router's rules, without a provider, a socket or a clock.

#![allow(clippy::unwrap_used)] // a test says by panicking

use std::{collections::HashMap, sync::Arc, time::Duration};

use tollgate_domain::{Class, Failure};
use tollgate_providers::{
    Target,
    exchange::Endpoint,
    registry::registry,
    transport::{Timeouts, Transport},
};
use tollgate_router::{Deployment, ModelGroup, Plan, RetryPolicy, Step, Table, Wanted};

fn deployment(name: &str, weight: u32, window: Option<u64>) -> Arc<Deployment> {
    let target =
        Target { base_url: "http://x".into(), credential: None, model: name.into(), headers: Default::default() };
    let endpoint = Endpoint {
        provider: registry(if name.starts_with("claude") { "anthropic" } else { "openai" }).unwrap(),
        target,
        timeouts: Timeouts::default(),
        transport: Transport::new(),
    };
    Arc::new(Deployment {
        name: name.into(),
        provider: "p".into(),
        endpoint,
        weight,
        price: None,
        context_window: window,
        max_output_tokens: None,
        capabilities: Vec::new(),
        limits: None,
    })
}

fn group(name: &str, deployments: &[&str], retries: u32) -> Arc<ModelGroup> {
    let deployments = deployments.iter().map(|d| deployment(d, 1, None)).collect();
    let retry = RetryPolicy { retries, ..RetryPolicy::default() };
    Arc::new(ModelGroup { name: name.into(), deployments, fallbacks: Vec::new(), retry, limits: None })
}

/// Walks until nothing is left, failing each attempt as `fail` says.
fn walk(mut plan: Plan, mut fail: impl FnMut(&str) -> Failure) -> Vec<(String, Duration)> {
    let mut steps = Vec::new();
    let mut last: Option<(Arc<Deployment>, Failure)> = None;
    while let Step::Try { pause, deployment } = plan.next(last.as_ref().map(|(d, f)| (d, f))) {
        steps.push((deployment.name.clone(), pause));
        let failure = fail(&deployment.name);
        last = Some((deployment, failure));
        assert!(steps.len() < 50, "the walk does not end: {steps:?}");
    }
    steps
}

fn of(class: Class) -> Failure {
    Failure::new(class, "scripted")
}

fn names(steps: &[(String, Duration)]) -> Vec<&str> {
    steps.iter().map(|(name, _)| name.as_str()).collect()
}

#[test]
fn every_deployment_is_tried_then_retried_then_the_fallback() {
    let plan = Plan::new(vec![group("a", &["a1", "a2"], 2), group("b", &["b1"], 0)], Wanted::Chat, 1);
    let steps = walk(plan, |_| of(Class::ServerError));
    let mut first: Vec<_> = names(&steps)[..2].to_vec();
    first.sort_unstable();
    assert_eq!(first, ["a1", "a2"]);
    assert_eq!(steps.len(), 5);
    assert!(names(&steps)[2..4].iter().all(|n| n.starts_with('a')));
    assert_eq!(names(&steps)[4], "b1");
    assert!(steps[..2].iter().chain(&steps[4..]).all(|(_, pause)| pause.is_zero()), "a first look does not wait");
}

#[test]
fn the_callers_mistake_ends_the_walk_at_once() {
    for class in [Class::InvalidRequest, Class::RequestTooLarge, Class::ContentFilter] {
        let plan = Plan::new(vec![group("a", &["a1", "a2"], 2), group("b", &["b1"], 0)], Wanted::Chat, 1);
        assert_eq!(walk(plan, |_| of(class)).len(), 1, "{class:?}");
    }
}

#[test]
fn a_bad_credential_is_not_tried_again_but_others_are() {
    let plan = Plan::new(vec![group("a", &["a1"], 5), group("b", &["b1"], 0)], Wanted::Chat, 1);
    assert_eq!(names(&walk(plan, |_| of(Class::Authentication))), ["a1", "b1"]);
}

#[test]
fn the_provider_says_how_long_to_wait_unless_it_is_too_long() {
    let wait = |seconds| {
        let after = Some(Duration::from_secs(seconds));
        let plan = Plan::new(vec![group("a", &["a1"], 1)], Wanted::Chat, 1);
        walk(plan, |_| Failure { retry_after: after, ..of(Class::RateLimit) })
    };
    assert_eq!(wait(3)[1].1, Duration::from_secs(3));
    assert_eq!(wait(60).len(), 1);
}

#[test]
fn same_seed_same_walk_and_pauses_stay_below_their_ceiling() {
    let run =
        |seed| walk(Plan::new(vec![group("a", &["a1", "a2", "a3"], 6)], Wanted::Chat, seed), |_| of(Class::Overloaded));
    for seed in 0..20 {
        assert_eq!(run(seed), run(seed));
        assert!(run(seed).iter().all(|(_, pause)| *pause <= RetryPolicy::default().cap));
    }
    assert!((0..20).any(|seed| names(&run(seed)) != names(&run(0))));
}

#[test]
fn shares_follow_the_weights() {
    let group = ModelGroup {
        name: "a".into(),
        deployments: vec![deployment("heavy", 3, None), deployment("light", 1, None), deployment("spare", 0, None)],
        fallbacks: Vec::new(),
        retry: RetryPolicy { retries: 0, ..RetryPolicy::default() },
        limits: None,
    };
    let group = Arc::new(group);
    let mut first: HashMap<String, u32> = HashMap::new();
    for seed in 0..4_000 {
        let steps = walk(Plan::new(vec![group.clone()], Wanted::Chat, seed), |_| of(Class::ServerError));
        assert_eq!(steps.last().unwrap().0, "spare", "a weight of zero comes last");
        *first.entry(steps[0].0.clone()).or_default() += 1;
    }
    let heavy = f64::from(first["heavy"]) / 4_000.0;
    assert!((heavy - 0.75).abs() < 0.03, "{first:?}");
}

#[test]
fn a_prompt_too_long_goes_only_to_larger_windows() {
    let group = ModelGroup {
        name: "a".into(),
        deployments: vec![
            deployment("small", 1, Some(4_000)),
            deployment("same", 1, Some(4_000)),
            deployment("large", 1, Some(128_000)),
        ],
        fallbacks: Vec::new(),
        retry: RetryPolicy::default(),
        limits: None,
    };
    let group = Arc::new(group);
    for seed in 0..20 {
        let steps = walk(Plan::new(vec![group.clone()], Wanted::Chat, seed), |_| of(Class::ContextLength));
        let after_first: Vec<_> = names(&steps)[1..].to_vec();
        assert!(after_first.iter().all(|n| *n == "large"), "{steps:?}");
    }
}

#[test]
fn what_does_not_offer_the_operation_is_left_out_and_the_reason_is_kept() {
    let plan = Plan::new(vec![group("a", &["claude", "gpt"], 0)], Wanted::Embedding, 1);
    assert_eq!(plan.reachable().count(), 1);
    let left_out = plan.candidates().iter().find(|c| c.deployment == "claude").unwrap();
    assert_eq!(left_out.reason, "does not offer this operation");
}

#[test]
fn fallbacks_are_followed_once_and_cycles_end() {
    let with = |name: &str, fallbacks: &[&str]| {
        let group = ModelGroup {
            name: name.into(),
            deployments: vec![deployment(name, 1, None)],
            fallbacks: fallbacks.iter().map(|f| (*f).to_owned()).collect(),
            retry: RetryPolicy::default(),
            limits: None,
        };
        (name.to_owned(), Arc::new(group))
    };
    let groups = [with("a", &["b", "a", "b", "gone"]), with("b", &["a"])].into_iter().collect();
    let table = Table { groups, config_hash: String::new() };
    let order: Vec<_> = table.groups_for("a").map(|g| g.name.as_str()).collect();
    assert_eq!(order, ["a", "b"]);
    assert_eq!(table.groups_for("nobody").count(), 0);
}
