//! Idempotency keys, claimed in every store that answers: so that one of the two may be away.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use tollgate_store::{Claimed, Claims, Idempotency, Result, StoreError};

/// No call waits longer for a store.
const PATIENCE: Duration = Duration::from_millis(300);

pub(crate) struct Everywhere(pub(crate) Vec<Arc<dyn Claims>>);

#[async_trait]
impl Claims for Everywhere {
    async fn claim(&self, idempotency: &Idempotency, call_id: &str, retention: Duration) -> Result<Option<Claimed>> {
        // One after the other, in the same order everywhere: of two that come at once the same one is first in each.
        let mut answered = false;
        for store in &self.0 {
            match tokio::time::timeout(PATIENCE, store.claim(idempotency, call_id, retention)).await {
                Ok(Ok(Some(other))) => return Ok(Some(other)),
                Ok(Ok(None)) => answered = true,
                Ok(Err(error)) => tracing::debug!(%error, "an idempotency key cannot be claimed in one of the stores"),
                Err(_) => tracing::debug!("a store does not answer; an idempotency key is claimed in the others"),
            }
        }
        match answered {
            true => Ok(None),
            false => Err(StoreError::Unavailable("no store answers".into())),
        }
    }

    async fn release(&self, key: &[u8], call_id: &str) -> Result<()> {
        for store in &self.0 {
            // What is not freed lapses.
            let _ = tokio::time::timeout(PATIENCE, store.release(key, call_id)).await;
        }
        Ok(())
    }
}
