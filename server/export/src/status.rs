use std::{
    sync::atomic::{AtomicI64, AtomicU64, Ordering},
    time::Duration,
};

/// How the exports go, for whoever watches.
#[derive(Debug)]
pub struct Status {
    every_us: i64,
    begun_us: i64,
    /// 0: never.
    succeeded_us: AtomicI64,
    failures: AtomicU64,
}

impl Status {
    pub(crate) fn new(every: Duration, begun_us: i64) -> Self {
        let every_us = i64::try_from(every.as_micros()).unwrap_or(i64::MAX);
        Self { every_us, begun_us, succeeded_us: AtomicI64::new(0), failures: AtomicU64::new(0) }
    }

    /// When the last export ended well, by whichever replica, in microseconds since 1970; `None`: nobody knows of one.
    pub fn succeeded_us(&self) -> Option<i64> {
        Some(self.succeeded_us.load(Ordering::Relaxed)).filter(|us| *us > 0)
    }

    /// How long the next one is overdue.
    pub fn overdue(&self, now_us: i64) -> Duration {
        let last_us = self.succeeded_us().unwrap_or(self.begun_us);
        let due_us = last_us.saturating_add(self.every_us);
        Duration::from_micros(u64::try_from(now_us.saturating_sub(due_us)).unwrap_or(0))
    }

    /// How often this replica failed.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// How long it is until the next one; never longer than between two, whatever the clocks say.
    pub(crate) fn due_in(&self, now_us: i64) -> Duration {
        let Some(last_us) = self.succeeded_us() else { return Duration::ZERO };
        let wait_us = last_us.saturating_add(self.every_us).saturating_sub(now_us).min(self.every_us);
        Duration::from_micros(u64::try_from(wait_us).unwrap_or(0))
    }

    pub(crate) fn succeeded(&self, us: i64) {
        self.succeeded_us.fetch_max(us, Ordering::Relaxed);
    }

    pub(crate) fn failed(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;

    #[test]
    fn the_first_is_due_at_once_and_the_next_after_the_last_of_any_replica() {
        let status = Status::new(Duration::from_secs(60), 1_000 * SECOND);
        assert_eq!(status.due_in(1_000 * SECOND), Duration::ZERO);
        assert_eq!(status.overdue(1_030 * SECOND), Duration::ZERO);
        assert_eq!(status.overdue(1_090 * SECOND), Duration::from_secs(30));
        status.succeeded(1_100 * SECOND);
        status.succeeded(1_050 * SECOND);
        assert_eq!(status.due_in(1_110 * SECOND), Duration::from_secs(50));
        assert_eq!(status.overdue(1_165 * SECOND), Duration::from_secs(5));
    }

    #[test]
    fn a_clock_that_was_set_back_does_not_make_it_wait_for_years() {
        let status = Status::new(Duration::from_secs(60), 0);
        status.succeeded(1_000_000 * SECOND);
        assert_eq!(status.due_in(SECOND), Duration::from_secs(60));
    }
}
