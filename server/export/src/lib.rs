//! The audit log's copy elsewhere: again and again what is new of it goes to a bucket or a directory, and nothing there is ever overwritten.
//!
//! What was exported is told by the copy itself: its checkpoints, of which the root log's comes last. So any replica can go on where another
//! one was killed, and a store that was rolled back or changed since the last export is told of instead of exported. Nothing is put before all
//! of it was seen to lead to what was signed: what is locked cannot be taken back.

mod copy;
mod status;

use std::{sync::Arc, time::Duration};

use copy::Copy;
pub use copy::{Done, ExportError};
pub use status::Status;
use tollgate_domain::Clock;
use tollgate_objects::Vault;
use tollgate_outbound::Backoff;
use tollgate_store::AuditLogs;

/// After a first failure.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// The longest between two tries.
const LONGEST_RETRY: Duration = Duration::from_secs(300);
/// How soon a replica looks again whether another one is done.
const ANOTHER_LEADS: Duration = Duration::from_secs(30);

/// Exports for as long as the gateway runs.
pub struct Exporter {
    copy: Copy,
    every: Duration,
    clock: Clock,
    status: Arc<Status>,
}

impl Exporter {
    /// Exports `logs` into `vault` this often.
    pub fn new(logs: Arc<dyn AuditLogs>, vault: Vault, every: Duration, clock: Clock) -> Self {
        let status = Arc::new(Status::new(every, clock.now_us()));
        Self { copy: Copy::new(logs, vault), every, clock, status }
    }

    /// How it goes.
    pub fn status(&self) -> Arc<Status> {
        self.status.clone()
    }

    /// Whether what is put can be locked as it is wanted; an error: nobody can say now.
    pub async fn can_lock(&self) -> Result<bool, ExportError> {
        self.copy.can_lock().await
    }

    /// Exports what is signed now.
    pub async fn export(&self) -> Result<Done, ExportError> {
        self.copy.run().await
    }

    /// Exports again and again. Failures are told, and tried again.
    pub async fn keep(self) {
        let mut backoff = Backoff::new(FIRST_RETRY, LONGEST_RETRY.min(self.every.max(FIRST_RETRY)));
        loop {
            let wait = match self.turn().await {
                Ok(wait) => {
                    backoff.succeeded();
                    wait
                }
                Err(error) => {
                    self.status.failed();
                    let wait = backoff.failed(None);
                    tracing::error!(%error, again_in = ?wait, "the audit log is not exported");
                    wait
                }
            };
            tokio::time::sleep(wait).await;
        }
    }

    /// Exports if it is time and no other replica does; how long to wait until the next turn.
    async fn turn(&self) -> Result<Duration, ExportError> {
        if let Some(time_us) = self.copy.last_us().await? {
            self.status.succeeded(time_us);
        }
        let wait = self.status.due_in(self.clock.now_us());
        if !wait.is_zero() {
            return Ok(wait);
        }
        let Some(_lead) = self.copy.logs().lead_export().await? else {
            return Ok(ANOTHER_LEADS.min(self.every / 10).max(Duration::from_millis(50)));
        };
        let done = self.export().await?;
        self.status.succeeded(self.clock.now_us());
        if done.files > 0 {
            tracing::info!(files = done.files, records = done.records, "the audit log is exported");
        }
        Ok(self.every)
    }
}
