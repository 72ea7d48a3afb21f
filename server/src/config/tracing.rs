use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{SecretRef, Span};

/// Traces of calls, for an OpenTelemetry collector. Never a prompt, an answer or a secret.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Tracing {
    /// Whether calls are traced. While they are not, nothing is recorded and nothing sent.
    pub enabled: bool,
    /// The collector: `http://collector:4317`, or `https://`. Over HTTP the path `/v1/traces` is added where none is given. Absent:
    /// `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`, `OTEL_EXPORTER_OTLP_ENDPOINT`, else port 4317 (gRPC) or 4318 (HTTP) of this machine.
    pub endpoint: Option<String>,
    /// `grpc` or `http`. Absent: `OTEL_EXPORTER_OTLP_TRACES_PROTOCOL`, `OTEL_EXPORTER_OTLP_PROTOCOL`, else `grpc`.
    pub protocol: Option<TracingProtocol>,
    /// Headers sent with every batch, such as the collector's key; their values may be references as secrets are.
    pub headers: BTreeMap<String, SecretRef>,
    /// The share of calls that are traced where their caller has not decided, from 0 to 1. Absent: what `OTEL_TRACES_SAMPLER` and
    /// `OTEL_TRACES_SAMPLER_ARG` say, else 1.
    #[schemars(range(min = 0, max = 1))]
    pub sample_ratio: Option<f64>,
    /// Whether a call is traced exactly if its caller's trace is (the flag of `traceparent`); otherwise the ratio decides for all. Absent:
    /// what `OTEL_TRACES_SAMPLER` says, else true.
    pub parent_based: Option<bool>,
    /// Whether providers are sent `traceparent`: a child of the attempt's span, or what the caller brought while tracing is off.
    pub to_providers: bool,
    /// `service.name`. Absent: `OTEL_SERVICE_NAME`, else `tollgate`.
    pub service_name: Option<String>,
    /// Further attributes of the resource, beside those of `OTEL_RESOURCE_ATTRIBUTES`: `deployment.environment.name: production`.
    pub resource: BTreeMap<String, String>,
    /// How long a batch may take, with all its repetitions. Absent: `OTEL_EXPORTER_OTLP_TIMEOUT`, else 10 seconds.
    pub timeout: Option<Span>,
    /// So many spans may wait or be on their way; what finds no room is lost and counted.
    pub max_queued_spans: usize,
    /// So many are sent at once.
    pub max_batch_spans: usize,
    /// A batch that is not full is sent after so long.
    pub interval: Span,
}

impl Default for Tracing {
    fn default() -> Self {
        Self {
            enabled: false,
            endpoint: None,
            protocol: None,
            headers: BTreeMap::new(),
            sample_ratio: None,
            parent_based: None,
            to_providers: true,
            service_name: None,
            resource: BTreeMap::new(),
            timeout: None,
            max_queued_spans: 16_384,
            max_batch_spans: 512,
            interval: Span::seconds(5),
        }
    }
}

/// Metrics for an OpenTelemetry collector. Service, resource, and what is absent here and not of another collector, are those of
/// `tracing`, whether or not calls are traced.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MetricsOtlp {
    /// Whether metrics are sent. `GET /metrics` tells them in either case.
    pub enabled: bool,
    /// The collector: `http://collector:4317`, or `https://`. Over HTTP the path `/v1/metrics` is added where none is given. Absent: that
    /// of `tracing`, else `OTEL_EXPORTER_OTLP_METRICS_ENDPOINT`, `OTEL_EXPORTER_OTLP_ENDPOINT`, else port 4317 (gRPC) or 4318 (HTTP) of
    /// this machine.
    pub endpoint: Option<String>,
    /// `grpc` or `http`. Absent: that of `tracing`, else `OTEL_EXPORTER_OTLP_METRICS_PROTOCOL`, `OTEL_EXPORTER_OTLP_PROTOCOL`, else `grpc`.
    pub protocol: Option<TracingProtocol>,
    /// Headers sent along; their values may be references as secrets are. Without an endpoint of its own those of `tracing` are sent too.
    pub headers: BTreeMap<String, SecretRef>,
    /// How often. Absent: `OTEL_METRIC_EXPORT_INTERVAL`, else a minute.
    pub interval: Option<Span>,
    /// How long one sending may take. Absent: that of `tracing`, else `OTEL_EXPORTER_OTLP_METRICS_TIMEOUT`, `OTEL_EXPORTER_OTLP_TIMEOUT`,
    /// else 10 seconds.
    pub timeout: Option<Span>,
}

/// How a collector is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TracingProtocol {
    /// OTLP over gRPC.
    Grpc,
    /// OTLP over HTTP, in protobuf.
    Http,
}
