use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What became of records that were not delivered and never will be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// The queue in memory was full: the machine had no time for sinks.
    pub queue: u64,
    /// Disk or its limit had no room.
    pub spill: u64,
    /// The receiver refused them for good.
    pub refused: u64,
}

impl Dropped {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.queue + self.spill + self.refused
    }
}

/// What a sink has done since the start, and what it has before it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SinkStats {
    /// Its name.
    pub name: String,
    /// Its kind: `langfuse`, `datadog`, ...
    pub kind: &'static str,
    /// Records that the receiver has taken.
    pub delivered: u64,
    /// Records that are lost.
    pub dropped: Dropped,
    /// Sendings that failed and are tried again.
    pub failures: u64,
    /// Records that wait in memory.
    pub waiting: u64,
    /// Records that wait on disk.
    pub spilled: u64,
    /// Bytes of files on disk.
    pub spilled_bytes: u64,
}

#[derive(Default)]
pub(crate) struct Counters {
    name: String,
    kind: &'static str,
    delivered: AtomicU64,
    queue: AtomicU64,
    spill: AtomicU64,
    refused: AtomicU64,
    failures: AtomicU64,
    waiting: AtomicU64,
    spilled: AtomicU64,
    spilled_bytes: AtomicU64,
}

impl Counters {
    pub(crate) fn new(name: &str, kind: &'static str) -> Self {
        Self { name: name.to_owned(), kind, ..Self::default() }
    }

    pub(crate) fn drop_at_queue(&self) {
        self.queue.fetch_add(1, Relaxed);
    }

    pub(crate) fn drop_at_spill(&self, records: u64) {
        self.spill.fetch_add(records, Relaxed);
    }

    pub(crate) fn refuse(&self, records: u64) {
        self.refused.fetch_add(records, Relaxed);
    }

    pub(crate) fn deliver(&self, records: u64) {
        self.delivered.fetch_add(records, Relaxed);
    }

    pub(crate) fn fail(&self) {
        self.failures.fetch_add(1, Relaxed);
    }

    pub(crate) fn hold(&self, waiting: usize, spilled: usize, spilled_bytes: u64) {
        self.waiting.store(waiting as u64, Relaxed);
        self.spilled.store(spilled as u64, Relaxed);
        self.spilled_bytes.store(spilled_bytes, Relaxed);
    }

    pub(crate) fn read(&self) -> SinkStats {
        SinkStats {
            name: self.name.clone(),
            kind: self.kind,
            delivered: self.delivered.load(Relaxed),
            dropped: Dropped {
                queue: self.queue.load(Relaxed),
                spill: self.spill.load(Relaxed),
                refused: self.refused.load(Relaxed),
            },
            failures: self.failures.load(Relaxed),
            waiting: self.waiting.load(Relaxed),
            spilled: self.spilled.load(Relaxed),
            spilled_bytes: self.spilled_bytes.load(Relaxed),
        }
    }
}
