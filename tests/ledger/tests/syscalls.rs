//! `kill -9` at every system call that writes: the next start finds a log that proves itself, with every record that anybody has a receipt for.

#![allow(clippy::unwrap_used)] // a test says by panicking

use std::{collections::BTreeMap, path::Path, process::Output};

use tollgate_ledger_tests::appending::Replica;
use tollgate_proto::v1::Receipt;

/// Each is counted on its own: the journal and the database write from other threads, and in other ways.
const CALLS: [&str; 5] = [
    "write,writev",
    "pwrite64,pwritev",
    "fsync,fdatasync,sync_file_range",
    "ftruncate,fallocate,unlink,unlinkat,rename,renameat,renameat2,mkdir,mkdirat",
    "openat",
];

fn append(dir: &Path, trace: &Path, calls: &str, inject: Option<usize>) -> Output {
    let mut command = tollgate_services::strace();
    command.args(["-f", "-qq", "-e", &format!("trace={calls}"), "-o"]).arg(trace);
    if let Some(when) = inject {
        command.args(["-e", &format!("inject={calls}:signal=KILL:when={when}")]);
    }
    command.arg(env!("CARGO_BIN_EXE_audit-append")).arg(dir).output().unwrap()
}

/// The most of these calls that one thread of the program makes from its start to its end.
fn count(calls: &str) -> usize {
    let (dir, trace) = (tempfile::tempdir().unwrap(), tempfile::NamedTempFile::new().unwrap());
    let done = append(dir.path(), trace.path(), calls, None);
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "strace must be allowed to trace (ptrace) where this test runs: {said}");
    let mut threads = BTreeMap::<String, usize>::new();
    for line in std::fs::read_to_string(trace.path()).unwrap().lines().filter(|line| line.contains('(')) {
        *threads.entry(line.split(' ').next().unwrap_or_default().to_owned()).or_default() += 1;
    }
    threads.into_values().max().unwrap_or(0)
}

fn receipts(done: &Output) -> Vec<Receipt> {
    let text = String::from_utf8_lossy(&done.stdout);
    // What is cut was not told.
    text.split_inclusive('\n')
        .filter(|line| line.ends_with('\n'))
        .map(|line| tollgate_tlog::from_base64(line).unwrap())
        .collect()
}

async fn kill_at_each(calls: &'static str) {
    let most = count(calls);
    assert!(most > 3, "{calls}: {most}");
    let (mut killed, mut records, mut told) = (0, 0, 0);
    for when in 1..=most {
        let (dir, trace) = (tempfile::tempdir().unwrap(), tempfile::NamedTempFile::new().unwrap());
        let done = append(dir.path(), trace.path(), calls, Some(when));
        killed += usize::from(!done.status.success());
        let receipts = receipts(&done);
        told += receipts.len() as u64;
        let replica = Replica::open(dir.path()).await;
        records += replica.proves(&receipts).await;
        // And goes on from there.
        replica.append(&mut |_| {}).await;
        assert!(replica.proves(&receipts).await >= 6, "{calls}, {when}");
    }
    println!("{calls}: {killed} kills, {told} receipts, {records} records found");
    // Threads wake one another, sometimes more often and sometimes less: the last kills of the list may come too late.
    assert!(killed * 2 >= most && told <= records, "{calls}: {killed} of {most}, {told} told, {records} found");
}

macro_rules! killed_at {
    ($($name:ident: $at:expr),+ $(,)?) => {
        $(#[tokio::test]
        async fn $name() {
            kill_at_each(CALLS[$at]).await;
        })+
    };
}

killed_at! {
    a_kill_at_any_write_leaves_a_log_that_proves_itself: 0,
    a_kill_at_any_write_of_the_database_leaves_a_log_that_proves_itself: 1,
    a_kill_at_any_sync_leaves_a_log_that_proves_itself: 2,
    a_kill_at_any_change_of_files_leaves_a_log_that_proves_itself: 3,
    a_kill_at_any_opening_of_a_file_leaves_a_log_that_proves_itself: 4,
}
