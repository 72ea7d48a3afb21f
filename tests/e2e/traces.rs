//! Traces: one id from the caller through the gateway to the provider, and what a collector gets to see of it.

pub(crate) mod collector;

use std::time::{Duration, Instant};

pub(crate) use collector::Collector;
use collector::Told;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde_json::json;
use tollgate_client::v1;
use tollgate_tests::{provider::Step, support::GatewayBuilder};

use crate::support::{World, eventually, hello, request};

/// Of the caller's span.
const CALLER: &str = "b7ad6b7169203331";

/// Where spans go, at once.
pub(crate) fn traced(builder: GatewayBuilder, endpoint: &str, protocol: &str) -> GatewayBuilder {
    let tracing =
        json!({"enabled": true, "endpoint": endpoint, "protocol": protocol, "interval": "20ms", "timeout": "2s"});
    builder.set("/tracing", tracing)
}

/// A model whose first deployment fails, and which falls back to another.
fn with_fallback(builder: GatewayBuilder) -> GatewayBuilder {
    builder
        .model("spare", "scripted", "spare-upstream")
        .set("/models/0/fallbacks", json!(["spare"]))
        .set("/models/0/retries", 0)
}

fn parent(trace: &str) -> String {
    format!("00-{trace}-{CALLER}-01")
}

fn named<'a>(spans: &'a [Told], name: &str) -> &'a Told {
    spans.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("no {name} in {spans:#?}"))
}

/// What must be true of a call that failed at one deployment and was answered by another.
fn shows_both_attempts(world: &World, spans: &[Told], trace: &str) {
    let call = &spans[0];
    assert_eq!((call.name.as_str(), call.parent.as_str()), ("chat scripted", CALLER));
    assert!(!call.failed && call.get("error.type").is_empty());
    let attempts: Vec<_> = spans.iter().filter(|span| span.kind == SpanKind::Client).collect();
    let [first, second] = attempts[..] else { panic!("two attempts: {spans:#?}") };
    assert_eq!((first.name.as_str(), second.name.as_str()), ("chat scripted-upstream", "chat spare-upstream"));
    assert!(first.failed && !second.failed);
    assert_eq!((first.get("error.type"), first.get("http.response.status_code")), ("server_error", "500"));
    assert!(
        spans.iter().skip(1).all(|span| span.parent == call.id && call.start <= span.start && span.end <= call.end)
    );
    // The provider was told of each attempt's own span, in the caller's trace.
    let sent = world.provider.log().records();
    let told: Vec<_> = sent.iter().filter_map(|sent| sent.headers.get("traceparent").cloned()).collect();
    assert_eq!(told, [first, second].map(|attempt| format!("00-{trace}-{}-01", attempt.id)));
}

#[tokio::test]
async fn one_trace_runs_from_a_caller_through_a_fallback_to_the_provider_over_grpc() {
    let collector = Collector::start().await;
    let world = World::with(|b| with_fallback(traced(b, &collector.grpc, "grpc"))).await;
    world.provider.script("scripted-upstream", [Step::fails(500)]);
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let client = world.caller().await.with_trace_parent(&parent(trace)).unwrap();
    let asked = v1::CreateCompletionRequest { request: Some(request()) };
    client.completions().create_completion(asked).await.unwrap();
    shows_both_attempts(&world, &collector.trace(trace).await, trace);
}

#[tokio::test]
async fn one_trace_runs_from_a_caller_through_a_fallback_to_the_provider_over_rest() {
    let collector = Collector::start().await;
    let world = World::with(|b| with_fallback(traced(b, &collector.http, "http"))).await;
    world.provider.script("scripted-upstream", [Step::fails(500)]);
    let trace = "1af7651916cd43dd8448eb211c80319c";
    let caller = world.gateway.caller().with("traceparent", parent(trace)).with("tracestate", "vendor=1");
    let stream = caller.stream(&world.v1("chat/completions"), &hello(json!({"stream": true}))).await.unwrap();
    assert!(stream.rest().await.1.is_ok());
    let spans = collector.trace(trace).await;
    shows_both_attempts(&world, &spans, trace);
    let sent = world.provider.log().records();
    assert!(sent.iter().all(|sent| !sent.headers.contains_key("tracestate")), "what other systems say stays here");
    assert!(spans.iter().all(|span| span.state == "vendor=1"), "and goes to the collector: {spans:#?}");
    let answered = named(&spans, "chat spare-upstream");
    assert_eq!(answered.events, ["head", "first_content"]);
}

#[tokio::test]
async fn the_provider_of_an_embedding_is_told_of_the_attempts_span() {
    let collector = Collector::start().await;
    let world = World::with(|b| traced(b, &collector.grpc, "grpc").model("embed", "scripted", "embed-upstream")).await;
    let trace = "dbf7651916cd43dd8448eb211c80319c";
    let caller = world.gateway.caller().with("traceparent", parent(trace));
    let reply = caller.post(&world.v1("embeddings"), &json!({"model": "embed", "input": "a"})).await.unwrap();
    assert_eq!(reply.status, 200);
    let spans = collector.trace(trace).await;
    let attempt = named(&spans, "embeddings embed-upstream");
    let told = world.provider.log().last().unwrap().headers.get("traceparent").cloned();
    assert_eq!(told, Some(format!("00-{trace}-{}-01", attempt.id)));
}

#[tokio::test]
async fn a_call_tells_its_stages_what_it_used_and_who_made_it_and_not_what_was_said() {
    let collector = Collector::start().await;
    let world = World::with(|b| {
        let b = traced(b, &collector.grpc, "grpc");
        b.set("/tracing/headers", json!({"x-collector-key": "env:COLLECTOR_KEY"}))
            .environment("COLLECTOR_KEY", "the collector's own")
            .set("/tracing/resource", json!({"deployment.environment.name": "test"}))
            .set("/tracing/service_name", "our-gateway")
    })
    .await;
    let reply = world.gateway.caller().post(&world.v1("chat/completions"), &hello(json!({}))).await.unwrap();
    assert_eq!(reply.status, 200);
    eventually("the call arrives", async || collector.spans().iter().any(|span| span.kind == SpanKind::Server)).await;
    let trace = collector.spans()[0].trace.clone();
    let spans = collector.trace(&trace).await;
    let stages: Vec<_> = spans.iter().map(|span| span.name.as_str()).collect();
    assert_eq!(
        stages,
        ["chat scripted", "authenticate", "limits", "reserve", "route", "chat scripted-upstream", "settle"]
    );
    let (call, attempt) = (&spans[0], named(&spans, "chat scripted-upstream"));
    let entry = &world.entries().await[0];
    let usage = entry.usage.as_ref().unwrap();
    let (input, output) = (usage.input.unwrap().total.to_string(), usage.output.unwrap().total.to_string());
    let cost = entry.cost_nano_usd.to_string();
    for (name, value) in [
        ("gen_ai.operation.name", "chat"),
        ("gen_ai.request.model", "scripted"),
        ("tollgate.call.id", entry.call_id.as_str()),
        ("tollgate.key.id", entry.key_id.as_str()),
        ("tollgate.usage.input_tokens", input.as_str()),
        ("tollgate.cost_nano_usd", cost.as_str()),
        ("tollgate.attempts", "1"),
    ] {
        assert_eq!(call.get(name), value, "{name} of {call:#?}");
    }
    let port = world.provider.address().port().to_string();
    for (name, value) in [
        ("gen_ai.operation.name", "chat"),
        ("gen_ai.provider.name", "openai"),
        ("gen_ai.request.model", "scripted-upstream"),
        ("gen_ai.response.model", "scripted-upstream"),
        ("tollgate.upstream_request_id", entry.upstream_request_id.as_str()),
        ("gen_ai.usage.input_tokens", input.as_str()),
        ("gen_ai.usage.output_tokens", output.as_str()),
        ("http.response.status_code", "200"),
        ("server.address", "127.0.0.1"),
        ("server.port", port.as_str()),
        ("tollgate.attempt.id", entry.attempt_id.as_str()),
        ("tollgate.deployment", entry.deployment.as_str()),
    ] {
        assert_eq!(attempt.get(name), value, "{name} of {attempt:#?}");
    }
    // The completion's id, which is not the request's.
    let id = attempt.get("gen_ai.response.id");
    assert!(id.starts_with("chatcmpl-") && entry.upstream_request_id.starts_with("req_"), "{id} of {attempt:#?}");
    assert_eq!((call.resource["service.name"].as_str(), call.scope.as_str()), ("our-gateway", "tollgate"));
    assert_eq!(call.resource["deployment.environment.name"], "test");
    assert_eq!(collector.keys()[0], "the collector's own");
    let raw = String::from_utf8_lossy(&collector.raw()).into_owned();
    assert!(!raw.contains("Say hello"), "prompts are in no span");
}

#[tokio::test]
async fn a_refused_call_names_the_stage_and_the_reason() {
    let collector = Collector::start().await;
    let world = World::with(|b| traced(b, &collector.grpc, "grpc").budget_usd("0.000000001")).await;
    let trace = "2af7651916cd43dd8448eb211c80319c";
    let caller = world.gateway.caller().with("traceparent", parent(trace));
    assert_eq!(caller.post(&world.v1("chat/completions"), &hello(json!({}))).await.unwrap().status, 429);
    let spans = collector.trace(trace).await;
    let reserve = named(&spans, "reserve");
    assert!(reserve.failed && spans[0].failed);
    assert_eq!(spans[0].get("error.type"), "BUDGET_EXHAUSTED");
    assert!(spans.iter().all(|span| span.kind != SpanKind::Client));
}

#[tokio::test]
async fn while_tracing_is_off_a_callers_trace_is_passed_on_and_no_other_begun() {
    let world = World::start().await;
    let trace = parent("3af7651916cd43dd8448eb211c80319c");
    let caller = world.gateway.caller();
    let url = world.v1("chat/completions");
    assert_eq!(caller.clone().with("traceparent", &trace).post(&url, &hello(json!({}))).await.unwrap().status, 200);
    assert_eq!(caller.post(&url, &hello(json!({}))).await.unwrap().status, 200);
    let sent = world.provider.log().records();
    assert_eq!(sent[0].headers.get("traceparent"), Some(&trace));
    assert_eq!(sent[1].headers.get("traceparent"), None);
}

#[tokio::test]
async fn providers_are_told_of_no_trace_where_they_shall_not_be() {
    let world = World::with(|b| b.set("/tracing", json!({"to_providers": false}))).await;
    let caller = world.gateway.caller().with("traceparent", parent("4af7651916cd43dd8448eb211c80319c"));
    assert_eq!(caller.post(&world.v1("chat/completions"), &hello(json!({}))).await.unwrap().status, 200);
    assert_eq!(world.provider.log().records()[0].headers.get("traceparent"), None);
}

#[tokio::test]
async fn a_trace_that_its_caller_does_not_record_is_not_recorded_here() {
    let collector = Collector::start().await;
    let world = World::with(|b| traced(b, &collector.grpc, "grpc")).await;
    let (unseen, seen) = ("5af7651916cd43dd8448eb211c80319c", "6af7651916cd43dd8448eb211c80319c");
    let url = world.v1("chat/completions");
    for parent in [parent(unseen).replace("-01", "-00"), parent(seen)] {
        let caller = world.gateway.caller().with("traceparent", parent);
        assert_eq!(caller.post(&url, &hello(json!({}))).await.unwrap().status, 200);
    }
    collector.trace(seen).await;
    assert!(collector.spans().iter().all(|span| span.trace == seen));
    assert!(world.provider.log().records()[0].headers["traceparent"].ends_with("-00"));
}

#[tokio::test]
async fn rpcs_that_are_no_calls_are_one_span_each_with_what_they_came_to() {
    let collector = Collector::start().await;
    let world = World::with(|b| traced(b, &collector.grpc, "grpc")).await;
    let rpc = |trace: &str| {
        let collector = collector.clone();
        let trace = trace.to_owned();
        async move {
            let spans = collector.trace(&trace).await;
            assert_eq!((spans.len(), spans[0].parent.as_str()), (1, CALLER), "{spans:#?}");
            let span = &spans[0];
            let told = ["rpc.system", "rpc.service", "rpc.method", "rpc.grpc.status_code", "error.type"];
            (span.name.clone(), told.map(|name| span.get(name).to_owned()).join(" "), span.failed)
        }
    };
    let good = "caf7651916cd43dd8448eb211c80319c";
    let admin = world.admin().await.with_trace_parent(&parent(good)).unwrap();
    admin.keys().list_keys(v1::ListKeysRequest::default()).await.unwrap();
    let name = "tollgate.v1.KeyAdminService/ListKeys";
    let told = "grpc tollgate.v1.KeyAdminService ListKeys 0 ";
    assert_eq!(rpc(good).await, (name.to_owned(), told.to_owned(), false));

    let refused = "daf7651916cd43dd8448eb211c80319c";
    let caller = world.caller().await.with_trace_parent(&parent(refused)).unwrap();
    caller.keys().create_key(v1::CreateKeyRequest::default()).await.unwrap_err();
    let name = "tollgate.v1.KeyAdminService/CreateKey";
    let told = "grpc tollgate.v1.KeyAdminService CreateKey 7 ROLE_NOT_ALLOWED";
    assert_eq!(rpc(refused).await, (name.to_owned(), told.to_owned(), true));

    for (trace, route, name) in [
        ("eaf7651916cd43dd8448eb211c80319c", "files", "tollgate.v1.FileService/ListFiles"),
        ("faf7651916cd43dd8448eb211c80319c", "batches", "tollgate.v1.BatchService/ListBatches"),
    ] {
        let caller = world.gateway.caller().with("traceparent", parent(trace));
        assert_eq!(caller.get(&world.v1(route)).await.unwrap().status, 200, "{route}");
        assert_eq!(rpc(trace).await.0, name);
    }

    // One that its caller leaves before it ends.
    let left = "abf7651916cd43dd8448eb211c80319c";
    let admin = world.admin().await.with_trace_parent(&parent(left)).unwrap();
    drop(admin.audit().tail_records(v1::TailRecordsRequest::default()).await.unwrap());
    let told = "grpc tollgate.v1.AuditService TailRecords 1 CANCELLED";
    assert_eq!(rpc(left).await.1, told);
}

#[tokio::test]
async fn the_copy_of_a_mirrored_call_is_in_the_trace_of_the_call() {
    let collector = Collector::start().await;
    let world = World::with(|b| {
        traced(b, &collector.grpc, "grpc")
            .model("shadow", "scripted", "shadow-upstream")
            .set("/models/0/mirror", json!({"model": "shadow", "percent": 100}))
    })
    .await;
    let trace = "bbf7651916cd43dd8448eb211c80319c";
    let caller = world.gateway.caller().with("traceparent", parent(trace));
    assert_eq!(caller.post(&world.v1("chat/completions"), &hello(json!({}))).await.unwrap().status, 200);
    let is_copy = |span: &Told| span.get("tollgate.action") == "completion.mirror";
    eventually("the copy arrives", async || collector.spans().iter().any(is_copy)).await;
    let spans = collector.trace(trace).await;
    let (call, copy) = (&spans[0], spans.iter().find(|span| is_copy(span)).unwrap());
    assert_eq!((copy.name.as_str(), &copy.parent, copy.kind), ("chat shadow", &call.id, SpanKind::Internal));
    let attempt = named(&spans, "chat shadow-upstream");
    assert_eq!(attempt.parent, copy.id);
    let sent = world.provider.log().records();
    let told = sent.iter().find(|sent| sent.model == "shadow-upstream").unwrap().headers.get("traceparent").cloned();
    assert_eq!(told, Some(format!("00-{trace}-{}-01", attempt.id)));
}

#[tokio::test]
async fn the_standard_sampler_decides_where_the_configuration_does_not() {
    let collector = Collector::start().await;
    let world = World::with(|b| {
        traced(b, &collector.grpc, "grpc").environment("OTEL_TRACES_SAMPLER", "parentbased_always_off")
    })
    .await;
    let url = world.v1("chat/completions");
    assert_eq!(world.gateway.caller().post(&url, &hello(json!({}))).await.unwrap().status, 200);
    let seen = "aaf7651916cd43dd8448eb211c80319c";
    let caller = world.gateway.caller().with("traceparent", parent(seen));
    assert_eq!(caller.post(&url, &hello(json!({}))).await.unwrap().status, 200);
    collector.trace(seen).await;
    assert!(collector.spans().iter().all(|span| span.trace == seen), "the first was of nobody who had decided");
    assert!(world.provider.log().records()[0].headers["traceparent"].ends_with("-00"));
}

#[tokio::test]
async fn what_the_configuration_says_of_samples_comes_before_the_standard_sampler() {
    let collector = Collector::start().await;
    let world = World::with(|b| {
        let b = traced(b, &collector.grpc, "grpc").environment("OTEL_TRACES_SAMPLER", "always_off");
        b.set("/tracing/sample_ratio", 1)
    })
    .await;
    let url = world.v1("chat/completions");
    // The sampler's own word is that callers do not decide, and the configuration says nothing of that.
    let unseen = parent("baf7651916cd43dd8448eb211c80319c").replace("-01", "-00");
    let caller = world.gateway.caller().with("traceparent", unseen);
    assert_eq!(caller.post(&url, &hello(json!({}))).await.unwrap().status, 200);
    collector.trace("baf7651916cd43dd8448eb211c80319c").await;
}

#[tokio::test]
async fn a_collector_that_stalls_costs_calls_nothing_and_what_is_lost_is_told() {
    let collector = Collector::start().await;
    let world = World::with(|b| {
        traced(b, &collector.grpc, "grpc").set("/tracing/timeout", "200ms").set("/tracing/max_queued_spans", 20)
    })
    .await;
    collector.stall(true);
    let caller = world.gateway.caller();
    let begun = Instant::now();
    for _ in 0..20 {
        let reply = caller.post(&world.v1("chat/completions"), &hello(json!({}))).await.unwrap();
        assert_eq!(reply.status, 200);
    }
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    eventually("the loss is told", async || world.gateway.logs().contains("spans are lost")).await;
    let text = crate::metrics::exposed(&world.gateway).await;
    assert!(crate::metrics::value(&text, "tollgate_spans_lost_total", &[]).is_some_and(|lost| lost > 0.0), "{text}");
    collector.stall(false);
    let trace = "7af7651916cd43dd8448eb211c80319c";
    eventually("spans arrive again", async || {
        let caller = world.gateway.caller().with("traceparent", parent(trace));
        caller.post(&world.v1("chat/completions"), &hello(json!({}))).await.unwrap();
        collector.spans().iter().any(|span| span.trace == trace)
    })
    .await;
}

#[tokio::test]
async fn the_last_spans_are_sent_before_the_gateway_ends() {
    let collector = Collector::start().await;
    let mut world = World::with(|b| traced(b, &collector.http, "http").set("/tracing/interval", "60s")).await;
    let trace = "8af7651916cd43dd8448eb211c80319c";
    let caller = world.gateway.caller().with("traceparent", parent(trace));
    assert_eq!(caller.post(&world.v1("chat/completions"), &hello(json!({}))).await.unwrap().status, 200);
    world.gateway.sigterm(Duration::from_secs(10)).await.unwrap();
    assert_eq!(collector.trace(trace).await[0].name, "chat scripted");
}

#[tokio::test]
async fn every_call_is_one_line_in_the_log_with_its_ids() {
    let world = World::with(|b| b.set("/log", json!({"format": "json"}))).await;
    let trace = "9af7651916cd43dd8448eb211c80319c";
    let caller = world.gateway.caller().with("traceparent", parent(trace));
    let url = world.v1("chat/completions");
    assert_eq!(caller.post(&url, &hello(json!({}))).await.unwrap().status, 200);
    assert_eq!(caller.post(&url, &hello(json!({"model": "nobody"}))).await.unwrap().status, 404);
    let lines = || -> Vec<serde_json::Value> {
        let logs = world.gateway.logs();
        let lines = logs.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        lines.filter(|line| line["target"] == "tollgate::call").collect()
    };
    eventually("both calls are logged", async || lines().len() == 2).await;
    let (lines, entry) = (lines(), &world.entries().await[0]);
    let usage = entry.usage.as_ref().unwrap();
    let told = |name: &str| lines[0][name].clone();
    assert_eq!((told("result"), told("trace")), (json!("OK"), json!(trace)));
    assert_eq!((told("call"), told("key")), (json!(entry.call_id), json!(entry.key_id)));
    assert_eq!((told("model"), told("deployment")), (json!("scripted"), json!(entry.deployment)));
    assert_eq!(told("input_tokens"), json!(usage.input.unwrap().total));
    assert_eq!(told("output_tokens"), json!(usage.output.unwrap().total));
    assert!(told("cost_usd").as_str().is_some_and(|cost| cost.starts_with("0.0")), "{}", lines[0]);
    assert_eq!(lines[1]["result"], "MODEL_NOT_FOUND");
    assert!(!world.gateway.logs().contains("Say hello"));
}
