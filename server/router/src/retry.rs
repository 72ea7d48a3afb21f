//! How often and how patiently to try again, and when there was enough of that.

use std::{
    sync::atomic::{AtomicI64, AtomicU64, Ordering},
    time::Duration,
};

use tollgate_domain::Class;

/// How often to try again after failures of a class, where that is said: whether the class is worth it or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetriesByClass([Option<u32>; Class::COUNT]);

impl RetriesByClass {
    /// After failures of this class; `None`: nothing is said of it.
    pub fn of(&self, class: Class) -> Option<u32> {
        self.0[class as usize]
    }
}

impl FromIterator<(Class, u32)> for RetriesByClass {
    fn from_iter<I: IntoIterator<Item = (Class, u32)>>(all: I) -> Self {
        let mut by_class = Self::default();
        for (class, retries) in all {
            by_class.0[class as usize] = Some(retries);
        }
        by_class
    }
}

/// How often and how patiently to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Further attempts in the group after each of its deployments was tried once.
    pub retries: u32,
    /// In place of them, after failures of some classes.
    pub by_class: RetriesByClass,
    /// First pause; doubles, with full jitter.
    pub base: Duration,
    /// Longest pause; a provider that asks for more is not waited for.
    pub cap: Duration,
    /// How many retries there may be for a hundred calls of the group.
    pub budget_percent: u32,
    /// How many there may be in any case, a second.
    pub budget_per_second: u32,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            retries: 2,
            by_class: RetriesByClass::default(),
            base: Duration::from_millis(250),
            cap: Duration::from_secs(10),
            budget_percent: 20,
            budget_per_second: 10,
        }
    }
}

/// One retry, in the unit that the budget counts in: a hundredth, so that a call earns `budget_percent`.
const RETRY: i64 = 100;
/// So many seconds of `budget_per_second`, and as many retries earned by calls, are kept at most.
const KEPT_SECONDS: i64 = 10;

/// What keeps a provider in trouble from being met with a multiple of its traffic: calls earn retries, and a few come with time.
#[derive(Debug, Default)]
pub struct RetryBudget {
    /// Earned and not spent, in hundredths of a retry, below what a full budget has: 0 is full.
    owed: AtomicI64,
    paid_us: AtomicU64,
}

impl RetryBudget {
    /// A call of the group begins: it earns its share.
    pub fn earn(&self, policy: &RetryPolicy) {
        self.pay(i64::from(policy.budget_percent));
    }

    /// Whether one more retry is in it; then it is spent.
    pub fn spend(&self, policy: &RetryPolicy, now_us: u64) -> bool {
        let per_second = i64::from(policy.budget_per_second).saturating_mul(RETRY);
        // What came with time since somebody last looked.
        let last = self.paid_us.load(Ordering::Relaxed);
        let elapsed_us = i64::try_from(now_us.saturating_sub(last)).unwrap_or(i64::MAX);
        let due = per_second.saturating_mul(elapsed_us.min(KEPT_SECONDS * 1_000_000)) / 1_000_000;
        if due >= RETRY && self.paid_us.compare_exchange(last, now_us, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            self.pay(due);
        }
        let most = per_second.max(RETRY).saturating_mul(KEPT_SECONDS);
        self.owed
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |owed| (owed + RETRY <= most).then_some(owed + RETRY))
            .is_ok()
    }

    fn pay(&self, amount: i64) {
        let _ = self
            .owed
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |owed| (owed > 0).then(|| (owed - amount).max(0)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_of_retries_ends_at_its_share() {
        let (budget, policy) = (RetryBudget::default(), RetryPolicy { budget_per_second: 1, ..RetryPolicy::default() });
        let mut retried = 0;
        for call in 0..10_000 {
            budget.earn(&policy);
            // A thousand calls a second that all want to be retried twice.
            for _ in 0..2 {
                retried += u32::from(budget.spend(&policy, 1_000_000 + call * 1_000));
            }
        }
        // A fifth of the calls, ten seconds of one a second, and what was in it at the start.
        assert!((2_000..=2_030).contains(&retried), "{retried}");
    }

    #[test]
    fn a_quiet_group_may_always_retry_a_little() {
        let (budget, policy) =
            (RetryBudget::default(), RetryPolicy { budget_percent: 0, budget_per_second: 2, ..RetryPolicy::default() });
        let spent = |from_us: u64| (0..100).filter(|_| budget.spend(&policy, from_us)).count();
        assert_eq!(spent(1), 20);
        assert_eq!(spent(1_000_001), 2);
        assert_eq!(spent(1_000_002), 0);
        assert_eq!(spent(60_000_000), 20);
    }
}
