//! What one subject may do per time, and at once.

use std::fmt;

use tollgate_proto::v1::RateLimits;

use crate::rate::{Bucket, Rate, Wait};

const MINUTE_US: i64 = 60_000_000;
const DAY_US: i64 = 86_400_000_000;

/// Which limit of a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dimension {
    /// Calls per minute.
    RequestsPerMinute,
    /// Calls per day.
    RequestsPerDay,
    /// Tokens per minute.
    TokensPerMinute,
    /// Calls at once.
    ConcurrentRequests,
}

impl Dimension {
    /// Those that are rates.
    pub const RATES: [Self; 3] = [Self::RequestsPerMinute, Self::RequestsPerDay, Self::TokensPerMinute];

    /// Its name in the contract.
    pub fn name(self) -> &'static str {
        match self {
            Self::RequestsPerMinute => "requests_per_minute",
            Self::RequestsPerDay => "requests_per_day",
            Self::TokensPerMinute => "tokens_per_minute",
            Self::ConcurrentRequests => "concurrent_requests",
        }
    }

    /// What it counts.
    pub fn unit(self) -> &'static str {
        match self {
            Self::TokensPerMinute => "tokens",
            _ => "requests",
        }
    }

    /// How much of it a call takes that is expected to use `tokens`.
    pub fn amount(self, tokens: i64) -> i64 {
        if self == Self::TokensPerMinute { tokens } else { 1 }
    }
}

/// Who is limited.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subject {
    /// `key`, `user`, `team`, `organization`, `model`, `deployment`.
    pub kind: &'static str,
    /// Its id.
    pub id: String,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.id)
    }
}

/// The rate of a dimension, as limits ask for it; `share` replicas have equal parts.
pub(crate) fn rate(limits: &RateLimits, dimension: Dimension, share: i64) -> Option<Rate> {
    let (limit, interval_us, part) = match dimension {
        Dimension::RequestsPerMinute => (limits.requests_per_minute?, MINUTE_US, 2),
        Dimension::RequestsPerDay => (limits.requests_per_day?, DAY_US, 2),
        Dimension::TokensPerMinute => (limits.tokens_per_minute?, MINUTE_US, 6),
        Dimension::ConcurrentRequests => return None,
    };
    let limit = (limit / share.max(1)).max(1);
    let burst = if limits.full_burst { limit } else { (limit / part).max(1) };
    Some(Rate { limit, interval_us, burst })
}

/// A subject's state at this replica.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    buckets: [Option<Bucket>; 3],
    /// What was taken from the shared limit ahead of need, and until when it may be used.
    slices: [Slice; 3],
    /// How the shared limits stood when they were last asked.
    heard: [Option<Standing>; 3],
    pub(crate) in_flight: i64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Slice {
    amount: i64,
    until_us: i64,
}

/// How a limit stands, for headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The limit.
    pub limit: i64,
    /// What passes now.
    pub remaining: i64,
    /// When it is full again, from now.
    pub reset_us: i64,
}

/// How a call's tightest limits stand: what OpenAI's `x-ratelimit-*` headers say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    /// Requests.
    pub requests: Option<Standing>,
    /// Tokens.
    pub tokens: Option<Standing>,
}

impl Quota {
    pub(crate) fn note(&mut self, dimension: Dimension, standing: Standing) {
        let place = if dimension == Dimension::TokensPerMinute { &mut self.tokens } else { &mut self.requests };
        // The tightest: least is left of its limit.
        let left = |s: &Standing| i128::from(s.remaining) * 1_000_000 / i128::from(s.limit.max(1));
        if place.as_ref().is_none_or(|before| left(&standing) < left(before)) {
            *place = Some(standing);
        }
    }
}

impl Meter {
    /// Takes changed limits over.
    pub(crate) fn set(&mut self, limits: &RateLimits, share: i64, now_us: i64) {
        for (i, dimension) in Dimension::RATES.into_iter().enumerate() {
            let rate = rate(limits, dimension, share);
            match (&mut self.buckets[i], rate) {
                (Some(bucket), Some(rate)) => bucket.change(rate, now_us),
                (bucket, rate) => *bucket = rate.map(Bucket::new),
            }
        }
    }

    /// Whether a call passes all rates here.
    pub(crate) fn check(&self, tokens: i64, now_us: i64) -> Result<(), (Dimension, Rate, Wait)> {
        for (bucket, dimension) in self.buckets.iter().zip(Dimension::RATES) {
            let Some(bucket) = bucket else { continue };
            bucket.check(dimension.amount(tokens), now_us).map_err(|wait| (dimension, bucket.rate(), wait))?;
        }
        Ok(())
    }

    pub(crate) fn take(&mut self, tokens: i64, now_us: i64) {
        for (bucket, dimension) in self.buckets.iter_mut().zip(Dimension::RATES) {
            if let Some(bucket) = bucket {
                bucket.take(dimension.amount(tokens), now_us);
            }
        }
    }

    /// What was charged for tokens differs by so much from what was used.
    pub(crate) fn correct(&mut self, tokens: i64) {
        if let Some(bucket) = &mut self.buckets[2] {
            bucket.correct(tokens);
        }
    }

    pub(crate) fn standings(&self, now_us: i64) -> impl Iterator<Item = (Dimension, Standing)> {
        self.buckets.iter().zip(Dimension::RATES).filter_map(move |(bucket, dimension)| {
            let bucket = bucket.as_ref()?;
            let standing = Standing {
                limit: bucket.rate().limit,
                remaining: bucket.remaining(now_us),
                reset_us: bucket.full_in_us(now_us),
            };
            Some((dimension, standing))
        })
    }

    // --- slices of limits that replicas share ---------------------------------------------------------------------------------

    pub(crate) fn slice(&self, dimension: Dimension, now_us: i64) -> i64 {
        let slice = &self.slices[dimension as usize];
        if now_us < slice.until_us { slice.amount } else { 0 }
    }

    pub(crate) fn add_slice(&mut self, dimension: Dimension, amount: i64, now_us: i64, until_us: i64) {
        let left = self.slice(dimension, now_us);
        self.slices[dimension as usize] = Slice { amount: left + amount, until_us };
    }

    pub(crate) fn hear(&mut self, dimension: Dimension, standing: Standing) {
        self.heard[dimension as usize] = Some(standing);
    }

    pub(crate) fn heard(&self) -> impl Iterator<Item = (Dimension, Standing)> {
        Dimension::RATES.into_iter().zip(self.heard).filter_map(|(dimension, standing)| Some((dimension, standing?)))
    }

    pub(crate) fn use_slice(&mut self, dimension: Dimension, amount: i64) {
        self.slices[dimension as usize].amount -= amount;
    }
}
