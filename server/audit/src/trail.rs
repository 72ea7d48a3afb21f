use std::sync::Arc;

use tokio::sync::broadcast;
use tollgate_domain::micros;
use tollgate_proto::v1::{AuditFilter, AuditRecord};

/// A reader that falls further behind than this is told so.
const BACKLOG: usize = 4_096;

/// A reader fell too far behind and missed records; it may go on from the last position that it saw.
#[derive(Debug)]
pub struct Lagged;

/// Hands records on, in order, as they are journalled.
#[derive(Clone)]
pub struct Trail(broadcast::Sender<Arc<AuditRecord>>);

impl Default for Trail {
    fn default() -> Self {
        Self(broadcast::Sender::new(BACKLOG))
    }
}

impl Trail {
    /// Passes a record on.
    pub fn publish(&self, record: &Arc<AuditRecord>) {
        // Nobody listening is fine.
        let _ = self.0.send(record.clone());
    }

    /// Listens from now on.
    pub fn listen(&self) -> Listener {
        Listener(self.0.subscribe())
    }

    /// Whether `record` is one of those that `filter` asks for.
    pub fn matches(filter: &AuditFilter, record: &AuditRecord) -> bool {
        let time = record.time.as_ref().map_or(0, micros);
        (filter.key_id.is_empty() || filter.key_id == record.key_id)
            && record.action.starts_with(&filter.action_prefix)
            && (filter.call_id.is_empty() || filter.call_id == record.call_id)
            && filter.start_time.as_ref().is_none_or(|start| micros(start) <= time)
            && filter.end_time.as_ref().is_none_or(|end| time < micros(end))
    }
}

/// The reader's end of a [`Trail`].
pub struct Listener(broadcast::Receiver<Arc<AuditRecord>>);

impl Listener {
    /// The next record; `None` once the gateway is shutting down.
    pub async fn next(&mut self) -> Option<Result<Arc<AuditRecord>, Lagged>> {
        match self.0.recv().await {
            Ok(record) => Some(Ok(record)),
            Err(broadcast::error::RecvError::Lagged(_)) => Some(Err(Lagged)),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_falls_too_far_behind_is_told_so() {
        let trail = Trail::default();
        let (mut quick, mut slow) = (trail.listen(), trail.listen());
        for sequence in 1..=5_000 {
            trail.publish(&Arc::new(AuditRecord { sequence, ..AuditRecord::default() }));
            assert!(quick.next().await.unwrap().is_ok_and(|record| record.sequence == sequence));
        }
        assert!(slow.next().await.unwrap().is_err(), "it missed the first");
    }
}
