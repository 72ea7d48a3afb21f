//! The matrix: which calls, how they are offered, what is read off, and the goal for each figure.

use std::time::Duration;

use anyhow::Result;

use crate::calls::Kind;
use crate::drive::{Limit, Sample, closed, open};
use crate::servers::Target;

/// One line of the matrix.
pub(crate) struct Scenario {
    pub(crate) id: &'static str,
    pub(crate) title: &'static str,
    pub(crate) kind: Kind,
    pub(crate) offered: Offered,
    pub(crate) figures: &'static [Figure],
}

/// How calls are offered, and for how long at most: calls, seconds, seconds of a quick run.
pub(crate) enum Offered {
    Closed { callers: usize, calls: u64, seconds: f64, quick: f64 },
    Open { per_second: f64, seconds: f64, quick: f64 },
}

/// A figure read off a sample.
pub(crate) struct Figure {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) compare: Compare,
    pub(crate) read: fn(&Sample) -> f64,
    pub(crate) must: &'static str,
    pub(crate) ambition: &'static str,
}

/// What a figure of the gateway is held against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compare {
    /// Divided by the bare proxy's.
    Ratio,
    /// Minus that of calling the provider directly.
    Added,
}

const fn ratio(
    name: &'static str,
    unit: &'static str,
    read: fn(&Sample) -> f64,
    must: &'static str,
    ambition: &'static str,
) -> Figure {
    Figure { name, unit, compare: Compare::Ratio, read, must, ambition }
}

const fn added(name: &'static str, read: fn(&Sample) -> f64, must: &'static str, ambition: &'static str) -> Figure {
    Figure { name, unit: "ms", compare: Compare::Added, read, must, ambition }
}

fn cpu_per_call(sample: &Sample) -> f64 {
    sample.cpu_us / sample.done.max(1) as f64
}

fn per_second(sample: &Sample) -> f64 {
    sample.done as f64 / sample.seconds.max(1e-9)
}

fn per_cpu_second(sample: &Sample) -> f64 {
    sample.done as f64 / (sample.cpu_us / 1e6).max(1e-9)
}

fn p50(sample: &Sample) -> f64 {
    sample.latency.value_at_quantile(0.5) as f64 / 1e3
}

fn p99(sample: &Sample) -> f64 {
    sample.latency.value_at_quantile(0.99) as f64 / 1e3
}

fn first_p50(sample: &Sample) -> f64 {
    sample.first.value_at_quantile(0.5) as f64 / 1e3
}

fn first_p99(sample: &Sample) -> f64 {
    sample.first.value_at_quantile(0.99) as f64 / 1e3
}

fn gap_p99(sample: &Sample) -> f64 {
    sample.gap.value_at_quantile(0.99) as f64 / 1e3
}

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        id: "plain",
        title: "1 kB call, 64 callers",
        kind: Kind::Plain,
        offered: Offered::Closed { callers: 64, calls: 40_000, seconds: 3.0, quick: 1.0 },
        figures: &[
            ratio("CPU per call", "us", cpu_per_call, "2.0", "1.4"),
            ratio("capacity of one core", "/s", per_cpu_second, "25000/s", "38000/s"),
            ratio("calls seen", "/s", per_second, "", ""),
            ratio("p99", "ms", p99, "", ""),
        ],
    },
    Scenario {
        id: "rate",
        title: "1 kB call, 1000/s",
        kind: Kind::Plain,
        offered: Offered::Open { per_second: 1000.0, seconds: 4.0, quick: 1.5 },
        figures: &[
            added("added p50", p50, "0.20", "0.16"),
            added("added p99", p99, "0.60", "0.35"),
            ratio("CPU per call", "us", cpu_per_call, "", ""),
        ],
    },
    Scenario {
        id: "burst",
        title: "32 chunks at once, 16 callers",
        kind: Kind::Burst,
        offered: Offered::Closed { callers: 16, calls: 8_000, seconds: 3.0, quick: 1.0 },
        figures: &[
            ratio("CPU per stream", "us", cpu_per_call, "1.0", "0.7"),
            ratio("streams per core", "/s", per_cpu_second, "3000/s", "3500/s"),
        ],
    },
    Scenario {
        id: "paced",
        title: "32 chunks, 10 ms apart, 100/s",
        kind: Kind::Paced,
        offered: Offered::Open { per_second: 100.0, seconds: 4.0, quick: 1.5 },
        figures: &[
            ratio("CPU per stream", "us", cpu_per_call, "1.4", "1.1"),
            added("added TTFT p50", first_p50, "0.20", "0.15"),
            added("added TTFT p99", first_p99, "0.60", "0.45"),
            added("added gap p99", gap_p99, "", ""),
        ],
    },
    Scenario {
        id: "large",
        title: "200 kB prompt, 8 callers",
        kind: Kind::Large,
        offered: Offered::Closed { callers: 8, calls: 4_000, seconds: 3.0, quick: 1.0 },
        figures: &[ratio("CPU per call", "us", cpu_per_call, "2.0", "1.3"), ratio("p50", "ms", p50, "", "")],
    },
];

impl Scenario {
    /// Whether the provider alone is measured too.
    pub(crate) fn needs_direct(&self) -> bool {
        self.figures.iter().any(|figure| figure.compare == Compare::Added)
    }

    pub(crate) async fn drive(&self, target: &Target, quick: bool) -> Result<Sample> {
        let call = self.kind.call(target);
        let time = |long, short| Duration::from_secs_f64(if quick { short } else { long });
        match self.offered {
            Offered::Closed { callers, calls, seconds, quick: short } => {
                closed(target, &call, callers, Limit { calls, time: time(seconds, short) }).await
            }
            Offered::Open { per_second, seconds, quick: short } => {
                open(target, &call, per_second, Limit { calls: u64::MAX, time: time(seconds, short) }).await
            }
        }
    }
}
