//! One rate limit: GCRA (ITU-T I.371) in exact integers.

/// So many per so long, with a burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many per interval; positive.
    pub limit: i64,
    /// The interval, in microseconds.
    pub interval_us: i64,
    /// How many at once; 1 to `limit`.
    pub burst: i64,
}

/// Why something does not pass now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// It passes after so many microseconds, if nothing else comes before.
    Micros(i64),
    /// It is larger than the limit and never passes.
    Never,
}

/// A rate limit's state: one arrival time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    rate: Rate,
    /// When everything let through so far would have arrived at the even rate, in microseconds times `limit`: no division, so no drift.
    arrival: i128,
}

impl Bucket {
    /// A full bucket.
    pub fn new(rate: Rate) -> Self {
        Self { rate, arrival: i128::MIN / 4 }
    }

    /// Its rate.
    pub fn rate(&self) -> Rate {
        self.rate
    }

    /// Takes another rate over; what was let through stays counted.
    pub fn change(&mut self, rate: Rate, now_us: i64) {
        if rate == self.rate {
            return;
        }
        let debt_us = (self.arrival - self.scaled(now_us)).max(0) / i128::from(self.rate.limit);
        self.rate = rate;
        self.arrival = self.scaled(now_us) + debt_us.min(i128::from(rate.interval_us)) * i128::from(rate.limit);
    }

    fn scaled(&self, now_us: i64) -> i128 {
        i128::from(now_us) * i128::from(self.rate.limit)
    }

    fn of(&self, n: i64) -> i128 {
        i128::from(n) * i128::from(self.rate.interval_us)
    }

    /// Whether `n` pass at `now_us`. More than the burst, up to the limit, pass when the bucket is full, and leave a debt: so no legal
    /// request starves.
    pub fn check(&self, n: i64, now_us: i64) -> Result<(), Wait> {
        if n > self.rate.limit {
            return Err(Wait::Never);
        }
        let now = self.scaled(now_us);
        let allowed = now + self.of(self.rate.burst.max(n));
        let after = self.arrival.max(now) + self.of(n);
        if after <= allowed {
            return Ok(());
        }
        let missing = after - allowed;
        let limit = i128::from(self.rate.limit);
        Err(Wait::Micros(i64::try_from((missing + limit - 1) / limit).unwrap_or(i64::MAX)))
    }

    /// Lets `n` pass, whether there is room or not.
    pub fn take(&mut self, n: i64, now_us: i64) {
        let start = if tollgate_planted::bug("rate_forgets") {
            self.scaled(now_us)
        } else {
            self.arrival.max(self.scaled(now_us))
        };
        self.arrival = start + self.of(n);
    }

    /// Corrects what was taken by `n`: more was used, or less.
    pub fn correct(&mut self, n: i64) {
        self.arrival += self.of(n);
    }

    /// How many pass now.
    pub fn remaining(&self, now_us: i64) -> i64 {
        let now = self.scaled(now_us);
        let room = now + self.of(self.rate.burst) - self.arrival.max(now);
        i64::try_from(room.div_euclid(i128::from(self.rate.interval_us))).unwrap_or(0).max(0)
    }

    /// In how many microseconds it is full again.
    pub fn full_in_us(&self, now_us: i64) -> i64 {
        let debt = (self.arrival - self.scaled(now_us)).max(0);
        let limit = i128::from(self.rate.limit);
        i64::try_from((debt + limit - 1) / limit).unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE: i64 = 60_000_000;

    #[test]
    fn a_burst_passes_and_then_the_even_rate() {
        let mut bucket = Bucket::new(Rate { limit: 60, interval_us: MINUTE, burst: 3 });
        for _ in 0..3 {
            assert_eq!(bucket.check(1, 0), Ok(()));
            bucket.take(1, 0);
        }
        assert_eq!(bucket.check(1, 0), Err(Wait::Micros(1_000_000)));
        assert_eq!(bucket.check(1, 999_999), Err(Wait::Micros(1)));
        assert_eq!(bucket.check(1, 1_000_000), Ok(()));
    }

    #[test]
    fn a_rate_that_divides_nothing_never_drifts() {
        let mut bucket = Bucket::new(Rate { limit: 7, interval_us: MINUTE, burst: 1 });
        let (mut now, mut passed) = (0, 0);
        while now < 1_000 * MINUTE {
            match bucket.check(1, now) {
                Ok(()) => {
                    bucket.take(1, now);
                    passed += 1;
                }
                Err(Wait::Micros(wait)) => now += wait,
                Err(Wait::Never) => unreachable!(),
            }
        }
        assert_eq!(passed, 7_000);
    }

    #[test]
    fn what_is_larger_than_the_burst_passes_when_the_bucket_is_full_and_leaves_a_debt() {
        let mut bucket = Bucket::new(Rate { limit: 600, interval_us: MINUTE, burst: 100 });
        assert_eq!(bucket.check(601, 0), Err(Wait::Never));
        assert_eq!(bucket.check(600, 0), Ok(()));
        bucket.take(600, 0);
        assert_eq!(bucket.check(1, 0), Err(Wait::Micros(50_100_000)));
        assert_eq!(bucket.check(200, 50_000_000), Err(Wait::Micros(10_000_000)), "not full yet");
        bucket.correct(-500);
        assert_eq!(bucket.remaining(0), 0);
        assert_eq!(bucket.remaining(10_000_000), 100);
        assert_eq!(bucket.full_in_us(0), 10_000_000);
    }

    proptest! {
        /// Whatever comes whenever: over any stretch of time no more than a burst (or the largest request) and the even rate pass.
        #[test]
        fn no_stretch_of_time_lets_more_pass_than_burst_and_rate(
            limit in 1..1_000i64, burst in 1..1_000i64, arrivals in prop::collection::vec((0..5_000_000i64, 1..50i64), 1..200)
        ) {
            let burst = burst.min(limit);
            let mut bucket = Bucket::new(Rate { limit, interval_us: MINUTE, burst });
            let (mut now, mut passed) = (0, Vec::new());
            for (gap, n) in arrivals {
                now += gap;
                if bucket.check(n, now).is_ok() {
                    bucket.take(n, now);
                    passed.push((now, n));
                }
            }
            let largest = passed.iter().map(|(_, n)| *n).max().unwrap_or(0).max(burst);
            for from in 0..passed.len() {
                let mut sum = 0;
                for (at, n) in &passed[from..] {
                    sum += n;
                    let stretch = i128::from(at - passed[from].0);
                    prop_assert!((i128::from(sum - largest)) * i128::from(MINUTE) <= stretch * i128::from(limit));
                }
            }
        }

        /// The time to wait is right to the microsecond.
        #[test]
        fn the_wait_is_exact(limit in 1..1_000i64, taken in 1..500i64, n in 1..1_000i64, now in 0..MINUTE) {
            let mut bucket = Bucket::new(Rate { limit, interval_us: MINUTE, burst: (limit / 2).max(1) });
            bucket.take(taken, 0);
            if let Err(Wait::Micros(wait)) = bucket.check(n, now) {
                prop_assert_eq!(bucket.check(n, now + wait), Ok(()));
                prop_assert!(bucket.check(n, now + wait - 1).is_err());
            }
        }
    }
}
