use std::{collections::HashMap, time::Duration};

use opentelemetry::KeyValue;
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig, WithTonicConfig};
use opentelemetry_sdk::{Resource, trace::SpanExporter as _};
use tonic::{
    metadata::{MetadataKey, MetadataMap, MetadataValue},
    transport::ClientTlsConfig,
};

use crate::{Collector, Protocol, client::Posts};

/// How long a batch may take where nothing else is said, as OpenTelemetry has it.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Why nothing can be exported: what is wrong with which setting.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// A header.
    #[error("{0}.headers.{1}: is not a header that can be sent")]
    Header(&'static str, String),
    /// A variable.
    #[error("{0}: {1:?} is no protocol; use grpc or http/protobuf")]
    Protocol(&'static str, String),
    /// The roots of TLS.
    #[error("the machine's root certificates cannot be read: {0}")]
    Roots(#[from] std::io::Error),
    /// An address.
    #[error("{0}: {1:?} is no address of a collector; use http://HOST:PORT")]
    Endpoint(String, String),
    /// A number.
    #[error("{0}: {1:?} is no number of milliseconds")]
    Milliseconds(&'static str, String),
    /// What remains: the endpoint, and the standard variables.
    #[error("tracing.endpoint: {0}")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
}

/// What sends batches. Nothing is sent yet.
pub(crate) fn exporter(collector: &Collector) -> Result<SpanExporter, Unusable> {
    let mut exporter = match protocol(collector, Signal::Traces)? {
        Protocol::Grpc => grpc(collector)?,
        Protocol::Http => http(collector)?,
    };
    exporter.set_resource(&resource(collector));
    Ok(exporter)
}

/// How long a batch may take.
pub(crate) fn timeout(collector: &Collector) -> Duration {
    collector.timeout.unwrap_or(TIMEOUT)
}

/// What is exported: standard variables of its own come before those for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    Traces,
    Metrics,
}

/// The first of these variables that says anything.
pub(crate) fn variable<const N: usize>(names: [&'static str; N]) -> Option<(&'static str, String)> {
    names.into_iter().find_map(|name| Some((name, std::env::var(name).ok().filter(|value| !value.is_empty())?)))
}

/// The standard variables tell of it where the configuration does not.
pub(crate) fn protocol(collector: &Collector, signal: Signal) -> Result<Protocol, Unusable> {
    if let Some(protocol) = collector.protocol {
        return Ok(protocol);
    }
    let own = match signal {
        Signal::Traces => "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
        Signal::Metrics => "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL",
    };
    let told = variable([own, "OTEL_EXPORTER_OTLP_PROTOCOL"]);
    match told.as_ref().map(|(name, value)| (*name, value.as_str())) {
        None | Some((_, "grpc")) => Ok(Protocol::Grpc),
        Some((_, "http/protobuf")) => Ok(Protocol::Http),
        Some((name, other)) => Err(Unusable::Protocol(name, other.to_owned())),
    }
}

/// The configuration's headers, for gRPC.
pub(crate) fn metadata(collector: &Collector) -> Result<MetadataMap, Unusable> {
    let mut metadata = MetadataMap::new();
    for (name, value) in &collector.headers {
        let unusable = || Unusable::Header(collector.section, name.clone());
        let key = MetadataKey::from_bytes(name.to_ascii_lowercase().as_bytes()).map_err(|_| unusable())?;
        let mut value = MetadataValue::try_from(value.expose()).map_err(|_| unusable())?;
        value.set_sensitive(true);
        metadata.insert(key, value);
    }
    Ok(metadata)
}

/// Used for `https` alone.
pub(crate) fn tls() -> ClientTlsConfig {
    ClientTlsConfig::new().with_native_roots()
}

fn grpc(collector: &Collector) -> Result<SpanExporter, Unusable> {
    let builder = SpanExporter::builder().with_tonic();
    let mut builder = builder.with_metadata(metadata(collector)?).with_tls_config(tls());
    if let Some(endpoint) = &collector.endpoint {
        builder = builder.with_endpoint(endpoint);
    }
    if let Some(timeout) = collector.timeout {
        builder = builder.with_timeout(timeout);
    }
    Ok(builder.build()?)
}

fn http(collector: &Collector) -> Result<SpanExporter, Unusable> {
    let mut headers = HashMap::new();
    for (name, value) in &collector.headers {
        let is_sendable =
            http::HeaderName::try_from(name).is_ok() && http::HeaderValue::try_from(value.expose()).is_ok();
        if !is_sendable {
            return Err(Unusable::Header(collector.section, name.clone()));
        }
        headers.insert(name.clone(), value.expose().to_owned());
    }
    let client = Posts::within(timeout(collector))?;
    let mut builder = SpanExporter::builder()
        .with_http()
        .with_protocol(opentelemetry_otlp::Protocol::HttpBinary)
        .with_http_client(client)
        .with_headers(headers);
    if let Some(endpoint) = &collector.endpoint {
        builder = builder.with_endpoint(with_path(endpoint, "/v1/traces"));
    }
    if let Some(timeout) = collector.timeout {
        builder = builder.with_timeout(timeout);
    }
    Ok(builder.build()?)
}

/// With the path of the signal, where an endpoint has none.
pub(crate) fn with_path(endpoint: &str, path: &str) -> String {
    let has_path = endpoint.parse::<http::Uri>().is_ok_and(|uri| uri.path().len() > 1);
    match has_path {
        true => endpoint.to_owned(),
        false => format!("{}{path}", endpoint.trim_end_matches('/')),
    }
}

/// Who exports: `OTEL_RESOURCE_ATTRIBUTES` and `OTEL_SERVICE_NAME` count where the configuration says nothing.
pub(crate) fn resource(collector: &Collector) -> Resource {
    let mut builder = Resource::builder();
    let is_named_elsewhere = std::env::var("OTEL_SERVICE_NAME").is_ok_and(|name| !name.is_empty());
    match &collector.service_name {
        Some(name) => builder = builder.with_service_name(name.clone()),
        None if !is_named_elsewhere => builder = builder.with_service_name("tollgate"),
        None => {}
    }
    let attributes = collector.attributes.iter().map(|(name, value)| KeyValue::new(name.clone(), value.clone()));
    let version = KeyValue::new("service.version", collector.service_version.clone());
    builder.with_attributes(attributes.chain([version])).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_without_a_path_gets_that_of_traces() {
        let of_traces = |endpoint| with_path(endpoint, "/v1/traces");
        assert_eq!(of_traces("http://c:4318"), "http://c:4318/v1/traces");
        assert_eq!(of_traces("http://c:4318/"), "http://c:4318/v1/traces");
        assert_eq!(of_traces("https://c/otlp/v1/traces"), "https://c/otlp/v1/traces");
    }
}
