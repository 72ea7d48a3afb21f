//! Figures of this process for Prometheus: what calls did, counted where they end, and what is the case when somebody asks.
//!
//! [`Metrics`] counts a call when its record is closed: five look-ups in maps that nobody locks, and nothing allocated once a set of labels is
//! known. How many sets there are is bounded ([`Settings::max_series`]): what is new beyond goes under `other`. [`Page`] is one exposition:
//! the counts, and gauges that the caller adds from the rooms that know them. [`NAMES`] lists every metric; `docs/metrics.md` is written
//! from it.

mod about;
mod calls;
mod histogram;
mod page;
mod process;
mod series;

pub use about::{About, Kind, NAMES, docs_table, names};
pub use calls::{Ended, KnownAs, Metrics, Payer, Settings};
pub use page::{Figure, Format, Page, Point};
pub use process::{Build, Process, free_bytes};

/// The label value of what is not known by name, or is one too many.
pub const OTHER: &str = "other";
