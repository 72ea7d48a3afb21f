//! Idempotency keys over several replicas: who was first.

use std::time::Duration;

use async_trait::async_trait;

use crate::{Idempotency, Result};

/// A call that has claimed an idempotency key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// Hash of its request.
    pub fingerprint: Vec<u8>,
    /// The call.
    pub call_id: String,
}

/// Keeps claims where all replicas see them.
#[async_trait]
pub trait Claims: Send + Sync {
    /// Claims a key for a call, for so long. `Some`: another call has it.
    async fn claim(&self, idempotency: &Idempotency, call_id: &str, retention: Duration) -> Result<Option<Claimed>>;

    /// Frees a key whose call was not billed, if this call still has it.
    async fn release(&self, key: &[u8], call_id: &str) -> Result<()>;
}
