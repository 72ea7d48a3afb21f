//! Metrics at a collector: the figures of `GET /metrics`, under the same names.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Metric, ResourceMetrics, metric::Data, number_data_point::Value as Number,
};
use serde_json::json;

use crate::{
    metrics::exposed,
    support::{World, eventually, hello},
    traces::{Collector, collector::attributes},
};

/// What came last.
fn told(collector: &Collector) -> Option<(ResourceMetrics, Vec<Metric>)> {
    let of_resource = collector.metrics()?.resource_metrics.into_iter().next()?;
    let metrics = of_resource.scope_metrics.iter().flat_map(|scope| scope.metrics.clone()).collect();
    Some((of_resource, metrics))
}

/// The value of a counter or gauge, by its name and some of its attributes.
fn value(metrics: &[Metric], name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let points = match &metrics.iter().find(|metric| metric.name == name)?.data {
        Some(Data::Sum(sum)) => &sum.data_points,
        Some(Data::Gauge(gauge)) => &gauge.data_points,
        _ => return None,
    };
    let point = points.iter().find(|point| {
        let known = attributes(&point.attributes);
        labels.iter().all(|(name, value)| known.get(*name).is_some_and(|known| known == value))
    })?;
    Some(match point.value? {
        Number::AsInt(whole) => whole as f64,
        Number::AsDouble(number) => number,
    })
}

async fn call(world: &World) {
    let reply = world.gateway.caller().post(&world.v1("chat/completions"), &hello(json!({}))).await.unwrap();
    assert_eq!(reply.status, 200);
}

/// Waits until so many calls are told.
async fn calls_told(collector: &Collector, calls: f64) -> (ResourceMetrics, Vec<Metric>) {
    let ended = |metrics: &[Metric]| value(metrics, "tollgate_requests_total", &[("reason", "OK")]);
    eventually("the calls are told", async || {
        told(collector).is_some_and(|(_, metrics)| ended(&metrics) == Some(calls))
    })
    .await;
    told(collector).unwrap()
}

#[tokio::test]
async fn a_collector_gets_the_figures_of_the_exposition_over_grpc() {
    let collector = Collector::start().await;
    let otlp = json!({"enabled": true, "endpoint": collector.grpc, "interval": "50ms",
                      "headers": {"x-collector-key": "env:COLLECTOR_KEY"}});
    let world = World::with(|b| {
        b.set("/metrics", json!({"otlp": otlp}))
            .set("/tracing", json!({"resource": {"deployment.environment.name": "test"}}))
            .environment("COLLECTOR_KEY", "the collector's own")
    })
    .await;
    for _ in 0..3 {
        call(&world).await;
    }
    let (of_resource, metrics) = calls_told(&collector, 3.0).await;
    assert_eq!(collector.keys()[0], "the collector's own");
    let resource = attributes(&of_resource.resource.unwrap().attributes);
    let named = |name: &str| resource.get(name).map(String::as_str);
    assert_eq!(named("service.name"), Some("tollgate"));
    assert_eq!(named("service.version"), Some(env!("CARGO_PKG_VERSION")));
    assert_eq!(named("deployment.environment.name"), Some("test"));
    assert!(named("service.instance.id").is_some_and(|id| !id.is_empty()), "replicas are told apart: {resource:?}");

    let text = exposed(&world.gateway).await;
    let kinds: BTreeMap<_, _> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
    let samples = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split(['{', ' ']).next());
    let found: BTreeSet<_> = samples.collect();
    let has_samples = |name: &str| found.contains(name) || found.contains(format!("{name}_count").as_str());
    let expected: BTreeSet<_> = kinds.keys().copied().filter(|name| has_samples(name)).collect();
    assert_eq!(metrics.iter().map(|metric| metric.name.as_str()).collect::<BTreeSet<_>>(), expected);
    for metric in &metrics {
        let kind = match metric.data.as_ref().unwrap() {
            Data::Sum(sum) => {
                let cumulative = AggregationTemporality::Cumulative as i32;
                assert!(sum.is_monotonic && sum.aggregation_temporality == cumulative, "{}", metric.name);
                let begun = |point: &opentelemetry_proto::tonic::metrics::v1::NumberDataPoint| {
                    point.start_time_unix_nano > 0 && point.start_time_unix_nano < point.time_unix_nano
                };
                assert!(sum.data_points.iter().all(begun), "{}", metric.name);
                "counter"
            }
            Data::Gauge(_) => "gauge",
            Data::Histogram(histogram) => {
                for point in &histogram.data_points {
                    assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1, "{}", metric.name);
                    assert!(point.explicit_bounds.is_sorted());
                    assert_eq!(point.count, point.bucket_counts.iter().sum::<u64>());
                }
                "histogram"
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(kinds[metric.name.as_str()], kind, "{}", metric.name);
    }
    let spent = world.entries().await.iter().map(|entry| entry.cost_nano_usd).sum::<i64>();
    let cost = value(&metrics, "tollgate_cost_usd_total", &[("model", "scripted")]).unwrap();
    assert_eq!((cost * 1e9).round() as i64, spent);
    let durations = metrics.iter().find(|metric| metric.name == "tollgate_request_duration_seconds").unwrap();
    let Some(Data::Histogram(durations)) = &durations.data else { panic!("{durations:?}") };
    assert_eq!(durations.data_points.iter().map(|point| point.count).sum::<u64>(), 3);
}

#[tokio::test]
async fn the_standard_variables_name_the_collector_where_the_configuration_does_not() {
    let collector = Collector::start().await;
    let world = World::with(|b| {
        b.set("/metrics", json!({"otlp": {"enabled": true}}))
            .environment("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
            .environment("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", format!("{}/v1/metrics", collector.http))
            .environment("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "http/protobuf")
            .environment("OTEL_EXPORTER_OTLP_HEADERS", "x-collector-key=a%20key")
            .environment("OTEL_METRIC_EXPORT_INTERVAL", "50")
            .environment("OTEL_SERVICE_NAME", "our-gateway")
    })
    .await;
    call(&world).await;
    let (of_resource, _) = calls_told(&collector, 1.0).await;
    assert_eq!(collector.keys()[0], "a key");
    assert_eq!(attributes(&of_resource.resource.unwrap().attributes)["service.name"], "our-gateway");
}

#[tokio::test]
async fn metrics_go_where_traces_go_and_once_more_before_the_gateway_ends() {
    let collector = Collector::start().await;
    let tracing = json!({"endpoint": collector.http, "protocol": "http", "headers": {"x-collector-key": "shared"}});
    let mut world = World::with(|b| {
        b.set("/tracing", tracing).set("/metrics", json!({"otlp": {"enabled": true, "interval": "1h"}}))
    })
    .await;
    call(&world).await;
    world.gateway.sigterm(Duration::from_secs(10)).await.unwrap();
    let (_, metrics) = told(&collector).unwrap();
    assert_eq!(value(&metrics, "tollgate_requests_total", &[("reason", "OK")]), Some(1.0));
    assert_eq!(collector.keys(), ["shared"]);
    assert!(collector.spans().is_empty(), "calls are not traced for that");
}

#[tokio::test]
async fn a_collector_that_stalls_costs_calls_nothing_and_is_told_of() {
    let collector = Collector::start().await;
    collector.stall(true);
    let otlp = json!({"enabled": true, "endpoint": collector.grpc, "interval": "20ms", "timeout": "100ms"});
    let world = World::with(|b| b.set("/metrics", json!({"otlp": otlp}))).await;
    let begun = Instant::now();
    for _ in 0..10 {
        call(&world).await;
    }
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    eventually("it is told", async || world.gateway.logs().contains("the collector takes no metrics")).await;
    collector.stall(false);
    calls_told(&collector, 10.0).await;
}
