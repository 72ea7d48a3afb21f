#![allow(clippy::unwrap_used)] // a test says by panicking

use tollgate_proto::v1::{Budget, BudgetEnforcement, BudgetWindow, EveryWindow, budget_window};

use super::*;

const HOUR_US: i64 = 3_600_000_000;
const NOW_US: i64 = 100 * HOUR_US;

fn policy(limit: i64, every_seconds: Option<i64>) -> Arc<Policy> {
    let every = |seconds| EveryWindow { seconds, anchor: Some(tollgate_domain::timestamp(0)) };
    let window = |seconds| BudgetWindow { window: Some(budget_window::Window::Every(every(seconds))) };
    let budget = Budget {
        limit_nano_usd: limit,
        enforcement: BudgetEnforcement::Hard as i32,
        window: every_seconds.map(window),
        ..Budget::default()
    };
    Arc::new(Policy::read(&budget).unwrap())
}

fn leased(limit: i64, every_seconds: Option<i64>, amount: i64) -> (Arc<Account>, i64) {
    let account = Arc::new(Account::new("b", policy(limit, every_seconds), NOW_US, true));
    let window = account.want(amount, amount, NOW_US).unwrap().lease_window;
    account.grant(window, amount, limit, NOW_US);
    (account, window)
}

fn hold(account: &Arc<Account>, amount: i64, now_us: i64) -> Part {
    let mut locked = account.lock();
    locked.roll(now_us);
    let (window, lease_window) = locked.hold(amount, now_us);
    drop(locked);
    Part { account: account.clone(), window, lease_window }
}

#[test]
fn what_is_given_back_of_a_window_is_one_sum() {
    let (account, window) = leased(1_000, None, 600);
    let part = hold(&account, 100, NOW_US);
    account.change(policy(800, None), NOW_US);
    account.grant(window, 50, 1_000, NOW_US); // asked for under the higher limit
    account.near(NOW_US + HOUR_US);
    account.settle(&part, 100, 30);
    assert_eq!(account.give_back(NOW_US, 100_000), [(window, 620)]);
    assert_eq!(account.leases(), [(window, 30)]);
}

#[test]
fn a_call_settles_what_it_held_though_the_limit_was_lowered_and_the_window_is_over() {
    let (account, window) = leased(1_000, Some(3_600), 600);
    let part = hold(&account, 100, NOW_US);
    account.change(policy(800, Some(3_600)), NOW_US);
    let later_us = NOW_US + HOUR_US;
    assert_eq!(account.give_back(later_us, 100_000), [(window, 500)]);
    account.settle(&part, 100, 30);
    assert_eq!(account.give_back(later_us, 100_000), [(window, 70)]);
    account.reported(window, 30);
    assert_eq!(account.leases(), []);
    assert!(account.give_back(later_us, 100_000).is_empty());
}

#[test]
fn a_budget_that_comes_back_to_a_window_finds_its_lease_there() {
    let (account, window) = leased(1_000, Some(3_600), 600);
    let part = hold(&account, 100, NOW_US);
    account.change(policy(1_000, None), NOW_US);
    account.change(policy(1_000, Some(3_600)), NOW_US);
    account.settle(&part, 100, 30);
    account.near(NOW_US + HOUR_US);
    assert_eq!(account.give_back(NOW_US, 100_000), [(window, 570)]);
    assert_eq!(account.leases(), [(window, 30)]);
}
