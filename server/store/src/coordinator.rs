//! How several replicas share one budget: leases, handed out by one authority at a time.
//!
//! For each budget and window `posted + leased <= limit` holds at the coordinator at every instant, `leased` being the sum of what all
//! replicas have taken and not yet reported as spent or given back. A replica admits calls within its leases alone, so the sum over all
//! replicas can never pass the limit, whatever is slow, cut off or dead. An *epoch* names which coordinator is in charge; a new one opens
//! only when every live replica has registered the leases that it holds.

use async_trait::async_trait;

use crate::Rollup;

/// Headroom that a replica asks for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Want {
    /// The budget, or its pace limit.
    pub budget_id: String,
    /// The window that the lease belongs to.
    pub lease_window: i64,
    /// Spend counts from this window on.
    pub from_window: i64,
    /// The limit in force.
    pub limit: i64,
    /// Less than this is no use.
    pub min: i64,
    /// More than this is not needed.
    pub max: i64,
    /// Up to this much is for a call that waits; what goes beyond it is ahead of need and given only out of plenty.
    pub needed: i64,
}

/// What was granted: for each want, in their order, between its `min` and its `max`.
pub type Grant = Vec<i64>;

/// A want that the coordinator cannot meet, with what it knows of the budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denied {
    /// Which want.
    pub index: usize,
    /// Spent in the window, by all replicas.
    pub posted: i64,
    /// Taken by all replicas and not yet reported.
    pub leased: i64,
}

/// All wants, or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Granted {
    /// All.
    All(Grant),
    /// None: one has no room.
    Denied(Denied),
}

/// Why a coordinator gives no answer that counts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Lost {
    /// It cannot be reached.
    #[error("the coordinator cannot be reached: {0}")]
    Gone(String),
    /// It is not in charge, or has forgotten: another epoch must open first.
    #[error("the coordinator is not in charge of this epoch")]
    Epoch,
    /// It does not know a budget, and the ledger of record that it would learn it from cannot be reached.
    #[error("the coordinator does not know where a budget stands, and the ledger of record cannot be reached")]
    Unknown,
}

/// Which coordinator is in charge, and whether it hands out leases yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Epoch {
    /// Grows by one with each change.
    pub number: i64,
    /// Redis is in charge; else PostgreSQL.
    pub redis: bool,
    /// Every live replica has registered.
    pub open: bool,
}

/// A replica as the others see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its id.
    pub replica: String,
    /// The last epoch that it registered in.
    pub epoch: i64,
    /// Whether it reaches Redis.
    pub sees_redis: bool,
}

/// What a heartbeat brings back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// The time of the ledger of record, microseconds since the epoch: what all windows follow.
    pub now_us: i64,
    /// Which coordinator is in charge.
    pub epoch: Epoch,
    /// Replicas that were heard of within [`LEASE_TTL`].
    pub live: Vec<Member>,
}

/// A replica that was not heard of for this long is not waited for; its leases stay charged until it is back.
pub const LEASE_TTL: std::time::Duration = std::time::Duration::from_secs(10);

/// Who is there, and which epoch it is: kept in the ledger of record.
#[async_trait]
pub trait Membership: Send + Sync {
    /// Says that this replica lives, in which epoch it is registered, whether it reaches Redis, and what it has leased (for the day that
    /// both it and Redis are gone).
    async fn beat(&self, epoch: i64, sees_redis: bool, leases: &[(String, i64, i64)]) -> Result<View, Lost>;

    /// Proposes the epoch after `current`; false: somebody else was first.
    async fn propose(&self, current: i64, redis: bool) -> Result<bool, Lost>;

    /// Says that the epoch is open.
    async fn opened(&self, epoch: i64) -> Result<(), Lost>;

    /// Gives up a replica that has not been heard of for a minute, and tells what it had leased; `None`: it is alive or unknown.
    async fn close(&self, replica: &str) -> Result<Option<i64>, Lost>;
}

/// Hands out leases.
#[async_trait]
pub trait Coordinator: Send + Sync {
    /// Leases headroom for every want or for none, in this epoch.
    async fn lease(&self, epoch: i64, wants: &[Want]) -> Result<Granted, Lost>;

    /// Takes back what a replica leased and does not need.
    async fn give_back(&self, epoch: i64, parts: &[(String, i64, i64)]) -> Result<(), Lost>;

    /// Learns what a batch spends of its leases, before the ledger of record does. A batch counts once, however often it is reported.
    async fn report(&self, epoch: i64, batch: u64, rollup: &Rollup) -> Result<(), Lost>;

    /// Asks all replicas to give back what they do not use of these budgets.
    async fn recall(&self, budget_ids: &[String]) -> Result<(), Lost>;

    /// What was recalled in the last seconds; also tells whether it is there and in charge.
    async fn recalled(&self, epoch: i64) -> Result<Vec<String>, Lost>;

    /// States everything that this replica has leased, in an epoch that is about to open. Statements of the same replica replace each
    /// other.
    async fn register(&self, epoch: i64, leases: &[(String, i64, i64)]) -> Result<(), Lost>;

    /// Opens the epoch: every live replica has registered.
    async fn open(&self, epoch: i64) -> Result<(), Lost>;
}

/// What the ledger of record knows of a budget at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Through which batch each replica's journal is applied.
    pub applied: Vec<(String, i64)>,
    /// Spent, by window.
    pub balances: Vec<(i64, i64)>,
    /// Leased, by replica, as each told last.
    pub leases: Vec<(String, i64)>,
}

/// Where a coordinator learns what it does not know.
#[async_trait]
pub trait Record: Send + Sync {
    /// What is known of a budget from a window on, and of leases in a window: all as of one moment.
    async fn known(&self, budget_id: &str, from_window: i64, lease_window: i64) -> crate::Result<Known>;
}
