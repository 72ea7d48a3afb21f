//! By how much the ledger of record's clock is ahead of ours.
//!
//! An answer proves that the difference lies in an interval as long as the question took. The shortest one is believed: under load, or
//! after a pause of the process, questions take long and say little.

use std::sync::atomic::{AtomicI64, Ordering};

use parking_lot::Mutex;

/// What two clocks may drift apart in a second, microseconds: far more than quartz does, so that an old answer gives way in time.
const DRIFT: i64 = 500;

/// The difference of the two clocks, as well as it is known.
pub(crate) struct Skew {
    believed_us: AtomicI64,
    best: Mutex<Answer>,
}

/// One answer to the question what time it is there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer {
    /// By which much that clock is ahead, in the middle of what is possible.
    pub(crate) ahead_us: i64,
    /// How far that can be off.
    pub(crate) error_us: i64,
    at_us: i64,
}

impl Answer {
    /// Asked at `before_us` and heard at `after_us` by our clock; it was `theirs_us` there in between.
    pub(crate) fn new(before_us: i64, theirs_us: i64, after_us: i64) -> Self {
        let error_us = (after_us - before_us).max(0) / 2;
        Self { ahead_us: theirs_us - (before_us + error_us), error_us, at_us: after_us }
    }

    /// How far it can be off by now.
    fn error_at(&self, now_us: i64) -> i64 {
        self.error_us + (now_us - self.at_us).max(0) / 1_000_000 * DRIFT
    }
}

impl Skew {
    /// As it was known some time ago.
    pub(crate) fn known(ahead_us: i64) -> Self {
        Self::first(Answer { ahead_us, error_us: i64::MAX / 2, at_us: 0 })
    }

    /// With a first answer.
    pub(crate) fn first(answer: Answer) -> Self {
        Self { believed_us: AtomicI64::new(answer.ahead_us), best: Mutex::new(answer) }
    }

    /// Takes another answer into account.
    pub(crate) fn learn(&self, answer: Answer) {
        let mut best = self.best.lock();
        let aged_us = best.error_at(answer.at_us);
        // Answers that exclude each other: one of the clocks was set since.
        let was_set = answer.ahead_us.abs_diff(best.ahead_us) > aged_us.saturating_add(answer.error_us).unsigned_abs();
        if answer.error_us <= aged_us || was_set {
            *best = answer;
            self.believed_us.store(answer.ahead_us, Ordering::Relaxed);
        }
    }

    /// What is believed.
    pub(crate) fn us(&self) -> i64 {
        self.believed_us.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;

    /// Asked at `at_us`, and heard after `there` and `back`, of a clock that is `ahead_us` ahead.
    fn asked(at_us: i64, ahead_us: i64, there: i64, back: i64) -> Answer {
        Answer::new(at_us, at_us + there + ahead_us, at_us + there + back)
    }

    #[test]
    fn a_slow_answer_does_not_replace_a_quick_one() {
        let skew = Skew::first(asked(0, 5_000, 300, 300));
        skew.learn(asked(SECOND, 5_000, 1_000, 90_000));
        assert_eq!(skew.us(), 5_000);
    }

    #[test]
    fn a_clock_that_was_set_is_followed_at_once() {
        let skew = Skew::first(asked(0, 0, 300, 300));
        skew.learn(asked(SECOND, 3_600 * SECOND, 1_000, 9_000));
        assert!((skew.us() - 3_600 * SECOND).abs() <= 5_000);
    }

    #[test]
    fn clocks_that_drift_apart_are_followed() {
        let skew = Skew::first(asked(0, 0, 100, 100));
        for second in 1..600 {
            skew.learn(asked(second * SECOND, second * 50, 2_000, 2_000));
            assert!((skew.us() - second * 50).abs() <= 4_000, "after {second} s: {}", skew.us());
        }
    }

    #[test]
    fn what_a_snapshot_knew_gives_way_to_any_answer() {
        let skew = Skew::known(77 * SECOND);
        skew.learn(asked(SECOND, 0, 40_000, 40_000));
        assert_eq!(skew.us(), 0);
    }
}
