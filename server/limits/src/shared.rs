//! Limits that several replicas share.

use async_trait::async_trait;

use crate::rate::Rate;

/// What a replica asks of a shared rate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Take {
    /// Names the limit: subject and dimension.
    pub name: String,
    /// The whole rate.
    pub rate: Rate,
    /// Less is no use.
    pub needed: i64,
    /// More than that is taken ahead of need, and only out of plenty.
    pub ahead: i64,
}

/// What was taken of a shared rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// How much: 0, or at least what was needed.
    pub amount: i64,
    /// In how many microseconds what was needed can be had; 0: now.
    pub wait_us: i64,
    /// What remains for everybody.
    pub remaining: i64,
    /// In how many microseconds it is full again.
    pub reset_us: i64,
}

/// The store of shared limits cannot be reached: each replica keeps to its equal part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gone(pub String);

/// Keeps rates and counts that all replicas draw on.
#[async_trait]
pub trait Shared: Send + Sync {
    /// Takes from each of the rates what is needed, or nothing of that one.
    async fn take(&self, takes: &[Take]) -> Result<Vec<Taken>, Gone>;

    /// Gives tokens back that were charged and not used, or charges those used beyond.
    async fn correct(&self, corrections: &[(String, Rate, i64)]) -> Result<(), Gone>;

    /// Enters `call` in each of the counts, all or none, until it leaves or `seconds` are over. `Some`: which is full.
    async fn enter(&self, counts: &[(String, i64)], call: &str, seconds: u64) -> Result<Option<usize>, Gone>;

    /// Leaves them.
    async fn leave(&self, counts: &[String], call: &str);
}
