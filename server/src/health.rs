//! Whether this replica can serve: looked at while it runs, told by `grpc.health.v1`, which the REST probes read.
//!
//! Each check is a service of its own there (`tollgate.check.NAME`). Those that keep calls from beginning take the whole replica and every
//! service of the contract that makes calls out; the others are told, and calls go on: a load balancer that took all replicas out
//! because one store is away would make of a degraded gateway none.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use parking_lot::Mutex;
use tollgate_ledger::{Ledger, Mode};
use tollgate_pipeline::Pipeline;
use tollgate_router::Circuit;
use tonic_health::{ServingStatus, server::HealthReporter};

/// How often is looked.
const LOOK: Duration = Duration::from_millis(250);
/// A store that is alone and takes nothing for so long is as good as away.
const BEHIND: Duration = Duration::from_secs(5);

/// One thing that is looked at.
pub(crate) struct Check {
    pub(crate) name: &'static str,
    /// Whether no call can begin without it.
    needed: bool,
    holds: fn(&Pipeline) -> bool,
}

/// Everything that is looked at.
pub(crate) const CHECKS: &[Check] = &[
    Check { name: "journal", needed: true, holds: |pipeline| journal(pipeline.ledger()) },
    Check { name: "store", needed: false, holds: |pipeline| store(pipeline.ledger()) },
    Check { name: "redis", needed: false, holds: |pipeline| redis(pipeline.ledger()) },
    Check { name: "deployments", needed: false, holds: deployments },
];

fn journal(ledger: &Ledger) -> bool {
    ledger.write_waiting() == 0 && ledger.failure().is_none()
}

fn store(ledger: &Ledger) -> bool {
    let is_away = ledger.is_offline() || matches!(ledger.mode(), Mode::PostgresGone | Mode::BothGone);
    !is_away && ledger.behind() < BEHIND
}

fn redis(ledger: &Ledger) -> bool {
    !matches!(ledger.mode(), Mode::RedisGone | Mode::BothGone)
}

/// One that takes calls. Those behind a name with `*` are judged by no state: they may.
fn deployments(pipeline: &Pipeline) -> bool {
    let (table, now_us) = (pipeline.table(), pipeline.route_now_us());
    let mut groups = table.groups.values();
    groups.any(|group| {
        let takes = |circuit| !matches!(circuit, Circuit::Open { .. });
        group.name.contains('*') || group.deployments.iter().any(|d| takes(d.state().circuit(now_us)))
    })
}

/// What was found last, and who tells it.
pub(crate) struct Health {
    reporter: HealthReporter,
    /// Services that make calls, and all others.
    calling: Vec<&'static str>,
    others: Vec<&'static str>,
    failing: Mutex<Vec<&'static str>>,
}

impl Health {
    /// With every check fine until it is looked at.
    pub(crate) fn new(reporter: HealthReporter, services: Vec<&'static str>) -> Arc<Self> {
        let makes_calls = |service: &&'static str| CALLING.iter().any(|name| service.ends_with(name));
        let (calling, others) = services.into_iter().partition(makes_calls);
        Arc::new(Self { reporter, calling, others, failing: Mutex::default() })
    }

    /// Names of the checks that failed when it was last looked.
    pub(crate) fn failing(&self) -> Vec<&'static str> {
        self.failing.lock().clone()
    }

    /// Looks until the pipeline is gone.
    pub(crate) async fn keep_looking(self: Arc<Self>, pipeline: Weak<Pipeline>) {
        loop {
            let Some(pipeline) = pipeline.upgrade() else { return };
            self.look(&pipeline).await;
            drop(pipeline);
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn look(&self, pipeline: &Pipeline) {
        let failing: Vec<_> = CHECKS.iter().filter(|check| !(check.holds)(pipeline)).collect();
        let names: Vec<_> = failing.iter().map(|check| check.name).collect();
        let changed = *self.failing.lock() != names;
        let told = names.join(", ");
        *self.failing.lock() = names;
        for check in CHECKS {
            let name = format!("tollgate.check.{}", check.name);
            let holds = failing.iter().all(|failed| failed.name != check.name);
            self.reporter.set_service_status(name, status(holds)).await;
        }
        if changed {
            self.tell(failing.iter().all(|check| !check.needed)).await;
            match told.as_str() {
                "" => tracing::info!("every check of readiness is fine again"),
                failing => tracing::warn!(failing, "checks of readiness fail"),
            }
        }
    }

    /// Tells whether calls can begin.
    async fn tell(&self, serves: bool) {
        for service in self.calling.iter().chain([&""]) {
            self.reporter.set_service_status(*service, status(serves)).await;
        }
    }

    /// From now on nothing new is taken.
    pub(crate) async fn stop(&self) {
        self.tell(false).await;
        for service in &self.others {
            self.reporter.set_service_status(*service, ServingStatus::NotServing).await;
        }
    }
}

/// Services that begin calls.
const CALLING: &[&str] = &[
    "CompletionService",
    "EmbeddingService",
    "RerankService",
    "ModerationService",
    "ImageService",
    "AudioService",
    "BatchService",
];

fn status(holds: bool) -> ServingStatus {
    if holds { ServingStatus::Serving } else { ServingStatus::NotServing }
}
