//! The ledger beside its model: the same steps for both, and every answer compared.

use std::{
    collections::HashMap,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use proptest::prelude::*;
use tollgate_domain::{CallId, Clock, NanoUsd};
use tollgate_ledger::{Ask, End, Hold, JournalError, Ledger, OpenError, Opening, Payer, Scopes};
use tollgate_proto::v1::{
    AuditRecord, Budget, BudgetEnforcement, BudgetScope, BudgetWindow, ErrorReason, EveryWindow, LedgerEntry,
    LedgerEntryKind, RollingWindow, ScopeKind, budget_window,
};
use tollgate_store::{EntryQuery, LedgerRow, Object};

use crate::model::{self, Model, Refusal, Window};

/// 2026-11-20T00:00:00Z.
pub const START: i64 = 1_795_132_800;
const KEYS: [&str; 3] = ["k0", "k1", "k2"];

/// One step.
#[derive(Clone, Debug)]
#[allow(missing_docs)] // the variants say it
pub enum Step {
    /// A call of a key holds money.
    Hold { key: usize, min: i64, want: i64 },
    /// The same, by a caller that goes away after so many polls of its wait.
    Abandon { key: usize, amount: i64, polls: usize },
    /// An open call ends at a part of what it held, in percent.
    Settle { which: usize, percent: i64 },
    /// An open call was not billed.
    Release { which: usize },
    /// Time passes, in seconds.
    Wait { seconds: i64 },
    /// An admin changes a limit.
    Limit { budget: usize, limit: i64 },
    /// The gateway dies and starts again.
    Crash,
}

/// Steps as they may come. `time`: whether time passes.
pub fn steps(time: bool) -> impl Strategy<Value = Vec<Step>> {
    let amount = || 1..400i64;
    let seconds = if time { 1..4_000i64 } else { 0..1i64 };
    let step = prop_oneof![
        8 => (0..3usize, amount(), amount()).prop_map(|(key, a, b)| Step::Hold { key, min: a.min(b), want: a.max(b) }),
        2 => (0..3usize, amount(), 0..4usize).prop_map(|(key, amount, polls)| Step::Abandon { key, amount, polls }),
        6 => (any::<usize>(), 0..=100i64).prop_map(|(which, percent)| Step::Settle { which, percent }),
        3 => any::<usize>().prop_map(|which| Step::Release { which }),
        2 => seconds.prop_map(|seconds| Step::Wait { seconds }),
        1 => (0..6usize, 0..3_000i64).prop_map(|(budget, limit)| Step::Limit { budget, limit }),
        1 => Just(Step::Crash),
    ];
    prop::collection::vec(step, 1..60)
}

/// The budgets: one on each key, one on a team that two of them share, one on everything; all kinds of windows; one soft.
fn budgets() -> Vec<(String, BudgetScope, model::Budget)> {
    let scope = |kind: ScopeKind, id: &str| BudgetScope { kind: kind as i32, id: id.into(), ..BudgetScope::default() };
    let budget = |limit, window, hard| model::Budget { limit, window, hard };
    vec![
        ("b0".into(), scope(ScopeKind::Key, "k0"), budget(1_000, Window::Total, true)),
        ("b1".into(), scope(ScopeKind::Key, "k1"), budget(1_500, Window::Every(3_600), true)),
        ("b2".into(), scope(ScopeKind::Key, "k2"), budget(500, Window::Total, false)),
        ("b3".into(), scope(ScopeKind::Team, "t"), budget(2_000, Window::Rolling(3_600), true)),
        ("b4".into(), scope(ScopeKind::Gateway, ""), budget(2_500, Window::Every(7_200), true)),
        ("b5".into(), scope(ScopeKind::Key, "k1"), budget(900, Window::Rolling(1_800), true)),
    ]
}

fn to_proto(id: &str, scope: &BudgetScope, budget: &model::Budget) -> Budget {
    let anchor = Some(tollgate_domain::timestamp(0));
    let window = match budget.window {
        Window::Total => None,
        Window::Every(seconds) => Some(budget_window::Window::Every(EveryWindow { seconds, anchor })),
        Window::Rolling(seconds) => Some(budget_window::Window::Rolling(RollingWindow { seconds })),
    };
    let enforcement = if budget.hard { BudgetEnforcement::Hard } else { BudgetEnforcement::Soft };
    Budget {
        id: id.into(),
        scope: Some(scope.clone()),
        limit_nano_usd: budget.limit,
        enforcement: enforcement as i32,
        window: window.map(|w| BudgetWindow { window: Some(w) }),
        ..Budget::default()
    }
}

/// A clock that the bench moves.
#[derive(Clone)]
pub struct Time(Arc<AtomicI64>);

impl Default for Time {
    fn default() -> Self {
        Self(Arc::new(AtomicI64::new(START * 1_000_000)))
    }
}

impl Time {
    /// As the ledger reads it.
    pub fn clock(&self) -> Clock {
        let time = self.clone();
        Clock::new(move || time.now_us())
    }

    /// Microseconds since the epoch.
    pub fn now_us(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

struct Open {
    hold: Hold,
    attempt: String,
}

/// Runs `steps` on the ledger that `start` opens (again and again, over the same store and journal) and on the model.
pub async fn run(steps: &[Step], time: &Time, start: impl AsyncFn() -> Result<Arc<Ledger>, OpenError>) {
    let reopen = async || {
        for _ in 0..2_000 {
            match start().await {
                // The loops of a dropped ledger may hold its lock for a moment longer.
                Err(OpenError::Journal(JournalError::InUse(_))) => tokio::time::sleep(Duration::from_millis(1)).await,
                opened => return opened.unwrap(),
            }
        }
        panic!("the journal stays locked");
    };
    let mut ledger = reopen().await;
    let all = budgets();
    let mut model = Model::new(all.iter().map(|(.., b)| b.clone()).collect(), time.now_us() / 1_000_000);
    for (id, scope, budget) in &all {
        put(&ledger, to_proto(id, scope, budget)).await;
    }
    let mut open: HashMap<u64, Open> = HashMap::new();
    for step in steps {
        match step {
            Step::Hold { key, min, want } => {
                let (scopes, touched) = scopes(&ledger, *key);
                let ask = Ask { min: NanoUsd(*min), want: NanoUsd(*want), wait: Duration::ZERO };
                let expected = model.hold(&touched, *min, *want);
                let mut found = ledger.hold(&scopes, ask).await;
                // Headroom on its way back to the coordinator is nobody's for a moment: a caller would wait.
                for _ in 0..200 {
                    let waits = match (&expected, &found) {
                        (Ok((_, amount)), Ok(hold)) => hold.amount().0 < *amount,
                        (Ok(_) | Err(Refusal::Exhausted), Err(error)) => error.reason == ErrorReason::BudgetHeld,
                        _ => false,
                    };
                    if !waits || !ledger.is_shared() {
                        break;
                    }
                    drop(found);
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    found = ledger.hold(&scopes, ask).await;
                }
                match (expected, found) {
                    (Ok((id, amount)), Ok(hold)) => {
                        assert_eq!(hold.amount().0, amount, "{step:?}");
                        let attempt = begin(&ledger, &hold, KEYS[*key]);
                        open.insert(id, Open { hold, attempt });
                    }
                    (Err(refusal), Err(error)) => {
                        let expected = match refusal {
                            Refusal::Exhausted => ErrorReason::BudgetExhausted,
                            Refusal::Held => ErrorReason::BudgetHeld,
                        };
                        assert_eq!(error.reason, expected, "{step:?}: {error:?}");
                    }
                    (expected, found) => panic!("{step:?}: expected {expected:?}, found {found:?}"),
                }
            }
            Step::Abandon { key, amount, polls } => {
                let (scopes, _) = scopes(&ledger, *key);
                let ask = Ask::exactly(NanoUsd(*amount), Duration::from_secs(5));
                let mut waiting = pin!(ledger.hold(&scopes, ask));
                for _ in 0..*polls {
                    if let Poll::Ready(held) = waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                        drop(held);
                        break;
                    }
                    tokio::task::yield_now().await;
                }
            }
            Step::Settle { which, percent } => {
                let Some(id) = chosen(&model, *which) else { continue };
                let Open { mut hold, attempt } = open.remove(&id).unwrap();
                let cost = hold.amount().0 * percent / 100;
                let end = settled(&hold, &attempt, cost);
                hold.settle(NanoUsd(cost));
                ledger.end(end);
                model.settle(id, cost);
            }
            Step::Release { which } => {
                let Some(id) = chosen(&model, *which) else { continue };
                let Open { hold, attempt } = open.remove(&id).unwrap();
                ledger.end(End { released: Some(attempt), ..End::default() });
                drop(hold);
                model.release(id);
            }
            Step::Wait { seconds } => {
                time.0.fetch_add(seconds * 1_000_000, Ordering::Relaxed);
                model.now += seconds;
            }
            Step::Limit { budget, limit } => {
                let (id, scope, _) = &all[*budget];
                model.budgets[*budget].limit = *limit;
                put(&ledger, to_proto(id, scope, &model.budgets[*budget])).await;
            }
            Step::Crash => {
                open.clear();
                drop(ledger);
                ledger = reopen().await;
                model.crash();
            }
        }
        settle_down(&ledger).await;
        compare(&ledger, &model, &all, step);
    }
    drop(open);
    ledger.shipped().await;
    let checked = tollgate_ledger::check(&**ledger.store()).await.unwrap();
    assert!(checked.findings.is_empty(), "{:#?}", checked.findings);
    let entries = ledger.store().entries(&EntryQuery { limit: i64::MAX, ..EntryQuery::default() }).await.unwrap();
    for (at, (id, ..)) in all.iter().enumerate() {
        let of_budget = entries.iter().filter(|p| p.entry.charges.iter().any(|c| c.budget_id == *id));
        assert_eq!(of_budget.map(|p| p.entry.cost_nano_usd).sum::<i64>(), model.booked(at), "{id}");
    }
}

/// What was settled is with the coordinator before the next step: so that it and the model know the same.
async fn settle_down(ledger: &Ledger) {
    if ledger.is_shared() {
        ledger.shipped().await;
    }
}

fn compare(ledger: &Ledger, model: &Model, all: &[(String, BudgetScope, model::Budget)], after: &Step) {
    for (at, (id, ..)) in all.iter().enumerate() {
        let balance = ledger.account(id).unwrap().balance(ledger.now_us());
        if !ledger.is_shared() {
            assert_eq!(balance.spent, model.spent(at), "spent of {id} after {after:?}");
        }
        assert_eq!(balance.held, model.held(at), "held of {id} after {after:?}");
    }
}

async fn put(ledger: &Ledger, budget: Budget) {
    let object = Object::from(budget);
    if ledger.is_shared() {
        let version = ledger.store().objects_after(0).await.unwrap().into_iter().find(|(_, o)| o.id() == object.id());
        ledger.store().put(&[(object.clone(), version.map_or(0, |(v, _)| v))]).await.unwrap();
        ledger.take_over(&object);
    } else {
        ledger.change(vec![object], AuditRecord::default(), Vec::new());
    }
}

fn scopes(ledger: &Ledger, key: usize) -> (Scopes, Vec<usize>) {
    let team_id = if key < 2 { "t" } else { "" };
    let scopes = ledger.scopes(&Payer { key_id: KEYS[key], team_id, ..Payer::default() });
    let touched = scopes.iter().map(|account| account.id[1..].parse().unwrap()).collect();
    (scopes, touched)
}

fn chosen(model: &Model, which: usize) -> Option<u64> {
    let open = model.open();
    (!open.is_empty()).then(|| open[which % open.len()])
}

fn bound(attempt: &str, amount: i64) -> LedgerEntry {
    LedgerEntry {
        attempt_id: attempt.into(),
        call_id: attempt[..36].into(),
        key_id: "k".into(),
        cost_nano_usd: amount,
        held_nano_usd: amount,
        high_nano_usd: amount,
        ..LedgerEntry::default()
    }
}

/// Journals that an attempt is about to be sent.
pub fn begin(ledger: &Ledger, hold: &Hold, key: &str) -> String {
    let attempt = CallId::new().attempt(1).to_string();
    let (charges, lease_windows) = hold.charges();
    let entry = LedgerEntry { charges, key_id: key.into(), ..bound(&attempt, hold.amount().0) };
    ledger.open_attempt(Opening { bound: entry, lease_windows, action: "completion.create" }).unwrap();
    attempt
}

/// The end of an attempt that cost so much.
pub fn settled(hold: &Hold, attempt: &str, cost: i64) -> End {
    let (charges, lease_windows) = hold.charges();
    let entry = LedgerEntry {
        kind: LedgerEntryKind::Exact as i32,
        low_nano_usd: cost,
        high_nano_usd: cost,
        cost_nano_usd: cost,
        charges,
        ..bound(attempt, cost)
    };
    let row = LedgerRow { entry, lease_windows, idempotency: None };
    End { settled: Some(row), record: Some(AuditRecord::default()), ..End::default() }
}
