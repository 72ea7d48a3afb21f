//! Arguments that several commands share: limits, labels, and which fields of a thing an update names.

use std::collections::HashMap;

use clap::{Args, ValueEnum};
use tollgate_client::v1::{self, RateLimits};

use crate::Failure;

/// Rate limits.
#[derive(Args, Debug, Clone, Default)]
pub struct LimitArgs {
    /// Requests per minute.
    #[arg(long)]
    rpm: Option<i64>,
    /// Requests per day.
    #[arg(long)]
    rpd: Option<i64>,
    /// Tokens per minute.
    #[arg(long)]
    tpm: Option<i64>,
    /// Calls in flight.
    #[arg(long)]
    concurrent: Option<i64>,
}

impl LimitArgs {
    /// The limits; absent where none is given.
    pub(crate) fn limits(&self) -> Option<RateLimits> {
        self.over(None)
    }

    /// `before` with what is given; absent where nothing is.
    pub(crate) fn over(&self, before: Option<RateLimits>) -> Option<RateLimits> {
        self.rpm.or(self.rpd).or(self.tpm).or(self.concurrent)?;
        let before = before.unwrap_or_default();
        Some(RateLimits {
            requests_per_minute: self.rpm.or(before.requests_per_minute),
            requests_per_day: self.rpd.or(before.requests_per_day),
            tokens_per_minute: self.tpm.or(before.tokens_per_minute),
            concurrent_requests: self.concurrent.or(before.concurrent_requests),
            ..before
        })
    }
}

/// Limits as people read them: `60 rpm, 100000 tpm`.
pub(crate) fn limits_told(limits: Option<&RateLimits>) -> String {
    let Some(limits) = limits else { return String::new() };
    let all = [
        (limits.requests_per_minute, "rpm"),
        (limits.requests_per_day, "rpd"),
        (limits.tokens_per_minute, "tpm"),
        (limits.concurrent_requests, "concurrent"),
    ];
    all.iter().filter_map(|(limit, unit)| limit.map(|limit| format!("{limit} {unit}"))).collect::<Vec<_>>().join(", ")
}

/// Reads `name=value`.
pub(crate) fn label(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(name, _)| !name.is_empty());
    let (name, value) = pair.ok_or_else(|| format!("{text:?} is not of the form NAME=VALUE"))?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Labels as people read them.
pub(crate) fn labels_told(labels: &HashMap<String, String>) -> String {
    let mut all: Vec<_> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    all.sort();
    all.join(", ")
}

/// The fields that an update names, gathered as they are set.
#[derive(Default)]
pub(crate) struct Fields(Vec<&'static str>);

impl Fields {
    /// Sets a field that was given, and names it.
    pub(crate) fn set<T>(&mut self, name: &'static str, field: &mut T, given: Option<T>) {
        if let Some(given) = given {
            *field = given;
            self.0.push(name);
        }
    }

    /// Names a field that was set already.
    pub(crate) fn name(&mut self, name: &'static str) {
        self.0.push(name);
    }

    /// All of them; an update that changes nothing is a mistake, and `hint` says what could be given.
    pub(crate) fn named(self, hint: &str) -> Result<Vec<&'static str>, Failure> {
        if self.0.is_empty() {
            return Err(Failure::Usage(format!("nothing to change: give {hint}")));
        }
        Ok(self.0)
    }
}

/// Priority of calls.
#[derive(ValueEnum, Debug, Clone, Copy)]
pub enum Priority {
    /// Somebody waits.
    Interactive,
    /// As ever.
    Standard,
    /// Whenever there is room.
    Batch,
}

impl From<Priority> for v1::Priority {
    fn from(priority: Priority) -> Self {
        match priority {
            Priority::Interactive => Self::Interactive,
            Priority::Standard => Self::Standard,
            Priority::Batch => Self::Batch,
        }
    }
}

/// An enum's value as people read it: its name without the enum's own, in small letters.
pub(crate) fn word(name: &str, prefix: &str) -> String {
    let word = name.strip_prefix(prefix).unwrap_or(name).to_lowercase();
    if word == "unspecified" { String::new() } else { word }
}
