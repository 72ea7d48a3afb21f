use async_trait::async_trait;
use sqlx::{Sqlite, Transaction};
use tollgate_store::{ALONE, AuditLogs, Head, Lead, Result, RootGrowth, StoredLog, filled, tile_root};
use tollgate_tlog::{Hash, ROOT_LOG, Row, Span, TILE_WIDTH, leaf_hash};

use crate::{SqliteStore, failed};

type Tx<'a> = Transaction<'a, Sqlite>;

/// So many records of a version without a log are taken into it at once.
const AT_ONCE: i64 = 4_096;

fn hash(bytes: &[u8]) -> sqlx::Result<Hash> {
    Hash::from_slice(bytes).ok_or_else(|| sqlx::Error::Decode("a hash of the audit log has not 32 bytes".into()))
}

/// The hashes of a span of the records, or of the tiles above them.
async fn hashes<'e>(db: impl sqlx::Executor<'e, Database = Sqlite>, log: &str, span: Span) -> sqlx::Result<Vec<Hash>> {
    let (first, end) = (span.first as i64, span.first as i64 + i64::from(span.count));
    let rows: Vec<Vec<u8>> = match (span.level, log) {
        (0, ROOT_LOG) => {
            sqlx::query_scalar(
                "SELECT leaf_hash FROM audit_root WHERE position >= ? AND position < ? ORDER BY position",
            )
            .bind(first)
            .bind(end)
            .fetch_all(db)
            .await?
        }
        (0, _) => {
            sqlx::query_scalar(
                "SELECT leaf_hash FROM audit_record WHERE sequence > ? AND sequence <= ? AND leaf_hash IS NOT NULL
                 ORDER BY sequence",
            )
            .bind(first)
            .bind(end)
            .fetch_all(db)
            .await?
        }
        (level, _) => {
            sqlx::query_scalar(
                "SELECT hash FROM audit_node WHERE log = ? AND level = ? AND position >= ? AND position < ?
                 ORDER BY position",
            )
            .bind(log)
            .bind(level)
            .bind(first)
            .bind(end)
            .fetch_all(db)
            .await?
        }
    };
    rows.iter().map(|bytes| hash(bytes)).collect()
}

async fn put_node(tx: &mut Tx<'_>, log: &str, row: &Row) -> sqlx::Result<()> {
    sqlx::query("INSERT INTO audit_node (log, level, position, hash) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING")
        .bind(log)
        .bind(row.level)
        .bind(row.index as i64)
        .bind(row.hash.0.as_slice())
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Writes the roots of the tiles that the records `first..end` (from 0) fill.
pub(crate) async fn fill_tiles(tx: &mut Tx<'_>, first: u64, end: u64) -> sqlx::Result<()> {
    for tile in filled(first, end) {
        let (mut level, mut index) = (0, tile);
        loop {
            let span = Span { level, first: index * TILE_WIDTH, count: TILE_WIDTH as u16 };
            let full = hashes(&mut **tx, ALONE, span).await?;
            if full.len() as u64 != TILE_WIDTH {
                break;
            }
            put_node(tx, ALONE, &Row { level: level + 1, index, hash: tile_root(&full) }).await?;
            if (index + 1) % TILE_WIDTH != 0 {
                break;
            }
            (level, index) = (level + 1, index / TILE_WIDTH);
        }
    }
    Ok(())
}

/// Takes the records into the log that a version without one wrote.
pub(crate) async fn integrate(store: &SqliteStore) -> sqlx::Result<()> {
    loop {
        let mut tx = store.writer.begin().await?;
        let rows: Vec<(i64, Vec<u8>)> = sqlx::query_as(
            "SELECT sequence, record FROM audit_record WHERE leaf_hash IS NULL ORDER BY sequence LIMIT ?",
        )
        .bind(AT_ONCE)
        .fetch_all(&mut *tx)
        .await?;
        let (Some((first, _)), Some((last, _))) = (rows.first(), rows.last()) else { return Ok(()) };
        for (sequence, record) in &rows {
            sqlx::query("UPDATE audit_record SET leaf_hash = ? WHERE sequence = ?")
                .bind(leaf_hash(record).0.as_slice())
                .bind(sequence)
                .execute(&mut *tx)
                .await?;
        }
        fill_tiles(&mut tx, (*first - 1) as u64, *last as u64).await?;
        tx.commit().await?;
    }
}

async fn grow(store: &SqliteStore, growth: &RootGrowth) -> sqlx::Result<bool> {
    let mut tx = store.writer.begin().await?;
    let size: i64 =
        sqlx::query_scalar("SELECT coalesce(max(position) + 1, 0) FROM audit_root").fetch_one(&mut *tx).await?;
    if size as u64 != growth.from {
        return Ok(false);
    }
    for (position, leaf) in (size..).zip(&growth.leaves) {
        sqlx::query("INSERT INTO audit_root (position, entry, leaf_hash) VALUES (?, ?, ?)")
            .bind(position)
            .bind(leaf)
            .bind(leaf_hash(leaf).0.as_slice())
            .execute(&mut *tx)
            .await?;
    }
    for row in &growth.rows {
        put_node(&mut tx, ROOT_LOG, row).await?;
    }
    for head in &growth.heads {
        sqlx::query(
            "INSERT INTO audit_head (log, size, note, closed) VALUES (?, ?, ?, ?)
             ON CONFLICT (log) DO UPDATE SET size = excluded.size, note = excluded.note, closed = excluded.closed",
        )
        .bind(&head.log)
        .bind(head.size as i64)
        .bind(&head.note)
        .bind(head.closed)
        .execute(&mut *tx)
        .await?;
    }
    tx.commit().await?;
    Ok(true)
}

#[async_trait]
impl AuditLogs for SqliteStore {
    async fn audit_logs(&self) -> Result<Vec<StoredLog>> {
        let size: Option<i64> = sqlx::query_scalar("SELECT max(sequence) FROM audit_record")
            .fetch_one(&self.readers)
            .await
            .map_err(failed)?;
        Ok(size.map(|size| StoredLog { replica: ALONE.into(), size: size as u64 }).into_iter().collect())
    }

    async fn root_size(&self) -> Result<u64> {
        let size: i64 = sqlx::query_scalar("SELECT coalesce(max(position) + 1, 0) FROM audit_root")
            .fetch_one(&self.readers)
            .await
            .map_err(failed)?;
        Ok(size as u64)
    }

    async fn leaves(&self, log: &str, first: u64, limit: u64) -> Result<Vec<Vec<u8>>> {
        let of_log = match log {
            ROOT_LOG => "SELECT entry FROM audit_root WHERE position >= ? ORDER BY position LIMIT ?",
            _ => "SELECT record FROM audit_record WHERE sequence > ? ORDER BY sequence LIMIT ?",
        };
        let leaves = sqlx::query_scalar(of_log).bind(first as i64).bind(i64::try_from(limit).unwrap_or(i64::MAX));
        leaves.fetch_all(&self.readers).await.map_err(failed)
    }

    async fn hashes(&self, log: &str, span: Span) -> Result<Vec<Hash>> {
        hashes(&self.readers, log, span).await.map_err(failed)
    }

    async fn grow_root(&self, growth: &RootGrowth) -> Result<bool> {
        grow(self, growth).await.map_err(failed)
    }

    async fn heads(&self) -> Result<Vec<Head>> {
        let rows: Vec<(String, i64, String, bool)> =
            sqlx::query_as("SELECT log, size, note, closed FROM audit_head ORDER BY log")
                .fetch_all(&self.readers)
                .await
                .map_err(failed)?;
        Ok(rows.into_iter().map(|(log, size, note, closed)| Head { log, size: size as u64, note, closed }).collect())
    }

    async fn lead_export(&self) -> Result<Option<Lead>> {
        // There is no other replica.
        Ok(Some(Box::new(())))
    }
}
