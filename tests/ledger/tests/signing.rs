//! What is signed of records and when, whatever the clock does.

#![allow(clippy::unwrap_used)] // a test says by panicking

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use futures::StreamExt;
use tokio::sync::watch;
use tollgate_audit::{Notary, Piece, Whose, export};
use tollgate_domain::{Clock, micros, timestamp};
use tollgate_ledger::{End, Ledger, Options};
use tollgate_proto::v1::AuditRecord;
use tollgate_store::{ALONE, AuditLogs, Batch, Change, Store};
use tollgate_store_sqlite::SqliteStore;
use tollgate_tlog::{
    Memory, SigningKey,
    verify::{Options as Verified, verify},
};

/// 2026-11-20, in microseconds since 1970.
const NOW_US: i64 = 1_795_132_800_000_000;
const HOUR_US: i64 = 3_600_000_000;

/// A store whose records are signed, and a clock that goes where it is told to.
struct World {
    dir: tempfile::TempDir,
    store: Arc<SqliteStore>,
    notary: Arc<Notary>,
    now_us: Arc<AtomicI64>,
}

impl World {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(SqliteStore::open(&dir.path().join("store.db")).await.unwrap());
        let now_us = Arc::new(AtomicI64::new(NOW_US));
        let key = SigningKey::from_seed("tollgate", [7; 32]).unwrap();
        let notary = Arc::new(Notary::new(key, None, ALONE, store.clone(), clock(&now_us)));
        Self { dir, store, notary, now_us }
    }

    /// The store gets a record at this position.
    async fn record(&self, sequence: i64) {
        let time = Some(timestamp(NOW_US));
        let record = AuditRecord { sequence, time, replica: ALONE.into(), ..AuditRecord::default() };
        let changes = vec![Change::Record(Box::new(record))];
        self.store.apply(&Batch { changes, through: sequence as u64, ..Batch::default() }).await.unwrap();
    }
}

fn clock(now_us: &Arc<AtomicI64>) -> Clock {
    let now_us = now_us.clone();
    Clock::new(move || now_us.load(Ordering::Relaxed))
}

#[tokio::test]
async fn many_notes_are_signed_before_their_five_seconds_are_over() {
    let world = World::new().await;
    world.record(1).await;
    let (shipped, watching) = watch::channel(0);
    let keeping = tokio::spawn(world.notary.clone().keep(watching));
    let signed = async {
        let mut through = 0;
        while world.store.heads().await.unwrap().is_empty() {
            through += 4_096;
            shipped.send_replace(through);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(3), signed).await.expect("4,096 notes are signed at once");
    keeping.abort();
}

#[tokio::test]
async fn a_clock_that_is_put_back_between_two_checkpoints_leaves_the_log_intact() {
    let world = World::new().await;
    world.record(1).await;
    world.notary.sign(Whose::Own).await.unwrap();
    world.now_us.store(NOW_US - HOUR_US, Ordering::Relaxed);
    world.record(2).await;
    world.notary.sign(Whose::Own).await.unwrap();
    let mut files = Memory::default();
    let mut pieces = export(world.store.clone(), None);
    while let Some(piece) = pieces.next().await {
        if let Piece::File(file) = piece.unwrap() {
            files.0.insert(file.path, file.bytes);
        }
    }
    let options = Verified { keys: vec![world.notary.verifier_key().clone()], ..Verified::default() };
    let report = verify(&files, options).unwrap();
    assert!(report.intact, "{:#?}", report.findings);
    assert_eq!(report.records, 2);
}

#[tokio::test]
async fn times_of_records_rise_while_the_clock_goes_back() {
    let world = World::new().await;
    let options = Options::alone(world.dir.path().join("journal"), clock(&world.now_us));
    let ledger = Ledger::open(options, world.store.clone()).await.unwrap();
    let closed_us = || {
        let record = Some(AuditRecord { action: "key.create".into(), ..AuditRecord::default() });
        let (_, record) = ledger.end_on_record(End { record, ..End::default() });
        micros(record.unwrap().time.as_ref().unwrap())
    };
    let before = closed_us();
    world.now_us.store(NOW_US - HOUR_US, Ordering::Relaxed);
    let after = [closed_us(), closed_us()];
    assert!(before < after[0] && after[0] < after[1], "{before} {after:?}");
    ledger.close().await;
}
