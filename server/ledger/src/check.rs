//! The checker: whether the ledger of record says what it must (docs/accounting.md has the invariants).

use std::{collections::BTreeMap, path::Path};

use prost::Message;
use tollgate_proto::v1::{CheckLedgerResponse, LedgerEntryKind, LedgerFinding};
use tollgate_store::{EntryQuery, Rollup, Store};

use crate::{
    journal::{Journal, JournalError},
    note::Note,
};

const PAGE: i64 = 10_000;

fn finding(
    invariant: &str,
    subject: impl Into<String>,
    expected: String,
    actual: String,
    message: &str,
) -> LedgerFinding {
    LedgerFinding { invariant: invariant.into(), subject: subject.into(), expected, actual, message: message.into() }
}

/// Checks everything that is settled.
pub async fn check(store: &dyn Store) -> tollgate_store::Result<CheckLedgerResponse> {
    if tollgate_planted::bug("checker_blind") {
        return Ok(CheckLedgerResponse::default());
    }
    let mut findings = store.findings().await?;
    let mut rollup = Rollup::default();
    let mut sequences: BTreeMap<String, (i64, i64)> = BTreeMap::new();
    let (mut after, mut entries) = (0, 0);
    loop {
        let page = store.entries(&EntryQuery { after, limit: PAGE, ..EntryQuery::default() }).await?;
        let Some(last) = page.last() else { break };
        after = last.position;
        for posted in &page {
            let entry = &posted.entry;
            entries += 1;
            rollup.add(entry);
            let (count, most) = sequences.entry(entry.replica.clone()).or_default();
            *count += 1;
            *most = (*most).max(entry.sequence);
            let adjusts = entry.kind() == LedgerEntryKind::Adjustment;
            if entry.cost_nano_usd < 0 && !adjusts {
                let message = "an entry that is no adjustment has a negative cost";
                findings.push(finding(
                    "I12",
                    &entry.attempt_id,
                    ">= 0".into(),
                    entry.cost_nano_usd.to_string(),
                    message,
                ));
            }
            let (low, cost, high) = (entry.low_nano_usd, entry.cost_nano_usd, entry.high_nano_usd);
            if !adjusts && !(low..=high).contains(&cost) {
                let message = "an entry's cost lies outside the interval that it states";
                findings.push(finding("I11", &entry.attempt_id, format!("{low} to {high}"), cost.to_string(), message));
            }
        }
    }
    for (replica, (count, most)) in sequences {
        if count != most {
            let message = "entries of a replica are numbered without gaps: some are missing";
            findings.push(finding("I5", replica, format!("{most} entries"), format!("{count} entries"), message));
        }
    }
    let balances = check_balances(store, rollup.balances, &mut findings).await?;
    let mut cells = rollup.cells;
    for (cell, sums) in store.cube().await? {
        let expected = cells.remove(&cell).unwrap_or_default();
        if expected != sums {
            let subject =
                format!("day {} key {} model {} provider {}", cell.day, cell.key_id, cell.model, cell.provider);
            let message = "a sum of spend is not the sum of its entries";
            findings.push(finding("I7", subject, format!("{expected:?}"), format!("{sums:?}"), message));
        }
    }
    for (cell, sums) in cells {
        let subject = format!("day {} key {} model {} provider {}", cell.day, cell.key_id, cell.model, cell.provider);
        let message = "entries are missing from the sums of spend";
        findings.push(finding("I7", subject, format!("{sums:?}"), "nothing".into(), message));
    }
    Ok(CheckLedgerResponse { findings, entries, balances })
}

async fn check_balances(
    store: &dyn Store,
    mut expected: BTreeMap<(String, i64), i64>,
    findings: &mut Vec<LedgerFinding>,
) -> tollgate_store::Result<i64> {
    let (mut balances, mut after) = (0, None);
    let wrong = |subject: (String, i64), sum: i64, spent: i64| {
        let subject = format!("budget {} window {}", subject.0, subject.1);
        let message = "a balance is not the sum of its entries: a row was deleted, changed or added";
        finding("I1", subject, sum.to_string(), spent.to_string(), message)
    };
    loop {
        let page = store.all_balances(after.as_ref(), PAGE).await?;
        let Some(last) = page.last().cloned() else { break };
        balances += page.len() as i64;
        for balance in page {
            let key = (balance.budget_id, balance.window);
            let sum = expected.remove(&key).unwrap_or(0);
            if sum != balance.spent {
                findings.push(wrong(key, sum, balance.spent));
            }
        }
        after = Some(last);
    }
    for (key, sum) in expected.into_iter().filter(|(_, sum)| *sum != 0) {
        findings.push(wrong(key, sum, 0));
    }
    Ok(balances)
}

/// Checks a journal whose gateway is not running against the store: records that were not applied, attempts without an end.
pub async fn check_journal(dir: &Path, store: &dyn Store) -> Result<Vec<LedgerFinding>, crate::OpenError> {
    let (_journal, found) = Journal::open(dir)?;
    let applied = store.positions().await?.journal;
    let mut open = BTreeMap::new();
    let (mut first, mut last, mut changes) = (None, 0, 0);
    for record in found {
        let note = Note::decode(record.payload.as_slice()).map_err(|_| JournalError::Version(dir.to_owned()))?;
        if let Some(id) = note.ends() {
            open.remove(id);
        }
        if let Some(o) = &note.open {
            open.insert(o.attempt_id().to_owned(), o.clone());
        }
        if record.sequence > applied && note.open.is_none() {
            first.get_or_insert(record.sequence);
            (last, changes) = (record.sequence, changes + 1);
        }
    }
    let mut findings = Vec::new();
    if let Some(first) = first {
        findings.push(finding(
            "I5",
            format!("journal records {first} to {last}"),
            "applied to the store".into(),
            format!("{changes} not applied, the store ends at {applied}"),
            "the journal has records that the store does not: start the gateway, which applies them",
        ));
    }
    for (id, o) in open {
        let held = o.bound.map_or(0, |b| b.held_nano_usd);
        findings.push(finding(
            "I4",
            id,
            "an end for every hold".into(),
            format!("{held} nano-dollars held since {}", o.open_us),
            "a hold has no end and no gateway runs: start the gateway, which settles it at its bound",
        ));
    }
    Ok(findings)
}
