//! Ships what the journal has to the store, and syncs the file: off the path of every call.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use tollgate_store::{Batch, StoreError};

use crate::{Durability, Ledger};

/// How long notes gather before they are shipped together.
const GATHER: Duration = Duration::from_millis(20);
/// At most this much is lost with the machine's power under [`Durability::Process`].
const SYNC_EVERY: Duration = Duration::from_millis(5);
const MAX_BATCH: usize = 2_000;

/// Starts both loops. They end when the ledger is dropped.
pub(crate) fn start(ledger: &Arc<Ledger>) {
    tokio::spawn(sync_loop(Arc::downgrade(ledger), ledger.written.subscribe()));
    tokio::spawn(ship_loop(Arc::downgrade(ledger), ledger.written.subscribe()));
}

async fn ship_loop(ledger: Weak<Ledger>, mut written: tokio::sync::watch::Receiver<u64>) {
    let mut pause = Duration::from_millis(100);
    while written.changed().await.is_ok() {
        let Some(ledger) = ledger.upgrade() else { return };
        let _ = tokio::time::timeout(GATHER, ledger.ship_now.notified()).await;
        while let Err(error) = ledger.ship().await {
            // Nothing is lost: the journal has it, and the same batch goes again.
            tracing::error!(%error, "the store did not take a batch; calls go on, trying again");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(5));
        }
        pause = Duration::from_millis(100);
    }
}

async fn sync_loop(ledger: Weak<Ledger>, mut written: tokio::sync::watch::Receiver<u64>) {
    while written.changed().await.is_ok() {
        let Some(ledger) = ledger.upgrade() else { return };
        if ledger.durability == Durability::Process {
            tokio::time::sleep(SYNC_EVERY).await;
        }
        let (handle, through) = {
            let writer = ledger.writer.lock();
            (writer.journal.handle(), writer.journal.next_sequence() - 1)
        };
        let synced = match handle {
            Ok(file) => tokio::task::spawn_blocking(move || file.sync_data()).await,
            Err(error) => Ok(Err(error)),
        };
        match synced {
            Ok(Ok(())) => {
                ledger.synced.send_replace(through);
            }
            Ok(Err(error)) => tracing::error!(%error, "the journal could not be synced"),
            Err(_) => return, // the runtime is going down
        }
    }
}

impl Ledger {
    /// Ships everything that is queued.
    pub(crate) async fn ship(&self) -> Result<(), StoreError> {
        loop {
            let (batch, taken) = {
                let writer = self.writer.lock();
                let taken = writer.queue.len().min(MAX_BATCH);
                let through = match taken {
                    // Opens are not shipped, but their sequences are passed.
                    n if n == writer.queue.len() => writer.journal.next_sequence() - 1,
                    n => writer.queue[n - 1].0,
                };
                let changes = writer.queue[..taken].iter().flat_map(|(_, note)| note.clone().into_changes()).collect();
                (Batch { changes, through }, taken)
            };
            if !batch.changes.is_empty() {
                self.store.apply(&batch).await?;
            }
            let mut writer = self.writer.lock();
            writer.queue.drain(..taken);
            let keep_from = writer.open.values().copied().min().unwrap_or(u64::MAX).min(batch.through + 1);
            writer.journal.trim_before(keep_from);
            let more = !writer.queue.is_empty();
            drop(writer);
            self.shipped.send_replace(batch.through);
            if !more {
                return Ok(());
            }
        }
    }
}
