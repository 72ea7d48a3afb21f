//! The ledger of record in embedded SQLite: one writer connection, a few readers, WAL.
//!
//! Batches come from the journal, which is the durability: a batch that is lost with the machine's power is sent again at the next
//! start. `synchronous = NORMAL` is therefore enough.

mod apply;
mod audit_log;
mod batches;
mod bodies;
mod read;
mod responses;

use std::{path::Path, time::Duration};

use async_trait::async_trait;
use sqlx::{
    SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tollgate_proto::v1::{AuditFilter, AuditRecord, BudgetAlert, Lease, LedgerFinding, SpendRow};
use tollgate_store::{
    Balance, Batch, Cell, EntryQuery, Idempotency, Object, Payer, Positions, Posted, PutOutcome, Result, SpendQuery,
    Store, StoreError, Sums, Tail,
};

/// The store.
pub struct SqliteStore {
    writer: SqlitePool,
    readers: SqlitePool,
}

impl SqliteStore {
    /// Opens the file, makes it where it is missing, and brings its schema up to date.
    pub async fn open(path: &Path) -> Result<Self> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            // What is deleted is overwritten: an erased key is in no free page.
            .pragma("secure_delete", "ON")
            .busy_timeout(Duration::from_secs(5));
        let writer = SqlitePoolOptions::new().max_connections(1).connect_with(options.clone()).await.map_err(failed)?;
        sqlx::migrate!().run(&writer).await.map_err(|e| StoreError::Permanent(format!("migration: {e}")))?;
        let readers = SqlitePoolOptions::new()
            .max_connections(4)
            .connect_lazy_with(options.read_only(true).create_if_missing(false));
        let store = Self { writer, readers };
        audit_log::integrate(&store).await.map_err(failed)?;
        Ok(store)
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn apply(&self, batch: &Batch) -> Result<Vec<BudgetAlert>> {
        apply::apply(&self.writer, batch).await.map_err(failed)
    }

    async fn put(&self, objects: &[(Object, i64)]) -> Result<PutOutcome> {
        apply::put(&self.writer, objects).await.map_err(failed)
    }

    async fn positions(&self) -> Result<Positions> {
        read::positions(&self.readers).await.map_err(failed)
    }

    async fn objects_after(&self, version: i64) -> Result<Vec<(i64, Object)>> {
        read::objects_after(&self.readers, version).await.map_err(failed)
    }

    async fn balances(&self, from: &[(String, i64)]) -> Result<Vec<Balance>> {
        read::balances(&self.readers, from).await.map_err(failed)
    }

    async fn all_balances(&self, after: Option<&Balance>, limit: i64) -> Result<Vec<Balance>> {
        read::all_balances(&self.readers, after, limit).await.map_err(failed)
    }

    async fn cube(&self) -> Result<Vec<(Cell, Sums)>> {
        read::cube(&self.readers).await.map_err(failed)
    }

    async fn findings(&self) -> Result<Vec<LedgerFinding>> {
        read::findings(&self.readers).await.map_err(failed)
    }

    async fn idempotency_since(&self, since_us: i64) -> Result<Vec<(Idempotency, String)>> {
        read::idempotency_since(&self.readers, since_us).await.map_err(failed)
    }

    async fn entries(&self, query: &EntryQuery) -> Result<Vec<Posted>> {
        read::entries(&self.readers, query).await.map_err(failed)
    }

    async fn spend(&self, query: &SpendQuery) -> Result<Vec<SpendRow>> {
        read::spend(&self.readers, query).await.map_err(failed)
    }

    async fn alerts(&self, budget_id: Option<&str>, after: i64, limit: i64) -> Result<Vec<(i64, BudgetAlert)>> {
        read::alerts(&self.readers, budget_id, after, limit).await.map_err(failed)
    }

    async fn tail(
        &self,
        payer: &Payer,
        after: Option<Tail>,
        limit: i64,
    ) -> Result<(Tail, Vec<Posted>, Vec<(i64, BudgetAlert)>)> {
        // One writer appends in order, so the end is known before anything is read.
        let end = read::end(&self.readers).await.map_err(failed)?;
        let Some(after) = after else { return Ok((end, Vec::new(), Vec::new())) };
        let query = EntryQuery { payer: payer.clone(), after: after.entry, limit, ..EntryQuery::default() };
        let mut entries = self.entries(&query).await?;
        entries.retain(|posted| posted.position <= end.entry);
        let mut alerts = self.alerts(None, after.alert, limit).await?;
        alerts.retain(|(position, _)| *position <= end.alert);
        Ok((Tail::reached(end, limit, &entries, &alerts), entries, alerts))
    }

    async fn leases(&self) -> Result<Vec<Lease>> {
        Ok(Vec::new())
    }

    async fn records(&self, filter: &AuditFilter, after_sequence: i64, limit: i64) -> Result<Vec<AuditRecord>> {
        read::records(&self.readers, filter, after_sequence, limit).await.map_err(failed)
    }

    async fn records_end(&self, after: i64) -> Result<i64> {
        // There is one writer.
        let last = sqlx::query_scalar("SELECT coalesce(max(sequence), 0) FROM audit_record").fetch_one(&self.readers);
        let last: i64 = last.await.map_err(failed)?;
        Ok(last.max(after))
    }
}

/// SQLite's primary result codes that may pass: BUSY, LOCKED, IOERR, FULL, CANTOPEN.
const PASSING: [i32; 5] = [5, 6, 10, 13, 14];

fn failed(error: sqlx::Error) -> StoreError {
    let code = error.as_database_error().and_then(|e| e.code()).and_then(|c| c.parse::<i32>().ok());
    match (&error, code) {
        (_, Some(code)) if PASSING.contains(&(code & 0xff)) => StoreError::Unavailable(error.to_string()),
        (sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut, _) => StoreError::Unavailable(error.to_string()),
        _ => StoreError::Permanent(error.to_string()),
    }
}

/// Microseconds since the epoch of a protobuf time; absent: 0.
fn micros(time: Option<&prost_types::Timestamp>) -> i64 {
    time.map_or(0, tollgate_domain::micros)
}
