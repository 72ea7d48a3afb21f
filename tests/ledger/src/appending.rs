//! What a gateway does for its audit log, without the gateway: it journals records, ships them, signs them, and erases what a record says.
//! `audit-append` does it until it is killed; what is found afterwards must prove itself.

use std::{io::BufRead, path::Path, sync::Arc, time::SystemTime};

use futures::StreamExt;
use tollgate_audit::{Notary, Piece, Whose, export};
use tollgate_domain::Clock;
use tollgate_ledger::{Before, End, Ledger, Options};
use tollgate_proto::v1::{AuditRecord, LedgerEntry, Receipt};
use tollgate_store::{ALONE, Bodies, Doomed, Erasure, KekOwner, LedgerRow, StoredBody, StoredKek};
use tollgate_store_sqlite::SqliteStore;
use tollgate_tlog::{
    Memory, SigningKey, VerifierKey,
    verify::{Options as Verified, ReceiptVerdict, Report, check_receipt, verify},
};

/// So many calls are journalled.
const CALLS: usize = 4;
/// The action of an erasure's record.
const ERASED: &str = "body.erase";

/// A replica of one.
pub struct Replica {
    store: Arc<SqliteStore>,
    ledger: Arc<Ledger>,
    notary: Notary,
}

fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_micros()).unwrap()
}

fn owner(subject: &str) -> KekOwner {
    KekOwner { tenant: String::new(), subject: subject.into(), month: 1 }
}

impl Replica {
    /// Opens what lies in a directory: replays its journal, brings its store up to date.
    pub async fn open(dir: &Path) -> Self {
        let store = Arc::new(SqliteStore::open(&dir.join("store.db")).await.unwrap());
        let options = Options::alone(dir.join("journal"), Clock::new(now_us));
        let ledger = Ledger::open(options, store.clone()).await.unwrap();
        let key = SigningKey::from_seed("tollgate", [1; 32]).unwrap();
        let notary = Notary::new(key, None, ALONE, store.clone(), Clock::new(now_us));
        Self { store, ledger, notary }
    }

    /// Journals calls, each with a body under a key of its own, and hands out a receipt for each as it is journalled; signs now and then; erases
    /// every other body.
    pub async fn append(&self, told: &mut impl FnMut(&Receipt)) {
        for call in 0..CALLS {
            let kek_id = format!("kek_{}_{call}", now_us());
            let kek = StoredKek { id: kek_id.clone(), owner: owner(&kek_id), wrapped: vec![7; 40] };
            self.store.make_kek(&kek).await.unwrap();
            let entry = LedgerEntry { attempt_id: format!("{kek_id}-1"), cost_nano_usd: 5, ..LedgerEntry::default() };
            let body = StoredBody {
                call_id: kek_id.clone(),
                kek_id: kek_id.clone(),
                sealed: vec![9; 99],
                ..Default::default()
            };
            let (sequence, record) = self.ledger.end_on_record(End {
                settled: Some(LedgerRow { entry, lease_windows: Vec::new(), idempotency: None }),
                record: Some(AuditRecord { action: "completion.create".into(), ..AuditRecord::default() }),
                body: Some(body),
                ..End::default()
            });
            self.ledger.durable(sequence, Before::LastFrame).await;
            told(&self.notary.receipt(&record.unwrap()).unwrap());
            if call % 2 == 1 {
                self.erase(&kek_id).await;
                self.notary.sign(Whose::Own).await.unwrap();
            }
        }
        self.ledger.close().await;
    }

    async fn erase(&self, kek_id: &str) {
        let doomed = Doomed::Subject { subject: kek_id.into(), tenant: String::new() };
        self.ledger.shipped().await;
        let journal = |erased: &tollgate_store::Erased| {
            let erasure = Erasure { kek_ids: erased.kek_ids.clone(), call_id: String::new() };
            let record =
                AuditRecord { action: ERASED.into(), changes: erased.kek_ids.clone(), ..AuditRecord::default() };
            self.ledger.end(End { record: Some(record), erasure: Some(erasure), ..End::default() });
        };
        self.store.decide_erasure(&doomed, &journal).await.unwrap();
        self.ledger.shipped().await;
    }

    /// What an auditor is given: everything signed.
    async fn exported(&self) -> (Memory, Vec<u8>) {
        self.ledger.shipped().await;
        self.notary.sign(Whose::All).await.unwrap();
        let (mut files, mut ledger) = (Memory::default(), String::new());
        let mut pieces = export(self.store.clone(), Some(self.store.clone()));
        while let Some(piece) = pieces.next().await {
            match piece.unwrap() {
                Piece::File(file) => drop(files.0.insert(file.path, file.bytes)),
                Piece::Entry(entry) => {
                    let (id, cost, replica) = (&entry.attempt_id, entry.cost_nano_usd, &entry.replica);
                    let time = entry.settle_time.unwrap();
                    ledger += &format!(
                        r#"{{"attemptId":"{id}","costNanoUsd":"{cost}","replica":"{replica}","settleTime":"{time}"}}"#
                    );
                    ledger.push('\n');
                }
            }
        }
        (files, ledger.into_bytes())
    }

    /// Shows that nothing is missing: the export verifies beside its ledger, every receipt is kept, and what a record says to be erased is, and
    /// nothing else. Returns how many records there are.
    pub async fn proves(&self, receipts: &[Receipt]) -> u64 {
        let (files, dump) = self.exported().await;
        let keys: Vec<VerifierKey> = vec![self.notary.verifier_key().clone()];
        let open = move || -> std::io::Result<Box<dyn BufRead>> { Ok(Box::new(std::io::Cursor::new(dump.clone()))) };
        let asked = Verified { keys: keys.clone(), ledger: Some(&open), ..Verified::default() };
        // A log of which nothing was journalled has no root log yet.
        if files.0.is_empty() {
            assert_eq!(receipts, []);
            return 0;
        }
        let report: Report = verify(&files, asked).unwrap();
        assert!(report.intact, "{:#?}", report.findings);
        for receipt in receipts {
            let verdict = check_receipt(&files, &keys, receipt).unwrap();
            assert!(matches!(verdict, ReceiptVerdict::Held { .. }), "{receipt:?}: {verdict:?}");
        }
        self.erasures_and_records_are_one().await;
        report.records
    }

    async fn erasures_and_records_are_one(&self) {
        use tollgate_store::Store;
        let all = self.store.records(&tollgate_proto::v1::AuditFilter::default(), 0, 10_000).await.unwrap();
        let erased: Vec<&String> = all.iter().filter(|r| r.action == ERASED).flat_map(|r| &r.changes).collect();
        for record in all.iter().filter(|record| record.action == "completion.create") {
            let attempt = &record.entries[0].attempt_id;
            let kek_id = attempt.trim_end_matches("-1").to_owned();
            let is_there = self.store.kek(&kek_id).await.unwrap().is_some();
            let body = self.store.body(&kek_id).await.unwrap().map(|body| body.sealed).unwrap_or_default();
            assert_eq!(
                (is_there, body.is_empty()),
                match erased.contains(&&kek_id) {
                    true => (false, true),
                    false => (true, false),
                }
            );
        }
    }
}
