use std::time::Duration;

use prost::Message;
use sqlx::{PgPool, Postgres, QueryBuilder, Row, postgres::PgRow};
use tollgate_domain::micros as micros_of;
use tollgate_proto::v1::{
    AuditFilter, AuditRecord, BudgetAlert, Lease, LedgerEntry, LedgerEntryKind, LedgerFinding, SpendGroup, SpendRow,
};
use tollgate_store::{
    Balance, Cell, DAY_US, EntryQuery, Idempotency, Object, Payer, Positions, Posted, SpendQuery, Sums, Tail,
};

use crate::micros;

fn broken(what: impl std::error::Error + Send + Sync + 'static) -> sqlx::Error {
    sqlx::Error::Decode(Box::new(what))
}

pub(crate) async fn positions(pool: &PgPool, replica: &str) -> sqlx::Result<Positions> {
    let row = sqlx::query(
        "SELECT coalesce((SELECT applied FROM replica WHERE id = $1), 0) AS journal,
                coalesce((SELECT max(sequence) FROM ledger_entry WHERE replica = $1), 0) AS ledger,
                coalesce((SELECT max(sequence) FROM audit_record WHERE replica = $1), 0) AS audit",
    )
    .bind(replica)
    .fetch_one(pool)
    .await?;
    Ok(Positions {
        journal: row.try_get::<i64, _>("journal")? as u64,
        ledger: row.try_get("ledger")?,
        audit: row.try_get("audit")?,
    })
}

pub(crate) async fn objects_after(pool: &PgPool, version: i64) -> sqlx::Result<Vec<(i64, Object)>> {
    let rows = sqlx::query("SELECT version, object FROM object WHERE version > $1 ORDER BY version")
        .bind(version)
        .fetch_all(pool)
        .await?;
    rows.iter().map(|row| Ok((row.try_get("version")?, decode(row, "object")?))).collect()
}

fn decode<M: Message + Default>(row: &PgRow, column: &str) -> sqlx::Result<M> {
    M::decode(row.try_get::<&[u8], _>(column)?).map_err(broken)
}

fn balance(row: &PgRow) -> sqlx::Result<Balance> {
    Ok(Balance {
        budget_id: row.try_get("budget_id")?,
        window: row.try_get("window")?,
        spent: row.try_get("spent_nano_usd")?,
    })
}

pub(crate) async fn balances(pool: &PgPool, from: &[(String, i64)]) -> sqlx::Result<Vec<Balance>> {
    let rows = sqlx::query(
        "SELECT budget_id, \"window\", spent_nano_usd FROM unnest($1::text[], $2::bigint[]) AS wanted (id, since)
         JOIN balance ON budget_id = id AND \"window\" >= since",
    )
    .bind(from.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>())
    .bind(from.iter().map(|(_, since)| *since).collect::<Vec<_>>())
    .fetch_all(pool)
    .await?;
    rows.iter().map(balance).collect()
}

pub(crate) async fn all_balances(pool: &PgPool, after: Option<&Balance>, limit: i64) -> sqlx::Result<Vec<Balance>> {
    let (budget_id, window) = after.map_or(("", i64::MIN), |b| (b.budget_id.as_str(), b.window));
    let rows = sqlx::query(
        "SELECT budget_id, \"window\", spent_nano_usd FROM balance WHERE (budget_id, \"window\") > ($1, $2)
         ORDER BY budget_id, \"window\" LIMIT $3",
    )
    .bind(budget_id)
    .bind(window)
    .bind(limit)
    .fetch_all(pool)
    .await?;
    rows.iter().map(balance).collect()
}

pub(crate) async fn cube(pool: &PgPool) -> sqlx::Result<Vec<(Cell, Sums)>> {
    let rows = sqlx::query("SELECT * FROM spend_cell").fetch_all(pool).await?;
    let of_row = |row: &PgRow| {
        let cell = Cell {
            day: row.try_get("day")?,
            key_id: row.try_get("key_id")?,
            organization_id: row.try_get("organization_id")?,
            team_id: row.try_get("team_id")?,
            user_id: row.try_get("user_id")?,
            model: row.try_get("model")?,
            provider: row.try_get("provider")?,
        };
        let sums = Sums {
            entries: row.try_get("entries")?,
            cost: row.try_get("cost_nano_usd")?,
            estimated: row.try_get("estimated_nano_usd")?,
            input_tokens: row.try_get("input_tokens")?,
            output_tokens: row.try_get("output_tokens")?,
            saved: row.try_get("saved_nano_usd")?,
        };
        Ok((cell, sums))
    };
    rows.iter().map(of_row).collect()
}

/// Entries whose columns say something else than the entry itself, and leases of nobody.
pub(crate) async fn findings(pool: &PgPool) -> sqlx::Result<Vec<LedgerFinding>> {
    let mut findings = Vec::new();
    let mut after = 0i64;
    loop {
        let rows = sqlx::query(
            "SELECT position, cost_nano_usd, key_id, entry FROM ledger_entry WHERE position > $1 ORDER BY position LIMIT 10000",
        )
        .bind(after)
        .fetch_all(pool)
        .await?;
        let Some(last) = rows.last() else { break };
        after = last.try_get("position")?;
        for row in &rows {
            let entry: LedgerEntry = decode(row, "entry")?;
            let (cost, key_id): (i64, &str) = (row.try_get("cost_nano_usd")?, row.try_get("key_id")?);
            if cost != entry.cost_nano_usd || key_id != entry.key_id {
                findings.push(LedgerFinding {
                    invariant: "I11".into(),
                    subject: entry.attempt_id.clone(),
                    expected: format!("{} of {}", entry.cost_nano_usd, entry.key_id),
                    actual: format!("{cost} of {key_id}"),
                    message: "the entry's columns differ from the entry: somebody changed the row".into(),
                });
            }
        }
    }
    let orphans = sqlx::query(
        "SELECT budget_id, \"window\", replica, outstanding_nano_usd FROM lease
         WHERE outstanding_nano_usd <> 0 AND NOT EXISTS (SELECT 1 FROM replica WHERE id = lease.replica)",
    )
    .fetch_all(pool)
    .await?;
    for row in &orphans {
        let (budget_id, window): (&str, i64) = (row.try_get("budget_id")?, row.try_get("window")?);
        let (replica, outstanding): (&str, i64) = (row.try_get("replica")?, row.try_get("outstanding_nano_usd")?);
        findings.push(LedgerFinding {
            invariant: "I8".into(),
            subject: format!("budget {budget_id} window {window}"),
            expected: "a replica for every lease".into(),
            actual: format!("{outstanding} nano-dollars leased by {replica:?}, which does not exist"),
            message: "a hold belongs to nobody: CloseReplica gives it back".into(),
        });
    }
    Ok(findings)
}

pub(crate) async fn leases(pool: &PgPool) -> sqlx::Result<Vec<Lease>> {
    let rows = sqlx::query(
        "SELECT budget_id, \"window\", replica, outstanding_nano_usd,
                (extract(epoch FROM coalesce(seen_time, 'epoch')) * 1000000)::bigint AS seen_us
         FROM lease LEFT JOIN replica ON id = lease.replica WHERE outstanding_nano_usd <> 0 ORDER BY budget_id, \"window\", replica",
    )
    .fetch_all(pool)
    .await?;
    let lease = |row: &PgRow| {
        Ok(Lease {
            replica: row.try_get("replica")?,
            budget_id: row.try_get("budget_id")?,
            window: row.try_get("window")?,
            outstanding_nano_usd: row.try_get("outstanding_nano_usd")?,
            seen_time: Some(tollgate_domain::timestamp(row.try_get("seen_us")?)),
        })
    };
    rows.iter().map(lease).collect()
}

pub(crate) async fn idempotency_since(pool: &PgPool, since_us: i64) -> sqlx::Result<Vec<(Idempotency, String)>> {
    let rows = sqlx::query(
        "SELECT idempotency, fingerprint, call_id FROM ledger_entry
         WHERE idempotency IS NOT NULL AND settle_time_us >= $1 ORDER BY position",
    )
    .bind(since_us)
    .fetch_all(pool)
    .await?;
    rows.iter()
        .map(|row| {
            let idempotency =
                Idempotency { key: row.try_get("idempotency")?, fingerprint: row.try_get("fingerprint")? };
            Ok((idempotency, row.try_get("call_id")?))
        })
        .collect()
}

/// ` AND column = ?` for what is asked for.
fn push_payer(select: &mut QueryBuilder<Postgres>, payer: &Payer) {
    for (condition, value) in [
        (" AND key_id = ", &payer.key_id),
        (" AND organization_id = ", &payer.organization_id),
        (" AND team_id = ", &payer.team_id),
        (" AND user_id = ", &payer.user_id),
    ] {
        if let Some(value) = value {
            select.push(condition).push_bind(value.clone());
        }
    }
}

pub(crate) async fn entries(pool: &PgPool, query: &EntryQuery) -> sqlx::Result<Vec<Posted>> {
    let mut select = QueryBuilder::new("SELECT position, entry FROM ledger_entry WHERE position > ");
    select.push_bind(query.after);
    push_payer(&mut select, &query.payer);
    for (condition, value) in [
        (" AND call_id = ", &query.call_id),
        (" AND attempt_id = ", &query.attempt_id),
        (" AND provider = ", &query.provider),
    ] {
        if let Some(value) = value {
            select.push(condition).push_bind(value.clone());
        }
    }
    for (condition, value) in [(" AND settle_time_us >= ", query.start_us), (" AND settle_time_us < ", query.end_us)] {
        if let Some(value) = value {
            select.push(condition).push_bind(value);
        }
    }
    select.push(" ORDER BY position LIMIT ").push_bind(query.limit);
    let rows = select.build().fetch_all(pool).await?;
    rows.iter().map(|row| Ok(Posted { position: row.try_get("position")?, entry: decode(row, "entry")? })).collect()
}

/// Where a grouping is found: in whole days' sums, and in single entries.
fn grouping(group: SpendGroup) -> (&'static str, &'static str, &'static str, &'static str) {
    const CELLS: &str = "spend_cell WHERE true";
    const ENTRIES: &str = "ledger_entry WHERE true";
    match group {
        SpendGroup::Unspecified => ("''", CELLS, "''", ENTRIES),
        SpendGroup::Key => ("key_id", CELLS, "key_id", ENTRIES),
        SpendGroup::Model => ("model", CELLS, "model", ENTRIES),
        SpendGroup::Provider => ("provider", CELLS, "provider", ENTRIES),
        SpendGroup::Team => ("team_id", CELLS, "team_id", ENTRIES),
        SpendGroup::User => ("user_id", CELLS, "user_id", ENTRIES),
        SpendGroup::Organization => ("organization_id", CELLS, "organization_id", ENTRIES),
        SpendGroup::Day => (
            "to_char(to_timestamp(day * 86400) AT TIME ZONE 'UTC', 'YYYY-MM-DD')",
            CELLS,
            "to_char(to_timestamp(settle_time_us / 1000000) AT TIME ZONE 'UTC', 'YYYY-MM-DD')",
            ENTRIES,
        ),
        SpendGroup::Tag => (
            "value",
            "spend_label WHERE kind = 'tag'",
            "label",
            "ledger_entry, json_array_elements_text(tags::json) AS label WHERE true",
        ),
        SpendGroup::Customer => {
            ("value", "spend_label WHERE kind = 'customer'", "customer", "ledger_entry WHERE customer <> ''")
        }
    }
}

pub(crate) async fn spend(pool: &PgPool, query: &SpendQuery) -> sqlx::Result<Vec<SpendRow>> {
    // Whole days are summed already; only the entries of the first and the last day, where the range cuts them, are read.
    let first_day = query.start_us.div_euclid(DAY_US) + i64::from(query.start_us.rem_euclid(DAY_US) > 0);
    let end_day = query.end_us.div_euclid(DAY_US).max(first_day);
    let edges = [
        (query.start_us, query.end_us.min(first_day.saturating_mul(DAY_US))),
        // Without an end there is no day that is cut: today's sum has what there is of today.
        match query.end_us {
            i64::MAX => (0, 0),
            end_us => (query.start_us.max(end_day.saturating_mul(DAY_US)), end_us),
        },
    ];
    let (of_cells, cells, of_entries, entries) = grouping(query.group_by);
    let mut select = QueryBuilder::new(
        "SELECT grp, sum(entries)::bigint AS entries, sum(cost)::bigint AS cost, sum(estimated)::bigint AS estimated,
             sum(input)::bigint AS input_tokens, sum(output)::bigint AS output_tokens, sum(saved)::bigint AS saved FROM (",
    );
    // Names of columns and tables come from the table above, never from a caller.
    select.push("SELECT ").push(of_cells).push(
        " AS grp, entries, cost_nano_usd AS cost, estimated_nano_usd AS estimated, input_tokens AS input, output_tokens AS output,
             saved_nano_usd AS saved FROM ",
    );
    select.push(cells).push(" AND day >= ").push_bind(first_day).push(" AND day < ").push_bind(end_day);
    push_payer(&mut select, &query.payer);
    for (i, (from, to)) in edges.into_iter().enumerate() {
        // Within one day both edges are the same range.
        if from >= to || (i == 1 && edges[0].1 >= query.end_us) {
            continue;
        }
        select.push(" UNION ALL SELECT ").push(of_entries).push(", 1::bigint, cost_nano_usd, CASE WHEN kind IN (");
        select.push_bind(LedgerEntryKind::Estimated as i32).push(", ").push_bind(LedgerEntryKind::Recovered as i32);
        select.push(") THEN cost_nano_usd ELSE 0 END, input_tokens, output_tokens, saved_nano_usd FROM ").push(entries);
        select.push(" AND settle_time_us >= ").push_bind(from).push(" AND settle_time_us < ").push_bind(to);
        select.push(" AND kind <> ").push_bind(LedgerEntryKind::Opening as i32);
        push_payer(&mut select, &query.payer);
    }
    select.push(") AS parts GROUP BY grp");
    let rows = select.build().fetch_all(pool).await?;
    rows.iter()
        .map(|row| {
            Ok(SpendRow {
                group: row.try_get("grp")?,
                entries: row.try_get("entries")?,
                cost_nano_usd: row.try_get("cost")?,
                estimated_nano_usd: row.try_get("estimated")?,
                input_tokens: row.try_get("input_tokens")?,
                output_tokens: row.try_get("output_tokens")?,
                saved_nano_usd: row.try_get("saved")?,
            })
        })
        .collect()
}

pub(crate) async fn alerts(
    pool: &PgPool,
    budget_id: Option<&str>,
    after: i64,
    limit: i64,
) -> sqlx::Result<Vec<(i64, BudgetAlert)>> {
    let rows = sqlx::query(
        "SELECT position, alert FROM budget_alert WHERE position > $1 AND ($2::text IS NULL OR budget_id = $2)
         ORDER BY position LIMIT $3",
    )
    .bind(after)
    .bind(budget_id)
    .bind(limit)
    .fetch_all(pool)
    .await?;
    rows.iter().map(|row| Ok((row.try_get("position")?, decode(row, "alert")?))).collect()
}

/// What follows `after` in the ledger and among the alerts.
pub(crate) async fn tail(
    pool: &PgPool,
    payer: &Payer,
    after: Option<Tail>,
    limit: i64,
) -> sqlx::Result<(Tail, Vec<Posted>, Vec<(i64, BudgetAlert)>)> {
    let Tail { entry, alert } = after.unwrap_or_default();
    let [entry, alert] = ends(pool, [("ledger_entry", entry), ("budget_alert", alert)]).await?;
    let end = Tail { entry, alert };
    let Some(after) = after else { return Ok((end, Vec::new(), Vec::new())) };
    let mut select = QueryBuilder::new("SELECT position, entry FROM ledger_entry WHERE position > ");
    select.push_bind(after.entry).push(" AND position <= ").push_bind(end.entry);
    push_payer(&mut select, payer);
    select.push(" ORDER BY position LIMIT ").push_bind(limit);
    let rows = select.build().fetch_all(pool).await?;
    let posted = |row: &PgRow| Ok(Posted { position: row.try_get("position")?, entry: decode(row, "entry")? });
    let entries = rows.iter().map(posted).collect::<sqlx::Result<Vec<_>>>()?;
    let rows = sqlx::query(
        "SELECT position, alert FROM budget_alert WHERE position > $1 AND position <= $2 ORDER BY position LIMIT $3",
    )
    .bind(after.alert)
    .bind(end.alert)
    .bind(limit)
    .fetch_all(pool)
    .await?;
    let alert = |row: &PgRow| Ok((row.try_get("position")?, decode(row, "alert")?));
    let alerts = rows.iter().map(alert).collect::<sqlx::Result<Vec<(i64, BudgetAlert)>>>()?;
    Ok((Tail::reached(end, limit, &entries, &alerts), entries, alerts))
}

pub(crate) async fn records(
    pool: &PgPool,
    filter: &AuditFilter,
    after_sequence: i64,
    limit: i64,
) -> sqlx::Result<Vec<AuditRecord>> {
    let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let rows = sqlx::query(
        "SELECT position, record FROM audit_record
         WHERE position > $1 AND ($2::text IS NULL OR key_id = $2) AND starts_with(action, $3)
           AND ($4::text IS NULL OR call_id = $4) AND time_us >= $5 AND time_us < $6
         ORDER BY position LIMIT $7",
    )
    .bind(after_sequence)
    .bind(given(&filter.key_id))
    .bind(&filter.action_prefix)
    .bind(given(&filter.call_id))
    .bind(micros(filter.start_time.as_ref()))
    .bind(filter.end_time.as_ref().map_or(i64::MAX, micros_of))
    .bind(limit)
    .fetch_all(pool)
    .await?;
    // Of several replicas' logs the position in the store is the one order.
    rows.iter().map(|row| Ok(AuditRecord { sequence: row.try_get("position")?, ..decode(row, "record")? })).collect()
}

/// How often it is looked whether somebody still writes.
const WRITING: Duration = Duration::from_millis(10);

/// Up to where the records can be read.
pub(crate) async fn records_end(pool: &PgPool, after: i64) -> sqlx::Result<i64> {
    let [end] = ends(pool, [("audit_record", after)]).await?;
    Ok(end)
}

/// Up to where each table can be read, from a position on, without passing over what will stand there. All of one moment: what was written
/// together ends together.
///
/// Positions are given out in order and appear as their transactions end, in any order. Whoever was given one has a number as a transaction
/// since before: so what stands up to the last position is all there once no transaction is under way with a number below a new one.
async fn ends<const N: usize>(pool: &PgPool, tables: [(&str, i64); N]) -> sqlx::Result<[i64; N]> {
    let last = tables.map(|(table, after)| {
        format!("greatest((SELECT position FROM {table} ORDER BY position DESC LIMIT 1), {after})")
    });
    let last = format!("SELECT ARRAY[{}]::bigint[]", last.join(", "));
    let last: Vec<i64> = sqlx::query_scalar(sqlx::AssertSqlSafe(last)).fetch_one(pool).await?;
    let mut ends = tables.map(|(_, after)| after);
    if last == ends {
        return Ok(ends);
    }
    let new: i64 = sqlx::query_scalar("SELECT pg_current_xact_id()::text::bigint").fetch_one(pool).await?;
    loop {
        let oldest = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint";
        let oldest: i64 = sqlx::query_scalar(oldest).fetch_one(pool).await?;
        if oldest >= new {
            ends.copy_from_slice(&last);
            return Ok(ends);
        }
        tokio::time::sleep(WRITING).await;
    }
}
