//! The trace that a request belongs to: W3C Trace Context, in metadata as in headers.

use http::Request;
use tollgate_redact::has_secret;
use tollgate_trace::{Context, Trace, Tracer};

/// Where a request comes from, in somebody's trace; rides in its extensions. There is none while tracing is off and the caller says nothing.
#[derive(Clone)]
pub(crate) struct Incoming {
    tracer: Tracer,
    parent: Option<Context>,
}

impl Incoming {
    /// The trace of the call that the request is.
    pub(crate) fn begin(&self) -> Trace {
        self.tracer.begin(self.parent.clone())
    }
}

/// Notes it in the request's extensions.
pub(crate) fn note<B>(tracer: &Tracer, request: &mut Request<B>) {
    let mut parent = Context::read(request.headers());
    if let Some(parent) = parent.as_mut().filter(|parent| has_secret(&parent.state)) {
        // Half of it would be no state of anybody's.
        parent.state.clear();
    }
    if parent.is_some() || !tracer.is_off() {
        request.extensions_mut().insert(Incoming { tracer: tracer.clone(), parent });
    }
}
