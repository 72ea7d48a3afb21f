use std::collections::BTreeMap;

use tollgate_proto::v1::{AuditRecord, BudgetScope, LedgerEntry};

use crate::{Erasure, Object, StoredBody};

/// An idempotency key and the request that came with it, both hashed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Idempotency {
    /// Hash of virtual key and idempotency key.
    pub key: Vec<u8>,
    /// Hash of the request.
    pub fingerprint: Vec<u8>,
}

/// A ledger entry and what it moves.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct LedgerRow {
    /// The entry, with the budgets that it counts against in its `charges`.
    pub entry: LedgerEntry,
    /// For each charge the window of the lease that pays it, `i64::MIN` where none does.
    pub lease_windows: Vec<i64>,
    /// Set on the entry that completed an idempotent call.
    pub idempotency: Option<Idempotency>,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// An admin made, changed or deleted something.
    Object(Box<Object>),
    /// A provider billed an attempt.
    Entry(Box<LedgerRow>),
    /// Something is on record.
    Record(Box<AuditRecord>),
    /// Bodies of a call are kept.
    Body(Box<StoredBody>),
    /// Bodies are erased: in the transaction that puts it on record.
    Erasure(Box<Erasure>),
}

/// When a budget raises an alert.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct AlertRule {
    /// The limit in force.
    pub limit_nano_usd: i64,
    /// Percentages of it, ascending.
    pub percents: Vec<i32>,
    /// For a rolling window its first bucket: what is summed.
    pub rolling_from: Option<i64>,
    /// What the budget is on.
    pub scope: Option<BudgetScope>,
}

/// Changes in the journal's order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// The changes.
    pub changes: Vec<Change>,
    /// The journal's sequence of the last of them.
    pub through: u64,
    /// Rules of the budgets that its entries count against, by budget and the window that an alert belongs to.
    pub rules: BTreeMap<String, AlertRule>,
}

impl Batch {
    /// Its ledger rows.
    pub fn rows(&self) -> impl Iterator<Item = &LedgerRow> {
        self.changes.iter().filter_map(|change| match change {
            Change::Entry(row) => Some(&**row),
            _ => None,
        })
    }
}
