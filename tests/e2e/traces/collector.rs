//! An OpenTelemetry collector as its own protocol files define it, over gRPC and over HTTP.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use opentelemetry_proto::tonic::{
    collector::{
        metrics::v1::{
            ExportMetricsServiceRequest, ExportMetricsServiceResponse,
            metrics_service_server::{MetricsService, MetricsServiceServer},
        },
        trace::v1::{
            ExportTraceServiceRequest, ExportTraceServiceResponse,
            trace_service_server::{TraceService, TraceServiceServer},
        },
    },
    common::v1::{KeyValue, any_value::Value},
    trace::v1::{Span, span::SpanKind},
};
use parking_lot::Mutex;
use prost::Message;
use tokio::{net::TcpListener, sync::watch};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

use crate::support::eventually;

/// A span as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) trace: String,
    pub(crate) id: String,
    pub(crate) parent: String,
    pub(crate) name: String,
    pub(crate) kind: SpanKind,
    pub(crate) failed: bool,
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) attributes: BTreeMap<String, String>,
    pub(crate) resource: BTreeMap<String, String>,
    pub(crate) scope: String,
    /// `tracestate`, as it is exported.
    pub(crate) state: String,
    pub(crate) events: Vec<String>,
}

impl Told {
    pub(crate) fn get(&self, attribute: &str) -> &str {
        self.attributes.get(attribute).map_or("", String::as_str)
    }
}

/// Takes spans and metrics; told to stall, it answers nobody.
#[derive(Clone)]
pub(crate) struct Collector {
    pub(crate) grpc: String,
    pub(crate) http: String,
    kept: Arc<Kept>,
}

struct Kept {
    spans: Mutex<Vec<Told>>,
    metrics: Mutex<Vec<ExportMetricsServiceRequest>>,
    raw: Mutex<Vec<u8>>,
    /// Values of `x-collector-key`, as they came.
    keys: Mutex<Vec<String>>,
    stalls: watch::Sender<bool>,
}

impl Collector {
    pub(crate) async fn start() -> Self {
        let (stalls, spans) = (watch::Sender::new(false), Mutex::default());
        let (metrics, raw, keys) = (Mutex::default(), Mutex::default(), Mutex::default());
        let kept = Arc::new(Kept { spans, metrics, raw, keys, stalls });
        let (grpc, http) = (listen().await, listen().await);
        let url = |at: SocketAddr| format!("http://{at}");
        let this = Self { grpc: url(grpc.1), http: url(http.1), kept: kept.clone() };
        let server = tonic::transport::Server::builder()
            .add_service(TraceServiceServer::new(this.clone()))
            .add_service(MetricsServiceServer::new(this.clone()));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(grpc.0)));
        let routes = Router::new().route("/v1/traces", post(over_http)).route("/v1/metrics", post(metrics_over_http));
        let routes = routes.with_state(kept);
        tokio::spawn(async move { axum::serve(http.0, routes).await });
        this
    }

    /// Answers nobody from now on, or goes on.
    pub(crate) fn stall(&self, stalls: bool) {
        self.kept.stalls.send_replace(stalls);
    }

    pub(crate) fn spans(&self) -> Vec<Told> {
        self.kept.spans.lock().clone()
    }

    /// The last metrics that were sent.
    pub(crate) fn metrics(&self) -> Option<ExportMetricsServiceRequest> {
        self.kept.metrics.lock().last().cloned()
    }

    /// Everything that came, for looking for what must not be there.
    pub(crate) fn raw(&self) -> Vec<u8> {
        self.kept.raw.lock().clone()
    }

    pub(crate) fn keys(&self) -> Vec<String> {
        self.kept.keys.lock().clone()
    }

    /// The spans of a trace whose call is among them, the call first and the others as they began.
    pub(crate) async fn trace(&self, id: &str) -> Vec<Told> {
        let of = || self.spans().into_iter().filter(|span| span.trace == id).collect::<Vec<_>>();
        let is_whole = async || of().iter().any(|span| span.kind == SpanKind::Server);
        eventually(&format!("the trace {id} arrives"), is_whole).await;
        let mut spans = of();
        spans.sort_by_key(|span| (span.kind != SpanKind::Server, span.start));
        spans
    }
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let key = request.metadata().get("x-collector-key").and_then(|key| key.to_str().ok()).map(str::to_owned);
        self.kept.take(request.into_inner(), key).await;
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Collector {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        let key = request.metadata().get("x-collector-key").and_then(|key| key.to_str().ok()).map(str::to_owned);
        self.kept.take_metrics(request.into_inner(), key).await;
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

async fn metrics_over_http(State(kept): State<Arc<Kept>>, headers: HeaderMap, body: Bytes) -> (StatusCode, Vec<u8>) {
    let is_protobuf = headers.get("content-type").is_some_and(|kind| kind == "application/x-protobuf");
    match ExportMetricsServiceRequest::decode(body) {
        Ok(request) if is_protobuf => {
            let key = headers.get("x-collector-key").and_then(|key| key.to_str().ok()).map(str::to_owned);
            kept.take_metrics(request, key).await;
            (StatusCode::OK, ExportMetricsServiceResponse::default().encode_to_vec())
        }
        _ => (StatusCode::BAD_REQUEST, Vec::new()),
    }
}

async fn over_http(State(kept): State<Arc<Kept>>, headers: HeaderMap, body: Bytes) -> (StatusCode, Vec<u8>) {
    let is_protobuf = headers.get("content-type").is_some_and(|kind| kind == "application/x-protobuf");
    match ExportTraceServiceRequest::decode(body) {
        Ok(request) if is_protobuf => {
            let key = headers.get("x-collector-key").and_then(|key| key.to_str().ok()).map(str::to_owned);
            kept.take(request, key).await;
            (StatusCode::OK, ExportTraceServiceResponse::default().encode_to_vec())
        }
        _ => (StatusCode::BAD_REQUEST, Vec::new()),
    }
}

impl Kept {
    async fn take_metrics(&self, request: ExportMetricsServiceRequest, key: Option<String>) {
        let _ = self.stalls.subscribe().wait_for(|stalls| !stalls).await;
        self.keys.lock().extend(key);
        self.raw.lock().extend(request.encode_to_vec());
        self.metrics.lock().push(request);
    }

    async fn take(&self, request: ExportTraceServiceRequest, key: Option<String>) {
        let mut stalls = self.stalls.subscribe();
        let _ = stalls.wait_for(|stalls| !stalls).await;
        self.keys.lock().extend(key);
        self.raw.lock().extend(request.encode_to_vec());
        for of_resource in request.resource_spans {
            let resource = attributes(&of_resource.resource.unwrap_or_default().attributes);
            for of_scope in of_resource.scope_spans {
                let scope = of_scope.scope.unwrap_or_default().name;
                let told = of_scope.spans.into_iter().map(|span| told(span, &resource, &scope));
                self.spans.lock().extend(told);
            }
        }
    }
}

fn told(span: Span, resource: &BTreeMap<String, String>, scope: &str) -> Told {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    Told {
        trace: hex(&span.trace_id),
        id: hex(&span.span_id),
        parent: hex(&span.parent_span_id),
        kind: span.kind(),
        failed: span.status.is_some_and(|status| status.code == 2),
        start: span.start_time_unix_nano,
        end: span.end_time_unix_nano,
        attributes: attributes(&span.attributes),
        resource: resource.clone(),
        scope: scope.to_owned(),
        state: span.trace_state,
        events: span.events.into_iter().map(|event| event.name).collect(),
        name: span.name,
    }
}

pub(crate) fn attributes(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let value = |attribute: &KeyValue| match attribute.value.as_ref().and_then(|any| any.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::BoolValue(flag)) => flag.to_string(),
        Some(Value::DoubleValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    };
    attributes.iter().map(|attribute| (attribute.key.clone(), value(attribute))).collect()
}
