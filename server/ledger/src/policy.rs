use std::sync::Arc;

use tollgate_domain::{Violation, micros};
use tollgate_proto::v1::{
    Budget, BudgetEnforcement, BudgetScope, BudgetWindow, CalendarUnit, CalendarWindow, HoldMode, ScopeKind, WhenTight,
    budget_window,
};
use tollgate_store::AlertRule;

use crate::window::{Span, Window};

/// Percentages of the limit that raise an alert where a budget names none.
pub const DEFAULT_ALERT_PERCENTS: [i32; 3] = [50, 80, 100];
/// Added to a budget's id to name the account of its pace limit.
pub const PACE: &str = "#pace";

/// What a budget asks for, read once.
#[derive(Debug, PartialEq)]
pub struct Policy {
    /// What it is on.
    pub scope: BudgetScope,
    /// When spend begins anew.
    pub window: Window,
    /// What happens when it affords less output than asked.
    pub when_tight: WhenTight,
    /// How much is held for a call.
    pub hold_mode: HoldMode,
    /// Percentages that raise an alert, ascending.
    pub alert_percents: Vec<i32>,
    limit: i64,
    increase: i64,
    increase_until_us: i64,
    /// In percent of the limit from where it refuses; `None`: never.
    hard_at: Option<i32>,
}

impl Policy {
    /// Reads a budget.
    pub fn read(budget: &Budget) -> Result<Self, Violation> {
        let hard = budget.enforcement() != BudgetEnforcement::Soft;
        let mut alert_percents = budget.alert_percents.clone();
        if alert_percents.is_empty() {
            alert_percents = DEFAULT_ALERT_PERCENTS.to_vec();
        }
        alert_percents.sort_unstable();
        alert_percents.dedup();
        let increase = budget.increase.as_ref();
        Ok(Self {
            scope: budget.scope.clone().unwrap_or_default(),
            window: Window::read(budget.window.as_ref(), budget.create_time.as_ref().map_or(0, micros))?,
            when_tight: budget.when_tight(),
            hold_mode: budget.hold_mode(),
            alert_percents,
            limit: budget.limit_nano_usd,
            increase: increase.map_or(0, |i| i.amount_nano_usd),
            increase_until_us: increase.and_then(|i| i.expire_time.as_ref()).map_or(0, micros),
            hard_at: if hard { Some(100) } else { budget.hard_at_percent },
        })
    }

    /// The pace limit of a budget as a policy of its own: so much in any hour of the clock.
    pub fn pace_of(budget: &Budget) -> Option<Self> {
        let percent = budget.pace_percent_per_hour?;
        let unit = CalendarUnit::Hour as i32;
        let hour = budget_window::Window::Calendar(CalendarWindow { unit, time_zone: String::new() });
        let mut pace = Self::read(&Budget {
            window: Some(BudgetWindow { window: Some(hour) }),
            enforcement: BudgetEnforcement::Hard as i32,
            ..budget.clone()
        })
        .ok()?;
        let part = |amount: i64| (i128::from(amount) * i128::from(percent) / 100) as i64;
        (pace.limit, pace.increase) = (part(pace.limit), part(pace.increase));
        pace.alert_percents.clear();
        Some(pace)
    }

    /// The limit at `now_us`, with an increase that has not expired.
    pub fn limit(&self, now_us: i64) -> i64 {
        if now_us < self.increase_until_us { self.limit.saturating_add(self.increase) } else { self.limit }
    }

    /// What may be spent before it refuses; `None`: it never refuses.
    pub fn hard_limit(&self, now_us: i64) -> Option<i64> {
        let limit = self.limit(now_us);
        match self.hard_at? {
            100 => Some(limit),
            percent => Some((i128::from(limit) * i128::from(percent) / 100).min(i128::from(i64::MAX)) as i64),
        }
    }

    /// Whether it may refuse.
    pub fn is_hard(&self) -> bool {
        self.hard_at.is_some()
    }

    /// What the store needs to raise its alerts.
    pub(crate) fn alert_rule(&self, now_us: i64, span: Span) -> AlertRule {
        AlertRule {
            limit_nano_usd: self.limit(now_us),
            percents: self.alert_percents.clone(),
            rolling_from: self.window.is_rolling().then(|| self.window.counts_from(span)),
            scope: Some(self.scope.clone()),
        }
    }
}

/// How a scope is named in messages: `team:team_...`.
pub fn scope_name(scope: &BudgetScope) -> String {
    let mut name = match scope.kind() {
        ScopeKind::Gateway | ScopeKind::Unspecified => "gateway".to_owned(),
        ScopeKind::Organization => format!("organization:{}", scope.id),
        ScopeKind::Team => format!("team:{}", scope.id),
        ScopeKind::User => format!("user:{}", scope.id),
        ScopeKind::Member => format!("member:{}/{}", scope.team_id, scope.id),
        ScopeKind::Key => format!("key:{}", scope.id),
        ScopeKind::Customer => format!("customer:{}", scope.id),
        ScopeKind::Tag => format!("tag:{}", scope.id),
    };
    let filters = [(" model:", &scope.model), (" provider:", &scope.provider), (" deployment:", &scope.deployment)];
    for (filter, value) in filters {
        if !value.is_empty() {
            name.push_str(filter);
            name.push_str(value);
        }
    }
    name
}

/// The accounts that a budget needs: its own and that of its pace limit.
pub(crate) fn policies(budget: &Budget) -> Result<Vec<(String, Arc<Policy>)>, Violation> {
    let mut all = vec![(budget.id.clone(), Arc::new(Policy::read(budget)?))];
    all.extend(Policy::pace_of(budget).map(|pace| (format!("{}{PACE}", budget.id), Arc::new(pace))));
    Ok(all)
}
