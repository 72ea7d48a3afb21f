//! Exports that go on for years and never overwrite a file.

use tollgate_audit_log_tests::Deployment;
use tollgate_tlog::{
    Memory, dated_path, leaf_hash,
    verify::{Kind, Options, ReceiptVerdict, Report, check_receipt, verify},
};

const A: &str = "replica-a";

fn serve(deployment: &mut Deployment, calls: usize) {
    (0..calls).for_each(|_| drop(deployment.call(A)));
    deployment.sign(A);
}

/// Three exports of a log that grows over tiles.
fn deployment() -> (Deployment, Memory) {
    let mut deployment = Deployment::new("tollgate", 11);
    let mut files = Memory::default();
    deployment.born(A);
    for calls in [100, 300, 200] {
        serve(&mut deployment, calls);
        deployment.export().put_beside(&mut files);
    }
    (deployment, files)
}

fn judge(files: &Memory, key: &str) -> Report {
    let options = Options { keys: vec![key.parse().expect("a key")], ..Options::default() };
    verify(files, options).expect("an export that can be read")
}

fn dated<'a>(files: &'a Memory, folder: &str) -> Vec<&'a String> {
    files.0.keys().filter(|path| path.starts_with(&format!("{folder}/checkpoints/"))).collect()
}

#[test]
fn the_greatest_checkpoint_counts_and_all_of_them_must_fit() {
    let (deployment, files) = deployment();
    let report = judge(&files, &deployment.key());
    assert!(report.intact, "{:#?}", report.findings);
    assert_eq!((report.records, report.unsigned), (600, 0));
    assert_eq!((dated(&files, "root").len(), dated(&files, "logs/replica-a").len()), (3, 3));
}

#[test]
fn a_bit_of_any_checkpoint_is_missed() {
    let (deployment, files) = deployment();
    for path in dated(&files, "root").into_iter().chain(dated(&files, "logs/replica-a")) {
        for at in 0..files.0[path].len() {
            let mut damaged = files.clone();
            damaged.0.get_mut(path).unwrap()[at] ^= 1;
            assert!(!judge(&damaged, &deployment.key()).intact, "{path}, byte {at}");
        }
    }
}

#[test]
fn a_checkpoint_of_another_history_or_in_anothers_place_is_found() {
    let mut first = Deployment::new("tollgate", 11);
    first.born(A);
    serve(&mut first, 100);
    let mut files = Memory::default();
    first.export().put_beside(&mut files);
    let mut fork = first.clone();
    fork.reseed(5);
    serve(&mut fork, 50);
    serve(&mut first, 300);
    first.export().put_beside(&mut files);
    let note = fork.export().files.0["logs/replica-a/checkpoint"].clone();
    let mut forked = files.clone();
    forked.0.insert(format!("logs/replica-a/{}", dated_path(150)), note.clone());
    let report = judge(&forked, &first.key());
    assert!(report.findings.iter().any(|found| found.kind == Kind::Forked), "{:#?}", report.findings);

    let mut swapped = files.clone();
    let earlier = files.0[&format!("logs/replica-a/{}", dated_path(100))].clone();
    swapped.0.insert(format!("logs/replica-a/{}", dated_path(120)), earlier);
    assert_eq!(judge(&swapped, &first.key()).findings[0].kind, Kind::Swapped);
}

/// However far the next export had come: its root checkpoint comes last.
#[test]
fn what_an_export_under_way_has_written_is_counted_and_no_harm() {
    let (mut deployment, mut files) = deployment();
    deployment.born("replica-quiet");
    let signed = deployment.export();
    signed.put_beside(&mut files);
    deployment.call("replica-quiet");
    deployment.sign("replica-quiet");
    deployment.born("replica-new");
    deployment.call("replica-new");
    deployment.sign("replica-new");
    serve(&mut deployment, 700);
    let next = deployment.export();
    let mut going_on = files.clone();
    next.put_beside(&mut going_on);
    let fresh: Vec<_> = going_on.0.keys().filter(|path| !files.0.contains_key(*path)).cloned().collect();
    let (root, mut rest): (Vec<_>, Vec<_>) = fresh.into_iter().partition(|path| path.starts_with("root/checkpoints/"));
    assert_eq!(root.len(), 1);
    // The order in which they are written: tiles, the replicas' checkpoints, the root log's.
    rest.sort_by_key(|path| (path.contains("/checkpoints/"), path.clone()));
    let mut now = files.clone();
    for path in &rest {
        now.0.insert(path.clone(), going_on.0[path].clone());
        let report = judge(&now, &deployment.key());
        assert!(report.intact, "with {path}: {:#?}", report.findings);
        assert!(report.unsigned > 0, "with {path}");
    }
    now.0.insert(root[0].clone(), going_on.0[&root[0]].clone());
    let report = judge(&now, &deployment.key());
    assert_eq!((report.intact, report.unsigned, report.records), (true, 0, 1_302), "{:#?}", report.findings);

    // Anything else is still told of, and so is everything where there is one checkpoint.
    now.0.insert("logs/replica-a/notes.txt".into(), Vec::new());
    assert!(!judge(&now, &deployment.key()).intact);
    let mut single = signed.files;
    single.0.extend(next.files.0.into_iter().filter(|(path, _)| path.ends_with("tile/0/003")));
    assert!(!judge(&single, &deployment.key()).intact);
}

#[test]
fn a_receipt_is_looked_for_under_the_greatest_checkpoint() {
    let (mut deployment, mut files) = deployment();
    let receipt = deployment.call(A);
    let bytes = deployment.bytes(A, 601);
    assert_eq!(receipt.leaf_hash, leaf_hash(&bytes).0.to_vec());
    deployment.sign(A);
    deployment.export().put_beside(&mut files);
    let verdict = check_receipt(&files, &[deployment.key().parse().unwrap()], &receipt).unwrap();
    assert!(matches!(verdict, ReceiptVerdict::Held { size: 601, .. }), "{verdict:?}");
}
