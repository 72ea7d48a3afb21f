//! A store and coordinator that fail as real ones do: late, before they have done it, after they have done it, or not at all for a while.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use parking_lot::Mutex;
use rand::{Rng, SeedableRng, rngs::SmallRng};
use tollgate_proto::v1::{AuditFilter, AuditRecord, BudgetAlert, Lease, LedgerFinding, SpendRow};
use tollgate_store::{
    Balance, Batch, Cell, Coordinator, EntryQuery, Granted, Idempotency, Lost, Membership, Object, Payer, Positions,
    Posted, PutOutcome, Result, Rollup, SpendQuery, Store, StoreError, Sums, Tail, View, Want,
};
use tollgate_store_memory::MemoryStore;

/// The line of one replica to the store.
#[derive(Clone)]
pub struct Line {
    random: Arc<Mutex<SmallRng>>,
    cut: Arc<AtomicBool>,
    /// Of a thousand requests, how many fail.
    failing: Arc<AtomicU32>,
}

/// What becomes of a request.
enum Fate {
    Done,
    NotDone,
    /// Done, and nobody is told.
    Unheard,
}

impl Line {
    /// A good line.
    pub fn new(seed: u64) -> Self {
        let random = Arc::new(Mutex::new(SmallRng::seed_from_u64(seed)));
        Self { random, cut: Arc::default(), failing: Arc::default() }
    }

    /// Cuts it, or joins it again.
    pub fn cut(&self, cut: bool) {
        self.cut.store(cut, Ordering::Relaxed);
    }

    /// Lets so many of a thousand requests fail.
    pub fn fail(&self, of_a_thousand: u32) {
        self.failing.store(of_a_thousand, Ordering::Relaxed);
    }

    async fn fate(&self) -> Fate {
        let (delay, dice, unheard) = {
            let mut random = self.random.lock();
            (random.random_range(0..4_000u64), random.random_range(0..1_000u32), random.random_bool(0.5))
        };
        tokio::time::sleep(Duration::from_micros(delay)).await;
        if self.cut.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(50)).await;
            return Fate::NotDone;
        }
        match (dice < self.failing.load(Ordering::Relaxed), unheard) {
            (false, _) => Fate::Done,
            (true, false) => Fate::NotDone,
            (true, true) => Fate::Unheard,
        }
    }

    async fn through<T, E>(
        &self,
        request: impl Future<Output = std::result::Result<T, E>>,
        lost: fn() -> E,
    ) -> std::result::Result<T, E> {
        match self.fate().await {
            Fate::Done => request.await,
            Fate::NotDone => Err(lost()),
            Fate::Unheard => {
                let _ = request.await;
                tokio::time::sleep(Duration::from_millis(20)).await;
                Err(lost())
            }
        }
    }
}

fn unavailable() -> StoreError {
    StoreError::Unavailable("the line is bad".into())
}

fn gone() -> Lost {
    Lost::Gone("the line is bad".into())
}

/// The memory store behind a bad line.
#[derive(Clone)]
pub struct FaultyStore {
    /// What is behind.
    pub store: MemoryStore,
    /// The line.
    pub line: Line,
}

type Tailed = (Tail, Vec<Posted>, Vec<(i64, BudgetAlert)>);

#[async_trait]
impl Store for FaultyStore {
    async fn apply(&self, batch: &Batch) -> Result<Vec<BudgetAlert>> {
        self.line.through(self.store.apply(batch), unavailable).await
    }

    async fn put(&self, objects: &[(Object, i64)]) -> Result<PutOutcome> {
        self.line.through(self.store.put(objects), unavailable).await
    }

    async fn positions(&self) -> Result<Positions> {
        self.store.positions().await
    }

    async fn objects_after(&self, version: i64) -> Result<Vec<(i64, Object)>> {
        self.store.objects_after(version).await
    }

    async fn balances(&self, from: &[(String, i64)]) -> Result<Vec<Balance>> {
        self.line.through(self.store.balances(from), unavailable).await
    }

    async fn all_balances(&self, after: Option<&Balance>, limit: i64) -> Result<Vec<Balance>> {
        self.store.all_balances(after, limit).await
    }

    async fn cube(&self) -> Result<Vec<(Cell, Sums)>> {
        self.store.cube().await
    }

    async fn findings(&self) -> Result<Vec<LedgerFinding>> {
        self.store.findings().await
    }

    async fn idempotency_since(&self, since_us: i64) -> Result<Vec<(Idempotency, String)>> {
        self.store.idempotency_since(since_us).await
    }

    async fn entries(&self, query: &EntryQuery) -> Result<Vec<Posted>> {
        self.store.entries(query).await
    }

    async fn spend(&self, query: &SpendQuery) -> Result<Vec<SpendRow>> {
        self.store.spend(query).await
    }

    async fn alerts(&self, budget_id: Option<&str>, after: i64, limit: i64) -> Result<Vec<(i64, BudgetAlert)>> {
        self.store.alerts(budget_id, after, limit).await
    }

    async fn tail(&self, payer: &Payer, after: Option<Tail>, limit: i64) -> Result<Tailed> {
        self.store.tail(payer, after, limit).await
    }

    async fn leases(&self) -> Result<Vec<Lease>> {
        self.store.leases().await
    }

    async fn records(&self, filter: &AuditFilter, after: i64, limit: i64) -> Result<Vec<AuditRecord>> {
        self.store.records(filter, after, limit).await
    }

    async fn records_end(&self, after: i64) -> Result<i64> {
        self.store.records_end(after).await
    }
}

#[async_trait]
impl Coordinator for FaultyStore {
    async fn lease(&self, epoch: i64, wants: &[Want]) -> std::result::Result<Granted, Lost> {
        self.line.through(self.store.lease(epoch, wants), gone).await
    }

    async fn give_back(&self, epoch: i64, parts: &[(String, i64, i64)]) -> std::result::Result<(), Lost> {
        self.line.through(self.store.give_back(epoch, parts), gone).await
    }

    async fn report(&self, epoch: i64, batch: u64, rollup: &Rollup) -> std::result::Result<(), Lost> {
        self.line.through(self.store.report(epoch, batch, rollup), gone).await
    }

    async fn recall(&self, budget_ids: &[String]) -> std::result::Result<(), Lost> {
        self.line.through(self.store.recall(budget_ids), gone).await
    }

    async fn recalled(&self, epoch: i64) -> std::result::Result<Vec<String>, Lost> {
        self.line.through(self.store.recalled(epoch), gone).await
    }

    async fn register(&self, epoch: i64, leases: &[(String, i64, i64)]) -> std::result::Result<(), Lost> {
        self.line.through(self.store.register(epoch, leases), gone).await
    }

    async fn open(&self, epoch: i64) -> std::result::Result<(), Lost> {
        self.line.through(self.store.open(epoch), gone).await
    }
}

#[async_trait]
impl Membership for FaultyStore {
    async fn beat(
        &self,
        epoch: i64,
        sees_redis: bool,
        leases: &[(String, i64, i64)],
    ) -> std::result::Result<View, Lost> {
        self.line.through(self.store.beat(epoch, sees_redis, leases), gone).await
    }

    async fn propose(&self, current: i64, redis: bool) -> std::result::Result<bool, Lost> {
        self.line.through(self.store.propose(current, redis), gone).await
    }

    async fn opened(&self, epoch: i64) -> std::result::Result<(), Lost> {
        self.line.through(self.store.opened(epoch), gone).await
    }

    async fn close(&self, replica: &str) -> std::result::Result<Option<i64>, Lost> {
        self.line.through(self.store.close(replica), gone).await
    }
}
