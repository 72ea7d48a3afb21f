//! The harness's own running sums per budget: the most that can be spent and held of it.
//!
//! A call is charged its worst case before it leaves and freed to its true cost once that is known for sure, which is
//! when its answer was seen whole. Everything doubtful stays at its worst case. Charges and refunds are kept apart and
//! only grow, so that the highest sum between two moments is bounded by the charges at the second less the refunds at
//! the first: a refusal is judged by that, without knowing when in between the gateway decided.

use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

use crate::evidence::{Budget, Upper};

/// Around the edge of a window nobody knows which of the two a call was decided in.
const EDGE_MS: i64 = 2_000;

#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    window: i64,
    charged: i64,
    refunded: i64,
    /// Worst cases of calls that have not ended: a new window may have to bear them.
    open: i64,
}

impl Sum {
    /// A sum for the window of now: calls under way may be charged to it, ended ones are not.
    fn turn_to(&mut self, window: i64) {
        if self.window != window {
            *self = Sum { window, charged: self.open, refunded: 0, open: self.open };
        }
    }
}

/// Sums of all budgets.
#[derive(Debug)]
pub(crate) struct Sums {
    by_scope: Mutex<HashMap<String, Sum>>,
    budgets: Vec<Budget>,
}

/// Refunds at the moment when a call left, and the window that it left in, which is `None` around its edges.
#[derive(Debug)]
pub(crate) struct Before(Vec<(String, Option<i64>, i64)>);

impl Sums {
    pub(crate) fn new(budgets: &[Budget]) -> Self {
        Sums { by_scope: Mutex::default(), budgets: budgets.to_vec() }
    }

    /// A call of this key to this model is about to leave and may cost so much.
    pub(crate) fn charge(&self, key: &str, model: &str, nano: i64) -> Before {
        let mut before = Vec::new();
        self.each(key, model, |budget, sum| {
            let window = budget.window.map_or(Some(0), |every| {
                let (first, last) = (every.of(now_ms() - EDGE_MS), every.of(now_ms() + EDGE_MS));
                (first == last).then_some(last)
            });
            before.push((budget.scope.clone(), window, sum.refunded));
            sum.charged += nano;
            sum.open += nano;
        });
        Before(before)
    }

    /// It has ended and cost so much less than was charged.
    pub(crate) fn end(&self, key: &str, model: &str, charged: i64, refund: i64) {
        self.each(key, model, |_, sum| {
            sum.open -= charged;
            sum.refunded += refund;
        });
    }

    /// The most that can have been spent and held since `before`.
    pub(crate) fn uppers(&self, before: &Before) -> Vec<Upper> {
        let sums = self.by_scope.lock();
        let upper = |(scope, window, refunded): &(String, Option<i64>, i64)| {
            let sum = sums.get(scope).filter(|sum| Some(sum.window) == *window);
            // Where the window ended meanwhile nothing is known.
            Upper { scope: scope.clone(), nano: sum.map_or(i64::MAX, |sum| sum.charged - refunded) }
        };
        before.0.iter().map(upper).collect()
    }

    fn each(&self, key: &str, model: &str, mut touch: impl FnMut(&Budget, &mut Sum)) {
        let mut sums = self.by_scope.lock();
        for budget in self.budgets.iter().filter(|budget| budget.covers(key, model)) {
            let sum = sums.entry(budget.scope.clone()).or_default();
            sum.turn_to(budget.window.map_or(0, |every| every.of(now_ms())));
            touch(budget, sum);
        }
    }
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as i64
}
