//! Ships what the journal has to the store, and syncs the file: off the path of every call.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use tollgate_store::{Batch, Rollup, StoreError};

use crate::{Durability, Ledger, with_rules};

/// How long notes gather before they are shipped together.
const GATHER: Duration = Duration::from_millis(20);
/// At most this much is lost with the machine's power under [`Durability::Process`].
const SYNC_EVERY: Duration = Duration::from_millis(5);
/// At most this many notes go in one batch: a backlog is drained in pieces that each commit.
const MOST: usize = 2_000;

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
        while let Err(error) = ledger.ship_gathered().await {
            if let StoreError::Fenced(_) = error {
                ledger.fail(error.to_string());
                return;
            }
            // Nothing is lost: the journal has it, and the same batch goes again.
            tracing::warn!(%error, lag = ledger.lag(), "the store did not take a batch; calls go on, trying again");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(1));
        }
        pause = Duration::from_millis(100);
    }
}

async fn sync_loop(ledger: Weak<Ledger>, mut written: tokio::sync::watch::Receiver<u64>) {
    while written.changed().await.is_ok() {
        let Some(ledger) = ledger.upgrade() else { return };
        if ledger.durability != Durability::Disk {
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
            // What the kernel could not write it may have forgotten: asking again would lie (fsync(2)). The store gets what is in memory.
            Ok(Err(error)) => {
                ledger.fail(format!("the journal could not be synced: {error}"));
                return;
            }
            Err(_) => return, // the runtime is going down
        }
    }
}

impl Ledger {
    /// Ships everything that is queued. A batch that the store refused is kept and goes first.
    pub(crate) async fn ship(&self) -> Result<(), StoreError> {
        self.ship_down_to(0).await
    }

    /// The same, but what comes meanwhile gathers: under load each batch would be as small as what came during the one before, and a batch costs
    /// much the same whatever is in it.
    async fn ship_gathered(&self) -> Result<(), StoreError> {
        self.ship_down_to(MOST).await
    }

    /// Ships until no more than so many notes are left.
    async fn ship_down_to(&self, left: usize) -> Result<(), StoreError> {
        let mut unshipped = self.unshipped.lock().await;
        if self.cluster.as_ref().is_some_and(|c| c.is_offline()) {
            return Err(StoreError::Unavailable("it has not been reached since the start".into()));
        }
        loop {
            let batch = unshipped.get_or_insert_with(|| self.take_batch());
            if !batch.changes.is_empty() {
                self.ship_batch(batch).await?;
            }
            let through = batch.through;
            *unshipped = None;
            let mut writer = self.writer.lock();
            let keep_from = writer.oldest_open().min(through + 1);
            let positions = writer.positions(through);
            writer.journal.trim_before(keep_from, positions);
            let more = writer.queue.len() > left;
            drop(writer);
            self.moved();
            self.shipped.send_replace(through);
            if !more {
                return Ok(());
            }
        }
    }

    async fn ship_batch(&self, batch: &Batch) -> Result<(), StoreError> {
        let rollup = if self.cluster.is_some() { Rollup::of(batch.rows()) } else { Rollup::default() };
        if let Some(cluster) = &self.cluster {
            // Within an epoch the coordinator knows of every spend before the ledger of record does: so one that it has forgotten can
            // be learnt from there without counting anything twice.
            cluster.report(batch.through, &rollup).await.map_err(|lost| StoreError::Unavailable(lost.to_string()))?;
        }
        self.apply(batch, &rollup).await
    }

    /// Applies a batch to the store and makes known what came of it.
    pub(crate) async fn apply(&self, batch: &Batch, rollup: &Rollup) -> Result<(), StoreError> {
        if batch.rows().next().is_some() {
            tollgate_planted::step("before_shipping");
        }
        let alerts = self.store.apply(batch).await?;
        if batch.rows().next().is_some() {
            tollgate_planted::step("shipped");
        }
        for ((charge, window), used) in &rollup.leases {
            if let Some(account) = self.account(charge) {
                account.reported(*window, *used);
            }
        }
        for alert in alerts {
            tracing::warn!(
                budget = alert.budget_id,
                percent = alert.percent,
                spent_nano_usd = alert.spent_nano_usd,
                limit_nano_usd = alert.limit_nano_usd,
                "a budget has passed a threshold"
            );
            (self.on_alert)(&alert);
        }
        Ok(())
    }

    /// Takes what is queued: calls wait for no more than the taking.
    pub(crate) fn take_batch(&self) -> Batch {
        let mut writer = self.writer.lock();
        let (queued, through) = if writer.queue.len() <= MOST {
            // Opens are not shipped, but their sequences are passed.
            let through = writer.journal.next_sequence() - 1;
            (std::mem::take(&mut writer.queue), through)
        } else {
            let rest = writer.queue.split_off(MOST);
            let queued = std::mem::replace(&mut writer.queue, rest);
            let through = queued.last().map_or(0, |(sequence, _)| *sequence);
            (queued, through)
        };
        drop(writer);
        let changes = queued.into_iter().flat_map(|(_, note)| note.into_changes()).collect();
        with_rules(Batch { changes, through, ..Batch::default() }, &self.book, self.now_us())
    }
}
