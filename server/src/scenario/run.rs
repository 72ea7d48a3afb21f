//! Runs a scenario: the real pipeline and router, simulated providers, paused time, a seed.

use std::{collections::HashMap, path::Path, sync::Arc, time::Duration};

use anyhow::Context;
use rand::{SeedableRng, rngs::SmallRng};
use tokio::time::Instant;
use tollgate_control::Control;
use tollgate_domain::{CallId, NanoUsd, Secret};
use tollgate_pipeline::{KeySecret, Pipeline};
use tollgate_proto::v1::{CompletionRequest, GatewayOptions, Key, KeyRole, MidstreamPolicy, Priority};
use tollgate_providers::{Mode, transport::InProcess};
use tollgate_router::stable_hash;

use super::{
    expect::{Check, checks},
    file::{Load, PriorityName, Scenario, ScenarioKey},
    provider::Providers,
    request,
    sim::{Sim, call, micros},
};
use crate::{config::Config, table};

/// When scenarios begin: a Monday, 2026-01-05 09:00 UTC.
const BEGIN_US: i64 = 1_767_603_600_000_000;

/// What became of one call.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Outcome {
    /// The load that it belongs to, if that has a name.
    pub load: Option<String>,
    /// When it came, microseconds since the beginning.
    pub at_us: u64,
    /// Its own labels and those of its key.
    pub tags: Vec<String>,
    /// HTTP status.
    pub status: u16,
    /// Reason of its error, or empty.
    pub reason: String,
    /// The error's words, or empty.
    pub message: String,
    /// Whether the answer came to its end.
    pub answered: bool,
    /// Every attempt, in order.
    pub attempts: Vec<AttemptSeen>,
    /// How often another attempt took over an answer that had begun.
    pub restarted: usize,
    /// Until its end.
    pub took_us: u64,
    /// Until its first content.
    pub first_content_us: Option<u64>,
    /// What it cost, nano-dollars.
    pub cost_nano_usd: i64,
}

/// One attempt.
#[derive(Clone, Debug, serde::Serialize)]
pub struct AttemptSeen {
    /// Deployment.
    pub deployment: String,
    /// `ok`, or the class of its failure.
    pub class: String,
    /// When it began, microseconds since the call began.
    pub start_us: i64,
    /// When it ended.
    pub end_us: i64,
}

impl Outcome {
    /// The deployment that answered.
    pub fn served_by(&self) -> Option<&String> {
        self.attempts.last().filter(|_| self.answered).map(|a| &a.deployment)
    }
}

/// What a scenario came to.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Verdict {
    /// The scenario's name.
    pub name: String,
    /// Its seed.
    pub seed: u64,
    /// Simulated seconds.
    pub simulated_seconds: f64,
    /// Every figure against its bound.
    pub checks: Vec<Check>,
    /// Every call, in the order of arrival.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub outcomes: Vec<Outcome>,
}

impl Verdict {
    /// Whether everything holds.
    pub fn passed(&self) -> bool {
        self.checks.iter().all(|check| check.holds)
    }
}

/// Runs a scenario against a configuration. `dir`: where the scenario's files are. `progress` is told how many calls have ended, of how
/// many.
pub fn run(
    scenario: &Scenario,
    config: &Config,
    dir: &Path,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> anyhow::Result<Verdict> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build()?;
    runtime.block_on(simulate(scenario, config, dir, |providers| providers, progress))
}

struct World {
    sim: Sim,
    keys: HashMap<String, (Secret, ScenarioKey)>,
}

/// `reach`: how the providers are reached.
pub(super) async fn simulate(
    scenario: &Scenario,
    config: &Config,
    dir: &Path,
    reach: impl FnOnce(Arc<dyn InProcess>) -> Arc<dyn InProcess>,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> anyhow::Result<Verdict> {
    let names = table::deployment_names(config);
    let models = config.models.iter().flat_map(|model| std::iter::once(&model.name).chain(&model.aliases));
    scenario.fits(&names, &models.cloned().collect::<Vec<_>>())?;
    let providers = Providers::new(scenario, &names, dir)?;
    let seed = scenario.seed;
    // By the call, not by the order in which calls come to ask: that is the machine's.
    let seeds = Box::new(move |id: CallId| stable_hash(&format!("{seed} {id}")));
    let sim = Sim::start(config, reach(providers), seeds, BEGIN_US).await?;
    let keys = provision(scenario, &sim.pipeline).await?;
    let begun = sim.begun;
    let world = Arc::new(World { sim, keys });

    let mut arrivals = Vec::new();
    for load in &scenario.load {
        arrivals.extend(arrive(load, &world)?);
    }
    // Equal moments keep the order of the file.
    arrivals.sort_by_key(|arrival| arrival.at);
    let total = arrivals.len();
    let mut ended = 0;
    let mut under_way = tokio::task::JoinSet::new();
    let mut outcomes: Vec<Option<Outcome>> = vec![None; arrivals.len()];
    let mut keep = |done: Result<(usize, Outcome), tokio::task::JoinError>| {
        let (number, outcome) = done.context("a call of the scenario")?;
        outcomes[number] = Some(outcome);
        ended += 1;
        progress(ended, total);
        anyhow::Ok(())
    };
    for (number, arrival) in arrivals.into_iter().enumerate() {
        tokio::time::sleep_until(begun + arrival.at).await;
        let world = world.clone();
        under_way.spawn(async move { (number, Box::pin(world.make(arrival, number)).await) });
        // A call that has ended keeps its memory until it is looked at.
        while let Some(done) = under_way.try_join_next() {
            keep(done)?;
        }
    }
    while let Some(done) = under_way.join_next().await {
        keep(done)?;
    }
    let outcomes: Vec<_> = outcomes.into_iter().flatten().collect();
    let checks = scenario.expect.iter().flat_map(|expectation| checks(expectation, &outcomes)).collect();
    let simulated_seconds = begun.elapsed().as_secs_f64();
    Ok(Verdict { name: scenario.name.clone(), seed: scenario.seed, simulated_seconds, checks, outcomes })
}

async fn provision(
    scenario: &Scenario,
    pipeline: &Arc<Pipeline>,
) -> anyhow::Result<HashMap<String, (Secret, ScenarioKey)>> {
    let control = Control::new(pipeline.clone());
    let mut random = SmallRng::seed_from_u64(scenario.seed ^ 0x6b65_7973);
    let mut keys = HashMap::new();
    let default = ("default".to_owned(), ScenarioKey::default());
    let named = scenario.keys.iter().map(|(name, key)| (name.clone(), key.clone()));
    for (name, key) in std::iter::once(default).chain(named) {
        let secret = KeySecret::generate(&mut random);
        let budget = key.budget_usd.as_deref().map(str::parse::<NanoUsd>).transpose();
        let budget = budget.with_context(|| format!("keys.{name}.budget_usd"))?.map(|b| b.0);
        let asked = Key {
            display_name: name.clone(),
            role: KeyRole::Caller as i32,
            models: key.models.clone().unwrap_or_else(|| vec!["*".into()]),
            tags: key.tags.clone(),
            priority: key.priority.map_or(Priority::Unspecified, priority) as i32,
            ..Key::default()
        };
        control.provision(asked, &secret, budget).await.with_context(|| format!("keys.{name}"))?;
        keys.insert(name, (Secret::new(secret.expose()), key));
    }
    Ok(keys)
}

fn priority(name: PriorityName) -> Priority {
    match name {
        PriorityName::Interactive => Priority::Interactive,
        PriorityName::Standard => Priority::Standard,
        PriorityName::Batch => Priority::Batch,
    }
}

/// A call that is to come.
struct Arrival {
    at: Duration,
    load: Option<String>,
    key: String,
    request: Arc<CompletionRequest>,
    user: Option<String>,
    deadline: Option<Duration>,
    mode: Mode,
}

fn arrive(load: &Load, world: &World) -> anyhow::Result<Vec<Arrival>> {
    let first = load.at.map(|at| at.duration()).unwrap_or_default();
    let times: Vec<Duration> = match load.rate {
        Some(rate) => {
            let lasts = load.lasts.map_or(Duration::from_secs(10), |span| span.duration());
            let calls = (rate * lasts.as_secs_f64()).floor() as u64;
            (0..calls).map(|n| first + Duration::from_secs_f64(n as f64 / rate)).collect()
        }
        None => (0..load.calls.unwrap_or(1)).map(|_| first).collect(),
    };
    let key = load.key.clone().unwrap_or_else(|| "default".into());
    anyhow::ensure!(world.keys.contains_key(&key), "load: there is no key {key:?}");
    let request = Arc::new(asked(load)?);
    let mode = if load.stream { Mode::Stream } else { Mode::Whole };
    let arrival = |at| Arrival {
        at,
        load: load.name.clone(),
        key: key.clone(),
        request: request.clone(),
        user: load.user.clone(),
        deadline: load.deadline.map(|deadline| deadline.duration()),
        mode,
    };
    Ok(times.into_iter().map(arrival).collect())
}

fn asked(load: &Load) -> anyhow::Result<CompletionRequest> {
    let uses: Vec<&str> = load.uses.iter().map(String::as_str).collect();
    let policy = load.on_midstream_failure.map_or(MidstreamPolicy::Unspecified, table::midstream);
    Ok(CompletionRequest {
        model: Some(load.model.clone()),
        max_output_tokens: load.max_output_tokens,
        tollgate: Some(GatewayOptions {
            tags: load.tags.clone(),
            region: load.region.clone().unwrap_or_default(),
            deployment: load.deployment.clone().unwrap_or_default(),
            fallbacks: load.fallbacks.clone(),
            on_midstream_failure: policy as i32,
            ..GatewayOptions::default()
        }),
        ..request::that_uses(load.prompt_tokens.unwrap_or(100), &uses).context("load.uses")?
    })
}

impl World {
    async fn make(&self, arrival: Arrival, number: usize) -> Outcome {
        let begun = Instant::now();
        let at_us = micros(begun - self.sim.begun);
        let (secret, key) = &self.keys[&arrival.key];
        let mut request = arrival.request;
        if let Some(user) = arrival.user {
            let named =
                CompletionRequest { user: Some(user.replace("{n}", &number.to_string())), ..(*request).clone() };
            request = Arc::new(named);
        }
        let mut tags = key.tags.clone();
        tags.extend(request.tollgate.iter().flat_map(|o| o.tags.clone()));
        let deadline = arrival.deadline.map(|deadline| begun + deadline);
        let call = call(CallId::numbered(0, number as u64), secret, request, arrival.mode, deadline, None);
        let made = Box::pin(self.sim.make(call)).await;
        let record = &made.record;
        let attempts = record.routing.iter().flat_map(|routing| &routing.attempts).map(|attempt| AttemptSeen {
            deployment: attempt.deployment.clone(),
            class: attempt.class.clone(),
            start_us: attempt.start_us,
            end_us: attempt.end_us,
        });
        Outcome {
            load: arrival.load,
            at_us,
            tags,
            status: made.status,
            reason: made.reason,
            message: made.message,
            answered: made.answered,
            attempts: attempts.collect(),
            restarted: made.restarted,
            took_us: made.took_us,
            first_content_us: made.first_content_us,
            cost_nano_usd: record.usage.as_ref().map_or(0, |usage| usage.cost_nano_usd),
        }
    }
}
