//! What a call costs at the ledger: the hold in memory over five scopes, alone and on a lease, for few keys and for many; and hold,
//! journal and settlement together.

#![allow(clippy::unwrap_used)] // a benchmark says by panicking

use std::{hint::black_box, sync::Arc, time::Duration};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use tollgate_domain::{CallId, Clock, NanoUsd};
use tollgate_ledger::{Ask, Cluster, End, Hold, Ledger, Opening, Options, Payer, Scopes};
use tollgate_proto::v1::{AuditRecord, Budget, BudgetScope, LedgerEntry, ScopeKind};
use tollgate_store::{LedgerRow, Object, Store};
use tollgate_store_memory::MemoryWorld;
use tollgate_store_sqlite::SqliteStore;

/// How many keys have a lease at once where there are several replicas: those of the others lie idle.
const IN_USE: usize = 10_000;

fn budget(id: String, kind: ScopeKind, subject: &str) -> Object {
    let scope = BudgetScope { kind: kind as i32, id: subject.into(), ..BudgetScope::default() };
    Budget { id, scope: Some(scope), limit_nano_usd: i64::MAX / 4, ..Budget::default() }.into()
}

fn clock() -> Clock {
    Clock::new(|| 1_795_132_800_000_000)
}

/// A ledger that is alone, with a budget for each of `keys`, and for gateway, organization, team and user.
fn ledger(runtime: &tokio::runtime::Runtime, dir: &std::path::Path, keys: usize) -> Arc<Ledger> {
    let ledger = runtime.block_on(async {
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&dir.join("store.db")).await.unwrap());
        Ledger::open(Options::alone(dir.join("journal"), clock()), store).await.unwrap()
    });
    with_budgets(ledger, keys)
}

/// The same as one of several, with a lease on every budget in use.
fn leased(runtime: &tokio::runtime::Runtime, dir: &std::path::Path, keys: usize) -> Arc<Ledger> {
    let ledger = runtime.block_on(async {
        let store = Arc::new(MemoryWorld::new(|| 1_795_132_800_000_000).connect("r1"));
        let cluster = Cluster { members: store.clone(), postgres: store.clone(), redis: None, allowance: 0 };
        let alone = Options::alone(dir.join("journal"), clock());
        Ledger::open(Options { replica: "r1".into(), cluster: Some(cluster), ..alone }, store).await.unwrap()
    });
    let ledger = with_budgets(ledger, keys);
    runtime.block_on(async {
        for n in 0..keys.min(IN_USE) {
            let key = format!("k{}", n * (keys / keys.min(IN_USE)));
            let scopes = ledger.scopes(&payer(&key));
            // Large enough that the lease outlasts the benchmark.
            let ask = Ask::exactly(NanoUsd(1_000_000_000_000), Duration::from_secs(5));
            drop(ledger.hold(&scopes, ask).await.unwrap());
        }
    });
    ledger
}

fn with_budgets(ledger: Arc<Ledger>, keys: usize) -> Arc<Ledger> {
    for (kind, subject) in [
        (ScopeKind::Gateway, ""),
        (ScopeKind::Organization, "org"),
        (ScopeKind::Team, "team"),
        (ScopeKind::User, "user"),
    ] {
        ledger.take_over(&budget(format!("b-{subject}"), kind, subject));
    }
    for n in 0..keys {
        ledger.take_over(&budget(format!("b{n}"), ScopeKind::Key, &format!("k{n}")));
    }
    ledger
}

fn payer(key_id: &str) -> Payer<'_> {
    Payer { key_id, team_id: "team", user_id: "user", organization_id: "org", model: "m", ..Payer::default() }
}

fn hold(ledger: &Ledger, scopes: &Scopes) -> Hold {
    now(ledger.hold(scopes, Ask::exactly(NanoUsd(1_000), Duration::ZERO)))
}

fn benches(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();

    let mut group = c.benchmark_group("hold and settle over five scopes");
    for (name, open, keys) in [
        ("alone, keys", ledger as fn(&_, &_, _) -> _, 100),
        ("alone, keys", ledger, 1_000_000),
        ("on a lease, keys", leased, 100),
        ("on a lease, keys", leased, 1_000_000),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let ledger: Arc<Ledger> = open(&runtime, dir.path(), keys);
        let step = if ledger.is_shared() { keys / keys.min(IN_USE) } else { 1 };
        let ids: Vec<_> = (0..keys).step_by(step).map(|n| format!("k{n}")).collect();
        let mut at = 0;
        group.bench_function(BenchmarkId::new(name, keys), |b| {
            b.iter(|| {
                // Another key each time, far from the last: what a cache cannot have ready.
                at = (at + 7_919) % ids.len();
                let scopes = ledger.scopes(&payer(&ids[at]));
                let mut hold = hold(&ledger, &scopes);
                hold.settle(black_box(NanoUsd(7)));
            });
        });
    }
    group.finish();

    let dir = tempfile::tempdir().unwrap();
    let ledger = ledger(&runtime, dir.path(), 100);
    let scopes = ledger.scopes(&payer("k7"));
    assert_eq!(scopes.len(), 5);
    c.bench_function("hold, journal, settle, journal", |b| {
        b.iter(|| {
            let mut hold = hold(&ledger, &scopes);
            let (charges, lease_windows) = hold.charges();
            let id = CallId::new().attempt(1).to_string();
            let entry = LedgerEntry {
                attempt_id: id,
                key_id: "k7".into(),
                model: "m".into(),
                charges,
                ..LedgerEntry::default()
            };
            let opening =
                Opening { bound: entry.clone(), lease_windows: lease_windows.clone(), action: "completion.create" };
            ledger.open_attempt(opening).unwrap();
            let row = LedgerRow { entry, lease_windows, idempotency: None };
            ledger.end(End { settled: Some(row), record: Some(AuditRecord::default()), ..End::default() });
            hold.settle(black_box(NanoUsd(7)));
        });
    });
    runtime.block_on(ledger.shipped());
}

/// A hold that has room never waits.
fn now<T>(waiting: impl Future<Output = Result<T, tollgate_domain::Error>>) -> T {
    let mut waiting = std::pin::pin!(waiting);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match waiting.as_mut().poll(&mut context) {
        std::task::Poll::Ready(done) => done.unwrap(),
        std::task::Poll::Pending => panic!("there is room"),
    }
}

criterion_group!(group, benches);
criterion_main!(group);
