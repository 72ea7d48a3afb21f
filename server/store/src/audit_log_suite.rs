//! What a store must hold of the audit log: each of these is a test of every implementation.

#![allow(clippy::unwrap_used)] // a test says by panicking

use prost::Message;
use tollgate_tlog::{Hash, Plan, ROOT_LOG, Row, Tree, check_inclusion, leaf_hash};

use crate::{
    AuditLogs, Change, Head, RootGrowth, Store, prove,
    suite::{batch, record},
    tree_of,
};

/// Enough for two full tiles and a part of one.
const MANY: i64 = 600;

/// A store with the logs of its replicas.
pub trait Both: Store + AuditLogs {}
impl<T: Store + AuditLogs> Both for T {}

async fn apply(store: &impl Both, sequences: std::ops::RangeInclusive<i64>) {
    let through = *sequences.end() as u64;
    let change = |sequence| Change::Record(Box::new(record(sequence, "k1", "completion.create")));
    store.apply(&batch(sequences.map(change).collect(), through)).await.unwrap();
}

async fn log(store: &impl Both) -> (String, u64) {
    let log = store.audit_logs().await.unwrap().pop().unwrap();
    (log.replica, log.size)
}

fn tree_over(leaves: &[Vec<u8>]) -> Tree {
    let mut tree = Tree::default();
    leaves.iter().for_each(|leaf| tree.append(leaf_hash(leaf), &mut Vec::new()));
    tree
}

/// The tree that a store has is the one over the bytes of its records, at every size, and proofs out of it hold.
pub async fn the_tree_stands_over_the_records(store: &impl Both) {
    for (first, last) in [(1, 3), (4, 255), (256, 256), (257, 511), (512, MANY)] {
        apply(store, first..=last).await;
    }
    let (replica, size) = log(store).await;
    assert_eq!(size, MANY as u64);
    let leaves = store.leaves(&replica, 0, 10_000).await.unwrap();
    let written = (1..=MANY).map(|n| record(n, "k1", "completion.create").encode_to_vec());
    assert_eq!(leaves, written.collect::<Vec<_>>(), "leaves are the records' bytes");
    for size in [1, 255, 256, 257, 512, 600] {
        let kept = tree_of(store, &replica, size).await.unwrap();
        assert_eq!(kept.root(), tree_over(&leaves[..size as usize]).root(), "{size}");
    }
    for index in [0, 255, 256, 599] {
        let proof = prove(store, &replica, &Plan::inclusion(index, size).unwrap()).await.unwrap();
        let root = tree_over(&leaves).root();
        check_inclusion(leaf_hash(&leaves[index as usize]), index, size, root, &proof).unwrap();
    }
    assert_eq!(store.leaves(&replica, 598, 1).await.unwrap(), leaves[598..599]);
}

/// Records that come twice, or overlap others, are in the tree once.
pub async fn records_are_in_the_tree_once_however_often_they_come(store: &impl Both) {
    apply(store, 1..=300).await;
    let (replica, size) = log(store).await;
    let root = tree_of(store, &replica, size).await.unwrap().root();
    apply(store, 1..=300).await;
    apply(store, 200..=300).await;
    assert_eq!(log(store).await, (replica.clone(), 300));
    assert_eq!(tree_of(store, &replica, 300).await.unwrap().root(), root);
    apply(store, 290..=301).await;
    assert_eq!(tree_of(store, &replica, 300).await.unwrap().root(), root, "what was there stays");
    assert_eq!(log(store).await.1, 301);
}

/// The root log grows from where it was read, or not at all.
pub async fn the_root_log_grows_from_where_it_was_read(store: &impl Both) {
    let leaves: Vec<_> = (0..300_u32).map(|n| n.to_be_bytes().to_vec()).collect();
    let mut rows: Vec<Row> = Vec::new();
    let mut tree = Tree::default();
    leaves.iter().for_each(|leaf| tree.append(leaf_hash(leaf), &mut rows));
    let head = |log: &str, size| Head { log: log.into(), size, note: format!("{log} {size}"), closed: size == 12 };
    let first = RootGrowth { from: 0, leaves: leaves.clone(), rows, heads: vec![head("r7", 12), head(ROOT_LOG, 300)] };
    assert!(store.grow_root(&first).await.unwrap());
    assert!(!store.grow_root(&first).await.unwrap(), "somebody was here before");
    assert_eq!(store.root_size().await.unwrap(), 300);
    assert_eq!(tree_of(store, ROOT_LOG, 300).await.unwrap().root(), tree.root());
    assert_eq!(store.leaves(ROOT_LOG, 298, 9).await.unwrap(), leaves[298..]);
    let next = RootGrowth { from: 300, leaves: vec![vec![7]], rows: vec![], heads: vec![head(ROOT_LOG, 301)] };
    assert!(store.grow_root(&next).await.unwrap());
    assert_eq!(store.heads().await.unwrap(), [head("r7", 12), head(ROOT_LOG, 301)]);
    let none: Vec<Hash> = vec![];
    assert_eq!(store.hashes("nobody", tollgate_tlog::Span { level: 0, first: 301, count: 1 }).await.unwrap(), none);
}
