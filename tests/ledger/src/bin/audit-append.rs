//! `audit-append DIR`: journals, ships, signs and erases, and prints a receipt for each call as it is journalled.

#![allow(clippy::unwrap_used)] // test code says by panicking

use std::io::Write;

use tollgate_ledger_tests::appending::Replica;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let dir = std::env::args_os().nth(1).expect("audit-append DIR");
    let replica = Replica::open(dir.as_ref()).await;
    let mut out = std::io::stdout();
    replica.append(&mut |receipt| writeln!(out, "{}", tollgate_tlog::to_base64(receipt)).unwrap()).await;
}
