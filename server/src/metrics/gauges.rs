//! What is the case when somebody asks.

use std::{collections::BTreeSet, path::Path};

use tollgate_export::Status;
use tollgate_ledger::{Ledger, Mode};
use tollgate_metrics::{About, Build, Page, free_bytes, names};
use tollgate_otlp::Exporter;
use tollgate_pipeline::Pipeline;
use tollgate_proto::v1::{BudgetScope, ScopeKind};
use tollgate_router::{Circuit, Deployment};

use crate::{
    config::{MetricLabel, MetricsSettings},
    health::{CHECKS, Health},
    observing::Observing,
};

/// Nano-dollars of a dollar.
const NANO: f64 = 1e9;
const STATES: [&str; 3] = ["closed", "open", "half_open"];
const PRIORITIES: [&str; 3] = ["interactive", "standard", "batch"];

/// How deployments do. Those behind a name with `*` do differently for each model that is called by it: they are left out.
pub(super) fn deployments(page: &mut Page, pipeline: &Pipeline) {
    let (table, now_us) = (pipeline.table(), pipeline.route_now_us());
    let groups = table.groups.values().filter(|group| !group.name.contains('*'));
    let mut seen = BTreeSet::new();
    for deployment in groups.flat_map(|group| &group.deployments).filter(|d| seen.insert(d.name.as_str())) {
        state(page, deployment, now_us);
        queue(page, deployment, pipeline);
    }
}

fn state(page: &mut Page, deployment: &Deployment, now_us: u64) {
    let (provider, name, state) = (deployment.provider.as_str(), deployment.name.as_str(), deployment.state());
    let circuit = match state.circuit(now_us) {
        Circuit::Closed => "closed",
        Circuit::Open { .. } => "open",
        Circuit::HalfOpen { .. } => "half_open",
    };
    for known in STATES {
        page.count(names::DEPLOYMENT_STATE, &[provider, name, known], u64::from(known == circuit));
    }
    page.count(names::COOLDOWNS, &[provider, name], state.cooldowns());
    page.count(names::IN_FLIGHT, &[provider, name], state.in_flight().into());
}

fn queue(page: &mut Page, deployment: &Deployment, pipeline: &Pipeline) {
    let (provider, name) = (deployment.provider.as_str(), deployment.name.as_str());
    let Some(queue) = pipeline.gates().queue(name) else { return };
    if queue.capacity > 0 {
        page.count(names::SLOTS, &[provider, name], queue.capacity as u64);
    }
    for (priority, waiting) in PRIORITIES.iter().zip(queue.waiting) {
        page.count(names::QUEUE_LENGTH, &[provider, name, priority], waiting as u64);
    }
    page.put(names::QUEUE_OLDEST, &[provider, name], queue.longest_wait.as_secs_f64());
}

/// How budgets stand: of the gateway, organizations, teams, tags, providers and deployments; of keys and users where those are labels. Not
/// those for each customer or tag by itself.
pub(super) fn budgets(page: &mut Page, ledger: &Ledger, settings: &MetricsSettings) {
    let now_us = ledger.now_us();
    for budget in ledger.budgets_on(|scope| is_shown(scope, settings)).iter().take(settings.max_series) {
        let (Some(scope), Some(account)) = (&budget.scope, ledger.account(&budget.id)) else { continue };
        let (kind, id) = subject(scope);
        let balance = account.balance(now_us);
        let mut put = |about: &'static About, value| page.put(about, &[&budget.id, kind, id], value);
        put(names::BUDGET_LIMIT, balance.limit as f64 / NANO);
        put(names::BUDGET_SPENT, balance.spent as f64 / NANO);
        put(names::BUDGET_HELD, balance.held as f64 / NANO);
        if balance.limit > 0 {
            let left = balance.limit.saturating_sub(balance.spent).max(0);
            put(names::BUDGET_LEFT, (left as f64 / balance.limit as f64).min(1.0));
        }
    }
}

fn is_shown(scope: &BudgetScope, settings: &MetricsSettings) -> bool {
    match scope.kind() {
        ScopeKind::Gateway | ScopeKind::Unspecified | ScopeKind::Organization | ScopeKind::Team => true,
        ScopeKind::Tag => scope.id != "*",
        ScopeKind::Key => settings.labels.contains(&MetricLabel::Key),
        ScopeKind::User | ScopeKind::Member => settings.labels.contains(&MetricLabel::User),
        ScopeKind::Customer => false,
    }
}

/// What a budget is on: its kind and id.
fn subject(scope: &BudgetScope) -> (&'static str, &str) {
    match scope.kind() {
        _ if !scope.deployment.is_empty() => ("deployment", &scope.deployment),
        _ if !scope.provider.is_empty() => ("provider", &scope.provider),
        ScopeKind::Gateway | ScopeKind::Unspecified => ("gateway", ""),
        ScopeKind::Organization => ("organization", &scope.id),
        ScopeKind::Team => ("team", &scope.id),
        ScopeKind::User => ("user", &scope.id),
        ScopeKind::Member => ("member", &scope.id),
        ScopeKind::Key => ("key", &scope.id),
        ScopeKind::Customer => ("customer", &scope.id),
        ScopeKind::Tag => ("tag", &scope.id),
    }
}

/// How the ledger does. `snapshot_us`: of when the local snapshot is.
pub(super) fn ledger(page: &mut Page, ledger: &Ledger, snapshot_us: i64) {
    for known in Mode::ALL {
        page.count(names::LEDGER_MODE, &[known.name()], u64::from(known == ledger.mode()));
    }
    page.count(names::LEDGER_LAG, &[], ledger.lag());
    page.put(names::LEDGER_BEHIND, &[], ledger.behind().as_secs_f64());
    page.count(names::JOURNAL_WAITING, &[], ledger.waiting() as u64);
    let holds = ledger.holds();
    page.count(names::HOLDS, &[], holds.len() as u64);
    page.put(names::HELD, &[], holds.iter().map(|hold| hold.amount_nano_usd).sum::<i64>() as f64 / NANO);
    page.count(names::REPLICAS, &[], ledger.live_replicas() as u64);
    page.put(names::CLOCK_SKEW, &[], ledger.skew_us() as f64 / 1e6);
    if snapshot_us > i64::MIN {
        let age = u64::try_from((ledger.now_us() - snapshot_us) / 1_000_000).unwrap_or(0);
        page.count(names::SNAPSHOT_AGE, &[], age);
    }
}

/// What room the journal has: without it no new call starts.
pub(super) fn journal(page: &mut Page, directory: &Path) {
    if let Some(bytes) = free_bytes(directory) {
        page.count(names::JOURNAL_FREE, &[], bytes);
    }
}

/// How exports of the audit log go.
pub(super) fn export(page: &mut Page, export: &Status, now_us: i64) {
    page.put(names::EXPORT_SUCCEEDED, &[], export.succeeded_us().unwrap_or(0) as f64 / 1e6);
    page.put(names::EXPORT_OVERDUE, &[], export.overdue(now_us).as_secs_f64());
    page.count(names::EXPORT_FAILURES, &[], export.failures());
}

/// The checks of readiness.
pub(super) fn checks(page: &mut Page, health: &Health) {
    let failing = health.failing();
    for check in CHECKS {
        page.count(names::READY, &[check.name], u64::from(!failing.contains(&check.name)));
    }
}

/// What leaves the gateway beside the calls, and what of it is lost.
pub(super) fn observing(page: &mut Page, observing: &Observing, spans: Option<&Exporter>) {
    for sink in observing.sinks.stats() {
        let labels = [sink.name.as_str(), sink.kind];
        let [name, kind] = labels;
        page.count(names::SINK_RECORDS, &labels, sink.delivered);
        let dropped = sink.dropped;
        for (cause, n) in [("queue", dropped.queue), ("spill", dropped.spill), ("refused", dropped.refused)] {
            page.count(names::SINK_DROPPED, &[name, kind, cause], n);
        }
        page.count(names::SINK_FAILURES, &labels, sink.failures);
        page.count(names::SINK_WAITING, &[name, kind, "memory"], sink.waiting);
        page.count(names::SINK_WAITING, &[name, kind, "disk"], sink.spilled);
        page.count(names::SINK_SPILLED, &labels, sink.spilled_bytes);
    }
    if let Some(spans) = spans {
        page.count(names::SPANS_LOST, &[], spans.lost() as u64);
    }
    for channel in observing.channels() {
        page.count(names::NOTICES, &[&channel.name, "delivered"], channel.delivered);
        page.count(names::NOTICES, &[&channel.name, "lost"], channel.lost);
    }
    if let Some(missed) = observing.missed() {
        page.count(names::ALERT_MISSED, &[], missed);
    }
}

/// Which build and which configuration.
pub(super) fn build(page: &mut Page, build: Build, config_hash: &str) {
    page.count(names::BUILD, &[build.version, build.commit, build.rustc], 1);
    page.count(names::CONFIG, &[config_hash], 1);
}
