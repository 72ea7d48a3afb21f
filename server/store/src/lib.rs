//! What a store must do, in verbs that are atomic by themselves.
//!
//! One replica keeps its authority in memory and its durability in the journal; the store is the ledger of record that everything is
//! shipped to, in batches and in the journal's order. So there is one way in, [`Store::apply`], and everything else reads.
//! [`suite`] is what "a store" means: every implementation passes it.

mod change;
pub mod suite;

use async_trait::async_trait;
pub use change::{Batch, Change, Idempotency, LedgerRow, StoredKey};
use tollgate_proto::v1::{AuditFilter, AuditRecord, Budget, LedgerEntry, SpendGroup, SpendRow};

/// Why the store could not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It may work later: busy, locked, full, gone for a moment. The same batch may be sent again.
    #[error("the store cannot do it now: {0}")]
    Unavailable(String),
    /// It will never work: the data or the statement is wrong.
    #[error("the store refuses: {0}")]
    Permanent(String),
}

/// Result of a store's verb.
pub type Result<T> = std::result::Result<T, StoreError>;

/// Which ledger entries.
#[derive(Clone, Debug, Default)]
pub struct EntryQuery {
    /// Only this key's; `None`: all.
    pub key_id: Option<String>,
    /// Only this call's; `None`: all.
    pub call_id: Option<String>,
    /// Only entries after this position.
    pub after_sequence: i64,
    /// At most this many.
    pub limit: i64,
}

/// Which spend, and how to group it.
#[derive(Clone, Debug)]
pub struct SpendQuery {
    /// Only this key's; `None`: all.
    pub key_id: Option<String>,
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
    /// The last ledger entry.
    pub ledger: i64,
    /// The last audit record.
    pub audit: i64,
}

/// The durable ledger of record.
#[async_trait]
pub trait Store: Send + Sync {
    /// Applies `batch` whole or not at all. A batch, or a part of one, that was applied before changes nothing: entries count once,
    /// by attempt id, and budgets move by exactly the entries that were new.
    async fn apply(&self, batch: &Batch) -> Result<()>;

    /// Where a restart goes on.
    async fn positions(&self) -> Result<Positions>;

    /// Every key, with its digests.
    async fn keys(&self) -> Result<Vec<StoredKey>>;

    /// Every budget, with what was spent of it.
    async fn budgets(&self) -> Result<Vec<Budget>>;

    /// Idempotency keys whose calls were settled at or after `since_us`, with the call's id.
    async fn idempotency_since(&self, since_us: i64) -> Result<Vec<(Idempotency, String)>>;

    /// Ledger entries by position.
    async fn entries(&self, query: &EntryQuery) -> Result<Vec<LedgerEntry>>;

    /// Spend by group, unsorted.
    async fn spend(&self, query: &SpendQuery) -> Result<Vec<SpendRow>>;

    /// Audit records after a position that match, oldest first, at most `limit`.
    async fn records(&self, filter: &AuditFilter, after_sequence: i64, limit: i64) -> Result<Vec<AuditRecord>>;
}
