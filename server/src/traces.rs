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
    let sampling = sampling(config)?;
    let exporter = tollgate_otlp::start(&settings(config)?)?;
    Ok((Tracer::new(Arc::new(exporter.clone()), sampling, config.to_providers), Some(exporter)))
}

/// Which calls are recorded: the standard variables count where the configuration says nothing.
pub(crate) fn sampling(config: &Tracing) -> anyhow::Result<Sampling> {
    let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let argument = variable("OTEL_TRACES_SAMPLER_ARG");
    let named = match variable("OTEL_TRACES_SAMPLER") {
        Some(sampler) => sampler_named(&sampler, argument.as_deref()).unwrap_or_else(|why| {
            // The specification wants it so: what is not understood there ends no program.
            tracing::warn!("{why}");
            EVERYTHING
        }),
        None => EVERYTHING,
    };
    let ratio = config.sample_ratio.unwrap_or(named.ratio);
    ensure!((0.0..=1.0).contains(&ratio), "tracing.sample_ratio: must be from 0 to 1");
    Ok(Sampling { ratio, parent_based: config.parent_based.unwrap_or(named.parent_based) })
}

/// `parentbased_always_on`.
const EVERYTHING: Sampling = Sampling { ratio: 1.0, parent_based: true };

/// The samplers of OpenTelemetry's specification.
fn sampler_named(sampler: &str, argument: Option<&str>) -> Result<Sampling, String> {
    let (parent_based, own) = match sampler.strip_prefix("parentbased_") {
        Some(own) => (true, own),
        None => (false, sampler),
    };
    let ratio = match (own, argument) {
        ("always_on", _) | ("traceidratio", None) => 1.0,
        ("always_off", _) => 0.0,
        ("traceidratio", Some(text)) => match text.trim().parse() {
            Ok(ratio) if (0.0..=1.0).contains(&ratio) => ratio,
            _ => return Err(format!("OTEL_TRACES_SAMPLER_ARG: {text:?} is no share from 0 to 1; it is not heeded")),
        },
        _ => {
            return Err(format!(
                "OTEL_TRACES_SAMPLER: {sampler:?} is none of always_on, always_off, traceidratio and parentbased_ before \
                 each of them; it is not heeded"
            ));
        }
    };
    Ok(Sampling { ratio, parent_based })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samplers_are_those_of_the_specification() {
        let named = |sampler, argument| sampler_named(sampler, argument).map(|s| (s.ratio, s.parent_based));
        assert_eq!(named("always_on", None), Ok((1.0, false)));
        assert_eq!(named("always_off", Some("1")), Ok((0.0, false)));
        assert_eq!(named("traceidratio", Some("0.25")), Ok((0.25, false)));
        assert_eq!(named("traceidratio", None), Ok((1.0, false)));
        assert_eq!(named("parentbased_always_on", None), Ok((1.0, true)));
        assert_eq!(named("parentbased_always_off", None), Ok((0.0, true)));
        assert_eq!(named("parentbased_traceidratio", Some("0.5")), Ok((0.5, true)));
        assert!(named("jaeger_remote", None).is_err_and(|why| why.starts_with("OTEL_TRACES_SAMPLER: ")));
        for bad in ["2", "-0.1", "half", "NaN"] {
            assert!(named("traceidratio", Some(bad)).is_err_and(|why| why.starts_with("OTEL_TRACES_SAMPLER_ARG: ")));
        }
    }
}
