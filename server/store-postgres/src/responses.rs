use async_trait::async_trait;
use prost::Message;
use sqlx::Row;
use tollgate_proto::v1::{ListResponseEventsResponse, ResponseEvent, StoredResponse};
use tollgate_store::{ENDED, LOST, MAX_TURNS, Responses, Result, STEPS_AT_ONCE, Step, state};

use crate::{PostgresStore, failed};

fn read(row: &sqlx::postgres::PgRow, now_us: i64) -> sqlx::Result<StoredResponse> {
    let bytes: &[u8] = row.try_get("response")?;
    let response = StoredResponse::decode(bytes).map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
    let is_cancelled = row.try_get::<i32, _>("is_cancelled")? != 0;
    let state = state(row.try_get("lease_us")?, is_cancelled, now_us) as i32;
    Ok(StoredResponse { state, ..response })
}

/// Under which items a response is found.
async fn index(key_id: &str, response: &StoredResponse, connection: &mut sqlx::PgConnection) -> sqlx::Result<()> {
    for item_id in &response.item_ids {
        let item =
            "INSERT INTO response_item (key_id, item_id, response_id) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
        sqlx::query(item).bind(key_id).bind(item_id).bind(&response.id).execute(&mut *connection).await?;
    }
    Ok(())
}

#[async_trait]
impl Responses for PostgresStore {
    async fn keep(&self, key_id: &str, response: &StoredResponse, expire_us: i64) -> Result<()> {
        self.insert(key_id, response, expire_us, None).await.map(|_| ())
    }

    async fn kept(&self, key_id: &str, id: &str, now_us: i64) -> Result<Option<StoredResponse>> {
        self.ensure_begun().await?;
        let found = "SELECT response, lease_us, is_cancelled FROM response WHERE key_id = $1 AND id = $2 AND expire_time_us > $3";
        let row = sqlx::query(found).bind(key_id).bind(id).bind(now_us).fetch_optional(&self.pool).await;
        row.map_err(failed)?.as_ref().map(|row| read(row, now_us)).transpose().map_err(failed)
    }

    async fn kept_with(&self, key_id: &str, item_id: &str, now_us: i64) -> Result<Option<StoredResponse>> {
        self.ensure_begun().await?;
        let row = sqlx::query(
            "SELECT response.response, response.lease_us, response.is_cancelled FROM response_item AS item
             JOIN response ON response.key_id = item.key_id AND response.id = item.response_id
             WHERE item.key_id = $1 AND item.item_id = $2 AND response.expire_time_us > $3
             ORDER BY response.expire_time_us DESC LIMIT 1",
        )
        .bind(key_id)
        .bind(item_id)
        .bind(now_us)
        .fetch_optional(&self.pool)
        .await;
        row.map_err(failed)?.as_ref().map(|row| read(row, now_us)).transpose().map_err(failed)
    }

    async fn conversation(&self, key_id: &str, id: &str, now_us: i64, max_bytes: u64) -> Result<Vec<StoredResponse>> {
        self.ensure_begun().await?;
        let rows = sqlx::query(
            "WITH RECURSIVE turn (id, previous_id, place, total) AS (
                 SELECT id, previous_id, CAST(0 AS bigint), bytes FROM response
                 WHERE key_id = $1 AND id = $2 AND expire_time_us > $3
                 UNION ALL
                 SELECT before.id, before.previous_id, turn.place + 1, turn.total + before.bytes FROM turn
                 JOIN response AS before
                   ON before.key_id = $1 AND before.id = turn.previous_id AND before.expire_time_us > $3
                 WHERE turn.total <= $4 AND turn.place < $5
             )
             SELECT response.response, response.lease_us, response.is_cancelled FROM turn JOIN response ON response.key_id = $1 AND response.id = turn.id
             ORDER BY turn.place DESC",
        )
        .bind(key_id)
        .bind(id)
        .bind(now_us)
        .bind(i64::try_from(max_bytes).unwrap_or(i64::MAX))
        .bind(MAX_TURNS)
        .fetch_all(&self.pool)
        .await
        .map_err(failed)?;
        rows.iter().map(|row| read(row, now_us)).collect::<sqlx::Result<_>>().map_err(failed)
    }

    async fn forget(&self, key_id: &str, id: &str, now_us: i64) -> Result<bool> {
        self.ensure_begun().await?;
        let gone = "DELETE FROM response WHERE key_id = $1 AND id = $2 AND expire_time_us > $3";
        let gone = sqlx::query(gone).bind(key_id).bind(id).bind(now_us).execute(&self.pool).await;
        Ok(gone.map_err(failed)?.rows_affected() > 0)
    }

    async fn clear(&self, now_us: i64, limit: i64) -> Result<u64> {
        self.ensure_begun().await?;
        let expired = "DELETE FROM response WHERE (key_id, id) IN
                       (SELECT key_id, id FROM response WHERE expire_time_us <= $1 LIMIT $2)";
        let gone = sqlx::query(expired).bind(now_us).bind(limit).execute(&self.pool).await;
        Ok(gone.map_err(failed)?.rows_affected())
    }

    async fn begin(&self, key_id: &str, response: &StoredResponse, expire_us: i64, lease_us: i64) -> Result<bool> {
        self.insert(key_id, response, expire_us, Some(lease_us)).await
    }

    async fn advance(&self, key_id: &str, id: &str, step: &Step) -> Result<Option<bool>> {
        self.ensure_begun().await?;
        let mut transaction = self.pool.begin().await.map_err(failed)?;
        let written = step.response.as_ref().map(Message::encode_to_vec);
        let bytes = written.as_ref().map(|written| i64::try_from(written.len()).unwrap_or(i64::MAX));
        // What has ended or was found lost stays so.
        let row = sqlx::query(
            "UPDATE response SET lease_us = $3, expire_time_us = $4, response = COALESCE($5, response),
                                 bytes = COALESCE($6, bytes)
             WHERE key_id = $1 AND id = $2 AND lease_us > $7 RETURNING is_cancelled",
        )
        .bind(key_id)
        .bind(id)
        .bind(step.lease_us)
        .bind(step.expire_us)
        .bind(written)
        .bind(bytes)
        .bind(ENDED)
        .fetch_optional(&mut *transaction)
        .await
        .map_err(failed)?;
        let Some(row) = row else { return Ok(None) };
        if let Some(last) = step.events.last() {
            let events = ListResponseEventsResponse { events: step.events.clone(), ..Default::default() };
            let add = "INSERT INTO response_event (key_id, response_id, last_sequence, events) VALUES ($1, $2, $3, $4)
                       ON CONFLICT DO NOTHING";
            let add = sqlx::query(add).bind(key_id).bind(id).bind(last.sequence_number).bind(events.encode_to_vec());
            add.execute(&mut *transaction).await.map_err(failed)?;
        }
        if let Some(response) = &step.response {
            index(key_id, response, &mut transaction).await.map_err(failed)?;
        }
        transaction.commit().await.map_err(failed)?;
        Ok(Some(row.try_get::<i32, _>("is_cancelled").map_err(failed)? != 0))
    }

    async fn ask_to_end(&self, key_id: &str, id: &str) -> Result<()> {
        self.ensure_begun().await?;
        let asked = "UPDATE response SET is_cancelled = 1 WHERE key_id = $1 AND id = $2 AND lease_us > $3";
        let asked = sqlx::query(asked).bind(key_id).bind(id).bind(ENDED).execute(&self.pool).await;
        asked.map(|_| ()).map_err(failed)
    }

    async fn lose(&self, key_id: &str, id: &str, now_us: i64) -> Result<()> {
        self.ensure_begun().await?;
        let lost =
            "UPDATE response SET lease_us = $4 WHERE key_id = $1 AND id = $2 AND lease_us > $5 AND lease_us <= $3";
        let lost =
            sqlx::query(lost).bind(key_id).bind(id).bind(now_us).bind(LOST).bind(ENDED).execute(&self.pool).await;
        lost.map(|_| ()).map_err(failed)
    }

    async fn events(&self, key_id: &str, id: &str, after: i64) -> Result<Vec<ResponseEvent>> {
        self.ensure_begun().await?;
        let steps = "SELECT events FROM response_event WHERE key_id = $1 AND response_id = $2 AND last_sequence > $3
                     ORDER BY last_sequence LIMIT $4";
        let steps =
            sqlx::query(steps).bind(key_id).bind(id).bind(after).bind(STEPS_AT_ONCE).fetch_all(&self.pool).await;
        let mut events = Vec::new();
        for step in steps.map_err(failed)? {
            let bytes: &[u8] = step.try_get("events").map_err(failed)?;
            let step = ListResponseEventsResponse::decode(bytes);
            events.extend(step.map_err(|error| failed(sqlx::Error::Decode(Box::new(error))))?.events);
        }
        events.retain(|event| event.sequence_number > after);
        Ok(events)
    }
}

impl PostgresStore {
    /// Keeps a response, with a lease where it is being made; tells whether it is new.
    async fn insert(
        &self,
        key_id: &str,
        response: &StoredResponse,
        expire_us: i64,
        lease_us: Option<i64>,
    ) -> Result<bool> {
        self.ensure_begun().await?;
        let mut transaction = self.pool.begin().await.map_err(failed)?;
        let written = response.encode_to_vec();
        let new = sqlx::query(
            "INSERT INTO response (key_id, id, previous_id, expire_time_us, bytes, response, lease_us)
             VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING",
        )
        .bind(key_id)
        .bind(&response.id)
        .bind(&response.previous_response_id)
        .bind(expire_us)
        .bind(i64::try_from(written.len()).unwrap_or(i64::MAX))
        .bind(written)
        .bind(lease_us)
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
        let is_new = new.rows_affected() > 0;
        if is_new {
            index(key_id, response, &mut transaction).await.map_err(failed)?;
        }
        transaction.commit().await.map_err(failed)?;
        Ok(is_new)
    }
}
