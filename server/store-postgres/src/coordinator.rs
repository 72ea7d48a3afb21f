//! PostgreSQL as the coordinator, and as the place that says which coordinator is in charge.

use std::sync::atomic::Ordering;

use async_trait::async_trait;
use sqlx::Row;
use tollgate_store::{
    Coordinator, Denied, Epoch, Granted, Known, LEASE_TTL, Lost, Member, Membership, Record, Rollup, View, Want,
};

use crate::{PostgresStore, failed, lost};

/// The columns of leases.
fn columns(leases: &[(String, i64, i64)]) -> (Vec<&str>, Vec<i64>, Vec<i64>) {
    let budgets = leases.iter().map(|(budget, ..)| budget.as_str()).collect();
    let windows = leases.iter().map(|(_, window, _)| *window).collect();
    let amounts = leases.iter().map(|(.., amount)| *amount).collect();
    (budgets, windows, amounts)
}

#[async_trait]
impl Coordinator for PostgresStore {
    async fn lease(&self, epoch: i64, wants: &[Want]) -> Result<Granted, Lost> {
        let row = sqlx::query("SELECT * FROM grant_leases($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)")
            .bind(&self.replica)
            .bind(self.generation.load(Ordering::Acquire))
            .bind(epoch)
            .bind(wants.iter().map(|w| w.budget_id.as_str()).collect::<Vec<_>>())
            .bind(wants.iter().map(|w| w.lease_window).collect::<Vec<_>>())
            .bind(wants.iter().map(|w| w.from_window).collect::<Vec<_>>())
            .bind(wants.iter().map(|w| w.limit).collect::<Vec<_>>())
            .bind(wants.iter().map(|w| w.min).collect::<Vec<_>>())
            .bind(wants.iter().map(|w| w.max).collect::<Vec<_>>())
            .bind(wants.iter().map(|w| w.needed).collect::<Vec<_>>())
            .fetch_one(&self.pool)
            .await
            .map_err(lost)?;
        match row.try_get::<i32, _>("denied").map_err(lost)? {
            -1 => Ok(Granted::All(row.try_get("grants").map_err(lost)?)),
            -2 if tollgate_planted::bug("epoch_unchecked") => Ok(Granted::All(wants.iter().map(|w| w.max).collect())),
            -2 => Err(Lost::Epoch),
            index => Ok(Granted::Denied(Denied {
                index: usize::try_from(index).unwrap_or_default(),
                posted: row.try_get("posted").map_err(lost)?,
                leased: row.try_get("leased").map_err(lost)?,
            })),
        }
    }

    async fn give_back(&self, _epoch: i64, parts: &[(String, i64, i64)]) -> Result<(), Lost> {
        let (budgets, windows, amounts) = columns(parts);
        let mut tx = self.pool.begin().await.map_err(lost)?;
        let current = sqlx::query("SELECT 1 FROM replica WHERE id = $1 AND generation = $2 FOR SHARE")
            .bind(&self.replica)
            .bind(self.generation.load(Ordering::Acquire))
            .fetch_optional(&mut *tx)
            .await
            .map_err(lost)?;
        if current.is_none() {
            return Err(Lost::Epoch);
        }
        sqlx::query("SELECT lock_leases($1, $2)")
            .bind(&budgets)
            .bind(&windows)
            .execute(&mut *tx)
            .await
            .map_err(lost)?;
        sqlx::query(
            "UPDATE lease SET outstanding_nano_usd = greatest(outstanding_nano_usd - amount, 0)
             FROM (SELECT b, w, sum(n)::bigint AS amount FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS p (b, w, n)
                   GROUP BY b, w) AS parts
             WHERE budget_id = b AND \"window\" = w AND replica = $4",
        )
        .bind(&budgets)
        .bind(&windows)
        .bind(&amounts)
        .bind(&self.replica)
        .execute(&mut *tx)
        .await
        .map_err(lost)?;
        tx.commit().await.map_err(lost)
    }

    /// Nothing to do: the batch itself moves what it uses, in one transaction.
    async fn report(&self, _epoch: i64, _batch: u64, _rollup: &Rollup) -> Result<(), Lost> {
        Ok(())
    }

    async fn recall(&self, budget_ids: &[String]) -> Result<(), Lost> {
        sqlx::query(
            "INSERT INTO recall SELECT b, clock_timestamp() FROM unnest($1::text[]) AS r (b) ORDER BY b
             ON CONFLICT (budget_id) DO UPDATE SET recall_time = clock_timestamp()
             WHERE recall.recall_time < clock_timestamp() - interval '500 ms'",
        )
        .bind(budget_ids)
        .execute(&self.pool)
        .await
        .map_err(lost)?;
        Ok(())
    }

    async fn recalled(&self, _epoch: i64) -> Result<Vec<String>, Lost> {
        sqlx::query_scalar("SELECT budget_id FROM recall WHERE recall_time > clock_timestamp() - interval '2 s'")
            .fetch_all(&self.pool)
            .await
            .map_err(lost)
    }

    async fn register(&self, _epoch: i64, leases: &[(String, i64, i64)]) -> Result<(), Lost> {
        let (budgets, windows, amounts) = columns(leases);
        let mut tx = self.pool.begin().await.map_err(lost)?;
        let generation: i64 = rand::random();
        sqlx::query("UPDATE replica SET generation = $2 WHERE id = $1")
            .bind(&self.replica)
            .bind(generation)
            .execute(&mut *tx)
            .await
            .map_err(lost)?;
        sqlx::query("DELETE FROM lease WHERE replica = $1")
            .bind(&self.replica)
            .execute(&mut *tx)
            .await
            .map_err(lost)?;
        sqlx::query(
            "INSERT INTO lease SELECT b, w, $4, n FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS l (b, w, n)",
        )
        .bind(&budgets)
        .bind(&windows)
        .bind(&amounts)
        .bind(&self.replica)
        .execute(&mut *tx)
        .await
        .map_err(lost)?;
        tx.commit().await.map_err(lost)?;
        self.generation.store(generation, Ordering::Release);
        Ok(())
    }

    async fn open(&self, _epoch: i64) -> Result<(), Lost> {
        Ok(())
    }
}

#[async_trait]
impl Membership for PostgresStore {
    async fn beat(&self, epoch: i64, sees_redis: bool, leases: &[(String, i64, i64)]) -> Result<View, Lost> {
        self.ensure_begun().await.map_err(|e| Lost::Gone(e.to_string()))?;
        let mut tx = self.pool.begin().await.map_err(lost)?;
        let done = sqlx::query(
            "UPDATE replica SET seen_time = clock_timestamp(), epoch = $3, sees_redis = $4 WHERE id = $1 AND incarnation = $2",
        )
        .bind(&self.replica)
        .bind(self.incarnation)
        .bind(epoch)
        .bind(sees_redis)
        .execute(&mut *tx)
        .await
        .map_err(lost)?;
        if done.rows_affected() == 0 {
            return Err(Lost::Gone(self.fenced().to_string()));
        }
        let row = sqlx::query(
            "SELECT number, redis, open, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS now_us FROM epoch",
        )
        .fetch_one(&mut *tx)
        .await
        .map_err(lost)?;
        let current = Epoch {
            number: row.try_get("number").map_err(lost)?,
            redis: row.try_get("redis").map_err(lost)?,
            open: row.try_get("open").map_err(lost)?,
        };
        if current.redis && current.number == epoch {
            // Redis has the list; this is for the day that both it and this replica are gone.
            let (budgets, windows, amounts) = columns(leases);
            sqlx::query(
                "WITH told AS (SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS l (b, w, n)),
                      gone AS (DELETE FROM lease WHERE replica = $4
                               AND NOT EXISTS (SELECT 1 FROM told WHERE b = budget_id AND w = \"window\"))
                 INSERT INTO lease SELECT b, w, $4, n FROM told ON CONFLICT (budget_id, \"window\", replica)
                 DO UPDATE SET outstanding_nano_usd = excluded.outstanding_nano_usd",
            )
            .bind(&budgets)
            .bind(&windows)
            .bind(&amounts)
            .bind(&self.replica)
            .execute(&mut *tx)
            .await
            .map_err(lost)?;
        }
        let rows = sqlx::query(
            "SELECT id, epoch, sees_redis FROM replica
             WHERE seen_time > clock_timestamp() - make_interval(secs => $1) ORDER BY id",
        )
        .bind(LEASE_TTL.as_secs_f64())
        .fetch_all(&mut *tx)
        .await
        .map_err(lost)?;
        tx.commit().await.map_err(lost)?;
        let member = |row: &sqlx::postgres::PgRow| {
            Ok(Member {
                replica: row.try_get("id")?,
                epoch: row.try_get("epoch")?,
                sees_redis: row.try_get("sees_redis")?,
            })
        };
        let live = rows.iter().map(member).collect::<sqlx::Result<Vec<_>>>().map_err(lost)?;
        Ok(View { now_us: row.try_get("now_us").map_err(lost)?, epoch: current, live })
    }

    async fn propose(&self, current: i64, redis: bool) -> Result<bool, Lost> {
        let done = sqlx::query("UPDATE epoch SET number = number + 1, redis = $2, open = false WHERE number = $1")
            .bind(current)
            .bind(redis)
            .execute(&self.pool)
            .await
            .map_err(lost)?;
        Ok(done.rows_affected() == 1)
    }

    async fn opened(&self, epoch: i64) -> Result<(), Lost> {
        sqlx::query("UPDATE epoch SET open = true WHERE number = $1")
            .bind(epoch)
            .execute(&self.pool)
            .await
            .map_err(lost)?;
        Ok(())
    }

    async fn close(&self, replica: &str) -> Result<Option<i64>, Lost> {
        let mut tx = self.pool.begin().await.map_err(lost)?;
        let is_silent: Option<bool> = sqlx::query_scalar(
            "SELECT seen_time <= clock_timestamp() - interval '1 minute' FROM replica WHERE id = $1",
        )
        .bind(replica)
        .fetch_optional(&mut *tx)
        .await
        .map_err(lost)?;
        // One that never was has no log to end, either.
        if is_silent != Some(true) {
            return Ok(None);
        }
        let released: Option<i64> = sqlx::query_scalar(
            "WITH gone AS (DELETE FROM lease WHERE replica = $1 RETURNING outstanding_nano_usd)
             SELECT sum(outstanding_nano_usd)::bigint FROM gone",
        )
        .bind(replica)
        .fetch_one(&mut *tx)
        .await
        .map_err(lost)?;
        tx.commit().await.map_err(lost)?;
        Ok(Some(released.unwrap_or(0)))
    }
}

#[async_trait]
impl Record for PostgresStore {
    async fn known(&self, budget_id: &str, from_window: i64, lease_window: i64) -> tollgate_store::Result<Known> {
        let known = async {
            let mut tx = self.pool.begin().await?;
            sqlx::query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY").execute(&mut *tx).await?;
            let applied = sqlx::query_as("SELECT id, applied FROM replica").fetch_all(&mut *tx).await?;
            let balances = sqlx::query_as(
                "SELECT \"window\", spent_nano_usd FROM balance WHERE budget_id = $1 AND \"window\" >= $2",
            )
            .bind(budget_id)
            .bind(from_window)
            .fetch_all(&mut *tx)
            .await?;
            let leases = sqlx::query_as(
                "SELECT replica, outstanding_nano_usd FROM lease
                 WHERE budget_id = $1 AND \"window\" = $2 AND outstanding_nano_usd <> 0",
            )
            .bind(budget_id)
            .bind(lease_window)
            .fetch_all(&mut *tx)
            .await?;
            tx.commit().await?;
            Ok(Known { applied, balances, leases })
        };
        known.await.map_err(failed)
    }
}
