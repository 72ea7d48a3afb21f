use std::time::Duration;

/// How long to wait before the next try: twice as long each time, up to a limit.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    failures: u32,
}

impl Backoff {
    /// Waits `first` after the first failure, and never longer than `longest`.
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, failures: 0 }
    }

    /// Notes a failure. `asked`: what the other side asks for, which is heeded where it is longer.
    pub fn failed(&mut self, asked: Option<Duration>) -> Duration {
        let doubled = self.first.saturating_mul(1_u32.checked_shl(self.failures).unwrap_or(u32::MAX));
        self.failures = self.failures.saturating_add(1);
        doubled.min(self.longest).max(asked.unwrap_or_default())
    }

    /// Notes a success.
    pub fn succeeded(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_begin_anew_after_a_success() {
        let seconds = Duration::from_secs;
        let mut backoff = Backoff::new(seconds(1), seconds(5));
        let waits: Vec<_> = (0..5).map(|_| backoff.failed(None)).collect();
        assert_eq!(waits, [1, 2, 4, 5, 5].map(seconds));
        assert_eq!(backoff.failed(Some(seconds(30))), seconds(30));
        backoff.succeeded();
        assert_eq!(backoff.failed(None), seconds(1));
    }

    #[test]
    fn a_receiver_that_is_gone_for_weeks_overflows_nothing() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
        assert!((0..100).all(|_| backoff.failed(None) <= Duration::from_secs(60)));
    }
}
