//! The clients: many workers, a mix of calls, and what each of them saw.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use tollgate_tests::support::http::{Caller, Stream};

use crate::books::mark;
use crate::evidence::{Seen, What};
use crate::population::{DEFAULT_CAP, Habit, Key, MAX_OUTPUT};
use crate::sums::Sums;
use crate::world::{PLAIN, Replica, TROUBLED, World, cost};

/// An output limit that the gateway may refuse as such.
const BEYOND_ANYTHING: u64 = 2_000_000_000;
/// How long a client goes on looking for a replica that answers.
const PATIENCE: Duration = Duration::from_secs(15);
/// The gateway makes at most so many attempts for one call: one, and two again.
const MOST_ATTEMPTS: i64 = 3;

/// The load, shared by its workers.
pub(crate) struct Load {
    world: Arc<World>,
    sums: Sums,
    next: AtomicU64,
    seen: Mutex<Vec<Seen>>,
}

/// How a client ends its call.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Patience {
    ToTheEnd,
    /// Hangs up so long after sending.
    Until(Duration),
    /// Hangs up after so many events.
    Events(usize),
}

/// A call to be made.
#[derive(Debug, Clone)]
struct Call {
    marker: String,
    model: &'static str,
    body: Value,
    /// The Idempotency-Key.
    repeat: Option<String>,
    trouble: bool,
    patience: Patience,
    /// The most that one attempt of it may be held at.
    worst: i64,
}

/// What one try at one replica led to.
enum Tried {
    /// It is decided what the client saw, and, where that is known, what the call cost.
    Saw(What, String, Option<i64>),
    /// The replica gave no answer; whether it worked on the call is unknown, unless nothing was sent.
    NoAnswer { error: String, sent: bool },
}

impl Load {
    pub(crate) fn new(world: Arc<World>) -> Arc<Self> {
        let sums = Sums::new(&world.population.budgets);
        Arc::new(Load { world, sums, next: AtomicU64::new(1), seen: Mutex::default() })
    }

    /// Calls until the deadline with so many workers; returns what they saw.
    pub(crate) async fn run(self: Arc<Self>, workers: usize, seed: u64, deadline: Instant) -> Vec<Seen> {
        let work = |at: usize| {
            let load = Arc::clone(&self);
            tokio::spawn(async move {
                let random = SmallRng::seed_from_u64(seed.wrapping_mul(1_000_003).wrapping_add(at as u64));
                load.work(random, deadline).await;
            })
        };
        let workers: Vec<_> = (0..workers).map(work).collect();
        for worker in workers {
            // A worker that panicked is a defect of the harness and must not pass as a quiet one.
            worker.await.expect("a worker of the load");
        }
        std::mem::take(&mut *self.seen.lock())
    }

    async fn work(&self, mut random: SmallRng, deadline: Instant) {
        let mut repeatable: Option<Call> = None;
        while Instant::now() < deadline {
            let keys = &self.world.population.keys;
            let key = &keys[random.random_range(0..keys.len())];
            let call = match (&repeatable, key.habit) {
                // The same worker sends it again; another key's callers never do.
                (Some(call), Habit::Repeats) if random.random_bool(0.5) && call.marker.starts_with(&key.name) => {
                    Call { patience: Patience::ToTheEnd, ..call.clone() }
                }
                _ => self.invent(key, &mut random),
            };
            if call.repeat.is_some() {
                repeatable = Some(call.clone());
            }
            let seen = self.make(key, call, &mut random).await;
            self.seen.lock().push(seen);
            tokio::time::sleep(Duration::from_millis(random.random_range(0..40))).await;
        }
    }

    /// Plain 45 %, stream 33 %, cut stream 10 %, cut plain 3 %, trouble 9 %, as far as the key's habit leaves a choice.
    fn invent(&self, key: &Key, random: &mut SmallRng) -> Call {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let marker = format!("{}-{number}", key.name);
        let dice = match key.habit {
            Habit::Fails => 95,
            Habit::HangsUp => random.random_range(78..91),
            Habit::Repeats => random.random_range(0..91),
            _ => random.random_range(0..100),
        };
        let stream = (45..88).contains(&dice) || (dice >= 91 && random.random_bool(0.5));
        let trouble = dice >= 91;
        let patience = match dice {
            78..88 => Patience::Events(random.random_range(1..12)),
            88..91 => Patience::Until(Duration::from_millis(random.random_range(3..60))),
            _ => Patience::ToTheEnd,
        };
        let chunks = random.random_range(6..24);
        let step = match trouble {
            false => Some(json!({ "chunks": chunks, "chunk_delay_ms": random.random_range(1..6) })),
            true => trouble_of(key.habit, stream, random),
        };
        let directive = step.map(|step| format!(" [[script {step}]]")).unwrap_or_default();
        let prompt = format!("{} say something that costs money{directive}", mark(&key.name, &marker));
        let limit = match key.habit {
            Habit::Uncapped => None,
            Habit::Absurd => Some([MAX_OUTPUT, 100_000, BEYOND_ANYTHING][random.random_range(0..3)]),
            _ if random.random_bool(0.1) => None,
            _ => Some(random.random_range(8..48)),
        };
        let model = if trouble { TROUBLED } else { PLAIN };
        let mut body = json!({ "model": model, "messages": [{ "role": "user", "content": prompt }] });
        if stream {
            body["stream"] = true.into();
            body["stream_options"] = json!({ "include_usage": true });
        }
        if let Some(limit) = limit {
            body["max_completion_tokens"] = limit.into();
        }
        let repeat = (key.habit == Habit::Repeats).then(|| format!("again-{marker}"));
        // A generous bound of the gateway's own bound: every byte of the body a token, and its margins; of the answer
        // what the call allows, which is what the gateway holds even where the model's longest answer is shorter.
        let worst = cost(body.to_string().len() as u64 + 256, limit.unwrap_or(DEFAULT_CAP));
        let trouble = trouble || limit == Some(BEYOND_ANYTHING);
        Call { marker, model, body, repeat, trouble, patience, worst }
    }

    /// Makes a call the way a client with retries does: whoever does not answer is left for another replica.
    async fn make(&self, key: &Key, call: Call, random: &mut SmallRng) -> Seen {
        let begun = Instant::now();
        let from_ms = self.world.now_ms();
        let caller = Caller::bearer(&key.secret);
        let caller = match &call.repeat {
            Some(again) => caller.with("idempotency-key", again),
            None => caller,
        };
        let model = call.model;
        let most = if call.trouble { call.worst * MOST_ATTEMPTS } else { call.worst };
        let (what, id) = loop {
            let url = format!("{}/v1/chat/completions", self.replica(random).url);
            let before = self.sums.charge(&key.name, model, most);
            let hurry = Duration::from_secs(40);
            let tried = tokio::time::timeout(hurry, attempt(&caller, &url, &call)).await;
            let error = match tried {
                Ok(Tried::Saw(What::Exhausted { .. }, id, _)) => {
                    let uppers = self.sums.uppers(&before);
                    self.sums.end(&key.name, model, most, most);
                    break (What::Exhausted { uppers }, id);
                }
                Ok(Tried::Saw(what, id, cost)) => {
                    // Of a call in trouble an earlier attempt may have been billed too.
                    let known = cost.filter(|_| !call.trouble);
                    self.sums.end(&key.name, model, most, known.map_or(0, |cost| most - cost));
                    break (what, id);
                }
                Ok(Tried::NoAnswer { error, sent }) => {
                    self.sums.end(&key.name, model, most, if sent { 0 } else { most });
                    error
                }
                Err(_) => {
                    self.sums.end(&key.name, model, most, 0);
                    format!("no answer in {hurry:?}")
                }
            };
            if begun.elapsed() > PATIENCE {
                break (What::Unanswered { error }, String::new());
            }
            tokio::time::sleep(Duration::from_millis(random.random_range(5..50))).await;
        };
        let (repeatable, to_ms) = (call.repeat.is_some(), self.world.now_ms());
        let (marker, key, trouble) = (call.marker, key.name.clone(), call.trouble);
        Seen { marker, key, model: model.into(), call: id, what, repeatable, trouble, from_ms, to_ms }
    }

    /// Any replica that is up; any at all when none is.
    fn replica(&self, random: &mut SmallRng) -> &Replica {
        let all = &self.world.replicas;
        let up: Vec<_> = all.iter().filter(|replica| replica.is_up()).collect();
        match up.len() {
            0 => &all[random.random_range(0..all.len())],
            count => up[random.random_range(0..count)],
        }
    }
}

/// What the provider shall do wrong. `None`: whatever its script has next, so that a retry meets something else.
fn trouble_of(habit: Habit, stream: bool, random: &mut SmallRng) -> Option<Value> {
    let refusals =
        [json!({ "status": 500 }), json!({ "status": 503 }), json!({ "status": 429 }), json!({ "status": 400 })];
    if habit == Habit::Fails {
        return Some(refusals[random.random_range(0..4)].clone());
    }
    match random.random_range(0..10) {
        0 => Some(refusals[random.random_range(0..4)].clone()),
        1 => Some(json!({ "no_reply": true })),
        2 => Some(json!({ "chunks": 12, "chunk_delay_ms": 2, "cut_after_chunks": random.random_range(1..12) })),
        3 => Some(
            json!({ "chunks": 12, "chunk_delay_ms": 2, "cut_after_chunks": random.random_range(1..12), "cut": "rst" }),
        ),
        4 => Some(json!({ "chunks": 12, "usage": false })),
        5 if stream => Some(json!({ "chunks": 12, "mid_stream_error_after": random.random_range(2..10) })),
        6 => Some(json!({ "chunks": 12, "malformed": "json" })),
        _ => None,
    }
}

async fn attempt(caller: &Caller, url: &str, call: &Call) -> Tried {
    match call.patience {
        Patience::Until(patience) => match tokio::time::timeout(patience, read(caller, url, call)).await {
            Ok(tried) => tried,
            Err(_) => Tried::Saw(What::HungUp, String::new(), None),
        },
        _ => read(caller, url, call).await,
    }
}

async fn read(caller: &Caller, url: &str, call: &Call) -> Tried {
    let stream = match caller.stream(url, &call.body).await {
        Ok(stream) => stream,
        Err(error) => {
            let refused = |error: &std::io::Error| error.kind() == std::io::ErrorKind::ConnectionRefused;
            let sent = !error.downcast_ref::<std::io::Error>().is_some_and(refused);
            return Tried::NoAnswer { error: format!("{error:#}"), sent };
        }
    };
    let id = stream.headers.get("x-request-id").and_then(|id| id.to_str().ok()).unwrap_or_default().to_owned();
    match call.body["stream"] == true && stream.status == 200 {
        true => follow(stream, call, id).await,
        false => whole(stream, id).await,
    }
}

async fn whole(stream: Stream, id: String) -> Tried {
    let status = stream.status.as_u16();
    let Ok(reply) = stream.whole().await else {
        return Tried::Saw(What::Broken, id, None);
    };
    let body = reply.json();
    match (status, body["error"]["code"].as_str()) {
        (200, _) if body.is_object() => Tried::Saw(What::Whole, id, cost_of(&body["usage"])),
        (200, _) => Tried::Saw(What::Broken, id, None),
        (429, Some("budget_exceeded")) => Tried::Saw(What::Exhausted { uppers: Vec::new() }, id, Some(0)),
        (429, Some("budget_held")) => Tried::Saw(What::Held, id, Some(0)),
        // Shedding: nothing was done, another replica may.
        (503, Some("overloaded" | "unavailable" | "ledger_unavailable" | "store_unavailable")) => {
            Tried::NoAnswer { error: body.to_string(), sent: true }
        }
        (_, code) => {
            let text = body["error"]["message"].as_str().unwrap_or_default();
            let code = code.map_or_else(|| text.chars().take(120).collect(), str::to_owned);
            Tried::Saw(What::Failed { status, code }, id, None)
        }
    }
}

async fn follow(mut stream: Stream, call: &Call, id: String) -> Tried {
    let mut events = 0;
    let mut cost = None;
    loop {
        if call.patience == Patience::Events(events) {
            return Tried::Saw(What::HungUp, id, None);
        }
        let event = match stream.next().await {
            Ok(Some(event)) => event,
            Ok(None) | Err(_) => return Tried::Saw(What::Broken, id, None),
        };
        if event.data == "[DONE]" {
            return Tried::Saw(What::Whole, id, cost);
        }
        let data = event.json();
        if data["error"].is_object() {
            let code = data["error"]["code"].as_str().unwrap_or("error in the stream").to_owned();
            return Tried::Saw(What::Failed { status: 200, code }, id, None);
        }
        cost = cost_of(&data["usage"]).or(cost);
        events += 1;
    }
}

fn cost_of(usage: &Value) -> Option<i64> {
    Some(cost(usage["prompt_tokens"].as_u64()?, usage["completion_tokens"].as_u64()?))
}
