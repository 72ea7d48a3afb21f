//! A ledger that is dropped anywhere comes back whole: over the real journal and the real store.

#![allow(clippy::unwrap_used)] // a test says by panicking

use std::sync::Arc;

use tollgate_domain::{CallId, Clock, NanoUsd};
use tollgate_ledger::{
    AdminChange, Durability, End, Hold, JournalError, Ledger, OpenError, Opening, Options, Scopes, budget_ids,
};
use tollgate_proto::v1::{AuditRecord, Budget, LedgerEntry, LedgerEntryKind};
use tollgate_store::{EntryQuery, LedgerRow, Store};
use tollgate_store_sqlite::SqliteStore;

struct World {
    dir: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    async fn start(&self) -> Arc<Ledger> {
        // The loops of a dropped ledger may hold its lock for a moment longer.
        for _ in 0..500 {
            match self.open(Durability::Process).await {
                Err(OpenError::Journal(JournalError::InUse(_))) => tokio::task::yield_now().await,
                opened => return opened.unwrap(),
            }
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        panic!("the journal stays locked");
    }

    async fn open(&self, durability: Durability) -> Result<Arc<Ledger>, OpenError> {
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&self.dir.path().join("store.db")).await.unwrap());
        let options = Options {
            journal: self.dir.path().join("journal"),
            durability,
            clock: Clock::new(|| 1_795_132_800_000_000),
            on_record: Box::new(|_| {}),
        };
        Ledger::open(options, store).await
    }
}

fn with_budget(ledger: &Ledger) -> Scopes {
    let budget = Budget { id: "b1".into(), key_id: "k1".into(), limit_nano_usd: 1_000, ..Budget::default() };
    ledger.change(AdminChange { budget: Some(budget), ..AdminChange::default() }, AuditRecord::default());
    Arc::new([ledger.account("k1").unwrap()])
}

fn bound(id: &str, held: i64) -> LedgerEntry {
    LedgerEntry {
        attempt_id: id.into(),
        call_id: id[..36].into(),
        key_id: "k1".into(),
        kind: LedgerEntryKind::Recovered as i32,
        cost_nano_usd: held,
        held_nano_usd: held,
        high_nano_usd: held,
        ..LedgerEntry::default()
    }
}

fn settled(id: &str, cost: i64, scopes: &Scopes) -> End {
    let entry = LedgerEntry { kind: LedgerEntryKind::Exact as i32, cost_nano_usd: cost, ..bound(id, cost) };
    let row = LedgerRow { entry, budget_ids: budget_ids(scopes), idempotency: None };
    End { settled: Some(row), record: Some(AuditRecord::default()), released: None }
}

async fn entries(ledger: &Ledger) -> Vec<(String, i64)> {
    ledger.shipped().await;
    let all = ledger.store().entries(&EntryQuery { limit: 100, ..EntryQuery::default() }).await.unwrap();
    all.into_iter().map(|e| (e.outcome, e.cost_nano_usd)).collect()
}

#[tokio::test]
async fn what_was_settled_is_there_after_a_crash_and_counts_once() {
    let world = World::new();
    let ledger = world.start().await;
    let scopes = with_budget(&ledger);
    let id = CallId::new().attempt(1).to_string();
    let mut hold = Hold::reserve(&scopes, NanoUsd(100), Default::default()).await.unwrap();
    ledger.open_attempt(Opening { bound: bound(&id, 100), scopes: &scopes, action: "completion.create" }).unwrap();
    ledger.end(settled(&id, 40, &scopes));
    hold.settle(NanoUsd(40));
    drop((hold, ledger)); // no shipping was awaited

    for _ in 0..2 {
        let ledger = world.start().await;
        assert_eq!(ledger.recovered(), 0);
        let balance = ledger.account("k1").unwrap().balance();
        assert_eq!((balance.limit, balance.spent, balance.held), (1_000, 40, 0));
        assert_eq!(entries(&ledger).await, [(String::new(), 40)]);
    }
}

#[tokio::test]
async fn an_attempt_without_an_end_is_settled_at_its_bound_and_flagged() {
    let world = World::new();
    let ledger = world.start().await;
    let scopes = with_budget(&ledger);
    let id = CallId::new().attempt(1).to_string();
    ledger.open_attempt(Opening { bound: bound(&id, 100), scopes: &scopes, action: "completion.stream" }).unwrap();
    ledger.shipped().await;
    drop(ledger);

    let ledger = world.start().await;
    assert_eq!(ledger.recovered(), 1);
    assert_eq!(ledger.account("k1").unwrap().balance().spent, 100);
    assert_eq!(entries(&ledger).await, [("recovered".to_owned(), 100)]);
    let records = ledger.store().records(&Default::default(), 0, 10).await.unwrap();
    assert_eq!(records.last().unwrap().action, "completion.stream");
    drop(ledger);
    assert_eq!(world.start().await.recovered(), 0);
}

#[tokio::test]
async fn a_released_attempt_costs_nothing() {
    let world = World::new();
    let ledger = world.start().await;
    let scopes = with_budget(&ledger);
    let id = CallId::new().attempt(1).to_string();
    ledger.open_attempt(Opening { bound: bound(&id, 100), scopes: &scopes, action: "a" }).unwrap();
    ledger.end(End { released: Some(id), ..End::default() });
    drop(ledger);
    let ledger = world.start().await;
    assert_eq!(ledger.recovered(), 0);
    assert_eq!(ledger.account("k1").unwrap().balance().spent, 0);
}

#[tokio::test]
async fn disk_durability_waits_for_the_sync() {
    let world = World::new();
    let ledger = world.open(Durability::Disk).await.unwrap();
    let sequence = ledger.end(End { record: Some(AuditRecord::default()), ..End::default() });
    ledger.durable(sequence).await;
    ledger.shipped().await;
    assert_eq!(ledger.store().records(&Default::default(), 0, 10).await.unwrap()[0].sequence, 1);
}
