use std::time::SystemTime;

use crate::{SpanId, TraceId};

/// Which side of what a span is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A call, as the gateway serves it.
    Server,
    /// A step of it inside the gateway.
    Internal,
    /// A request to a provider.
    Client,
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Text.
    Text(String),
    /// Several texts.
    Texts(Vec<String>),
    /// A number; money is in nano-dollars.
    Int(i64),
    /// Seconds, where the conventions want them so. Never money.
    Seconds(f64),
    /// Yes or no.
    Flag(bool),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Int(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

/// Something that took time.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// Its id.
    pub id: SpanId,
    /// What it is a part of; `None`: the trace begins with it.
    pub parent: Option<SpanId>,
    /// Whether that is somebody else's span.
    pub parent_is_remote: bool,
    /// What it was.
    pub name: String,
    /// Which side of it.
    pub kind: Kind,
    /// When it began.
    pub start: SystemTime,
    /// When it ended.
    pub end: SystemTime,
    /// What is known of it.
    pub attributes: Vec<(&'static str, Value)>,
    /// What happened in it, and when.
    pub events: Vec<(&'static str, SystemTime)>,
    /// Why it failed, by the contract's name of the reason or a class of failures; `None`: it did not.
    pub error: Option<String>,
}

/// All spans of a call that is over: its own first.
#[derive(Clone, Debug, PartialEq)]
pub struct Finished {
    /// The trace.
    pub trace_id: TraceId,
    /// `tracestate`, as it came.
    pub state: String,
    /// The call, then its stages and attempts in the order in which they ended.
    pub spans: Vec<Span>,
}

/// Takes what is finished. Called where a call ends: it must not wait.
pub trait Sink: Send + Sync {
    /// Takes the spans of a call, or counts them as lost.
    fn take(&self, finished: Finished);
}
