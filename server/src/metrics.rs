//! `GET /metrics`, in the OpenMetrics text format. For whoever reaches the port: no name of a key, team or budget is in it.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use axum::{Router, http::header, routing::get};
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{family::Family, gauge::Gauge},
    registry::Registry,
};
use tollgate_ledger::{Ledger, Mode};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Of {
    mode: &'static str,
}

/// The route over what the ledger says of itself; `snapshot_us`: of when the local snapshot is, before any time where there is none.
pub(crate) fn routes(ledger: Arc<Ledger>, snapshot_us: Arc<AtomicI64>) -> Router {
    let serve = move || {
        let text = text(&ledger, snapshot_us.load(Ordering::Relaxed));
        async move { ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text) }
    };
    Router::new().route("/metrics", get(serve))
}

fn text(ledger: &Ledger, snapshot_us: i64) -> String {
    let mut registry = Registry::with_prefix("tollgate");
    let mode = Family::<Of, Gauge>::default();
    for known in Mode::ALL {
        mode.get_or_create(&Of { mode: known.name() }).set(i64::from(known == ledger.mode()));
    }
    registry.register(
        "ledger_mode",
        "1 for the mode that this replica is in (docs/accounting.md has their bounds)",
        mode,
    );
    let gauge = |value: usize| {
        let gauge = Gauge::<i64>::default();
        gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        gauge
    };
    let lag = usize::try_from(ledger.lag()).unwrap_or(usize::MAX);
    registry.register("ledger_lag_records", "Records of the journal that the store lacks", gauge(lag));
    registry.register("holds", "Attempts in flight at this replica", gauge(ledger.holds().len()));
    registry.register("replicas", "Replicas that are alive, this one included", gauge(ledger.live_replicas()));
    if snapshot_us > i64::MIN {
        let age = usize::try_from((ledger.now_us() - snapshot_us) / 1_000_000).unwrap_or(0);
        let help = "What this replica would serve from if it started while PostgreSQL is away";
        registry.register("snapshot_age_seconds", help, gauge(age));
    }
    let mut text = String::new();
    // Writing into a string cannot fail.
    let _ = encode(&mut text, &registry);
    text
}
