use async_trait::async_trait;
use prost::Message;
use sqlx::Row;
use tollgate_proto::v1::StoredResponse;
use tollgate_store::{MAX_TURNS, Responses, Result};

use crate::{SqliteStore, failed};

fn read(row: &sqlx::sqlite::SqliteRow) -> sqlx::Result<StoredResponse> {
    let bytes: &[u8] = row.try_get("response")?;
    StoredResponse::decode(bytes).map_err(|error| sqlx::Error::Decode(Box::new(error)))
}

#[async_trait]
impl Responses for SqliteStore {
    async fn keep(&self, key_id: &str, response: &StoredResponse, expire_us: i64) -> Result<()> {
        let mut transaction = self.writer.begin().await.map_err(failed)?;
        let written = response.encode_to_vec();
        let new = sqlx::query(
            "INSERT INTO response (key_id, id, previous_id, expire_time_us, bytes, response) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT DO NOTHING",
        )
        .bind(key_id)
        .bind(&response.id)
        .bind(&response.previous_response_id)
        .bind(expire_us)
        .bind(i64::try_from(written.len()).unwrap_or(i64::MAX))
        .bind(written)
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
        if new.rows_affected() > 0 {
            for item_id in &response.item_ids {
                let item = "INSERT INTO response_item (key_id, item_id, response_id) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
                let item = sqlx::query(item).bind(key_id).bind(item_id).bind(&response.id);
                item.execute(&mut *transaction).await.map_err(failed)?;
            }
        }
        transaction.commit().await.map_err(failed)
    }

    async fn kept(&self, key_id: &str, id: &str, now_us: i64) -> Result<Option<StoredResponse>> {
        let found = "SELECT response FROM response WHERE key_id = ?1 AND id = ?2 AND expire_time_us > ?3";
        let row = sqlx::query(found).bind(key_id).bind(id).bind(now_us).fetch_optional(&self.readers).await;
        row.map_err(failed)?.as_ref().map(read).transpose().map_err(failed)
    }

    async fn kept_with(&self, key_id: &str, item_id: &str, now_us: i64) -> Result<Option<StoredResponse>> {
        let row = sqlx::query(
            "SELECT response.response FROM response_item AS item
             JOIN response ON response.key_id = item.key_id AND response.id = item.response_id
             WHERE item.key_id = ?1 AND item.item_id = ?2 AND response.expire_time_us > ?3
             ORDER BY response.expire_time_us DESC LIMIT 1",
        )
        .bind(key_id)
        .bind(item_id)
        .bind(now_us)
        .fetch_optional(&self.readers)
        .await;
        row.map_err(failed)?.as_ref().map(read).transpose().map_err(failed)
    }

    async fn conversation(&self, key_id: &str, id: &str, now_us: i64, max_bytes: u64) -> Result<Vec<StoredResponse>> {
        let rows = sqlx::query(
            "WITH RECURSIVE turn (id, previous_id, place, total) AS (
                 SELECT id, previous_id, CAST(0 AS bigint), bytes FROM response
                 WHERE key_id = ?1 AND id = ?2 AND expire_time_us > ?3
                 UNION ALL
                 SELECT before.id, before.previous_id, turn.place + 1, turn.total + before.bytes FROM turn
                 JOIN response AS before
                   ON before.key_id = ?1 AND before.id = turn.previous_id AND before.expire_time_us > ?3
                 WHERE turn.total <= ?4 AND turn.place < ?5
             )
             SELECT response.response FROM turn JOIN response ON response.key_id = ?1 AND response.id = turn.id
             ORDER BY turn.place DESC",
        )
        .bind(key_id)
        .bind(id)
        .bind(now_us)
        .bind(i64::try_from(max_bytes).unwrap_or(i64::MAX))
        .bind(MAX_TURNS)
        .fetch_all(&self.readers)
        .await
        .map_err(failed)?;
        rows.iter().map(read).collect::<sqlx::Result<_>>().map_err(failed)
    }

    async fn forget(&self, key_id: &str, id: &str, now_us: i64) -> Result<bool> {
        let gone = "DELETE FROM response WHERE key_id = ?1 AND id = ?2 AND expire_time_us > ?3";
        let gone = sqlx::query(gone).bind(key_id).bind(id).bind(now_us).execute(&self.writer).await;
        Ok(gone.map_err(failed)?.rows_affected() > 0)
    }

    async fn clear(&self, now_us: i64, limit: i64) -> Result<u64> {
        let expired = "DELETE FROM response WHERE (key_id, id) IN
                       (SELECT key_id, id FROM response WHERE expire_time_us <= ?1 LIMIT ?2)";
        let gone = sqlx::query(expired).bind(now_us).bind(limit).execute(&self.writer).await;
        Ok(gone.map_err(failed)?.rows_affected())
    }
}
