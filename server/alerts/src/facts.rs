use std::time::Duration;

use async_trait::async_trait;

/// Where a budget stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Its id.
    pub id: String,
    /// What it is called, or what it is on.
    pub name: String,
    /// Where its window began, as in alerts of budgets.
    pub window: i64,
    /// Settled in it, nano-dollars.
    pub spent: i64,
    /// Its limit, nano-dollars.
    pub limit: i64,
}

/// A key that ends by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpiringKey {
    /// Its id.
    pub id: String,
    /// What it is called.
    pub name: String,
    /// When it ends, microseconds since the epoch.
    pub expire_us: i64,
}

/// How the ledger works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerMode {
    /// `normal`, `postgres_gone`, ...
    pub name: String,
    /// Something is missing.
    pub degraded: bool,
}

/// What the gateway knows of itself.
#[async_trait]
pub trait Facts: Send + Sync {
    /// Microseconds since the epoch.
    fn now_us(&self) -> i64;

    /// How the ledger works.
    fn ledger(&self) -> LedgerMode;

    /// One budget, if it is still there.
    fn budget(&self, id: &str) -> Option<Budget>;

    /// Keys that work and end before this moment.
    fn keys_ending_before(&self, us: i64) -> Vec<ExpiringKey>;

    /// What was spent from `start_us` to, not including, `end_us`, nano-dollars; the error says why that is not known now.
    async fn spent(&self, start_us: i64, end_us: i64) -> Result<i64, String>;
}

/// Where several replicas see the same, one of them tells it.
#[async_trait]
pub trait Turns: Send + Sync {
    /// Whether it is for this replica to tell `what`; nobody else may for so long. Who has it and asks again has it for so long from now.
    async fn is_ours(&self, what: &str, how_long: Duration) -> bool;
}
