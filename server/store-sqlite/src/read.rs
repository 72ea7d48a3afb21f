use prost::Message;
use sqlx::{QueryBuilder, Row, Sqlite, SqlitePool, sqlite::SqliteRow};
use tollgate_domain::micros as micros_of;
use tollgate_proto::v1::{
    AuditFilter, AuditRecord, BudgetAlert, LedgerEntry, LedgerEntryKind, LedgerFinding, SpendGroup, SpendRow,
};
use tollgate_store::{
    Balance, Cell, DAY_US, EntryQuery, Idempotency, Object, Payer, Positions, Posted, SpendQuery, Sums, Tail,
};

use crate::micros;

fn broken(what: impl std::error::Error + Send + Sync + 'static) -> sqlx::Error {
    sqlx::Error::Decode(Box::new(what))
}

pub(crate) async fn positions(readers: &SqlitePool) -> sqlx::Result<Positions> {
    let row = sqlx::query(
        "SELECT (SELECT applied FROM journal_position) AS journal,
                (SELECT coalesce(max(sequence), 0) FROM ledger_entry) AS ledger,
                (SELECT coalesce(max(sequence), 0) FROM audit_record) AS audit",
    )
    .fetch_one(readers)
    .await?;
    Ok(Positions {
        journal: row.try_get::<i64, _>("journal")? as u64,
        ledger: row.try_get("ledger")?,
        audit: row.try_get("audit")?,
    })
}

pub(crate) async fn objects_after(readers: &SqlitePool, version: i64) -> sqlx::Result<Vec<(i64, Object)>> {
    let rows = sqlx::query("SELECT version, object FROM object WHERE version > ? ORDER BY version")
        .bind(version)
        .fetch_all(readers)
        .await?;
    rows.iter().map(|row| Ok((row.try_get("version")?, decode(row, "object")?))).collect()
}

fn decode<M: Message + Default>(row: &SqliteRow, column: &str) -> sqlx::Result<M> {
    M::decode(row.try_get::<&[u8], _>(column)?).map_err(broken)
}

fn balance(row: &SqliteRow) -> sqlx::Result<Balance> {
    Ok(Balance {
        budget_id: row.try_get("budget_id")?,
        window: row.try_get("window")?,
        spent: row.try_get("spent_nano_usd")?,
    })
}

pub(crate) async fn balances(readers: &SqlitePool, from: &[(String, i64)]) -> sqlx::Result<Vec<Balance>> {
    let mut balances = Vec::new();
    for wanted in from.chunks(500) {
        let mut select = QueryBuilder::<Sqlite>::new("WITH wanted (id, since) AS (");
        select.push_values(wanted, |mut values, (id, since)| {
            values.push_bind(id).push_bind(since);
        });
        select.push(
            ") SELECT budget_id, window, spent_nano_usd FROM wanted
               JOIN balance ON budget_id = wanted.id AND window >= wanted.since",
        );
        let rows = select.build().fetch_all(readers).await?;
        balances.extend(rows.iter().map(balance).collect::<sqlx::Result<Vec<_>>>()?);
    }
    Ok(balances)
}

pub(crate) async fn all_balances(
    readers: &SqlitePool,
    after: Option<&Balance>,
    limit: i64,
) -> sqlx::Result<Vec<Balance>> {
    let (budget_id, window) = after.map_or(("", i64::MIN), |b| (b.budget_id.as_str(), b.window));
    let rows = sqlx::query(
        "SELECT budget_id, window, spent_nano_usd FROM balance WHERE (budget_id, window) > (?, ?)
         ORDER BY budget_id, window LIMIT ?",
    )
    .bind(budget_id)
    .bind(window)
    .bind(limit)
    .fetch_all(readers)
    .await?;
    rows.iter().map(balance).collect()
}

pub(crate) async fn cube(readers: &SqlitePool) -> sqlx::Result<Vec<(Cell, Sums)>> {
    let rows = sqlx::query("SELECT * FROM spend_cell").fetch_all(readers).await?;
    let of_row = |row: &SqliteRow| {
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

/// Entries whose columns say something else than the entry itself.
pub(crate) async fn findings(readers: &SqlitePool) -> sqlx::Result<Vec<LedgerFinding>> {
    let mut findings = Vec::new();
    let mut after = 0i64;
    loop {
        let rows = sqlx::query(
            "SELECT sequence, attempt_id, cost_nano_usd, key_id, entry FROM ledger_entry WHERE sequence > ?
             ORDER BY sequence LIMIT 10000",
        )
        .bind(after)
        .fetch_all(readers)
        .await?;
        let Some(last) = rows.last() else { return Ok(findings) };
        after = last.try_get("sequence")?;
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
}

pub(crate) async fn idempotency_since(readers: &SqlitePool, since_us: i64) -> sqlx::Result<Vec<(Idempotency, String)>> {
    let rows = sqlx::query(
        "SELECT idempotency, fingerprint, call_id FROM ledger_entry
         WHERE idempotency IS NOT NULL AND settle_time_us >= ? ORDER BY sequence",
    )
    .bind(since_us)
    .fetch_all(readers)
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
fn push_payer(select: &mut QueryBuilder<Sqlite>, payer: &Payer) {
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

pub(crate) async fn entries(readers: &SqlitePool, query: &EntryQuery) -> sqlx::Result<Vec<Posted>> {
    let mut select = QueryBuilder::new("SELECT sequence, entry FROM ledger_entry WHERE sequence > ");
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
    select.push(" ORDER BY sequence LIMIT ").push_bind(query.limit);
    let rows = select.build().fetch_all(readers).await?;
    rows.iter().map(|row| Ok(Posted { position: row.try_get("sequence")?, entry: decode(row, "entry")? })).collect()
}

/// Where a grouping is found: in whole days' sums, and in single entries.
fn grouping(group: SpendGroup) -> (&'static str, &'static str, &'static str, &'static str) {
    const CELLS: &str = "spend_cell WHERE 1";
    const ENTRIES: &str = "ledger_entry WHERE 1";
    match group {
        SpendGroup::Unspecified => ("''", CELLS, "''", ENTRIES),
        SpendGroup::Key => ("key_id", CELLS, "key_id", ENTRIES),
        SpendGroup::Model => ("model", CELLS, "model", ENTRIES),
        SpendGroup::Provider => ("provider", CELLS, "provider", ENTRIES),
        SpendGroup::Team => ("team_id", CELLS, "team_id", ENTRIES),
        SpendGroup::User => ("user_id", CELLS, "user_id", ENTRIES),
        SpendGroup::Organization => ("organization_id", CELLS, "organization_id", ENTRIES),
        SpendGroup::Day => (
            "strftime('%Y-%m-%d', day * 86400, 'unixepoch')",
            CELLS,
            "strftime('%Y-%m-%d', settle_time_us / 1000000, 'unixepoch')",
            ENTRIES,
        ),
        SpendGroup::Tag => {
            ("value", "spend_label WHERE kind = 'tag'", "label.value", "ledger_entry, json_each(tags) AS label WHERE 1")
        }
        SpendGroup::Customer => {
            ("value", "spend_label WHERE kind = 'customer'", "customer", "ledger_entry WHERE customer <> ''")
        }
    }
}

pub(crate) async fn spend(readers: &SqlitePool, query: &SpendQuery) -> sqlx::Result<Vec<SpendRow>> {
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
        "SELECT grp, sum(entries) AS entries, sum(cost) AS cost, sum(estimated) AS estimated, sum(input) AS input_tokens,
             sum(output) AS output_tokens, sum(saved) AS saved FROM (",
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
        select.push(" UNION ALL SELECT ").push(of_entries).push(", 1, cost_nano_usd, CASE WHEN kind IN (");
        select.push_bind(LedgerEntryKind::Estimated as i32).push(", ").push_bind(LedgerEntryKind::Recovered as i32);
        select.push(") THEN cost_nano_usd ELSE 0 END, input_tokens, output_tokens, saved_nano_usd FROM ").push(entries);
        select.push(" AND settle_time_us >= ").push_bind(from).push(" AND settle_time_us < ").push_bind(to);
        select.push(" AND kind <> ").push_bind(LedgerEntryKind::Opening as i32);
        push_payer(&mut select, &query.payer);
    }
    select.push(") GROUP BY grp");
    let rows = select.build().fetch_all(readers).await?;
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
    readers: &SqlitePool,
    budget_id: Option<&str>,
    after: i64,
    limit: i64,
) -> sqlx::Result<Vec<(i64, BudgetAlert)>> {
    let rows = sqlx::query(
        "SELECT position, alert FROM budget_alert WHERE position > ?1 AND (?2 IS NULL OR budget_id = ?2)
         ORDER BY position LIMIT ?3",
    )
    .bind(after)
    .bind(budget_id)
    .bind(limit)
    .fetch_all(readers)
    .await?;
    rows.iter().map(|row| Ok((row.try_get("position")?, decode(row, "alert")?))).collect()
}

pub(crate) async fn end(readers: &SqlitePool) -> sqlx::Result<Tail> {
    let row = sqlx::query(
        "SELECT (SELECT coalesce(max(sequence), 0) FROM ledger_entry) AS entry,
                (SELECT coalesce(max(position), 0) FROM budget_alert) AS alert",
    )
    .fetch_one(readers)
    .await?;
    Ok(Tail { entry: row.try_get("entry")?, alert: row.try_get("alert")? })
}

pub(crate) async fn records(
    readers: &SqlitePool,
    filter: &AuditFilter,
    after_sequence: i64,
    limit: i64,
) -> sqlx::Result<Vec<AuditRecord>> {
    let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let rows = sqlx::query(
        "SELECT record FROM audit_record
         WHERE sequence > ?1 AND (?2 IS NULL OR key_id = ?2) AND substr(action, 1, length(?3)) = ?3
           AND (?4 IS NULL OR call_id = ?4) AND time_us >= ?5 AND time_us < ?6
         ORDER BY sequence LIMIT ?7",
    )
    .bind(after_sequence)
    .bind(given(&filter.key_id))
    .bind(&filter.action_prefix)
    .bind(given(&filter.call_id))
    .bind(micros(filter.start_time.as_ref()))
    .bind(filter.end_time.as_ref().map_or(i64::MAX, micros_of))
    .bind(limit)
    .fetch_all(readers)
    .await?;
    rows.iter().map(|row| decode(row, "record")).collect()
}
