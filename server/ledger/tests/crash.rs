//! A ledger that is dropped anywhere comes back whole: over the real journal and the real store.

#![allow(clippy::unwrap_used)] // a test says by panicking

use std::sync::Arc;

use tollgate_domain::{CallId, Clock, NanoUsd};
use tollgate_ledger::{
    Ask, Before, Durability, End, Hold, JournalError, Ledger, NO_LEASE, OpenError, Opening, Options, Payer, Scopes,
};
use tollgate_proto::v1::{AuditRecord, Budget, BudgetCharge, BudgetScope, LedgerEntry, LedgerEntryKind, ScopeKind};
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
            durability,
            ..Options::alone(self.dir.path().join("journal"), Clock::new(|| 1_795_132_800_000_000))
        };
        Ledger::open(options, store).await
    }
}

fn with_budget(ledger: &Ledger) -> Scopes {
    let scope = BudgetScope { kind: ScopeKind::Key as i32, id: "k1".into(), ..BudgetScope::default() };
    let budget = Budget { id: "b1".into(), scope: Some(scope), limit_nano_usd: 1_000, ..Budget::default() };
    ledger.change(vec![budget.into()], AuditRecord::default(), Vec::new());
    ledger.scopes(&Payer { key_id: "k1", ..Payer::default() })
}

async fn hold(ledger: &Ledger, scopes: &Scopes, amount: i64) -> Hold {
    ledger.hold(scopes, Ask::exactly(NanoUsd(amount), Default::default())).await.unwrap()
}

fn open(ledger: &Ledger, id: &str, hold: &Hold, action: &str) {
    let (charges, lease_windows) = hold.charges();
    let bound = LedgerEntry { charges, ..bound(id, hold.amount().0) };
    ledger.open_attempt(Opening { bound, lease_windows, action }).unwrap();
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

fn settled(id: &str, cost: i64, hold: &Hold) -> End {
    let (charges, lease_windows) = hold.charges();
    let entry = LedgerEntry { kind: LedgerEntryKind::Exact as i32, cost_nano_usd: cost, charges, ..bound(id, cost) };
    let row = LedgerRow { entry, lease_windows, idempotency: None };
    End { settled: Some(row), record: Some(AuditRecord::default()), ..End::default() }
}

fn balance(ledger: &Ledger) -> (i64, i64, i64) {
    let balance = ledger.account("b1").unwrap().balance(ledger.now_us());
    (balance.limit, balance.spent, balance.held)
}

async fn entries(ledger: &Ledger) -> Vec<(String, i64)> {
    ledger.shipped().await;
    let all = ledger.store().entries(&EntryQuery { limit: 100, ..EntryQuery::default() }).await.unwrap();
    all.into_iter().map(|e| (e.entry.outcome, e.entry.cost_nano_usd)).collect()
}

#[tokio::test]
async fn what_was_settled_is_there_after_a_crash_and_counts_once() {
    let world = World::new();
    let ledger = world.start().await;
    let scopes = with_budget(&ledger);
    let id = CallId::new().attempt(1).to_string();
    let mut hold = hold(&ledger, &scopes, 100).await;
    open(&ledger, &id, &hold, "completion.create");
    ledger.end(settled(&id, 40, &hold));
    hold.settle(NanoUsd(40));
    drop((hold, ledger)); // no shipping was awaited

    for _ in 0..2 {
        let ledger = world.start().await;
        assert_eq!(ledger.recovered(), 0);
        assert_eq!(balance(&ledger), (1_000, 40, 0));
        assert_eq!(entries(&ledger).await, [(String::new(), 40)]);
    }
}

#[tokio::test]
async fn what_a_change_posts_is_there_with_it_after_a_crash_and_counts_once() {
    let world = World::new();
    let ledger = world.start().await;
    let scope = BudgetScope { kind: ScopeKind::Key as i32, id: "k1".into(), ..BudgetScope::default() };
    let budget = Budget { id: "b1".into(), scope: Some(scope), limit_nano_usd: 1_000, ..Budget::default() };
    let posting = |id: &str, cost_nano_usd| {
        let charges = vec![BudgetCharge { budget_id: "b1".into(), window: 0 }];
        let kind = LedgerEntryKind::Opening as i32;
        let (low_nano_usd, high_nano_usd) = (cost_nano_usd, cost_nano_usd);
        let attempt_id = id.into();
        let entry =
            LedgerEntry { attempt_id, kind, cost_nano_usd, low_nano_usd, high_nano_usd, charges, ..Default::default() };
        LedgerRow { entry, lease_windows: vec![NO_LEASE], idempotency: None }
    };
    ledger.change(vec![budget.into()], AuditRecord::default(), vec![posting("o1", 30), posting("o2", 4)]);
    assert_eq!(balance(&ledger), (1_000, 34, 0));
    drop(ledger); // no shipping was awaited

    for _ in 0..2 {
        let ledger = world.start().await;
        assert_eq!(balance(&ledger), (1_000, 34, 0));
        assert_eq!(entries(&ledger).await.len(), 2);
        assert_eq!(tollgate_ledger::check(&**ledger.store()).await.unwrap().findings, vec![]);
    }
}

#[tokio::test]
async fn an_attempt_without_an_end_is_settled_at_its_bound_and_flagged() {
    let world = World::new();
    let ledger = world.start().await;
    let scopes = with_budget(&ledger);
    let id = CallId::new().attempt(1).to_string();
    let hold = hold(&ledger, &scopes, 100).await;
    open(&ledger, &id, &hold, "completion.stream");
    ledger.shipped().await;
    drop((hold, ledger));

    let ledger = world.start().await;
    assert_eq!(ledger.recovered(), 1);
    assert_eq!(balance(&ledger), (1_000, 100, 0));
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
    let hold = hold(&ledger, &scopes, 100).await;
    open(&ledger, &id, &hold, "a");
    ledger.end(End { released: Some(id), ..End::default() });
    drop((hold, ledger));
    let ledger = world.start().await;
    assert_eq!(ledger.recovered(), 0);
    assert_eq!(balance(&ledger), (1_000, 0, 0));
}

#[tokio::test]
async fn disk_durability_waits_for_the_sync() {
    let world = World::new();
    let ledger = world.open(Durability::Disk).await.unwrap();
    let sequence = ledger.end(End { record: Some(AuditRecord::default()), ..End::default() });
    ledger.durable(sequence, Before::LastFrame).await;
    ledger.shipped().await;
    assert_eq!(ledger.store().records(&Default::default(), 0, 10).await.unwrap()[0].sequence, 1);
}
