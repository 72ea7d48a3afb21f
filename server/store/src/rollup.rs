//! What new entries add up to: the same sums for every backend, so that they cannot differ.

use std::collections::BTreeMap;

use tollgate_domain::micros;
use tollgate_proto::v1::{LedgerEntry, LedgerEntryKind};

use crate::LedgerRow;

/// The outcome of the entry that corrects a batch's charge to what the batch cost.
pub const BATCH_ENDED: &str = "batch_ended";

/// Microseconds of a day.
pub const DAY_US: i64 = 86_400_000_000;

/// A cell of the spend cube: one day, one payer, one model at one provider.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Cell {
    /// Days since the epoch, UTC.
    pub day: i64,
    /// The key that pays.
    pub key_id: String,
    /// Its organization at that time.
    pub organization_id: String,
    /// Its team at that time.
    pub team_id: String,
    /// Its user at that time.
    pub user_id: String,
    /// The model alias.
    pub model: String,
    /// The provider.
    pub provider: String,
}

/// A label of calls (`tag` or `customer`) on one day.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct LabelCell {
    /// Days since the epoch, UTC.
    pub day: i64,
    /// `tag` or `customer`.
    pub kind: &'static str,
    /// The label.
    pub value: String,
    /// The key that pays.
    pub key_id: String,
    /// Its organization at that time.
    pub organization_id: String,
    /// Its team at that time.
    pub team_id: String,
    /// Its user at that time.
    pub user_id: String,
}

/// What a cell holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Sums {
    /// Ledger entries.
    pub entries: i64,
    /// Nano-dollars.
    pub cost: i64,
    /// Part of it that is not the provider's own figure.
    pub estimated: i64,
    /// Tokens read.
    pub input_tokens: i64,
    /// Tokens written.
    pub output_tokens: i64,
    /// What cache hits would have cost.
    pub saved: i64,
}

impl Sums {
    /// The sums of one entry.
    pub fn of(entry: &LedgerEntry) -> Self {
        let tokens = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let usage = entry.usage.as_ref();
        let estimated = match entry.kind() {
            LedgerEntryKind::Estimated | LedgerEntryKind::Recovered => entry.cost_nano_usd,
            // The end of a batch replaces the guess that was charged when it began.
            LedgerEntryKind::Adjustment if entry.outcome == BATCH_ENDED => {
                let is_told = usage.is_some_and(|usage| !usage.estimated);
                if is_told { -entry.held_nano_usd } else { entry.cost_nano_usd }
            }
            _ => 0,
        };
        Self {
            entries: 1,
            cost: entry.cost_nano_usd,
            estimated,
            input_tokens: usage.and_then(|u| u.input).map_or(0, |i| tokens(i.total)),
            output_tokens: usage.and_then(|u| u.output).map_or(0, |o| tokens(o.total)),
            saved: entry.saved_nano_usd,
        }
    }

    /// Adds, saturating: a provider's absurd figure ruins no sum of others.
    pub fn add(&mut self, other: &Self) {
        self.entries += other.entries;
        self.cost = self.cost.saturating_add(other.cost);
        self.estimated = self.estimated.saturating_add(other.estimated);
        self.input_tokens = self.input_tokens.saturating_add(other.input_tokens);
        self.output_tokens = self.output_tokens.saturating_add(other.output_tokens);
        self.saved = self.saved.saturating_add(other.saved);
    }
}

/// Everything that a set of new entries moves.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rollup {
    /// Spent, by budget and window.
    pub balances: BTreeMap<(String, i64), i64>,
    /// Used of a lease, by budget and the lease's window.
    pub leases: BTreeMap<(String, i64), i64>,
    /// The cube.
    pub cells: BTreeMap<Cell, Sums>,
    /// Tags and customers.
    pub labels: BTreeMap<LabelCell, Sums>,
}

impl Rollup {
    /// Sums up `rows`: those that are new.
    pub fn of<'a>(rows: impl Iterator<Item = &'a LedgerRow>) -> Self {
        let mut rollup = Self::default();
        for row in rows {
            rollup.add(&row.entry);
            // `i64::MIN`: no lease pays this charge.
            for (charge, window) in row.entry.charges.iter().zip(&row.lease_windows).filter(|(_, w)| **w != i64::MIN) {
                let used = rollup.leases.entry((charge.budget_id.clone(), *window)).or_default();
                *used = used.saturating_add(row.entry.cost_nano_usd);
            }
        }
        rollup
    }

    /// Adds one entry, apart from its lease.
    pub fn add(&mut self, entry: &LedgerEntry) {
        for charge in &entry.charges {
            let spent = self.balances.entry((charge.budget_id.clone(), charge.window)).or_default();
            *spent = spent.saturating_add(entry.cost_nano_usd);
            if tollgate_planted::bug("sum_over_i32") {
                *spent = i64::from(*spent as i32);
            }
        }
        // Nobody was called for it.
        if entry.kind() == LedgerEntryKind::Opening {
            return;
        }
        let day = entry.settle_time.as_ref().map_or(0, micros).div_euclid(DAY_US);
        let sums = Sums::of(entry);
        let cell = Cell {
            day,
            key_id: entry.key_id.clone(),
            organization_id: entry.organization_id.clone(),
            team_id: entry.team_id.clone(),
            user_id: entry.user_id.clone(),
            model: entry.model.clone(),
            provider: entry.provider.clone(),
        };
        self.cells.entry(cell).or_default().add(&sums);
        let customer = (!entry.customer.is_empty()).then_some(("customer", &entry.customer));
        for (kind, value) in entry.tags.iter().map(|tag| ("tag", tag)).chain(customer) {
            let label = LabelCell {
                day,
                kind,
                value: value.clone(),
                key_id: entry.key_id.clone(),
                organization_id: entry.organization_id.clone(),
                team_id: entry.team_id.clone(),
                user_id: entry.user_id.clone(),
            };
            self.labels.entry(label).or_default().add(&sums);
        }
    }
}
