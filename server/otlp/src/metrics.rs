//! Metrics, read and sent as they stand: again and again, and once more at the end.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, header::CONTENT_TYPE};
use opentelemetry_http::HttpClient;
use opentelemetry_proto::{
    tonic::{
        collector::metrics::v1::{ExportMetricsServiceRequest, metrics_service_client::MetricsServiceClient},
        common::v1::InstrumentationScope,
        metrics::v1::{ResourceMetrics, ScopeMetrics},
        resource::v1::Resource,
    },
    transform::common::tonic::ResourceAttributesWithSchema,
};
use percent_encoding::percent_decode_str;
use prost::Message;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, MissedTickBehavior, interval_at, timeout},
};
use tollgate_domain::Secret;
use tollgate_metrics::Page;
use tonic::{
    metadata::MetadataMap,
    transport::{Channel, Endpoint},
};

use crate::{
    Collector, Protocol, Unusable,
    client::Posts,
    connect::{self, Signal, variable},
    points::{self, Times},
};

/// How often metrics are sent where nothing else is said, as OpenTelemetry has it.
const INTERVAL: Duration = Duration::from_secs(60);
/// Failures are told of no more often.
const TELL: Duration = Duration::from_secs(60);
const PATH: &str = "/v1/metrics";

/// Ends the sending when it is dropped.
pub struct MetricsExporter(mpsc::Sender<oneshot::Sender<()>>);

impl MetricsExporter {
    /// Sends what is the case now, for at most `limit`.
    pub async fn flush(&self, limit: Duration) {
        let (done, sent) = oneshot::channel();
        let flush = async {
            if self.0.send(done).await.is_ok() {
                // What is not sent by then is not told any more.
                let _ = sent.await;
            }
        };
        let _ = timeout(limit, flush).await;
    }
}

/// Starts a task that reads and sends at an interval (absent: `OTEL_METRIC_EXPORT_INTERVAL`, else a minute). Needs a runtime.
pub fn start_metrics(
    collector: &Collector,
    interval: Option<Duration>,
    read: impl Fn() -> Page + Send + 'static,
) -> Result<MetricsExporter, Unusable> {
    let mut collector = collector.clone();
    collector.headers.extend(headers_of_variables(&collector)?);
    let limit = match collector.timeout {
        Some(limit) => Some(limit),
        None => milliseconds(["OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"])?,
    };
    let limit = limit.unwrap_or(connect::timeout(&collector));
    let interval = match interval {
        Some(interval) => Some(interval),
        None => milliseconds(["OTEL_METRIC_EXPORT_INTERVAL"])?,
    };
    let resource = ResourceAttributesWithSchema::from(&connect::resource(&collector));
    let sender = Sender {
        line: Line::open(&collector, limit)?,
        resource: Resource { attributes: resource.attributes.0, ..Resource::default() },
        scope: InstrumentationScope {
            name: "tollgate".into(),
            version: collector.service_version.clone(),
            ..InstrumentationScope::default()
        },
        started: nanos(),
        limit,
        read,
        tell_at: Instant::now(),
    };
    let (flush, asked) = mpsc::channel(1);
    tokio::spawn(sender.run(interval.unwrap_or(INTERVAL).max(Duration::from_millis(1)), asked));
    Ok(MetricsExporter(flush))
}

struct Sender<R> {
    line: Line,
    resource: Resource,
    scope: InstrumentationScope,
    /// When counters began, in nanoseconds since the epoch.
    started: u64,
    limit: Duration,
    read: R,
    tell_at: Instant,
}

impl<R: Fn() -> Page + Send + 'static> Sender<R> {
    async fn run(mut self, interval: Duration, mut asked: mpsc::Receiver<oneshot::Sender<()>>) {
        let mut due = interval_at(Instant::now() + interval, interval);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = due.tick() => self.send().await,
                flush = asked.recv() => match flush {
                    Some(done) => {
                        self.send().await;
                        let _ = done.send(()); // whoever asked may have gone
                    }
                    None => return,
                }
            }
        }
    }

    async fn send(&mut self) {
        let times = Times { start: self.started, now: nanos() };
        let of_scope = ScopeMetrics {
            scope: Some(self.scope.clone()),
            metrics: points::metrics((self.read)(), times),
            ..ScopeMetrics::default()
        };
        let of_resource = ResourceMetrics {
            resource: Some(self.resource.clone()),
            scope_metrics: vec![of_scope],
            ..ResourceMetrics::default()
        };
        let request = ExportMetricsServiceRequest { resource_metrics: vec![of_resource] };
        let late = || Err("the collector did not answer in time".to_owned());
        let sent = timeout(self.limit, self.line.send(request)).await.unwrap_or_else(|_| late());
        if let Err(why) = sent
            && Instant::now() >= self.tell_at
        {
            tracing::warn!(why, "the collector takes no metrics; counts go on, and the next sending has them");
            self.tell_at = Instant::now() + TELL;
        }
    }
}

/// The way to the collector.
enum Line {
    Grpc(MetricsServiceClient<Channel>, MetadataMap),
    Http(Posts, String, HeaderMap),
}

impl Line {
    fn open(collector: &Collector, limit: Duration) -> Result<Self, Unusable> {
        let protocol = connect::protocol(collector, Signal::Metrics)?;
        let (named, endpoint) = endpoint(collector, protocol);
        let unusable = || Unusable::Endpoint(named.clone(), endpoint.clone());
        let is_web = endpoint.parse::<http::Uri>().is_ok_and(|uri| uri.scheme().is_some() && uri.host().is_some());
        if !is_web {
            return Err(unusable());
        }
        if protocol == Protocol::Http {
            return Ok(Self::Http(Posts::within(limit)?, endpoint, header_map(collector)?));
        }
        let mut line = Endpoint::from_shared(endpoint.clone()).map_err(|_| unusable())?.connect_timeout(limit);
        if endpoint.starts_with("https:") {
            line = line.tls_config(connect::tls()).map_err(|_| unusable())?;
        }
        Ok(Self::Grpc(MetricsServiceClient::new(line.connect_lazy()), connect::metadata(collector)?))
    }

    async fn send(&mut self, request: ExportMetricsServiceRequest) -> Result<(), String> {
        match self {
            Self::Grpc(client, metadata) => {
                let request = tonic::Request::from_parts(metadata.clone(), tonic::Extensions::default(), request);
                let answer = client.export(request).await.map_err(|status| status.to_string())?;
                taken(answer.into_inner().partial_success)
            }
            Self::Http(client, url, headers) => {
                let body = Bytes::from(request.encode_to_vec());
                let mut post = Request::post(url.as_str()).body(body).map_err(|error| error.to_string())?;
                *post.headers_mut() = headers.clone();
                post.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
                let answer = client.send_bytes(post).await.map_err(|error| error.to_string())?;
                match answer.status().is_success() {
                    true => Ok(()),
                    false => Err(format!("it answers {}", answer.status())),
                }
            }
        }
    }
}

/// A collector may refuse some figures.
fn taken(
    refused: Option<opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsPartialSuccess>,
) -> Result<(), String> {
    match refused {
        Some(partial) if partial.rejected_data_points > 0 => {
            Err(format!("it refuses {} figures: {}", partial.rejected_data_points, partial.error_message))
        }
        _ => Ok(()),
    }
}

/// Where the collector is, and what says so.
fn endpoint(collector: &Collector, protocol: Protocol) -> (String, String) {
    let general = |endpoint: &str| match protocol {
        Protocol::Grpc => endpoint.to_owned(),
        Protocol::Http => format!("{}{PATH}", endpoint.trim_end_matches('/')),
    };
    if let Some(given) = &collector.endpoint {
        let endpoint = if protocol == Protocol::Http { connect::with_path(given, PATH) } else { given.clone() };
        return (format!("{}.endpoint", collector.section), endpoint);
    }
    if let Some((name, own)) = variable(["OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"]) {
        return (name.to_owned(), own);
    }
    match (variable(["OTEL_EXPORTER_OTLP_ENDPOINT"]), protocol) {
        (Some((name, endpoint)), _) => (name.to_owned(), general(&endpoint)),
        (None, Protocol::Grpc) => ("the default".to_owned(), general("http://localhost:4317")),
        (None, Protocol::Http) => ("the default".to_owned(), general("http://localhost:4318")),
    }
}

/// Headers of the standard variables that the configuration does not set.
fn headers_of_variables(collector: &Collector) -> Result<Vec<(String, Secret)>, Unusable> {
    let Some((variable, told)) = variable(["OTEL_EXPORTER_OTLP_METRICS_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"]) else {
        return Ok(Vec::new());
    };
    let mut headers = Vec::new();
    for pair in told.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        // Neither a name nor a value is told: there may be a secret in either.
        let unusable = || Unusable::Header(variable, "(one of them)".to_owned());
        let (name, value) = pair.split_once('=').ok_or_else(unusable)?;
        let value = percent_decode_str(value.trim()).decode_utf8().map_err(|_| unusable())?;
        let name = name.trim().to_ascii_lowercase();
        if !collector.headers.keys().any(|known| known.eq_ignore_ascii_case(&name)) {
            headers.push((name, Secret::new(value)));
        }
    }
    Ok(headers)
}

fn header_map(collector: &Collector) -> Result<HeaderMap, Unusable> {
    let mut headers = HeaderMap::new();
    for (name, value) in &collector.headers {
        let unusable = || Unusable::Header(collector.section, name.clone());
        let key = HeaderName::try_from(name).map_err(|_| unusable())?;
        let mut value = HeaderValue::try_from(value.expose()).map_err(|_| unusable())?;
        value.set_sensitive(true);
        headers.insert(key, value);
    }
    Ok(headers)
}

fn milliseconds<const N: usize>(names: [&'static str; N]) -> Result<Option<Duration>, Unusable> {
    let Some((name, told)) = variable(names) else { return Ok(None) };
    let read = told.trim().parse().map(Duration::from_millis);
    read.map(Some).map_err(|_| Unusable::Milliseconds(name, told))
}

fn nanos() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
