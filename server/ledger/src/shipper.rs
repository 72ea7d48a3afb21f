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
    /// Ships everything that is queued. A batch that the store refused is kept and goes first.
    pub(crate) async fn ship(&self) -> Result<(), StoreError> {
        let mut unshipped = self.unshipped.lock().await;
        loop {
            let batch = unshipped.get_or_insert_with(|| self.take_batch());
            if !batch.changes.is_empty() {
                self.store.apply(batch).await?;
            }
            let through = batch.through;
            *unshipped = None;
            let mut writer = self.writer.lock();
            let keep_from = writer.open.values().copied().min().unwrap_or(u64::MAX).min(through + 1);
            writer.journal.trim_before(keep_from);
            let more = !writer.queue.is_empty();
            drop(writer);
            self.shipped.send_replace(through);
            if !more {
                return Ok(());
            }
        }
    }

    /// Takes what is queued: calls wait for no more than the taking.
    fn take_batch(&self) -> Batch {
        let mut writer = self.writer.lock();
        let queued = std::mem::take(&mut writer.queue);
        // Opens are not shipped, but their sequences are passed.
        let through = writer.journal.next_sequence() - 1;
        drop(writer);
        Batch { changes: queued.into_iter().flat_map(|(_, note)| note.into_changes()).collect(), through }
    }
}
