//! Traces as they are configured: who begins them, and where they go.

use std::sync::Arc;

use anyhow::{Context, ensure};
use tollgate_otlp::{Exporter, Protocol, Settings};
use tollgate_trace::{Sampling, Tracer};

use crate::config::{SecretRef, Tracing, TracingProtocol};

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
    let header = |(name, value): (&String, &SecretRef)| -> anyhow::Result<_> {
        let secret = value.resolve().map_err(anyhow::Error::msg).with_context(|| format!("tracing.headers.{name}"))?;
        Ok((name.clone(), secret))
    };
    Ok(Settings {
        endpoint: config.endpoint.clone(),
        protocol: config.protocol.map(|protocol| match protocol {
            TracingProtocol::Grpc => Protocol::Grpc,
            TracingProtocol::Http => Protocol::Http,
        }),
        headers: config.headers.iter().map(header).collect::<anyhow::Result<_>>()?,
        service_name: config.service_name.clone(),
        service_version: env!("CARGO_PKG_VERSION").to_owned(),
        attributes: config.resource.clone(),
        timeout: config.timeout.map(|timeout| timeout.duration()),
        max_queued_spans: config.max_queued_spans,
        max_batch_spans: config.max_batch_spans,
        interval: config.interval.duration(),
    })
}
