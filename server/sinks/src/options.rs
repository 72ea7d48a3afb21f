use std::time::Duration;

use crate::{Filter, Kind, Redaction, Sampling};

/// How records are put together.
#[derive(Clone, Copy, Debug)]
pub struct Batching {
    /// At most so many in a batch.
    pub max_records: usize,
    /// At most so many bytes in a batch, as they are spilled; one record alone may be larger.
    pub max_bytes: usize,
    /// No record waits longer for a batch to fill.
    pub max_age: Duration,
}

impl Default for Batching {
    fn default() -> Self {
        Self { max_records: 100, max_bytes: 1 << 20, max_age: Duration::from_secs(2) }
    }
}

/// One sink.
pub struct SinkOptions {
    /// Its name: letters, digits, `-`, `_`; also the name of its directory.
    pub name: String,
    /// Where to.
    pub kind: Kind,
    /// Which records.
    pub filter: Filter,
    /// What of them is left out or hashed.
    pub redaction: Redaction,
    /// Which part of the calls.
    pub sampling: Sampling,
    /// How they are put together.
    pub batching: Batching,
    /// At most so many records wait in memory while a batch is on its way; more go to disk.
    pub memory_records: usize,
    /// At most so many bytes of files on disk.
    pub spill_max_bytes: u64,
    /// Time for one request, or one object.
    pub timeout: Duration,
    /// After a first failure; twice as long after each further one.
    pub first_retry: Duration,
    /// The longest time between two tries.
    pub longest_retry: Duration,
}

impl SinkOptions {
    /// With the defaults of everything but where to.
    pub fn new(name: impl Into<String>, kind: Kind) -> Self {
        Self {
            name: name.into(),
            batching: kind.batching(),
            kind,
            filter: Filter::default(),
            redaction: Redaction::default(),
            sampling: Sampling::default(),
            memory_records: 4_096,
            spill_max_bytes: 256 << 20,
            timeout: Duration::from_secs(30),
            first_retry: Duration::from_millis(500),
            longest_retry: Duration::from_secs(60),
        }
    }
}
