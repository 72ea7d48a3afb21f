//! What stands in for providers: it speaks their dialects and behaves as the scenario says, in virtual time.

use std::{
    collections::HashMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::Context;
use bytes::Bytes;
use futures::{FutureExt, StreamExt, future::BoxFuture};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use rand::{Rng, SeedableRng, rngs::SmallRng};
use serde_json::{Value, json};
use tokio::time::Instant;
use tollgate_domain::{Class, Failure};
use tollgate_providers::{
    Head,
    transport::{BodyStream, InProcess},
};
use tollgate_router::stable_hash;

use super::file::{Latency, Phase, Scenario};

/// Scheme of its URIs: `sim://<deployment, hex>/v1/...`.
pub(crate) const SCHEME: &str = "sim";

/// The base URL of a deployment.
pub(crate) fn base_url(deployment: &str) -> String {
    let host: String = deployment.bytes().map(|byte| format!("{byte:02x}")).collect();
    format!("{SCHEME}://{host}/v1")
}

/// All providers of a scenario.
pub(crate) struct Providers {
    begun: Instant,
    seed: u64,
    deployments: HashMap<String, Arc<Deployment>>,
}

#[derive(Default)]
struct Deployment {
    phases: Vec<(Phase, Option<Bytes>)>,
    calls: AtomicU64,
    /// Calls of a minute: its number and their count.
    minute: parking_lot::Mutex<(u64, u64)>,
    in_flight: AtomicU64,
}

impl Providers {
    /// Those of a scenario, whose time begins now. `dir`: where its files are.
    pub(crate) fn new(scenario: &Scenario, names: &[String], dir: &Path) -> anyhow::Result<Arc<Self>> {
        if let Some(unknown) = scenario.deployments.keys().find(|name| !names.contains(name)) {
            anyhow::bail!("deployments: there is no {unknown:?} in the configuration; it has {names:?}");
        }
        let mut deployments = HashMap::new();
        for name in names {
            let mut phases = Vec::new();
            for (at, phase) in scenario.deployments.get(name).into_iter().flatten().enumerate() {
                let body = phase.body.as_ref().map(|file| std::fs::read(dir.join(file)));
                let body = body.transpose().with_context(|| format!("deployments.{name}[{at}].body"))?;
                phases.push((phase.clone(), body.map(Bytes::from)));
            }
            phases.sort_by_key(|(phase, _)| phase.from.map(|from| from.duration()));
            deployments.insert(name.clone(), Arc::new(Deployment { phases, ..Deployment::default() }));
        }
        Ok(Arc::new(Self { begun: Instant::now(), seed: scenario.seed, deployments }))
    }
}

impl InProcess for Providers {
    fn respond(&self, request: http::Request<Bytes>) -> BoxFuture<'static, Result<(Head, BodyStream), Failure>> {
        let name = request.uri().host().and_then(unhex).unwrap_or_default();
        let Some(deployment) = self.deployments.get(&name).cloned() else {
            let failure = Failure::new(Class::Connection, format!("no deployment {name:?} in this scenario"));
            return async move { Err(failure) }.boxed();
        };
        let (begun, seed) = (self.begun, self.seed ^ stable_hash(&name));
        async move { deployment.serve(request, begun, seed).await }.boxed()
    }
}

/// Counts a call that is under way, until its answer was read or dropped.
struct InFlight(Arc<Deployment>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Deployment {
    fn phase(&self, since: Duration) -> (Phase, Option<Bytes>) {
        let now = self.phases.iter().rfind(|(phase, _)| phase.from.is_none_or(|from| from.duration() <= since));
        now.cloned().unwrap_or_default()
    }

    async fn serve(
        self: Arc<Self>,
        request: http::Request<Bytes>,
        begun: Instant,
        seed: u64,
    ) -> Result<(Head, BodyStream), Failure> {
        let since = begun.elapsed();
        let (phase, body) = self.phase(since);
        let number = self.calls.fetch_add(1, Ordering::Relaxed);
        let mut random = SmallRng::seed_from_u64(seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        if phase.refuse {
            return Err(Failure::new(Class::Connection, "could not connect to the provider: connection refused"));
        }
        if phase.hang {
            std::future::pending::<()>().await;
        }
        let in_flight = InFlight(self.clone());
        let others = self.in_flight.fetch_add(1, Ordering::Relaxed);
        if phase.concurrent_requests.is_some_and(|most| others >= most) {
            return Ok(refusal(429, None, None, body));
        }
        if let Some(limit) = phase.requests_per_minute {
            let minute = since.as_secs() / 60;
            let mut counted = self.minute.lock();
            *counted = if counted.0 == minute { (minute, counted.1 + 1) } else { (minute, 1) };
            if counted.1 > limit {
                let left = Duration::from_secs((minute + 1) * 60).saturating_sub(since);
                return Ok(refusal(429, Some(left), None, body));
            }
        }
        let drawn = phase.error_percent.is_none_or(|percent| random.random::<f64>() * 100.0 < percent);
        let status = match (phase.status, phase.error_percent) {
            (status, Some(_)) if drawn => status.unwrap_or(500),
            (_, Some(_)) => 200,
            (status, None) => status.unwrap_or(200),
        };
        tokio::time::sleep(draw(phase.latency.as_ref(), &mut random)).await;
        if status >= 400 {
            let after = phase.retry_after.map(|after| after.duration());
            return Ok(refusal(status, after, phase.code.as_deref(), body));
        }
        let asked: Value = serde_json::from_slice(request.body()).unwrap_or_default();
        let answer = Answer::new(&phase, &asked, request.uri().path());
        Ok(answer.send(&phase, body, in_flight))
    }
}

fn draw(latency: Option<&Latency>, random: &mut SmallRng) -> Duration {
    match latency {
        None => Duration::from_millis(200),
        Some(Latency::Fixed(span)) => span.duration(),
        Some(Latency::Spread { p50, p99 }) => {
            // The 99th percentile of a normal distribution lies 2.326 deviations above its middle.
            let (p50, p99) = (p50.duration().as_secs_f64().max(1e-6), p99.duration().as_secs_f64().max(1e-6));
            let deviation = (p99 / p50).ln().max(0.0) / 2.326_347_874;
            // Box and Muller.
            let (a, b) = (1.0 - random.random::<f64>(), random.random::<f64>());
            let normal = (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos();
            Duration::from_secs_f64((p50.ln() + deviation * normal).exp().min(86_400.0))
        }
    }
}

fn refusal(status: u16, after: Option<Duration>, code: Option<&str>, body: Option<Bytes>) -> (Head, BodyStream) {
    let kind = match status {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        429 => "rate_limit_error",
        529 | 503 => "overloaded_error",
        400..500 => "invalid_request_error",
        _ => "server_error",
    };
    let body = body.unwrap_or_else(|| {
        let error = json!({"message": format!("scripted {status}"), "type": kind, "code": code});
        Bytes::from(json!({"type": "error", "error": error}).to_string())
    });
    let mut head = head(status, "application/json");
    if let Some(after) = after
        && let Ok(seconds) = HeaderValue::try_from(format!("{}", after.as_secs_f64().ceil()))
    {
        head.headers.insert(header::RETRY_AFTER, seconds);
    }
    (head, futures::stream::once(async { Ok(body) }).boxed())
}

fn head(status: u16, content_type: &'static str) -> Head {
    let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(content_type))]);
    Head { status: StatusCode::from_u16(status).unwrap_or_default(), headers }
}

/// An answer in the dialect that it was asked in.
struct Answer {
    anthropic: bool,
    stream: bool,
    model: String,
    prompt: u64,
    tokens: u64,
}

impl Answer {
    fn new(phase: &Phase, asked: &Value, path: &str) -> Self {
        let most = ["max_completion_tokens", "max_tokens"].iter().find_map(|field| asked[*field].as_u64());
        let tokens = phase.tokens.unwrap_or(20);
        Self {
            anthropic: path.ends_with("/messages"),
            stream: asked["stream"].as_bool().unwrap_or(false),
            model: asked["model"].as_str().unwrap_or_default().to_owned(),
            // As many as the gateway estimates: four bytes each.
            prompt: (asked["messages"].to_string().len() as u64).div_ceil(4),
            tokens: most.map_or(tokens, |most| tokens.min(most)),
        }
    }

    fn send(self, phase: &Phase, body: Option<Bytes>, in_flight: InFlight) -> (Head, BodyStream) {
        let between = phase.between.map(|span| span.duration()).unwrap_or_default();
        let break_after = phase.break_after;
        if let Some(body) = body {
            return (head(200, "application/json"), futures::stream::once(async { Ok(body) }).boxed());
        }
        if !self.stream {
            let body = Bytes::from(self.whole().to_string());
            let pause = between.saturating_mul(u32::try_from(self.tokens).unwrap_or(u32::MAX));
            let bytes = async move {
                let _in_flight = in_flight;
                tokio::time::sleep(pause).await;
                match break_after {
                    Some(_) => Err(broken()),
                    None => Ok(body),
                }
            };
            return (head(200, "application/json"), futures::stream::once(bytes).boxed());
        }
        let stream = async_stream::stream! {
            let _in_flight = in_flight;
            for chunk in self.opening() {
                yield Ok(chunk);
            }
            for token in 0..self.tokens {
                if break_after.is_some_and(|after| token >= after) {
                    yield Err(broken());
                    return;
                }
                if token > 0 && !between.is_zero() {
                    tokio::time::sleep(between).await;
                }
                yield Ok(self.token());
            }
            if break_after.is_some() {
                yield Err(broken());
                return;
            }
            for chunk in self.closing() {
                yield Ok(chunk);
            }
        };
        (head(200, "text/event-stream"), stream.boxed())
    }

    fn event(&self, kind: &str, data: &Value) -> Bytes {
        match self.anthropic {
            true => Bytes::from(format!("event: {kind}\ndata: {data}\n\n")),
            false => Bytes::from(format!("data: {data}\n\n")),
        }
    }

    fn chunk(&self, delta: &Value, finish: &Value) -> Value {
        json!({"id": "chatcmpl-sim", "object": "chat.completion.chunk", "created": 0, "model": self.model,
               "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
    }

    fn opening(&self) -> Vec<Bytes> {
        match self.anthropic {
            true => {
                let usage = json!({"input_tokens": self.prompt, "output_tokens": 1});
                let message = json!({"id": "msg_sim", "type": "message", "role": "assistant", "model": self.model,
                                     "content": [], "stop_reason": null, "usage": usage});
                let block =
                    json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}});
                vec![
                    self.event("message_start", &json!({"type": "message_start", "message": message})),
                    self.event("content_block_start", &block),
                ]
            }
            false => vec![self.event("", &self.chunk(&json!({"role": "assistant", "content": ""}), &Value::Null))],
        }
    }

    fn token(&self) -> Bytes {
        match self.anthropic {
            true => {
                let delta = json!({"type": "text_delta", "text": "word "});
                self.event("content_block_delta", &json!({"type": "content_block_delta", "index": 0, "delta": delta}))
            }
            false => self.event("", &self.chunk(&json!({"content": "word "}), &Value::Null)),
        }
    }

    fn closing(&self) -> Vec<Bytes> {
        match self.anthropic {
            true => vec![
                self.event("content_block_stop", &json!({"type": "content_block_stop", "index": 0})),
                self.event(
                    "message_delta",
                    &json!({"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": null},
                            "usage": {"output_tokens": self.tokens}}),
                ),
                self.event("message_stop", &json!({"type": "message_stop"})),
            ],
            false => {
                let mut usage = self.chunk(&json!({}), &Value::Null);
                usage["choices"] = json!([]);
                usage["usage"] = self.openai_usage();
                vec![
                    self.event("", &self.chunk(&json!({}), &json!("stop"))),
                    self.event("", &usage),
                    Bytes::from_static(b"data: [DONE]\n\n"),
                ]
            }
        }
    }

    fn openai_usage(&self) -> Value {
        json!({"prompt_tokens": self.prompt, "completion_tokens": self.tokens, "total_tokens": self.prompt + self.tokens})
    }

    fn whole(&self) -> Value {
        let text = "word ".repeat(usize::try_from(self.tokens).unwrap_or(usize::MAX).min(100_000));
        match self.anthropic {
            true => json!({"id": "msg_sim", "type": "message", "role": "assistant", "model": self.model,
                           "content": [{"type": "text", "text": text}], "stop_reason": "end_turn", "stop_sequence": null,
                           "usage": {"input_tokens": self.prompt, "output_tokens": self.tokens}}),
            false => json!({"id": "chatcmpl-sim", "object": "chat.completion", "created": 0, "model": self.model,
                            "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
                            "usage": self.openai_usage()}),
        }
    }
}

fn broken() -> Failure {
    Failure::new(Class::UpstreamTruncated, "the connection broke in the middle of the answer: scripted")
}

fn unhex(host: &str) -> Option<String> {
    let bytes = host.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    String::from_utf8(bytes.collect::<Option<_>>()?).ok()
}
