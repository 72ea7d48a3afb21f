//! The harness's own running sums per budget: the most that can be spent and held of it.
//!
//! A call is charged its worst case before it leaves and freed to its true cost once that is known for sure, which is
//! when its answer was seen whole. Everything doubtful stays at its worst case. Charges and refunds are kept apart and
//! only grow, so that the highest sum between two moments is bounded by the charges at the second less the refunds at
//! the first: a refusal is judged by that, without knowing when in between the gateway decided.

use std::collections::HashMap;

use parking_lot::Mutex;

use crate::evidence::{Budget, Upper};

#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    charged: i64,
    refunded: i64,
}

/// Sums of all budgets.
#[derive(Debug)]
pub(crate) struct Sums {
    by_scope: Mutex<HashMap<String, Sum>>,
    budgets: Vec<Budget>,
}

/// Refunds at the moment when a call left.
#[derive(Debug)]
pub(crate) struct Before(Vec<(String, i64)>);

impl Sums {
    pub(crate) fn new(budgets: &[Budget]) -> Self {
        Sums { by_scope: Mutex::default(), budgets: budgets.to_vec() }
    }

    /// A call of this key is about to leave and may cost so much.
    pub(crate) fn charge(&self, key: &str, nano: i64) -> Before {
        let mut sums = self.by_scope.lock();
        let mut before = Vec::new();
        for budget in self.covering(key) {
            let sum = sums.entry(budget.scope.clone()).or_default();
            before.push((budget.scope.clone(), sum.refunded));
            sum.charged += nano;
        }
        Before(before)
    }

    /// It turned out to cost so much less.
    pub(crate) fn refund(&self, key: &str, nano: i64) {
        let mut sums = self.by_scope.lock();
        for budget in self.covering(key) {
            sums.entry(budget.scope.clone()).or_default().refunded += nano;
        }
    }

    /// The most that can have been spent and held since `before`.
    pub(crate) fn uppers(&self, before: &Before) -> Vec<Upper> {
        let sums = self.by_scope.lock();
        let upper = |(scope, refunded): &(String, i64)| Upper {
            scope: scope.clone(),
            nano: sums.get(scope).map_or(0, |sum| sum.charged) - refunded,
        };
        before.0.iter().map(upper).collect()
    }

    fn covering(&self, key: &str) -> impl Iterator<Item = &Budget> {
        self.budgets.iter().filter(move |budget| budget.keys.contains(key))
    }
}
