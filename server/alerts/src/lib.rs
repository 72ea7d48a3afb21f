//! Alerts: what has gone wrong is told once, to whom it concerns, and told again when it is over.
//!
//! What is wrong now is found by [`conditions`](crate::Condition) from closed records and from what the gateway knows of itself;
//! [`Board`] turns that into notices, with hysteresis and a cooldown, and without a clock or I/O of its own; channels deliver them.
//! Nothing here is on the path of a call: records are pushed into a queue that never waits.

mod anomaly;
mod board;
mod channels;
mod condition;
mod facts;
mod notice;
mod options;
mod traffic;
mod watch;

pub use board::{Bad, Board, Timing};
pub use channels::{
    Channel, ChannelError, ChannelStats, Channels, Email, PagerDuty, SendError, Slack, SmtpSecurity, Webhook,
};
pub use condition::Condition;
pub use facts::{Budget, ExpiringKey, Facts, LedgerMode, Turns};
pub use notice::{Notice, Severity, State};
pub use options::{Options, Rule, default_rules};
pub use watch::{Alerts, Observer};
