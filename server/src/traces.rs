//! Traces as they are configured: who begins them, and where they go.

use std::{collections::BTreeMap, sync::Arc};

use anyhow::{Context, ensure};
use tollgate_domain::Secret;
use tollgate_otlp::{Collector, Exporter, Protocol, Settings};
use tollgate_trace::{Sampling, Tracer};

use crate::config::{MetricsOtlp, SecretRef, Tracing, TracingProtocol};

/// Begins traces; with what exports them, where they are recorded.
pub(crate) fn start(config: &Tracing) -> anyhow::Result<(Tracer, Option<Exporter>)> {
    if !config.enabled {
        return Ok((Tracer::off(config.to_providers), None));
    }
    let ratio = config.sample_ratio;
    ensure!((0.0..=1.0).contains(&ratio), "tracing.sample_ratio: must be from 0 to 1");
    let exporter = tollgate_otlp::start(&settings(config)?)?;
    let sampling = Sampling { ratio, parent_based: config.parent_based };
    Ok((Tracer::new(Arc::new(exporter.clone()), sampling, config.to_providers), Some(exporter)))
}

fn settings(config: &Tracing) -> anyhow::Result<Settings> {
    Ok(Settings {
        collector: collector(config)?,
        max_queued_spans: config.max_queued_spans,
        max_batch_spans: config.max_batch_spans,
        interval: config.interval.duration(),
    })
}

fn collector(config: &Tracing) -> anyhow::Result<Collector> {
    Ok(Collector {
        section: "tracing",
        endpoint: config.endpoint.clone(),
        protocol: config.protocol.map(protocol),
        headers: headers(&config.headers, "tracing")?,
        service_name: config.service_name.clone(),
        service_version: env!("CARGO_PKG_VERSION").to_owned(),
        attributes: config.resource.clone(),
        timeout: config.timeout.map(|timeout| timeout.duration()),
    })
}

/// Where metrics go: to the collector of traces, but for what they say themselves. `replica` keeps the counts of several apart.
pub(crate) fn metrics_collector(metrics: &MetricsOtlp, tracing: &Tracing, replica: &str) -> anyhow::Result<Collector> {
    let section = "metrics.otlp";
    let own = headers(&metrics.headers, section)?;
    let of_traces = collector(tracing)?;
    let mut attributes = of_traces.attributes.clone();
    attributes.entry("service.instance.id".into()).or_insert_with(|| replica.to_owned());
    let timeout = metrics.timeout.map(|timeout| timeout.duration()).or(of_traces.timeout);
    // Another collector gets nothing that was meant for that one, its key least of all.
    if metrics.endpoint.is_some() {
        let (endpoint, protocol) = (metrics.endpoint.clone(), metrics.protocol.map(protocol));
        return Ok(Collector { section, endpoint, protocol, headers: own, attributes, timeout, ..of_traces });
    }
    let mut headers = of_traces.headers.clone();
    headers.extend(own);
    let endpoint = of_traces.endpoint.as_deref().map(|endpoint| match endpoint.strip_suffix("/v1/traces") {
        Some(base) => format!("{base}/v1/metrics"),
        None => endpoint.to_owned(),
    });
    let protocol = metrics.protocol.map(protocol).or(of_traces.protocol);
    Ok(Collector { endpoint, protocol, headers, attributes, timeout, ..of_traces })
}

fn protocol(protocol: TracingProtocol) -> Protocol {
    match protocol {
        TracingProtocol::Grpc => Protocol::Grpc,
        TracingProtocol::Http => Protocol::Http,
    }
}

fn headers(headers: &BTreeMap<String, SecretRef>, section: &str) -> anyhow::Result<BTreeMap<String, Secret>> {
    let header = |(name, value): (&String, &SecretRef)| -> anyhow::Result<_> {
        let secret =
            value.resolve().map_err(anyhow::Error::msg).with_context(|| format!("{section}.headers.{name}"))?;
        Ok((name.clone(), secret))
    };
    headers.iter().map(header).collect()
}
