//! The ledger of record in PostgreSQL, for several replicas: batches, admin changes that all replicas learn of, leases, and who is there.
//!
//! Every statement is conditional by itself, so READ COMMITTED is enough. Locks are taken in one order everywhere: entries, leases,
//! balances, spend, each by key.

mod apply;
mod audit_log;
mod batches;
mod bodies;
mod changes;
mod claims;
mod coordinator;
mod read;
mod responses;

use std::{
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
pub use changes::watch_changes;
use sqlx::{
    PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tollgate_proto::v1::{AuditFilter, AuditRecord, BudgetAlert, Lease, LedgerFinding, SpendRow};
use tollgate_store::{
    Balance, Batch, Cell, EntryQuery, Idempotency, Lost, Object, Payer, Positions, Posted, PutOutcome, Result,
    SpendQuery, Store, StoreError, Sums, Tail,
};

/// The store, as one replica uses it.
#[derive(Clone)]
pub struct PostgresStore {
    pool: PgPool,
    replica: String,
    /// Which process may write as this replica.
    incarnation: i64,
    /// Of the last statement of leases: what was asked before it and arrives after it counts no more.
    generation: Arc<AtomicI64>,
    /// The schema is up to date, and this process is the one that writes as this replica.
    ready: Arc<AtomicBool>,
}

/// A process that has said nothing for this long does not run any more, or is fenced off when it comes back.
const SILENT: Duration = Duration::from_secs(1);

impl PostgresStore {
    /// Prepares to speak as `replica`; the database may be away still. Nothing is written before [`PostgresStore::begin`].
    pub fn open(url: &str, replica: &str) -> Result<Self> {
        Ok(Self {
            pool: pool(url)?,
            replica: replica.to_owned(),
            incarnation: rand::random(),
            generation: Arc::default(),
            ready: Arc::default(),
        })
    }

    /// Connects as `replica`, and begins.
    pub async fn connect(url: &str, replica: &str) -> Result<Self> {
        let store = Self::open(url, replica)?;
        store.begin().await?;
        Ok(store)
    }

    /// Brings the schema up to date and becomes the process that writes as this replica. Refused while another one does.
    pub async fn begin(&self) -> Result<()> {
        for _ in 0..30 {
            if self.try_begin().await? {
                return Ok(());
            }
            tokio::time::sleep(SILENT / 10).await;
        }
        Err(self.fenced())
    }

    async fn try_begin(&self) -> Result<bool> {
        sqlx::migrate!().run(&self.pool).await.map_err(|e| match e {
            sqlx::migrate::MigrateError::Execute(e) => failed(e),
            other => StoreError::Permanent(format!("migration: {other}")),
        })?;
        let taken = self.take_over().await.map_err(failed)?;
        if taken {
            audit_log::integrate(self).await.map_err(failed)?;
        }
        self.ready.store(taken, Ordering::Release);
        Ok(taken)
    }

    /// Begins if that could not be done at the start.
    pub(crate) async fn ensure_begun(&self) -> Result<()> {
        if self.is_ready() || self.try_begin().await? { Ok(()) } else { Err(self.fenced()) }
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    /// Becomes the process that writes as this replica, once the one before is silent.
    async fn take_over(&self) -> sqlx::Result<bool> {
        let done = sqlx::query(
            "INSERT INTO replica (id, incarnation, applied, epoch, sees_redis, seen_time) VALUES ($1, $2, 0, 0, false, clock_timestamp())
             ON CONFLICT (id) DO UPDATE SET incarnation = $2, epoch = 0, seen_time = clock_timestamp()
             WHERE replica.seen_time < clock_timestamp() - make_interval(secs => $3)",
        )
        .bind(&self.replica)
        .bind(self.incarnation)
        .bind(SILENT.as_secs_f64())
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Says that this process ends, so that the next need not wait.
    pub async fn leave(&self) {
        let left = sqlx::query("UPDATE replica SET seen_time = 'epoch' WHERE id = $1 AND incarnation = $2")
            .bind(&self.replica)
            .bind(self.incarnation)
            .execute(&self.pool)
            .await;
        if let Err(error) = left {
            tracing::debug!(%error, "the replica ends without saying so");
        }
    }

    fn fenced(&self) -> StoreError {
        StoreError::Fenced(self.replica.clone())
    }
}

fn pool(url: &str) -> Result<PgPool> {
    let options = PgConnectOptions::from_str(url)
        .map_err(|e| StoreError::Permanent(format!("store.postgres_url is no connection URL: {e}")))?
        .application_name("tollgate")
        // Sums over a table of many millions look dear enough to be compiled first, which takes longer than they do.
        .options([("jit", "off")]);
    let pool = PgPoolOptions::new().max_connections(8).acquire_timeout(Duration::from_secs(2));
    Ok(pool.connect_lazy_with(options))
}

#[async_trait]
impl Store for PostgresStore {
    async fn apply(&self, batch: &Batch) -> Result<Vec<BudgetAlert>> {
        self.apply_batch(batch).await
    }

    async fn put(&self, objects: &[(Object, i64)]) -> Result<PutOutcome> {
        apply::put(&self.pool, objects).await.map_err(failed)
    }

    async fn positions(&self) -> Result<Positions> {
        read::positions(&self.pool, &self.replica).await.map_err(failed)
    }

    async fn objects_after(&self, version: i64) -> Result<Vec<(i64, Object)>> {
        read::objects_after(&self.pool, version).await.map_err(failed)
    }

    async fn balances(&self, from: &[(String, i64)]) -> Result<Vec<Balance>> {
        read::balances(&self.pool, from).await.map_err(failed)
    }

    async fn all_balances(&self, after: Option<&Balance>, limit: i64) -> Result<Vec<Balance>> {
        read::all_balances(&self.pool, after, limit).await.map_err(failed)
    }

    async fn cube(&self) -> Result<Vec<(Cell, Sums)>> {
        read::cube(&self.pool).await.map_err(failed)
    }

    async fn findings(&self) -> Result<Vec<LedgerFinding>> {
        read::findings(&self.pool).await.map_err(failed)
    }

    async fn idempotency_since(&self, since_us: i64) -> Result<Vec<(Idempotency, String)>> {
        read::idempotency_since(&self.pool, since_us).await.map_err(failed)
    }

    async fn entries(&self, query: &EntryQuery) -> Result<Vec<Posted>> {
        read::entries(&self.pool, query).await.map_err(failed)
    }

    async fn spend(&self, query: &SpendQuery) -> Result<Vec<SpendRow>> {
        read::spend(&self.pool, query).await.map_err(failed)
    }

    async fn alerts(&self, budget_id: Option<&str>, after: i64, limit: i64) -> Result<Vec<(i64, BudgetAlert)>> {
        read::alerts(&self.pool, budget_id, after, limit).await.map_err(failed)
    }

    async fn tail(
        &self,
        payer: &Payer,
        after: Option<Tail>,
        limit: i64,
    ) -> Result<(Tail, Vec<Posted>, Vec<(i64, BudgetAlert)>)> {
        read::tail(&self.pool, payer, after, limit).await.map_err(failed)
    }

    async fn leases(&self) -> Result<Vec<Lease>> {
        read::leases(&self.pool).await.map_err(failed)
    }

    async fn records(&self, filter: &AuditFilter, after_sequence: i64, limit: i64) -> Result<Vec<AuditRecord>> {
        read::records(&self.pool, filter, after_sequence, limit).await.map_err(failed)
    }

    async fn records_end(&self, after: i64) -> Result<i64> {
        read::records_end(&self.pool, after).await.map_err(failed)
    }
}

/// Classes and codes that may pass: connection, serialization, resources, operator intervention (PostgreSQL's appendix A), and a plan
/// that a migration made stale.
fn passes(code: &str) -> bool {
    ["08", "53", "57", "58", "40"].iter().any(|class| code.starts_with(class)) || matches!(code, "0A000" | "55P03")
}

fn failed(error: sqlx::Error) -> StoreError {
    match &error {
        sqlx::Error::Database(e) if !e.code().is_some_and(|code| passes(&code)) => {
            StoreError::Permanent(error.to_string())
        }
        sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. } | sqlx::Error::ColumnNotFound(_) => {
            StoreError::Permanent(error.to_string())
        }
        _ => StoreError::Unavailable(error.to_string()),
    }
}

fn lost(error: sqlx::Error) -> Lost {
    Lost::Gone(error.to_string())
}

/// Microseconds since the epoch of a protobuf time; absent: 0.
fn micros(time: Option<&prost_types::Timestamp>) -> i64 {
    time.map_or(0, tollgate_domain::micros)
}
