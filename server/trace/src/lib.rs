//! Traces of calls: which trace a call belongs to, and what its stages and attempts took.
//!
//! A [`Trace`] goes along with a call. Where nobody asks for one it is empty: nothing is allocated and no clock is read. A span is
//! noted when it ends; the whole is handed to a [`Sink`] when the last clone of the trace is dropped, which is when the call is over,
//! however it ended. No prompt and no answer is ever in a span.

mod context;
mod span;
mod trace;
mod tracer;

pub use context::{Context, SpanId, TraceId};
pub use span::{Finished, Kind, Sink, Span, Value};
pub use trace::{Guard, Trace};
pub use tracer::{Sampling, Tracer};
