//! The time of day that does not jump: a wall clock that is set, by hand or by NTP, moves no budget window and ends no key early.

use std::{
    sync::atomic::{AtomicI64, Ordering::Relaxed},
    time::{Duration, Instant, SystemTime},
};

use tollgate_domain::Clock;

/// How often the wall clock is looked at.
const LOOK: i64 = Duration::from_secs(1).as_micros() as i64;
/// A look that took longer compares clocks of different times, and does not count.
const QUICK: i64 = Duration::from_millis(1).as_micros() as i64;
/// The wall clock is followed at once as far as it is disciplined, not set.
const SLEW: i64 = Duration::from_millis(500).as_micros() as i64;
/// A clock that was set is believed when it has stood by that for so long.
const BELIEF: i64 = Duration::from_secs(60).as_micros() as i64;

/// Microseconds since the epoch: the wall clock's at the start, the monotonic clock's progress from there.
pub(crate) fn system_clock() -> Clock {
    let started = Instant::now();
    let steady = Steady::new(wall_us());
    let monotonic_us = move || i64::try_from(started.elapsed().as_micros()).unwrap_or(i64::MAX);
    Clock::new(move || {
        let asked_us = monotonic_us();
        // Between the two clocks the process may have stood still.
        steady.now_us(asked_us, || Some(wall_us()).filter(|_| monotonic_us() - asked_us <= QUICK))
    })
}

fn wall_us() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// What is added to the monotonic clock, and what speaks against it.
struct Steady {
    offset_us: AtomicI64,
    looked_at_us: AtomicI64,
    /// What the wall clock would have instead, and since when. `i64::MAX`: it agrees.
    claim_us: AtomicI64,
    claimed_at_us: AtomicI64,
}

impl Steady {
    fn new(wall_us: i64) -> Self {
        Steady {
            offset_us: AtomicI64::new(wall_us),
            looked_at_us: AtomicI64::new(0),
            claim_us: AtomicI64::new(i64::MAX),
            claimed_at_us: AtomicI64::new(i64::MAX),
        }
    }

    fn now_us(&self, monotonic_us: i64, wall_us: impl FnOnce() -> Option<i64>) -> i64 {
        let looked_at = self.looked_at_us.load(Relaxed);
        // Of all who find that a look is due, one takes it.
        if monotonic_us - looked_at >= LOOK
            && self.looked_at_us.compare_exchange(looked_at, monotonic_us, Relaxed, Relaxed).is_ok()
        {
            match wall_us() {
                Some(wall_us) => self.look(monotonic_us, wall_us),
                None => self.looked_at_us.store(looked_at, Relaxed), // the next one looks again
            }
        }
        self.offset_us.load(Relaxed).saturating_add(monotonic_us)
    }

    fn look(&self, monotonic_us: i64, wall_us: i64) {
        let offset_us = wall_us.saturating_sub(monotonic_us);
        let apart = |from_us: i64| offset_us.saturating_sub(from_us).saturating_abs() > SLEW;
        let believed_us = self.offset_us.load(Relaxed);
        let seconds = offset_us.saturating_sub(believed_us) / 1_000_000;
        if !apart(believed_us) {
            self.believe(offset_us);
        } else if apart(self.claim_us.load(Relaxed)) {
            tracing::warn!(seconds, "the wall clock was set; it is followed in a minute, unless it is set back");
            self.claim_us.store(offset_us, Relaxed);
            self.claimed_at_us.store(monotonic_us, Relaxed);
        } else if monotonic_us - self.claimed_at_us.load(Relaxed) >= BELIEF {
            tracing::warn!(seconds, "following the wall clock");
            self.believe(offset_us);
        }
    }

    fn believe(&self, offset_us: i64) {
        self.offset_us.store(offset_us, Relaxed);
        self.claim_us.store(i64::MAX, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;
    const START: i64 = 1_800_000_000 * SECOND;

    /// The time told at each second, with a wall clock that is `wrong(second)` off.
    fn told(seconds: i64, wrong: impl Fn(i64) -> i64) -> Vec<i64> {
        let steady = Steady::new(START);
        let at = |second: i64| steady.now_us(second * SECOND, || Some(START + second * SECOND + wrong(second))) - START;
        (1..=seconds).map(at).collect()
    }

    fn right(seconds: i64) -> Vec<i64> {
        (1..=seconds).map(|second| second * SECOND).collect()
    }

    #[test]
    fn a_clock_that_jumps_and_is_set_back_has_no_effect() {
        for hour in [3_600 * SECOND, -3_600 * SECOND] {
            assert_eq!(told(200, |second| if (50..100).contains(&second) { hour } else { 0 }), right(200));
        }
    }

    #[test]
    fn a_clock_that_stands_by_what_it_was_set_to_is_followed_after_a_minute() {
        let told = told(200, |second| if second >= 50 { 3_600 * SECOND } else { 0 });
        assert_eq!(told[..109], right(109));
        assert_eq!(told[109], 110 * SECOND + 3_600 * SECOND);
    }

    #[test]
    fn a_clock_that_is_slewed_is_followed_at_once() {
        let slewed = told(200, |second| second * 100);
        assert_eq!(slewed.last(), Some(&(200 * SECOND + 200 * 100)));
    }

    #[test]
    fn a_look_that_took_too_long_is_taken_again_by_the_next() {
        let steady = Steady::new(START);
        assert_eq!(steady.now_us(2 * SECOND, || None), START + 2 * SECOND);
        assert_eq!(steady.now_us(2 * SECOND + 1, || Some(START + 2 * SECOND + 101)), START + 2 * SECOND + 101);
    }

    #[test]
    fn a_clock_that_says_something_else_every_minute_is_not_followed() {
        assert_eq!(told(500, |second| 3_600 * SECOND * (1 + second / 50)), right(500));
    }
}
