//! How fast the ledger of record takes entries: batches as the shipper makes them, over five budgets each, into a PostgreSQL of its own.
//!
//! ```text
//! cargo run --release -p tollgate-ledger-tests --bin tollgate-flush -- 1000000
//! ```

#![allow(clippy::unwrap_used)] // a benchmark says by panicking

use std::time::Instant;

use tollgate_domain::{CallId, timestamp};
use tollgate_ledger_tests::bench::START;
use tollgate_proto::v1::SpendGroup;
use tollgate_proto::v1::{AuditRecord, BudgetCharge, InputUsage, LedgerEntry, LedgerEntryKind, OutputUsage, Usage};
use tollgate_services::Postgres;
use tollgate_store::{Batch, Change, LedgerRow, Payer, SpendQuery, Store};
use tollgate_store_postgres::PostgresStore;

const BATCH: usize = 2_000;
const KEYS: usize = 1_000;

fn row(sequence: i64) -> LedgerRow {
    let key = sequence as usize * 7_919 % KEYS;
    let (attempt, team) = (CallId::new().attempt(1).to_string(), key % 50);
    let budgets = [
        format!("key{key}"),
        format!("team{team}"),
        format!("user{}", key % 300),
        "organization".into(),
        "gateway".into(),
    ];
    let entry = LedgerEntry {
        call_id: attempt[..36].into(),
        attempt_id: attempt,
        key_id: format!("key_{key}"),
        team_id: format!("team_{team}"),
        user_id: format!("user_{}", key % 300),
        organization_id: "org".into(),
        model: format!("model-{}", key % 8),
        provider: format!("provider-{}", key % 3),
        deployment: "deployment".into(),
        kind: LedgerEntryKind::Exact as i32,
        usage: Some(Usage {
            input: Some(InputUsage { total: 812, cached_read: 256, ..InputUsage::default() }),
            output: Some(OutputUsage { total: 241, ..OutputUsage::default() }),
            cost_nano_usd: 123_456,
            ..Usage::default()
        }),
        cost_nano_usd: 123_456,
        held_nano_usd: 400_000,
        low_nano_usd: 123_456,
        high_nano_usd: 123_456,
        price_version: "v1".into(),
        settle_time: Some(timestamp(START * 1_000_000 + sequence)),
        outcome: "complete".into(),
        sequence,
        charges: budgets.into_iter().map(|budget_id| BudgetCharge { budget_id, window: START }).collect(),
        ..LedgerEntry::default()
    };
    LedgerRow { lease_windows: vec![START; entry.charges.len()], entry, idempotency: None }
}

fn batch(first: i64, records: bool) -> Batch {
    let rows = first..first + BATCH as i64;
    let changes = rows.flat_map(|sequence| {
        let row = row(sequence);
        let record = AuditRecord {
            sequence,
            action: "completion.create".into(),
            key_id: row.entry.key_id.clone(),
            call_id: row.entry.call_id.clone(),
            time: row.entry.settle_time,
            ..AuditRecord::default()
        };
        [Some(Change::Entry(Box::new(row))), records.then(|| Change::Record(Box::new(record)))].into_iter().flatten()
    });
    Batch { changes: changes.collect(), through: (first as u64 + BATCH as u64) * 2, ..Batch::default() }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let wanted: usize = std::env::args().nth(1).map_or(200_000, |n| n.parse().unwrap());
    let postgres = Postgres::start();
    for records in [false, true] {
        let database = postgres.database();
        let store = PostgresStore::connect(&database.url, "r1").await.unwrap();
        let (mut first, mut spent, begun) = (1, std::time::Duration::ZERO, Instant::now());
        while (first as usize) < wanted {
            let batch = batch(first, records);
            let at = Instant::now();
            store.apply(&batch).await.unwrap();
            spent += at.elapsed();
            first += BATCH as i64;
        }
        let rate = wanted as f64 / spent.as_secs_f64();
        let what = if records { "entries, each with its audit record" } else { "entries" };
        println!(
            "{wanted} {what}: {:.1} s in the store ({:.1} s with making them), {rate:.0} a second",
            spent.as_secs_f64(),
            begun.elapsed().as_secs_f64()
        );
        for group_by in [SpendGroup::Key, SpendGroup::Team, SpendGroup::Model, SpendGroup::Day] {
            let query = SpendQuery { payer: Payer::default(), start_us: 0, end_us: i64::MAX, group_by };
            let at = Instant::now();
            let rows = store.spend(&query).await.unwrap().len();
            println!("  spend by {group_by:?}: {rows} rows in {:.1} ms", at.elapsed().as_secs_f64() * 1e3);
        }
    }
}
