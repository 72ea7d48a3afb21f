//! Budgets on every scope, in every window, as callers and admins meet them.

use std::time::Duration;

use serde_json::json;
use tollgate_client::{reason, v1};
use tollgate_tests::{provider::Step, support::http::Caller};

use crate::support::{World, hello};

/// Ten tokens cost a tenth of a cent, and nothing else does.
async fn world() -> World {
    let exact = |provider: &str| {
        json!({
            "provider": provider, "model": "exact-upstream", "price": {"input": "0", "output": "100"},
            "max_output_tokens": 4096
        })
    };
    let world = World::with_provider(|b, url| {
        b.provider("second", url).deployment("exact", exact("scripted")).deployment("other", exact("second"))
    });
    world.await
}

const CALL: i64 = 1_000_000;

fn ten_tokens() -> serde_json::Value {
    hello(json!({"model": "exact", "max_completion_tokens": 10}))
}

fn scope(kind: v1::ScopeKind, id: &str) -> v1::BudgetScope {
    v1::BudgetScope { kind: kind as i32, id: id.into(), ..Default::default() }
}

fn calls(n: i64, scope: v1::BudgetScope) -> v1::Budget {
    v1::Budget { scope: Some(scope), limit_nano_usd: n * CALL, ..Default::default() }
}

impl World {
    async fn make(&self, budget: v1::Budget) -> v1::Budget {
        let asked = v1::CreateBudgetRequest { budget: Some(budget), ..Default::default() };
        self.admin().await.budgets().create_budget(asked).await.unwrap().into_inner().budget.unwrap()
    }

    async fn look(&self, id: &str) -> v1::Budget {
        let asked = v1::GetBudgetRequest { id: id.into(), ..Default::default() };
        self.admin().await.budgets().get_budget(asked).await.unwrap().into_inner().budget.unwrap()
    }

    /// How many calls pass before the budget is exhausted.
    async fn passed(&self, secret: &str, body: &serde_json::Value) -> usize {
        let (caller, url) = (Caller::bearer(secret), self.v1("chat/completions"));
        for n in 0.. {
            let reply = caller.post(&url, body).await.unwrap();
            match reply.status.as_u16() {
                200 => {}
                429 => {
                    assert_eq!(reply.json()["error"]["code"], "budget_exceeded", "{:?}", reply.body);
                    return n;
                }
                other => panic!("{other}: {:?}", reply.body),
            }
            assert!(n < 50, "nothing stops it");
        }
        unreachable!()
    }
}

#[tokio::test]
async fn each_scope_stops_the_calls_that_it_counts_and_no_others() {
    use v1::ScopeKind::*;
    let world = world().await;
    let team = world.team(v1::Team::default()).await;
    let organization = team.organization_id.clone();
    let user = v1::User { organization_id: organization.clone(), ..Default::default() };
    let asked = v1::CreateUserRequest { user: Some(user), ..Default::default() };
    let user = world.admin().await.tenancy().create_user(asked).await.unwrap().into_inner().user.unwrap().id;
    let made = world
        .key(v1::Key {
            team_id: team.id.clone(),
            user_id: user.clone(),
            tags: vec!["prod".into()],
            ..Default::default()
        })
        .await;
    let stranger = world.key(v1::Key::default()).await;
    let key = made.key.unwrap().id;
    let member = v1::BudgetScope { team_id: team.id.clone(), ..scope(Member, &user) };
    let labelled = v1::BudgetScope { organization_id: organization.clone(), ..scope(Tag, "prod") };
    let of_model = v1::BudgetScope { model: "exact".into(), ..scope(Team, &team.id) };
    let at_provider = v1::BudgetScope { provider: "scripted".into(), ..scope(Team, &team.id) };
    for on in [
        scope(Key, &key),
        scope(Team, &team.id),
        scope(User, &user),
        member,
        scope(Organization, &organization),
        labelled,
        of_model.clone(),
        at_provider.clone(),
    ] {
        let budget = world.make(calls(3, on.clone())).await;
        assert_eq!(world.passed(&made.secret, &ten_tokens()).await, 3, "{on:?}");
        let look = world.look(&budget.id).await;
        assert_eq!((look.spent_nano_usd, look.held_nano_usd), (3 * CALL, 0), "{on:?}");
        // What it does not count goes on.
        let reply = Caller::bearer(&stranger.secret).post(&world.v1("chat/completions"), &ten_tokens()).await.unwrap();
        assert_eq!(reply.status, 200, "{on:?}");
        if on == of_model || on == at_provider {
            let other = hello(json!({"model": "other", "max_completion_tokens": 10}));
            let reply = Caller::bearer(&made.secret).post(&world.v1("chat/completions"), &other).await.unwrap();
            assert_eq!(reply.status, 200, "{on:?}");
        }
        let asked = v1::DeleteBudgetRequest { id: budget.id };
        world.admin().await.budgets().delete_budget(asked).await.unwrap();
    }
    // The gateway's counts everybody.
    world.make(calls(2, scope(Gateway, ""))).await;
    assert_eq!(world.passed(&made.secret, &ten_tokens()).await, 2);
    let reply = Caller::bearer(&stranger.secret).post(&world.v1("chat/completions"), &ten_tokens()).await.unwrap();
    assert_eq!(reply.json()["error"]["code"], "budget_exceeded");
}

#[tokio::test]
async fn each_customer_has_a_budget_of_its_own() {
    let world = world().await;
    let secret = world.gateway.key().to_owned();
    world.make(calls(2, scope(v1::ScopeKind::Customer, "*"))).await;
    let of = |name: &str| hello(json!({"model": "exact", "max_completion_tokens": 10, "user": name}));
    assert_eq!(world.passed(&secret, &of("acme")).await, 2);
    assert_eq!(world.passed(&secret, &of("initech")).await, 2);
    assert_eq!(world.passed(&secret, &of("acme")).await, 0);
    let reply = world.gateway.caller().post(&world.v1("chat/completions"), &ten_tokens()).await.unwrap();
    assert_eq!(reply.status, 200, "a call without a customer counts nowhere");
    // After a restart each stands where it stood.
    let mut world = world;
    world.gateway.kill9();
    world.gateway.restart().await;
    let url = world.gateway.v1("chat/completions");
    let reply = world.gateway.caller().post(&url, &of("acme")).await.unwrap();
    assert_eq!(reply.json()["error"]["code"], "budget_exceeded");
}

#[tokio::test]
async fn a_refusal_names_scope_limit_rest_and_reset() {
    let world = world().await;
    let day = v1::CalendarWindow { unit: v1::CalendarUnit::Day as i32, time_zone: "Europe/Berlin".into() };
    let window = v1::BudgetWindow { window: Some(v1::budget_window::Window::Calendar(day)) };
    let budget = v1::Budget { window: Some(window), ..calls(0, scope(v1::ScopeKind::Gateway, "")) };
    let made = world.make(budget).await;
    let reset = made.reset_time.unwrap();
    let asked =
        v1::CompletionRequest { model: Some("exact".into()), max_output_tokens: Some(10), ..crate::support::request() };
    let call = v1::CreateCompletionRequest { request: Some(asked) };
    let status = world.caller().await.completions().create_completion(call).await.unwrap_err();
    assert_eq!(reason(&status), Some(v1::ErrorReason::BudgetExhausted));
    let details = tonic_types::StatusExt::get_error_details(&status);
    let metadata = &details.error_info().unwrap().metadata;
    assert_eq!(metadata["budgetId"], made.id);
    assert_eq!((metadata["limitNanoUsd"].as_str(), metadata["neededNanoUsd"].as_str()), ("0", "1000000"));
    assert_eq!(metadata["resetTime"], reset.to_string());
    let wait = details.retry_info().unwrap().retry_delay.unwrap();
    assert!(wait <= Duration::from_secs(25 * 3_600), "until midnight in Berlin: {wait:?}");
    assert!(!details.quota_failure().unwrap().violations[0].subject.is_empty());
    // The same over REST, as far as headers go.
    let refused = world.gateway.caller().post(&world.v1("chat/completions"), &ten_tokens()).await.unwrap();
    assert_eq!((refused.status.as_u16(), &refused.json()["error"]["code"]), (429, &json!("budget_exceeded")));
    let told: u64 = refused.header("retry-after").parse().unwrap();
    assert!((1..=25 * 3_600).contains(&told), "until midnight in Berlin: {told} s");
    assert_eq!(refused.header("x-should-retry"), "false");
}

#[tokio::test]
async fn a_short_window_resets_by_itself_and_a_rolling_one_forgets() {
    let world = world().await;
    let every = v1::EveryWindow { seconds: 60, anchor: None };
    for window in
        [v1::budget_window::Window::Every(every), v1::budget_window::Window::Rolling(v1::RollingWindow { seconds: 60 })]
    {
        let window = v1::BudgetWindow { window: Some(window) };
        let made = world.key(v1::Key::default()).await;
        let on = scope(v1::ScopeKind::Key, &made.key.unwrap().id);
        let budget = world.make(v1::Budget { window: Some(window), ..calls(2, on) }).await;
        assert_eq!(world.passed(&made.secret, &ten_tokens()).await, 2);
        let start = world.look(&budget.id).await.window_start_time.unwrap();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as i64;
        assert!((0..=61).contains(&(now - start.seconds)), "{start:?}");
    }
}

#[tokio::test]
async fn an_increase_raises_the_limit_until_it_expires() {
    let world = world().await;
    let made = world.key(v1::Key::default()).await;
    let budget = world.make(calls(2, scope(v1::ScopeKind::Key, &made.key.unwrap().id))).await;
    assert_eq!(world.passed(&made.secret, &ten_tokens()).await, 2);
    let seconds = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as i64;
    let increase = v1::BudgetIncrease {
        amount_nano_usd: 3 * CALL,
        expire_time: Some(prost_types::Timestamp { seconds: seconds + 3_600, nanos: 0 }),
        reason: "launch day".into(),
    };
    let asked = v1::IncreaseBudgetRequest { id: budget.id.clone(), increase: Some(increase) };
    let raised = world.admin().await.budgets().increase_budget(asked).await.unwrap().into_inner().budget.unwrap();
    assert_eq!((raised.limit_nano_usd, raised.effective_limit_nano_usd), (2 * CALL, 5 * CALL));
    assert_eq!(world.passed(&made.secret, &ten_tokens()).await, 3);
    let asked = v1::IncreaseBudgetRequest { id: budget.id.clone(), increase: None };
    world.admin().await.budgets().increase_budget(asked).await.unwrap();
    assert_eq!(world.look(&budget.id).await.effective_limit_nano_usd, 2 * CALL);
    // Changed in mid-window: what was spent stays spent.
    let asked = v1::Budget { id: budget.id.clone(), limit_nano_usd: 6 * CALL, ..Default::default() };
    let asked = v1::UpdateBudgetRequest { budget: Some(asked), ..Default::default() };
    world.admin().await.budgets().update_budget(asked).await.unwrap();
    assert_eq!(world.passed(&made.secret, &ten_tokens()).await, 1);
}

#[tokio::test]
async fn a_changed_window_counts_what_was_spent_since_it_began() {
    let world = world().await;
    let made = world.key(v1::Key::default()).await;
    let budget = world.make(calls(3, scope(v1::ScopeKind::Key, &made.key.unwrap().id))).await;
    assert_eq!(world.passed(&made.secret, &ten_tokens()).await, 3);
    let change = async |window: Option<v1::budget_window::Window>| {
        let window = window.map(|w| v1::BudgetWindow { window: Some(w) });
        let asked = v1::Budget { id: budget.id.clone(), window, ..Default::default() };
        let mask = prost_types::FieldMask { paths: vec!["window".into()] };
        let asked = v1::UpdateBudgetRequest { budget: Some(asked), update_mask: Some(mask) };
        world.admin().await.budgets().update_budget(asked).await.unwrap().into_inner().budget.unwrap()
    };
    let month = v1::CalendarWindow { unit: v1::CalendarUnit::Month as i32, ..Default::default() };
    let changed = change(Some(v1::budget_window::Window::Calendar(month))).await;
    assert_eq!(changed.spent_nano_usd, 0, "what was charged to the total is no part of a month");
    assert_eq!(world.passed(&made.secret, &ten_tokens()).await, 3);
    let back = change(None).await;
    assert_eq!(back.spent_nano_usd, 6 * CALL, "all of it counts in the total");
    assert_eq!(world.passed(&made.secret, &ten_tokens()).await, 0);
}

#[tokio::test]
async fn a_pace_limit_spreads_a_budget_over_the_hours() {
    let world = world().await;
    let made = world.key(v1::Key::default()).await;
    let on = scope(v1::ScopeKind::Key, &made.key.unwrap().id);
    world.make(v1::Budget { pace_percent_per_hour: Some(30), ..calls(10, on) }).await;
    let passed = world.passed(&made.secret, &ten_tokens()).await;
    // Six where an hour ended in between.
    assert!(passed == 3 || passed == 6, "{passed}");
    let reply = Caller::bearer(&made.secret).post(&world.v1("chat/completions"), &ten_tokens()).await.unwrap();
    assert!(reply.json()["error"]["message"].as_str().unwrap().contains("pace"));
}

#[tokio::test]
async fn a_soft_budget_warns_and_goes_on_until_its_hard_stop() {
    let world = world().await;
    let made = world.key(v1::Key::default()).await;
    let on = scope(v1::ScopeKind::Key, &made.key.unwrap().id);
    let soft = v1::BudgetEnforcement::Soft as i32;
    let budget = world.make(v1::Budget { enforcement: soft, hard_at_percent: Some(150), ..calls(4, on) }).await;
    assert_eq!(world.passed(&made.secret, &ten_tokens()).await, 6);
    let asked = v1::ListBudgetAlertsRequest { budget_id: budget.id.clone(), ..Default::default() };
    let alerts = world.admin().await.budgets().list_budget_alerts(asked).await.unwrap().into_inner().alerts;
    assert_eq!(alerts.iter().map(|a| a.percent).collect::<Vec<_>>(), [50, 80, 100], "each once");
}

#[tokio::test]
async fn a_tight_budget_clamps_the_output_where_it_may() {
    let world = world().await;
    let made = world.key(v1::Key::default()).await;
    let on = scope(v1::ScopeKind::Key, &made.key.unwrap().id);
    let clamp = v1::WhenTight::Clamp as i32;
    world.make(v1::Budget { when_tight: clamp, hold_mode: v1::HoldMode::Strict as i32, ..calls(3, on) }).await;
    world.provider.always("exact-upstream", [Step::streams(100)]);
    let (caller, url) = (Caller::bearer(&made.secret), world.v1("chat/completions"));
    // Thirty tokens are affordable, forty are asked for.
    let body = hello(json!({"model": "exact", "max_completion_tokens": 40}));
    let reply = caller.post(&url, &body).await.unwrap();
    assert_eq!(reply.status, 200, "{:?}", reply.body);
    assert_eq!(reply.json()["usage"]["completion_tokens"], 30);
    assert_eq!(reply.json()["choices"][0]["finish_reason"], "length");
    assert_eq!(world.passed(&made.secret, &body).await, 0);
}

#[tokio::test]
async fn a_watcher_sees_entries_alerts_and_balances_as_they_come() {
    let world = world().await;
    let made = world.key(v1::Key::default()).await;
    let key_id = made.key.unwrap().id;
    let budget = world.make(calls(2, scope(v1::ScopeKind::Key, &key_id))).await;
    let asked = v1::WatchSpendRequest { key_id: key_id.clone(), ..Default::default() };
    let mut watch = world.admin().await.budgets().watch_spend(asked).await.unwrap().into_inner();
    assert_eq!(world.passed(&made.secret, &ten_tokens()).await, 2);
    // Somebody else's calls are not told.
    world.gateway.caller().post(&world.v1("chat/completions"), &ten_tokens()).await.unwrap();
    let (mut entries, mut percents, mut spent) = (Vec::new(), Vec::new(), 0);
    while entries.len() < 2 || percents.len() < 3 || spent < 2 * CALL {
        let next = tokio::time::timeout(Duration::from_secs(5), watch.message()).await.expect("more is told").unwrap();
        match next.unwrap().update.unwrap() {
            v1::watch_spend_response::Update::Entry(entry) => entries.push(entry.key_id),
            v1::watch_spend_response::Update::Alert(alert) => percents.push(alert.percent),
            v1::watch_spend_response::Update::Budget(now) => {
                assert_eq!(now.id, budget.id);
                spent = now.spent_nano_usd;
            }
        }
    }
    assert_eq!((entries, percents), (vec![key_id.clone(), key_id], vec![50, 80, 100]));
}

#[tokio::test]
async fn spend_is_told_by_every_group_that_pays() {
    let world = world().await;
    let team = world.team(v1::Team::default()).await;
    let made =
        world.key(v1::Key { team_id: team.id.clone(), tags: vec!["a".into(), "b".into()], ..Default::default() }).await;
    let caller = Caller::bearer(&made.secret);
    let body = hello(json!({"model": "exact", "max_completion_tokens": 10, "user": "acme"}));
    for _ in 0..2 {
        assert_eq!(caller.post(&world.v1("chat/completions"), &body).await.unwrap().status, 200);
    }
    use v1::SpendGroup::*;
    for (group, rows) in [
        (Team, vec![team.id.clone()]),
        (Organization, vec![team.organization_id.clone()]),
        (Customer, vec!["acme".to_owned()]),
        (Tag, vec!["a".to_owned(), "b".to_owned()]),
        (Model, vec!["exact".to_owned()]),
        (Provider, vec!["scripted".to_owned()]),
    ] {
        let asked = v1::GetSpendRequest { group_by: group as i32, team_id: team.id.clone(), ..Default::default() };
        let spend = world.admin().await.budgets().get_spend(asked).await.unwrap().into_inner();
        assert_eq!(spend.rows.iter().map(|r| r.group.clone()).collect::<Vec<_>>(), rows, "{group:?}");
        assert!(spend.rows.iter().all(|r| r.cost_nano_usd == 2 * CALL), "{group:?}");
        assert_eq!(spend.total.unwrap().cost_nano_usd, 2 * CALL, "{group:?}: a total counts each entry once");
    }
}

#[tokio::test]
async fn a_correction_moves_money_once_and_above_a_hundred_dollars_by_two_people() {
    let world = world().await;
    let made = world.key(v1::Key::default()).await;
    let budget = world.make(calls(1_000_000, scope(v1::ScopeKind::Key, &made.key.unwrap().id))).await;
    let caller = Caller::bearer(&made.secret);
    assert_eq!(caller.post(&world.v1("chat/completions"), &ten_tokens()).await.unwrap().status, 200);
    let attempt_id = world.entries().await[0].attempt_id.clone();
    let finance = world.key(v1::Key { role: v1::KeyRole::Finance as i32, ..Default::default() }).await.secret;
    let finance = tollgate_client::Client::connect(&world.gateway.grpc(), &finance).await.unwrap();
    let propose = async |amount_nano_usd: i64, request_id: &str| {
        let reason = "the provider gave it back".to_owned();
        let adjustment =
            v1::Adjustment { attempt_id: attempt_id.clone(), amount_nano_usd, reason, ..Default::default() };
        let asked = v1::CreateAdjustmentRequest { adjustment: Some(adjustment), request_id: request_id.into() };
        finance.budgets().create_adjustment(asked).await.unwrap().into_inner().adjustment.unwrap()
    };
    let small = propose(-CALL, "r1").await;
    assert_eq!(small.state(), v1::AdjustmentState::Posted);
    assert_eq!(propose(-CALL, "r1").await.id, small.id, "repeated, not doubled");
    assert_eq!(world.look(&budget.id).await.spent_nano_usd, 0);

    let large = propose(200_000_000_000, "r2").await;
    assert_eq!(large.state(), v1::AdjustmentState::Pending);
    assert_eq!(world.look(&budget.id).await.spent_nano_usd, 0);
    for _ in 0..2 {
        let asked = v1::ApproveAdjustmentRequest { id: large.id.clone() };
        let posted =
            world.admin().await.budgets().approve_adjustment(asked).await.unwrap().into_inner().adjustment.unwrap();
        assert_eq!(posted.state(), v1::AdjustmentState::Posted);
    }
    assert_eq!(world.look(&budget.id).await.spent_nano_usd, 200_000_000_000);
    let kinds: Vec<_> = world.entries().await.iter().map(|e| e.kind()).collect();
    use v1::LedgerEntryKind::*;
    assert_eq!(kinds, [Exact, Adjustment, Adjustment]);
    let checked = world.admin().await.budgets().check_ledger(v1::CheckLedgerRequest {}).await.unwrap().into_inner();
    assert_eq!((checked.findings, checked.entries), (vec![], 3));
}
