//! What may be spent and asked for, in the contract's words.

use tollgate_proto::v1::{Budget, BudgetEnforcement, BudgetScope, RateLimits};

use super::{
    amount::Amount,
    labels::short,
    rows::{Part, Terms},
    window::{Clock, turn},
};

/// A budget to make, without the subject that it is on, and what was spent of it.
#[derive(Clone, Debug)]
pub(super) struct Spec {
    pub(super) budget: Budget,
    pub(super) spent: i64,
}

impl Spec {
    /// On a subject.
    pub(super) fn on(mut self, scope: &BudgetScope) -> Self {
        let model = self.budget.scope.take().map(|s| s.model).unwrap_or_default();
        self.budget.scope = Some(BudgetScope { model, ..scope.clone() });
        self
    }
}

/// The budgets of a subject: its own, and those of the row of the budget table that it names.
pub(super) fn budgets(
    own: &Terms,
    shared: Option<(&str, &Terms)>,
    clock: &Clock,
    notes: &mut Vec<String>,
) -> Vec<Spec> {
    let mut all = of_terms("LiteLLM", own, own, clock, notes);
    if let Some((id, terms)) = shared {
        all.extend(of_terms(&format!("LiteLLM budget {id}"), terms, own, clock, notes));
    }
    all
}

fn of_terms(name: &str, terms: &Terms, spender: &Terms, clock: &Clock, notes: &mut Vec<String>) -> Vec<Spec> {
    let mut all = Vec::new();
    let window = (terms.budget_duration.as_deref(), terms.budget_reset_at.as_deref());
    for (column, amount, enforcement) in [
        ("max_budget", terms.max_budget, BudgetEnforcement::Hard),
        ("soft_budget", terms.soft_budget, BudgetEnforcement::Soft),
    ] {
        if let Some(limit) = limit(column, amount, notes) {
            let asked = named(format!("{name} {column}"), limit, enforcement);
            all.push(spec(asked, window, Some(spender.spent()), column, clock, notes));
        }
    }
    let parts = terms.parts().map(|parts| parts.into_iter().map(|part| (String::new(), part)).collect::<Vec<_>>());
    for (column, read) in [("budget_limits", parts), ("model_max_budget", terms.of_models())] {
        let Ok(found) = read else {
            notes.push(format!("{column} cannot be read and is left out"));
            continue;
        };
        for (model, Part { max_budget, budget_duration, budget_reset_at }) in found {
            let duration = budget_duration.as_deref();
            let what = format!("{column} {}", if model.is_empty() { duration.unwrap_or_default() } else { &model });
            let Some(limit) = limit(&what, max_budget, notes) else { continue };
            let spent = if model.is_empty() { None } else { spender.spent_of(&model) };
            let mut asked = named(format!("{name} {what}"), limit, BudgetEnforcement::Hard);
            asked.scope = Some(BudgetScope { model, ..BudgetScope::default() });
            all.push(spec(asked, (duration, budget_reset_at.as_deref()), spent, &what, clock, notes));
        }
    }
    all
}

fn named(name: String, limit_nano_usd: i64, enforcement: BudgetEnforcement) -> Budget {
    let display_name = short(&name, 256).to_owned();
    Budget { display_name, limit_nano_usd, enforcement: enforcement as i32, ..Budget::default() }
}

/// A limit in nano-dollars; nothing where there is none.
fn limit(column: &str, amount: Option<Amount>, notes: &mut Vec<String>) -> Option<i64> {
    match amount? {
        Amount::Nano(limit) if limit >= 0 => Some(limit),
        Amount::Nano(_) => {
            notes.push(format!("{column} is negative: it becomes 0"));
            Some(0)
        }
        Amount::Unlimited => {
            notes.push(format!("{column} is beyond 9,223,372,036 dollars: no budget is made"));
            None
        }
        Amount::Nothing => {
            notes.push(format!("{column} is no number: it becomes 0 until somebody says what it should be"));
            Some(0)
        }
    }
}

fn spec(
    mut budget: Budget,
    (duration, reset_at): (Option<&str>, Option<&str>),
    spent: Option<i64>,
    column: &str,
    clock: &Clock,
    notes: &mut Vec<String>,
) -> Spec {
    let turn = turn(duration, reset_at, clock, notes);
    budget.window = turn.window;
    if spent.is_none() {
        notes.push(format!("{column}: what was spent of it is not in the row, so it counts from 0"));
    }
    if turn.over {
        notes.push(format!("{column}: its window was over, so it counts from 0"));
    }
    Spec { budget, spent: if turn.over { 0 } else { spent.unwrap_or(0) } }
}

/// Rate limits: of each the lower one.
pub(super) fn limits(own: &Terms, shared: Option<&Terms>, notes: &mut Vec<String>) -> Option<RateLimits> {
    let mut lower = |column: &str, of: fn(&Terms) -> Option<i64>| {
        let limit = [Some(own), shared].into_iter().flatten().filter_map(of).min()?;
        if limit < 1 {
            notes.push(format!("{column} is {limit}: it becomes 1, the least there is"));
        }
        Some(limit.max(1))
    };
    let requests_per_minute = lower("rpm_limit", |t| t.rpm_limit);
    let tokens_per_minute = lower("tpm_limit", |t| t.tpm_limit);
    let concurrent_requests = lower("max_parallel_requests", |t| t.max_parallel_requests);
    let any = requests_per_minute.or(tokens_per_minute).or(concurrent_requests).is_some();
    // There a whole minute's worth may pass at once.
    let limits = RateLimits {
        requests_per_minute,
        tokens_per_minute,
        concurrent_requests,
        full_burst: true,
        ..Default::default()
    };
    any.then_some(limits)
}
