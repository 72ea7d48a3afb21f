//! Conversations that are gone on from: answers with what was asked, each kept for a time and for one virtual key.

use async_trait::async_trait;
use tollgate_proto::v1::StoredResponse;

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
}

/// More turns than any conversation has.
pub const MAX_TURNS: i64 = 10_000;
