use async_trait::async_trait;
use prost::Message;
use sqlx::Row;
use tollgate_store::{Batches, Listing, Result, StoredBatch, StoredFile};

use crate::{PostgresStore, failed};

fn read<T: Message + Default>(row: &sqlx::postgres::PgRow) -> sqlx::Result<T> {
    let bytes: &[u8] = row.try_get("stored")?;
    T::decode(bytes).map_err(|error| sqlx::Error::Decode(Box::new(error)))
}

fn read_all<T: Message + Default>(rows: sqlx::Result<Vec<sqlx::postgres::PgRow>>) -> Result<Vec<T>> {
    rows.map_err(failed)?.iter().map(read).collect::<sqlx::Result<_>>().map_err(failed)
}

#[async_trait]
impl Batches for PostgresStore {
    async fn keep_file(&self, file: &StoredFile) -> Result<()> {
        self.ensure_begun().await?;
        let new = "INSERT INTO file (key_id, id, purpose, stored) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";
        let new = sqlx::query(new).bind(&file.key_id).bind(&file.id).bind(&file.purpose).bind(file.encode_to_vec());
        new.execute(&self.pool).await.map(drop).map_err(failed)
    }

    async fn file(&self, key_id: &str, id: &str) -> Result<Option<StoredFile>> {
        self.ensure_begun().await?;
        let found = "SELECT stored FROM file WHERE key_id = $1 AND id = $2";
        let row = sqlx::query(found).bind(key_id).bind(id).fetch_optional(&self.pool).await;
        row.map_err(failed)?.as_ref().map(read).transpose().map_err(failed)
    }

    async fn files(&self, key_id: &str, purpose: &str, listing: &Listing) -> Result<Vec<StoredFile>> {
        self.ensure_begun().await?;
        let listed = match listing.oldest_first {
            true => {
                "SELECT stored FROM file WHERE key_id = $1 AND ($2 = '' OR purpose = $2) AND id > $3 ORDER BY id LIMIT $4"
            }
            false => {
                "SELECT stored FROM file WHERE key_id = $1 AND ($2 = '' OR purpose = $2) AND ($3 = '' OR id < $3)
                 ORDER BY id DESC LIMIT $4"
            }
        };
        let rows = sqlx::query(listed).bind(key_id).bind(purpose).bind(&listing.after).bind(listing.limit);
        read_all(rows.fetch_all(&self.pool).await)
    }

    async fn forget_file(&self, key_id: &str, id: &str) -> Result<bool> {
        self.ensure_begun().await?;
        let gone = "DELETE FROM file WHERE key_id = $1 AND id = $2";
        let gone = sqlx::query(gone).bind(key_id).bind(id).execute(&self.pool).await;
        Ok(gone.map_err(failed)?.rows_affected() > 0)
    }

    async fn begin_batch(&self, batch: &StoredBatch, look_us: i64) -> Result<()> {
        self.ensure_begun().await?;
        let new = "INSERT INTO batch (key_id, id, settled, look_us, claimed_until_us, stored) VALUES ($1, $2, false, $3, 0, $4)
                   ON CONFLICT DO NOTHING";
        let new = sqlx::query(new).bind(&batch.key_id).bind(&batch.id).bind(look_us).bind(batch.encode_to_vec());
        new.execute(&self.pool).await.map(drop).map_err(failed)
    }

    async fn batch(&self, key_id: &str, id: &str) -> Result<Option<StoredBatch>> {
        self.ensure_begun().await?;
        let found = "SELECT stored FROM batch WHERE key_id = $1 AND id = $2";
        let row = sqlx::query(found).bind(key_id).bind(id).fetch_optional(&self.pool).await;
        row.map_err(failed)?.as_ref().map(read).transpose().map_err(failed)
    }

    async fn batches(&self, key_id: &str, listing: &Listing) -> Result<Vec<StoredBatch>> {
        self.ensure_begun().await?;
        let listed = match listing.oldest_first {
            true => "SELECT stored FROM batch WHERE key_id = $1 AND id > $2 ORDER BY id LIMIT $3",
            false => "SELECT stored FROM batch WHERE key_id = $1 AND ($2 = '' OR id < $2) ORDER BY id DESC LIMIT $3",
        };
        let rows = sqlx::query(listed).bind(key_id).bind(&listing.after).bind(listing.limit);
        read_all(rows.fetch_all(&self.pool).await)
    }

    async fn due_batches(&self, now_us: i64, until_us: i64, limit: i64) -> Result<Vec<StoredBatch>> {
        self.ensure_begun().await?;
        let claimed = "UPDATE batch SET claimed_until_us = $2 WHERE id IN
                           (SELECT id FROM batch WHERE NOT settled AND look_us <= $1 AND claimed_until_us <= $1
                            ORDER BY look_us LIMIT $3 FOR UPDATE SKIP LOCKED)
                       RETURNING stored";
        let rows = sqlx::query(claimed).bind(now_us).bind(until_us).bind(limit).fetch_all(&self.pool).await;
        read_all(rows)
    }

    async fn hold_batch(&self, id: &str, until_us: i64) -> Result<()> {
        self.ensure_begun().await?;
        let held = "UPDATE batch SET claimed_until_us = greatest(claimed_until_us, $2) WHERE id = $1 AND NOT settled";
        sqlx::query(held).bind(id).bind(until_us).execute(&self.pool).await.map(drop).map_err(failed)
    }

    async fn note_batch(&self, batch: &StoredBatch, next_us: Option<i64>) -> Result<()> {
        self.ensure_begun().await?;
        let noted = "UPDATE batch SET stored = $2, look_us = coalesce($3::bigint, look_us),
                         claimed_until_us = CASE WHEN $3::bigint IS NULL THEN claimed_until_us ELSE 0 END
                     WHERE id = $1 AND NOT settled";
        let noted = sqlx::query(noted).bind(&batch.id).bind(batch.encode_to_vec()).bind(next_us);
        noted.execute(&self.pool).await.map(drop).map_err(failed)
    }

    async fn hasten_batch(&self, id: &str, look_us: i64) -> Result<()> {
        self.ensure_begun().await?;
        let sooner = "UPDATE batch SET look_us = least(look_us, $2) WHERE id = $1 AND NOT settled";
        sqlx::query(sooner).bind(id).bind(look_us).execute(&self.pool).await.map(drop).map_err(failed)
    }

    async fn correct_batch(&self, id: &str, replica: &str) -> Result<String> {
        self.ensure_begun().await?;
        // The log of one that was given up grows no more: what its journal has is in no record.
        let first = "UPDATE batch SET corrected_by = CASE
                         WHEN corrected_by IS NULL
                             OR EXISTS (SELECT 1 FROM audit_head WHERE log = corrected_by AND closed) THEN $2
                         ELSE corrected_by END
                     WHERE id = $1 RETURNING corrected_by";
        sqlx::query_scalar(first).bind(id).bind(replica).fetch_one(&self.pool).await.map_err(failed)
    }

    async fn settle_batch(&self, batch: &StoredBatch) -> Result<bool> {
        self.ensure_begun().await?;
        let settled = "UPDATE batch SET stored = $2, settled = true WHERE id = $1 AND NOT settled";
        let settled = sqlx::query(settled).bind(&batch.id).bind(batch.encode_to_vec()).execute(&self.pool).await;
        Ok(settled.map_err(failed)?.rows_affected() > 0)
    }
}
