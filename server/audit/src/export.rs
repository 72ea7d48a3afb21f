//! The audit logs as files: what an auditor takes along to check without the gateway.

use std::{collections::BTreeMap, pin::pin, sync::Arc};

use async_stream::try_stream;
use futures::{Stream, StreamExt, stream::BoxStream};
use prost::Message;
use tollgate_domain::micros;
use tollgate_proto::v1::{AuditRecord, LedgerEntry, RootEntry, root_entry::Entry};
use tollgate_store::{AuditLogs, EntryQuery, Head, Store, StoreError, tree_of};
use tollgate_tlog::{Checkpoint, CheckpointError, File, PackError, Packer, ROOT_LOG, TILE_WIDTH};

/// So many leaves are read at once: the records of one bundle.
const PAGE: u64 = 256;
/// So many ledger entries are read at once.
const ENTRIES: i64 = 1_000;

/// Why there is no export.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A checkpoint cannot be read.
    #[error("the checkpoint of the log {log:?} in the store cannot be read: {error}")]
    Checkpoint {
        /// Which log.
        log: String,
        /// Why.
        error: CheckpointError,
    },
    /// The records are not those that were signed.
    #[error("the store was changed: {0}")]
    Pack(#[from] PackError),
}

/// A piece of an export.
#[derive(Debug)]
pub enum Piece {
    /// A file.
    File(File),
    /// A ledger entry that the files before name.
    Entry(Box<LedgerEntry>),
}

/// The pieces of an export, ended by the first error.
pub type Pieces = BoxStream<'static, Result<Piece, ExportError>>;

/// When an export covers a replica: behind the first, up to the second, in microseconds.
#[derive(Clone, Copy, Debug, Default)]
struct Covered {
    after_us: i64,
    through_us: i64,
}

/// Everything that is signed, log by log; then, from `ledger`, the entries that it covers.
pub fn export(logs: Arc<dyn AuditLogs>, ledger: Option<Arc<dyn Store>>) -> Pieces {
    Box::pin(pieces(logs, ledger))
}

fn pieces(
    logs: Arc<dyn AuditLogs>,
    ledger: Option<Arc<dyn Store>>,
) -> impl Stream<Item = Result<Piece, ExportError>> + Send {
    try_stream! {
        // Moved together with the root log: so all of them are in it, and none is ahead of it.
        let heads = logs.heads().await?;
        let mut first_sizes = BTreeMap::new();
        let mut covered = BTreeMap::new();
        let (root, replicas): (Vec<Head>, Vec<Head>) = heads.into_iter().partition(|head| head.log == ROOT_LOG);
        for head in root.into_iter().chain(replicas) {
            let is_root = head.log == ROOT_LOG;
            let first_size = first_sizes.get(&head.log).copied().unwrap_or(0);
            let mut of_replica = Covered::default();
            {
                let files = grown(&*logs, &head, 0, |leaf, size| {
                    if is_root {
                        first_sizes.extend(born(leaf));
                    } else {
                        of_replica.take(leaf, size <= first_size);
                    }
                });
                let mut files = pin!(files);
                while let Some(file) = files.next().await {
                    yield Piece::File(file?);
                }
            }
            covered.insert(head.log, of_replica);
        }
        if let Some(store) = ledger {
            let mut after = 0;
            loop {
                let page = store.entries(&EntryQuery { after, limit: ENTRIES, ..EntryQuery::default() }).await?;
                let Some(last) = page.last() else { break };
                after = last.position;
                for posted in page {
                    if covered.get(&posted.entry.replica).is_some_and(|covered| covered.has(&posted.entry)) {
                        yield Piece::Entry(Box::new(posted.entry));
                    }
                }
            }
        }
    }
}

/// Where the files of a log lie in an export.
pub fn folder_of(log: &str) -> String {
    if log == ROOT_LOG { ROOT_LOG.to_owned() } else { format!("logs/{log}") }
}

/// The files by which an export of the first `from` leaves of a log becomes one of all that is signed: full ones as they fill, then the right
/// edge, and the checkpoint last.
pub fn growth(logs: Arc<dyn AuditLogs>, head: Head, from: u64) -> BoxStream<'static, Result<File, ExportError>> {
    Box::pin(try_stream! {
        let mut files = pin!(grown(&*logs, &head, from, |_, _| {}));
        while let Some(file) = files.next().await {
            yield file?;
        }
    })
}

/// `each` sees every leaf that is read, and how many there are with it.
fn grown<'a>(
    logs: &'a dyn AuditLogs,
    head: &'a Head,
    from: u64,
    mut each: impl FnMut(&[u8], u64) + Send + 'a,
) -> impl Stream<Item = Result<File, ExportError>> + Send + 'a {
    try_stream! {
        let checkpoint = Checkpoint::open_unchecked(head.note.as_bytes())
            .map_err(|error| ExportError::Checkpoint { log: head.log.clone(), error })?;
        let mut packer = packer(logs, &head.log, from - from % TILE_WIDTH).await?;
        let mut files = Vec::new();
        while packer.size() < checkpoint.size {
            let leaves = logs.leaves(&head.log, packer.size(), PAGE.min(checkpoint.size - packer.size())).await?;
            if leaves.is_empty() {
                break; // what lacks is told below, by the root that it leads to
            }
            for leaf in leaves {
                packer.append(&leaf, &mut files)?;
                each(&leaf, packer.size());
            }
            for file in files.drain(..) {
                yield file;
            }
        }
        for file in packer.finish(&checkpoint, &head.note)? {
            yield file;
        }
    }
}

/// Goes on behind whole bundles, from what the store keeps of the tree.
async fn packer(logs: &dyn AuditLogs, log: &str, size: u64) -> Result<Packer, ExportError> {
    let tree = tree_of(logs, log, size).await?;
    let mut edge = BTreeMap::new();
    for span in Packer::resume_spans(size) {
        edge.insert(span.level, logs.hashes(log, span).await?);
    }
    Ok(Packer::resume(&folder_of(log), tree, edge))
}

/// Where a leaf of the root log tells of a replica's birth: how many records that had without a log.
fn born(leaf: &[u8]) -> Option<(String, u64)> {
    match RootEntry::decode(leaf).ok()?.entry? {
        Entry::ReplicaBorn(born) => Some((born.replica, u64::try_from(born.first_size).unwrap_or(0))),
        _ => None,
    }
}

impl Covered {
    fn take(&mut self, leaf: &[u8], is_old: bool) {
        let Ok(record) = AuditRecord::decode(leaf) else { return };
        let time_us = record.time.as_ref().map_or(0, micros);
        self.through_us = self.through_us.max(time_us);
        if is_old {
            self.after_us = self.through_us;
        }
    }

    /// An entry has the time of the record that it stands in, and no two records of a replica have the same.
    fn has(&self, entry: &LedgerEntry) -> bool {
        let settled_us = entry.settle_time.as_ref().map_or(0, micros);
        self.after_us < settled_us && settled_us <= self.through_us
    }
}
