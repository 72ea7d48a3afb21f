use std::time::Duration;

use async_trait::async_trait;
use redis::Script;
use tollgate_store::{Cooldowns, Cooling, Result};

use crate::connection::{Connection, failed};

/// Deployments that are left alone for a while, as all replicas should know.
pub struct RedisCooldowns {
    connection: Connection,
    cool: Script,
    cooling: Script,
}

impl RedisCooldowns {
    /// Prepares to speak; Redis itself may be away still.
    pub async fn open(url: &str) -> std::result::Result<Self, String> {
        let connection = Connection::open(url).await.map_err(|e| format!("store.redis_url: {e}"))?;
        Ok(Self { connection, cool: script!("cool"), cooling: script!("cooling") })
    }
}

#[async_trait]
impl Cooldowns for RedisCooldowns {
    async fn announce(&self, cooling: &Cooling) -> Result<()> {
        let mut connection = self.connection.clone();
        let mut invocation = self.cool.key("{tollgate}:epoch");
        let left_ms = u64::try_from(cooling.left.as_millis()).unwrap_or(u64::MAX);
        invocation.arg(&cooling.deployment).arg(&cooling.class).arg(left_ms);
        invocation.invoke_async::<String>(&mut connection).await.map_err(failed)?;
        Ok(())
    }

    async fn current(&self) -> Result<Vec<Cooling>> {
        let mut connection = self.connection.clone();
        let all: Vec<(String, u64)> =
            self.cooling.key("{tollgate}:epoch").invoke_async(&mut connection).await.map_err(failed)?;
        let read = |(member, left_ms): (String, u64)| {
            let (class, deployment) = member.split_once(' ')?;
            Some(Cooling {
                deployment: deployment.to_owned(),
                class: class.to_owned(),
                left: Duration::from_millis(left_ms),
            })
        };
        Ok(all.into_iter().filter_map(read).collect())
    }
}
