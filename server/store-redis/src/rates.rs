//! Rate limits and counts of calls in flight that all replicas draw on.

use async_trait::async_trait;
use redis::{Script, ScriptInvocation};
use tollgate_limits::{Gone, Rate, Shared, Take, Taken};

use crate::connection::Connection;

/// Shared limits, kept in Redis.
pub struct RedisLimits {
    connection: Connection,
    take: Script,
    correct: Script,
    enter: Script,
    leave: Script,
}

impl RedisLimits {
    /// Prepares to speak; Redis itself may be away still.
    pub async fn open(url: &str) -> Result<Self, String> {
        let connection = Connection::open(url).await.map_err(|e| format!("store.redis_url: {e}"))?;
        Ok(Self {
            connection,
            take: script!("take"),
            correct: script!("correct"),
            enter: script!("enter"),
            leave: script!("leave"),
        })
    }

    async fn run<T: redis::FromRedisValue>(&self, invocation: &ScriptInvocation<'_>) -> Result<T, Gone> {
        let mut connection = self.connection.clone();
        invocation.invoke_async(&mut connection).await.map_err(|e| Gone(e.to_string()))
    }
}

/// A key of the one slot tells a cluster where to run a script.
fn prepare(script: &Script) -> ScriptInvocation<'_> {
    script.key("{tollgate}:epoch")
}

#[async_trait]
impl Shared for RedisLimits {
    async fn take(&self, takes: &[Take]) -> Result<Vec<Taken>, Gone> {
        let mut invocation = prepare(&self.take);
        for take in takes {
            invocation.arg(&take.name).arg(take.rate.limit).arg(take.rate.interval_us);
            invocation.arg(take.rate.burst).arg(take.needed).arg(take.ahead);
        }
        let answer: Vec<String> = self.run(&invocation).await?;
        let number = |text: &String| text.parse().unwrap_or(0);
        let taken = |four: &[String]| Taken {
            amount: number(&four[0]),
            wait_us: number(&four[1]),
            remaining: number(&four[2]),
            reset_us: number(&four[3]),
        };
        Ok(answer.chunks_exact(4).map(taken).collect())
    }

    async fn correct(&self, corrections: &[(String, Rate, i64)]) -> Result<(), Gone> {
        let mut invocation = prepare(&self.correct);
        for (name, rate, more) in corrections {
            invocation.arg(name).arg(rate.limit).arg(rate.interval_us).arg(more);
        }
        self.run::<String>(&invocation).await.map(drop)
    }

    async fn enter(&self, counts: &[(String, i64)], call: &str, seconds: u64) -> Result<Option<usize>, Gone> {
        let mut invocation = prepare(&self.enter);
        invocation.arg(call).arg(seconds);
        for (name, limit) in counts {
            invocation.arg(name).arg(limit);
        }
        let full: i64 = self.run(&invocation).await?;
        Ok(usize::try_from(full).ok())
    }

    async fn leave(&self, counts: &[String], call: &str) {
        let mut invocation = prepare(&self.leave);
        invocation.arg(call);
        for name in counts {
            invocation.arg(name);
        }
        if let Err(Gone(why)) = self.run::<String>(&invocation).await {
            tracing::debug!(why, "a call has left and could not say so; its count lapses with its deadline");
        }
    }
}
