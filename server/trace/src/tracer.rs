use std::{fmt, sync::Arc};

use crate::{Context, Sink, SpanId, Trace, TraceId};

/// Which calls are recorded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// The share of those for which nobody has decided, from 0 to 1. By the trace's id, so that all who use the same rule and share
    /// record the same traces.
    pub ratio: f64,
    /// Whether what the caller decided, counts.
    pub parent_based: bool,
}

impl Sampling {
    fn takes(&self, parent: Option<&Context>, trace_id: TraceId) -> bool {
        match parent {
            Some(parent) if self.parent_based => parent.sampled,
            _ => {
                // As OpenTelemetry's TraceIdRatioBased: the last 63 bits of the id against the share of them.
                let low = (u128::from_be_bytes(trace_id.0) as u64) >> 1;
                (low as f64) < self.ratio * (1_u64 << 63) as f64
            }
        }
    }
}

/// Begins traces.
#[derive(Clone)]
pub struct Tracer {
    on: Option<(Arc<dyn Sink>, Sampling)>,
    /// Whether providers are told of the trace that their call belongs to.
    to_providers: bool,
}

impl fmt::Debug for Tracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracer").field("on", &self.on.is_some()).field("to_providers", &self.to_providers).finish()
    }
}

impl Tracer {
    /// Records nothing. With `to_providers`, what callers bring is passed on as it came.
    pub fn off(to_providers: bool) -> Self {
        Self { on: None, to_providers }
    }

    /// Hands what it records to `sink`.
    pub fn new(sink: Arc<dyn Sink>, sampling: Sampling, to_providers: bool) -> Self {
        Self { on: Some((sink, sampling)), to_providers }
    }

    /// Whether it records nothing.
    pub fn is_off(&self) -> bool {
        self.on.is_none()
    }

    /// The trace of a call that came with this context.
    pub fn begin(&self, parent: Option<Context>) -> Trace {
        let Some((sink, sampling)) = &self.on else {
            return parent.map_or_else(Trace::default, |parent| Trace::passing(parent, self.to_providers));
        };
        let trace_id = parent.as_ref().map_or_else(TraceId::random, |parent| parent.trace_id);
        if sampling.takes(parent.as_ref(), trace_id) {
            return Trace::live(trace_id, parent, sink.clone(), self.to_providers);
        }
        let unseen = || Context { trace_id, span_id: SpanId::random(), sampled: false, state: String::new() };
        let context = parent.map_or_else(unseen, |parent| Context { sampled: false, ..parent });
        Trace::passing(context, self.to_providers)
    }
}
