//! Files at providers and the batches that read them: where each is, whose it is, and what of its money is still open.

use async_trait::async_trait;
use prost::Message;
use tollgate_proto::v1::{LedgerEntry, Price};

use crate::Result;

/// Where a file is, and whose.
#[derive(Clone, PartialEq, Message)]
pub struct StoredFile {
    /// The gateway's id.
    #[prost(string, tag = "1")]
    pub id: String,
    /// The key that it belongs to.
    #[prost(string, tag = "2")]
    pub key_id: String,
    /// What it is called.
    #[prost(string, tag = "3")]
    pub filename: String,
    /// What it is for.
    #[prost(string, tag = "4")]
    pub purpose: String,
    /// The model alias by which its deployment was chosen.
    #[prost(string, tag = "5")]
    pub model: String,
    /// The deployment where it is.
    #[prost(string, tag = "6")]
    pub deployment: String,
    /// The provider's id of it.
    #[prost(string, tag = "7")]
    pub upstream_id: String,
    /// The provider's object, with the gateway's ids.
    #[prost(string, tag = "8")]
    pub object_json: String,
    /// When it was made, microseconds since the epoch.
    #[prost(int64, tag = "9")]
    pub create_us: i64,
    /// What a batch of it can cost; absent: it is no input of a batch.
    #[prost(message, optional, tag = "10")]
    pub lines: Option<StoredLines>,
    /// The batch that wrote it; empty: none did.
    #[prost(string, tag = "11")]
    pub batch_id: String,
}

/// What was found in the input of a batch while it was passed on.
#[derive(Clone, PartialEq, Message)]
pub struct StoredLines {
    /// How many there are.
    #[prost(int64, tag = "1")]
    pub count: i64,
    /// What all of them ask for, as in their `url`.
    #[prost(string, tag = "2")]
    pub url: String,
    /// The most that they can cost together, nano-dollars.
    #[prost(int64, tag = "3")]
    pub bound_nano_usd: i64,
    /// The price with which that was computed.
    #[prost(string, tag = "4")]
    pub price_version: String,
    /// SHA-256 of the file as it was uploaded; empty: an earlier version took it.
    #[prost(bytes, tag = "5")]
    pub sha256: Vec<u8>,
}

/// A batch, and its money.
#[derive(Clone, PartialEq, Message)]
pub struct StoredBatch {
    /// The gateway's id.
    #[prost(string, tag = "1")]
    pub id: String,
    /// The key that it belongs to.
    #[prost(string, tag = "2")]
    pub key_id: String,
    /// The file that it reads.
    #[prost(string, tag = "3")]
    pub input_file_id: String,
    /// The model alias that its lines name.
    #[prost(string, tag = "4")]
    pub model: String,
    /// The provider's id of it.
    #[prost(string, tag = "5")]
    pub upstream_id: String,
    /// The provider's object, with the gateway's ids.
    #[prost(string, tag = "6")]
    pub object_json: String,
    /// When it began, microseconds since the epoch.
    #[prost(int64, tag = "7")]
    pub create_us: i64,
    /// What was charged when it began: what its end corrects.
    #[prost(message, optional, tag = "8")]
    pub charge: Option<LedgerEntry>,
    /// The price that was in force then; absent: the deployment has none.
    #[prost(message, optional, tag = "9")]
    pub price: Option<Price>,
    /// How many lines it has.
    #[prost(int64, tag = "10")]
    pub lines: i64,
    /// What it cost, once it is settled, nano-dollars.
    #[prost(int64, optional, tag = "11")]
    pub cost_nano_usd: Option<i64>,
}

impl StoredBatch {
    /// What was charged when it began.
    pub fn charge(&self) -> &LedgerEntry {
        static NONE: std::sync::LazyLock<LedgerEntry> = std::sync::LazyLock::new(LedgerEntry::default);
        self.charge.as_ref().unwrap_or(&NONE)
    }
}

/// Which of a key's things, in the order of their ids, which is that of time.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// Only those behind this id; empty: from the beginning.
    pub after: String,
    /// The oldest first.
    pub oldest_first: bool,
    /// At most this many.
    pub limit: i64,
}

/// Keeps files and batches where all replicas see them. What is one key's is not there for another. All times are microseconds since the
/// epoch.
#[async_trait]
pub trait Batches: Send + Sync {
    /// Keeps a file; one that is there already stays as it is.
    async fn keep_file(&self, file: &StoredFile) -> Result<()>;

    /// One file.
    async fn file(&self, key_id: &str, id: &str) -> Result<Option<StoredFile>>;

    /// A key's files; of one purpose, unless that is empty.
    async fn files(&self, key_id: &str, purpose: &str, listing: &Listing) -> Result<Vec<StoredFile>>;

    /// Forgets a file; tells whether it was there.
    async fn forget_file(&self, key_id: &str, id: &str) -> Result<bool>;

    /// Keeps a batch that has begun, to be looked at from `look_us` on.
    async fn begin_batch(&self, batch: &StoredBatch, look_us: i64) -> Result<()>;

    /// One batch.
    async fn batch(&self, key_id: &str, id: &str) -> Result<Option<StoredBatch>>;

    /// A key's batches.
    async fn batches(&self, key_id: &str, listing: &Listing) -> Result<Vec<StoredBatch>>;

    /// Claims at most `limit` batches that are not settled and to be looked at by now, until `until_us`: nobody else gets them before.
    async fn due_batches(&self, now_us: i64, until_us: i64, limit: i64) -> Result<Vec<StoredBatch>>;

    /// Claims a batch for longer.
    async fn hold_batch(&self, id: &str, until_us: i64) -> Result<()>;

    /// Notes how a batch that is not settled was told last; with `next_us` the claim ends, and it is looked at again from then on.
    async fn note_batch(&self, batch: &StoredBatch, next_us: Option<i64>) -> Result<()>;

    /// Lets a batch be looked at from `look_us` on, once no claim is on it.
    async fn hasten_batch(&self, id: &str, look_us: i64) -> Result<()>;

    /// Makes `replica` the one in whose journal a batch's charge is corrected, unless another is that was not given up. Tells which it is:
    /// for ever, so that no two journals have the correction.
    async fn correct_batch(&self, id: &str, replica: &str) -> Result<String>;

    /// Notes that a batch is settled. Tells whether it was not before: what is settled stays as it is.
    async fn settle_batch(&self, batch: &StoredBatch) -> Result<bool>;
}
