//! `GET /metrics`, in the OpenMetrics text format. For whoever reaches the port: no name of a key, team or budget is in it.

use std::sync::Arc;

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

/// The route over what the ledger says of itself.
pub(crate) fn routes(ledger: Arc<Ledger>) -> Router {
    let serve = move || {
        let text = text(&ledger);
        async move { ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text) }
    };
    Router::new().route("/metrics", get(serve))
}

fn text(ledger: &Ledger) -> String {
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
    let mut text = String::new();
    // Writing into a string cannot fail.
    let _ = encode(&mut text, &registry);
    text
}
