use async_trait::async_trait;
use prost::Message;
use sqlx::Row;
use tollgate_store::{Batches, Listing, Result, StoredBatch, StoredFile};

use crate::{SqliteStore, failed};

fn read<T: Message + Default>(row: &sqlx::sqlite::SqliteRow) -> sqlx::Result<T> {
    let bytes: &[u8] = row.try_get("stored")?;
    T::decode(bytes).map_err(|error| sqlx::Error::Decode(Box::new(error)))
}

fn read_all<T: Message + Default>(rows: sqlx::Result<Vec<sqlx::sqlite::SqliteRow>>) -> Result<Vec<T>> {
    rows.map_err(failed)?.iter().map(read).collect::<sqlx::Result<_>>().map_err(failed)
}

#[async_trait]
impl Batches for SqliteStore {
    async fn keep_file(&self, file: &StoredFile) -> Result<()> {
        let new = "INSERT INTO file (key_id, id, purpose, stored) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING";
        let new = sqlx::query(new).bind(&file.key_id).bind(&file.id).bind(&file.purpose).bind(file.encode_to_vec());
        new.execute(&self.writer).await.map(drop).map_err(failed)
    }

    async fn file(&self, key_id: &str, id: &str) -> Result<Option<StoredFile>> {
        let found = "SELECT stored FROM file WHERE key_id = ?1 AND id = ?2";
        let row = sqlx::query(found).bind(key_id).bind(id).fetch_optional(&self.readers).await;
        row.map_err(failed)?.as_ref().map(read).transpose().map_err(failed)
    }

    async fn files(&self, key_id: &str, purpose: &str, listing: &Listing) -> Result<Vec<StoredFile>> {
        let listed = match listing.oldest_first {
            true => {
                "SELECT stored FROM file WHERE key_id = ?1 AND (?2 = '' OR purpose = ?2) AND id > ?3 ORDER BY id LIMIT ?4"
            }
            false => {
                "SELECT stored FROM file WHERE key_id = ?1 AND (?2 = '' OR purpose = ?2) AND (?3 = '' OR id < ?3)
                 ORDER BY id DESC LIMIT ?4"
            }
        };
        let rows = sqlx::query(listed).bind(key_id).bind(purpose).bind(&listing.after).bind(listing.limit);
        read_all(rows.fetch_all(&self.readers).await)
    }

    async fn forget_file(&self, key_id: &str, id: &str) -> Result<bool> {
        let gone = "DELETE FROM file WHERE key_id = ?1 AND id = ?2";
        let gone = sqlx::query(gone).bind(key_id).bind(id).execute(&self.writer).await;
        Ok(gone.map_err(failed)?.rows_affected() > 0)
    }

    async fn begin_batch(&self, batch: &StoredBatch, look_us: i64) -> Result<()> {
        let new =
            "INSERT INTO batch (key_id, id, settled, look_us, claimed_until_us, stored) VALUES (?1, ?2, 0, ?3, 0, ?4)
                   ON CONFLICT DO NOTHING";
        let new = sqlx::query(new).bind(&batch.key_id).bind(&batch.id).bind(look_us).bind(batch.encode_to_vec());
        new.execute(&self.writer).await.map(drop).map_err(failed)
    }

    async fn batch(&self, key_id: &str, id: &str) -> Result<Option<StoredBatch>> {
        let found = "SELECT stored FROM batch WHERE key_id = ?1 AND id = ?2";
        let row = sqlx::query(found).bind(key_id).bind(id).fetch_optional(&self.readers).await;
        row.map_err(failed)?.as_ref().map(read).transpose().map_err(failed)
    }

    async fn batches(&self, key_id: &str, listing: &Listing) -> Result<Vec<StoredBatch>> {
        let listed = match listing.oldest_first {
            true => "SELECT stored FROM batch WHERE key_id = ?1 AND id > ?2 ORDER BY id LIMIT ?3",
            false => "SELECT stored FROM batch WHERE key_id = ?1 AND (?2 = '' OR id < ?2) ORDER BY id DESC LIMIT ?3",
        };
        let rows = sqlx::query(listed).bind(key_id).bind(&listing.after).bind(listing.limit);
        read_all(rows.fetch_all(&self.readers).await)
    }

    async fn due_batches(&self, now_us: i64, until_us: i64, limit: i64) -> Result<Vec<StoredBatch>> {
        let claimed = "UPDATE batch SET claimed_until_us = ?2 WHERE id IN
                           (SELECT id FROM batch WHERE settled = 0 AND look_us <= ?1 AND claimed_until_us <= ?1
                            ORDER BY look_us LIMIT ?3)
                       RETURNING stored";
        let rows = sqlx::query(claimed).bind(now_us).bind(until_us).bind(limit).fetch_all(&self.writer).await;
        read_all(rows)
    }

    async fn hold_batch(&self, id: &str, until_us: i64) -> Result<()> {
        let held = "UPDATE batch SET claimed_until_us = max(claimed_until_us, ?2) WHERE id = ?1 AND settled = 0";
        sqlx::query(held).bind(id).bind(until_us).execute(&self.writer).await.map(drop).map_err(failed)
    }

    async fn note_batch(&self, batch: &StoredBatch, next_us: Option<i64>) -> Result<()> {
        let noted = "UPDATE batch SET stored = ?2, look_us = coalesce(?3, look_us),
                         claimed_until_us = CASE WHEN ?3 IS NULL THEN claimed_until_us ELSE 0 END
                     WHERE id = ?1 AND settled = 0";
        let noted = sqlx::query(noted).bind(&batch.id).bind(batch.encode_to_vec()).bind(next_us);
        noted.execute(&self.writer).await.map(drop).map_err(failed)
    }

    async fn hasten_batch(&self, id: &str, look_us: i64) -> Result<()> {
        let sooner = "UPDATE batch SET look_us = min(look_us, ?2) WHERE id = ?1 AND settled = 0";
        sqlx::query(sooner).bind(id).bind(look_us).execute(&self.writer).await.map(drop).map_err(failed)
    }

    async fn correct_batch(&self, id: &str, replica: &str) -> Result<String> {
        let first = "UPDATE batch SET corrected_by = coalesce(corrected_by, ?2) WHERE id = ?1 RETURNING corrected_by";
        sqlx::query_scalar(first).bind(id).bind(replica).fetch_one(&self.writer).await.map_err(failed)
    }

    async fn settle_batch(&self, batch: &StoredBatch) -> Result<bool> {
        let settled = "UPDATE batch SET stored = ?2, settled = 1 WHERE id = ?1 AND settled = 0";
        let settled = sqlx::query(settled).bind(&batch.id).bind(batch.encode_to_vec()).execute(&self.writer).await;
        Ok(settled.map_err(failed)?.rows_affected() > 0)
    }
}
