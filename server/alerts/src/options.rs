use std::time::Duration;

use crate::{Channel, Condition, Severity, Timing};

/// A rule: what, how much it matters, and to whom.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Its name, in notices.
    pub name: String,
    /// What goes wrong.
    pub condition: Condition,
    /// How much it matters.
    pub severity: Severity,
    /// Names of channels; empty: all.
    pub channels: Vec<String>,
    /// When it is told.
    pub timing: Timing,
}

impl Rule {
    /// With the usual timing: at once, over after a minute, ten minutes between two beginnings.
    pub fn new(name: impl Into<String>, condition: Condition, severity: Severity) -> Self {
        let timing =
            Timing { lasting: Duration::ZERO, settled: Duration::from_secs(60), cooldown: Duration::from_secs(600) };
        Self { name: name.into(), condition, severity, channels: Vec::new(), timing }
    }
}

/// How to watch.
pub struct Options {
    /// Names the gateway in notices.
    pub source: String,
    /// The channels by name.
    pub channels: Vec<(String, Channel)>,
    /// The rules.
    pub rules: Vec<Rule>,
    /// How often it is looked at.
    pub every: Duration,
}

/// The rules where none are given: all conditions, with thresholds that a gateway in order never meets.
pub fn default_rules() -> Vec<Rule> {
    let minutes = |n: u64| Duration::from_secs(n * 60);
    let failures = |percent| Condition::ProviderFailures { percent, window: minutes(5), least: 20 };
    let slow =
        Condition::SlowCalls { over: minutes(1), percent: 20, window: minutes(10), least: 20, models: Vec::new() };
    let anomaly = Condition::SpendAnomaly { percent: 300, least: 10_000_000_000, weeks: 4 };
    let mut degraded = Rule::new("ledger_degraded", Condition::LedgerDegraded, Severity::Critical);
    degraded.timing.lasting = Duration::from_secs(30);
    let mut expiring =
        Rule::new("key_expiring", Condition::KeyExpiring { within: minutes(7 * 24 * 60) }, Severity::Warning);
    expiring.timing.cooldown = minutes(24 * 60);
    let mut spend = Rule::new("spend_anomaly", anomaly, Severity::Warning);
    spend.timing.cooldown = minutes(60);
    vec![
        Rule::new("budget_threshold", Condition::BudgetThreshold { from_percent: 80 }, Severity::Warning),
        Rule::new("budget_exhausted", Condition::BudgetExhausted { within: minutes(5) }, Severity::Critical),
        Rule::new("provider_down", failures(90), Severity::Critical),
        Rule::new("provider_degraded", failures(25), Severity::Warning),
        Rule::new("fallbacks", Condition::Fallbacks { percent: 25, window: minutes(5), least: 20 }, Severity::Warning),
        Rule::new("slow_calls", slow, Severity::Warning),
        spend,
        degraded,
        expiring,
    ]
}
