//! Metrics as the protocol has them.

use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, KeyValue, any_value::Value},
    metrics::v1::{
        AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, Sum, metric::Data,
        number_data_point::Value as Number,
    },
};
use tollgate_metrics::{About, Figure, Kind, Page, Point};

/// Since when counters count, and when they were read, in nanoseconds since the epoch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) start: u64,
    pub(crate) now: u64,
}

/// Every metric that something was found of, under the names of the exposition.
pub(crate) fn metrics(page: Page, times: Times) -> Vec<Metric> {
    page.points().map(|(about, points)| metric(about, points, times)).collect()
}

fn metric(about: &About, points: Vec<Point>, times: Times) -> Metric {
    let cumulative = AggregationTemporality::Cumulative as i32;
    let data = match about.kind {
        Kind::Counter => Data::Sum(Sum {
            data_points: points.into_iter().filter_map(|point| number(point, times)).collect(),
            aggregation_temporality: cumulative,
            is_monotonic: true,
        }),
        Kind::Gauge => {
            Data::Gauge(Gauge { data_points: points.into_iter().filter_map(|p| number(p, times)).collect() })
        }
        Kind::Histogram => Data::Histogram(Histogram {
            data_points: points.into_iter().filter_map(|point| histogram(point, times)).collect(),
            aggregation_temporality: cumulative,
        }),
    };
    Metric {
        name: about.exposed(),
        description: about.help.to_owned(),
        unit: unit(about.name).to_owned(),
        data: Some(data),
        ..Metric::default()
    }
}

fn number(point: Point, times: Times) -> Option<NumberDataPoint> {
    let value = match point.figure {
        Figure::Number(value) => Number::AsDouble(value),
        Figure::Whole(value) => Number::AsInt(i64::try_from(value).unwrap_or(i64::MAX)),
        Figure::Histogram { .. } => return None,
    };
    Some(NumberDataPoint {
        attributes: attributes(point.labels),
        start_time_unix_nano: times.start,
        time_unix_nano: times.now,
        value: Some(value),
        ..NumberDataPoint::default()
    })
}

fn histogram(point: Point, times: Times) -> Option<HistogramDataPoint> {
    let Figure::Histogram { sum, buckets } = point.figure else { return None };
    Some(HistogramDataPoint {
        attributes: attributes(point.labels),
        start_time_unix_nano: times.start,
        time_unix_nano: times.now,
        count: buckets.iter().map(|(_, observed)| observed).sum(),
        sum: Some(sum),
        // The last bound is infinite, and the protocol does not say it.
        explicit_bounds: buckets.iter().map(|(bound, _)| *bound).filter(|bound| bound.is_finite()).collect(),
        bucket_counts: buckets.iter().map(|(_, observed)| *observed).collect(),
        ..HistogramDataPoint::default()
    })
}

fn attributes(labels: Vec<(&'static str, String)>) -> Vec<KeyValue> {
    let attribute = |(name, value): (&str, String)| KeyValue {
        key: name.to_owned(),
        value: Some(AnyValue { value: Some(Value::StringValue(value)) }),
        ..KeyValue::default()
    };
    labels.into_iter().map(attribute).collect()
}

/// As the unified code of units has it; what it has no word for stands in braces.
fn unit(name: &str) -> &'static str {
    match name.rsplit_once('_').map(|(_, last)| last) {
        Some("seconds") => "s",
        Some("bytes") => "By",
        Some("ratio") => "1",
        Some("usd") => "{USD}",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use tollgate_metrics::names;

    use super::*;

    #[test]
    fn a_page_becomes_sums_and_gauges_with_their_units_and_without_empty_labels() {
        let mut page = Page::default();
        page.count(names::REQUESTS, &["completion.create", "m", "", "OK", "", ""], 3);
        page.put(names::COST, &["m", "p", "d", "", "", ""], 0.5);
        page.put(names::QUEUE_OLDEST, &["p", "d"], 1.5);
        let read = metrics(page, Times { start: 1, now: 2 });
        let told: Vec<_> = read.iter().map(|metric| (metric.name.as_str(), metric.unit.as_str())).collect();
        assert_eq!(
            told,
            [
                ("tollgate_requests_total", ""),
                ("tollgate_cost_usd_total", "{USD}"),
                ("tollgate_queue_oldest_seconds", "s")
            ]
        );
        let Some(Data::Sum(requests)) = &read[0].data else { panic!("{read:?}") };
        assert!(requests.is_monotonic && requests.aggregation_temporality == 2, "cumulative");
        let point = &requests.data_points[0];
        assert_eq!((point.start_time_unix_nano, point.time_unix_nano, point.value), (1, 2, Some(Number::AsInt(3))));
        let labels: Vec<_> = point.attributes.iter().map(|attribute| attribute.key.as_str()).collect();
        assert_eq!(labels, ["operation", "model", "reason"]);
        assert!(
            matches!(&read[2].data, Some(Data::Gauge(gauge)) if gauge.data_points[0].value == Some(Number::AsDouble(1.5)))
        );
    }
}
