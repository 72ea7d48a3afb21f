//! What the load runs against: the provider with its books, and the replicas.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::json;
use tokio::sync::Mutex;
use tollgate_client::{Client, v1};
use tollgate_services::{Postgres, Redis};
use tollgate_tests::fault_proxy::FaultProxy;
use tollgate_tests::provider::{Cut, Options, ScriptedProvider, Step};
use tollgate_tests::support::{Gateway, GatewayBuilder};

use crate::evidence::{Budget, Every};
use crate::population::{MAX_OUTPUT, Population, TEAMS};

/// The model that works.
pub(crate) const PLAIN: &str = "plain";
/// The model of calls that ask for trouble. Apart, so that its rests and retries do not touch the others.
pub(crate) const TROUBLED: &str = "troubled";
/// Prices in pico-dollars per token: 0.15 and 0.60 dollars per million.
const INPUT_PICO: u64 = 150_000;
const OUTPUT_PICO: u64 = 600_000;

/// The cost of so many tokens in nano-dollars, rounded up once.
pub(crate) fn cost(prompt_tokens: u64, completion_tokens: u64) -> i64 {
    (prompt_tokens * INPUT_PICO + completion_tokens * OUTPUT_PICO).div_ceil(1_000) as i64
}

/// One gateway process.
#[derive(Debug)]
pub(crate) struct Replica {
    pub(crate) name: String,
    pub(crate) url: String,
    up: AtomicBool,
    pub(crate) lines: Lines,
    /// Its wall clock, where that can be set.
    pub(crate) clock: Option<WallClock>,
    /// Whoever does something to the process holds this.
    pub(crate) gateway: Mutex<Gateway>,
}

impl Replica {
    pub(crate) fn is_up(&self) -> bool {
        self.up.load(Ordering::Relaxed)
    }

    /// Kills the process and starts it again on its data. Returns how long it was away.
    pub(crate) async fn kill_and_restart(&self) -> Result<Duration> {
        let mut gateway = self.gateway.lock().await;
        self.up.store(false, Ordering::Relaxed);
        let begun = Instant::now();
        let restarted = gateway.try_restart().await;
        restarted.with_context(|| format!("restarting {}", self.name))?;
        self.up.store(true, Ordering::Relaxed);
        Ok(begun.elapsed())
    }
}

/// The lines of one replica to what it depends on, each of which can be spoilt.
#[derive(Debug)]
pub(crate) struct Lines {
    pub(crate) provider: FaultProxy,
    pub(crate) postgres: Option<FaultProxy>,
    pub(crate) redis: Option<FaultProxy>,
}

/// A wall clock of one process alone, which libfaketime reads from a file.
#[derive(Debug)]
pub(crate) struct WallClock {
    file: PathBuf,
}

impl WallClock {
    /// Sets it this much ahead of the true time.
    pub(crate) fn set(&self, ahead: Duration) -> Result<()> {
        // Replaced, not written: it may be read at any moment.
        let new = self.file.with_extension("new");
        std::fs::write(&new, format!("+{}s", ahead.as_secs()))?;
        Ok(std::fs::rename(new, &self.file)?)
    }

    fn worn_by(&self, builder: GatewayBuilder) -> Result<GatewayBuilder> {
        let library = tollgate_services::library("faketime/libfaketimeMT.so.1");
        Ok(builder
            .environment("LD_PRELOAD", library)
            .environment("FAKETIME_TIMESTAMP_FILE", &self.file)
            .environment("FAKETIME_CACHE_DURATION", "1")
            .environment("FAKETIME_DISABLE_SHM", "1")
            .environment("FAKETIME_DONT_FAKE_MONOTONIC", "1"))
    }
}

/// What several replicas share.
pub(crate) struct Stores {
    pub(crate) postgres: Postgres,
    pub(crate) redis: Redis,
}

/// Everything that runs.
pub(crate) struct World {
    pub(crate) provider: ScriptedProvider,
    pub(crate) replicas: Vec<Replica>,
    pub(crate) population: Population,
    pub(crate) since: Instant,
    /// Whoever stops a store, or starts a replica, which needs them, holds this.
    pub(crate) stores: Mutex<Option<Stores>>,
}

impl World {
    /// Starts the provider, writing its books to a file, the stores where several replicas share them, and the replicas.
    ///
    /// # Errors
    /// When a process does not get ready.
    pub(crate) async fn start(
        replicas: usize,
        seed: u64,
        population: Population,
        books: &Path,
        clocks: Option<&Path>,
    ) -> Result<World> {
        let options = Options { log_file: Some(books.to_owned()), ..Options::default() };
        let provider = ScriptedProvider::start_with(options).await.context("starting the provider")?;
        // Attempts of one call get different answers, so that a retry may follow an attempt that was billed.
        provider.always(
            "troubled-upstream",
            [
                Step::fails(503),
                Step::streams(8).every_ms(2),
                Step::streams(8).every_ms(2).then_cuts(4, Cut::Rst),
                Step { no_reply: true, ..Step::default() },
                Step::streams(6),
                Step::streams(6),
                Step::fails(500),
                Step::streams(12).every_ms(3).then_cuts(9, Cut::Fin),
                Step::streams(5),
            ],
        );
        let stores = match replicas {
            1 => None,
            _ => Some(Stores { postgres: Postgres::start(), redis: Redis::start() }),
        };
        let database = stores.as_ref().map(|stores| stores.postgres.database());
        let mut all = Vec::new();
        for at in 1..=replicas {
            let name = format!("r{at}");
            let line = |port: u16| FaultProxy::before(([127, 0, 0, 1], port).into(), seed ^ at as u64);
            let lines = Lines {
                provider: line(provider.address().port())?,
                postgres: stores.as_ref().map(|stores| line(stores.postgres.port())).transpose()?,
                redis: stores.as_ref().map(|stores| line(stores.redis.port())).transpose()?,
            };
            let mut builder = builder(&lines, &population);
            let clock = clocks.map(|directory| WallClock { file: directory.join(format!("clock-{name}")) });
            if let Some(clock) = &clock {
                clock.set(Duration::ZERO)?;
                builder = clock.worn_by(builder)?;
            }
            if let (Some(postgres), Some(redis), Some(database)) = (&lines.postgres, &lines.redis, &database) {
                builder = builder.set(
                    "/store",
                    json!({
                        "postgres_url": format!("postgres://tollgate@{}/{}", postgres.address(), database.name),
                        "redis_url": format!("redis://{}", redis.address()),
                        "secret": "a secret that all replicas of this run share",
                        "replica_id": name,
                    }),
                );
            }
            let gateway = builder.try_start().await.with_context(|| format!("starting {name}"))?;
            let (url, up) = (gateway.url(), AtomicBool::new(true));
            all.push(Replica { name, url, up, lines, clock, gateway: Mutex::new(gateway) });
        }
        let stores = Mutex::new(stores);
        let world = World { provider, replicas: all, population, since: Instant::now(), stores };
        world.settle_down().await?;
        Ok(world)
    }

    /// What configuration does not say: the organization, its teams, who belongs where, and budgets that cover several keys.
    async fn settle_down(&self) -> Result<()> {
        let admin = self.admin(self.replicas.first().context("a replica")?).await?;
        let mut tenancy = admin.tenancy();
        let asked = v1::CreateOrganizationRequest {
            organization: Some(v1::Organization { display_name: "torture".into(), ..Default::default() }),
            ..Default::default()
        };
        let organization = tenancy.create_organization(asked).await?.into_inner().organization.unwrap_or_default().id;
        let mut teams = HashMap::new();
        for name in TEAMS {
            let team =
                v1::Team { organization_id: organization.clone(), display_name: name.into(), ..Default::default() };
            let asked = v1::CreateTeamRequest { team: Some(team), ..Default::default() };
            teams.insert(name, tenancy.create_team(asked).await?.into_inner().team.unwrap_or_default().id);
        }
        let ids: HashMap<String, String> =
            crate::books::names(&admin).await?.into_iter().map(|(id, n)| (n, id)).collect();
        for key in &self.population.keys {
            let id = ids.get(&key.name).with_context(|| format!("key {}", key.name))?.clone();
            let team_id = Some(teams[key.team].clone());
            tenancy.move_key(v1::MoveKeyRequest { id: id.clone(), team_id, user_id: None }).await?;
            if let Some(tag) = key.tag {
                let tagged = v1::Key { id, tags: vec![tag.into()], ..Default::default() };
                admin
                    .keys()
                    .update_key(v1::UpdateKeyRequest { key: Some(tagged), update_mask: None, ..Default::default() })
                    .await?;
            }
        }
        for budget in &self.population.budgets {
            use v1::ScopeKind::{Key, Organization, Tag, Team};
            if budget.of_key().is_some() {
                self.soften(&admin, budget).await?;
                continue;
            }
            let (kind, id) = match budget.scope.split_once(':') {
                Some(("key", _)) => (Key, budget.keys.first().and_then(|key| ids.get(key)).context("its key")?.clone()),
                Some(("team", name)) => (Team, teams[name].clone()),
                Some((_, name)) => (Tag, name.to_owned()),
                None => (Organization, organization.clone()),
            };
            let model = budget.model.clone().unwrap_or_default();
            let scope = v1::BudgetScope { kind: kind as i32, id, model, ..Default::default() };
            let every = |every: Every| v1::EveryWindow {
                seconds: every.seconds,
                anchor: Some(prost_types::Timestamp { seconds: every.anchor, nanos: 0 }),
            };
            let window = budget.window.map(every).map(v1::budget_window::Window::Every);
            let made = v1::Budget {
                scope: Some(scope),
                limit_nano_usd: budget.limit,
                display_name: budget.scope.clone(),
                window: window.map(|window| v1::BudgetWindow { window: Some(window) }),
                ..Default::default()
            };
            let asked = v1::CreateBudgetRequest { budget: Some(made), ..Default::default() };
            admin.budgets().create_budget(asked).await.with_context(|| format!("making {}", budget.scope))?;
        }
        // Replicas learn of each other's changes within a second.
        tokio::time::sleep(Duration::from_secs(1)).await;
        Ok(())
    }

    /// Budgets in configuration are hard; those that are not become soft by the admin's hand.
    async fn soften(&self, admin: &Client, budget: &Budget) -> Result<()> {
        if budget.hard {
            return Ok(());
        }
        let mut now = crate::books::budget(admin, budget).await?;
        now.enforcement = v1::BudgetEnforcement::Soft as i32;
        now.etag = String::new();
        let mask = prost_types::FieldMask { paths: vec!["enforcement".into()] };
        let asked = v1::UpdateBudgetRequest { budget: Some(now), update_mask: Some(mask) };
        admin.budgets().update_budget(asked).await.with_context(|| format!("softening {}", budget.scope))?;
        Ok(())
    }

    /// Revokes a key by its name, at the first replica that does it.
    pub(crate) async fn revoke(&self, name: &str) -> Result<()> {
        let mut last = Ok(());
        for replica in &self.replicas {
            let revoking = async {
                let admin = self.admin(replica).await?;
                let names = crate::books::names(&admin).await?;
                let id = names.into_iter().find(|(_, known)| known == name).map(|(id, _)| id);
                admin.keys().revoke_key(v1::RevokeKeyRequest { id: id.context("the key")? }).await?;
                anyhow::Ok(())
            };
            last = tokio::time::timeout(Duration::from_secs(3), revoking).await.unwrap_or_else(|e| Err(e.into()));
            if last.is_ok() {
                break;
            }
        }
        last
    }

    /// A connection that may read the books.
    pub(crate) async fn admin(&self, replica: &Replica) -> Result<Client> {
        Ok(Client::connect(&replica.url, &self.population.admin).await?)
    }

    /// Milliseconds since the load began.
    pub(crate) fn now_ms(&self) -> u64 {
        self.since.elapsed().as_millis() as u64
    }
}

fn builder(lines: &Lines, population: &Population) -> GatewayBuilder {
    let deployment = |model: &str| {
        json!({
            "provider": "scripted", "model": model, "price": { "input": "0.15", "output": "0.60" },
            "max_output_tokens": MAX_OUTPUT, "context_window": 400_000
        })
    };
    let builder = Gateway::builder()
        .provider("scripted", &format!("http://{}/v1", lines.provider.address()))
        .set(
            "/providers/scripted/timeouts",
            json!({ "connect": "2s", "first_byte": "5s", "idle": "5s", "total": "30s" }),
        )
        .deployment(PLAIN, deployment("plain-upstream"))
        .deployment(TROUBLED, deployment("troubled-upstream"))
        .set("/log", json!({ "level": "warn" }));
    population.config(builder)
}
