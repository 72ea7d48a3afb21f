//! The one writer of the journal: opens, ends and admin changes, in one order.

use std::{collections::HashMap, sync::Arc};

use prost::Message;
use tollgate_domain::{Error, Retry, timestamp};
use tollgate_proto::v1::{AuditRecord, ErrorReason, Hold as HoldRow, LedgerEntryKind};
use tollgate_store::{LedgerRow, Positions};

use crate::{
    End, Ledger, Opening,
    journal::Journal,
    note::{Note, OpenNote},
    record,
};

/// An attempt that has no end yet.
struct Open {
    /// Where it stands in the journal: segments from the oldest on are kept.
    sequence: u64,
    hold: HoldRow,
}

pub(crate) struct Writer {
    pub(crate) journal: Journal,
    ledger_sequence: i64,
    audit_sequence: i64,
    /// The time of the last record, microseconds since the epoch.
    latest_us: i64,
    open: HashMap<String, Open>,
    /// Ends that the disk refused; written before anything else once it takes them.
    backlog: Vec<Note>,
    /// Written, not yet taken by the shipper.
    pub(crate) queue: Vec<(u64, Note)>,
}

impl Writer {
    pub(crate) fn new(
        journal: Journal,
        ledger_sequence: i64,
        audit_sequence: i64,
        latest_us: i64,
        open: &[(u64, OpenNote)],
        queue: Vec<(u64, Note)>,
    ) -> Self {
        let open = open
            .iter()
            .map(|(sequence, o)| (o.attempt_id().to_owned(), Open { sequence: *sequence, hold: HoldRow::default() }));
        Self { journal, ledger_sequence, audit_sequence, latest_us, open: open.collect(), backlog: Vec::new(), queue }
    }

    /// Where a restart goes on once everything through `journal` is in the store.
    pub(crate) fn positions(&self, journal: u64) -> Positions {
        Positions { journal, ledger: self.ledger_sequence, audit: self.audit_sequence }
    }

    /// The oldest sequence that is still needed for an attempt in flight.
    pub(crate) fn oldest_open(&self) -> u64 {
        self.open.values().map(|o| o.sequence).min().unwrap_or(u64::MAX)
    }

    pub(crate) fn holds(&self, replica: &str) -> Vec<HoldRow> {
        let with_replica = |o: &Open| HoldRow { replica: replica.to_owned(), ..o.hold.clone() };
        self.open.values().map(with_replica).collect()
    }
}

impl Ledger {
    /// Journals that an attempt is about to be sent. Refused while the journal cannot be written.
    pub fn open_attempt(&self, opening: Opening<'_>) -> Result<u64, Error> {
        let bound = &opening.bound;
        let now_us = self.now_us();
        let hold = HoldRow {
            attempt_id: bound.attempt_id.clone(),
            key_id: bound.key_id.clone(),
            model: bound.model.clone(),
            deployment: bound.deployment.clone(),
            amount_nano_usd: bound.held_nano_usd,
            open_time: Some(timestamp(now_us)),
            charges: bound.charges.clone(),
            replica: String::new(),
        };
        let id = bound.attempt_id.clone();
        let note = Note {
            open: Some(OpenNote {
                bound: Some(opening.bound),
                action: opening.action.to_owned(),
                lease_windows: opening.lease_windows,
                open_us: now_us,
            }),
            ..Note::default()
        };
        let unavailable = |error: &str| {
            tracing::error!(error, "the journal cannot be written; new calls are refused");
            let message = "the gateway's journal cannot be written, so no new call may start; try again later";
            Error::new(ErrorReason::LedgerUnavailable, message).retry(Retry::Later)
        };
        if let Some(reason) = &*self.failed.borrow() {
            return Err(unavailable(reason));
        }
        let mut writer = self.writer.lock();
        let written = self.write_backlog(&mut writer).and_then(|()| self.write(&mut writer, &note));
        let sequence = written.map_err(|error| unavailable(&error.to_string()))?;
        writer.open.insert(id, Open { sequence, hold });
        Ok(sequence)
    }

    /// Journals an end. Never fails: what the disk does not take now is kept and written first once it does.
    pub fn end(&self, end: End) -> u64 {
        self.end_on_record(end).0
    }

    /// The same, and tells the record as it stands in the journal.
    pub fn end_on_record(&self, end: End) -> (u64, Option<Arc<AuditRecord>>) {
        self.note(Note {
            settled: end.settled.map(Into::into),
            released: end.released,
            record: end.record,
            body: end.body,
            erasure: end.erasure,
            ..Note::default()
        })
    }

    pub(crate) fn note(&self, mut note: Note) -> (u64, Option<Arc<AuditRecord>>) {
        record::account(&mut note);
        let mut writer = self.writer.lock();
        // Times tell the order, whatever the clock does: what is covered up to a record is what is no later.
        writer.latest_us = self.now_us().max(writer.latest_us.saturating_add(1));
        let now = timestamp(writer.latest_us);
        for entry in note.settled.iter_mut().chain(&mut note.postings).filter_map(|row| row.entry.as_mut()) {
            writer.ledger_sequence += 1;
            entry.sequence = writer.ledger_sequence;
            entry.settle_time = Some(now);
            entry.replica.clone_from(&self.replica);
        }
        for record in note.record.iter_mut().chain(&mut note.more) {
            writer.audit_sequence += 1;
            record.sequence = writer.audit_sequence;
            record.time = Some(now);
            record.replica.clone_from(&self.replica);
        }
        if let (Some(body), Some(record)) = (&mut note.body, &note.record) {
            (body.replica, body.sequence) = (record.replica.clone(), record.sequence);
        }
        if let Some(id) = note.ends() {
            writer.open.remove(id);
        }
        let written = match tollgate_planted::bug("settled_before_journal") {
            true => Ok(writer.journal.next_sequence() - 1),
            false => self.write_backlog(&mut writer).and_then(|()| self.write_end(&mut writer, &note)),
        };
        let record = note.record.clone().map(Arc::new);
        record.iter().for_each(&self.on_record);
        for record in &note.more {
            (self.on_record)(&Arc::new(record.clone()));
        }
        let sequence = match written {
            Ok(sequence) => {
                writer.queue.push((sequence, note));
                sequence
            }
            Err(error) => {
                tracing::error!(%error, "the journal cannot be written; an end waits in memory");
                writer.backlog.push(note);
                writer.journal.next_sequence()
            }
        };
        (sequence, record)
    }

    fn write(&self, writer: &mut Writer, note: &Note) -> std::io::Result<u64> {
        let sequence = writer.journal.append(|buffer| {
            // A vector takes any length.
            let _ = note.encode(buffer);
        })?;
        if self.lag() == 0 {
            self.moved();
        }
        self.written.send_replace(sequence);
        Ok(sequence)
    }

    /// An end may use the space that is set aside for a full disk.
    fn write_end(&self, writer: &mut Writer, note: &Note) -> std::io::Result<u64> {
        match self.write(writer, note) {
            Err(error) if error.kind() == std::io::ErrorKind::StorageFull && writer.journal.free_reserve() => {
                self.write(writer, note)
            }
            written => written,
        }
    }

    fn write_backlog(&self, writer: &mut Writer) -> std::io::Result<()> {
        while let Some(note) = writer.backlog.first().cloned() {
            let sequence = self.write(writer, &note)?;
            writer.queue.push((sequence, note));
            writer.backlog.remove(0);
        }
        Ok(())
    }

    /// Ends that the journal's disk refused: they wait in memory, and no new attempt is opened.
    pub fn waiting(&self) -> usize {
        self.writer.lock().backlog.len()
    }

    /// Tries again to write them, and tells how many wait still: where no call comes any more, nobody else does.
    pub fn write_waiting(&self) -> usize {
        let mut writer = self.writer.lock();
        // What refuses it now is told to the next call, and logged there.
        let _ = self.write_backlog(&mut writer);
        writer.backlog.len()
    }

    /// Books an attempt whose end nobody saw at its bound, and puts it on record.
    pub(crate) fn recover(&self, opened: OpenNote) {
        let mut entry = opened.bound.unwrap_or_default();
        if tollgate_planted::bug("recovered_for_nothing") {
            (entry.cost_nano_usd, entry.high_nano_usd) = (0, 0);
        }
        entry.kind = LedgerEntryKind::Recovered as i32;
        entry.outcome = "recovered".into();
        let record = AuditRecord {
            action: opened.action,
            error_reason: ErrorReason::Internal as i32,
            changes: vec!["recovered: the gateway ended while the call was in flight".into()],
            ..record::about(&entry)
        };
        let settled = LedgerRow { entry, lease_windows: opened.lease_windows, idempotency: None };
        self.end(End { settled: Some(settled), record: Some(record), ..End::default() });
    }
}
