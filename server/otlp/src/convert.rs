use opentelemetry::{
    Array, InstrumentationScope, KeyValue, StringValue,
    trace::{Event, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState},
};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use tollgate_trace::{Finished, Kind, Span, Value};

/// Spans as OpenTelemetry's exporters take them.
pub(crate) fn spans(finished: Finished, scope: &InstrumentationScope) -> impl Iterator<Item = SpanData> {
    let trace_id = TraceId::from_bytes(finished.trace_id.0);
    // What does not fit the recommendation's form is left out.
    let state: TraceState = finished.state.parse().unwrap_or_default();
    let scope = scope.clone();
    finished.spans.into_iter().map(move |span| one(trace_id, &state, &scope, span))
}

fn one(trace_id: TraceId, state: &TraceState, scope: &InstrumentationScope, span: Span) -> SpanData {
    let id = SpanId::from_bytes(span.id.0);
    let mut events = SpanEvents::default();
    events.events = span.events.into_iter().map(|(name, at)| Event::new(name, at, Vec::new(), 0)).collect();
    SpanData {
        span_context: SpanContext::new(trace_id, id, TraceFlags::SAMPLED, false, state.clone()),
        parent_span_id: span.parent.map_or(SpanId::INVALID, |parent| SpanId::from_bytes(parent.0)),
        parent_span_is_remote: span.parent_is_remote,
        span_kind: match span.kind {
            Kind::Server => SpanKind::Server,
            Kind::Internal => SpanKind::Internal,
            Kind::Client => SpanKind::Client,
        },
        name: span.name.into(),
        start_time: span.start,
        end_time: span.end,
        attributes: span.attributes.into_iter().map(|(name, told)| KeyValue::new(name, value(told))).collect(),
        dropped_attributes_count: 0,
        events,
        links: SpanLinks::default(),
        status: span.error.map_or(Status::Unset, Status::error),
        instrumentation_scope: scope.clone(),
    }
}

fn value(value: Value) -> opentelemetry::Value {
    match value {
        Value::Text(text) => text.into(),
        Value::Texts(texts) => {
            opentelemetry::Value::Array(Array::String(texts.into_iter().map(StringValue::from).collect()))
        }
        Value::Int(number) => number.into(),
        Value::Seconds(seconds) => seconds.into(),
        Value::Flag(flag) => flag.into(),
    }
}
