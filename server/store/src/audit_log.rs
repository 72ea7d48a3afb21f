//! The audit log as the store holds it: a Merkle tree over the records of each replica, and one over what was signed of them.
//!
//! Leaves and the roots of full tiles are written in the transaction that applies the records ([`Store::apply`](crate::Store::apply)), so
//! that records and tree cannot disagree. The right edge of a tree is computed from them whenever it is asked for.

use std::any::Any;

use async_trait::async_trait;
use tollgate_tlog::{Hash, Plan, Row, Span, TILE_WIDTH, Tree};

use crate::{Result, StoreError};

/// The replica of a store that only one has.
pub const ALONE: &str = "alone";

/// The log of a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredLog {
    /// The replica.
    pub replica: String,
    /// How many records it has.
    pub size: u64,
}

/// What was signed last of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The replica, or [`tollgate_tlog::ROOT_LOG`].
    pub log: String,
    /// How many leaves were signed.
    pub size: u64,
    /// The checkpoint: a signed note.
    pub note: String,
    /// The replica was given up: its log grows no more.
    pub closed: bool,
}

/// An addition to the root log.
#[derive(Clone, Debug, Default)]
pub struct RootGrowth {
    /// How many leaves it has before.
    pub from: u64,
    /// The leaves, in order.
    pub leaves: Vec<Vec<u8>>,
    /// Roots of tiles that are full with them.
    pub rows: Vec<Row>,
    /// Of the root log, and of the replicas' logs whose checkpoints are among the leaves.
    pub heads: Vec<Head>,
}

/// As long as it lives, no other replica exports.
pub type Lead = Box<dyn Any + Send>;

/// The trees over the records.
#[async_trait]
pub trait AuditLogs: Send + Sync {
    /// The logs of all replicas that have records, by id.
    async fn audit_logs(&self) -> Result<Vec<StoredLog>>;

    /// How many leaves the root log has.
    async fn root_size(&self) -> Result<u64>;

    /// Leaves from `first` (from 0) on, at most `limit`, as they were journalled. `log`: a replica, or [`tollgate_tlog::ROOT_LOG`].
    async fn leaves(&self, log: &str, first: u64, limit: u64) -> Result<Vec<Vec<u8>>>;

    /// The hashes of a span: fewer where there are no more.
    async fn hashes(&self, log: &str, span: Span) -> Result<Vec<Hash>>;

    /// Appends to the root log, unless somebody else did since it was read: then `false`, and nothing is changed.
    async fn grow_root(&self, growth: &RootGrowth) -> Result<bool>;

    /// What was signed last of every log.
    async fn heads(&self) -> Result<Vec<Head>>;

    /// Takes the lock of whoever exports; `None`: another replica has it. It is given back when the guard is dropped, or this process ends.
    async fn lead_export(&self) -> Result<Option<Lead>>;
}

/// The tree of the first `size` leaves.
pub async fn tree_of(logs: &dyn AuditLogs, log: &str, size: u64) -> Result<Tree> {
    let read = read_spans(logs, log, Tree::resume_spans(size)).await?;
    Tree::resume(size, |span| found(&read, span))
}

/// The hashes of a proof.
pub async fn prove(logs: &dyn AuditLogs, log: &str, plan: &Plan) -> Result<Vec<Hash>> {
    let read = read_spans(logs, log, plan.spans()).await?;
    plan.resolve(|span| found(&read, span))
}

async fn read_spans(logs: &dyn AuditLogs, log: &str, spans: Vec<Span>) -> Result<Vec<(Span, Vec<Hash>)>> {
    let mut read = Vec::with_capacity(spans.len());
    for span in spans {
        let hashes = logs.hashes(log, span).await?;
        if hashes.len() as u64 != u64::from(span.count) {
            let (level, first) = (span.level, span.first);
            let message = format!("the audit log of {log:?} lacks hashes of level {level} from {first} on");
            return Err(StoreError::Permanent(message));
        }
        read.push((span, hashes));
    }
    Ok(read)
}

fn found(read: &[(Span, Vec<Hash>)], span: Span) -> Result<Vec<Hash>> {
    let of_span = read.iter().find(|(known, _)| *known == span).map(|(_, hashes)| hashes.clone());
    of_span.ok_or_else(|| StoreError::Permanent("a span of the audit log was not read".into()))
}

/// The root of a full tile.
pub fn tile_root(hashes: &[Hash]) -> Hash {
    let mut tree = Tree::default();
    let mut rows = Vec::new();
    for hash in hashes {
        tree.append(*hash, &mut rows);
    }
    tree.root()
}

/// The tiles of level 0 that are full with the leaves `first..end`, by their indices; a tile of a level above is full whenever the last of
/// its 256 is.
pub fn filled(first: u64, end: u64) -> std::ops::Range<u64> {
    first / TILE_WIDTH..end / TILE_WIDTH
}
