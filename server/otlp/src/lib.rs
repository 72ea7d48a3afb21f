//! Spans and metrics on their way to an OpenTelemetry collector, off the path of calls.
//!
//! [`Exporter`] takes what is finished into a bounded queue and never waits; a task of its own sends it in batches. What finds no room, and
//! what the collector does not take, is lost: counted, and told of in the log once a minute. A call notices nothing of it.
//!
//! Metrics are read and sent again and again as they stand ([`start_metrics`]): what one sending misses is in the next.

mod client;
mod connect;
mod convert;
mod metrics;
mod points;
mod queue;

use std::{collections::BTreeMap, time::Duration};

pub use connect::Unusable;
pub use metrics::{MetricsExporter, start_metrics};
pub use queue::{Exporter, start};
use tollgate_domain::Secret;

/// Where a collector is and who speaks to it. What is `None` comes from the standard variables (`OTEL_EXPORTER_OTLP_ENDPOINT`, ...), else
/// from OpenTelemetry's defaults.
#[derive(Clone, Debug)]
pub struct Collector {
    /// Of the configuration, for errors: `tracing`.
    pub section: &'static str,
    /// `http://collector:4317`; over HTTP a path that is given is used as it is, and `/v1/traces` or `/v1/metrics` where none is.
    pub endpoint: Option<String>,
    /// How it is spoken to.
    pub protocol: Option<Protocol>,
    /// Sent with everything.
    pub headers: BTreeMap<String, Secret>,
    /// `service.name`.
    pub service_name: Option<String>,
    /// `service.version`.
    pub service_version: String,
    /// Further attributes of the resource.
    pub attributes: BTreeMap<String, String>,
    /// How long one sending may take, with all its repetitions.
    pub timeout: Option<Duration>,
}

/// How spans are exported.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where to.
    pub collector: Collector,
    /// So many spans may wait or be on their way.
    pub max_queued_spans: usize,
    /// So many are sent at once.
    pub max_batch_spans: usize,
    /// A batch that is not full is sent after so long.
    pub interval: Duration,
}

/// How a collector is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// OTLP over gRPC.
    Grpc,
    /// OTLP over HTTP, in protobuf.
    Http,
}
