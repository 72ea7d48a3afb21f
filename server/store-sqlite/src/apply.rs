use prost::Message;
use sqlx::{Sqlite, SqlitePool, Transaction};
use tollgate_proto::v1::{AuditRecord, Budget};
use tollgate_store::{Batch, Change, LedgerRow, StoredKey};

use crate::micros;

type Tx<'a> = Transaction<'a, Sqlite>;

pub(crate) async fn apply(writer: &SqlitePool, batch: &Batch) -> sqlx::Result<()> {
    let mut tx = writer.begin().await?;
    for change in &batch.changes {
        match change {
            Change::Key(key) => put_key(&mut tx, key).await?,
            Change::Budget(budget) => put_budget(&mut tx, budget).await?,
            Change::BudgetDeleted(id) => {
                sqlx::query("DELETE FROM budget WHERE id = ?").bind(id).execute(&mut *tx).await?;
            }
            Change::Entry(row) => append_entry(&mut tx, row).await?,
            Change::Record(record) => append_record(&mut tx, record).await?,
        }
    }
    sqlx::query("UPDATE journal_position SET applied = max(applied, ?)")
        .bind(batch.through as i64)
        .execute(&mut *tx)
        .await?;
    tx.commit().await
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

async fn append_entry(tx: &mut Tx<'_>, row: &LedgerRow) -> sqlx::Result<()> {
    let entry = &row.entry;
    let usage = entry.usage.clone().unwrap_or_default();
    let inserted = sqlx::query(
        "INSERT INTO ledger_entry (sequence, attempt_id, call_id, key_id, model, deployment, provider, kind, input_tokens,
             output_tokens, usage, cost_nano_usd, held_nano_usd, low_nano_usd, high_nano_usd, price_version, settle_time_us,
             outcome, budget_ids, idempotency, fingerprint)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT (attempt_id) DO NOTHING",
    )
    .bind(entry.sequence)
    .bind(&entry.attempt_id)
    .bind(&entry.call_id)
    .bind(&entry.key_id)
    .bind(&entry.model)
    .bind(&entry.deployment)
    .bind(&entry.provider)
    .bind(entry.kind)
    .bind(usage.input.map_or(0, |i| i.total) as i64)
    .bind(usage.output.map_or(0, |o| o.total) as i64)
    .bind(usage.encode_to_vec())
    .bind(entry.cost_nano_usd)
    .bind(entry.held_nano_usd)
    .bind(entry.low_nano_usd)
    .bind(entry.high_nano_usd)
    .bind(&entry.price_version)
    .bind(micros(entry.settle_time.as_ref()))
    .bind(&entry.outcome)
    .bind(serde_json::json!(row.budget_ids).to_string())
    .bind(row.idempotency.as_ref().map(|i| &i.key))
    .bind(row.idempotency.as_ref().map(|i| &i.fingerprint))
    .execute(&mut **tx)
    .await?;
    if inserted.rows_affected() == 1 {
        for id in &row.budget_ids {
            sqlx::query("UPDATE budget SET spent_nano_usd = spent_nano_usd + ? WHERE id = ?")
                .bind(entry.cost_nano_usd)
                .bind(id)
                .execute(&mut **tx)
                .await?;
        }
    }
    Ok(())
}

async fn append_record(tx: &mut Tx<'_>, record: &AuditRecord) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO audit_record (sequence, time_us, action, key_id, call_id, record) VALUES (?, ?, ?, ?, ?, ?)
         ON CONFLICT (sequence) DO NOTHING",
    )
    .bind(record.sequence)
    .bind(micros(record.time.as_ref()))
    .bind(&record.action)
    .bind(&record.key_id)
    .bind(&record.call_id)
    .bind(record.encode_to_vec())
    .execute(&mut **tx)
    .await?;
    Ok(())
}
