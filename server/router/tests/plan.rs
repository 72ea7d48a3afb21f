//! The router's rules, without a provider, a socket or a clock.

#![allow(clippy::unwrap_used)] // a test says by panicking
#![allow(clippy::cloned_ref_to_slice_refs)] // shorter to read

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock},
    time::Duration,
};

use tollgate_domain::{Class, Failure, Headroom, Left, Price, Rates};
use tollgate_proto::v1::RateLimits;
use tollgate_providers::{
    Target,
    exchange::Endpoint,
    registry::registry,
    transport::{Timeouts, Transport},
};
use tollgate_router::{
    CooldownPolicy, Deployment, ModelGroup, Needs, Plan, RetryPolicy, Routes, States, Step, Strategy, Table, Tags,
    Wanted, stable_hash,
};

const SECOND: u64 = 1_000_000;

/// One for all: what it reads of the system is the same each time.
static TRANSPORT: LazyLock<Transport> = LazyLock::new(Transport::new);

fn deployment(name: &str) -> Deployment {
    let target = Target {
        base_url: "http://x".into(),
        api_version: None,
        credential: Default::default(),
        model: name.into(),
        headers: Default::default(),
    };
    let endpoint = Endpoint {
        provider: registry(if name.starts_with("claude") { "anthropic" } else { "openai" }).unwrap(),
        target,
        timeouts: Timeouts::default(),
        transport: TRANSPORT.clone(),
        fetcher: None,
    };
    Deployment {
        name: name.into(),
        provider: "p".into(),
        endpoint,
        weight: 1,
        order: 0,
        tags: Vec::new(),
        region: None,
        price: None,
        context_window: None,
        max_output_tokens: None,
        capabilities: Vec::new(),
        drop_params: false,
        defaults: None,
        limits: None,
        cooldown: CooldownPolicy::default(),
        name_hash: stable_hash(name),
        state: Default::default(),
    }
}

fn group_of(name: &str, deployments: Vec<Deployment>) -> ModelGroup {
    ModelGroup {
        name: name.into(),
        deployments: deployments.into_iter().map(Arc::new).collect(),
        strategy: Strategy::Shuffle,
        fallbacks: Vec::new(),
        context_window_fallbacks: Vec::new(),
        content_policy_fallbacks: Vec::new(),
        retry: RetryPolicy { retries: 0, ..RetryPolicy::default() },
        limits: None,
        sticky: None,
        mirror: None,
        on_midstream_failure: Default::default(),
        budget: Default::default(),
    }
}

fn group(name: &str, deployments: &[&str], retries: u32) -> Arc<ModelGroup> {
    let group = group_of(name, deployments.iter().map(|name| deployment(name)).collect());
    Arc::new(ModelGroup { retry: RetryPolicy { retries, ..RetryPolicy::default() }, ..group })
}

fn by(strategy: Strategy, deployments: Vec<Deployment>) -> Arc<ModelGroup> {
    Arc::new(ModelGroup { strategy, ..group_of("a", deployments) })
}

fn along(groups: &[Arc<ModelGroup>]) -> Routes {
    Routes::new(groups[0].clone(), groups[1..].to_vec(), Vec::new(), Vec::new())
}

fn plan_with(routes: Routes, needs: Needs, seed: u64, now_us: u64) -> Plan {
    let binding = vec!["pii".to_owned()];
    Plan::new(routes, needs, Arc::new(Tags { binding, ..Tags::default() }), seed, now_us)
}

fn plan(groups: &[Arc<ModelGroup>], seed: u64) -> Plan {
    plan_with(along(groups), Needs::only(Wanted::Chat), seed, SECOND)
}

/// Walks until nothing is left, failing each attempt as `fail` says.
fn walk(mut plan: Plan, mut fail: impl FnMut(&str) -> Failure) -> Vec<(String, Duration)> {
    let mut steps = Vec::new();
    let mut last: Option<(Arc<Deployment>, Failure)> = None;
    while let Step::Try { pause, deployment } = plan.next(last.as_ref().map(|(d, f)| (d, f)), SECOND) {
        steps.push((deployment.name.clone(), pause));
        let failure = fail(&deployment.name);
        last = Some((deployment, failure));
        assert!(steps.len() < 50, "the walk does not end: {steps:?}");
    }
    steps
}

/// Where it goes first.
fn first(plan: &mut Plan) -> String {
    match plan.next(None, SECOND) {
        Step::Try { deployment, .. } => deployment.name.clone(),
        Step::GiveUp { .. } => String::new(),
    }
}

fn of(class: Class) -> Failure {
    Failure::new(class, "scripted")
}

fn names(steps: &[(String, Duration)]) -> Vec<&str> {
    steps.iter().map(|(name, _)| name.as_str()).collect()
}

#[test]
fn every_deployment_is_tried_then_retried_then_the_fallback() {
    let plan = plan(&[group("a", &["a1", "a2"], 2), group("b", &["b1"], 0)], 1);
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
        let plan = plan(&[group("a", &["a1", "a2"], 2), group("b", &["b1"], 0)], 1);
        assert_eq!(walk(plan, |_| of(class)).len(), 1, "{class:?}");
    }
}

#[test]
fn a_bad_credential_is_not_tried_again_but_others_are() {
    let plan = plan(&[group("a", &["a1"], 5), group("b", &["b1"], 0)], 1);
    assert_eq!(names(&walk(plan, |_| of(Class::Authentication))), ["a1", "b1"]);
}

#[test]
fn the_provider_says_how_long_to_wait_unless_it_is_too_long() {
    let wait = |seconds| {
        let after = Some(Duration::from_secs(seconds));
        let plan = plan(&[group("a", &["a1"], 1)], 1);
        walk(plan, |_| Failure { retry_after: after, ..of(Class::RateLimit) })
    };
    assert_eq!(wait(3)[1].1, Duration::from_secs(3));
    assert_eq!(wait(60).len(), 1);
}

#[test]
fn same_seed_same_walk_and_pauses_stay_below_their_ceiling() {
    let run = |seed| walk(plan(&[group("a", &["a1", "a2", "a3"], 6)], seed), |_| of(Class::Overloaded));
    for seed in 0..20 {
        assert_eq!(run(seed), run(seed));
        assert!(run(seed).iter().all(|(_, pause)| *pause <= RetryPolicy::default().cap));
    }
    assert!((0..20).any(|seed| names(&run(seed)) != names(&run(0))));
}

#[test]
fn shares_follow_the_weights() {
    let weighted = |name: &str, weight| Deployment { weight, ..deployment(name) };
    let shares = [("a", 5), ("b", 3), ("c", 2)];
    let mut all: Vec<_> = shares.iter().map(|(name, weight)| weighted(name, *weight)).collect();
    all.push(weighted("spare", 0));
    let group = by(Strategy::Shuffle, all);
    let (calls, mut seen) = (20_000_u32, HashMap::<String, u32>::new());
    for seed in 0..u64::from(calls) {
        *seen.entry(first(&mut plan(&[group.clone()], seed))).or_default() += 1;
    }
    let chi_square: f64 = shares
        .iter()
        .map(|(name, weight)| {
            let expected = f64::from(calls) * f64::from(*weight) / 10.0;
            (f64::from(seen[*name]) - expected).powi(2) / expected
        })
        .sum();
    // Two degrees of freedom: beyond 13.8 once in a thousand runs; the seeds are fixed.
    assert!(chi_square < 13.8, "{chi_square}: {seen:?}");
    let steps = walk(plan(&[group], 1), |_| of(Class::ServerError));
    assert_eq!(steps.last().unwrap().0, "spare", "a weight of zero comes last");
}

#[test]
fn a_prompt_too_long_goes_only_to_larger_windows() {
    let sized = |name: &str, window| Deployment { context_window: Some(window), ..deployment(name) };
    let here = by(Strategy::Shuffle, vec![sized("small", 4_000), sized("same", 4_000), sized("large", 128_000)]);
    let there = Arc::new(group_of("b", vec![sized("small too", 2_000), sized("larger", 200_000)]));
    for seed in 0..20 {
        let steps = walk(plan(&[here.clone(), there.clone()], seed), |_| of(Class::ContextLength));
        assert!(names(&steps)[1..].iter().all(|n| n.starts_with("large")), "{steps:?}");
        assert_eq!(names(&steps).last(), Some(&"larger"));
    }
}

#[test]
fn a_prompt_that_cannot_fit_is_not_sent() {
    let sized = |name: &str, window| Deployment { context_window: Some(window), ..deployment(name) };
    let group = by(Strategy::Shuffle, vec![sized("small", 4_000), sized("large", 128_000)]);
    let needs = Needs { input_tokens: 32_000, ..Needs::only(Wanted::Chat) };
    let plan = plan_with(along(&[group]), needs, 1, SECOND);
    assert_eq!(plan.reachable().map(|d| d.name.as_str()).collect::<Vec<_>>(), ["large"]);
    assert_eq!(plan.refusals(), ["small the prompt of about 32000 tokens does not fit its window of 4000"]);
}

#[test]
fn long_prompts_and_refused_contents_have_fallbacks_of_their_own() {
    let one = |name: &str| group(name, &[name], 2);
    let routes = || Routes::new(one("own"), vec![one("general")], vec![one("long")], vec![one("lenient")]);
    let goes = |class| {
        let steps = walk(plan_with(routes(), Needs::only(Wanted::Chat), 1, SECOND), |name| match name {
            "own" => of(class),
            _ => of(Class::Authentication),
        });
        steps.into_iter().map(|(name, _)| name).collect::<Vec<_>>()
    };
    assert_eq!(goes(Class::ContextLength), ["own", "long"]);
    assert_eq!(goes(Class::ContentFilter), ["own", "lenient"]);
    assert_eq!(goes(Class::Authentication), ["own", "general"]);
    let mut reachable: Vec<_> =
        plan_with(routes(), Needs::only(Wanted::Chat), 1, SECOND).reachable().map(|d| d.name.clone()).collect();
    reachable.sort_unstable();
    assert_eq!(reachable, ["general", "lenient", "long", "own"], "the hold covers every way");
}

#[test]
fn what_does_not_offer_the_operation_is_left_out_and_the_reason_is_kept() {
    let plan = plan_with(along(&[group("a", &["claude", "gpt"], 0)]), Needs::only(Wanted::Embedding), 1, SECOND);
    assert_eq!(plan.reachable().count(), 1);
    let candidates = plan.candidates();
    let left_out = candidates.iter().find(|c| c.deployment == "claude").unwrap();
    assert_eq!(left_out.reason, "does not offer this operation");
}

#[test]
fn a_tagged_call_reaches_only_what_has_its_tag_on_no_path_anything_else() {
    let tagged = |name: &str, tags: &[&str]| Deployment {
        tags: tags.iter().map(|t| (*t).to_owned()).collect(),
        ..deployment(name)
    };
    let here = Arc::new(group_of("a", vec![tagged("cloud", &[]), tagged("local", &["pii"])]));
    let there = Arc::new(group_of("b", vec![tagged("other cloud", &[]), tagged("other local", &["pii"])]));
    let needs = Needs { tags: vec!["pii".into(), "team-a".into()], ..Needs::only(Wanted::Chat) };
    for seed in 0..50 {
        let routes = Routes::new(here.clone(), vec![there.clone()], vec![there.clone()], vec![there.clone()]);
        let plan = plan_with(routes, needs.clone(), seed, SECOND);
        assert!(plan.reachable().all(|d| d.name.contains("local")));
        for class in [Class::ServerError, Class::ContextLength, Class::ContentFilter] {
            let routes = Routes::new(here.clone(), vec![there.clone()], vec![there.clone()], vec![there.clone()]);
            let steps = walk(plan_with(routes, needs.clone(), seed, SECOND), |_| of(class));
            assert!(names(&steps).iter().all(|n| n.contains("local")), "{steps:?}");
        }
    }
}

#[test]
fn a_region_binds_and_one_that_is_not_known_is_none() {
    let at = |name: &str, region: Option<&str>| Deployment { region: region.map(Into::into), ..deployment(name) };
    let group = by(Strategy::Shuffle, vec![at("eu", Some("eu")), at("us", Some("us")), at("somewhere", None)]);
    let needs = Needs { region: Some("eu".into()), ..Needs::only(Wanted::Chat) };
    assert_eq!(names(&walk(plan_with(along(&[group]), needs, 1, SECOND), |_| of(Class::ServerError))), ["eu"]);
}

#[test]
fn what_lists_a_capability_comes_before_what_does_not() {
    let can = |name: &str, list: &[&str]| Deployment {
        capabilities: list.iter().map(|c| (*c).to_owned()).collect(),
        ..deployment(name)
    };
    let needs = Needs { capabilities: vec!["vision"], ..Needs::only(Wanted::Chat) };
    let some = by(Strategy::Shuffle, vec![can("blind", &["tools"]), can("seeing", &["tools", "vision"])]);
    assert_eq!(
        names(&walk(plan_with(along(&[some]), needs.clone(), 1, SECOND), |_| of(Class::ServerError))),
        ["seeing"]
    );
    let none = by(Strategy::Shuffle, vec![can("unlisted", &[])]);
    assert_eq!(first(&mut plan_with(along(&[none]), needs, 1, SECOND)), "unlisted", "absence means not listed");
}

#[test]
fn a_lower_order_comes_first_whatever_the_weights() {
    let ordered = |name: &str, order, weight| Deployment { order, weight, ..deployment(name) };
    let group =
        by(Strategy::Shuffle, vec![ordered("second", 2, 100), ordered("first", 1, 1), ordered("also second", 2, 1)]);
    for seed in 0..50 {
        let steps = walk(plan(&[group.clone()], seed), |_| of(Class::ServerError));
        assert_eq!(names(&steps)[0], "first");
        assert_eq!(steps.len(), 3);
    }
}

#[test]
fn least_busy_prefers_fewer_under_way_for_its_weight() {
    let group = by(Strategy::LeastBusy, vec![deployment("busy"), Deployment { weight: 4, ..deployment("large") }]);
    let _busy: Vec<_> = (0..2).map(|_| group.deployments[0].state().begin(SECOND)).collect();
    let large: Vec<_> = (0..7).map(|_| group.deployments[1].state().begin(SECOND)).collect();
    assert_eq!(first(&mut plan(&[group.clone()], 1)), "large");
    let _more: Vec<_> = (0..2).map(|_| group.deployments[1].state().begin(SECOND)).collect();
    assert_eq!(first(&mut plan(&[group.clone()], 1)), "busy");
    drop(large);
    assert_eq!(first(&mut plan(&[group], 1)), "large");
}

#[test]
fn latency_prefers_the_fast_one_and_still_looks_at_the_others() {
    let group = by(Strategy::Latency, vec![deployment("slow"), deployment("fast")]);
    for (deployment, took) in group.deployments.iter().zip([900_000, 100_000]) {
        deployment.state().begin(0).unwrap().first_content(took);
    }
    let fast = (0..1_000).filter(|seed| first(&mut plan(&[group.clone()], *seed)) == "fast").count();
    assert!((950..1_000).contains(&fast), "{fast}");
    // Nine calls that wait for their first content make it as slow as the other.
    let _waiting: Vec<_> = (0..9).map(|_| group.deployments[1].state().begin(SECOND)).collect();
    let slow = (0..1_000).filter(|seed| first(&mut plan(&[group.clone()], *seed)) == "slow").count();
    assert!(slow > 900, "{slow}");
}

#[test]
fn usage_prefers_what_has_most_left_of_its_limits() {
    let limited = |name: &str, requests| Deployment {
        limits: Some(RateLimits { requests_per_minute: Some(requests), ..RateLimits::default() }),
        ..deployment(name)
    };
    let group = by(Strategy::Usage, vec![limited("small", 10), limited("large", 100)]);
    let mut counts = HashMap::<String, u32>::new();
    for seed in 0..110 {
        let name = first(&mut plan(&[group.clone()], seed));
        let deployment = group.deployments.iter().find(|d| d.name == name).unwrap();
        drop(deployment.state().begin(SECOND));
        *counts.entry(name).or_default() += 1;
    }
    assert_eq!((counts["small"], counts["large"]), (10, 100));
}

#[test]
fn cost_prefers_what_is_cheapest_for_this_call() {
    let rates = |input: &str, output: &str| Rates {
        input: Rates::per_million(input).unwrap(),
        output: Rates::per_million(output).unwrap(),
        ..Rates::default()
    };
    let priced =
        |name: &str, input, output| Deployment { price: Some(Price::flat(rates(input, output))), ..deployment(name) };
    let group = by(
        Strategy::Cost,
        vec![deployment("unpriced"), priced("cheap input", "1", "20"), priced("cheap output", "3", "5")],
    );
    let goes = |input_tokens, output_tokens| {
        let needs = Needs { input_tokens, output_tokens, ..Needs::only(Wanted::Chat) };
        names(&walk(plan_with(along(&[group.clone()]), needs, 1, SECOND), |_| of(Class::ServerError)))
            .into_iter()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(goes(10_000, 100), ["cheap input", "cheap output", "unpriced"]);
    assert_eq!(goes(100, 10_000), ["cheap output", "cheap input", "unpriced"]);
}

#[test]
fn who_sticks_stays_and_weights_hold() {
    let weighted = |name: &str, weight| Deployment { weight, ..deployment(name) };
    let all = by(Strategy::Shuffle, vec![weighted("a", 9), weighted("b", 1)]);
    let more = by(Strategy::Shuffle, vec![weighted("a", 9), weighted("b", 1), weighted("c", 1)]);
    let goes = |group: &Arc<ModelGroup>, user: u64, seed| {
        let needs = Needs { sticky: Some(stable_hash(&user.to_string())), ..Needs::only(Wanted::Chat) };
        first(&mut plan_with(along(&[group.clone()]), needs, seed, SECOND))
    };
    let mut of_b = 0;
    for user in 0..5_000 {
        let served = goes(&all, user, 1);
        assert_eq!(served, goes(&all, user, 2), "whatever the seed");
        let later = goes(&more, user, 3);
        assert!(later == served || later == "c", "only to the new one does anybody move");
        of_b += u32::from(served == "b");
    }
    assert!((430..570).contains(&of_b), "{of_b} of 5000 at a tenth");
}

#[test]
fn what_is_left_alone_is_passed_over_until_it_is_back() {
    let group = group("a", &["down", "up"], 0);
    let down = group.deployments[0].state();
    down.begin(0).unwrap().failed(&of(Class::Authentication), &CooldownPolicy::default(), 0);
    for seed in 0..50 {
        let plan = plan(&[group.clone()], seed);
        let reason = plan.candidates()[0].reason.clone();
        assert_eq!(reason, "left alone for 59.0 s more: authentication");
        assert_eq!(names(&walk(plan, |_| of(Class::ServerError))), ["up"]);
    }
    let mut later = plan_with(along(&[group.clone()]), Needs::only(Wanted::Chat), 1, 61 * SECOND);
    assert_eq!(later.reachable().count(), 2);
    let _probe = down.begin(61 * SECOND).unwrap();
    let tried: Vec<_> = std::iter::from_fn(|| match later.next(None, 61 * SECOND) {
        Step::Try { deployment, .. } => Some(deployment.name.clone()),
        Step::GiveUp { .. } => None,
    })
    .collect();
    assert_eq!(tried, ["up"], "another call tries whether it is back");
}

#[test]
fn when_all_are_left_alone_the_failed_one_is_tried_and_the_refusing_one_is_waited_for() {
    let failed = |class: Class, times: usize| {
        let group = group("a", &["only"], 0);
        for _ in 0..times {
            group.deployments[0].state().begin(0).unwrap().failed(&of(class), &CooldownPolicy::default(), 0);
        }
        plan(&[group], 1)
    };
    let mut plan = failed(Class::ServerError, 4);
    assert_eq!(first(&mut plan), "only");
    assert_eq!(plan.candidates()[0].reason, "left alone for its failures, but nothing else could serve");
    let Step::GiveUp { soonest: Some((_, until_us)) } = failed(Class::Authentication, 1).next(None, SECOND) else {
        panic!("a refused credential is not tried again");
    };
    assert_eq!(until_us, 60 * SECOND);
}

#[test]
fn who_meets_a_probe_goes_elsewhere_and_if_there_is_no_elsewhere_along_with_it() {
    let two = group("a", &["probed", "other"], 0);
    let mut plan = plan(&[two.clone()], 1);
    plan.passed_over(&two.deployments[0], SECOND);
    let probed = two.deployments[0].clone();
    let rest: Vec<_> = std::iter::from_fn(|| match plan.next(None, SECOND) {
        Step::Try { deployment, .. } => Some(deployment),
        Step::GiveUp { .. } => None,
    })
    .collect();
    assert!(rest.iter().any(|d| d.name == "other") && !plan.is_last_resort());
    drop(probed);

    let one = group("a", &["only"], 0);
    let mut plan = plan_with(along(&[one.clone()]), Needs::only(Wanted::Chat), 1, SECOND);
    assert_eq!(first(&mut plan), "only");
    plan.passed_over(&one.deployments[0], SECOND);
    assert_eq!(first(&mut plan), "only");
    assert!(plan.is_last_resort());
    assert_eq!(first(&mut plan), "", "once");
}

#[test]
fn a_storm_is_not_retried_beyond_its_budget() {
    let group = group("a", &["a1"], 2);
    let attempts: usize =
        (0..1_000).map(|seed| walk(plan(&[group.clone()], seed), |_| of(Class::Overloaded)).len()).sum();
    // A fifth of the calls, and ten seconds' worth of ten a second.
    assert!((1_250..1_320).contains(&attempts), "{attempts}");
}

#[test]
fn fallbacks_are_chained_each_once_and_cycles_end() {
    let with = |name: &str, fallbacks: &[&str]| {
        let fallbacks = fallbacks.iter().map(|f| (*f).to_owned()).collect();
        (name.to_owned(), Arc::new(ModelGroup { fallbacks, ..group_of(name, vec![deployment(name)]) }))
    };
    let groups = [with("a", &["b", "a", "b", "gone"]), with("b", &["c", "a"]), with("c", &["b"]), with("d", &[])];
    let table = Table { groups: groups.into_iter().collect(), default_fallbacks: vec!["c".into()], ..Table::default() };
    let order = |model: &str, instead: Option<&[String]>, but: &str| {
        let routes = table.routes(model, instead, |g| g.name != but);
        routes.groups().map(|g| g.name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(order("a", None, ""), ["a", "b", "c"]);
    assert_eq!(order("a", None, "b"), ["a"], "a right that is missing ends the way through it");
    assert_eq!(order("d", None, ""), ["d", "c", "b", "a"], "the default, where a group names none");
    assert_eq!(order("a", Some(&["d".into()]), ""), ["a", "d"], "the call's own in place of all");
    assert_eq!(order("a", Some(&[]), ""), ["a"]);
    assert!(order("nobody", None, "").is_empty());
}

#[test]
fn a_reload_does_not_forget_how_deployments_did() {
    let states = States::default();
    let table = || {
        let table = Table { groups: [("a".to_owned(), group("a", &["a1"], 0))].into(), ..Table::default() };
        table.attach(&states);
        table
    };
    let before = table();
    let state = before.groups["a"].deployments[0].state().clone();
    state.begin(0).unwrap().failed(&of(Class::Authentication), &CooldownPolicy::default(), 0);
    let after = table();
    assert_eq!(after.groups["a"].deployments[0].state().why(), Some(Class::Authentication));
}

#[test]
fn a_prompt_that_is_too_long_for_a_whole_group_goes_along_its_context_window_fallbacks() {
    let small = |name: &str| Deployment { context_window: Some(1_000), ..deployment(name) };
    let own = Arc::new(group_of("a", vec![small("a1"), small("a2")]));
    let routes = Routes::new(own.clone(), vec![group("b", &["b1"], 0)], vec![group("long", &["l1"], 0)], Vec::new());
    let needs = |input_tokens| Needs { input_tokens, ..Needs::only(Wanted::Chat) };
    assert_eq!(first(&mut plan_with(routes.clone(), needs(2_000), 1, SECOND)), "l1");
    assert!(["a1", "a2"].contains(&first(&mut plan_with(routes, needs(500), 1, SECOND)).as_str()));
    // Where one of them has room, that one serves.
    let mixed = Arc::new(group_of("a", vec![small("a1"), deployment("a2")]));
    let routes = Routes::new(mixed, Vec::new(), vec![group("long", &["l1"], 0)], Vec::new());
    assert_eq!(first(&mut plan_with(routes, needs(2_000), 1, SECOND)), "a2");
    // Without such fallbacks the general ones.
    assert_eq!(first(&mut plan_with(along(&[own, group("b", &["b1"], 0)]), needs(2_000), 1, SECOND)), "b1");
}

#[test]
fn a_pause_beyond_the_callers_deadline_is_not_made_and_the_fallback_is_tried() {
    let routes = along(&[group("a", &["a1"], 2), group("b", &["b1"], 0)]);
    let plan = plan_with(routes, Needs::only(Wanted::Chat), 1, SECOND).until(Some(6 * SECOND));
    let late = Failure { retry_after: Some(Duration::from_secs(8)), ..of(Class::RateLimit) };
    assert_eq!(names(&walk(plan, |_| late.clone())), ["a1", "b1"]);
}

/// A deployment that was failed so often that it is left alone, and until when.
fn left_alone(failure: &Failure) -> (Arc<Deployment>, u64) {
    let deployment = Arc::new(deployment("a1"));
    let policy = CooldownPolicy { allowed_fails: 0, ..CooldownPolicy::default() };
    let until_us = deployment.state().begin(SECOND).unwrap().failed(failure, &policy, SECOND).unwrap();
    (deployment, until_us)
}

#[test]
fn a_wait_that_the_provider_stated_ends_by_itself_and_any_other_with_one_call_that_tries() {
    let stated = Failure { retry_after: Some(Duration::from_secs(2)), ..of(Class::RateLimit) };
    let (deployment, until_us) = left_alone(&stated);
    assert!(deployment.state().begin(until_us - 1).is_none(), "left alone");
    let all: Vec<_> = (0..10).map(|_| deployment.state().begin(until_us)).collect();
    assert!(all.iter().all(Option::is_some), "the provider said when it is back");

    let (deployment, until_us) = left_alone(&of(Class::ServerError));
    let mut probe = deployment.state().begin(until_us).unwrap();
    assert!(deployment.state().begin(until_us).is_none(), "one tries");
    probe.first_content(until_us + 1);
    assert!(deployment.state().begin(until_us + 2).is_some(), "back with its first content, before its end");
    drop(probe);
    assert_eq!(deployment.state().circuit(until_us + 2), tollgate_router::Circuit::Closed);
}

#[test]
fn what_is_heard_of_a_cooldown_that_has_ended_here_is_old() {
    let (deployment, until_us) = left_alone(&of(Class::Authentication));
    let state = deployment.state();
    state.may_be_back(2 * SECOND);
    state.cool_until(until_us + 1_000, Some(Class::Authentication));
    assert!(!matches!(state.circuit(2 * SECOND), tollgate_router::Circuit::Open { .. }), "a check knows better");
    state.cool_until(until_us + 30 * SECOND, Some(Class::Authentication));
    assert!(matches!(state.circuit(2 * SECOND), tollgate_router::Circuit::Open { .. }), "this is news");
}

#[test]
fn who_fails_fast_is_not_preferred_for_it() {
    let group = by(Strategy::Latency, vec![deployment("a1"), deployment("a2")]);
    let [bad, good] = [&group.deployments[0], &group.deployments[1]];
    let mut trial = good.state().begin(SECOND).unwrap();
    trial.first_content(2 * SECOND);
    bad.state().begin(SECOND).unwrap().failed(&of(Class::ServerError), &CooldownPolicy::default(), SECOND + 1_000);
    drop(trial);
    let chosen = (0..100).filter(|seed| {
        first(&mut plan_with(along(&[group.clone()]), Needs::only(Wanted::Chat), *seed, 3 * SECOND)) == "a2"
    });
    assert!(chosen.count() >= 95);
}

#[test]
fn a_last_resort_is_tried_once() {
    let group = group("a", &["a1"], 2);
    let policy = CooldownPolicy { allowed_fails: 0, ..CooldownPolicy::default() };
    group.deployments[0].state().begin(SECOND).unwrap().failed(&of(Class::ServerError), &policy, SECOND);
    let plan = plan_with(along(&[group]), Needs::only(Wanted::Chat), 1, SECOND);
    assert_eq!(names(&walk(plan, |_| of(Class::ServerError))), ["a1"]);
}

#[test]
fn the_answer_that_is_asked_for_must_fit_the_window_too() {
    let small = Deployment { context_window: Some(1_000), ..deployment("small") };
    let needs = |output_tokens| Needs { input_tokens: 900, output_tokens, ..Needs::only(Wanted::Chat) };
    let refused = |output| needs(output).refuse(&small, &Tags::default());
    assert_eq!(refused(100), None);
    assert!(refused(101).unwrap().contains("an answer of 101"));
}

/// Its provider says that no request is left for so many seconds.
fn has_none_left(deployment: &Deployment, seconds: u64) {
    let left = Left { remaining: 0, limit: Some(500), resets_in: Some(Duration::from_secs(seconds)) };
    deployment.state().told(&Headroom { requests: Some(left), tokens: None }, SECOND);
}

#[test]
fn who_said_it_has_none_left_is_passed_over_until_then_while_another_is_there() {
    let group = group("a", &["a1", "a2"], 0);
    has_none_left(&group.deployments[0], 30);
    let chosen = |now_us: u64| -> Vec<String> {
        let plan = |seed| plan_with(along(&[group.clone()]), Needs::only(Wanted::Chat), seed, now_us);
        let at = |seed| match plan(seed).next(None, now_us) {
            Step::Try { deployment, .. } => deployment.name.clone(),
            Step::GiveUp { .. } => String::new(),
        };
        (0..40).map(at).collect()
    };
    assert!(chosen(30 * SECOND).iter().all(|name| name == "a2"));
    assert!(chosen(31 * SECOND).iter().any(|name| name == "a1"), "its limit is whole again");
    let mut plan = plan(&[group], 1);
    plan.next(None, SECOND);
    assert_eq!(plan.candidates()[0].reason, "said it has none left for 30.0 s more");
    assert!(!plan.candidates()[0].chosen);
}

#[test]
fn who_said_it_has_none_left_is_tried_after_the_others_and_before_a_fallback() {
    let first_in_line = deployment("a1");
    let second = Deployment { order: 1, ..deployment("a2") };
    let group_a = Arc::new(group_of("a", vec![first_in_line, second]));
    has_none_left(&group_a.deployments[0], 30);
    let steps = walk(plan(&[group_a, group("b", &["b1"], 0)], 1), |_| of(Class::ServerError));
    assert_eq!(names(&steps), ["a2", "a1", "b1"]);
}

#[test]
fn the_only_one_is_asked_whatever_it_said() {
    let group = group("a", &["a1"], 0);
    has_none_left(&group.deployments[0], 30);
    let mut plan = plan(&[group], 1);
    assert_eq!(first(&mut plan), "a1");
    assert_eq!(plan.candidates()[0].reason, "next by shuffle, although it said it has none left");
}

#[test]
fn who_sticks_to_one_that_has_none_left_is_served_elsewhere_and_comes_back() {
    let group = group("a", &["a1", "a2", "a3"], 0);
    let needs = || Needs { sticky: Some(stable_hash("somebody")), ..Needs::only(Wanted::Chat) };
    let goes_to = || first(&mut plan_with(along(&[group.clone()]), needs(), 1, SECOND));
    let home = goes_to();
    let stuck = group.deployments.iter().find(|d| d.name == home).unwrap();
    has_none_left(stuck, 30);
    assert_ne!(goes_to(), home);
    let left = Left { remaining: 1, limit: Some(500), resets_in: Some(Duration::from_secs(30)) };
    stuck.state().told(&Headroom { requests: Some(left), tokens: None }, SECOND);
    assert_eq!(goes_to(), home, "it said that there is one again");
}

#[test]
fn where_nothing_is_ever_left_alone_what_is_left_counts_for_nothing() {
    let never = CooldownPolicy { time: Duration::ZERO, ..CooldownPolicy::default() };
    let ignored = Deployment { cooldown: never, weight: 1_000_000, ..deployment("a1") };
    let group = Arc::new(group_of("a", vec![ignored, Deployment { weight: 0, ..deployment("a2") }]));
    has_none_left(&group.deployments[0], 30);
    assert_eq!(first(&mut plan(&[group], 1)), "a1");
}

/// A group that says how often to try again after some failures, and twice after any other.
fn particular(by_class: &[(Class, u32)], deployments: &[&str]) -> Arc<ModelGroup> {
    let group = group_of("a", deployments.iter().map(|name| deployment(name)).collect());
    let retry = RetryPolicy { retries: 2, by_class: by_class.iter().copied().collect(), ..RetryPolicy::default() };
    Arc::new(ModelGroup { retry, ..group })
}

/// How many attempts are made where each fails as given.
fn attempts(group: &Arc<ModelGroup>, failures: &[Failure]) -> usize {
    let routes = Routes::new(group.clone(), Vec::new(), Vec::new(), Vec::new());
    let mut plan = Plan::new(routes, Needs::only(Wanted::Chat), Arc::new(Tags::default()), 1, 0);
    let mut last: Option<(Arc<Deployment>, Failure)> = None;
    for made in 0.. {
        let Step::Try { deployment, .. } = plan.next(last.as_ref().map(|(d, f)| (d, f)), 0) else { return made };
        last = Some((deployment, failures[made.min(failures.len() - 1)].clone()));
    }
    unreachable!()
}

#[test]
fn a_group_says_for_each_class_of_failure_how_often_to_try_again() {
    let of = |class| Failure::new(class, "no");
    let group = particular(&[(Class::Timeout, 0), (Class::RateLimit, 4), (Class::InvalidRequest, 1)], &["one"]);
    assert_eq!(attempts(&group, &[of(Class::Timeout)]), 1);
    assert_eq!(attempts(&group, &[of(Class::RateLimit)]), 5);
    assert_eq!(attempts(&group, &[of(Class::ServerError)]), 3, "of others the general count holds");
    assert_eq!(attempts(&group, &[of(Class::InvalidRequest)]), 2, "even of what would not be worth it");
    assert_eq!(attempts(&group, &[of(Class::ContentFilter)]), 1);
    // Each class has a count of its own: four times after a rate limit, and twice after a failure of the server.
    let mixed = [of(Class::RateLimit), of(Class::ServerError), of(Class::RateLimit), of(Class::ServerError)];
    assert_eq!(attempts(&group, &[&mixed[..], &[of(Class::Timeout)]].concat()), 5);
}

#[test]
fn what_would_be_the_same_everywhere_is_not_taken_elsewhere_by_its_own_count() {
    let group = particular(&[(Class::InvalidRequest, 1)], &["one", "two", "three"]);
    assert_eq!(attempts(&group, &[Failure::new(Class::InvalidRequest, "no")]), 2);
}

#[test]
fn a_provider_that_asks_not_to_be_asked_again_is_not() {
    let group = particular(&[(Class::RateLimit, 4)], &["one"]);
    let failure = Failure { should_retry: Some(false), ..Failure::new(Class::RateLimit, "no") };
    assert_eq!(attempts(&group, &[failure]), 1);
}

#[test]
fn a_retry_that_is_asked_for_is_made_although_the_deployment_is_left_alone() {
    let group = particular(&[(Class::Authentication, 1)], &["one"]);
    let routes = Routes::new(group.clone(), Vec::new(), Vec::new(), Vec::new());
    let mut plan = Plan::new(routes, Needs::only(Wanted::Chat), Arc::new(Tags::default()), 1, 0);
    let Step::Try { deployment, .. } = plan.next(None, 0) else { panic!("nothing to try") };
    assert!(!plan.begins_anyway());
    let failure = Failure::new(Class::Authentication, "no");
    let mut trial = deployment.state().begin(0).unwrap();
    trial.failed(&failure, &deployment.cooldown, 0).expect("it is left alone");
    drop(trial);
    assert!(matches!(plan.next(Some((&deployment, &failure)), 0), Step::Try { .. }));
    assert!(plan.begins_anyway() && !plan.is_last_resort());
    assert!(matches!(plan.next(Some((&deployment, &failure)), 0), Step::GiveUp { .. }));
}
