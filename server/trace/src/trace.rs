use std::{
    fmt,
    sync::Arc,
    time::{Instant, SystemTime},
};

use http::HeaderValue;
use parking_lot::Mutex;

use crate::{Context, Finished, Kind, Sink, Span, SpanId, TraceId, Value};

/// The trace of a call, shared by all that has a part in it. Empty, it costs nothing.
#[derive(Clone, Default)]
pub struct Trace(Option<Arc<Course>>);

/// What becomes of a call's trace.
enum Course {
    /// It is passed on and not recorded.
    Passing { context: Context, to_providers: bool },
    /// It is recorded.
    Live(Live),
}

struct Live {
    /// With the id of the call's own span.
    context: Context,
    parent: Option<SpanId>,
    /// Whose span that is: the caller's, or a call's of which this is a copy.
    parent_is_remote: bool,
    kind: Kind,
    clock: Clock,
    kept: Mutex<Kept>,
    sink: Arc<dyn Sink>,
    to_providers: bool,
}

#[derive(Default)]
struct Kept {
    name: String,
    attributes: Vec<(&'static str, Value)>,
    error: Option<String>,
    spans: Vec<Span>,
}

/// The time of day, as it goes on from one reading: spans of a call agree with each other whatever is done to the wall clock.
#[derive(Clone, Copy)]
struct Clock {
    wall: SystemTime,
    begun: Instant,
}

impl Clock {
    fn start() -> Self {
        Self { wall: SystemTime::now(), begun: Instant::now() }
    }

    fn now(&self) -> SystemTime {
        self.wall + self.begun.elapsed()
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let kept = std::mem::take(self.kept.get_mut());
        if kept.name.is_empty() {
            // Nothing was told of it: it came to no call.
            return;
        }
        let call = Span {
            id: self.context.span_id,
            parent: self.parent,
            parent_is_remote: self.parent_is_remote,
            name: kept.name,
            kind: self.kind,
            start: self.clock.wall,
            end: self.clock.now(),
            attributes: kept.attributes,
            events: Vec::new(),
            error: kept.error,
        };
        let mut spans = Vec::with_capacity(kept.spans.len() + 1);
        spans.push(call);
        spans.extend(kept.spans);
        let (trace_id, state) = (self.context.trace_id, std::mem::take(&mut self.context.state));
        self.sink.take(Finished { trace_id, state, spans });
    }
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Trace").field(&self.id()).finish()
    }
}

impl Trace {
    pub(crate) fn passing(context: Context, to_providers: bool) -> Self {
        Self(Some(Arc::new(Course::Passing { context, to_providers })))
    }

    pub(crate) fn live(trace_id: TraceId, parent: Option<Context>, sink: Arc<dyn Sink>, to_providers: bool) -> Self {
        let (parent, state) = parent.map_or((None, String::new()), |parent| (Some(parent.span_id), parent.state));
        let context = Context { trace_id, span_id: SpanId::random(), sampled: true, state };
        let parent_is_remote = parent.is_some();
        Self::of(Live {
            context,
            parent,
            parent_is_remote,
            kind: Kind::Server,
            clock: Clock::start(),
            kept: Mutex::default(),
            sink,
            to_providers,
        })
    }

    fn of(live: Live) -> Self {
        Self(Some(Arc::new(Course::Live(live))))
    }

    /// That of a copy of the call: in the same trace, below the call's own span, and it may go on when the call is over.
    pub fn of_copy(&self) -> Self {
        let Some(live) = self.recorded() else { return self.clone() };
        Self::of(Live {
            context: Context { span_id: SpanId::random(), ..live.context.clone() },
            parent: Some(live.context.span_id),
            parent_is_remote: false,
            kind: Kind::Internal,
            clock: Clock::start(),
            kept: Mutex::default(),
            sink: live.sink.clone(),
            to_providers: live.to_providers,
        })
    }

    fn recorded(&self) -> Option<&Live> {
        match self.0.as_deref() {
            Some(Course::Live(live)) => Some(live),
            _ => None,
        }
    }

    /// Its id, 32 hexadecimal digits; `None`: there is none.
    pub fn id(&self) -> Option<String> {
        Some(match self.0.as_deref()? {
            Course::Passing { context, .. } => context.trace_id.to_string(),
            Course::Live(live) => live.context.trace_id.to_string(),
        })
    }

    /// Whether it is recorded: only then is it worth while to say what of it is known.
    pub fn is_recorded(&self) -> bool {
        self.recorded().is_some()
    }

    /// Says what the call was and what is known of it; `error`: why it failed. What was said before is replaced.
    pub fn tell(&self, name: String, attributes: Vec<(&'static str, Value)>, error: Option<String>) {
        if let Some(live) = self.recorded() {
            let mut kept = live.kept.lock();
            (kept.name, kept.attributes, kept.error) = (name, attributes, error);
        }
    }

    /// Begins a stage, which ends with its guard.
    pub fn stage(&self, name: &'static str) -> Guard {
        self.open(name, Kind::Internal)
    }

    /// Begins a request to a provider, which ends with its guard.
    pub fn attempt(&self) -> Guard {
        self.open("attempt", Kind::Client)
    }

    fn open(&self, name: &str, kind: Kind) -> Guard {
        let span = self.recorded().map(|live| {
            let start = live.clock.now();
            Box::new(Span {
                id: SpanId::random(),
                parent: Some(live.context.span_id),
                parent_is_remote: false,
                name: name.to_owned(),
                kind,
                start,
                end: start,
                attributes: Vec::new(),
                events: Vec::new(),
                error: None,
            })
        });
        Guard { trace: self.clone(), span }
    }
}

/// A span that has begun. Dropped, it has ended.
#[derive(Default)]
pub struct Guard {
    trace: Trace,
    span: Option<Box<Span>>,
}

impl Guard {
    /// `traceparent` of what is sent on its behalf; `None`: nothing is to be said.
    pub fn traceparent(&self) -> Option<HeaderValue> {
        match (self.trace.0.as_deref()?, &self.span) {
            (Course::Passing { context, to_providers: true }, _) => context.header(),
            (Course::Live(live), Some(span)) if live.to_providers => {
                let context = Context { span_id: span.id, ..live.context.clone() };
                context.header()
            }
            _ => None,
        }
    }

    /// Names it, and says what is known of it. Not asked where nothing is recorded.
    pub fn tell(&mut self, told: impl FnOnce() -> (String, Vec<(&'static str, Value)>)) {
        if let Some(span) = &mut self.span {
            (span.name, span.attributes) = told();
        }
    }

    /// Something happened in it, now.
    pub fn happened(&mut self, what: &'static str) {
        if let (Some(span), Some(live)) = (&mut self.span, self.trace.recorded()) {
            span.events.push((what, live.clock.now()));
        }
    }

    /// It failed.
    pub fn failed(&mut self, why: &str) {
        if let Some(span) = &mut self.span {
            span.error = Some(why.to_owned());
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let (Some(mut span), Some(live)) = (self.span.take(), self.trace.recorded()) {
            span.end = live.clock.now();
            live.kept.lock().spans.push(*span);
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;
    use crate::{Sampling, Tracer};

    #[derive(Default)]
    struct Kept(Mutex<Vec<Finished>>);

    impl Sink for Kept {
        fn take(&self, finished: Finished) {
            self.0.lock().push(finished);
        }
    }

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

    fn from_caller(flags: &str) -> Option<Context> {
        let parent = format!("00-{TRACE}-b7ad6b7169203331-{flags}");
        let headers: HeaderMap = [("traceparent", parent), ("tracestate", "a=1".into())]
            .into_iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect();
        Context::read(&headers)
    }

    fn tracer(ratio: f64, parent_based: bool) -> (Tracer, Arc<Kept>) {
        let kept = Arc::new(Kept::default());
        (Tracer::new(kept.clone(), Sampling { ratio, parent_based }, true), kept)
    }

    #[test]
    fn where_nobody_asks_for_a_trace_there_is_none() {
        let trace = Tracer::off(true).begin(None);
        assert!(trace.0.is_none() && trace.id().is_none());
        let mut attempt = trace.attempt();
        assert!(attempt.span.is_none() && attempt.traceparent().is_none());
        attempt.tell(|| unreachable!("nothing is recorded"));
    }

    #[test]
    fn what_a_caller_brings_is_passed_on_as_it_came_while_tracing_is_off() {
        let trace = Tracer::off(true).begin(from_caller("01"));
        assert_eq!(trace.id().as_deref(), Some(TRACE));
        assert_eq!(trace.attempt().traceparent().unwrap(), format!("00-{TRACE}-b7ad6b7169203331-01"));
        assert!(Tracer::off(false).begin(from_caller("01")).attempt().traceparent().is_none());
    }

    #[test]
    fn the_spans_of_a_call_are_handed_on_when_the_last_who_has_a_part_in_it_is_gone() {
        let (tracer, kept) = tracer(0.0, true);
        let trace = tracer.begin(from_caller("01"));
        let other = trace.clone();
        trace.stage("limits").failed("RATE_LIMITED");
        let mut attempt = trace.attempt();
        let upstream = attempt.traceparent().unwrap();
        attempt.tell(|| ("chat m".into(), vec![("a", "b".into())]));
        drop(attempt);
        trace.tell("chat".into(), Vec::new(), None);
        drop(trace);
        assert!(kept.0.lock().is_empty());
        drop(other);
        let finished = kept.0.lock().pop().unwrap();
        assert_eq!((finished.trace_id.to_string().as_str(), finished.state.as_str()), (TRACE, "a=1"));
        let [call, limits, attempt] = &finished.spans[..] else { panic!("{finished:?}") };
        assert_eq!((call.name.as_str(), call.parent.unwrap().to_string().as_str()), ("chat", "b7ad6b7169203331"));
        assert!(call.parent_is_remote && !attempt.parent_is_remote);
        assert_eq!((limits.name.as_str(), limits.error.as_deref()), ("limits", Some("RATE_LIMITED")));
        assert_eq!((limits.parent, attempt.parent), (Some(call.id), Some(call.id)));
        assert_eq!(upstream, format!("00-{TRACE}-{}-01", attempt.id));
        assert!(call.start <= limits.start && limits.end <= attempt.end && attempt.end <= call.end);
    }

    #[test]
    fn what_the_caller_decided_counts_unless_it_shall_not() {
        let (by_parent, kept) = tracer(1.0, true);
        let trace = by_parent.begin(from_caller("00"));
        assert!(trace.attempt().traceparent().unwrap().to_str().unwrap().ends_with("-00"));
        drop(trace);
        assert!(kept.0.lock().is_empty());
        let (by_ratio, kept) = tracer(1.0, false);
        by_ratio.begin(from_caller("00")).tell("chat".into(), Vec::new(), None);
        assert_eq!(kept.0.lock().len(), 1);
    }

    #[test]
    fn a_share_of_the_calls_is_recorded_and_the_others_say_so_to_the_provider() {
        let (tracer, kept) = tracer(0.25, true);
        for _ in 0..4_000 {
            let trace = tracer.begin(None);
            let told = trace.attempt().traceparent().unwrap();
            assert_eq!(told.to_str().unwrap().ends_with("-01"), trace.is_recorded());
            trace.tell("chat".into(), Vec::new(), None);
        }
        let recorded = kept.0.lock().len();
        assert!((800..1_200).contains(&recorded), "{recorded} of 4000");
    }
}
