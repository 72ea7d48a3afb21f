use async_trait::async_trait;
use sqlx::{PgConnection, PgExecutor};
use tollgate_store::{AuditLogs, Head, Lead, Result, RootGrowth, StoredLog, filled, tile_root};
use tollgate_tlog::{Hash, ROOT_LOG, Row, Span, TILE_WIDTH, leaf_hash};

use crate::{PostgresStore, failed};

/// The replicas that have records and how many, by steps over the index: a table of many millions has few replicas.
const LOGS: &str = "WITH RECURSIVE log AS (
         (SELECT replica FROM audit_record ORDER BY replica LIMIT 1)
         UNION ALL
         SELECT (SELECT replica FROM audit_record AS next WHERE next.replica > log.replica ORDER BY replica LIMIT 1)
         FROM log WHERE log.replica IS NOT NULL)
     SELECT replica, (SELECT max(sequence) FROM audit_record AS last WHERE last.replica = log.replica) AS size
     FROM log WHERE replica IS NOT NULL ORDER BY replica";

/// Names the lock under which the root log grows.
const ROOT: i64 = 0x746f_6c6c_726f_6f74;

/// Names the lock of whoever exports.
const EXPORT: i64 = 0x746f_6c6c_6578_706f;

fn hash(bytes: &[u8]) -> sqlx::Result<Hash> {
    Hash::from_slice(bytes).ok_or_else(|| sqlx::Error::Decode("a hash of the audit log has not 32 bytes".into()))
}

/// The hashes of a span of the records, or of the tiles above them. A replica of a version without a log may still run: what it appends has
/// no hash yet.
async fn hashes(db: impl PgExecutor<'_>, log: &str, span: Span) -> sqlx::Result<Vec<Hash>> {
    let (first, end) = (span.first as i64, span.first as i64 + i64::from(span.count));
    let of_level = match (span.level, log) {
        (0, ROOT_LOG) => {
            "SELECT leaf_hash FROM audit_root WHERE $1 = 'root' AND $2 = 0 AND position >= $3 AND position < $4
             ORDER BY position"
        }
        (0, _) => {
            "SELECT coalesce(leaf_hash, sha256('\\x00'::bytea || record)) FROM audit_record
             WHERE replica = $1 AND $2 = 0 AND sequence > $3 AND sequence <= $4 ORDER BY sequence"
        }
        _ => {
            "SELECT hash FROM audit_node WHERE log = $1 AND level = $2 AND position >= $3 AND position < $4
             ORDER BY position"
        }
    };
    let rows: Vec<Vec<u8>> =
        sqlx::query_scalar(of_level).bind(log).bind(i32::from(span.level)).bind(first).bind(end).fetch_all(db).await?;
    rows.iter().map(|bytes| hash(bytes)).collect()
}

async fn put_node(tx: &mut PgConnection, log: &str, row: &Row) -> sqlx::Result<()> {
    sqlx::query("INSERT INTO audit_node (log, level, position, hash) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING")
        .bind(log)
        .bind(i32::from(row.level))
        .bind(row.index as i64)
        .bind(row.hash.0.as_slice())
        .execute(tx)
        .await?;
    Ok(())
}

/// Writes the roots of the tiles that the records `first..end` (from 0) of a replica fill.
pub(crate) async fn fill_tiles(tx: &mut PgConnection, replica: &str, first: u64, end: u64) -> sqlx::Result<()> {
    for tile in filled(first, end) {
        let (mut level, mut index) = (0, tile);
        loop {
            let span = Span { level, first: index * TILE_WIDTH, count: TILE_WIDTH as u16 };
            let full = hashes(&mut *tx, replica, span).await?;
            if full.len() as u64 != TILE_WIDTH {
                break;
            }
            put_node(tx, replica, &Row { level: level + 1, index, hash: tile_root(&full) }).await?;
            if (index + 1) % TILE_WIDTH != 0 {
                break;
            }
            (level, index) = (level + 1, index / TILE_WIDTH);
        }
    }
    Ok(())
}

/// Writes the roots of tiles of which a version without a log appended records, of this replica and of those that run no more.
pub(crate) async fn integrate(store: &PostgresStore) -> sqlx::Result<()> {
    let logs: Vec<(String, i64)> = sqlx::query_as(LOGS).fetch_all(&store.pool).await?;
    for (replica, size) in logs {
        let tiles: i64 = sqlx::query_scalar("SELECT count(*) FROM audit_node WHERE log = $1 AND level = 1")
            .bind(&replica)
            .fetch_one(&store.pool)
            .await?;
        let (mut first, size) = (tiles as u64 * TILE_WIDTH, size as u64);
        while first + TILE_WIDTH <= size {
            let end = (first + 16 * TILE_WIDTH).min(size);
            let mut tx = store.pool.begin().await?;
            fill_tiles(&mut tx, &replica, first, end).await?;
            tx.commit().await?;
            first = end / TILE_WIDTH * TILE_WIDTH;
        }
    }
    Ok(())
}

async fn grow(store: &PostgresStore, growth: &RootGrowth) -> sqlx::Result<bool> {
    let mut tx = store.pool.begin().await?;
    sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(ROOT).execute(&mut *tx).await?;
    let size: i64 =
        sqlx::query_scalar("SELECT coalesce(max(position) + 1, 0) FROM audit_root").fetch_one(&mut *tx).await?;
    if size as u64 != growth.from {
        return Ok(false);
    }
    for (position, leaf) in (size..).zip(&growth.leaves) {
        sqlx::query("INSERT INTO audit_root (position, entry, leaf_hash) VALUES ($1, $2, $3)")
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
            "INSERT INTO audit_head (log, size, note, closed) VALUES ($1, $2, $3, $4)
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
impl AuditLogs for PostgresStore {
    async fn audit_logs(&self) -> Result<Vec<StoredLog>> {
        self.ensure_begun().await?;
        let rows: Vec<(String, i64)> = sqlx::query_as(LOGS).fetch_all(&self.pool).await.map_err(failed)?;
        Ok(rows.into_iter().map(|(replica, size)| StoredLog { replica, size: size as u64 }).collect())
    }

    async fn root_size(&self) -> Result<u64> {
        self.ensure_begun().await?;
        let size: i64 = sqlx::query_scalar("SELECT coalesce(max(position) + 1, 0) FROM audit_root")
            .fetch_one(&self.pool)
            .await
            .map_err(failed)?;
        Ok(size as u64)
    }

    async fn leaves(&self, log: &str, first: u64, limit: u64) -> Result<Vec<Vec<u8>>> {
        self.ensure_begun().await?;
        let of_log = match log {
            ROOT_LOG => "SELECT entry FROM audit_root WHERE $1 = 'root' AND position >= $2 ORDER BY position LIMIT $3",
            _ => "SELECT record FROM audit_record WHERE replica = $1 AND sequence > $2 ORDER BY sequence LIMIT $3",
        };
        let leaves = sqlx::query_scalar(of_log).bind(log).bind(first as i64);
        leaves.bind(i64::try_from(limit).unwrap_or(i64::MAX)).fetch_all(&self.pool).await.map_err(failed)
    }

    async fn hashes(&self, log: &str, span: Span) -> Result<Vec<Hash>> {
        self.ensure_begun().await?;
        hashes(&self.pool, log, span).await.map_err(failed)
    }

    async fn grow_root(&self, growth: &RootGrowth) -> Result<bool> {
        self.ensure_begun().await?;
        grow(self, growth).await.map_err(failed)
    }

    async fn heads(&self) -> Result<Vec<Head>> {
        self.ensure_begun().await?;
        let rows: Vec<(String, i64, String, bool)> =
            sqlx::query_as("SELECT log, size, note, closed FROM audit_head ORDER BY log")
                .fetch_all(&self.pool)
                .await
                .map_err(failed)?;
        Ok(rows.into_iter().map(|(log, size, note, closed)| Head { log, size: size as u64, note, closed }).collect())
    }

    async fn lead_export(&self) -> Result<Option<Lead>> {
        lead(self, EXPORT).await
    }
}

/// Takes a lock that only one replica has; `None`: another one has it.
pub(crate) async fn lead(store: &PostgresStore, lock: i64) -> Result<Option<Lead>> {
    store.ensure_begun().await?;
    // The lock is the connection's: it ends with this process, however that ends. So it is none of the pool's.
    let mut connection = store.pool.acquire().await.map_err(failed)?.detach();
    let locked = sqlx::query_scalar("SELECT pg_try_advisory_lock($1)").bind(lock).fetch_one(&mut connection);
    let is_ours: bool = locked.await.map_err(failed)?;
    Ok(is_ours.then(|| Box::new(connection) as Lead))
}
