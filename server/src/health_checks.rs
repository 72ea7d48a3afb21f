//! Looks at providers while nobody calls them, where the configuration says so: what is down is left alone before a caller finds out, and
//! what is back is tried again at once.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::Instant;
use tollgate_pipeline::Pipeline;
use tollgate_providers::exchange;
use tollgate_router::{HealthCheck, Table};

/// How often is looked whether a check is due.
const TICK: Duration = Duration::from_millis(100);
/// A check may take so long.
const PATIENCE: Duration = Duration::from_secs(10);

/// How a provider's checks stand.
#[derive(Default)]
struct Checked {
    due: Option<Instant>,
    under_way: bool,
    failed_in_a_row: u32,
}

type Standings = Arc<Mutex<HashMap<String, Checked>>>;

/// Checks until the pipeline is gone.
pub(crate) async fn keep_checking(pipeline: Weak<Pipeline>) {
    let standings = Standings::default();
    loop {
        let Some(pipeline) = pipeline.upgrade() else { return };
        let table = pipeline.table();
        // A provider whose checks were taken out of the configuration begins anew when they are back.
        standings.lock().retain(|name, _| table.checks.iter().any(|check| check.provider == *name));
        for at in 0..table.checks.len() {
            if is_due(&standings, &table.checks[at]) {
                tokio::spawn(look(pipeline.clone(), table.clone(), at, standings.clone()));
            }
        }
        drop((pipeline, table));
        tokio::time::sleep(TICK).await;
    }
}

fn is_due(standings: &Standings, check: &HealthCheck) -> bool {
    let mut standings = standings.lock();
    let checked = standings.entry(check.provider.clone()).or_default();
    let due = !checked.under_way && checked.due.is_none_or(|due| Instant::now() >= due);
    if due {
        checked.under_way = true;
        checked.due = Some(Instant::now() + check.interval);
    }
    due
}

async fn look(pipeline: Arc<Pipeline>, table: Arc<Table>, at: usize, standings: Standings) {
    let check = &table.checks[at];
    let limit = check.interval.clamp(TICK, PATIENCE);
    let found = exchange::check(&check.endpoint, limit).await;
    let failed = {
        let mut standings = standings.lock();
        let checked = standings.entry(check.provider.clone()).or_default();
        checked.under_way = false;
        checked.failed_in_a_row = if found.is_ok() { 0 } else { checked.failed_in_a_row + 1 };
        checked.failed_in_a_row
    };
    let (provider, now_us) = (check.provider.as_str(), pipeline.route_now_us());
    match found {
        Ok(()) => check.deployments.iter().for_each(|deployment| deployment.state().may_be_back(now_us)),
        Err(failure) if failed > check.allowed_fails => {
            if failed == check.allowed_fails + 1 {
                tracing::warn!(provider, class = failure.class.name(), message = failure.message, "a provider is down");
            }
            // Until the next check has had its time, and a little more.
            let left = (check.interval + limit).mul_f64(1.5);
            let until_us = now_us.saturating_add(u64::try_from(left.as_micros()).unwrap_or(u64::MAX));
            for deployment in check.deployments.iter().filter(|d| !d.cooldown.time.is_zero()) {
                deployment.state().cool_until(until_us, Some(failure.class));
            }
        }
        Err(failure) => tracing::info!(provider, class = failure.class.name(), "a check of a provider failed"),
    }
}
