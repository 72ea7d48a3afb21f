//! What the journal says, as protobuf of its own: internal, versioned by field numbers.

use std::{collections::HashMap, path::Path};

use prost::Message;
use tollgate_domain::micros;
use tollgate_proto::v1::{AuditRecord, LedgerEntry};
use tollgate_store::{Change, Erasure, Idempotency, LedgerRow, Object, StoredBody};

use crate::journal::{Found, JournalError};

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
    /// An admin made, changed or deleted something.
    #[prost(message, repeated, tag = "5")]
    pub(crate) objects: Vec<Object>,
    /// Entries that an admin's change posts with it.
    #[prost(message, repeated, tag = "6")]
    pub(crate) postings: Vec<RowNote>,
    /// Records of entries that `record` has no room for.
    #[prost(message, repeated, tag = "7")]
    pub(crate) more: Vec<AuditRecord>,
    /// The bodies that `record` tells of, encrypted under a key that is not in the journal.
    #[prost(message, optional, tag = "8")]
    pub(crate) body: Option<StoredBody>,
    /// The erasure that `record` tells of.
    #[prost(message, optional, tag = "9")]
    pub(crate) erasure: Option<Erasure>,
}

/// What is needed to settle an attempt whose end was never seen.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct OpenNote {
    /// The entry as it stands at its bound.
    #[prost(message, optional, tag = "1")]
    pub(crate) bound: Option<LedgerEntry>,
    /// `completion.create`, ...
    #[prost(string, tag = "2")]
    pub(crate) action: String,
    /// Windows of the leases that pay.
    #[prost(sint64, repeated, tag = "3")]
    pub(crate) lease_windows: Vec<i64>,
    /// When it was opened, microseconds since the epoch.
    #[prost(int64, tag = "4")]
    pub(crate) open_us: i64,
}

/// [`LedgerRow`].
#[derive(Clone, PartialEq, Message)]
pub(crate) struct RowNote {
    #[prost(message, optional, tag = "1")]
    pub(crate) entry: Option<LedgerEntry>,
    #[prost(sint64, repeated, tag = "2")]
    pub(crate) lease_windows: Vec<i64>,
    #[prost(bytes = "vec", optional, tag = "3")]
    pub(crate) idempotency: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "4")]
    pub(crate) fingerprint: Option<Vec<u8>>,
}

impl From<LedgerRow> for RowNote {
    fn from(row: LedgerRow) -> Self {
        let (idempotency, fingerprint) = row.idempotency.map(|i| (i.key, i.fingerprint)).unzip();
        Self { entry: Some(row.entry), lease_windows: row.lease_windows, idempotency, fingerprint }
    }
}

impl From<RowNote> for LedgerRow {
    fn from(note: RowNote) -> Self {
        let idempotency =
            note.idempotency.zip(note.fingerprint).map(|(key, fingerprint)| Idempotency { key, fingerprint });
        Self { entry: note.entry.unwrap_or_default(), lease_windows: note.lease_windows, idempotency }
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
        let mut changes: Vec<_> = self.objects.into_iter().map(|o| Change::Object(Box::new(o))).collect();
        changes.extend(self.settled.into_iter().chain(self.postings).map(|r| Change::Entry(Box::new(r.into()))));
        changes.extend(self.record.into_iter().chain(self.more).map(|r| Change::Record(Box::new(r))));
        changes.extend(self.body.map(|body| Change::Body(Box::new(body))));
        changes.extend(self.erasure.map(|erasure| Change::Erasure(Box::new(erasure))));
        changes
    }

    /// Its records, in order.
    pub(crate) fn records(&self) -> impl Iterator<Item = &AuditRecord> {
        self.record.iter().chain(&self.more)
    }

    /// The attempt that this note ends.
    pub(crate) fn ends(&self) -> Option<&str> {
        self.released.as_deref().or_else(|| Some(self.settled.as_ref()?.entry.as_ref()?.attempt_id.as_str()))
    }
}

/// What a start finds in the journal.
#[derive(Default)]
pub(crate) struct Replay {
    /// Changes of objects that the store does not have.
    pub(crate) objects: Vec<Change>,
    /// Notes that the store does not have, without their objects where those go first.
    pub(crate) notes: Vec<(u64, Note)>,
    /// Attempts without an end, each with its sequence.
    pub(crate) open: Vec<(u64, OpenNote)>,
    /// The last sequence.
    pub(crate) through: u64,
    /// The last position given to a ledger entry.
    pub(crate) ledger_sequence: i64,
    /// The last position given to an audit record.
    pub(crate) audit_sequence: i64,
    /// When the last audit record was closed, microseconds since the epoch.
    pub(crate) latest_us: i64,
}

/// Reads the journal behind what the store has applied. `objects_first`: they are to be applied before the rest.
pub(crate) fn replay(
    found: Vec<Found>,
    applied: u64,
    objects_first: bool,
    path: &Path,
) -> Result<Replay, JournalError> {
    let mut replay = Replay { through: applied, ..Replay::default() };
    let mut open: HashMap<String, (u64, OpenNote)> = HashMap::new();
    for record in found {
        // The checksum held, so a note that does not decode is another version's.
        let mut note = Note::decode(record.payload.as_slice()).map_err(|_| JournalError::Version(path.to_owned()))?;
        if let Some(id) = note.ends() {
            open.remove(id);
        }
        if let Some(o) = note.open.take() {
            open.insert(o.attempt_id().to_owned(), (record.sequence, o));
        }
        for entry in note.settled.iter().chain(&note.postings).filter_map(|row| row.entry.as_ref()) {
            replay.ledger_sequence = replay.ledger_sequence.max(entry.sequence);
        }
        if let Some(record) = note.records().last() {
            replay.audit_sequence = replay.audit_sequence.max(record.sequence);
            replay.latest_us = replay.latest_us.max(record.time.as_ref().map_or(0, micros));
        }
        if record.sequence > applied {
            replay.through = record.sequence;
            if objects_first {
                replay.objects.extend(note.objects.drain(..).map(|o| Change::Object(Box::new(o))));
            }
            if note != Note::default() {
                replay.notes.push((record.sequence, note));
            }
        }
    }
    replay.open = open.into_values().collect();
    replay.open.sort_by_key(|(sequence, _)| *sequence);
    Ok(replay)
}
