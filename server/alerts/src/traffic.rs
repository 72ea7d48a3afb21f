//! What went through lately, in slices of time: failures, fallbacks, slow calls, refusals.

use std::collections::{BTreeMap, VecDeque};

use tollgate_domain::{Class, micros};
use tollgate_proto::v1::{AuditRecord, ErrorReason};

/// Slices of a window.
const SLICES: i64 = 20;

/// So many of so many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) of: u64,
    pub(crate) hits: u64,
}

impl Share {
    /// In percent, rounded down.
    pub(crate) fn percent(self) -> u64 {
        (self.hits * 100).checked_div(self.of).unwrap_or(0)
    }

    /// Whether it is at least so large, among at least so many.
    pub(crate) fn reaches(self, percent: u32, least: u64) -> bool {
        self.of >= least.max(1) && self.hits * 100 >= self.of * u64::from(percent)
    }
}

/// Shares by subject over a window that moves.
pub(crate) struct Shares {
    slice_us: i64,
    slices: VecDeque<(i64, BTreeMap<String, Share>)>,
}

impl Shares {
    pub(crate) fn over(window_us: i64) -> Self {
        Self { slice_us: (window_us / SLICES).max(1), slices: VecDeque::new() }
    }

    pub(crate) fn count(&mut self, subject: &str, is_hit: bool, time_us: i64) {
        let slice = time_us.div_euclid(self.slice_us);
        // Records come nearly in order; one that is late counts where the others are.
        if self.slices.back().is_none_or(|(last, _)| *last < slice) {
            self.slices.push_back((slice, BTreeMap::new()));
        }
        let Some((_, shares)) = self.slices.back_mut() else { return };
        let share = match shares.get_mut(subject) {
            Some(share) => share,
            None => shares.entry(subject.to_owned()).or_default(),
        };
        share.of += 1;
        share.hits += u64::from(is_hit);
    }

    pub(crate) fn at(&mut self, now_us: i64) -> BTreeMap<String, Share> {
        let oldest = now_us.div_euclid(self.slice_us) - SLICES;
        while self.slices.front().is_some_and(|(slice, _)| *slice < oldest) {
            self.slices.pop_front();
        }
        let mut sums: BTreeMap<String, Share> = BTreeMap::new();
        for (subject, share) in self.slices.iter().flat_map(|(_, shares)| shares) {
            let sum = sums.entry(subject.clone()).or_default();
            sum.of += share.of;
            sum.hits += share.hits;
        }
        sums
    }
}

/// What of a record a condition counts: subject, and whether it is a hit.
pub(crate) type Counted<'a> = Vec<(&'a str, bool)>;

/// Attempts by provider; a hit: the provider failed. What the caller did wrong says nothing of it.
pub(crate) fn attempts(record: &AuditRecord) -> Counted<'_> {
    let attempts = record.routing.iter().flat_map(|routing| &routing.attempts);
    attempts
        .filter_map(|attempt| match Class::named(&attempt.class) {
            None => (attempt.class == "ok").then_some((attempt.provider.as_str(), false)),
            Some(class) => is_of_provider(class).then_some((attempt.provider.as_str(), true)),
        })
        .collect()
}

fn is_of_provider(class: Class) -> bool {
    class.retryable() || class.is_lasting()
}

/// Calls by model; a hit: more than one deployment was tried.
pub(crate) fn fallbacks(record: &AuditRecord) -> Counted<'_> {
    let attempts = record.routing.as_ref().map_or(&[][..], |routing| &routing.attempts);
    let Some(first) = attempts.first() else { return Vec::new() };
    vec![(record.model.as_str(), attempts.iter().any(|attempt| attempt.deployment != first.deployment))]
}

/// Calls by model that were served; a hit: one took longer.
pub(crate) fn slow(record: &AuditRecord, over_us: i64) -> Counted<'_> {
    let is_served = record.routing.as_ref().is_some_and(|routing| !routing.attempts.is_empty());
    if is_served { vec![(record.model.as_str(), record.duration_us > over_us)] } else { Vec::new() }
}

/// Calls by key; a hit: a budget refused one.
pub(crate) fn refusals(record: &AuditRecord) -> Counted<'_> {
    let is_refused = record.error_reason() == ErrorReason::BudgetExhausted;
    if record.call_id.is_empty() || !is_refused { Vec::new() } else { vec![(record.key_id.as_str(), true)] }
}

pub(crate) fn time_of(record: &AuditRecord) -> i64 {
    record.time.as_ref().map_or(0, micros)
}

#[cfg(test)]
mod tests {
    use tollgate_proto::v1::{Attempt, Routing};

    use super::*;

    const SECOND: i64 = 1_000_000;

    fn record(attempts: &[(&str, &str)]) -> AuditRecord {
        let attempt = |(provider, class): &(&str, &str)| Attempt {
            provider: (*provider).into(),
            deployment: format!("{provider}/m"),
            class: (*class).into(),
            ..Attempt::default()
        };
        let attempts = attempts.iter().map(attempt).collect();
        let routing = Some(Routing { attempts, ..Routing::default() });
        AuditRecord { model: "fast".into(), call_id: "c".into(), routing, ..AuditRecord::default() }
    }

    #[test]
    fn a_window_forgets_what_is_behind_it() {
        let mut shares = Shares::over(100 * SECOND);
        (0..10).for_each(|s| shares.count("a", true, s * SECOND));
        (10..20).for_each(|s| shares.count("a", false, s * SECOND));
        assert_eq!(shares.at(20 * SECOND)["a"], Share { of: 20, hits: 10 });
        assert_eq!(shares.at(110 * SECOND)["a"], Share { of: 10, hits: 0 });
        assert!(shares.at(300 * SECOND).is_empty());
    }

    #[test]
    fn only_what_a_provider_is_to_blame_for_counts_against_it() {
        let answered = record(&[("openai", "server_error"), ("anthropic", "ok")]);
        assert_eq!(attempts(&answered), [("openai", true), ("anthropic", false)]);
        assert_eq!(attempts(&record(&[("openai", "invalid_request")])), []);
        assert_eq!(attempts(&record(&[("openai", "authentication")])), [("openai", true)]);
    }

    #[test]
    fn a_fallback_is_another_deployment_and_no_retry() {
        assert_eq!(fallbacks(&record(&[("a", "timeout"), ("b", "ok")])), [("fast", true)]);
        assert_eq!(fallbacks(&record(&[("a", "timeout"), ("a", "ok")])), [("fast", false)]);
        assert_eq!(fallbacks(&record(&[])), []);
    }

    #[test]
    fn a_share_needs_enough_calls_to_speak_of() {
        assert!(Share { of: 20, hits: 10 }.reaches(50, 20));
        assert!(!Share { of: 19, hits: 19 }.reaches(50, 20));
        assert!(!Share { of: 0, hits: 0 }.reaches(0, 0));
    }
}
