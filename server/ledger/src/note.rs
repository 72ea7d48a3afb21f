//! What the journal says, as protobuf of its own: internal, versioned by field numbers.

use prost::Message;
use tollgate_proto::v1::{AuditRecord, Budget, Key, LedgerEntry};
use tollgate_store::{Change, Idempotency, LedgerRow, StoredKey};

/// One record of the journal.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Note {
    /// An attempt is about to be sent: from here on the provider may bill.
    #[prost(message, optional, tag = "1")]
    pub(crate) open: Option<OpenNote>,
    /// The attempt ended and the provider bills nothing.
    #[prost(string, optional, tag = "2")]
    pub(crate) released: Option<String>,
    /// The attempt ended and is billed.
    #[prost(message, optional, tag = "3")]
    pub(crate) settled: Option<RowNote>,
    /// Something is on record.
    #[prost(message, optional, tag = "4")]
    pub(crate) record: Option<AuditRecord>,
    /// A key was made or changed.
    #[prost(message, optional, tag = "5")]
    pub(crate) key: Option<KeyNote>,
    /// A budget was made or changed.
    #[prost(message, optional, tag = "6")]
    pub(crate) budget: Option<Budget>,
    /// A budget was taken away.
    #[prost(string, optional, tag = "7")]
    pub(crate) budget_deleted: Option<String>,
}

/// What is needed to settle an attempt whose end was never seen.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct OpenNote {
    /// The entry as it stands at its bound.
    #[prost(message, optional, tag = "1")]
    pub(crate) bound: Option<LedgerEntry>,
    /// Budgets that it counts against.
    #[prost(string, repeated, tag = "2")]
    pub(crate) budget_ids: Vec<String>,
    /// `completion.create`, ...
    #[prost(string, tag = "3")]
    pub(crate) action: String,
}

/// [`LedgerRow`].
#[derive(Clone, PartialEq, Message)]
pub(crate) struct RowNote {
    #[prost(message, optional, tag = "1")]
    pub(crate) entry: Option<LedgerEntry>,
    #[prost(string, repeated, tag = "2")]
    pub(crate) budget_ids: Vec<String>,
    #[prost(bytes = "vec", optional, tag = "3")]
    pub(crate) idempotency: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "4")]
    pub(crate) fingerprint: Option<Vec<u8>>,
}

/// [`StoredKey`].
#[derive(Clone, PartialEq, Message)]
pub(crate) struct KeyNote {
    #[prost(message, optional, tag = "1")]
    pub(crate) key: Option<Key>,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) digest: Vec<u8>,
    #[prost(bytes = "vec", optional, tag = "3")]
    pub(crate) old_digest: Option<Vec<u8>>,
    #[prost(int64, tag = "4")]
    pub(crate) old_until_us: i64,
    #[prost(string, tag = "5")]
    pub(crate) request_id: String,
}

impl From<LedgerRow> for RowNote {
    fn from(row: LedgerRow) -> Self {
        let (idempotency, fingerprint) = row.idempotency.map(|i| (i.key, i.fingerprint)).unzip();
        Self { entry: Some(row.entry), budget_ids: row.budget_ids, idempotency, fingerprint }
    }
}

impl From<RowNote> for LedgerRow {
    fn from(note: RowNote) -> Self {
        let idempotency =
            note.idempotency.zip(note.fingerprint).map(|(key, fingerprint)| Idempotency { key, fingerprint });
        Self { entry: note.entry.unwrap_or_default(), budget_ids: note.budget_ids, idempotency }
    }
}

impl From<StoredKey> for KeyNote {
    fn from(key: StoredKey) -> Self {
        Self {
            key: Some(key.key),
            digest: key.digest,
            old_digest: key.old_digest,
            old_until_us: key.old_until_us,
            request_id: key.request_id,
        }
    }
}

impl From<KeyNote> for StoredKey {
    fn from(note: KeyNote) -> Self {
        Self {
            key: note.key.unwrap_or_default(),
            digest: note.digest,
            old_digest: note.old_digest,
            old_until_us: note.old_until_us,
            request_id: note.request_id,
        }
    }
}

impl OpenNote {
    pub(crate) fn attempt_id(&self) -> &str {
        self.bound.as_ref().map_or("", |b| &b.attempt_id)
    }
}

impl Note {
    /// What the store has to apply.
    pub(crate) fn into_changes(self) -> Vec<Change> {
        let mut changes = Vec::new();
        changes.extend(self.key.map(|k| Change::Key(Box::new(k.into()))));
        changes.extend(self.budget.map(Change::Budget));
        changes.extend(self.budget_deleted.map(Change::BudgetDeleted));
        changes.extend(self.settled.map(|r| Change::Entry(Box::new(r.into()))));
        changes.extend(self.record.map(|r| Change::Record(Box::new(r))));
        changes
    }

    /// The attempt that this note ends.
    pub(crate) fn ends(&self) -> Option<&str> {
        self.released.as_deref().or_else(|| Some(self.settled.as_ref()?.entry.as_ref()?.attempt_id.as_str()))
    }
}
