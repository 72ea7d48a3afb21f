//! The ledger: money is held before a call and settled after it, and nothing is forgotten in between.
//!
//! Memory is the authority ([`Account`]), the journal is the durability, the store is the ledger of record. An attempt is journalled
//! as open before its first byte leaves, with the entry it would become at its bound; its end is journalled before the caller sees
//! the last frame. A start finds attempts that were open and settles them at that bound, flagged `RECOVERED`. See
//! `docs/accounting.md` for every path.

mod account;
mod journal;
mod note;
mod shipper;

use std::{collections::HashMap, path::PathBuf, sync::Arc};

pub use account::{Account, Balance, Hold, Scopes};
use dashmap::DashMap;
pub use journal::JournalError;
use parking_lot::Mutex;
use prost::Message;
use tokio::sync::{Notify, watch};
use tollgate_domain::{Clock, Error, Retry, timestamp};
use tollgate_proto::v1::{AuditRecord, Budget, ErrorReason, LedgerEntry, LedgerEntryKind};
use tollgate_store::{Batch, LedgerRow, Store, StoreError, StoredKey};

use crate::{
    journal::Journal,
    note::{Note, OpenNote},
};

/// When a record counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// Once it is written to the journal file: `kill -9` loses nothing, a power cut at most 5 ms.
    #[default]
    Process,
    /// Once the file is synced: calls wait for the disk before the first byte and before the last frame.
    Disk,
}

/// Listens to audit records.
pub type OnRecord = Box<dyn Fn(&Arc<AuditRecord>) + Send + Sync>;

/// How to open the ledger.
pub struct Options {
    /// Directory of the journal.
    pub journal: PathBuf,
    /// When a record counts.
    pub durability: Durability,
    /// The time of day.
    pub clock: Clock,
    /// Runs for each audit record right after it was journalled, in order.
    pub on_record: OnRecord,
}

/// Why the ledger does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// An attempt that is about to be sent.
pub struct Opening<'a> {
    /// The entry as it stands at its bound: what a crash would book. Kind, outcome, time and sequence are filled in here.
    pub bound: LedgerEntry,
    /// What it counts against.
    pub scopes: &'a Scopes,
    /// The action of its audit record.
    pub action: &'a str,
}

/// How something ended: one record of the journal, written at once.
#[derive(Default)]
pub struct End {
    /// An attempt that the provider bills.
    pub settled: Option<LedgerRow>,
    /// An attempt that it does not bill.
    pub released: Option<String>,
    /// The audit record, when nothing more will happen.
    pub record: Option<AuditRecord>,
}

/// What an admin changed.
#[derive(Default)]
pub struct AdminChange {
    /// A key was made or changed.
    pub key: Option<StoredKey>,
    /// A budget was made or changed.
    pub budget: Option<Budget>,
    /// A budget was taken away.
    pub budget_deleted: Option<String>,
}

struct Writer {
    journal: Journal,
    ledger_sequence: i64,
    audit_sequence: i64,
    /// Where each open attempt stands in the journal: segments from the oldest on are kept.
    open: HashMap<String, u64>,
    /// Ends that the disk refused; written before anything else once it takes them.
    backlog: Vec<Note>,
    /// Written, not yet taken by the shipper.
    queue: Vec<(u64, Note)>,
}

/// The ledger of one replica.
pub struct Ledger {
    writer: Mutex<Writer>,
    accounts: DashMap<String, Arc<Account>>,
    store: Arc<dyn Store>,
    durability: Durability,
    clock: Clock,
    on_record: OnRecord,
    /// Through which sequence the journal is written, synced, shipped.
    written: watch::Sender<u64>,
    synced: watch::Sender<u64>,
    shipped: watch::Sender<u64>,
    /// Taken from the queue, not yet in the store.
    unshipped: tokio::sync::Mutex<Option<Batch>>,
    /// Rung to ship now rather than soon.
    ship_now: Notify,
    /// How many attempts the start found open and settled at their bound.
    recovered: usize,
}

impl Ledger {
    /// Replays the journal, settles what a crash left open, and brings the store up to date.
    pub async fn open(options: Options, store: Arc<dyn Store>) -> Result<Arc<Self>, OpenError> {
        let (mut journal, found) = Journal::open(&options.journal)?;
        let applied = store.positions().await?.journal;
        let mut open: Vec<(u64, OpenNote)> = Vec::new();
        let mut batch = Batch { changes: Vec::new(), through: applied };
        for record in found {
            // The checksum held, so a note that does not decode is another version's.
            let note =
                Note::decode(record.payload.as_slice()).map_err(|_| JournalError::Version(options.journal.clone()))?;
            if let Some(id) = note.ends() {
                open.retain(|(_, o)| o.attempt_id() != id);
            }
            open.extend(note.open.clone().map(|o| (record.sequence, o)));
            if record.sequence > applied {
                batch.changes.extend(note.into_changes());
                batch.through = record.sequence;
            }
        }
        journal.skip_to(applied + 1);
        let through = batch.through;
        store.apply(&batch).await?;
        let positions = store.positions().await?;
        let ledger = Self {
            writer: Mutex::new(Writer {
                journal,
                ledger_sequence: positions.ledger,
                audit_sequence: positions.audit,
                open: open.iter().map(|(sequence, o)| (o.attempt_id().to_owned(), *sequence)).collect(),
                backlog: Vec::new(),
                queue: Vec::new(),
            }),
            accounts: DashMap::new(),
            store,
            durability: options.durability,
            clock: options.clock,
            on_record: options.on_record,
            written: watch::Sender::new(through),
            synced: watch::Sender::new(through),
            shipped: watch::Sender::new(through),
            unshipped: tokio::sync::Mutex::new(None),
            ship_now: Notify::new(),
            recovered: open.len(),
        };
        for (_, opened) in open {
            ledger.recover(opened);
        }
        ledger.ship().await?;
        for budget in ledger.store.budgets().await? {
            ledger.accounts.insert(budget.key_id.clone(), Arc::new(Account::new(&budget)));
        }
        let ledger = Arc::new(ledger);
        shipper::start(&ledger);
        Ok(ledger)
    }

    /// The account of a key's budget.
    pub fn account(&self, key_id: &str) -> Option<Arc<Account>> {
        self.accounts.get(key_id).map(|a| a.clone())
    }

    /// The store behind, to read from after [`Ledger::shipped`].
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// How many attempts the start found open.
    pub fn recovered(&self) -> usize {
        self.recovered
    }

    /// Journals that an attempt is about to be sent. Refused while the journal cannot be written.
    pub fn open_attempt(&self, opening: Opening<'_>) -> Result<u64, Error> {
        let id = opening.bound.attempt_id.clone();
        let note = Note {
            open: Some(OpenNote {
                bound: Some(opening.bound),
                budget_ids: budget_ids(opening.scopes),
                action: opening.action.to_owned(),
            }),
            ..Note::default()
        };
        let mut writer = self.writer.lock();
        let sequence = match self.write_backlog(&mut writer).and_then(|()| self.write(&mut writer, &note)) {
            Ok(sequence) => sequence,
            Err(error) => {
                tracing::error!(%error, "the journal cannot be written; new calls are refused");
                let message = "the gateway's journal cannot be written, so no new call may start; try again later";
                return Err(Error::new(ErrorReason::LedgerUnavailable, message).retry(Retry::Later));
            }
        };
        writer.open.insert(id, sequence);
        Ok(sequence)
    }

    /// Journals an end. Never fails: what the disk does not take now is kept and written first once it does.
    pub fn end(&self, end: End) -> u64 {
        self.note(Note {
            settled: end.settled.map(Into::into),
            released: end.released,
            record: end.record,
            ..Note::default()
        })
    }

    /// Journals what an admin did, and makes it count.
    pub fn change(&self, change: AdminChange, record: AuditRecord) -> u64 {
        if let Some(budget) = &change.budget {
            self.accounts
                .entry(budget.key_id.clone())
                .and_modify(|account| account.change(budget))
                .or_insert_with(|| Arc::new(Account::new(budget)));
        }
        if let Some(id) = &change.budget_deleted {
            self.accounts.retain(|_, account| account.budget_id != *id);
        }
        self.note(Note {
            key: change.key.map(Into::into),
            budget: change.budget,
            budget_deleted: change.budget_deleted,
            record: Some(record),
            ..Note::default()
        })
    }

    /// Waits until the record is as durable as configured.
    pub async fn durable(&self, sequence: u64) {
        if self.durability == Durability::Disk {
            // The sender lives as long as `self`.
            let _ = self.synced.subscribe().wait_for(|synced| *synced >= sequence).await;
        }
    }

    /// Waits until the store has everything that was journalled before.
    pub async fn shipped(&self) {
        let target = *self.written.borrow();
        self.ship_now.notify_one();
        let _ = self.shipped.subscribe().wait_for(|shipped| *shipped >= target).await;
    }

    fn note(&self, mut note: Note) -> u64 {
        let mut writer = self.writer.lock();
        let now = timestamp(self.clock.now_us());
        if let Some(entry) = note.settled.as_mut().and_then(|row| row.entry.as_mut()) {
            writer.ledger_sequence += 1;
            entry.sequence = writer.ledger_sequence;
            entry.settle_time = Some(now);
        }
        if let Some(record) = note.record.as_mut() {
            writer.audit_sequence += 1;
            record.sequence = writer.audit_sequence;
            record.time = Some(now);
        }
        if let Some(id) = note.ends() {
            writer.open.remove(id);
        }
        let written = self.write_backlog(&mut writer).and_then(|()| self.write(&mut writer, &note));
        if let Some(record) = &note.record {
            (self.on_record)(&Arc::new(record.clone()));
        }
        match written {
            Ok(sequence) => {
                writer.queue.push((sequence, note));
                sequence
            }
            Err(error) => {
                tracing::error!(%error, "the journal cannot be written; an end waits in memory");
                writer.backlog.push(note);
                writer.journal.next_sequence()
            }
        }
    }

    fn write(&self, writer: &mut Writer, note: &Note) -> std::io::Result<u64> {
        let sequence = writer.journal.append(|buffer| {
            // A vector takes any length.
            let _ = note.encode(buffer);
        })?;
        self.written.send_replace(sequence);
        Ok(sequence)
    }

    fn write_backlog(&self, writer: &mut Writer) -> std::io::Result<()> {
        while let Some(note) = writer.backlog.first().cloned() {
            let sequence = self.write(writer, &note)?;
            writer.queue.push((sequence, note));
            writer.backlog.remove(0);
        }
        Ok(())
    }

    /// Books an attempt whose end nobody saw at its bound, and puts it on record.
    fn recover(&self, opened: OpenNote) {
        let mut entry = opened.bound.unwrap_or_default();
        entry.kind = LedgerEntryKind::Recovered as i32;
        entry.outcome = "recovered".into();
        let record = AuditRecord {
            action: opened.action,
            key_id: entry.key_id.clone(),
            call_id: entry.call_id.clone(),
            model: entry.model.clone(),
            usage: entry.usage.clone(),
            error_reason: ErrorReason::Internal as i32,
            changes: vec!["recovered: the gateway ended while the call was in flight".into()],
            ..AuditRecord::default()
        };
        let settled = LedgerRow { entry, budget_ids: opened.budget_ids, idempotency: None };
        self.end(End { settled: Some(settled), record: Some(record), released: None });
    }
}

/// Ids of the budgets of `scopes`.
pub fn budget_ids(scopes: &Scopes) -> Vec<String> {
    scopes.iter().map(|a| a.budget_id.clone()).collect()
}
