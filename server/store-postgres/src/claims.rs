use std::time::Duration;

use async_trait::async_trait;
use tollgate_store::{Claimed, Claims, Idempotency, LEASE_TTL, Result};

use crate::{PostgresStore, failed};

impl PostgresStore {
    /// Whether the database answers.
    pub async fn ping(&self) -> Result<()> {
        sqlx::query("SELECT 1").execute(&self.pool).await.map_err(failed)?;
        Ok(())
    }

    /// Whether every other replica that reached Redis when it was last heard of was heard of within a second, or is given up.
    pub async fn hears_all_who_see_redis(&self) -> Result<bool> {
        sqlx::query_scalar(
            "SELECT NOT EXISTS (SELECT 1 FROM replica WHERE id <> $1 AND sees_redis
             AND seen_time BETWEEN clock_timestamp() - make_interval(secs => $2) AND clock_timestamp() - interval '1 second')",
        )
        .bind(&self.replica)
        .bind(LEASE_TTL.as_secs_f64())
        .fetch_one(&self.pool)
        .await
        .map_err(failed)
    }

    /// Which call has a key.
    pub async fn claimed(&self, key: &[u8]) -> Result<Option<Claimed>> {
        let row: Option<(Vec<u8>, String)> = sqlx::query_as(
            "SELECT fingerprint, call_id FROM idempotency_claim WHERE key = $1 AND expire_time > clock_timestamp()",
        )
        .bind(key)
        .fetch_optional(&self.pool)
        .await
        .map_err(failed)?;
        Ok(row.map(|(fingerprint, call_id)| Claimed { fingerprint, call_id }))
    }

    async fn try_claim(
        &self,
        idempotency: &Idempotency,
        call_id: &str,
        retention: Duration,
    ) -> std::result::Result<bool, sqlx::Error> {
        let mine = sqlx::query(
            "INSERT INTO idempotency_claim AS c VALUES ($1, $2, $3, clock_timestamp() + make_interval(secs => $4))
             ON CONFLICT (key) DO UPDATE SET fingerprint = $2, call_id = $3, expire_time = excluded.expire_time
             WHERE c.expire_time < clock_timestamp() OR c.call_id = $3",
        )
        .bind(&idempotency.key)
        .bind(&idempotency.fingerprint)
        .bind(call_id)
        .bind(retention.as_secs_f64())
        .execute(&self.pool)
        .await?;
        // Now and then what has lapsed is cleared away.
        if mine.rows_affected() == 1 && rand::random_ratio(1, 1_000) {
            let lapsed = "DELETE FROM idempotency_claim WHERE expire_time < clock_timestamp()";
            sqlx::query(lapsed).execute(&self.pool).await?;
        }
        Ok(mine.rows_affected() == 1)
    }

    /// All claims, with the call that has each and how long it still counts.
    pub async fn claims(&self) -> Result<Vec<(Idempotency, String, Duration)>> {
        let rows: Vec<(Vec<u8>, Vec<u8>, String, f64)> = sqlx::query_as(
            "SELECT key, fingerprint, call_id, extract(epoch FROM expire_time - clock_timestamp())::float8
             FROM idempotency_claim WHERE expire_time > clock_timestamp()",
        )
        .fetch_all(&self.pool)
        .await
        .map_err(failed)?;
        let all = rows.into_iter().map(|(key, fingerprint, call_id, left)| {
            (Idempotency { key, fingerprint }, call_id, Duration::from_secs_f64(left.max(0.0)))
        });
        Ok(all.collect())
    }
}

#[async_trait]
impl Claims for PostgresStore {
    async fn claim(&self, idempotency: &Idempotency, call_id: &str, retention: Duration) -> Result<Option<Claimed>> {
        loop {
            if self.try_claim(idempotency, call_id, retention).await.map_err(failed)? {
                return Ok(None);
            }
            // Gone again: it was given back in between.
            if let Some(other) = self.claimed(&idempotency.key).await? {
                return Ok(Some(other));
            }
        }
    }

    async fn release(&self, key: &[u8], call_id: &str) -> Result<()> {
        sqlx::query("DELETE FROM idempotency_claim WHERE key = $1 AND call_id = $2")
            .bind(key)
            .bind(call_id)
            .execute(&self.pool)
            .await
            .map_err(failed)?;
        Ok(())
    }
}
