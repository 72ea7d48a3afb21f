//! `tollgate replay`: recorded calls, made again under another configuration, in virtual time.
//!
//! What a deployment did is taken from the record: for a call that it served, what it did then; for any other, what it did at the time
//! nearest to it. Deployments that the record does not know answer after 200 ms, and are told of.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use serde::Serialize;
use tollgate_control::Control;
use tollgate_domain::{AttemptId, CallId, Class, Failure, Secret, micros as micros_of};
use tollgate_pipeline::{Again, KeySecret};
use tollgate_proto::v1::{
    Attempt, AuditRecord, CompletionRequest, ErrorReason, GatewayOptions, Key, KeyRole, RouteNeeds, Usage,
};
use tollgate_providers::{
    Head, Mode,
    transport::{BodyStream, InProcess},
};

use super::{
    answer::{Answer, Manner},
    provider::unhex,
    request,
    sim::{Made, Sim, call},
};
use crate::config::Config;

/// What a deployment is taken to need where nobody knows.
const ASSUMED: Duration = Duration::from_millis(200);

/// A call as it was and as it would be.
#[derive(Clone, Debug, Serialize)]
pub struct Replayed {
    /// The call's id.
    pub call_id: String,
    /// The alias that was asked for.
    pub model: String,
    /// As recorded.
    pub before: Side,
    /// Under the other configuration.
    pub after: Side,
}

/// How a call went.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Side {
    /// The deployment that answered; absent: none did.
    pub served_by: Option<String>,
    /// Reason of its error; absent: none.
    pub error: Option<String>,
    /// Attempts.
    pub attempts: usize,
    /// Cost in nano-dollars.
    pub cost_nano_usd: i64,
    /// How long it took.
    pub took_us: u64,
}

/// Calls of a model that went one way and would go another, or the same.
#[derive(Clone, Debug, Serialize)]
pub struct Move {
    /// The alias.
    pub model: String,
    /// Who answered; or the error.
    pub from: String,
    /// Who would.
    pub to: String,
    /// How many.
    pub calls: usize,
    /// What they cost together.
    pub cost_before_nano_usd: i64,
    /// What they would.
    pub cost_after_nano_usd: i64,
}

/// What a replay came to.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// How many calls were made again.
    pub calls: usize,
    /// Those that another deployment would have answered.
    pub elsewhere: usize,
    /// Errors as recorded.
    pub errors_before: usize,
    /// Errors under the other configuration.
    pub errors_after: usize,
    /// Cost as recorded, nano-dollars.
    pub cost_before_nano_usd: i64,
    /// Cost under the other configuration.
    pub cost_after_nano_usd: i64,
    /// Mean time to the end, microseconds, of calls that were answered both ways.
    pub mean_before_us: u64,
    /// The same under the other configuration.
    pub mean_after_us: u64,
    /// Records that are no calls which can be made again, by why.
    pub left_out: BTreeMap<String, usize>,
    /// Deployments that were asked and of which the record knows nothing.
    pub assumed: BTreeSet<String>,
    /// By model, from whom to whom: the most calls first.
    pub moves: Vec<Move>,
    /// Every call, in the order of arrival.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub outcomes: Vec<Replayed>,
}

/// Makes recorded calls again under `config`.
pub fn replay(records: &[AuditRecord], config: &Config) -> anyhow::Result<Comparison> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build()?;
    runtime.block_on(make_again(records, config))
}

/// A call that can be made again.
struct Recorded<'a> {
    id: CallId,
    record: &'a AuditRecord,
    needs: &'a RouteNeeds,
    /// When it came, microseconds since the epoch.
    came_us: i64,
}

/// Why a record cannot be made again.
fn recorded(record: &AuditRecord) -> Result<Recorded<'_>, &'static str> {
    match record.action.as_str() {
        "completion.create" | "completion.stream" => {}
        "embedding.create" => return Err("embeddings"),
        "rerank.create" => return Err("rankings"),
        "moderation.create" => return Err("moderations"),
        "image.generate" => return Err("images"),
        "completion.mirror" => return Err("copies of other calls"),
        _ => return Err("no calls"),
    }
    if record.error_reason() == ErrorReason::Cancelled {
        return Err("calls that their callers gave up");
    }
    let routing = record.routing.as_ref().ok_or("calls refused before they were routed")?;
    let needs = routing.needs.as_ref().ok_or("calls recorded before needs were")?;
    let id = CallId::parse(&record.call_id).ok_or("calls without an id")?;
    let ended_us = record.time.as_ref().map(micros_of).ok_or("calls without a time")?;
    Ok(Recorded { id, record, needs, came_us: ended_us - record.duration_us })
}

async fn make_again(records: &[AuditRecord], config: &Config) -> anyhow::Result<Comparison> {
    let mut left_out = BTreeMap::new();
    let mut calls = Vec::new();
    for record in records {
        match recorded(record) {
            Ok(call) => calls.push(call),
            Err(why) => *left_out.entry(why.to_owned()).or_default() += 1,
        }
    }
    calls.sort_by_key(|call| (call.came_us, call.id));
    calls.dedup_by_key(|call| call.id);
    let first_us = calls.first().context("the export has no completion that can be made again")?.came_us;
    let memory = Arc::new(Memory::of(&calls));
    let seeds: HashMap<CallId, u64> =
        calls.iter().map(|c| (c.id, c.record.routing.as_ref().map_or(0, |r| r.seed))).collect();
    let seeds = Box::new(move |id: CallId| seeds.get(&id).copied().unwrap_or_default());
    let sim = Arc::new(Sim::start(config, memory.clone(), seeds, first_us).await?);
    let secret = key(&sim).await?;

    let mut under_way = tokio::task::JoinSet::new();
    let mut outcomes: Vec<Option<Made>> = Vec::new();
    outcomes.resize_with(calls.len(), || None);
    for (number, recorded) in calls.iter().enumerate() {
        let since = Duration::from_micros(u64::try_from(recorded.came_us - first_us).unwrap_or(0));
        tokio::time::sleep_until(sim.begun + since).await;
        let again = call(
            recorded.id,
            &secret,
            Arc::new(body(recorded)?),
            if recorded.record.action == "completion.stream" { Mode::Stream } else { Mode::Whole },
            None,
            Some(Again { input_tokens: recorded.needs.input_tokens, sticky: recorded.needs.sticky }),
        );
        let sim = sim.clone();
        under_way.spawn(async move { (number, Box::pin(sim.make(again)).await) });
        while let Some(done) = under_way.try_join_next() {
            let (number, made) = done.context("a call of the record")?;
            outcomes[number] = Some(made);
        }
    }
    while let Some(done) = under_way.join_next().await {
        let (number, made) = done.context("a call of the record")?;
        outcomes[number] = Some(made);
    }
    let replayed = calls.iter().zip(outcomes).filter_map(|(recorded, made)| Some(compare(recorded, &made?)));
    Ok(Comparison::of(replayed.collect(), left_out, memory.assumed.lock().clone()))
}

/// A key that may use every model: what the recorded keys may is not known here.
async fn key(sim: &Sim) -> anyhow::Result<Secret> {
    use rand::SeedableRng;
    let secret = KeySecret::generate(&mut rand::rngs::SmallRng::seed_from_u64(1));
    let key =
        Key { display_name: "replay".into(), role: KeyRole::Caller as i32, models: vec!["*".into()], ..Key::default() };
    Control::new(sim.pipeline.clone()).provision(key, &secret, None).await?;
    Ok(Secret::new(secret.expose()))
}

/// A request that needs what the recorded one needed.
fn body(recorded: &Recorded<'_>) -> anyhow::Result<CompletionRequest> {
    let needs = recorded.needs;
    let options = GatewayOptions {
        tags: needs.tags.clone(),
        region: needs.region.clone(),
        fallbacks: needs.fallbacks.clone(),
        no_fallbacks: needs.no_fallbacks,
        deployment: needs.deployment.clone(),
        ..GatewayOptions::default()
    };
    let uses: Vec<&str> = needs.capabilities.iter().map(String::as_str).collect();
    Ok(CompletionRequest {
        model: Some(recorded.record.model.clone()),
        max_output_tokens: i64::try_from(needs.output_tokens).ok().filter(|tokens| *tokens > 0),
        tollgate: Some(options),
        // How long the prompt was is told apart.
        ..request::that_uses(1, &uses).with_context(|| format!("call {}", recorded.record.call_id))?
    })
}

fn compare(recorded: &Recorded<'_>, made: &Made) -> Replayed {
    let side = |record: &AuditRecord, error: String, took_us: u64| {
        let attempts = record.routing.as_ref().map_or(&[][..], |routing| &routing.attempts);
        Side {
            served_by: attempts.last().filter(|a| error.is_empty() && a.class == "ok").map(|a| a.deployment.clone()),
            error: (!error.is_empty()).then_some(error),
            attempts: attempts.len(),
            cost_nano_usd: record.usage.as_ref().map_or(0, |usage| usage.cost_nano_usd),
            took_us,
        }
    };
    let record = recorded.record;
    let reason = match record.error_reason() {
        ErrorReason::Unspecified => String::new(),
        reason => reason.wire_name().to_owned(),
    };
    Replayed {
        call_id: record.call_id.clone(),
        model: record.model.clone(),
        before: side(record, reason, u64::try_from(record.duration_us).unwrap_or(0)),
        after: side(&made.record, made.reason.clone(), made.took_us),
    }
}

impl Comparison {
    fn of(outcomes: Vec<Replayed>, left_out: BTreeMap<String, usize>, assumed: BTreeSet<String>) -> Self {
        let sum = |of: fn(&Replayed) -> i64| outcomes.iter().map(of).sum();
        let count = |is: fn(&Replayed) -> bool| outcomes.iter().filter(|r| is(r)).count();
        let both: Vec<_> =
            outcomes.iter().filter(|r| r.before.served_by.is_some() && r.after.served_by.is_some()).collect();
        let mean = |of: fn(&Replayed) -> u64| {
            let total: u128 = both.iter().map(|r| u128::from(of(r))).sum();
            u64::try_from(total / (both.len().max(1) as u128)).unwrap_or(u64::MAX)
        };
        let end = |side: &Side| match (&side.served_by, &side.error) {
            (Some(deployment), _) => deployment.clone(),
            (None, Some(error)) => error.clone(),
            (None, None) => "nobody".to_owned(),
        };
        let mut moves: BTreeMap<(String, String, String), Move> = BTreeMap::new();
        for replayed in &outcomes {
            let (from, to) = (end(&replayed.before), end(&replayed.after));
            let entry = moves.entry((replayed.model.clone(), from.clone(), to.clone())).or_insert_with(|| Move {
                model: replayed.model.clone(),
                from,
                to,
                calls: 0,
                cost_before_nano_usd: 0,
                cost_after_nano_usd: 0,
            });
            entry.calls += 1;
            entry.cost_before_nano_usd += replayed.before.cost_nano_usd;
            entry.cost_after_nano_usd += replayed.after.cost_nano_usd;
        }
        let mut moves: Vec<_> = moves.into_values().collect();
        moves.sort_by_key(|m| std::cmp::Reverse(m.calls));
        Self {
            calls: outcomes.len(),
            elsewhere: count(|r| r.after.served_by.is_some() && r.before.served_by != r.after.served_by),
            errors_before: count(|r| r.before.error.is_some()),
            errors_after: count(|r| r.after.error.is_some()),
            cost_before_nano_usd: sum(|r| r.before.cost_nano_usd),
            cost_after_nano_usd: sum(|r| r.after.cost_nano_usd),
            mean_before_us: mean(|r| r.before.took_us),
            mean_after_us: mean(|r| r.after.took_us),
            left_out,
            assumed,
            moves,
            outcomes,
        }
    }
}

/// What deployments did, as recorded.
struct Memory {
    /// By deployment: when an attempt began, microseconds since the epoch, and how it went. Sorted.
    attempts: HashMap<String, Vec<(i64, Sample)>>,
    /// By call and deployment: the same, in order.
    own: HashMap<(CallId, String), Vec<Sample>>,
    /// What calls consumed.
    usage: HashMap<CallId, Usage>,
    begun: tokio::time::Instant,
    first_us: i64,
    assumed: parking_lot::Mutex<BTreeSet<String>>,
    asked: parking_lot::Mutex<HashMap<(CallId, String), usize>>,
}

/// How an attempt went.
#[derive(Clone, Debug)]
struct Sample {
    /// Until the head; or until it failed.
    head: Duration,
    /// From there to the end.
    rest: Duration,
    class: Option<Class>,
    /// How it failed: before its head, or within its answer.
    has_head: bool,
    had_content: bool,
    usage: Option<Usage>,
}

impl Sample {
    fn assumed() -> Self {
        Self { head: ASSUMED, rest: Duration::ZERO, class: None, has_head: true, had_content: true, usage: None }
    }

    fn of(attempt: &Attempt) -> Self {
        let span = |from: i64, to: i64| Duration::from_micros(u64::try_from(to - from).unwrap_or(0));
        let head_us = attempt.head_us.unwrap_or(attempt.end_us);
        Self {
            head: span(attempt.start_us, head_us),
            rest: span(head_us, attempt.end_us),
            class: Class::named(&attempt.class),
            has_head: attempt.head_us.is_some(),
            had_content: attempt.first_content_us.is_some(),
            usage: attempt.usage.clone(),
        }
    }
}

impl Memory {
    fn of(calls: &[Recorded<'_>]) -> Self {
        let mut memory = Memory {
            attempts: HashMap::new(),
            own: HashMap::new(),
            usage: HashMap::new(),
            begun: tokio::time::Instant::now(),
            first_us: calls.first().map_or(0, |call| call.came_us),
            assumed: Default::default(),
            asked: Default::default(),
        };
        for call in calls {
            for attempt in call.record.routing.iter().flat_map(|routing| &routing.attempts) {
                let sample = Sample::of(attempt);
                if let Some(usage) = &attempt.usage {
                    memory.usage.insert(call.id, usage.clone());
                }
                memory.own.entry((call.id, attempt.deployment.clone())).or_default().push(sample.clone());
                let at_us = call.came_us + attempt.start_us;
                memory.attempts.entry(attempt.deployment.clone()).or_default().push((at_us, sample));
            }
        }
        memory.attempts.values_mut().for_each(|all| all.sort_by_key(|(at_us, _)| *at_us));
        memory
    }

    /// What `deployment` does with this call now.
    fn sample(&self, call: CallId, deployment: &str) -> Sample {
        let key = (call, deployment.to_owned());
        let turn = {
            let mut asked = self.asked.lock();
            let turn = asked.entry(key.clone()).or_default();
            *turn += 1;
            *turn - 1
        };
        if let Some(own) = self.own.get(&key).and_then(|all| all.get(turn)) {
            return own.clone();
        }
        let now_us = self.first_us + i64::try_from(self.begun.elapsed().as_micros()).unwrap_or(i64::MAX);
        let Some(all) = self.attempts.get(deployment) else {
            self.assumed.lock().insert(deployment.to_owned());
            return Sample::assumed();
        };
        let after = all.partition_point(|(at_us, _)| *at_us < now_us);
        let nearest = [after.checked_sub(1), Some(after)].into_iter().flatten().filter_map(|at| all.get(at));
        let nearest = nearest.min_by_key(|(at_us, _)| (at_us - now_us).abs());
        // What it charged for another call says nothing of this one.
        nearest.map_or_else(Sample::assumed, |(_, sample)| Sample { usage: None, ..sample.clone() })
    }

    fn answer(&self, call: CallId, sample: &Sample, request: &http::Request<Bytes>) -> Answer {
        let asked = serde_json::from_slice(request.body()).unwrap_or_default();
        // A call that nobody answered is taken to get twenty tokens.
        let usage = sample.usage.as_ref().or(self.usage.get(&call));
        let written = usage.and_then(|usage| usage.output).unwrap_or_default();
        let read = usage.and_then(|usage| usage.input).unwrap_or_default();
        let mut answer = Answer::to(&asked, request.uri().path(), if written.total > 0 { written.total } else { 20 });
        if read.total > 0 {
            answer.prompt = read.total;
        }
        if sample.usage.is_some() {
            answer.cached_read = read.cached_read;
            answer.cache_write = read.cache_write_5m + read.cache_write_1h;
            answer.reasoning = written.reasoning.min(answer.tokens);
        }
        answer
    }
}

impl InProcess for Memory {
    fn respond(&self, request: http::Request<Bytes>) -> BoxFuture<'static, Result<(Head, BodyStream), Failure>> {
        let deployment = request.uri().host().and_then(unhex).unwrap_or_default();
        let attempt = request.headers().get("x-client-request-id").and_then(|id| id.to_str().ok());
        let Some(call) = attempt.and_then(AttemptId::parse).map(|id| id.call) else {
            let failure = Failure::new(Class::Connection, "an attempt without an id");
            return async move { Err(failure) }.boxed();
        };
        let sample = self.sample(call, &deployment);
        let answer = self.answer(call, &sample, &request);
        async move {
            tokio::time::sleep(sample.head).await;
            let failure = sample.class.map(|class| Failure::new(class, "as recorded"));
            let written = if sample.had_content { answer.tokens.div_ceil(2) } else { 0 };
            let break_after = match failure {
                Some(failure) if !sample.has_head => return Err(failure),
                failure => failure.map(|failure| (written, failure)),
            };
            let pieces = if break_after.is_some() { written } else { answer.tokens };
            let between = sample.rest / u32::try_from(pieces.max(1)).unwrap_or(u32::MAX);
            Ok(answer.send(Manner { between, break_after, body: None }, ()))
        }
        .boxed()
    }
}
