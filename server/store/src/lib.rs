//! What a store must do, in verbs that are atomic by themselves.
//!
//! A replica keeps its authority in memory and its durability in the journal; the store is the ledger of record that everything is
//! shipped to, in batches and in the journal's order. So there is one way in for calls, [`Store::apply`], and one for admins,
//! [`Store::put`]; everything else reads. [`suite`] is what "a store" means: every implementation passes it.
//!
//! Several replicas share a budget through a [`Coordinator`], which hands out leases.

mod alert;
mod audit_log;
pub mod audit_log_suite;
mod batches;
pub mod batches_suite;
mod bodies;
pub mod bodies_suite;
mod change;
mod claims;
mod cooldowns;
mod coordinator;
pub mod coordinator_suite;
mod object;
mod responses;
pub mod responses_suite;
mod rollup;
pub mod suite;

pub use alert::raise_alerts;
use async_trait::async_trait;
pub use audit_log::{ALONE, AuditLogs, Head, Lead, RootGrowth, StoredLog, filled, prove, tile_root, tree_of};
pub use batches::{Batches, Listing, StoredBatch, StoredFile, StoredLines};
pub use bodies::{
    Bodies, Decided, Doomed, Erased, Erasure, HeldOn, KekOwner, NAMED_AT_ONCE, StoredBody, StoredHold, StoredKek,
    held_on,
};
pub use change::{AlertRule, Batch, Change, Idempotency, LedgerRow};
pub use claims::{Claimed, Claims};
pub use cooldowns::{Cooldowns, Cooling};
pub use coordinator::{
    Coordinator, Denied, Epoch, Grant, Granted, Known, LEASE_TTL, Lost, Member, Membership, Record, View, Want,
};
pub use object::{Object, StoredKey, StoredModel, Thing};
pub use responses::{ENDED, LOST, MAX_TURNS, Responses, STEPS_AT_ONCE, Step, state};
pub use rollup::{BATCH_ENDED, Cell, DAY_US, LabelCell, Rollup, Sums};
use tollgate_proto::v1::{
    AuditFilter, AuditRecord, BudgetAlert, Lease, LedgerEntry, LedgerFinding, SpendGroup, SpendRow,
};

/// Why the store could not do it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// It may work later: busy, locked, full, gone for a moment. The same batch may be sent again.
    #[error("the store cannot do it now: {0}")]
    Unavailable(String),
    /// It will never work: the data or the statement is wrong.
    #[error("the store refuses: {0}")]
    Permanent(String),
    /// Another process runs as this replica; whoever came first must stop.
    #[error(
        "another process has taken over as replica {0:?}; every replica needs an id and a data directory of its own"
    )]
    Fenced(String),
}

/// Result of a store's verb.
pub type Result<T> = std::result::Result<T, StoreError>;

/// Whose money.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Payer {
    /// Only this key's; `None`: all.
    pub key_id: Option<String>,
    /// Only of this organization; `None`: all.
    pub organization_id: Option<String>,
    /// Only of this team; `None`: all.
    pub team_id: Option<String>,
    /// Only of this user; `None`: all.
    pub user_id: Option<String>,
}

/// Which ledger entries.
#[derive(Clone, Debug, Default)]
pub struct EntryQuery {
    /// Whose.
    pub payer: Payer,
    /// Only this call's; `None`: all.
    pub call_id: Option<String>,
    /// Only this attempt's; `None`: all.
    pub attempt_id: Option<String>,
    /// Only attempts at this provider; `None`: all.
    pub provider: Option<String>,
    /// Only those settled from this moment on, microseconds since the epoch; `None`: from the beginning.
    pub start_us: Option<i64>,
    /// Only those settled before this moment; `None`: until now.
    pub end_us: Option<i64>,
    /// Only entries after this position.
    pub after: i64,
    /// At most this many.
    pub limit: i64,
}

/// A ledger entry where it stands in the store.
#[derive(Clone, Debug, PartialEq)]
pub struct Posted {
    /// Position in the store, ascending.
    pub position: i64,
    /// The entry, with its position in its replica's journal as `sequence`.
    pub entry: LedgerEntry,
}

/// How far a listener has been told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tail {
    /// The position of the last entry.
    pub entry: i64,
    /// The position of the last alert.
    pub alert: i64,
}

impl Tail {
    /// How far a read of at most `limit` of each went that ended at `end`: a full page ends at its last.
    pub fn reached(end: Self, limit: i64, entries: &[Posted], alerts: &[(i64, BudgetAlert)]) -> Self {
        let full = |found: usize| i64::try_from(found).is_ok_and(|found| found >= limit);
        Self {
            entry: entries.last().filter(|_| full(entries.len())).map_or(end.entry, |p| p.position),
            alert: alerts.last().filter(|_| full(alerts.len())).map_or(end.alert, |(position, _)| *position),
        }
    }
}

/// Which spend, and how to group it.
#[derive(Clone, Debug, Default)]
pub struct SpendQuery {
    /// Whose.
    pub payer: Payer,
    /// From this moment on, microseconds since the epoch.
    pub start_us: i64,
    /// Up to, not including, this moment.
    pub end_us: i64,
    /// How to group.
    pub group_by: SpendGroup,
}

/// Positions that a restart goes on from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Positions {
    /// The journal is applied through this sequence.
    pub journal: u64,
    /// The last ledger entry of this replica.
    pub ledger: i64,
    /// The last audit record of this replica.
    pub audit: i64,
}

/// What was spent of a budget in a window.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Balance {
    /// The budget, or its pace limit.
    pub budget_id: String,
    /// The window.
    pub window: i64,
    /// Nano-dollars.
    pub spent: i64,
}

/// How an admin's change ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PutOutcome {
    /// Done; every replica learns of it.
    Done,
    /// Somebody else changed one of the objects since it was read.
    Conflict,
}

/// The durable ledger of record.
#[async_trait]
pub trait Store: Send + Sync {
    /// Applies `batch` whole or not at all. A batch, or a part of one, that was applied before changes nothing: entries count once, by
    /// attempt id, and budgets move by exactly the entries that were new. Tells which alerts are new.
    async fn apply(&self, batch: &Batch) -> Result<Vec<BudgetAlert>>;

    /// Makes an admin's change at once and for every replica, unless an object is no longer at the version that was read (`0`: it must
    /// not exist).
    async fn put(&self, objects: &[(Object, i64)]) -> Result<PutOutcome>;

    /// Where a restart goes on.
    async fn positions(&self) -> Result<Positions>;

    /// Everything that admins made or changed after a version, in order, with the version of each.
    async fn objects_after(&self, version: i64) -> Result<Vec<(i64, Object)>>;

    /// What was spent of budgets, each from a window on.
    async fn balances(&self, from: &[(String, i64)]) -> Result<Vec<Balance>>;

    /// Every balance after this one, by budget and window, at most `limit`: for the checker.
    async fn all_balances(&self, after: Option<&Balance>, limit: i64) -> Result<Vec<Balance>>;

    /// Sums over the whole spend cube: for the checker.
    async fn cube(&self) -> Result<Vec<(Cell, Sums)>>;

    /// What this backend can see to be wrong by itself.
    async fn findings(&self) -> Result<Vec<LedgerFinding>>;

    /// Idempotency keys whose calls were settled at or after `since_us`, with the call's id.
    async fn idempotency_since(&self, since_us: i64) -> Result<Vec<(Idempotency, String)>>;

    /// Ledger entries by position.
    async fn entries(&self, query: &EntryQuery) -> Result<Vec<Posted>>;

    /// Spend by group, unsorted.
    async fn spend(&self, query: &SpendQuery) -> Result<Vec<SpendRow>>;

    /// Alerts after a position, oldest first, with their positions.
    async fn alerts(&self, budget_id: Option<&str>, after: i64, limit: i64) -> Result<Vec<(i64, BudgetAlert)>>;

    /// What was appended behind `after`, at most `limit` of each, and how far that goes; with `None` where the end is now. Unlike the
    /// other reads it never passes over what is being written and will stand earlier.
    async fn tail(
        &self,
        payer: &Payer,
        after: Option<Tail>,
        limit: i64,
    ) -> Result<(Tail, Vec<Posted>, Vec<(i64, BudgetAlert)>)>;

    /// Leases of all replicas; empty where there is one.
    async fn leases(&self) -> Result<Vec<Lease>>;

    /// Audit records after a position that match, oldest first, at most `limit`.
    async fn records(&self, filter: &AuditFilter, after_sequence: i64, limit: i64) -> Result<Vec<AuditRecord>>;

    /// Through which position the audit records are all there, so that none will come to stand before it any more; `after` itself while
    /// there is none behind it. Waits for those that are being written.
    async fn records_end(&self, after: i64) -> Result<i64>;
}
