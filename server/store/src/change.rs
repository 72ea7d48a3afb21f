use tollgate_proto::v1::{AuditRecord, Budget, Key, LedgerEntry};

/// A virtual key as it is kept: never its secret, only keyed digests.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredKey {
    /// What the contract shows.
    pub key: Key,
    /// HMAC-SHA-256 of the secret.
    pub digest: Vec<u8>,
    /// Digest of the secret before the last rotation, while it still works.
    pub old_digest: Option<Vec<u8>>,
    /// Until when it works, microseconds since the epoch.
    pub old_until_us: i64,
    /// `request_id` of the call that made it, or empty.
    pub request_id: String,
}

/// An idempotency key and the request that came with it, both hashed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Idempotency {
    /// Hash of virtual key and idempotency key.
    pub key: Vec<u8>,
    /// Hash of the request.
    pub fingerprint: Vec<u8>,
}

/// A ledger entry and what it moves.
#[derive(Clone, Debug, PartialEq)]
pub struct LedgerRow {
    /// The entry.
    pub entry: LedgerEntry,
    /// Budgets that it counts against.
    pub budget_ids: Vec<String>,
    /// Set on the entry that completed an idempotent call.
    pub idempotency: Option<Idempotency>,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// A key was made or changed.
    Key(Box<StoredKey>),
    /// A budget was made or changed. Its `spent_nano_usd` is ignored: entries move it.
    Budget(Budget),
    /// A budget was taken away.
    BudgetDeleted(String),
    /// A provider billed an attempt.
    Entry(Box<LedgerRow>),
    /// Something is on record.
    Record(Box<AuditRecord>),
}

/// Changes in the journal's order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// The changes.
    pub changes: Vec<Change>,
    /// The journal's sequence of the last of them.
    pub through: u64,
}
