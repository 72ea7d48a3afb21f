use std::time::Duration;

use async_trait::async_trait;
use redis::Script;
use tollgate_store::{Claimed, Claims, Idempotency, Result};

use crate::connection::{Connection, failed};

/// Idempotency keys, claimed in Redis.
pub struct RedisClaims {
    connection: Connection,
    claim: Script,
    unclaim: Script,
    vouch: Script,
    fill: Script,
    alone: Script,
    told: Script,
}

/// A claim in Redis, and how far it can be trusted alone.
pub struct Took {
    /// Another call has the key.
    pub other: Option<Claimed>,
    /// Redis was told all claims since it started.
    pub whole: bool,
    /// Some replica reached the ledger of record a moment ago.
    pub vouched: bool,
}

/// How many claims Redis is told at once.
const CHUNK: usize = 500;

impl RedisClaims {
    /// Prepares to speak; Redis itself may be away still.
    pub async fn open(url: &str) -> std::result::Result<Self, String> {
        let connection = Connection::open(url).await.map_err(|e| format!("store.redis_url: {e}"))?;
        Ok(Self {
            connection,
            claim: script!("claim"),
            unclaim: script!("unclaim"),
            vouch: script!("vouch"),
            fill: script!("fill"),
            alone: script!("alone"),
            told: script!("told"),
        })
    }

    /// Claims a key, and tells whether that is enough when the ledger of record is away. `is_alone`: it is away, and has yet to be told.
    pub async fn take(
        &self,
        idempotency: &Idempotency,
        call_id: &str,
        retention: Duration,
        is_alone: bool,
    ) -> Result<Took> {
        let mut connection = self.connection.clone();
        let mut invocation = self.claim.key("{tollgate}:epoch");
        invocation.arg(&idempotency.key).arg(&idempotency.fingerprint).arg(call_id).arg(retention.as_secs().max(1));
        invocation.arg(u8::from(is_alone));
        let (fingerprint, has, whole, vouched): (Vec<u8>, String, bool, bool) =
            invocation.invoke_async(&mut connection).await.map_err(failed)?;
        let other = (has != call_id).then_some(Claimed { fingerprint, call_id: has });
        Ok(Took { other, whole, vouched })
    }

    /// Some of the claims that the ledger of record has yet to be told, with how long each still counts.
    pub async fn alone(&self) -> Result<Vec<(Idempotency, String, Duration)>> {
        let mut connection = self.connection.clone();
        let mut invocation = self.alone.key("{tollgate}:epoch");
        invocation.arg(CHUNK);
        let rows: Vec<(Vec<u8>, Vec<u8>, String, u64)> =
            invocation.invoke_async(&mut connection).await.map_err(failed)?;
        let all = rows.into_iter().map(|(key, fingerprint, call_id, seconds)| {
            (Idempotency { key, fingerprint }, call_id, Duration::from_secs(seconds))
        });
        Ok(all.collect())
    }

    /// The ledger of record knows this claim now.
    pub async fn told(&self, key: &[u8]) -> Result<()> {
        let mut connection = self.connection.clone();
        let mut invocation = self.told.key("{tollgate}:epoch");
        invocation.arg(key);
        invocation.invoke_async::<i64>(&mut connection).await.map_err(failed)?;
        Ok(())
    }

    /// Says that the ledger of record is reached, for so long. False: Redis was not told all claims since it started.
    pub async fn vouch(&self, lasts: Duration) -> Result<bool> {
        let mut connection = self.connection.clone();
        let mut invocation = self.vouch.key("{tollgate}:epoch");
        invocation.arg(u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX));
        invocation.invoke_async(&mut connection).await.map_err(failed)
    }

    /// Tells Redis all claims that the ledger of record has.
    pub async fn fill(&self, claims: &[(Idempotency, String, Duration)]) -> Result<()> {
        let mut connection = self.connection.clone();
        let mut chunks = claims.chunks(CHUNK).peekable();
        loop {
            let chunk = chunks.next().unwrap_or_default();
            let last = chunks.peek().is_none();
            let mut invocation = self.fill.key("{tollgate}:epoch");
            invocation.arg(u8::from(last));
            for (idempotency, call_id, left) in chunk {
                let seconds = left.as_secs().max(1);
                invocation.arg(&idempotency.key).arg(&idempotency.fingerprint).arg(call_id).arg(seconds);
            }
            invocation.invoke_async::<String>(&mut connection).await.map_err(failed)?;
            if last {
                return Ok(());
            }
        }
    }
}

#[async_trait]
impl Claims for RedisClaims {
    async fn claim(&self, idempotency: &Idempotency, call_id: &str, retention: Duration) -> Result<Option<Claimed>> {
        Ok(self.take(idempotency, call_id, retention, false).await?.other)
    }

    async fn release(&self, key: &[u8], call_id: &str) -> Result<()> {
        let mut connection = self.connection.clone();
        let mut invocation = self.unclaim.key("{tollgate}:epoch");
        invocation.arg(key).arg(call_id);
        invocation.invoke_async::<String>(&mut connection).await.map_err(failed)?;
        Ok(())
    }
}
