//! `GET /metrics` and `GET /version`. For whoever reaches the port, unless `metrics.require_key` is set: ids of teams and budgets are in
//! it, no secret and no name of a person.

mod gauges;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use axum::{
    Json, Router,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::json;
use tollgate_control::{Control, Principal};
use tollgate_domain::{Error, Secret};
use tollgate_export::Status;
use tollgate_metrics::{Format, Page, Process, Settings};
use tollgate_otlp::{Exporter, MetricsExporter};
use tollgate_pipeline::Pipeline;

use crate::{
    config::{Config, MetricLabel, MetricsSettings},
    grpc::PeerAddr,
    health::Health,
    observing::Observing,
    traces,
    version::BUILD,
};

/// What an exposition is gathered from.
pub(crate) struct Sources {
    pub(crate) pipeline: Arc<Pipeline>,
    pub(crate) control: Arc<Control>,
    pub(crate) health: Arc<Health>,
    pub(crate) observing: Observing,
    /// What exports spans, where calls are traced.
    pub(crate) spans: Option<Exporter>,
    /// Of when the local snapshot is, in microseconds since the epoch; before any time where there is none.
    pub(crate) snapshot_us: Arc<AtomicI64>,
    /// Where the journal is.
    pub(crate) journal: PathBuf,
    /// How exports of the audit log go, where there are any.
    pub(crate) export: Option<Arc<Status>>,
    pub(crate) settings: MetricsSettings,
    pub(crate) process: Process,
}

/// How finely calls are counted.
pub(crate) fn settings(settings: &MetricsSettings) -> Settings {
    Settings {
        max_series: settings.max_series,
        by_key: settings.labels.contains(&MetricLabel::Key),
        by_user: settings.labels.contains(&MetricLabel::User),
    }
}

/// The routes.
pub(crate) fn routes(sources: Arc<Sources>) -> Router {
    Router::new().route("/metrics", get(metrics)).route("/version", get(version)).with_state(sources)
}

/// Sends the same figures to a collector, where that is switched on.
pub(crate) fn export(
    config: &Config,
    replica: &str,
    sources: &Arc<Sources>,
) -> anyhow::Result<Option<MetricsExporter>> {
    let otlp = &config.metrics.otlp;
    if !otlp.enabled {
        return Ok(None);
    }
    let collector = traces::metrics_collector(otlp, &config.tracing, replica)?;
    let sources = sources.clone();
    let interval = otlp.interval.map(|interval| interval.duration());
    Ok(Some(tollgate_otlp::start_metrics(&collector, interval, move || sources.page())?))
}

async fn metrics(State(sources): State<Arc<Sources>>, request: Request) -> Response {
    if let Err(refused) = sources.may_read(&request) {
        return refused;
    }
    let accept = request.headers().get(header::ACCEPT).and_then(|value| value.to_str().ok());
    let format = Format::accepted(accept);
    ([(header::CONTENT_TYPE, format.content_type())], sources.page().text(format)).into_response()
}

async fn version(State(sources): State<Arc<Sources>>, request: Request) -> Response {
    if let Err(refused) = sources.may_read(&request) {
        return refused;
    }
    let mut told = json!({
        "version": BUILD.version,
        "rustc": BUILD.rustc,
        "config_hash": sources.pipeline.table().config_hash,
    });
    if !BUILD.commit.is_empty() {
        told["commit"] = BUILD.commit.into();
    }
    Json(told).into_response()
}

impl Sources {
    /// Whether who asks may read; else the refusal.
    #[allow(clippy::result_large_err)] // it is an answer
    fn may_read(&self, request: &Request) -> Result<(), Response> {
        if !self.settings.require_key {
            return Ok(());
        }
        let peer = request.extensions().get::<PeerAddr>().and_then(|peer| peer.0.clone());
        let principal = Principal { credential: credential(request.headers()), peer };
        self.control.may_read_metrics(&principal).map_err(|error| refusal(&error, principal.credential.is_some()))
    }

    fn page(&self) -> Page {
        let mut page = Page::default();
        self.pipeline.metrics().put(&mut page);
        gauges::deployments(&mut page, &self.pipeline);
        gauges::budgets(&mut page, self.pipeline.ledger(), &self.settings);
        gauges::ledger(&mut page, self.pipeline.ledger(), self.snapshot_us.load(Ordering::Relaxed));
        gauges::journal(&mut page, &self.journal);
        if let Some(export) = &self.export {
            gauges::export(&mut page, export, self.pipeline.ledger().now_us());
        }
        gauges::checks(&mut page, &self.health);
        gauges::observing(&mut page, &self.observing, self.spans.as_ref());
        gauges::build(&mut page, BUILD, &self.pipeline.table().config_hash);
        self.process.put(&mut page);
        page
    }
}

fn credential(headers: &HeaderMap) -> Option<Secret> {
    let (scheme, key) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| Secret::new(key.trim()))
}

fn refusal(error: &Error, is_known: bool) -> Response {
    let is_denied = is_known && error.reason == tollgate_proto::v1::ErrorReason::RoleNotAllowed;
    let status = if is_denied { StatusCode::FORBIDDEN } else { StatusCode::UNAUTHORIZED };
    let body = json!({"error": {"code": error.reason.wire_name().to_ascii_lowercase(), "message": error.message}});
    (status, Json(body)).into_response()
}
