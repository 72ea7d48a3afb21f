use std::{collections::HashMap, time::Duration};

use opentelemetry::KeyValue;
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig, WithTonicConfig};
use opentelemetry_sdk::{Resource, trace::SpanExporter as _};
use tonic::{
    metadata::{MetadataKey, MetadataMap, MetadataValue},
    transport::ClientTlsConfig,
};

use crate::{Protocol, Settings, client::Posts};

/// How long a batch may take where nothing else is said, as OpenTelemetry has it.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Why spans cannot be exported: what is wrong with which setting.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// A header.
    #[error("tracing.headers.{0}: is not a header that can be sent")]
    Header(String),
    /// A variable.
    #[error("{0}: {1:?} is no protocol; use grpc or http/protobuf")]
    Protocol(&'static str, String),
    /// The roots of TLS.
    #[error("tracing: the machine's root certificates cannot be read: {0}")]
    Roots(#[from] std::io::Error),
    /// What remains: the endpoint, and the standard variables.
    #[error("tracing.endpoint: {0}")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
}

/// What sends batches. Nothing is sent yet.
pub(crate) fn exporter(settings: &Settings) -> Result<SpanExporter, Unusable> {
    let mut exporter = match protocol(settings)? {
        Protocol::Grpc => grpc(settings)?,
        Protocol::Http => http(settings)?,
    };
    exporter.set_resource(&resource(settings));
    Ok(exporter)
}

/// How long a batch may take.
pub(crate) fn timeout(settings: &Settings) -> Duration {
    settings.timeout.unwrap_or(TIMEOUT)
}

/// The standard variables tell of it where the configuration does not.
fn protocol(settings: &Settings) -> Result<Protocol, Unusable> {
    if let Some(protocol) = settings.protocol {
        return Ok(protocol);
    }
    let known = ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"];
    let told = known.into_iter().find_map(|name| Some((name, std::env::var(name).ok().filter(|v| !v.is_empty())?)));
    match told.as_ref().map(|(name, value)| (*name, value.as_str())) {
        None | Some((_, "grpc")) => Ok(Protocol::Grpc),
        Some((_, "http/protobuf")) => Ok(Protocol::Http),
        Some((name, other)) => Err(Unusable::Protocol(name, other.to_owned())),
    }
}

fn grpc(settings: &Settings) -> Result<SpanExporter, Unusable> {
    let mut metadata = MetadataMap::new();
    for (name, value) in &settings.headers {
        let unusable = || Unusable::Header(name.clone());
        let key = MetadataKey::from_bytes(name.to_ascii_lowercase().as_bytes()).map_err(|_| unusable())?;
        let mut value = MetadataValue::try_from(value.expose()).map_err(|_| unusable())?;
        value.set_sensitive(true);
        metadata.insert(key, value);
    }
    // Used for `https` alone.
    let tls = ClientTlsConfig::new().with_native_roots();
    let mut builder = SpanExporter::builder().with_tonic().with_metadata(metadata).with_tls_config(tls);
    if let Some(endpoint) = &settings.endpoint {
        builder = builder.with_endpoint(endpoint);
    }
    if let Some(timeout) = settings.timeout {
        builder = builder.with_timeout(timeout);
    }
    Ok(builder.build()?)
}

fn http(settings: &Settings) -> Result<SpanExporter, Unusable> {
    let mut headers = HashMap::new();
    for (name, value) in &settings.headers {
        let is_sendable =
            http::HeaderName::try_from(name).is_ok() && http::HeaderValue::try_from(value.expose()).is_ok();
        if !is_sendable {
            return Err(Unusable::Header(name.clone()));
        }
        headers.insert(name.clone(), value.expose().to_owned());
    }
    let client = Posts::within(timeout(settings))?;
    let mut builder = SpanExporter::builder()
        .with_http()
        .with_protocol(opentelemetry_otlp::Protocol::HttpBinary)
        .with_http_client(client)
        .with_headers(headers);
    if let Some(endpoint) = &settings.endpoint {
        builder = builder.with_endpoint(of_traces(endpoint));
    }
    if let Some(timeout) = settings.timeout {
        builder = builder.with_timeout(timeout);
    }
    Ok(builder.build()?)
}

/// The path of traces, where an endpoint has none.
fn of_traces(endpoint: &str) -> String {
    let has_path = endpoint.parse::<http::Uri>().is_ok_and(|uri| uri.path().len() > 1);
    match has_path {
        true => endpoint.to_owned(),
        false => format!("{}/v1/traces", endpoint.trim_end_matches('/')),
    }
}

/// Who exports: `OTEL_RESOURCE_ATTRIBUTES` and `OTEL_SERVICE_NAME` count where the configuration says nothing.
fn resource(settings: &Settings) -> Resource {
    let mut builder = Resource::builder();
    let is_named_elsewhere = std::env::var("OTEL_SERVICE_NAME").is_ok_and(|name| !name.is_empty());
    match &settings.service_name {
        Some(name) => builder = builder.with_service_name(name.clone()),
        None if !is_named_elsewhere => builder = builder.with_service_name("tollgate"),
        None => {}
    }
    let attributes = settings.attributes.iter().map(|(name, value)| KeyValue::new(name.clone(), value.clone()));
    let version = KeyValue::new("service.version", settings.service_version.clone());
    builder.with_attributes(attributes.chain([version])).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_without_a_path_gets_that_of_traces() {
        assert_eq!(of_traces("http://c:4318"), "http://c:4318/v1/traces");
        assert_eq!(of_traces("http://c:4318/"), "http://c:4318/v1/traces");
        assert_eq!(of_traces("https://c/otlp/v1/traces"), "https://c/otlp/v1/traces");
    }
}
