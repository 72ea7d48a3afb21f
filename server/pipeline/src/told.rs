//! What a call tells of itself once it is over: one line in the log, and its spans where it is traced. Both are made of its audit record:
//! no prompt and no answer is in any of them.

use tollgate_domain::{Error, NanoUsd};
use tollgate_proto::v1::{Attempt, AuditRecord, ErrorReason, FinishReason, Usage};
use tollgate_router::Deployment;
use tollgate_trace::{Guard, Trace, Value};

use crate::Caller;

type Attributes = Vec<(&'static str, Value)>;

/// Ends a stage with what it came to.
pub(crate) fn ended<T>(mut stage: Guard, result: Result<T, Error>) -> Result<T, Error> {
    if let Err(error) = &result {
        stage.failed(error.reason.wire_name());
    }
    result
}

/// The call of this record is over.
pub(crate) fn call(record: &AuditRecord, who: Option<&Caller>, trace: &Trace) {
    log(record, who, trace);
    if trace.is_recorded() {
        let error = failure(record).map(|reason| reason.wire_name().to_owned());
        trace.tell(format!("{} {}", operation(&record.action), record.model), attributes(record, who), error);
    }
}

fn failure(record: &AuditRecord) -> Option<ErrorReason> {
    (record.error_reason != 0).then(|| record.error_reason())
}

/// Of all attempts, the one that counted.
fn last(record: &AuditRecord) -> Option<&Attempt> {
    record.routing.as_ref()?.attempts.last()
}

/// One event: whoever logs no calls pays for the comparison of a level.
fn log(record: &AuditRecord, who: Option<&Caller>, trace: &Trace) {
    if !tracing::enabled!(target: "tollgate::call", tracing::Level::INFO) {
        return;
    }
    let attempt = last(record);
    let (input, output) = record.usage.as_ref().map_or((0, 0), tokens);
    tracing::info!(
        target: "tollgate::call",
        call = record.call_id,
        action = record.action,
        result = failure(record).map_or("OK", |reason| reason.wire_name()),
        key = record.key_id,
        team = who.map_or("", |who| &who.key().team_id),
        model = record.model,
        deployment = attempt.map_or("", |attempt| &attempt.deployment),
        attempts = record.routing.as_ref().map_or(0, |routing| routing.attempts.len()),
        duration_us = record.duration_us,
        input_tokens = input,
        output_tokens = output,
        cost_usd = %NanoUsd(record.usage.as_ref().map_or(0, |usage| usage.cost_nano_usd)),
        trace = trace.id().unwrap_or_default(),
        "call"
    );
}

fn tokens(usage: &Usage) -> (u64, u64) {
    (usage.input.map_or(0, |input| input.total), usage.output.map_or(0, |output| output.total))
}

fn attributes(record: &AuditRecord, who: Option<&Caller>) -> Attributes {
    let mut told = vec![
        ("gen_ai.operation.name", operation(&record.action).into()),
        ("tollgate.call.id", record.call_id.as_str().into()),
        ("tollgate.action", record.action.as_str().into()),
    ];
    let attempts = record.routing.as_ref().map_or(0, |routing| routing.attempts.len());
    let mut text = |name, text: &str| told.extend((!text.is_empty()).then(|| (name, text.into())));
    text("gen_ai.request.model", &record.model);
    text("tollgate.key.id", &record.key_id);
    text("tollgate.team.id", who.map_or("", |who| &who.key().team_id));
    text("tollgate.organization.id", who.map_or("", |who| &who.key().organization_id));
    text("tollgate.deployment", last(record).map_or("", |attempt| &attempt.deployment));
    text("error.type", failure(record).map_or("", |reason| reason.wire_name()));
    told.push(("tollgate.attempts", Value::Int(i64::try_from(attempts).unwrap_or(i64::MAX))));
    let reasons: Vec<_> = record.finish_reasons().map(finish_reason).map(str::to_owned).collect();
    if !reasons.is_empty() {
        told.push(("gen_ai.response.finish_reasons", Value::Texts(reasons)));
    }
    // Under names of their own: those of the conventions are on the attempts, and whoever sums them must not count twice.
    if let Some(usage) = &record.usage {
        let (input, output) = tokens(usage);
        told.push(("tollgate.usage.input_tokens", input.into()));
        told.push(("tollgate.usage.output_tokens", output.into()));
        told.push(("tollgate.cost_nano_usd", usage.cost_nano_usd.into()));
    }
    told
}

/// What an answer says of itself.
#[derive(Default)]
pub(crate) struct Answered {
    /// The model, as it names it.
    pub(crate) model: String,
    /// Its id: of the completion, not of the request.
    pub(crate) id: String,
}

/// Says what an attempt was, and ends its span with its guard.
pub(crate) fn attempt(span: &mut Guard, attempt: &Attempt, deployment: &Deployment, action: &str, answered: &Answered) {
    if attempt.class != "ok" {
        span.failed(&attempt.class);
    }
    span.tell(|| {
        let model = &deployment.endpoint.target.model;
        (format!("{} {model}", operation(action)), of_attempt(attempt, deployment, action, answered))
    });
}

fn of_attempt(attempt: &Attempt, deployment: &Deployment, action: &str, answered: &Answered) -> Attributes {
    let endpoint = &deployment.endpoint;
    let mut told = vec![
        ("gen_ai.operation.name", operation(action).into()),
        ("gen_ai.provider.name", provider(endpoint.provider.name()).into()),
        ("gen_ai.request.model", endpoint.target.model.as_str().into()),
        ("tollgate.attempt.id", attempt.id.as_str().into()),
        ("tollgate.deployment", deployment.name.as_str().into()),
        ("tollgate.provider", deployment.provider.as_str().into()),
        ("tollgate.billed", Value::Flag(attempt.billed)),
    ];
    if let Ok(uri) = endpoint.target.base_url.parse::<http::Uri>()
        && let Some(host) = uri.host()
    {
        let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("http") { 80 } else { 443 });
        told.push(("server.address", host.into()));
        told.push(("server.port", Value::Int(port.into())));
    }
    let mut text = |name, text: &str| told.extend((!text.is_empty()).then(|| (name, text.into())));
    text("gen_ai.response.model", &answered.model);
    text("gen_ai.response.id", &answered.id);
    text("tollgate.upstream_request_id", &attempt.upstream_request_id);
    text("tollgate.native_code", &attempt.native_code);
    text("error.type", if attempt.class == "ok" { "" } else { &attempt.class });
    if attempt.upstream_status != 0 {
        told.push(("http.response.status_code", Value::Int(attempt.upstream_status.into())));
    }
    if let Some(first) = attempt.first_content_us {
        let micros = u64::try_from(first - attempt.start_us).unwrap_or(0);
        let waited = std::time::Duration::from_micros(micros).as_secs_f64();
        told.push(("gen_ai.response.time_to_first_chunk", Value::Seconds(waited)));
    }
    if let Some(usage) = &attempt.usage {
        let (input, output) = tokens(usage);
        let read = usage.input.map_or(0, |input| input.cached_read);
        let written = usage.input.map_or(0, |input| input.cache_write_5m.saturating_add(input.cache_write_1h));
        told.push(("gen_ai.usage.input_tokens", input.into()));
        told.push(("gen_ai.usage.output_tokens", output.into()));
        told.push(("gen_ai.usage.cache_read.input_tokens", read.into()));
        told.push(("gen_ai.usage.cache_creation.input_tokens", written.into()));
        told.push(("tollgate.usage.estimated", Value::Flag(usage.estimated)));
        told.push(("tollgate.cost_nano_usd", usage.cost_nano_usd.into()));
    }
    told
}

/// The operation in the conventions' words, or in ours where they have none.
fn operation(action: &str) -> &str {
    match action.split_once('.').map_or(action, |(what, _)| what) {
        "completion" => "chat",
        "embedding" => "embeddings",
        other => other,
    }
}

/// The provider in the conventions' words, or in ours where they have none.
fn provider(kind: &'static str) -> &'static str {
    match kind {
        "azure" => "azure.ai.openai",
        "bedrock" => "aws.bedrock",
        "gemini" => "gcp.gemini",
        "vertex" | "vertex_ai" => "gcp.vertex_ai",
        "mistral" => "mistral_ai",
        "xai" => "x_ai",
        "openai_responses" => "openai",
        other => other,
    }
}

fn finish_reason(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
        FinishReason::ToolCalls => "tool_calls",
        FinishReason::ContentFilter => "content_filter",
        _ => "other",
    }
}
