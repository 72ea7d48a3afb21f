//! Deployments that are left alone, over several replicas.

use std::time::Duration;

use async_trait::async_trait;

use crate::Result;

/// A deployment that is left alone for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cooling {
    /// Which.
    pub deployment: String,
    /// Class of the failure: the name in records.
    pub class: String,
    /// For how long still.
    pub left: Duration,
}

/// Tells replicas what each has found.
#[async_trait]
pub trait Cooldowns: Send + Sync {
    /// Tells the others.
    async fn announce(&self, cooling: &Cooling) -> Result<()>;

    /// What was told and is not over.
    async fn current(&self) -> Result<Vec<Cooling>>;
}
