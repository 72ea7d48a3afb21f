use std::collections::HashSet;

use prost::Message;
use sqlx::{PgConnection, PgPool, Postgres, Transaction, query::Query};
use tollgate_proto::v1::{AuditRecord, BudgetAlert};
use tollgate_store::{
    AlertRule, Batch, Change, LedgerRow, Object, PutOutcome, Result, Rollup, StoreError, Sums, raise_alerts,
};
use tollgate_tlog::leaf_hash;

use crate::{PostgresStore, audit_log::fill_tiles, bodies, failed, micros};

type Tx<'a> = Transaction<'a, Postgres>;

/// Names the lock under which objects change: one at a time, so that versions appear in order.
const OBJECTS: i64 = 0x746f_6c6c_6f62_6a73;

impl PostgresStore {
    pub(crate) async fn apply_batch(&self, batch: &Batch) -> Result<Vec<BudgetAlert>> {
        if !self.is_ready() {
            return Err(StoreError::Unavailable("this process has not begun to write there".into()));
        }
        let mut tx = self.pool.begin().await.map_err(failed)?;
        let done = sqlx::query(
            "UPDATE replica SET applied = greatest(applied, $3), seen_time = clock_timestamp() WHERE id = $1 AND incarnation = $2",
        )
        .bind(&self.replica)
        .bind(self.incarnation)
        .bind(batch.through as i64)
        .execute(&mut *tx)
        .await
        .map_err(failed)?;
        if done.rows_affected() == 0 {
            return Err(self.fenced());
        }
        let alerts = apply(&mut tx, &self.replica, batch).await.map_err(failed)?;
        tx.commit().await.map_err(|e| StoreError::Unavailable(e.to_string()))?;
        Ok(alerts)
    }
}

async fn apply(tx: &mut Tx<'_>, replica: &str, batch: &Batch) -> sqlx::Result<Vec<BudgetAlert>> {
    let (mut objects, mut rows, mut records) = (Vec::new(), Vec::new(), Vec::new());
    let (mut bodies, mut erasures) = (Vec::new(), Vec::new());
    for change in &batch.changes {
        match change {
            Change::Object(object) => objects.push(&**object),
            Change::Entry(row) => rows.push(&**row),
            Change::Record(record) => records.push(&**record),
            Change::Body(body) => bodies.push(&**body),
            Change::Erasure(erasure) => erasures.push(&**erasure),
        }
    }
    if !objects.is_empty() {
        sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(OBJECTS).execute(&mut **tx).await?;
        sqlx::query("SELECT pg_notify('tollgate_object', '')").execute(&mut **tx).await?;
        put_objects(tx, &objects).await?;
    }
    let mut alerts = Vec::new();
    if !rows.is_empty() {
        let new = append_entries(tx, replica, &rows).await?;
        let mut first = HashSet::new();
        let rollup = Rollup::of(
            rows.iter()
                .filter(|r| new.contains(&r.entry.attempt_id) && first.insert(r.entry.attempt_id.as_str()))
                .copied(),
        );
        use_leases(tx, replica, &rollup).await?;
        alerts = move_balances(tx, &rollup, batch).await?;
        move_spend(tx, &rollup).await?;
    }
    if !records.is_empty() {
        append_records(tx, replica, &records).await?;
    }
    if let (Some(first), Some(last)) = (records.first(), records.last()) {
        fill_tiles(tx, replica, (first.sequence.max(1) - 1) as u64, last.sequence.max(0) as u64).await?;
    }
    bodies::append(tx, &bodies).await?;
    bodies::erase(tx, &erasures).await?;
    Ok(alerts)
}

pub(crate) async fn put(pool: &PgPool, objects: &[(Object, i64)]) -> sqlx::Result<PutOutcome> {
    let mut named = HashSet::new();
    if !objects.iter().all(|(object, _)| named.insert((object.kind(), object.id()))) {
        return Ok(PutOutcome::Conflict);
    }
    let mut tx = pool.begin().await?;
    sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(OBJECTS).execute(&mut *tx).await?;
    let changed: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM unnest($1::text[], $2::text[], $3::bigint[]) AS read (kind, id, version)
         LEFT JOIN object USING (kind, id) WHERE coalesce(object.version, 0) <> read.version",
    )
    .bind(objects.iter().map(|(object, _)| object.kind()).collect::<Vec<_>>())
    .bind(objects.iter().map(|(object, _)| object.id()).collect::<Vec<_>>())
    .bind(objects.iter().map(|(_, version)| *version).collect::<Vec<_>>())
    .fetch_one(&mut *tx)
    .await?;
    if changed > 0 {
        return Ok(PutOutcome::Conflict);
    }
    put_objects(&mut tx, &objects.iter().map(|(object, _)| object).collect::<Vec<_>>()).await?;
    sqlx::query("SELECT pg_notify('tollgate_object', '')").execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(PutOutcome::Done)
}

/// Puts objects in their order; of one that is there more than once the last.
async fn put_objects(tx: &mut PgConnection, objects: &[&Object]) -> sqlx::Result<()> {
    let mut named = HashSet::new();
    let mut last: Vec<_> = objects.iter().rev().filter(|object| named.insert((object.kind(), object.id()))).collect();
    last.reverse();
    sqlx::query(
        "INSERT INTO object (kind, id, version, object)
         SELECT kind, id, (SELECT coalesce(max(version), 0) FROM object) + nth, object
         FROM unnest($1::text[], $2::text[], $3::bytea[]) WITH ORDINALITY AS put (kind, id, object, nth)
         ON CONFLICT (kind, id) DO UPDATE SET version = excluded.version, object = excluded.object",
    )
    .bind(last.iter().map(|object| object.kind()).collect::<Vec<_>>())
    .bind(last.iter().map(|object| object.id()).collect::<Vec<_>>())
    .bind(last.iter().map(|object| object.encode_to_vec()).collect::<Vec<_>>())
    .execute(tx)
    .await?;
    Ok(())
}

/// Appends those that are new and tells which they were.
async fn append_entries(tx: &mut Tx<'_>, replica: &str, rows: &[&LedgerRow]) -> sqlx::Result<HashSet<String>> {
    macro_rules! column {
        ($row:ident => $value:expr) => {
            rows.iter().map(|$row| $value).collect::<Vec<_>>()
        };
    }
    let sums: Vec<_> = rows.iter().map(|row| Sums::of(&row.entry)).collect();
    let new: Vec<String> = sqlx::query_scalar(
        "INSERT INTO ledger_entry (attempt_id, call_id, key_id, organization_id, team_id, user_id, customer, tags, model, provider,
             kind, input_tokens, output_tokens, cost_nano_usd, saved_nano_usd, settle_time_us, sequence, entry, idempotency,
             fingerprint, replica)
         SELECT *, $21 FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
             $9::text[], $10::text[], $11::int[], $12::bigint[], $13::bigint[], $14::bigint[], $15::bigint[], $16::bigint[],
             $17::bigint[], $18::bytea[], $19::bytea[], $20::bytea[])
         ON CONFLICT (attempt_id) DO NOTHING RETURNING attempt_id",
    )
    .bind(column!(r => r.entry.attempt_id.as_str()))
    .bind(column!(r => r.entry.call_id.as_str()))
    .bind(column!(r => r.entry.key_id.as_str()))
    .bind(column!(r => r.entry.organization_id.as_str()))
    .bind(column!(r => r.entry.team_id.as_str()))
    .bind(column!(r => r.entry.user_id.as_str()))
    .bind(column!(r => r.entry.customer.as_str()))
    .bind(column!(r => serde_json::json!(r.entry.tags).to_string()))
    .bind(column!(r => r.entry.model.as_str()))
    .bind(column!(r => r.entry.provider.as_str()))
    .bind(column!(r => r.entry.kind))
    .bind(sums.iter().map(|s| s.input_tokens).collect::<Vec<_>>())
    .bind(sums.iter().map(|s| s.output_tokens).collect::<Vec<_>>())
    .bind(column!(r => r.entry.cost_nano_usd))
    .bind(column!(r => r.entry.saved_nano_usd))
    .bind(column!(r => micros(r.entry.settle_time.as_ref())))
    .bind(column!(r => r.entry.sequence))
    .bind(column!(r => r.entry.encode_to_vec()))
    .bind(column!(r => r.idempotency.as_ref().map(|i| i.key.as_slice())))
    .bind(column!(r => r.idempotency.as_ref().map(|i| i.fingerprint.as_slice())))
    .bind(replica)
    .fetch_all(&mut **tx)
    .await?;
    Ok(new.into_iter().collect())
}

/// What was spent is no longer leased: in the same transaction that posts it.
async fn use_leases(tx: &mut Tx<'_>, replica: &str, rollup: &Rollup) -> sqlx::Result<()> {
    if rollup.leases.is_empty() {
        return Ok(());
    }
    let (keys, used): (Vec<_>, Vec<_>) = rollup.leases.iter().map(|(key, used)| (key, *used)).unzip();
    let budgets: Vec<_> = keys.iter().map(|(budget, _)| budget.as_str()).collect();
    let windows: Vec<_> = keys.iter().map(|(_, window)| *window).collect();
    sqlx::query("SELECT lock_leases($1, $2)").bind(&budgets).bind(&windows).execute(&mut **tx).await?;
    sqlx::query(
        "UPDATE lease SET outstanding_nano_usd = greatest(outstanding_nano_usd - used, 0)
         FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS u (b, w, used)
         WHERE budget_id = b AND \"window\" = w AND replica = $4",
    )
    .bind(&budgets)
    .bind(&windows)
    .bind(&used)
    .bind(replica)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

async fn move_balances(tx: &mut Tx<'_>, rollup: &Rollup, batch: &Batch) -> sqlx::Result<Vec<BudgetAlert>> {
    let (keys, spent): (Vec<_>, Vec<_>) = rollup.balances.iter().map(|(key, spent)| (key, *spent)).unzip();
    let now: Vec<(String, i64, i64)> = sqlx::query_as(
        "INSERT INTO balance SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[])
         ON CONFLICT (budget_id, \"window\") DO UPDATE SET spent_nano_usd = balance.spent_nano_usd + excluded.spent_nano_usd
         RETURNING budget_id, \"window\", spent_nano_usd",
    )
    .bind(keys.iter().map(|(budget, _)| budget.as_str()).collect::<Vec<_>>())
    .bind(keys.iter().map(|(_, window)| *window).collect::<Vec<_>>())
    .bind(spent)
    .fetch_all(&mut **tx)
    .await?;
    let mut raised = Vec::new();
    for (budget_id, window, spent) in now {
        let Some(rule) = batch.rules.get(&budget_id) else { continue };
        let total = rolling_total(tx, &budget_id, rule).await?.unwrap_or(spent);
        for alert in raise_alerts(&budget_id, window, total, rule, batch) {
            if keep_alert(tx, &alert).await? {
                raised.push(alert);
            }
        }
    }
    Ok(raised)
}

async fn rolling_total(tx: &mut Tx<'_>, budget_id: &str, rule: &AlertRule) -> sqlx::Result<Option<i64>> {
    let Some(from) = rule.rolling_from else { return Ok(None) };
    sqlx::query_scalar("SELECT sum(spent_nano_usd)::bigint FROM balance WHERE budget_id = $1 AND \"window\" >= $2")
        .bind(budget_id)
        .bind(from)
        .fetch_one(&mut **tx)
        .await
}

/// Whether the alert is new.
async fn keep_alert(tx: &mut Tx<'_>, alert: &BudgetAlert) -> sqlx::Result<bool> {
    let done = sqlx::query(
        "INSERT INTO budget_alert (budget_id, \"window\", percent, alert) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
    )
    .bind(&alert.budget_id)
    .bind(alert.window)
    .bind(alert.percent)
    .bind(alert.encode_to_vec())
    .execute(&mut **tx)
    .await?;
    Ok(done.rows_affected() > 0)
}

async fn move_spend(tx: &mut Tx<'_>, rollup: &Rollup) -> sqlx::Result<()> {
    macro_rules! cells {
        ($of:expr, $cell:ident => $value:expr) => {
            $of.keys().map(|$cell| $value).collect::<Vec<_>>()
        };
    }
    let cells = &rollup.cells;
    let insert = sqlx::query(
        "INSERT INTO spend_cell SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[],
             $7::text[], $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[])
         ON CONFLICT (day, key_id, organization_id, team_id, user_id, model, provider) DO UPDATE SET
             entries = spend_cell.entries + excluded.entries, cost_nano_usd = spend_cell.cost_nano_usd + excluded.cost_nano_usd,
             estimated_nano_usd = spend_cell.estimated_nano_usd + excluded.estimated_nano_usd,
             input_tokens = spend_cell.input_tokens + excluded.input_tokens,
             output_tokens = spend_cell.output_tokens + excluded.output_tokens,
             saved_nano_usd = spend_cell.saved_nano_usd + excluded.saved_nano_usd",
    )
    .bind(cells!(cells, c => c.day))
    .bind(cells!(cells, c => c.key_id.as_str()))
    .bind(cells!(cells, c => c.organization_id.as_str()))
    .bind(cells!(cells, c => c.team_id.as_str()))
    .bind(cells!(cells, c => c.user_id.as_str()))
    .bind(cells!(cells, c => c.model.as_str()))
    .bind(cells!(cells, c => c.provider.as_str()));
    bind_sums(insert, cells.values()).execute(&mut **tx).await?;
    let labels = &rollup.labels;
    if labels.is_empty() {
        return Ok(());
    }
    let insert = sqlx::query(
        "INSERT INTO spend_label SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[],
             $7::text[], $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[])
         ON CONFLICT (kind, day, value, key_id, organization_id, team_id, user_id) DO UPDATE SET
             entries = spend_label.entries + excluded.entries, cost_nano_usd = spend_label.cost_nano_usd + excluded.cost_nano_usd,
             estimated_nano_usd = spend_label.estimated_nano_usd + excluded.estimated_nano_usd,
             input_tokens = spend_label.input_tokens + excluded.input_tokens,
             output_tokens = spend_label.output_tokens + excluded.output_tokens,
             saved_nano_usd = spend_label.saved_nano_usd + excluded.saved_nano_usd",
    )
    .bind(cells!(labels, c => c.day))
    .bind(cells!(labels, c => c.kind))
    .bind(cells!(labels, c => c.value.as_str()))
    .bind(cells!(labels, c => c.key_id.as_str()))
    .bind(cells!(labels, c => c.organization_id.as_str()))
    .bind(cells!(labels, c => c.team_id.as_str()))
    .bind(cells!(labels, c => c.user_id.as_str()));
    bind_sums(insert, labels.values()).execute(&mut **tx).await?;
    Ok(())
}

type Insert<'q> = Query<'q, Postgres, sqlx::postgres::PgArguments>;

fn bind_sums<'q, 's>(insert: Insert<'q>, sums: impl Iterator<Item = &'s Sums> + Clone) -> Insert<'q> {
    insert
        .bind(sums.clone().map(|s| s.entries).collect::<Vec<_>>())
        .bind(sums.clone().map(|s| s.cost).collect::<Vec<_>>())
        .bind(sums.clone().map(|s| s.estimated).collect::<Vec<_>>())
        .bind(sums.clone().map(|s| s.input_tokens).collect::<Vec<_>>())
        .bind(sums.clone().map(|s| s.output_tokens).collect::<Vec<_>>())
        .bind(sums.map(|s| s.saved).collect::<Vec<_>>())
}

async fn append_records(tx: &mut Tx<'_>, replica: &str, records: &[&AuditRecord]) -> sqlx::Result<()> {
    let leaves: Vec<_> = records.iter().map(|r| r.encode_to_vec()).collect();
    let hashes: Vec<_> = leaves.iter().map(|leaf| leaf_hash(leaf).0.to_vec()).collect();
    sqlx::query(
        "INSERT INTO audit_record (sequence, time_us, action, key_id, call_id, record, leaf_hash, replica)
         SELECT *, $8 FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::bytea[], $7::bytea[])
         ON CONFLICT (replica, sequence) DO NOTHING",
    )
    .bind(records.iter().map(|r| r.sequence).collect::<Vec<_>>())
    .bind(records.iter().map(|r| micros(r.time.as_ref())).collect::<Vec<_>>())
    .bind(records.iter().map(|r| r.action.as_str()).collect::<Vec<_>>())
    .bind(records.iter().map(|r| r.key_id.as_str()).collect::<Vec<_>>())
    .bind(records.iter().map(|r| r.call_id.as_str()).collect::<Vec<_>>())
    .bind(leaves)
    .bind(hashes)
    .bind(replica)
    .execute(&mut **tx)
    .await?;
    Ok(())
}
