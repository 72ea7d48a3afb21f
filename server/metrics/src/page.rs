//! One exposition: every figure as it is now, as text.

use std::{collections::HashMap, fmt};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabel, EncodeLabelSet, LabelSetEncoder, MetricEncoder, text},
    metrics::MetricType,
    registry::Registry,
};

use crate::{
    NAMES,
    about::{About, Kind},
    histogram::Read,
};

/// The forms of an exposition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus' text format 0.0.4: for whoever does not ask for the other.
    Prometheus,
}

impl Format {
    /// What a scraper takes, by its `accept` header.
    pub fn accepted(accept: Option<&str>) -> Self {
        match accept {
            Some(accept) if accept.contains("application/openmetrics-text") => Self::OpenMetrics,
            _ => Self::Prometheus,
        }
    }

    /// The media type.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// Figures that are gathered for one exposition.
#[derive(Debug, Default)]
pub struct Page {
    found: HashMap<&'static str, Vec<Sample>>,
}

/// A figure with its labels, those without a value left out.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Names and values.
    pub labels: Vec<(&'static str, String)>,
    /// The figure.
    pub figure: Figure,
}

/// What a metric says of one set of labels.
#[derive(Clone, Debug, PartialEq)]
pub enum Figure {
    /// Any number.
    Number(f64),
    /// A count.
    Whole(u64),
    /// How often something took how long.
    Histogram {
        /// Of all observations.
        sum: f64,
        /// Upper bounds, the last infinite, each with the observations between it and the one before.
        buckets: Vec<(f64, u64)>,
    },
}

#[derive(Clone, Debug)]
struct Sample {
    labels: Vec<String>,
    figure: Figure,
}

impl Page {
    /// Adds a figure; its labels in the order of [`About::labels`], an empty one is left out.
    pub fn put(&mut self, about: &'static About, labels: &[&str], value: f64) {
        self.add(about, labels.iter().map(|label| (*label).to_owned()).collect(), Figure::Number(value));
    }

    /// Adds a count.
    pub fn count(&mut self, about: &'static About, labels: &[&str], value: u64) {
        self.add(about, labels.iter().map(|label| (*label).to_owned()).collect(), Figure::Whole(value));
    }

    pub(crate) fn whole(&mut self, about: &'static About, labels: Vec<String>, value: u64) {
        self.add(about, labels, Figure::Whole(value));
    }

    pub(crate) fn number(&mut self, about: &'static About, labels: Vec<String>, value: f64) {
        self.add(about, labels, Figure::Number(value));
    }

    pub(crate) fn histogram(&mut self, about: &'static About, labels: Vec<String>, read: Read) {
        let (sum, _, buckets) = read;
        self.add(about, labels, Figure::Histogram { sum, buckets });
    }

    fn add(&mut self, about: &'static About, labels: Vec<String>, figure: Figure) {
        debug_assert_eq!(labels.len(), about.labels.len(), "{}", about.name);
        self.found.entry(about.name).or_default().push(Sample { labels, figure });
    }

    /// Every metric that something was found of, in the order of an exposition.
    pub fn points(mut self) -> impl Iterator<Item = (&'static About, Vec<Point>)> {
        NAMES.iter().filter_map(move |about| {
            let point = |sample: Sample| {
                let labels = about.labels.iter().copied().zip(sample.labels);
                Point { labels: labels.filter(|(_, value)| !value.is_empty()).collect(), figure: sample.figure }
            };
            Some((*about, self.found.remove(about.name)?.into_iter().map(point).collect()))
        })
    }

    /// The whole exposition. Metrics that nothing was found of have their head alone.
    pub fn text(self, format: Format) -> String {
        let mut registry = Registry::with_prefix("tollgate");
        registry.register_collector(Box::new(self));
        let mut text = String::new();
        // Writing into a string cannot fail.
        let _ = text::encode(&mut text, &registry);
        match format {
            Format::OpenMetrics => text,
            Format::Prometheus => in_text_format(&text),
        }
    }
}

impl Collector for Page {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        for about in NAMES {
            let kind = match about.kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
                Kind::Histogram => MetricType::Histogram,
            };
            let mut metric = encoder.encode_descriptor(about.name, about.help, None, kind)?;
            for sample in self.found.get(about.name).into_iter().flatten() {
                let labels = Labels { names: about.labels, values: &sample.labels };
                // Braces around nothing are left out too.
                match sample.labels.iter().all(String::is_empty) {
                    true => sample.figure.encode(about.kind, &mut metric)?,
                    false => sample.figure.encode(about.kind, &mut metric.encode_family(&labels)?)?,
                }
            }
        }
        Ok(())
    }
}

impl Figure {
    fn encode(&self, kind: Kind, metric: &mut MetricEncoder<'_>) -> fmt::Result {
        match (self, kind) {
            (Self::Number(value), Kind::Counter) => metric.encode_counter::<NoLabels, f64, f64>(value, None),
            (Self::Number(value), _) => metric.encode_gauge(value),
            (Self::Whole(value), Kind::Counter) => metric.encode_counter::<NoLabels, u64, f64>(value, None),
            (Self::Whole(value), _) => metric.encode_gauge(&i64::try_from(*value).unwrap_or(i64::MAX)),
            (Self::Histogram { sum, buckets }, _) => {
                let count = buckets.iter().map(|(_, observed)| observed).sum();
                metric.encode_histogram::<NoLabels>(*sum, count, buckets, None)
            }
        }
    }
}

#[derive(Debug)]
struct Labels<'a> {
    names: &'static [&'static str],
    values: &'a [String],
}

type NoLabels = [(&'static str, &'static str); 0];

impl EncodeLabelSet for Labels<'_> {
    fn encode(&self, encoder: &mut LabelSetEncoder) -> fmt::Result {
        for label in self.names.iter().zip(self.values).filter(|(_, value)| !value.is_empty()) {
            let (name, value) = (*label.0, label.1.as_str());
            EncodeLabel::encode(&(name, value), encoder.encode_label())?;
        }
        Ok(())
    }
}

/// The older format names a counter in its head as in its samples, and has no end mark.
fn in_text_format(open_metrics: &str) -> String {
    let counters: HashMap<String, String> = NAMES
        .iter()
        .filter(|about| about.kind == Kind::Counter)
        .map(|about| (format!("tollgate_{}", about.name), about.exposed()))
        .collect();
    let mut text = String::with_capacity(open_metrics.len() + 512);
    for line in open_metrics.lines().filter(|line| *line != "# EOF") {
        let mut words = line.splitn(4, ' ');
        let head = (words.next(), words.next(), words.next(), words.next());
        match head {
            (Some("#"), Some(what @ ("HELP" | "TYPE")), Some(name), Some(rest)) if counters.contains_key(name) => {
                text.push_str(&format!("# {what} {} {rest}\n", counters[name]));
            }
            _ => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::about::names;

    fn page() -> Page {
        let mut page = Page::default();
        page.count(names::REQUESTS, &["completion.create", "a \"b\"\\\n", "", "OK", "", ""], 3);
        page.put(names::LEDGER_MODE, &["normal"], 1.0);
        page.count(names::REPLICAS, &[], 2);
        page.histogram(
            names::QUEUE_SECONDS,
            vec!["o".into(), "m".into()],
            (0.5, 2, vec![(0.1, 1), (f64::INFINITY, 1)]),
        );
        page
    }

    #[test]
    fn labels_from_outside_stay_within_their_quotes() {
        let text = page().text(Format::OpenMetrics);
        let line = r#"tollgate_requests_total{operation="completion.create",model="a \"b\"\\\n",reason="OK"} 3"#;
        assert!(text.lines().any(|l| l == line), "{text}");
        assert!(text.contains("# TYPE tollgate_requests counter\n"), "{text}");
        assert!(text.contains(r#"_bucket{le="+Inf",operation="o",model="m"} 2"#), "{text}");
        assert!(text.contains("\ntollgate_replicas 2\n"), "{text}");
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn the_older_format_names_counters_in_full() {
        let text = page().text(Format::Prometheus);
        assert!(text.contains("# TYPE tollgate_requests_total counter\n"), "{text}");
        assert!(text.contains("# TYPE tollgate_ledger_mode gauge\n"), "{text}");
        assert!(!text.contains("# EOF"));
        assert_eq!(Format::accepted(Some("text/plain")), Format::Prometheus);
        assert_eq!(Format::accepted(Some("application/openmetrics-text;version=1.0.0,*/*;q=0.1")), Format::OpenMetrics);
    }
}
