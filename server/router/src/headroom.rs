//! What providers say is left of their limits: a hint, by which the router passes over a deployment while others are there.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tollgate_domain::{Headroom, Left};

/// Where nothing is left and nobody says until when: a look costs one refusal at most.
const UNTOLD: Duration = Duration::from_secs(10);
/// Limits on tokens are of a minute.
const TOKENS: Duration = Duration::from_secs(60);
/// Limits on requests may be of a day.
const REQUESTS: Duration = Duration::from_secs(86_400);
/// A limit that nobody named.
const NO_LIMIT: u64 = u64::MAX;

/// What a provider said last of one limit. Its fields are stored one by one: answers that cross mix them up for a moment.
#[derive(Debug)]
struct Last {
    remaining: AtomicU64,
    limit: AtomicU64,
    /// Until it is whole again; 0: nothing was said.
    until_us: AtomicU64,
    /// Whether anything was said at all.
    told_us: AtomicU64,
}

impl Default for Last {
    fn default() -> Self {
        Self { remaining: 0.into(), limit: NO_LIMIT.into(), until_us: 0.into(), told_us: 0.into() }
    }
}

impl Last {
    fn note(&self, left: Left, longest: Duration, now_us: u64) {
        let reset = left.resets_in.or((left.remaining == 0).then_some(UNTOLD));
        let until_us = reset.map_or(0, |reset| now_us.saturating_add(micros(reset.min(longest))));
        self.until_us.store(until_us, Ordering::Relaxed);
        self.limit.store(left.limit.unwrap_or(NO_LIMIT), Ordering::Relaxed);
        self.remaining.store(left.remaining, Ordering::Relaxed);
        self.told_us.store(now_us.max(1), Ordering::Relaxed);
    }

    /// What is left, unless the limit is whole again since.
    fn left(&self, now_us: u64) -> Option<Left> {
        let until_us = self.until_us.load(Ordering::Relaxed);
        if self.told_us.load(Ordering::Relaxed) == 0 || (until_us > 0 && until_us <= now_us) {
            return None;
        }
        Some(Left {
            remaining: self.remaining.load(Ordering::Relaxed),
            limit: Some(self.limit.load(Ordering::Relaxed)).filter(|limit| *limit != NO_LIMIT),
            resets_in: (until_us > 0).then(|| Duration::from_micros(until_us - now_us)),
        })
    }

    fn spent_until(&self, now_us: u64) -> Option<u64> {
        let until_us = self.until_us.load(Ordering::Relaxed);
        (until_us > now_us && self.remaining.load(Ordering::Relaxed) == 0).then_some(until_us)
    }
}

/// What a deployment's provider said last.
#[derive(Debug, Default)]
pub(crate) struct LastHeadroom {
    requests: Last,
    tokens: Last,
}

impl LastHeadroom {
    pub(crate) fn note(&self, headroom: &Headroom, now_us: u64) {
        if let Some(left) = headroom.requests {
            self.requests.note(left, REQUESTS, now_us);
        }
        if let Some(left) = headroom.tokens {
            self.tokens.note(left, TOKENS, now_us);
        }
    }

    pub(crate) fn left(&self, now_us: u64) -> Headroom {
        Headroom { requests: self.requests.left(now_us), tokens: self.tokens.left(now_us) }
    }

    /// Until when it has none left of one of them.
    pub(crate) fn spent_until(&self, now_us: u64) -> Option<u64> {
        self.requests.spent_until(now_us).max(self.tokens.spent_until(now_us))
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;

    fn requests(remaining: u64, resets_in: Option<u64>) -> Headroom {
        let resets_in = resets_in.map(Duration::from_secs);
        Headroom { requests: Some(Left { remaining, limit: Some(9), resets_in }), tokens: None }
    }

    #[test]
    fn what_was_said_holds_until_the_limit_is_whole_again() {
        let last = LastHeadroom::default();
        assert!(last.left(0).is_untold());
        last.note(&requests(3, Some(30)), SECOND);
        assert_eq!(last.left(11 * SECOND), requests(3, Some(20)));
        assert_eq!(last.spent_until(11 * SECOND), None);
        assert!(last.left(31 * SECOND).is_untold());
        last.note(&requests(7, None), 32 * SECOND);
        assert_eq!(last.left(900 * SECOND), requests(7, None), "nobody said until when");
    }

    #[test]
    fn none_left_holds_as_long_as_was_said_or_ten_seconds() {
        let last = LastHeadroom::default();
        last.note(&requests(0, Some(7_200)), SECOND);
        assert_eq!(last.spent_until(SECOND), Some(7_201 * SECOND), "a limit of a day");
        assert_eq!(last.spent_until(7_201 * SECOND), None);
        last.note(&requests(0, None), SECOND);
        assert_eq!(last.spent_until(SECOND), Some(11 * SECOND));
        last.note(&requests(1, Some(60)), SECOND);
        assert_eq!(last.spent_until(SECOND), None, "there is one again");
    }

    #[test]
    fn limits_on_tokens_are_whole_after_a_minute_whatever_is_said() {
        let last = LastHeadroom::default();
        let tokens = Left { remaining: 0, limit: None, resets_in: Some(Duration::from_secs(7_200)) };
        last.note(&Headroom { requests: None, tokens: Some(tokens) }, SECOND);
        assert_eq!(last.spent_until(SECOND), Some(61 * SECOND));
    }
}
