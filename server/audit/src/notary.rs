//! Signs what the store has of the audit logs, and promises callers that it will.
//!
//! Every replica signs its own log, and now and then those of others that grew without being signed: a replica that was killed has left
//! records behind. What is signed stands in the root log, which grows under the store's lock. Nothing is signed that contradicts what was
//! signed before: a store that was rolled back or changed is told of instead.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use prost::Message;
use tokio::{sync::watch, time::Instant};
use tollgate_domain::{Clock, micros, timestamp};
use tollgate_proto::v1::{
    AuditRecord, Receipt, ReplicaBorn, ReplicaCheckpoint, ReplicaClosed, RootEntry, root_entry::Entry,
};
use tollgate_store::{AuditLogs, Head, RootGrowth, StoreError, StoredLog, tree_of};
use tollgate_tlog::{
    Checkpoint, CheckpointError, ROOT_LOG, SigningKey, VerifierKey, issue_receipt, leaf_hash, log_origin, rotate,
};

/// What the log has grown by is signed this often.
const EVERY: Duration = Duration::from_secs(5);
/// And as soon as this many notes have come.
const AT_ONCE: u64 = 4_096;
/// Every so many rounds the logs of all replicas are looked at.
const OTHERS: u32 = 6;
/// Promised to callers: by then a signed checkpoint covers their record.
const MERGE: Duration = Duration::from_secs(60);
/// Somebody else may append to the root log at the same moment: so often it is tried again.
const TRIES: usize = 20;

/// Why a log is not signed.
#[derive(Debug, thiserror::Error)]
pub enum NotaryError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What was signed last cannot be read.
    #[error("the checkpoint of the log {log:?} in the store cannot be read: {error}")]
    Checkpoint {
        /// Which log.
        log: String,
        /// Why.
        error: CheckpointError,
    },
    /// It was signed by a key that this gateway does not have.
    #[error(
        "the log {log:?} was signed by another key than audit.signing_key; to hand over to a new key, name the old one in \
         audit.previous_key"
    )]
    OtherKey {
        /// Which log.
        log: String,
    },
    /// There are fewer records than were signed.
    #[error(
        "the log {log:?} has {found} records and {signed} were signed: the store was rolled back or records were deleted"
    )]
    RolledBack {
        /// Which log.
        log: String,
        /// How many there are.
        found: u64,
        /// How many were signed.
        signed: u64,
    },
    /// Records are not those that were signed.
    #[error("the first {signed} records of the log {log:?} are not those that were signed: the store was changed")]
    Changed {
        /// Which log.
        log: String,
        /// How many were signed.
        signed: u64,
    },
    /// The replica was given up.
    #[error(
        "the log {0:?} was closed by CloseReplica and grows no more; give this replica a new id and an empty data_dir"
    )]
    Closed(String),
    /// Others append all the time.
    #[error("the root log grows faster than it can be read")]
    Busy,
}

/// Which logs to sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose<'a> {
    /// Its own.
    Own,
    /// Every replica's.
    All,
    /// That of a replica which is given up, for the last time.
    Closing(&'a str),
}

/// Who signs.
pub struct Notary {
    key: SigningKey,
    previous: Option<SigningKey>,
    replica: String,
    logs: Arc<dyn AuditLogs>,
    clock: Clock,
    /// This replica was given up: nothing that it records from then on is signed.
    closed: AtomicBool,
}

impl Notary {
    /// Signs for `replica` with `key`, whose name is the deployment's. `previous`: the key before, where it was replaced.
    pub fn new(
        key: SigningKey,
        previous: Option<SigningKey>,
        replica: &str,
        logs: Arc<dyn AuditLogs>,
        clock: Clock,
    ) -> Self {
        Self { key, previous, replica: replica.to_owned(), logs, clock, closed: AtomicBool::new(false) }
    }

    /// The key that anybody may have.
    pub fn verifier_key(&self) -> &VerifierKey {
        self.key.verifier()
    }

    /// The logs.
    pub fn logs(&self) -> &Arc<dyn AuditLogs> {
        &self.logs
    }

    /// What checkpoints name the log of a replica.
    pub fn origin(&self, log: &str) -> String {
        log_origin(self.key.verifier().name(), log)
    }

    /// Learns whether this replica was given up, before it promises anything.
    pub async fn look(&self) -> Result<(), NotaryError> {
        self.learn(&self.logs.heads().await?);
        Ok(())
    }

    fn learn(&self, heads: &[Head]) {
        if heads.iter().any(|head| head.log == self.replica && head.closed) {
            self.closed.store(true, Ordering::Relaxed);
        }
    }

    /// The promise that the log holds a record of this replica; `None`: its log was closed, so nobody would keep it.
    pub fn receipt(&self, record: &AuditRecord) -> Option<Receipt> {
        if self.closed.load(Ordering::Relaxed) {
            return None;
        }
        let closed_us = record.time.as_ref().map_or(0, micros);
        let merge_us = i64::try_from(MERGE.as_micros()).unwrap_or(i64::MAX);
        let receipt = Receipt {
            origin: self.origin(&record.replica),
            replica: record.replica.clone(),
            sequence: record.sequence,
            leaf_hash: leaf_hash(&record.encode_to_vec()).0.to_vec().into(),
            time: record.time,
            merge_by: Some(timestamp(closed_us.saturating_add(merge_us))),
            ..Receipt::default()
        };
        Some(issue_receipt(receipt, &self.key))
    }

    /// Signs for as long as the gateway runs. `shipped`: through which sequence of the journal the store has what there is.
    pub async fn keep(self: Arc<Self>, mut shipped: watch::Receiver<u64>) {
        let mut round = 0_u32;
        loop {
            let seen = *shipped.borrow();
            let until = Instant::now() + EVERY;
            let many = shipped.wait_for(|now| now.saturating_sub(seen) >= AT_ONCE);
            if let Ok(Err(_)) = tokio::time::timeout_at(until, many).await {
                return; // the ledger is gone
            }
            round = round.wrapping_add(1);
            let whose = if round.is_multiple_of(OTHERS) { Whose::All } else { Whose::Own };
            match self.sign(whose).await {
                Ok(()) => {}
                Err(NotaryError::Store(error @ StoreError::Unavailable(_))) => {
                    tracing::debug!(%error, "the audit log is not signed now");
                }
                Err(error) => tracing::error!(%error, "the audit log is not signed"),
            }
        }
    }

    /// Signs what has grown, and puts it into the root log.
    pub async fn sign(&self, whose: Whose<'_>) -> Result<(), NotaryError> {
        for _ in 0..TRIES {
            if self.try_sign(whose).await? {
                return Ok(());
            }
        }
        Err(NotaryError::Busy)
    }

    async fn try_sign(&self, whose: Whose<'_>) -> Result<bool, NotaryError> {
        // First: if the root log grows while the rest is read, this no longer fits and nothing is appended.
        let from = self.logs.root_size().await?;
        let heads = self.logs.heads().await?;
        self.learn(&heads);
        let head_of = |log: &str| heads.iter().find(|head| head.log == log);
        let mut leaves = Vec::new();
        let mut signed = Vec::new();
        let mut logs = self.logs.audit_logs().await?;
        if let Whose::Closing(replica) = whose
            && logs.iter().all(|log| log.replica != replica)
        {
            // It left no record. Its log ends all the same: what its journal may have is never signed, and others go on with its work.
            logs.push(StoredLog { replica: replica.to_owned(), size: 0 });
        }
        for log in logs {
            let is_wanted = match whose {
                Whose::Own => log.replica == self.replica,
                Whose::All => true,
                Whose::Closing(replica) => log.replica == replica,
            };
            if is_wanted && let Some(head) = self.extend(&log, head_of(&log.replica), whose, &mut leaves).await? {
                signed.push(head);
            }
        }
        if signed.is_empty() {
            return Ok(true);
        }
        let root = head_of(ROOT_LOG);
        if let Some(handover) = self.handover(root)? {
            leaves.insert(0, handover);
        }
        let growth = self.grow(from, root, leaves, signed).await?;
        Ok(self.logs.grow_root(&growth).await?)
    }

    /// What there is to say of a log: nothing, or a checkpoint, behind its birth where it is the first.
    async fn extend(
        &self,
        log: &StoredLog,
        head: Option<&Head>,
        whose: Whose<'_>,
        leaves: &mut Vec<Entry>,
    ) -> Result<Option<Head>, NotaryError> {
        let closes = matches!(whose, Whose::Closing(_));
        match head {
            Some(head) if head.closed && (head.size == log.size || whose == Whose::All) => return Ok(None),
            Some(head) if head.closed => return Err(NotaryError::Closed(log.replica.clone())),
            Some(head) if head.size == log.size && !closes => return Ok(None),
            Some(head) => self.check(&log.replica, head, log.size).await?,
            None => leaves.push(Entry::ReplicaBorn(ReplicaBorn {
                replica: log.replica.clone(),
                origin: self.origin(&log.replica),
                first_size: self.first_size(log).await? as i64,
            })),
        }
        let root = tree_of(&*self.logs, &log.replica, log.size).await?.root();
        let checkpoint = Checkpoint { origin: self.origin(&log.replica), size: log.size, root };
        let note = checkpoint.sign(&self.key);
        leaves.push(Entry::Checkpoint(ReplicaCheckpoint { replica: log.replica.clone(), note: note.clone() }));
        if closes {
            leaves.push(Entry::ReplicaClosed(ReplicaClosed { replica: log.replica.clone(), size: log.size as i64 }));
        }
        Ok(Some(Head { log: log.replica.clone(), size: log.size, note, closed: closes }))
    }

    /// That what was signed is still there.
    async fn check(&self, log: &str, head: &Head, found: u64) -> Result<(), NotaryError> {
        let unreadable = |error| NotaryError::Checkpoint { log: log.to_owned(), error };
        let signed = Checkpoint::open_unchecked(head.note.as_bytes()).map_err(unreadable)?;
        if Checkpoint::open(head.note.as_bytes(), self.own_keys()).is_err() {
            return Err(NotaryError::OtherKey { log: log.to_owned() });
        }
        if signed.size > found {
            return Err(NotaryError::RolledBack { log: log.to_owned(), found, signed: signed.size });
        }
        if tree_of(&*self.logs, log, signed.size).await?.root() != signed.root {
            return Err(NotaryError::Changed { log: log.to_owned(), signed: signed.size });
        }
        Ok(())
    }

    fn own_keys(&self) -> impl Iterator<Item = &VerifierKey> {
        [&self.key].into_iter().chain(&self.previous).map(SigningKey::verifier)
    }

    /// The leaf by which the key that signed last hands over to this one, where it is another.
    fn handover(&self, root: Option<&Head>) -> Result<Option<Entry>, NotaryError> {
        let Some(root) = root else { return Ok(None) };
        if Checkpoint::open(root.note.as_bytes(), [self.key.verifier()]).is_ok() {
            return Ok(None);
        }
        match &self.previous {
            Some(previous) if Checkpoint::open(root.note.as_bytes(), [previous.verifier()]).is_ok() => {
                Ok(Some(Entry::KeyRotated(rotate(previous, &self.key))))
            }
            _ => Err(NotaryError::OtherKey { log: ROOT_LOG.into() }),
        }
    }

    async fn grow(
        &self,
        from: u64,
        root: Option<&Head>,
        entries: Vec<Entry>,
        mut heads: Vec<Head>,
    ) -> Result<RootGrowth, NotaryError> {
        if let Some(root) = root {
            self.check(ROOT_LOG, root, from).await?;
        }
        let mut tree = tree_of(&*self.logs, ROOT_LOG, from).await?;
        let latest = match from {
            0 => None,
            size => self.logs.leaves(ROOT_LOG, size - 1, 1).await?.pop(),
        };
        let latest = latest.and_then(|leaf| RootEntry::decode(leaf.as_slice()).ok()?.time);
        let now = timestamp(self.clock.now_us().max(latest.as_ref().map_or(0, micros)));
        let mut growth = RootGrowth { from, ..RootGrowth::default() };
        for entry in entries {
            let leaf = RootEntry { time: Some(now), entry: Some(entry) }.encode_to_vec();
            tree.append(leaf_hash(&leaf), &mut growth.rows);
            growth.leaves.push(leaf);
        }
        let checkpoint = Checkpoint { origin: self.origin(ROOT_LOG), size: tree.size(), root: tree.root() };
        heads.push(Head { log: ROOT_LOG.into(), size: tree.size(), note: checkpoint.sign(&self.key), closed: false });
        growth.heads = heads;
        Ok(growth)
    }

    /// How many of the records were made by a version that kept no log: they come first, and name no replica.
    async fn first_size(&self, log: &StoredLog) -> Result<u64, NotaryError> {
        let (mut low, mut high) = (0, log.size);
        while low < high {
            let middle = low + (high - low) / 2;
            let leaf = self.logs.leaves(&log.replica, middle, 1).await?.pop().unwrap_or_default();
            let is_old = AuditRecord::decode(leaf.as_slice()).is_ok_and(|record| record.replica.is_empty());
            if is_old {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }
}
