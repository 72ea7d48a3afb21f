//! One export: from what the copy has to what is signed.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use bytes::Bytes;
use futures::TryStreamExt;
use parking_lot::Mutex;
use tollgate_audit::{folder_of, growth};
use tollgate_objects::{Kept, Put, Vault, VaultError};
use tollgate_store::{AuditLogs, Head, StoreError, tree_of};
use tollgate_tlog::{Checkpoint, CheckpointError, File, ROOT_LOG, dated_path, dated_size};

/// So many files are on their way at once.
const AT_ONCE: usize = 16;

/// Why nothing more is exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The store of the records.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The records are not those that were signed.
    #[error(transparent)]
    Log(#[from] tollgate_audit::ExportError),
    /// Where the copy is.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// What lies there cannot be locked.
    #[error(
        "audit.export.object_lock: the bucket has no object lock; it can be had for a new bucket, or switched on for one with versions"
    )]
    NoLock,
    /// A checkpoint of the copy cannot be read.
    #[error("{path}: {error}")]
    Checkpoint {
        /// Its file.
        path: String,
        /// Why.
        error: CheckpointError,
    },
    /// The copy is another log's.
    #[error(
        "{path} is of the log {found:?}, and this one is {wanted:?}; give each deployment a bucket, or a prefix, of its own"
    )]
    Foreign {
        /// The checkpoint's file.
        path: String,
        /// Its origin.
        found: String,
        /// The origin of the log here.
        wanted: String,
    },
    /// The copy has what the store no longer has.
    #[error(
        "{path}: {exported} records were exported, and the store has {found} that are signed: it was rolled back, or records were deleted"
    )]
    RolledBack {
        /// The checkpoint's file.
        path: String,
        /// How many records it signs.
        exported: u64,
        /// How many the store has.
        found: u64,
    },
    /// The copy and the store tell of different histories.
    #[error("{path}: the first {size} records in the store are not those that were exported: the store was changed")]
    Changed {
        /// The checkpoint's file.
        path: String,
        /// How many records it signs.
        size: u64,
    },
}

/// What an export did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Files that were not there before.
    pub files: u64,
    /// Records that are covered now and were not before, those of the root log left out.
    pub records: u64,
}

/// The copy.
pub(crate) struct Copy {
    logs: Arc<dyn AuditLogs>,
    vault: Vault,
    /// It was seen that what is put will be locked.
    can_lock: AtomicBool,
}

/// What a log has to be exported.
struct Growth {
    head: Head,
    /// How many of its leaves the copy has.
    from: u64,
}

impl Copy {
    pub(crate) fn new(logs: Arc<dyn AuditLogs>, vault: Vault) -> Self {
        Self { logs, vault, can_lock: AtomicBool::new(false) }
    }

    pub(crate) fn logs(&self) -> &dyn AuditLogs {
        &*self.logs
    }

    pub(crate) async fn can_lock(&self) -> Result<bool, ExportError> {
        if !self.can_lock.load(Ordering::Relaxed) {
            self.can_lock.store(self.vault.can_lock().await?, Ordering::Relaxed);
        }
        Ok(self.can_lock.load(Ordering::Relaxed))
    }

    /// When the last export ended.
    pub(crate) async fn last_us(&self) -> Result<Option<i64>, ExportError> {
        Ok(self.newest(ROOT_LOG).await?.map(|(_, kept)| kept.time_us))
    }

    /// Puts what is new: of the replicas first, and of the root log, which names them, at the end.
    pub(crate) async fn run(&self) -> Result<Done, ExportError> {
        if !self.can_lock().await? {
            return Err(ExportError::NoLock);
        }
        let (root, mut heads): (Vec<_>, Vec<_>) =
            self.logs.heads().await?.into_iter().partition(|head| head.log == ROOT_LOG);
        heads.extend(root);
        let mut growths = Vec::new();
        for head in heads {
            let from = self.exported(&head).await?;
            if from < head.size {
                growths.push(Growth { head, from });
            }
        }
        for growth in &growths {
            self.check(growth).await?;
        }
        let mut done = Done::default();
        for growth in &growths {
            done.files += self.put(growth).await?;
            done.records += if growth.head.log == ROOT_LOG { 0 } else { growth.head.size - growth.from };
        }
        Ok(done)
    }

    /// How many leaves of a log the copy has, which are those of the store.
    async fn exported(&self, head: &Head) -> Result<u64, ExportError> {
        let Some((size, kept)) = self.newest(&head.log).await? else { return Ok(0) };
        let path = kept.name;
        let unreadable = |error| ExportError::Checkpoint { path: path.clone(), error };
        let note = self.vault.read(&path).await?.unwrap_or_default();
        let exported = Checkpoint::open_unchecked(&note).map_err(unreadable)?;
        let unreadable = |error| ExportError::Checkpoint { path: format!("the head of {}", head.log), error };
        let signed = Checkpoint::open_unchecked(head.note.as_bytes()).map_err(unreadable)?;
        if exported.origin != signed.origin {
            return Err(ExportError::Foreign { path, found: exported.origin, wanted: signed.origin });
        }
        if exported.size > head.size {
            return Err(ExportError::RolledBack { path, exported: size, found: head.size });
        }
        if exported.size != size || tree_of(&*self.logs, &head.log, size).await?.root() != exported.root {
            return Err(ExportError::Changed { path, size });
        }
        Ok(size)
    }

    /// The greatest checkpoint of a log: how many leaves it signs, and its file.
    async fn newest(&self, log: &str) -> Result<Option<(u64, Kept)>, ExportError> {
        let folder = folder_of(log);
        let kept = self.vault.list(&format!("{folder}/checkpoints")).await?;
        let sized = kept.into_iter().filter_map(|kept| {
            let below = kept.name.strip_prefix(&folder)?.strip_prefix('/')?;
            Some((dated_size(below)?, kept))
        });
        Ok(sized.max_by_key(|(size, _)| *size))
    }

    /// Reads all that is to be put, and sees that it leads to what was signed.
    async fn check(&self, of: &Growth) -> Result<(), ExportError> {
        let files = growth(self.logs.clone(), of.head.clone(), of.from);
        Ok(files.try_for_each(|_| std::future::ready(Ok(()))).await?)
    }

    /// Puts the files of a log, its checkpoint last; how many were not there.
    async fn put(&self, of: &Growth) -> Result<u64, ExportError> {
        let (fresh, checkpoint) = (AtomicU64::new(0), Mutex::new(None));
        let (last, dated) = (format!("{}/checkpoint", folder_of(&of.head.log)), dated_path(of.head.size));
        let (fresh, checkpoint, last) = (&fresh, &checkpoint, &last);
        let files = growth(self.logs.clone(), of.head.clone(), of.from).map_err(ExportError::from);
        let put = |file: File| async move {
            if file.path == *last {
                *checkpoint.lock() = Some(file.bytes);
                return Ok(());
            }
            if self.vault.put_new(&file.path, Bytes::from(file.bytes)).await? == Put::New {
                fresh.fetch_add(1, Ordering::Relaxed);
            }
            Ok::<_, ExportError>(())
        };
        files.try_for_each_concurrent(AT_ONCE, put).await?;
        let note = checkpoint.lock().take();
        if let Some(note) = note {
            let path = format!("{}/{dated}", folder_of(&of.head.log));
            self.vault.put_new(&path, Bytes::from(note)).await?;
            fresh.fetch_add(1, Ordering::Relaxed);
        }
        Ok(fresh.load(Ordering::Relaxed))
    }
}
