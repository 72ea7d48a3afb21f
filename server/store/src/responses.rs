//! Conversations that are gone on from: answers with what was asked, each kept for a time and for one virtual key.

use async_trait::async_trait;
use tollgate_proto::v1::{ResponseEvent, ResponseState, StoredResponse};

use crate::Result;

/// Keeps responses where all replicas see them. What one key keeps is not there for another; what has expired is not there for anybody.
/// All times are microseconds since the epoch.
#[async_trait]
pub trait Responses: Send + Sync {
    /// Keeps a response until `expire_us`. An id that the key has already stays as it is.
    async fn keep(&self, key_id: &str, response: &StoredResponse, expire_us: i64) -> Result<()>;

    /// One response.
    async fn kept(&self, key_id: &str, id: &str, now_us: i64) -> Result<Option<StoredResponse>>;

    /// The response that was kept last of those whose answers have an item of this id.
    async fn kept_with(&self, key_id: &str, item_id: &str, now_us: i64) -> Result<Option<StoredResponse>>;

    /// A response and what it goes on from, oldest first: as far back as it is there, and no further than the one with which they are
    /// larger than `max_bytes`.
    async fn conversation(&self, key_id: &str, id: &str, now_us: i64, max_bytes: u64) -> Result<Vec<StoredResponse>>;

    /// Forgets a response; tells whether it was there.
    async fn forget(&self, key_id: &str, id: &str, now_us: i64) -> Result<bool>;

    /// Clears away what has expired, at most `limit` of it; tells how much.
    async fn clear(&self, now_us: i64, limit: i64) -> Result<u64>;

    /// Keeps a response that is being made, as it is so far: lost unless it is heard of before `lease_us`. Tells whether it is new: an id
    /// that the key has already stays as it is.
    async fn begin(&self, key_id: &str, response: &StoredResponse, expire_us: i64, lease_us: i64) -> Result<bool>;

    /// Takes a response further that is being made; tells whether it is asked to end. `None`: it is not being made (any more).
    async fn advance(&self, key_id: &str, id: &str, step: &Step) -> Result<Option<bool>>;

    /// Asks a response that is being made to end.
    async fn ask_to_end(&self, key_id: &str, id: &str) -> Result<()>;

    /// Makes it final that a response is lost whose lease is over.
    async fn lose(&self, key_id: &str, id: &str, now_us: i64) -> Result<()>;

    /// Events of a response behind `after`, in order, as many as come in a few steps.
    async fn events(&self, key_id: &str, id: &str, after: i64) -> Result<Vec<ResponseEvent>>;
}

/// How far a response has come that is being made.
#[derive(Clone, Debug, Default)]
pub struct Step {
    /// Its events since the last step.
    pub events: Vec<ResponseEvent>,
    /// The response as it is now; `None`: as it was.
    pub response: Option<StoredResponse>,
    /// Until when it is kept.
    pub expire_us: i64,
    /// Until when it has to be heard of again; [`ENDED`]: it has ended.
    pub lease_us: i64,
}

/// The lease of a response that has ended.
pub const ENDED: i64 = 0;
/// The lease of one that was found lost.
pub const LOST: i64 = -1;
/// How many steps' events are read at once.
pub const STEPS_AT_ONCE: i64 = 8;

/// Where a response stands. `lease_us`: `None`: it was never being made in the background.
pub fn state(lease_us: Option<i64>, is_cancelled: bool, now_us: i64) -> ResponseState {
    match lease_us {
        None => ResponseState::Unspecified,
        Some(ENDED) => ResponseState::Ended,
        Some(lease_us) if lease_us <= now_us => ResponseState::Lost,
        Some(_) if is_cancelled => ResponseState::Cancelling,
        Some(_) => ResponseState::Running,
    }
}

/// More turns than any conversation has.
pub const MAX_TURNS: i64 = 10_000;
