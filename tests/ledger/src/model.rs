//! The ledger as it should be, in as few lines as say it: no leases, no journal, no stores, every figure summed up anew.
//!
//! Where this model and the ledger disagree, one of them is wrong.

use std::collections::BTreeMap;

/// When spend begins anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// Never.
    Total,
    /// Every so many seconds, counted from 1970.
    Every(i64),
    /// The last so many seconds, in sixty steps.
    Rolling(i64),
}

impl Window {
    /// The window of a moment, by the second in which it begins.
    fn of(self, now: i64) -> i64 {
        match self {
            Self::Total => 0,
            Self::Every(length) => now.div_euclid(length) * length,
            Self::Rolling(length) => now.div_euclid(length / 60) * (length / 60),
        }
    }

    /// From which window on spend counts at a moment.
    fn counts_from(self, now: i64) -> i64 {
        match self {
            Self::Rolling(length) => self.of(now) - length,
            other => other.of(now),
        }
    }
}

/// A budget.
#[derive(Clone, Debug)]
pub struct Budget {
    /// Its limit.
    pub limit: i64,
    /// Its window.
    pub window: Window,
    /// Whether it refuses.
    pub hard: bool,
}

/// Money set aside.
#[derive(Clone, Debug)]
struct Held {
    amount: i64,
    /// Budgets, each with the window of the admission.
    parts: Vec<(usize, i64)>,
}

/// Why nothing is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Nothing that others do can make room.
    Exhausted,
    /// Others hold the room.
    Held,
}

/// All budgets, everything spent, everything held.
#[derive(Clone, Debug, Default)]
pub struct Model {
    /// The budgets, in the order in which they are asked.
    pub budgets: Vec<Budget>,
    /// Spent: budget, window, amount.
    spent: Vec<(usize, i64, i64)>,
    held: BTreeMap<u64, Held>,
    next: u64,
    /// Seconds since 1970.
    pub now: i64,
}

impl Model {
    /// With nothing spent.
    pub fn new(budgets: Vec<Budget>, now: i64) -> Self {
        Self { budgets, now, ..Self::default() }
    }

    /// What counts as spent of a budget now.
    pub fn spent(&self, budget: usize) -> i64 {
        let from = self.budgets[budget].window.counts_from(self.now);
        self.spent.iter().filter(|(b, w, _)| *b == budget && *w >= from).map(|(.., amount)| amount).sum()
    }

    /// What is held of a budget now: calls of windows that are over hold nothing of the next.
    pub fn held(&self, budget: usize) -> i64 {
        let window = self.budgets[budget].window;
        let current = |w: i64| matches!(window, Window::Rolling(_)) || w == window.of(self.now);
        let of = |held: &Held| held.parts.iter().any(|(b, w)| *b == budget && current(*w));
        self.held.values().filter(|held| of(held)).map(|held| held.amount).sum()
    }

    /// Holds between `min` and `want` in all of `budgets`, or says why not.
    pub fn hold(&mut self, budgets: &[usize], min: i64, want: i64) -> Result<(u64, i64), Refusal> {
        let mut amount = want;
        for &budget in budgets.iter().filter(|b| self.budgets[**b].hard) {
            let left = self.budgets[budget].limit - self.spent(budget);
            let room = left - self.held(budget);
            if room < min {
                return Err(if min > left { Refusal::Exhausted } else { Refusal::Held });
            }
            amount = amount.min(room);
        }
        let parts = budgets.iter().map(|&b| (b, self.budgets[b].window.of(self.now))).collect();
        self.next += 1;
        self.held.insert(self.next, Held { amount, parts });
        Ok((self.next, amount))
    }

    /// Turns a hold into spend.
    pub fn settle(&mut self, id: u64, cost: i64) {
        if let Some(held) = self.held.remove(&id) {
            self.spent.extend(held.parts.into_iter().map(|(budget, window)| (budget, window, cost)));
        }
    }

    /// Gives a hold back.
    pub fn release(&mut self, id: u64) {
        self.held.remove(&id);
    }

    /// The gateway dies: what is held is in doubt, and spent at its bound.
    pub fn crash(&mut self) {
        let open: Vec<_> = self.held.iter().map(|(id, held)| (*id, held.amount)).collect();
        open.into_iter().for_each(|(id, amount)| self.settle(id, amount));
    }

    /// Holds that are open.
    pub fn open(&self) -> Vec<u64> {
        self.held.keys().copied().collect()
    }

    /// Entries that were booked for a budget.
    pub fn booked(&self, budget: usize) -> i64 {
        self.spent.iter().filter(|(b, ..)| *b == budget).map(|(.., amount)| amount).sum()
    }
}
