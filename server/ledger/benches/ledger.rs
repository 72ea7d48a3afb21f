//! What a call costs at the ledger: the hold in memory, and hold, journal and settlement together.

#![allow(clippy::unwrap_used)] // a benchmark says by panicking

use std::{hint::black_box, sync::Arc, time::Duration};

use criterion::{Criterion, criterion_group, criterion_main};
use tollgate_domain::{CallId, Clock, NanoUsd};
use tollgate_ledger::{AdminChange, Durability, End, Hold, Ledger, Opening, Options, Scopes, budget_ids};
use tollgate_proto::v1::{AuditRecord, Budget, LedgerEntry};
use tollgate_store::{LedgerRow, Store};
use tollgate_store_sqlite::SqliteStore;

fn benches(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let ledger = runtime.block_on(async {
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&dir.path().join("store.db")).await.unwrap());
        let options = Options {
            journal: dir.path().join("journal"),
            durability: Durability::Process,
            clock: Clock::new(|| 1_795_132_800_000_000),
            on_record: Box::new(|_| {}),
        };
        Ledger::open(options, store).await.unwrap()
    });
    let budget = Budget { id: "b".into(), key_id: "k".into(), limit_nano_usd: i64::MAX, ..Budget::default() };
    ledger.change(AdminChange { budget: Some(budget), ..AdminChange::default() }, AuditRecord::default());
    let scopes: Scopes = Arc::new([ledger.account("k").unwrap()]);

    c.bench_function("hold and settle, in memory", |b| {
        b.iter(|| {
            let mut hold = futures_now(Hold::reserve(&scopes, NanoUsd(1_000), Duration::ZERO));
            hold.settle(black_box(NanoUsd(7)));
        });
    });
    c.bench_function("hold, journal, settle, journal", |b| {
        b.iter(|| {
            let mut hold = futures_now(Hold::reserve(&scopes, NanoUsd(1_000), Duration::ZERO));
            let id = CallId::new().attempt(1).to_string();
            let entry = LedgerEntry { attempt_id: id, key_id: "k".into(), model: "m".into(), ..LedgerEntry::default() };
            ledger
                .open_attempt(Opening { bound: entry.clone(), scopes: &scopes, action: "completion.create" })
                .unwrap();
            let row = LedgerRow { entry, budget_ids: budget_ids(&scopes), idempotency: None };
            ledger.end(End { settled: Some(row), record: Some(AuditRecord::default()), released: None });
            hold.settle(black_box(NanoUsd(7)));
        });
    });
    runtime.block_on(ledger.shipped());
}

/// A hold that has room never waits.
fn futures_now(hold: impl Future<Output = Result<Hold, tollgate_domain::Error>>) -> Hold {
    let mut hold = std::pin::pin!(hold);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match hold.as_mut().poll(&mut context) {
        std::task::Poll::Ready(hold) => hold.unwrap(),
        std::task::Poll::Pending => panic!("there is room"),
    }
}

criterion_group!(group, benches);
criterion_main!(group);
