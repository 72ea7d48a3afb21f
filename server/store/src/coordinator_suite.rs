//! What "a coordinator" means, as sentences. A backend's tests call each of these with two replicas over fresh stores.

#![allow(clippy::unwrap_used)] // test code that backends call

use std::sync::Arc;

use tollgate_proto::v1::{BudgetCharge, LedgerEntry};

use crate::{Batch, Change, Coordinator, Denied, Granted, LedgerRow, Lost, Membership, Rollup, Store, Want};

/// What one replica sees.
pub struct Replica {
    /// The coordinator under test.
    pub coordinator: Arc<dyn Coordinator>,
    /// Who is there.
    pub members: Arc<dyn Membership>,
    /// The ledger of record.
    pub store: Arc<dyn Store>,
}

type Replicas = [Replica; 2];

/// Opens the first epoch with this coordinator in charge.
async fn open(replicas: &Replicas, redis: bool) -> i64 {
    replicas[0].members.propose(0, redis).await.unwrap();
    for replica in replicas {
        replica.coordinator.register(1, &[]).await.unwrap();
        replica.members.beat(1, redis, &[]).await.unwrap();
    }
    replicas[0].coordinator.open(1).await.unwrap();
    replicas[0].members.opened(1).await.unwrap();
    1
}

/// Exactly `amount`.
fn want(budget: &str, limit: i64, amount: i64) -> Want {
    Want { budget_id: budget.into(), lease_window: 0, from_window: 0, limit, min: amount, max: amount, needed: amount }
}

fn spending(sequence: i64, budget: &str, nano: i64) -> Batch {
    let row = LedgerRow {
        entry: LedgerEntry {
            attempt_id: format!("{budget}-{sequence}"),
            cost_nano_usd: nano,
            charges: vec![BudgetCharge { budget_id: budget.into(), window: 0 }],
            sequence,
            ..LedgerEntry::default()
        },
        lease_windows: vec![0],
        idempotency: None,
    };
    Batch { changes: vec![Change::Entry(Box::new(row))], through: sequence as u64, ..Batch::default() }
}

impl Replica {
    async fn lease(&self, epoch: i64, budget: &str, limit: i64, amount: i64) -> bool {
        matches!(self.coordinator.lease(epoch, &[want(budget, limit, amount)]).await.unwrap(), Granted::All(_))
    }

    async fn spend(&self, epoch: i64, batch: &Batch) {
        self.coordinator.report(epoch, batch.through, &Rollup::of(batch.rows())).await.unwrap();
        self.store.apply(batch).await.unwrap();
    }

    async fn free(&self, epoch: i64, budget: &str, limit: i64) -> i64 {
        let all = Want { max: i64::MAX / 2, needed: i64::MAX / 2, min: 0, ..want(budget, limit, 0) };
        let Granted::All(granted) = self.coordinator.lease(epoch, &[all]).await.unwrap() else { return 0 };
        self.coordinator.give_back(epoch, &[(budget.into(), 0, granted[0])]).await.unwrap();
        granted[0]
    }
}

/// Two replicas that lease and spend at the same time never pass the limit together.
pub async fn leases_and_spend_never_pass_the_limit(replicas: Replicas, redis: bool) {
    let epoch = open(&replicas, redis).await;
    let leasing = (0..8).map(async |n| {
        let mut granted = 0;
        for _ in 0..20 {
            granted += i64::from(replicas[n % 2].lease(epoch, "b", 100, 3).await);
        }
        granted
    });
    let granted: i64 = futures::future::join_all(leasing).await.into_iter().sum();
    assert_eq!(granted, 33);
}

/// A request for several budgets gets all or leaves everything as it was.
pub async fn all_wants_are_granted_or_none(replicas: Replicas, redis: bool) {
    let epoch = open(&replicas, redis).await;
    let wants = [want("a", 100, 60), want("b", 50, 60)];
    let granted = replicas[0].coordinator.lease(epoch, &wants).await.unwrap();
    assert_eq!(granted, Granted::Denied(Denied { index: 1, posted: 0, leased: 0 }));
    assert_eq!(replicas[1].free(epoch, "a", 100).await, 100);
    let wants = [want("a", 100, 60), want("b", 60, 60)];
    assert_eq!(replicas[0].coordinator.lease(epoch, &wants).await.unwrap(), Granted::All(vec![60, 60]));
    assert_eq!(replicas[1].free(epoch, "a", 100).await, 40);
}

/// Headroom moves from one replica to another.
pub async fn what_is_given_back_can_be_leased_by_others(replicas: Replicas, redis: bool) {
    let epoch = open(&replicas, redis).await;
    assert!(replicas[0].lease(epoch, "b", 100, 90).await);
    assert!(!replicas[1].lease(epoch, "b", 100, 20).await);
    replicas[0].coordinator.give_back(epoch, &[("b".into(), 0, 50)]).await.unwrap();
    assert!(replicas[1].lease(epoch, "b", 100, 20).await);
    replicas[1].coordinator.recall(&["b".into()]).await.unwrap();
    assert_eq!(replicas[0].coordinator.recalled(epoch).await.unwrap(), ["b"]);
}

/// What an entry spends leaves its lease and stays spent, also when it is reported and sent again.
pub async fn a_lease_is_used_up_by_the_entries_that_it_pays(replicas: Replicas, redis: bool) {
    let epoch = open(&replicas, redis).await;
    assert!(replicas[0].lease(epoch, "b", 100, 60).await);
    let batch = spending(1, "b", 25);
    replicas[0].spend(epoch, &batch).await;
    replicas[0].spend(epoch, &batch).await;
    // 25 spent, 35 leased still.
    assert_eq!(replicas[1].free(epoch, "b", 100).await, 40);
    let denied = replicas[1].coordinator.lease(epoch, &[want("b", 100, 41)]).await.unwrap();
    assert_eq!(denied, Granted::Denied(Denied { index: 0, posted: 25, leased: 35 }));
}

/// Ahead of need there is something out of plenty, and nothing where little is left.
pub async fn headroom_is_not_hoarded_near_the_limit(replicas: Replicas, redis: bool) {
    let epoch = open(&replicas, redis).await;
    let ahead = |limit| Want { max: 1_000_000, ..want("b", limit, 10) };
    let Granted::All(plenty) = replicas[0].coordinator.lease(epoch, &[ahead(100_000)]).await.unwrap() else { panic!() };
    // Two replicas: at most an eighth of what is left.
    assert!(plenty[0] > 10 && plenty[0] <= 10 + 100_000 / 8, "{plenty:?}");
    replicas[0].coordinator.give_back(epoch, &[("b".into(), 0, plenty[0])]).await.unwrap();
    let Granted::All(little) = replicas[0].coordinator.lease(epoch, &[ahead(200)]).await.unwrap() else { panic!() };
    assert_eq!(little, [10]);
}

/// What a replica states replaces what was on the list for it, and nothing of others.
pub async fn a_restarted_replica_states_its_leases_anew(replicas: Replicas, redis: bool) {
    let epoch = open(&replicas, redis).await;
    assert!(replicas[0].lease(epoch, "b", 100, 30).await);
    assert!(replicas[1].lease(epoch, "b", 100, 30).await);
    replicas[0].coordinator.register(epoch, &[("b".into(), 0, 5)]).await.unwrap();
    assert_eq!(replicas[1].free(epoch, "b", 100).await, 65);
    replicas[0].coordinator.register(epoch, &[]).await.unwrap();
    assert_eq!(replicas[1].free(epoch, "b", 100).await, 70);
}

/// Another epoch, or one that is not open, grants nothing.
pub async fn nothing_is_leased_outside_the_epoch(replicas: Replicas, redis: bool) {
    let epoch = open(&replicas, redis).await;
    let wants = [want("b", 100, 1)];
    assert_eq!(replicas[0].coordinator.lease(epoch + 1, &wants).await, Err(Lost::Epoch));
    assert!(replicas[0].members.propose(epoch, !redis).await.unwrap());
    assert!(!replicas[1].members.propose(epoch, !redis).await.unwrap(), "an epoch is proposed once");
    let view = replicas[0].members.beat(epoch, false, &[]).await.unwrap();
    assert_eq!((view.epoch.number, view.epoch.open, view.live.len()), (epoch + 1, false, 2));
}
