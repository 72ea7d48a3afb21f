//! What the verifier says of exports, whole and not.

use std::io::{BufRead, Cursor};

use tollgate_audit_log_tests::{Case, Damage, Deployment, Made, oddities};
use tollgate_tlog::{
    Memory, SigningKey, leaf_hash,
    verify::{Kind, Options, ReceiptVerdict, Report, check_receipt, verify},
};

const A: &str = "replica-a";
const B: &str = "replica-b";

/// Two replicas, the first over two full bundles.
fn deployment() -> Deployment {
    let mut deployment = Deployment::new("tollgate", 7);
    deployment.born(A);
    deployment.born(B);
    serve(&mut deployment, A, 600);
    serve(&mut deployment, B, 30);
    deployment
}

fn serve(deployment: &mut Deployment, replica: &str, calls: usize) {
    for call in 1..=calls {
        deployment.call(replica);
        if call % 70 == 0 {
            deployment.sign(replica);
        }
    }
    deployment.sign(replica);
}

fn judge(files: &Memory, key: &str) -> Report {
    verify(files, Options { keys: vec![key.parse().expect("an export that can be read")], ..Options::default() })
        .expect("an export that can be read")
}

fn since(files: &Memory, key: &str, since: &Made) -> Report {
    let options = Options {
        keys: vec![key.parse().expect("an export that can be read")],
        since: vec![since.checkpoint()],
        ..Options::default()
    };
    verify(files, options).expect("an export that can be read")
}

fn with_ledger(made: &Made, dump: Vec<u8>, key: &str) -> Report {
    let open = move || -> std::io::Result<Box<dyn BufRead>> { Ok(Box::new(Cursor::new(dump.clone()))) };
    let options = Options {
        keys: vec![key.parse().expect("an export that can be read")],
        ledger: Some(&open),
        ..Options::default()
    };
    verify(&made.files, options).expect("an export that can be read")
}

/// Kinds, logs and positions of what was found.
fn found(report: &Report) -> Vec<(Kind, &str, Option<u64>)> {
    assert_eq!(report.intact, report.findings.is_empty());
    report.findings.iter().map(|finding| (finding.kind, finding.log.as_str(), finding.sequence)).collect()
}

#[track_caller]
fn names(report: &Report, kind: Kind, log: &str, sequence: Option<u64>) {
    assert!(found(report).contains(&(kind, log, sequence)), "{:#?}", report.findings);
}

fn file<'a>(files: &'a mut Memory, path: &str) -> &'a mut Vec<u8> {
    files.0.get_mut(path).expect("the file is there")
}

/// The bundle's records.
fn split(bundle: &[u8]) -> Vec<Vec<u8>> {
    tollgate_tlog::split_bundle(bundle).0.into_iter().map(|range| bundle[range].to_vec()).collect()
}

fn join(records: &[Vec<u8>]) -> Vec<u8> {
    let mut bundle = Vec::new();
    records
        .iter()
        .for_each(|record| tollgate_tlog::append_entry(&mut bundle, record).expect("a record fits into a bundle"));
    bundle
}

#[test]
fn an_export_that_nobody_touched_is_intact_and_its_money_is_the_ledgers() {
    let deployment = deployment();
    let made = deployment.export();
    let report = with_ledger(&made, made.dump(), &deployment.key());
    assert_eq!(found(&report), []);
    assert_eq!((report.records, report.entries), (630, 630));
    assert_eq!(
        report.logs.iter().map(|log| (log.log.as_str(), log.size)).collect::<Vec<_>>()[1..],
        [(A, 600), (B, 30)]
    );
    let cost: i64 = made.ledger.iter().map(|entry| entry.cost_nano_usd).sum();
    assert_eq!(report.cost_nano_usd, i128::from(cost));
    assert_eq!(report.ledger.unwrap().entries, 630);
}

#[test]
fn what_was_done_to_records_is_named_with_the_place() {
    let deployment = deployment();
    let (made, key) = (deployment.export(), deployment.key());
    let bundle = "logs/replica-a/tile/entries/001";
    let records = split(&made.files.0[bundle]);
    let tampered = |records: &[Vec<u8>]| {
        let mut files = made.files.clone();
        *file(&mut files, bundle) = join(records);
        judge(&files, &key)
    };
    let mut deleted = records.clone();
    deleted.remove(10);
    names(&tampered(&deleted), Kind::Deleted, A, Some(267));
    let mut inserted = records.clone();
    inserted.insert(10, records[3].clone());
    names(&tampered(&inserted), Kind::Inserted, A, Some(267));
    let mut swapped = records.clone();
    swapped.swap(10, 40);
    names(&tampered(&swapped), Kind::Swapped, A, Some(267));
    let mut changed = records.clone();
    changed[10][20] ^= 1;
    names(&tampered(&changed), Kind::Changed, A, Some(267));
    let last = "logs/replica-a/tile/entries/002.p/88";
    let mut files = made.files.clone();
    let mut records = split(&made.files.0[last]);
    records.truncate(80);
    *file(&mut files, last) = join(&records);
    names(&judge(&files, &key), Kind::Truncated, A, Some(593));
    files.0.remove(last);
    names(&judge(&files, &key), Kind::Truncated, A, Some(513));
    let mut files = made.files.clone();
    files.0.remove(bundle);
    names(&judge(&files, &key), Kind::Deleted, A, Some(257));
}

#[test]
fn a_touched_tile_is_told_from_touched_records() {
    let deployment = deployment();
    let made = deployment.export();
    for tile in ["tile/0/001", "tile/0/002.p/88", "tile/1/000.p/2"] {
        let path = format!("logs/{A}/{tile}");
        let mut files = made.files.clone();
        file(&mut files, &path)[40] ^= 4;
        let report = judge(&files, &deployment.key());
        assert_eq!(report.findings.len(), 1, "{:#?}", report.findings);
        assert_eq!((report.findings[0].kind, report.findings[0].path.as_ref()), (Kind::Changed, Some(&path)));
        files.0.remove(&path);
        let report = judge(&files, &deployment.key());
        assert_eq!((report.findings[0].kind, report.findings[0].path.as_ref()), (Kind::Deleted, Some(&path)));
    }
}

#[test]
fn records_and_tiles_made_anew_still_do_not_lead_to_what_was_signed() {
    let (mut own, made) = (deployment(), deployment().export());
    let mut forger = Deployment::new("tollgate", 7);
    forger.born(A);
    for sequence in (1..=600).filter(|sequence| *sequence != 300) {
        let record = own.bytes(A, sequence);
        forger.put(A, record);
    }
    let record = own.bytes(A, 600);
    forger.put(A, record);
    forger.sign(A);
    let mut files = made.files.clone();
    for (path, bytes) in forger.export().files.0 {
        if path.starts_with("logs/replica-a/tile/") {
            files.0.insert(path, bytes);
        }
    }
    let report = judge(&files, &own.key());
    names(&report, Kind::Deleted, A, Some(300));
    // Between the checkpoints of 280 and 350.
    names(&report, Kind::Changed, A, Some(281));
}

#[test]
fn an_older_log_beside_a_newer_root_log_is_rolled_back() {
    let mut deployment = deployment();
    let old = deployment.export();
    serve(&mut deployment, A, 10);
    let mut files = deployment.export().files;
    files.0.retain(|path, _| !path.starts_with("logs/replica-a/"));
    files.0.extend(old.files.0.into_iter().filter(|(path, _)| path.starts_with("logs/replica-a/")));
    names(&judge(&files, &deployment.key()), Kind::RolledBack, A, Some(601));
}

#[test]
fn an_older_export_as_a_whole_is_found_by_who_kept_a_checkpoint() {
    let mut deployment = deployment();
    let old = deployment.export();
    serve(&mut deployment, A, 10);
    let (new, key) = (deployment.export(), deployment.key());
    assert!(judge(&old.files, &key).intact, "it is as it was signed then");
    let report = since(&old.files, &key, &new);
    assert_eq!(report.findings[0].kind, Kind::RolledBack, "{:#?}", report.findings);
    assert!(since(&new.files, &key, &old).intact, "and what grew from it is fine");
}

#[test]
fn a_second_history_under_the_same_key_is_a_fork() {
    let mut deployment = deployment();
    let mut other = deployment.clone();
    other.reseed(99);
    serve(&mut deployment, A, 20);
    serve(&mut other, A, 20);
    let (one, two, key) = (deployment.export(), other.export(), deployment.key());
    let mut files = one.files.clone();
    files.0.retain(|path, _| !path.starts_with("logs/replica-a/"));
    files.0.extend(two.files.0.clone().into_iter().filter(|(path, _)| path.starts_with("logs/replica-a/")));
    names(&judge(&files, &key), Kind::Forked, A, Some(601));
    assert!(judge(&two.files, &key).intact, "alone it is as good as the other");
    let report = since(&two.files, &key, &one);
    assert_eq!((report.findings[0].kind, report.findings[0].log.as_str()), (Kind::Forked, "root"));
}

#[test]
fn another_key_is_not_taken_for_ours() {
    let (ours, mut theirs) = (deployment(), Deployment::new("tollgate", 8));
    theirs.born(A);
    serve(&mut theirs, A, 5);
    let report = judge(&theirs.export().files, &ours.key());
    assert_eq!(found(&report), [(Kind::WrongKey, "root", None)]);
    let mut files = ours.export().files;
    let note = theirs.export().files.0["logs/replica-a/checkpoint"].clone();
    *file(&mut files, "logs/replica-a/checkpoint") = note;
    names(&judge(&files, &ours.key()), Kind::WrongKey, A, None);
}

#[test]
fn a_log_that_is_gone_and_one_that_nobody_knows_are_named() {
    let deployment = deployment();
    let mut files = deployment.export().files;
    let moved: Vec<_> = files.0.keys().filter(|path| path.starts_with("logs/replica-b/")).cloned().collect();
    for path in moved {
        let bytes = files.0.remove(&path).unwrap();
        files.0.insert(path.replace("replica-b", "replica-c"), bytes);
    }
    let report = judge(&files, &deployment.key());
    assert_eq!(found(&report), [(Kind::MissingLog, B, None), (Kind::Inserted, "replica-c", None)]);
}

#[test]
fn a_file_that_the_log_has_no_place_for_is_told_and_an_older_edge_is_not() {
    let mut deployment = deployment();
    let old = deployment.export();
    serve(&mut deployment, A, 5);
    let mut files = deployment.export().files;
    for (path, bytes) in &old.files.0 {
        files.0.entry(path.clone()).or_insert_with(|| bytes.clone());
    }
    assert_eq!(found(&judge(&files, &deployment.key())), [], "an export over an older one");
    file(&mut files, "logs/replica-a/tile/0/002.p/88")[0] ^= 1;
    names(&judge(&files, &deployment.key()), Kind::Changed, A, None);
    files.0.insert("logs/replica-a/tile/entries/007".into(), Vec::new());
    names(&judge(&files, &deployment.key()), Kind::Inserted, A, None);
}

#[test]
fn gaps_and_times_that_were_signed_are_still_told() {
    let mut deployment = deployment();
    let copy = deployment.bytes(A, 300);
    deployment.put(A, copy);
    deployment.sign(A);
    let report = judge(&deployment.export().files, &deployment.key());
    assert_eq!(found(&report), [(Kind::SequenceGap, A, Some(601)), (Kind::TimeBackwards, A, Some(601))]);
    deployment.put(A, b"no record".to_vec());
    deployment.sign(A);
    names(&judge(&deployment.export().files, &deployment.key()), Kind::Malformed, A, Some(602));
}

#[test]
fn a_replica_closes_and_says_so() {
    let mut deployment = deployment();
    deployment.close(B);
    serve(&mut deployment, A, 3);
    assert_eq!(found(&judge(&deployment.export().files, &deployment.key())), []);
    deployment.call(B);
    deployment.sign(B);
    names(&judge(&deployment.export().files, &deployment.key()), Kind::Malformed, "root", Some(16));
}

#[test]
fn rotated_keys_are_followed_from_whichever_the_auditor_has() {
    let mut deployment = deployment();
    let old = deployment.key();
    let stolen = SigningKey::parse(&deployment.signing_key().reveal(), "").unwrap();
    deployment.rotate();
    serve(&mut deployment, A, 10);
    let made = deployment.export();
    assert_eq!(found(&judge(&made.files, &old)), []);
    assert_eq!(found(&judge(&made.files, &deployment.key())), []);
    // Who has the old key can no longer sign the root log.
    let (checkpoint, _) =
        tollgate_tlog::Checkpoint::open(&made.checkpoint(), [deployment.signing_key().verifier()]).unwrap();
    let mut files = made.files.clone();
    *file(&mut files, "root/checkpoint") = checkpoint.sign(&stolen).into_bytes();
    assert_eq!(found(&judge(&files, &old)), [(Kind::WrongKey, "root", None)]);
}

#[test]
fn a_ledger_that_tells_of_other_money_is_found() {
    let deployment = deployment();
    let (made, key) = (deployment.export(), deployment.key());
    type Change = fn(&mut Made);
    let cases: [(Change, &str); 4] = [
        (|made| drop(made.ledger.remove(299)), "is in a record and not in the ledger"),
        (|made| made.ledger[299].cost_nano_usd += 1, "nano-dollars in its record and"),
        (|made| made.ledger.push(made.ledger[299].clone()), "is in 1 records and 2 times in the ledger"),
        (|made| made.ledger[299].attempt_id = "call_0-1".into(), "is in the ledger and in no record"),
    ];
    for (change, words) in cases {
        let mut changed = made.clone();
        change(&mut changed);
        let report = with_ledger(&made, changed.dump(), &key);
        assert!(report.findings.iter().all(|finding| finding.kind == Kind::LedgerMismatch));
        let told = report.findings.iter().any(|finding| finding.message.contains(words));
        assert!(told, "{words}: {:#?}", report.findings);
    }
    let report = with_ledger(&made, b"{}\nhello\n".to_vec(), &key);
    assert!(report.findings.iter().any(|finding| finding.message.contains("line 2 of the ledger")));
}

#[test]
fn entries_from_before_the_log_and_after_its_end_are_left_out() {
    let mut deployment = Deployment::new("tollgate", 9);
    deployment.born_with_past(A, 300);
    serve(&mut deployment, A, 30);
    let made = deployment.export();
    deployment.call(A);
    let later = deployment.export().dump();
    let report = with_ledger(&made, later, &deployment.key());
    assert_eq!(found(&report), []);
    let ledger = report.ledger.unwrap();
    assert_eq!((report.records, report.entries, ledger.entries, ledger.uncovered), (330, 30, 30, 301));
}

#[test]
fn a_receipt_is_held_or_it_is_said_what_became_of_it() {
    let mut deployment = deployment();
    let keys = vec![deployment.key().parse().unwrap()];
    let receipt = deployment.call(A);
    let early = check_receipt(&deployment.export().files, &keys, &receipt).unwrap();
    assert!(matches!(early, ReceiptVerdict::TooEarly { size: 600, .. }), "{early:?}");
    deployment.sign(A);
    let held = check_receipt(&deployment.export().files, &keys, &receipt).unwrap();
    assert!(matches!(held, ReceiptVerdict::Held { size: 601, .. }), "{held:?}");

    let left_out = deployment.receipt(A, 602, leaf_hash(b"never logged"));
    deployment.wait_us(61_000_000);
    deployment.sign(B);
    let missing = check_receipt(&deployment.export().files, &keys, &left_out).unwrap();
    assert!(matches!(missing, ReceiptVerdict::Missing { size: 601, .. }), "{missing:?}");
    deployment.call(A);
    deployment.sign(A);
    let replaced = check_receipt(&deployment.export().files, &keys, &left_out).unwrap();
    assert!(matches!(replaced, ReceiptVerdict::Replaced { .. }), "{replaced:?}");

    let mut forged = receipt.clone();
    forged.sequence = 5;
    assert!(check_receipt(&deployment.export().files, &keys, &forged).is_err());
    let mut files = deployment.export().files;
    file(&mut files, "logs/replica-a/tile/0/002.p/90")[5] ^= 1;
    let error = check_receipt(&files, &keys, &receipt).unwrap_err();
    assert!(error.to_string().contains("tollgate audit verify"), "{error}");
}

#[test]
fn what_is_signed_and_yet_wrong_is_named_by_its_kind() {
    let mut unnamed = Vec::new();
    for oddity in oddities() {
        let report = oddity.judge().unwrap();
        if !report.findings.iter().any(|finding| finding.kind == oddity.kind) {
            unnamed.push((oddity.what, oddity.kind, report.findings));
        }
    }
    assert!(unnamed.is_empty(), "{unnamed:#?}");
}

#[test]
fn mutations_are_found_or_say_the_same() {
    use rand::{SeedableRng, rngs::SmallRng};
    for case in [Case::new(11), Case::dated(11)] {
        let mut random = SmallRng::seed_from_u64(11);
        let whole = Damage { what: "nothing", files: case.whole.files.clone(), dump: case.whole.dump() };
        let report = case.judge(&whole).unwrap();
        assert!(report.intact, "{:#?}", report.findings);
        let whole = case.meaning(&whole.files, &whole.dump);
        for number in 0..300 {
            let damage = case.damage(&mut random);
            let report = case.judge(&damage).unwrap();
            let same = case.meaning(&damage.files, &damage.dump) == whole;
            assert!(same || !report.intact, "{number}: {}", damage.what);
        }
    }
}
