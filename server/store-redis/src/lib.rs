//! Redis as the coordinator of leases: what replicas near a limit ask, many times a second.
//!
//! Redis owns nothing. What budgets have spent is learnt from the ledger of record when it is first asked for, and kept up by reports that
//! come before the ledger of record has them; leases are what live replicas state when an epoch opens, and what it grants since. A server
//! that restarts, or takes over from another, is no longer in charge: another epoch opens and everything is stated anew.

macro_rules! script {
    ($name:literal) => {
        redis::Script::new(concat!(
            include_str!("scripts/common.lua"),
            include_str!(concat!("scripts/", $name, ".lua"))
        ))
    };
}

mod claims;
mod connection;
mod cooldowns;
mod rates;

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
pub use claims::{RedisClaims, Took};
use connection::Connection;
pub use cooldowns::RedisCooldowns;
pub use rates::RedisLimits;
use redis::{FromRedisValue, Script};
use tollgate_store::{Coordinator, Denied, Granted, Known, Lost, Record, Rollup, Want};

/// An answer that takes longer comes from a server that is as good as gone.
const PATIENCE: Duration = Duration::from_millis(900);
/// Makes each report another one, for the bug that counts them again.
static REPORTED: AtomicU64 = AtomicU64::new(0);
/// How often what is learnt is read again while others report.
const LEARN_AGAIN: usize = 20;

struct Scripts {
    lease: Script,
    learn: Script,
    begin: Script,
    report: Script,
    give_back: Script,
    register: Script,
    open: Script,
    recall: Script,
    recalled: Script,
}

/// The coordinator, as one replica uses it.
pub struct RedisCoordinator {
    connection: Connection,
    scripts: Scripts,
    replica: String,
    record: Arc<dyn Record>,
    /// Of the last statement of leases.
    generation: AtomicI64,
}

impl RedisCoordinator {
    /// Prepares to speak as `replica`; what is not known is learnt from `record`. Redis itself may be away still.
    pub async fn open(url: &str, replica: &str, record: Arc<dyn Record>) -> Result<Self, String> {
        let connection = Connection::open(url).await.map_err(|e| format!("store.redis_url: {e}"))?;
        let scripts = Scripts {
            lease: script!("lease"),
            learn: script!("learn"),
            begin: script!("begin"),
            report: script!("report"),
            give_back: script!("give_back"),
            register: script!("register"),
            open: script!("open"),
            recall: script!("recall"),
            recalled: script!("recalled"),
        };
        Ok(Self { connection, scripts, replica: replica.to_owned(), record, generation: AtomicI64::new(0) })
    }

    /// Warns when Redis may throw away what it is told: a budget would be learnt anew without what is under way.
    pub async fn warn_of_eviction(&self) {
        let mut connection = self.connection.clone();
        let asked: redis::RedisResult<Vec<String>> =
            redis::cmd("CONFIG").arg("GET").arg("maxmemory-policy").query_async(&mut connection).await;
        if let Ok(policy) = asked
            && let Some(policy) = policy.get(1).filter(|p| *p != "noeviction")
        {
            tracing::warn!(policy, "redis evicts keys when its memory is full; set maxmemory-policy to noeviction");
        }
    }

    async fn run<T: FromRedisValue>(&self, script: &Script, arguments: &[&dyn Argument]) -> Result<T, Lost> {
        let mut connection = self.connection.clone();
        // A key of the one slot tells a cluster where to run it.
        let mut invocation = script.key("{tollgate}:epoch");
        for argument in arguments {
            argument.add_to(&mut invocation);
        }
        invocation.invoke_async(&mut connection).await.map_err(|e: redis::RedisError| Lost::Gone(e.to_string()))
    }

    /// Runs a script that answers with one word.
    async fn tell(&self, script: &Script, arguments: &[&dyn Argument]) -> Result<String, Lost> {
        match self.run::<String>(script, arguments).await {
            Ok(word) if word == "epoch" => Err(Lost::Epoch),
            told => told,
        }
    }

    /// Learns where a budget stands.
    async fn learn(&self, epoch: i64, want: &Want) -> Result<(), Lost> {
        for _ in 0..LEARN_AGAIN {
            let Known { applied, balances, leases } =
                match self.record.known(&want.budget_id, want.from_window, want.lease_window).await {
                    Ok(known) => known,
                    Err(error) => {
                        let begun =
                            self.tell(&self.scripts.begin, &[&epoch, &want.budget_id, &want.lease_window]).await?;
                        tracing::debug!(%error, begun, budget = want.budget_id, "the ledger of record cannot be asked");
                        return if begun == "begun" { Ok(()) } else { Err(Lost::Unknown) };
                    }
                };
            let (replicas, windows) = (applied.len(), balances.len());
            let arguments: [&dyn Argument; 8] =
                [&epoch, &want.budget_id, &want.lease_window, &replicas, &applied, &windows, &balances, &leases];
            if self.tell(&self.scripts.learn, &arguments).await? != "stale" {
                return Ok(());
            }
        }
        Err(Lost::Unknown)
    }
}

type Invocation<'a> = redis::ScriptInvocation<'a>;

/// What can be an argument of a script.
trait Argument: Sync {
    fn add_to(&self, invocation: &mut Invocation<'_>);
}

macro_rules! plain_arguments {
    ($($type:ty),+) => { $(impl Argument for $type {
        fn add_to(&self, invocation: &mut Invocation<'_>) {
            invocation.arg(self);
        }
    })+ };
}
plain_arguments!(i64, u64, usize, String);

impl<A: redis::ToRedisArgs + Sync, B: redis::ToRedisArgs + Sync> Argument for Vec<(A, B)> {
    fn add_to(&self, invocation: &mut Invocation<'_>) {
        for (a, b) in self {
            invocation.arg(a).arg(b);
        }
    }
}

impl Argument for &[(String, i64, i64)] {
    fn add_to(&self, invocation: &mut Invocation<'_>) {
        for (budget, window, amount) in *self {
            invocation.arg(budget).arg(window).arg(amount);
        }
    }
}

impl Argument for std::collections::BTreeMap<(String, i64), i64> {
    fn add_to(&self, invocation: &mut Invocation<'_>) {
        for ((budget, window), amount) in self {
            invocation.arg(budget).arg(window).arg(amount);
        }
    }
}

impl Argument for &[Want] {
    fn add_to(&self, invocation: &mut Invocation<'_>) {
        for want in *self {
            invocation.arg(&want.budget_id).arg(want.lease_window).arg(want.from_window).arg(want.limit);
            invocation.arg(want.min).arg(want.max).arg(want.needed);
        }
    }
}

impl Argument for &[String] {
    fn add_to(&self, invocation: &mut Invocation<'_>) {
        for text in *self {
            invocation.arg(text);
        }
    }
}

fn number(words: &[String], at: usize) -> i64 {
    words.get(at).and_then(|w| w.parse().ok()).unwrap_or_default()
}

#[async_trait]
impl Coordinator for RedisCoordinator {
    async fn lease(&self, epoch: i64, wants: &[Want]) -> Result<Granted, Lost> {
        for _ in 0..LEARN_AGAIN {
            let generation = self.generation.load(Ordering::Acquire);
            let answer: Vec<String> =
                self.run(&self.scripts.lease, &[&epoch, &self.replica, &generation, &wants]).await?;
            let (word, rest) = answer.split_first().ok_or_else(|| Lost::Gone("an empty answer".into()))?;
            match word.as_str() {
                "granted" => return Ok(Granted::All((0..rest.len()).map(|i| number(rest, i)).collect())),
                "denied" => {
                    let index = usize::try_from(number(rest, 0)).unwrap_or_default();
                    return Ok(Granted::Denied(Denied { index, posted: number(rest, 1), leased: number(rest, 2) }));
                }
                "unknown" => {
                    for at in rest.iter().filter_map(|index| index.parse::<usize>().ok()) {
                        self.learn(epoch, &wants[at]).await?;
                    }
                }
                _ => return Err(Lost::Epoch),
            }
        }
        Err(Lost::Unknown)
    }

    async fn give_back(&self, epoch: i64, parts: &[(String, i64, i64)]) -> Result<(), Lost> {
        let generation = self.generation.load(Ordering::Acquire);
        self.tell(&self.scripts.give_back, &[&epoch, &self.replica, &generation, &parts]).await.map(drop)
    }

    async fn report(&self, epoch: i64, batch: u64, rollup: &Rollup) -> Result<(), Lost> {
        let batch = match tollgate_planted::bug("report_counted_twice") {
            true => batch + REPORTED.fetch_add(1, Ordering::Relaxed),
            false => batch,
        };
        let leases = rollup.leases.len();
        let arguments: [&dyn Argument; 6] = [&epoch, &self.replica, &batch, &leases, &rollup.leases, &rollup.balances];
        self.tell(&self.scripts.report, &arguments).await.map(drop)
    }

    async fn recall(&self, budget_ids: &[String]) -> Result<(), Lost> {
        self.tell(&self.scripts.recall, &[&budget_ids]).await.map(drop)
    }

    async fn recalled(&self, epoch: i64) -> Result<Vec<String>, Lost> {
        let mut answer: Vec<String> = self.run(&self.scripts.recalled, &[&epoch]).await?;
        if answer.first().is_none_or(|word| word != "recalled") {
            return Err(Lost::Epoch);
        }
        answer.remove(0);
        Ok(answer)
    }

    async fn register(&self, epoch: i64, leases: &[(String, i64, i64)]) -> Result<(), Lost> {
        let generation: i64 = rand::random();
        self.tell(&self.scripts.register, &[&epoch, &self.replica, &generation, &leases]).await?;
        self.generation.store(generation, Ordering::Release);
        Ok(())
    }

    async fn open(&self, epoch: i64) -> Result<(), Lost> {
        self.tell(&self.scripts.open, &[&epoch]).await?;
        self.warn_of_eviction().await;
        Ok(())
    }
}
