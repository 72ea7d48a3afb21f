use std::time::Duration;

use async_trait::async_trait;
use redis::Script;
use tollgate_store::{Claimed, Claims, Idempotency, Result, StoreError};

use crate::connection::Connection;

/// Idempotency keys, claimed in Redis.
pub struct RedisClaims {
    connection: Connection,
    claim: Script,
    unclaim: Script,
}

impl RedisClaims {
    /// Prepares to speak; Redis itself may be away still.
    pub async fn open(url: &str) -> std::result::Result<Self, String> {
        let connection = Connection::open(url).await.map_err(|e| format!("store.redis_url: {e}"))?;
        Ok(Self { connection, claim: script!("claim"), unclaim: script!("unclaim") })
    }
}

fn failed(error: redis::RedisError) -> StoreError {
    StoreError::Unavailable(error.to_string())
}

#[async_trait]
impl Claims for RedisClaims {
    async fn claim(&self, idempotency: &Idempotency, call_id: &str, retention: Duration) -> Result<Option<Claimed>> {
        let mut connection = self.connection.clone();
        let mut invocation = self.claim.key("{tollgate}:epoch");
        invocation.arg(&idempotency.key).arg(&idempotency.fingerprint).arg(call_id).arg(retention.as_secs().max(1));
        let (fingerprint, has): (Vec<u8>, String) = invocation.invoke_async(&mut connection).await.map_err(failed)?;
        Ok((has != call_id).then_some(Claimed { fingerprint, call_id: has }))
    }

    async fn release(&self, key: &[u8], call_id: &str) -> Result<()> {
        let mut connection = self.connection.clone();
        let mut invocation = self.unclaim.key("{tollgate}:epoch");
        invocation.arg(key).arg(call_id);
        invocation.invoke_async::<String>(&mut connection).await.map_err(failed)?;
        Ok(())
    }
}
