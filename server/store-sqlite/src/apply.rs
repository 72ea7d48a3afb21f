use std::collections::{BTreeMap, HashSet};

use prost::Message;
use sqlx::{QueryBuilder, Sqlite, SqlitePool, Transaction};
use tollgate_proto::v1::{AuditRecord, Budget};
use tollgate_store::{Batch, Change, LedgerRow, StoredKey};

use crate::micros;

type Tx<'a> = Transaction<'a, Sqlite>;

pub(crate) async fn apply(writer: &SqlitePool, batch: &Batch) -> sqlx::Result<()> {
    let mut tx = writer.begin().await?;
    let (mut rows, mut records) = (Vec::new(), Vec::new());
    for change in &batch.changes {
        match change {
            Change::Key(key) => put_key(&mut tx, key).await?,
            Change::Budget(budget) => put_budget(&mut tx, budget).await?,
            Change::BudgetDeleted(id) => {
                sqlx::query("DELETE FROM budget WHERE id = ?").bind(id).execute(&mut *tx).await?;
            }
            Change::Entry(row) => rows.push(&**row),
            Change::Record(record) => records.push(&**record),
        }
    }
    let mut spent: BTreeMap<&str, i64> = BTreeMap::new();
    for rows in chunks(&rows) {
        let new = append_entries(&mut tx, rows).await?;
        for row in rows.iter().filter(|r| new.contains(&r.entry.attempt_id)) {
            for id in &row.budget_ids {
                let sum = spent.entry(id).or_default();
                *sum = sum.saturating_add(row.entry.cost_nano_usd);
            }
        }
    }
    for (id, cost) in spent {
        sqlx::query("UPDATE budget SET spent_nano_usd = spent_nano_usd + ? WHERE id = ?")
            .bind(cost)
            .bind(id)
            .execute(&mut *tx)
            .await?;
    }
    for records in chunks(&records) {
        append_records(&mut tx, records).await?;
    }
    sqlx::query("UPDATE journal_position SET applied = max(applied, ?)")
        .bind(batch.through as i64)
        .execute(&mut *tx)
        .await?;
    tx.commit().await
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

async fn put_key(tx: &mut Tx<'_>, stored: &StoredKey) -> sqlx::Result<()> {
    let key = &stored.key;
    sqlx::query(
        "INSERT OR REPLACE INTO virtual_key (id, display_name, prefix, role, state, models, default_output_cap, metadata,
             create_time_us, update_time_us, expire_time_us, etag, digest, old_digest, old_until_us, request_id)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(&key.id)
    .bind(&key.display_name)
    .bind(&key.prefix)
    .bind(key.role)
    .bind(key.state)
    .bind(serde_json::json!(key.models).to_string())
    .bind(key.default_output_cap)
    .bind(serde_json::json!(key.metadata).to_string())
    .bind(micros(key.create_time.as_ref()))
    .bind(micros(key.update_time.as_ref()))
    .bind(key.expire_time.as_ref().map(|t| micros(Some(t))))
    .bind(&key.etag)
    .bind(&stored.digest)
    .bind(&stored.old_digest)
    .bind(stored.old_until_us)
    .bind(&stored.request_id)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

async fn put_budget(tx: &mut Tx<'_>, budget: &Budget) -> sqlx::Result<()> {
    // Spend is moved by entries alone: a change of the limit that is applied late cannot undo it.
    sqlx::query(
        "INSERT INTO budget (id, key_id, limit_nano_usd, enforcement, spent_nano_usd, create_time_us, update_time_us, etag)
         VALUES (?, ?, ?, ?, 0, ?, ?, ?)
         ON CONFLICT (id) DO UPDATE SET limit_nano_usd = excluded.limit_nano_usd, enforcement = excluded.enforcement,
             update_time_us = excluded.update_time_us, etag = excluded.etag",
    )
    .bind(&budget.id)
    .bind(&budget.key_id)
    .bind(budget.limit_nano_usd)
    .bind(budget.enforcement)
    .bind(micros(budget.create_time.as_ref()))
    .bind(micros(budget.update_time.as_ref()))
    .bind(&budget.etag)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Appends those that are new and tells which they were.
async fn append_entries(tx: &mut Tx<'_>, rows: &[&LedgerRow]) -> sqlx::Result<HashSet<String>> {
    let mut insert = QueryBuilder::new(
        "INSERT INTO ledger_entry (sequence, attempt_id, call_id, key_id, model, deployment, provider, kind, input_tokens,
             output_tokens, usage, cost_nano_usd, held_nano_usd, low_nano_usd, high_nano_usd, price_version, settle_time_us,
             outcome, budget_ids, idempotency, fingerprint) ",
    );
    insert.push_values(rows, |mut values, row| {
        let entry = &row.entry;
        let usage = entry.usage.clone().unwrap_or_default();
        values
            .push_bind(entry.sequence)
            .push_bind(&entry.attempt_id)
            .push_bind(&entry.call_id)
            .push_bind(&entry.key_id)
            .push_bind(&entry.model)
            .push_bind(&entry.deployment)
            .push_bind(&entry.provider)
            .push_bind(entry.kind)
            .push_bind(usage.input.map_or(0, |i| i.total) as i64)
            .push_bind(usage.output.map_or(0, |o| o.total) as i64)
            .push_bind(usage.encode_to_vec())
            .push_bind(entry.cost_nano_usd)
            .push_bind(entry.held_nano_usd)
            .push_bind(entry.low_nano_usd)
            .push_bind(entry.high_nano_usd)
            .push_bind(&entry.price_version)
            .push_bind(micros(entry.settle_time.as_ref()))
            .push_bind(&entry.outcome)
            .push_bind(serde_json::json!(row.budget_ids).to_string())
            .push_bind(row.idempotency.as_ref().map(|i| i.key.clone()))
            .push_bind(row.idempotency.as_ref().map(|i| i.fingerprint.clone()));
    });
    insert.push(" ON CONFLICT (attempt_id) DO NOTHING RETURNING attempt_id");
    let new = insert.build_query_scalar::<String>().fetch_all(&mut **tx).await?;
    Ok(new.into_iter().collect())
}

async fn append_records(tx: &mut Tx<'_>, records: &[&AuditRecord]) -> sqlx::Result<()> {
    let mut insert =
        QueryBuilder::new("INSERT INTO audit_record (sequence, time_us, action, key_id, call_id, record) ");
    insert.push_values(records, |mut values, record| {
        values
            .push_bind(record.sequence)
            .push_bind(micros(record.time.as_ref()))
            .push_bind(&record.action)
            .push_bind(&record.key_id)
            .push_bind(&record.call_id)
            .push_bind(record.encode_to_vec());
    });
    insert.push(" ON CONFLICT (sequence) DO NOTHING");
    insert.build().execute(&mut **tx).await?;
    Ok(())
}
