//! What a note puts on record: each ledger entry in exactly one record, and no record longer than the audit log takes.

use prost::Message;
use tollgate_proto::v1::{AuditEntry, AuditRecord, LedgerEntry};

use crate::note::Note;

/// So many entries stand in one record; the rest of them in records of their own.
const ENTRIES: usize = 400;
/// The rest of a record has at most this many bytes: with its entries it stays well below the 64 KiB of a leaf.
const BYTES: usize = 32_000;
/// What is longer in a record that is too long is cut to this many bytes.
const TEXT: usize = 512;
/// Of a list in a record that is too long so many items stay.
const ITEMS: usize = 32;

/// Sees to it that every entry of the note stands in a record of the note, so that a crash cannot part them.
pub(crate) fn account(note: &mut Note) {
    let rows = note.settled.iter().chain(&note.postings);
    let mut entries: Vec<AuditEntry> = rows.filter_map(|row| row.entry.as_ref()).map(of_entry).collect();
    if let (None, Some(settled)) = (&note.record, note.settled.as_ref().and_then(|row| row.entry.as_ref())) {
        note.record = Some(AuditRecord { action: "attempt.settle".into(), ..about(settled) });
    }
    let Some(record) = note.record.as_mut() else { return };
    fit(record);
    let rest = entries.split_off(entries.len().min(ENTRIES));
    record.entries = entries;
    let more = |entries: &[AuditEntry]| AuditRecord {
        action: "ledger.post".into(),
        entries: entries.to_vec(),
        key_id: record.key_id.clone(),
        role: record.role,
        user_id: record.user_id.clone(),
        team_id: record.team_id.clone(),
        organization_id: record.organization_id.clone(),
        subject: record.subject.clone(),
        ..AuditRecord::default()
    };
    note.more = rest.chunks(ENTRIES).map(more).collect();
}

/// A record that tells of one entry alone.
pub(crate) fn about(entry: &LedgerEntry) -> AuditRecord {
    AuditRecord {
        key_id: entry.key_id.clone(),
        user_id: entry.user_id.clone(),
        team_id: entry.team_id.clone(),
        organization_id: entry.organization_id.clone(),
        call_id: entry.call_id.clone(),
        model: entry.model.clone(),
        usage: entry.usage.clone(),
        ..AuditRecord::default()
    }
}

fn of_entry(entry: &LedgerEntry) -> AuditEntry {
    AuditEntry { attempt_id: entry.attempt_id.clone(), cost_nano_usd: entry.cost_nano_usd }
}

/// Shortens a record that is too long, and says so on it.
fn fit(record: &mut AuditRecord) {
    if record.encoded_len() <= BYTES {
        return;
    }
    shorten(record);
    record.changes.push("cut: the record was too long; texts and lists in it are shortened".into());
    // Lists of short texts only: what is left cannot be as long, but nobody shall have to believe that.
    if record.encoded_len() > BYTES {
        record.routing = None;
        record.changes.truncate(1);
        record.changes.push("cut: how the call was routed is left out too".into());
    }
}

fn shorten(record: &mut AuditRecord) {
    for text in [&mut record.action, &mut record.subject, &mut record.model, &mut record.peer, &mut record.call_id] {
        cut(text);
    }
    cut_all(&mut record.tags);
    cut_all(&mut record.changes);
    let pairs = std::mem::take(&mut record.metadata).into_iter().take(ITEMS);
    record.metadata = pairs
        .map(|(mut name, mut value)| {
            cut(&mut name);
            cut(&mut value);
            (name, value)
        })
        .collect();
    record.finish_reasons.truncate(ITEMS);
    if let Some(usage) = &mut record.usage {
        usage.native_json = None;
    }
    let Some(routing) = &mut record.routing else { return };
    cut_all(&mut routing.dropped_fields);
    routing.candidates.truncate(ITEMS);
    routing.attempts.truncate(ITEMS);
    for attempt in &mut routing.attempts {
        if let Some(usage) = &mut attempt.usage {
            usage.native_json = None;
        }
        cut(&mut attempt.native_code);
        cut(&mut attempt.upstream_request_id);
    }
    if let Some(needs) = &mut routing.needs {
        cut_all(&mut needs.tags);
        cut_all(&mut needs.fallbacks);
        cut(&mut needs.deployment);
        cut(&mut needs.region);
    }
}

fn cut_all(texts: &mut Vec<String>) {
    texts.truncate(ITEMS);
    texts.iter_mut().for_each(cut);
}

fn cut(text: &mut String) {
    if text.len() > TEXT {
        text.truncate(text.floor_char_boundary(TEXT));
        text.push('…');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::note::RowNote;

    fn row(n: i64) -> RowNote {
        let entry = LedgerEntry { attempt_id: format!("opn_{n}"), cost_nano_usd: n, ..LedgerEntry::default() };
        RowNote { entry: Some(entry), ..RowNote::default() }
    }

    #[test]
    fn a_record_is_never_longer_than_a_leaf_may_be() {
        let mut record = AuditRecord {
            model: "é".repeat(1 << 20),
            changes: vec!["x".repeat(5_000); 5_000],
            tags: vec!["t".repeat(100); 5_000],
            metadata: (0..5_000).map(|n| (format!("{n}"), "v".repeat(5_000))).collect(),
            ..AuditRecord::default()
        };
        fit(&mut record);
        assert!(record.encoded_len() < 60_000, "{}", record.encoded_len());
        assert!(record.changes.last().unwrap().starts_with("cut:"), "it says so");
        let mut short = AuditRecord { model: "gpt".into(), ..AuditRecord::default() };
        fit(&mut short);
        assert_eq!(short, AuditRecord { model: "gpt".into(), ..AuditRecord::default() });
    }

    #[test]
    fn entries_that_one_record_has_no_room_for_stand_in_the_next() {
        let postings = (0..1_000).map(row).collect();
        let mut note = Note { postings, record: Some(AuditRecord::default()), ..Note::default() };
        account(&mut note);
        let records: Vec<_> = note.record.iter().chain(&note.more).collect();
        assert_eq!(records.iter().map(|r| r.entries.len()).collect::<Vec<_>>(), [400, 400, 200]);
        assert!(records.iter().all(|r| r.encoded_len() < 60_000));
        let costs = records.iter().flat_map(|r| &r.entries).map(|e| e.cost_nano_usd);
        assert_eq!(costs.collect::<Vec<_>>(), (0..1_000).collect::<Vec<_>>());
    }

    #[test]
    fn an_attempt_that_is_billed_before_its_call_ends_has_a_record_of_its_own() {
        let mut note = Note { settled: Some(row(7)), ..Note::default() };
        account(&mut note);
        let record = note.record.unwrap();
        assert_eq!((record.action.as_str(), record.entries[0].cost_nano_usd), ("attempt.settle", 7));
        let mut silent = Note { released: Some("a".into()), ..Note::default() };
        account(&mut silent);
        assert_eq!(silent.record, None, "what is not billed needs none");
    }
}
