use std::collections::HashSet;

use prost::Message;
use sqlx::{QueryBuilder, Sqlite, SqlitePool, Transaction};
use tollgate_proto::v1::{AuditRecord, BudgetAlert};
use tollgate_store::{AlertRule, Batch, Change, LedgerRow, Object, PutOutcome, Rollup, Sums, raise_alerts};
use tollgate_tlog::leaf_hash;

use crate::{audit_log::fill_tiles, bodies, micros};

type Tx<'a> = Transaction<'a, Sqlite>;

pub(crate) async fn apply(writer: &SqlitePool, batch: &Batch) -> sqlx::Result<Vec<BudgetAlert>> {
    let mut tx = writer.begin().await?;
    let (mut rows, mut records, mut bodies, mut erasures) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for change in &batch.changes {
        match change {
            Change::Object(object) => put_object(&mut tx, object).await?,
            Change::Entry(row) => rows.push(&**row),
            Change::Record(record) => records.push(&**record),
            Change::Body(body) => bodies.push(&**body),
            Change::Erasure(erasure) => erasures.push(&**erasure),
        }
    }
    let mut new = HashSet::new();
    for rows in chunks(&rows) {
        new.extend(append_entries(&mut tx, rows).await?);
    }
    // A batch that holds an attempt twice counts it once as well.
    let mut first = HashSet::new();
    let rollup = Rollup::of(
        rows.iter()
            .filter(|r| {
                let is_new = new.contains(&r.entry.attempt_id) && first.insert(r.entry.attempt_id.as_str());
                is_new || tollgate_planted::bug("entry_counted_twice")
            })
            .copied(),
    );
    let alerts = move_balances(&mut tx, &rollup, batch).await?;
    move_spend(&mut tx, &rollup).await?;
    for records in chunks(&records) {
        append_records(&mut tx, records).await?;
    }
    if let (Some(first), Some(last)) = (records.first(), records.last()) {
        fill_tiles(&mut tx, (first.sequence.max(1) - 1) as u64, last.sequence.max(0) as u64).await?;
    }
    bodies::append(&mut tx, &bodies).await?;
    bodies::erase(&mut tx, &erasures).await?;
    sqlx::query("UPDATE journal_position SET applied = max(applied, ?)")
        .bind(batch.through as i64)
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    if !erasures.is_empty() {
        bodies::wipe(writer).await?;
    }
    Ok(alerts)
}

pub(crate) async fn put(writer: &SqlitePool, objects: &[(Object, i64)]) -> sqlx::Result<PutOutcome> {
    let mut tx = writer.begin().await?;
    for (object, expected) in objects {
        let version: Option<i64> = sqlx::query_scalar("SELECT version FROM object WHERE kind = ? AND id = ?")
            .bind(object.kind())
            .bind(object.id())
            .fetch_optional(&mut *tx)
            .await?;
        if version.unwrap_or(0) != *expected {
            return Ok(PutOutcome::Conflict);
        }
        put_object(&mut tx, object).await?;
    }
    tx.commit().await?;
    Ok(PutOutcome::Done)
}

/// Pieces of a few fixed sizes: each size is one prepared statement, and a statement is one trip to SQLite's thread.
fn chunks<T>(mut items: &[T]) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let size = [128, 16, 4, 1].into_iter().find(|size| *size <= items.len())?;
        let (chunk, rest) = items.split_at(size);
        items = rest;
        Some(chunk)
    })
}

async fn put_object(tx: &mut Tx<'_>, object: &Object) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO object (kind, id, version, object)
         VALUES (?1, ?2, (SELECT coalesce(max(version), 0) + 1 FROM object), ?3)
         ON CONFLICT (kind, id) DO UPDATE SET version = excluded.version, object = excluded.object",
    )
    .bind(object.kind())
    .bind(object.id())
    .bind(object.encode_to_vec())
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Appends those that are new and tells which they were.
async fn append_entries(tx: &mut Tx<'_>, rows: &[&LedgerRow]) -> sqlx::Result<Vec<String>> {
    let mut insert = QueryBuilder::new(
        "INSERT INTO ledger_entry (sequence, attempt_id, call_id, key_id, organization_id, team_id, user_id, customer, tags, model,
             provider, kind, input_tokens, output_tokens, cost_nano_usd, saved_nano_usd, settle_time_us, entry, idempotency,
             fingerprint) ",
    );
    insert.push_values(rows, |mut values, row| {
        let entry = &row.entry;
        let sums = Sums::of(entry);
        values
            .push_bind(entry.sequence)
            .push_bind(&entry.attempt_id)
            .push_bind(&entry.call_id)
            .push_bind(&entry.key_id)
            .push_bind(&entry.organization_id)
            .push_bind(&entry.team_id)
            .push_bind(&entry.user_id)
            .push_bind(&entry.customer)
            .push_bind(serde_json::json!(entry.tags).to_string())
            .push_bind(&entry.model)
            .push_bind(&entry.provider)
            .push_bind(entry.kind)
            .push_bind(sums.input_tokens)
            .push_bind(sums.output_tokens)
            .push_bind(entry.cost_nano_usd)
            .push_bind(entry.saved_nano_usd)
            .push_bind(micros(entry.settle_time.as_ref()))
            .push_bind(entry.encode_to_vec())
            .push_bind(row.idempotency.as_ref().map(|i| i.key.clone()))
            .push_bind(row.idempotency.as_ref().map(|i| i.fingerprint.clone()));
    });
    insert.push(" ON CONFLICT (attempt_id) DO NOTHING RETURNING attempt_id");
    insert.build_query_scalar::<String>().fetch_all(&mut **tx).await
}

async fn move_balances(tx: &mut Tx<'_>, rollup: &Rollup, batch: &Batch) -> sqlx::Result<Vec<BudgetAlert>> {
    let mut alerts = Vec::new();
    for ((budget_id, window), spent) in &rollup.balances {
        let now: i64 = sqlx::query_scalar(
            "INSERT INTO balance (budget_id, window, spent_nano_usd) VALUES (?1, ?2, ?3)
             ON CONFLICT (budget_id, window) DO UPDATE SET spent_nano_usd = spent_nano_usd + excluded.spent_nano_usd
             RETURNING spent_nano_usd",
        )
        .bind(budget_id)
        .bind(window)
        .bind(spent)
        .fetch_one(&mut **tx)
        .await?;
        let Some(rule) = batch.rules.get(budget_id) else { continue };
        let total = rolling_total(tx, budget_id, rule).await?.unwrap_or(now);
        for alert in raise_alerts(budget_id, *window, total, rule, batch) {
            if keep_alert(tx, &alert).await? {
                alerts.push(alert);
            }
        }
    }
    Ok(alerts)
}

async fn rolling_total(tx: &mut Tx<'_>, budget_id: &str, rule: &AlertRule) -> sqlx::Result<Option<i64>> {
    let Some(from) = rule.rolling_from else { return Ok(None) };
    sqlx::query_scalar("SELECT sum(spent_nano_usd) FROM balance WHERE budget_id = ? AND window >= ?")
        .bind(budget_id)
        .bind(from)
        .fetch_one(&mut **tx)
        .await
}

/// Whether the alert is new.
async fn keep_alert(tx: &mut Tx<'_>, alert: &BudgetAlert) -> sqlx::Result<bool> {
    let done = sqlx::query(
        "INSERT INTO budget_alert (budget_id, window, percent, alert) VALUES (?, ?, ?, ?)
         ON CONFLICT (budget_id, window, percent) DO NOTHING",
    )
    .bind(&alert.budget_id)
    .bind(alert.window)
    .bind(alert.percent)
    .bind(alert.encode_to_vec())
    .execute(&mut **tx)
    .await?;
    Ok(done.rows_affected() > 0 || tollgate_planted::bug("alert_twice"))
}

async fn move_spend(tx: &mut Tx<'_>, rollup: &Rollup) -> sqlx::Result<()> {
    for (cell, sums) in &rollup.cells {
        let insert = sqlx::query(
            "INSERT INTO spend_cell VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
             ON CONFLICT DO UPDATE SET entries = entries + excluded.entries, cost_nano_usd = cost_nano_usd + excluded.cost_nano_usd,
                 estimated_nano_usd = estimated_nano_usd + excluded.estimated_nano_usd,
                 input_tokens = input_tokens + excluded.input_tokens, output_tokens = output_tokens + excluded.output_tokens,
                 saved_nano_usd = saved_nano_usd + excluded.saved_nano_usd",
        )
        .bind(cell.day)
        .bind(&cell.key_id)
        .bind(&cell.organization_id)
        .bind(&cell.team_id)
        .bind(&cell.user_id)
        .bind(&cell.model)
        .bind(&cell.provider);
        bind_sums(insert, sums).execute(&mut **tx).await?;
    }
    for (label, sums) in &rollup.labels {
        let insert = sqlx::query(
            "INSERT INTO spend_label VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
             ON CONFLICT DO UPDATE SET entries = entries + excluded.entries, cost_nano_usd = cost_nano_usd + excluded.cost_nano_usd,
                 estimated_nano_usd = estimated_nano_usd + excluded.estimated_nano_usd,
                 input_tokens = input_tokens + excluded.input_tokens, output_tokens = output_tokens + excluded.output_tokens,
                 saved_nano_usd = saved_nano_usd + excluded.saved_nano_usd",
        )
        .bind(label.day)
        .bind(label.kind)
        .bind(&label.value)
        .bind(&label.key_id)
        .bind(&label.organization_id)
        .bind(&label.team_id)
        .bind(&label.user_id);
        bind_sums(insert, sums).execute(&mut **tx).await?;
    }
    Ok(())
}

type Insert<'q> = sqlx::query::Query<'q, Sqlite, sqlx::sqlite::SqliteArguments>;

fn bind_sums<'q>(insert: Insert<'q>, sums: &Sums) -> Insert<'q> {
    insert
        .bind(sums.entries)
        .bind(sums.cost)
        .bind(sums.estimated)
        .bind(sums.input_tokens)
        .bind(sums.output_tokens)
        .bind(sums.saved)
}

async fn append_records(tx: &mut Tx<'_>, records: &[&AuditRecord]) -> sqlx::Result<()> {
    let mut insert =
        QueryBuilder::new("INSERT INTO audit_record (sequence, time_us, action, key_id, call_id, leaf_hash, record) ");
    insert.push_values(records, |mut values, record| {
        let bytes = record.encode_to_vec();
        values
            .push_bind(record.sequence)
            .push_bind(micros(record.time.as_ref()))
            .push_bind(&record.action)
            .push_bind(&record.key_id)
            .push_bind(&record.call_id)
            .push_bind(leaf_hash(&bytes).0.to_vec())
            .push_bind(bytes);
    });
    insert.push(" ON CONFLICT (sequence) DO NOTHING");
    insert.build().execute(&mut **tx).await?;
    Ok(())
}
