//! A histogram that is counted without a lock.

use std::sync::atomic::{AtomicU64, Ordering};

/// The most buckets that a histogram has.
const MOST: usize = 14;

/// How long something took, by upper bounds in microseconds.
#[derive(Debug)]
pub(crate) struct Histogram {
    bounds: &'static [u64],
    /// Observations by bucket, not summed up; the last is of those beyond all bounds.
    counts: [AtomicU64; MOST + 1],
    sum_us: AtomicU64,
}

/// What a histogram says: sum in seconds, observations, and for each bound in seconds how many lie between it and the one before.
pub(crate) type Read = (f64, u64, Vec<(f64, u64)>);

impl Histogram {
    pub(crate) fn new(bounds: &'static [u64]) -> Self {
        debug_assert!(bounds.len() <= MOST);
        Self { bounds, counts: Default::default(), sum_us: AtomicU64::new(0) }
    }

    /// Counts one observation, in microseconds; none is negative.
    pub(crate) fn observe(&self, us: i64) {
        let us = u64::try_from(us).unwrap_or(0);
        let bucket = self.bounds.partition_point(|bound| *bound < us).min(MOST);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> Read {
        let mut count = 0;
        let mut buckets = Vec::with_capacity(self.bounds.len() + 1);
        let bounds = self.bounds.iter().map(|us| *us as f64 / 1e6).chain([f64::INFINITY]);
        for (bound, observed) in bounds.zip(&self.counts) {
            let observed = observed.load(Ordering::Relaxed);
            count += observed;
            buckets.push((bound, observed));
        }
        (self.sum_us.load(Ordering::Relaxed) as f64 / 1e6, count, buckets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_takes_what_is_as_long_as_it_and_the_last_bucket_what_is_longer_than_all() {
        let histogram = Histogram::new(&[1_000, 10_000]);
        for us in [-5, 999, 1_000, 1_001, 10_000, 10_001, i64::MAX / 4] {
            histogram.observe(us);
        }
        let (_, count, buckets) = histogram.read();
        assert_eq!((count, buckets), (7, vec![(0.001, 3), (0.01, 2), (f64::INFINITY, 2)]));
    }
}
