//! The only place that calls a provider: connections, TLS, time limits.

use std::time::Duration;

/// How long each step of an attempt may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// TCP and TLS.
    pub connect: Duration,
    /// From sending to the answer's head and its first bytes.
    pub first_byte: Duration,
    /// Between two reads of a body; comments and pings count as life.
    pub idle: Duration,
    /// The whole attempt.
    pub total: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            first_byte: Duration::from_secs(120),
            idle: Duration::from_secs(120),
            total: Duration::from_secs(1_800),
        }
    }
}

/// Sends requests to providers; cheap to clone, one for the whole process.
#[derive(Clone)]
pub struct Transport {}
