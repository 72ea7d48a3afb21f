use prost::Message;
use sqlx::{Row, SqlitePool, sqlite::SqliteRow};
use tollgate_proto::v1::{
    AuditFilter, AuditRecord, Budget, Key, LedgerEntry, LedgerEntryKind, SpendGroup, SpendRow, Usage,
};
use tollgate_store::{EntryQuery, Idempotency, Positions, SpendQuery, StoredKey};

use tollgate_domain::timestamp;

use crate::micros;

fn broken(what: impl std::error::Error + Send + Sync + 'static) -> sqlx::Error {
    sqlx::Error::Decode(Box::new(what))
}

pub(crate) async fn positions(readers: &SqlitePool) -> sqlx::Result<Positions> {
    let row = sqlx::query(
        "SELECT (SELECT applied FROM journal_position) AS journal,
                (SELECT coalesce(max(sequence), 0) FROM ledger_entry) AS ledger,
                (SELECT coalesce(max(sequence), 0) FROM audit_record) AS audit",
    )
    .fetch_one(readers)
    .await?;
    Ok(Positions {
        journal: row.try_get::<i64, _>("journal")? as u64,
        ledger: row.try_get("ledger")?,
        audit: row.try_get("audit")?,
    })
}

pub(crate) async fn keys(readers: &SqlitePool) -> sqlx::Result<Vec<StoredKey>> {
    let rows = sqlx::query("SELECT * FROM virtual_key ORDER BY create_time_us, id").fetch_all(readers).await?;
    rows.iter().map(key).collect()
}

fn key(row: &SqliteRow) -> sqlx::Result<StoredKey> {
    let key = Key {
        id: row.try_get("id")?,
        display_name: row.try_get("display_name")?,
        prefix: row.try_get("prefix")?,
        role: row.try_get("role")?,
        state: row.try_get("state")?,
        models: serde_json::from_str(row.try_get("models")?).map_err(broken)?,
        default_output_cap: row.try_get("default_output_cap")?,
        metadata: serde_json::from_str(row.try_get("metadata")?).map_err(broken)?,
        create_time: Some(timestamp(row.try_get("create_time_us")?)),
        update_time: Some(timestamp(row.try_get("update_time_us")?)),
        expire_time: row.try_get::<Option<i64>, _>("expire_time_us")?.map(timestamp),
        etag: row.try_get("etag")?,
    };
    Ok(StoredKey {
        key,
        digest: row.try_get("digest")?,
        old_digest: row.try_get("old_digest")?,
        old_until_us: row.try_get("old_until_us")?,
        request_id: row.try_get("request_id")?,
    })
}

pub(crate) async fn budgets(readers: &SqlitePool) -> sqlx::Result<Vec<Budget>> {
    let rows = sqlx::query("SELECT * FROM budget ORDER BY create_time_us, id").fetch_all(readers).await?;
    rows.iter()
        .map(|row| {
            Ok(Budget {
                id: row.try_get("id")?,
                key_id: row.try_get("key_id")?,
                limit_nano_usd: row.try_get("limit_nano_usd")?,
                enforcement: row.try_get("enforcement")?,
                spent_nano_usd: row.try_get("spent_nano_usd")?,
                held_nano_usd: 0,
                create_time: Some(timestamp(row.try_get("create_time_us")?)),
                update_time: Some(timestamp(row.try_get("update_time_us")?)),
                etag: row.try_get("etag")?,
            })
        })
        .collect()
}

pub(crate) async fn idempotency_since(readers: &SqlitePool, since_us: i64) -> sqlx::Result<Vec<(Idempotency, String)>> {
    let rows = sqlx::query(
        "SELECT idempotency, fingerprint, call_id FROM ledger_entry
         WHERE idempotency IS NOT NULL AND settle_time_us >= ? ORDER BY sequence",
    )
    .bind(since_us)
    .fetch_all(readers)
    .await?;
    rows.iter()
        .map(|row| {
            let idempotency =
                Idempotency { key: row.try_get("idempotency")?, fingerprint: row.try_get("fingerprint")? };
            Ok((idempotency, row.try_get("call_id")?))
        })
        .collect()
}

pub(crate) async fn entries(readers: &SqlitePool, query: &EntryQuery) -> sqlx::Result<Vec<LedgerEntry>> {
    // One statement per shape, so that each finds its index.
    let rows = match (&query.call_id, &query.key_id) {
        (Some(call_id), key_id) => sqlx::query(
            "SELECT * FROM ledger_entry WHERE call_id = ?1 AND (?2 IS NULL OR key_id = ?2) AND sequence > ?3
                 ORDER BY sequence LIMIT ?4",
        )
        .bind(call_id)
        .bind(key_id),
        (None, Some(key_id)) => {
            sqlx::query("SELECT * FROM ledger_entry WHERE key_id = ? AND sequence > ? ORDER BY sequence LIMIT ?")
                .bind(key_id)
        }
        (None, None) => sqlx::query("SELECT * FROM ledger_entry WHERE sequence > ? ORDER BY sequence LIMIT ?"),
    };
    let rows = rows.bind(query.after_sequence).bind(query.limit).fetch_all(readers).await?;
    rows.iter().map(entry).collect()
}

fn entry(row: &SqliteRow) -> sqlx::Result<LedgerEntry> {
    Ok(LedgerEntry {
        attempt_id: row.try_get("attempt_id")?,
        call_id: row.try_get("call_id")?,
        key_id: row.try_get("key_id")?,
        model: row.try_get("model")?,
        deployment: row.try_get("deployment")?,
        provider: row.try_get("provider")?,
        kind: row.try_get("kind")?,
        usage: Some(Usage::decode(row.try_get::<&[u8], _>("usage")?).map_err(broken)?),
        cost_nano_usd: row.try_get("cost_nano_usd")?,
        held_nano_usd: row.try_get("held_nano_usd")?,
        low_nano_usd: row.try_get("low_nano_usd")?,
        high_nano_usd: row.try_get("high_nano_usd")?,
        price_version: row.try_get("price_version")?,
        settle_time: Some(timestamp(row.try_get("settle_time_us")?)),
        outcome: row.try_get("outcome")?,
        sequence: row.try_get("sequence")?,
    })
}

/// The columns of a spend row for one grouping expression.
macro_rules! spend_by {
    ($group:literal) => {
        concat!(
            "SELECT ",
            $group,
            " AS grp, count(*) AS entries, sum(cost_nano_usd) AS cost,
                sum(CASE WHEN kind = ?1 THEN 0 ELSE cost_nano_usd END) AS estimated,
                sum(input_tokens) AS input_tokens, sum(output_tokens) AS output_tokens
             FROM ledger_entry
             WHERE settle_time_us >= ?2 AND settle_time_us < ?3 AND (?4 IS NULL OR key_id = ?4) GROUP BY grp"
        )
    };
}

pub(crate) async fn spend(readers: &SqlitePool, query: &SpendQuery) -> sqlx::Result<Vec<SpendRow>> {
    let statement = match query.group_by {
        SpendGroup::Unspecified => spend_by!("''"),
        SpendGroup::Key => spend_by!("key_id"),
        SpendGroup::Model => spend_by!("model"),
        SpendGroup::Provider => spend_by!("provider"),
        SpendGroup::Day => spend_by!("strftime('%Y-%m-%d', settle_time_us / 1000000, 'unixepoch')"),
    };
    let rows = sqlx::query(statement)
        .bind(LedgerEntryKind::Exact as i32)
        .bind(query.start_us)
        .bind(query.end_us)
        .bind(&query.key_id)
        .fetch_all(readers)
        .await?;
    rows.iter()
        .map(|row| {
            Ok(SpendRow {
                group: row.try_get("grp")?,
                entries: row.try_get("entries")?,
                cost_nano_usd: row.try_get("cost")?,
                estimated_nano_usd: row.try_get("estimated")?,
                input_tokens: row.try_get("input_tokens")?,
                output_tokens: row.try_get("output_tokens")?,
            })
        })
        .collect()
}

pub(crate) async fn records(
    readers: &SqlitePool,
    filter: &AuditFilter,
    after_sequence: i64,
    limit: i64,
) -> sqlx::Result<Vec<AuditRecord>> {
    let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let rows = sqlx::query(
        "SELECT record FROM audit_record
         WHERE sequence > ?1 AND (?2 IS NULL OR key_id = ?2) AND substr(action, 1, length(?3)) = ?3
           AND (?4 IS NULL OR call_id = ?4) AND time_us >= ?5 AND time_us < ?6
         ORDER BY sequence LIMIT ?7",
    )
    .bind(after_sequence)
    .bind(given(&filter.key_id))
    .bind(&filter.action_prefix)
    .bind(given(&filter.call_id))
    .bind(micros(filter.start_time.as_ref()))
    .bind(filter.end_time.as_ref().map_or(i64::MAX, |t| micros(Some(t))))
    .bind(limit)
    .fetch_all(readers)
    .await?;
    rows.iter().map(|row| AuditRecord::decode(row.try_get::<&[u8], _>("record")?).map_err(broken)).collect()
}
