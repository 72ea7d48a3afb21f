//! What can go wrong, and how it is seen.

use std::{collections::BTreeMap, time::Duration};

use tollgate_domain::NanoUsd;
use tollgate_proto::v1::{AuditRecord, BudgetAlert};

use crate::{
    Bad, Facts,
    anomaly::usual_of,
    board::micros,
    notice::rfc3339,
    traffic::{self, Share, Shares, time_of},
};

/// An hour, a week: microseconds.
const HOUR_US: i64 = 3_600_000_000;
const WEEK_US: i64 = 7 * 24 * HOUR_US;

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// A budget passes one of its alert thresholds, from this percentage of its limit on and below 100.
    BudgetThreshold {
        /// In percent of the limit.
        from_percent: u32,
    },
    /// A budget's limit is spent, or a call was refused for it within this time.
    BudgetExhausted {
        /// How long a refusal counts.
        within: Duration,
    },
    /// Of the attempts at a provider within the window this share failed, for reasons that are the provider's or the line's.
    ProviderFailures {
        /// Share, in percent.
        percent: u32,
        /// The window.
        window: Duration,
        /// Among at least so many attempts.
        least: u64,
    },
    /// Of the calls of a model within the window this share needed another deployment than the first.
    Fallbacks {
        /// Share, in percent.
        percent: u32,
        /// The window.
        window: Duration,
        /// Among at least so many calls.
        least: u64,
    },
    /// Of the calls of a model within the window this share took longer than a limit.
    SlowCalls {
        /// The limit.
        over: Duration,
        /// Share, in percent.
        percent: u32,
        /// The window.
        window: Duration,
        /// Among at least so many calls.
        least: u64,
        /// Only of these models; empty: all.
        models: Vec<String>,
    },
    /// The last hour cost this many percent of what the same hour of former weeks did (their middle).
    SpendAnomaly {
        /// In percent; 300: three times as much.
        percent: u32,
        /// At least so much, nano-dollars.
        least: i64,
        /// So many weeks back.
        weeks: u32,
    },
    /// The ledger goes without PostgreSQL or Redis.
    LedgerDegraded,
    /// A key that works ends by itself within this time.
    KeyExpiring {
        /// The time.
        within: Duration,
    },
}

/// A condition, and what it has seen.
pub(crate) struct Seen {
    condition: Condition,
    shares: Shares,
    /// Alerts of budgets that still hold, by budget and percentage: window, and what was spent.
    budgets: BTreeMap<(String, i32), (i64, i64)>,
}

impl Seen {
    pub(crate) fn new(condition: Condition) -> Self {
        let window = match &condition {
            Condition::BudgetExhausted { within } => *within,
            Condition::ProviderFailures { window, .. }
            | Condition::Fallbacks { window, .. }
            | Condition::SlowCalls { window, .. } => *window,
            _ => Duration::from_secs(1),
        };
        Self { condition, shares: Shares::over(micros(window)), budgets: BTreeMap::new() }
    }

    /// Whether finding out asks the store.
    pub(crate) fn is_costly(&self) -> bool {
        matches!(self.condition, Condition::SpendAnomaly { .. })
    }

    /// Takes a closed record.
    pub(crate) fn record(&mut self, record: &AuditRecord) {
        let counted = match &self.condition {
            Condition::BudgetExhausted { .. } => traffic::refusals(record),
            Condition::ProviderFailures { .. } => traffic::attempts(record),
            Condition::Fallbacks { .. } => traffic::fallbacks(record),
            Condition::SlowCalls { over, models, .. } if models.is_empty() || models.contains(&record.model) => {
                traffic::slow(record, micros(*over))
            }
            _ => return,
        };
        for (subject, is_hit) in counted {
            self.shares.count(subject, is_hit, time_of(record));
        }
    }

    /// Takes an alert of a budget.
    pub(crate) fn budget(&mut self, alert: &BudgetAlert) {
        let wanted = match &self.condition {
            Condition::BudgetThreshold { from_percent } => {
                (i32::try_from(*from_percent).unwrap_or(i32::MAX)..100).contains(&alert.percent)
            }
            Condition::BudgetExhausted { .. } => alert.percent >= 100,
            _ => false,
        };
        if wanted {
            let passed = (alert.window, alert.spent_nano_usd);
            let known = self.budgets.entry((alert.budget_id.clone(), alert.percent)).or_insert(passed);
            *known = (*known).max(passed);
        }
    }

    /// What is wrong now, by subject. `None`: it cannot be known now, so nothing changes.
    pub(crate) async fn wrong(&mut self, facts: &dyn Facts) -> Option<BTreeMap<String, Bad>> {
        let now_us = facts.now_us();
        let mut wrong = self.budgets_passed(facts);
        match &self.condition {
            Condition::BudgetThreshold { .. } => {}
            Condition::BudgetExhausted { .. } => {
                for (key, share) in self.shares.at(now_us) {
                    let summary = format!("calls of the key {key} are refused: a budget of theirs is exhausted");
                    wrong.insert(format!("key:{key}"), told(summary, [("refused_calls", share.hits.to_string())]));
                }
            }
            Condition::ProviderFailures { percent, least, .. } => {
                wrong.extend(reaching(self.shares.at(now_us), *percent, *least, |provider, share| {
                    format!("{} % of {} attempts at the provider {provider} failed", share.percent(), share.of)
                }));
            }
            Condition::Fallbacks { percent, least, .. } => {
                wrong.extend(reaching(self.shares.at(now_us), *percent, *least, |model, share| {
                    format!(
                        "{} % of {} calls of {model} went to another deployment than the first",
                        share.percent(),
                        share.of
                    )
                }));
            }
            Condition::SlowCalls { over, percent, least, .. } => {
                wrong.extend(reaching(self.shares.at(now_us), *percent, *least, |model, share| {
                    format!("{} % of {} calls of {model} took longer than {over:?}", share.percent(), share.of)
                }));
            }
            Condition::SpendAnomaly { percent, least, weeks } => {
                wrong.extend(anomaly(facts, now_us, *percent, *least, *weeks).await?.map(|bad| (String::new(), bad)));
            }
            Condition::LedgerDegraded => {
                let mode = facts.ledger();
                if mode.degraded {
                    let summary = format!("the ledger is in the mode {}", mode.name);
                    wrong.insert(String::new(), told(summary, [("mode", mode.name)]));
                }
            }
            Condition::KeyExpiring { within } => {
                for key in facts.keys_ending_before(now_us.saturating_add(micros(*within))) {
                    let time = rfc3339(key.expire_us);
                    let summary = format!("the key {} ({}) ends at {time}", key.name, key.id);
                    wrong.insert(key.id, told(summary, [("expire_time", time)]));
                }
            }
        }
        Some(wrong)
    }

    /// A threshold counts until its window is over, or the limit is raised.
    fn budgets_passed(&mut self, facts: &dyn Facts) -> BTreeMap<String, Bad> {
        let mut wrong = BTreeMap::new();
        self.budgets.retain(|(id, percent), (window, spent)| {
            let Some(mut budget) = facts.budget(id) else { return false };
            // What the ledger said of that window holds for it, also where this replica has not heard of all yet.
            if budget.window <= *window {
                budget.spent = budget.spent.max(*spent);
            }
            let is_passed = i128::from(budget.spent) * 100 >= i128::from(budget.limit) * i128::from(*percent);
            if is_passed {
                wrong.insert(format!("{id}@{percent}"), told_of(&budget, *percent));
            }
            is_passed
        });
        wrong
    }
}

fn told_of(budget: &crate::Budget, percent: i32) -> Bad {
    let (spent, limit) = (NanoUsd(budget.spent), NanoUsd(budget.limit));
    let summary = match percent {
        100.. => format!("the budget {} is exhausted: {spent} of {limit} USD are spent", budget.name),
        _ => format!("{percent} % of the budget {} are spent: {spent} of {limit} USD", budget.name),
    };
    let figures =
        [("percent", percent.to_string()), ("spent_usd", spent.to_string()), ("limit_usd", limit.to_string())];
    told(summary, figures)
}

fn reaching(
    shares: BTreeMap<String, Share>,
    percent: u32,
    least: u64,
    summary: impl Fn(&str, Share) -> String,
) -> BTreeMap<String, Bad> {
    let of = |(subject, share): (String, Share)| {
        let figures = [("percent", share.percent().to_string()), ("of", share.of.to_string())];
        let bad = told(summary(&subject, share), figures);
        (subject, bad)
    };
    shares.into_iter().filter(|(_, share)| share.reaches(percent, least)).map(of).collect()
}

async fn anomaly(facts: &dyn Facts, now_us: i64, percent: u32, least: i64, weeks: u32) -> Option<Option<Bad>> {
    let hour = |back: i64| facts.spent(now_us - back - HOUR_US, now_us - back);
    let now = hour(0).await.ok()?;
    if now < least {
        return Some(None);
    }
    let mut former = Vec::new();
    for week in 1..=i64::from(weeks) {
        former.push(hour(week.saturating_mul(WEEK_US)).await.ok()?);
    }
    Some(usual_of(&former, now, percent, least).map(|usual| {
        let (now, usual) = (NanoUsd(now).to_string(), NanoUsd(usual).to_string());
        let summary = format!("the last hour cost {now} USD; at this hour of the week {usual} USD are usual");
        told(summary, [("spent_usd", now), ("usual_usd", usual)])
    }))
}

fn told<const N: usize>(summary: String, figures: [(&str, String); N]) -> Bad {
    Bad { summary, details: figures.into_iter().map(|(name, figure)| (name.to_owned(), figure)).collect() }
}
