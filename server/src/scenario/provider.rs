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
use http::{HeaderValue, header};
use rand::{Rng, SeedableRng, rngs::SmallRng};
use serde_json::{Value, json};
use tokio::time::Instant;
use tollgate_domain::{Class, Failure};
use tollgate_providers::{
    Head,
    transport::{BodyStream, InProcess},
};
use tollgate_router::stable_hash;

use super::{
    answer::{Answer, Manner, head},
    file::{Latency, Phase, Scenario},
};

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
        let answer = Answer::to(&asked, request.uri().path(), phase.tokens.unwrap_or(20));
        let manner = Manner {
            between: phase.between.map(|span| span.duration()).unwrap_or_default(),
            break_after: phase.break_after.map(|after| (after, broken())),
            body,
        };
        Ok(answer.send(manner, in_flight))
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

fn broken() -> Failure {
    Failure::new(Class::UpstreamTruncated, "the connection broke in the middle of the answer: scripted")
}

pub(super) fn unhex(host: &str) -> Option<String> {
    let bytes = host.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    String::from_utf8(bytes.collect::<Option<_>>()?).ok()
}
