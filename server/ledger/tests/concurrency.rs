//! Many threads at one account: together they never hold more than there is.

#![allow(clippy::unwrap_used)] // a test says by panicking

use std::{sync::Arc, time::Duration};

use tollgate_domain::{Clock, NanoUsd};
use tollgate_ledger::{Ask, Ledger, Options, Payer};
use tollgate_proto::v1::{AuditRecord, Budget, BudgetScope, ScopeKind};
use tollgate_store::Store;
use tollgate_store_sqlite::SqliteStore;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn calls_at_the_same_instant_never_hold_more_than_the_limit() {
    let dir = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&dir.path().join("store.db")).await.unwrap());
    let options = Options::alone(dir.path().join("journal"), Clock::new(|| 1_795_132_800_000_000));
    let ledger = Ledger::open(options, store).await.unwrap();
    for (id, kind, subject) in [("b1", ScopeKind::Key, "k1"), ("b2", ScopeKind::Gateway, "")] {
        let scope = BudgetScope { kind: kind as i32, id: subject.into(), ..BudgetScope::default() };
        let budget = Budget { id: id.into(), scope: Some(scope), limit_nano_usd: 100, ..Budget::default() };
        ledger.change(vec![budget.into()], AuditRecord::default(), Vec::new());
    }
    let callers: Vec<_> = (0..8)
        .map(|_| {
            let ledger = ledger.clone();
            tokio::spawn(async move {
                let scopes = ledger.scopes(&Payer { key_id: "k1", ..Payer::default() });
                for n in 0..20_000 {
                    let ask = Ask::exactly(NanoUsd(30), Duration::ZERO);
                    if let Ok(hold) = ledger.hold(&scopes, ask).await {
                        let held = ledger.account("b1").unwrap().balance(ledger.now_us()).held;
                        assert!(held <= 100, "{held} held of 100");
                        if n % 3 == 0 {
                            tokio::task::yield_now().await;
                        }
                        drop(hold);
                    }
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
    assert_eq!(ledger.account("b1").unwrap().balance(ledger.now_us()).held, 0);
}
