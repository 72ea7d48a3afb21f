//! The only place where rooms are wired together: read it first.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicI64},
    time::{Duration, SystemTime},
};

use anyhow::Context;
use prost::Message;
use tokio::{net::TcpListener, time::Instant};
use tokio_util::sync::CancellationToken;
use tollgate_alerts::Turns;
use tollgate_audit::{Trail, Whose};
use tollgate_bodies::Root;
use tollgate_control::{Batching, Control, Keeping, Provisioned};
use tollgate_domain::{Clock, NanoUsd};
use tollgate_ledger::{Durability, Ledger, Offline};
use tollgate_limits::Limiter;
use tollgate_metrics::{Metrics, Process};
use tollgate_pipeline::{Bodies, Directory, Gates, KeyRing, KeySecret, Parts, Pipeline, Settings, Settler};
use tollgate_proto::v1::{AuditRecord, Key, KeyRole};
use tollgate_store::AuditLogs;
use tollgate_store_postgres::{PostgresStore, watch_changes};

use crate::{
    backend::Backend,
    clock::system_clock,
    config::{self, Config, ProvisionedKey, Role, litellm::Verdict},
    exporting, first_run,
    grpc::{self, Doors},
    health::Health,
    health_checks::keep_checking,
    listen, metrics,
    observing::{self, FirstTells, Known, Observing},
    runtime_models::{Runtime, Sealer},
    secrets, table, traces,
};

/// Protobuf of a body may be larger than its JSON: base64 shrinks, but typed fields stand beside the original.
const MESSAGE_PER_BODY: usize = 3;

/// How often responses whose time is over are cleared away.
const CLEAR: Duration = Duration::from_secs(600);

/// Sinks get no longer than this to send what waits at the end; the rest is kept for the next start.
const SINKS_END: Duration = Duration::from_secs(10);

/// A secret of fewer characters is warned of.
const SHORT_SECRET: usize = 24;
/// How long the last spans may take before the gateway ends without them.
const LAST_SPANS: Duration = Duration::from_secs(5);
/// How often the configuration file is looked at.
const WATCH: Duration = Duration::from_millis(500);

/// Runs the gateway until it is told to stop.
pub async fn run(mut config: Config, path: Option<PathBuf>) -> anyhow::Result<()> {
    // One provider of cryptography in the whole process; a second installation changes nothing.
    let _ = rustls::crypto::ring::default_provider().install_default();
    tell(&config);
    let demo = config.providers.is_empty() && config.models.is_empty() && config.translation.is_none();
    if demo {
        first_run::demo_config(&mut config);
    }
    let (clock, process) = (system_clock(), Process::start());
    let (table, warnings) = table::build(&config, clock.now_us())?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    let (tracer, exporter) = traces::start(&config.tracing)?;
    let tls = config.tls.as_ref().map(listen::acceptor).transpose()?;
    // Before anything is written: a taken port changes nothing.
    let listener = TcpListener::bind(&config.listen).await.with_context(|| format!("listen: {}", config.listen))?;

    let dir = config.data_dir.clone();
    secrets::make_private_dir(&dir).with_context(|| format!("data_dir: {}", dir.display()))?;
    let trail = Trail::default();
    let mut backend = Backend::open(&config, &dir).await?;
    let offline = backend.offline.take();
    let keyring = Arc::new(KeyRing::new(&backend.pepper));
    let directory = Arc::new(Directory::new(keyring.clone()));
    let (observing, alerts) = Observing::new(&config)?;
    // Before the ledger: what it recovers is told of too.
    let sinks = observing::start_sinks(&config, &dir, &backend.replica, &directory, &backend.sink_key, &observing)?;
    let mut options = ledger_options(&config, &dir, &backend, &clock, &trail, &observing)?;
    if offline.is_none() {
        options.latest_us = latest_record_us(&*backend.logs, &backend.replica).await?;
    }
    options.offline = offline.as_ref().map(|snapshot| Offline {
        objects: snapshot.objects.iter().map(|(_, object)| object.clone()).collect(),
        skew_us: snapshot.skew_us,
    });
    let ledger = Ledger::open(options, backend.store.clone()).await?;
    if ledger.recovered() > 0 {
        tracing::warn!(
            attempts = ledger.recovered(),
            "settled attempts that the last run left open, flagged RECOVERED"
        );
    }
    let is_offline = offline.is_some();
    let snapshot_us = offline.as_ref().map_or(i64::MIN, |s| ledger.now_us().saturating_sub(s.age.as_micros() as i64));
    let snapshot_us = Arc::new(AtomicI64::new(snapshot_us));
    let objects = match offline {
        Some(snapshot) => snapshot.objects,
        None => backend.store.objects_after(0).await?,
    };
    for (version, object) in objects {
        directory.take_over(&object, version);
    }
    let settings = Settings {
        hold_wait: config.budgets.hold_wait.duration(),
        admin_completions: config.admin_completions,
        default_output_cap: config.budgets.default_output_cap,
        idempotency_retention: config.idempotency.retention.duration(),
        idempotency_bytes: config.idempotency.max_bytes,
    };
    let settler = Settler::start(ledger.clone());
    let retention_us = i64::try_from(settings.idempotency_retention.as_micros()).unwrap_or(i64::MAX);
    let notary = Arc::new(backend.notary(&config.audit, &clock)?);
    if !is_offline {
        notary.look().await?;
    }
    if let Some(alerts) = alerts {
        let facts = Arc::new(Known { ledger: ledger.clone(), directory: directory.clone() });
        let turns = backend.claims.clone().map(|claims| FirstTells { claims, replica: backend.replica.clone() });
        tokio::spawn(alerts.watch(facts, turns.map(|turns| Arc::new(turns) as Arc<dyn Turns>)));
    }
    let pipeline = Pipeline::new(Parts {
        notary: Some(notary.clone()),
        directory,
        table,
        ledger: ledger.clone(),
        trail,
        metrics: Arc::new(Metrics::new(metrics::settings(&config.metrics))),
        clock: clock.clone(),
        settings,
        bodies: Bodies::new(Root::new(&backend.body_key), Some(backend.bodies.clone()), config.audit.bodies()?),
        settler: settler.clone(),
        seeds: Box::new(|_| rand::random()),
        claims: backend.claims.clone(),
        cooldowns: backend.cooldowns.take(),
        gates: Gates::new(Limiter::new(clock.clone(), backend.limits.clone(), {
            let ledger = ledger.clone();
            Box::new(move || ledger.live_replicas())
        })),
    });
    tokio::spawn(notary.clone().keep(ledger.watch_shipped()));
    let export = exporting::start(&config.audit, &backend.logs, &clock).await?;
    let since_us = clock.now_us().saturating_sub(retention_us);
    let keeping = Keeping {
        store: backend.responses.clone(),
        retention: config.responses.retention.duration(),
        max_bytes: config.responses.max_bytes,
    };
    let runtime = Runtime::new(pipeline.clone(), Sealer::new(&backend.model_key)?, config.clone());
    let batching = Batching::new(
        backend.batches.clone(),
        Arc::new(grpc::Lines),
        config.batches.poll.duration(),
        config.batches.max_file_bytes,
        config.limits.max_body_bytes,
    );
    let control =
        Control::new(pipeline.clone()).keeping(keeping).batching(batching).with_runtime_models(runtime.clone());
    let control = Arc::new(control);
    if is_offline {
        tokio::spawn(once_online(ledger.clone(), pipeline.clone(), control.clone(), config.clone(), since_us));
    } else {
        pipeline.remember(backend.store.idempotency_since(since_us).await?);
        provision_all(&control, &config).await?;
    }
    if let Some(place) = backend.snapshots.take() {
        tokio::spawn(place.keep(backend.store.clone(), ledger.clone(), snapshot_us.clone()));
    }
    let fresh = first_run::mint(&control, &keyring, &dir, demo).await?;
    tokio::spawn(rehash_used_keys(keyring.clone(), control.clone()));
    if let Some(postgres) = &backend.postgres {
        tokio::spawn(follow_changes(postgres.clone(), control.clone()));
    }

    let shutdown = CancellationToken::new();
    let max_body_bytes = config.limits.max_body_bytes;
    let max_message_bytes = max_body_bytes.saturating_mul(MESSAGE_PER_BODY);
    let doors = Doors {
        pipeline: pipeline.clone(),
        control: control.clone(),
        max_message_bytes,
        max_upload_bytes: max_body_bytes as u64,
        shutdown: shutdown.clone(),
        tracer,
    };
    let (grpc, reporter, services) = grpc::stack(doors).await?;
    let health = Health::new(reporter, services);
    let background = tollgate_http::Background::default();
    let options = tollgate_http::Options {
        max_body_bytes,
        max_message_bytes,
        max_file_bytes: config.batches.max_file_bytes,
        embedded: true,
        background: background.clone(),
    };
    let sources = Arc::new(metrics::Sources {
        pipeline: pipeline.clone(),
        control: control.clone(),
        health: health.clone(),
        observing: observing.clone(),
        spans: exporter.clone(),
        snapshot_us,
        journal: journal_dir(&dir),
        export,
        settings: config.metrics.clone(),
        process,
    });
    let told = metrics::export(&config, &backend.replica, &sources)?;
    let rest = tollgate_http::router(grpc.clone(), options).merge(metrics::routes(sources));
    let front = listen::front(grpc, rest, &config.cors_origins)?;

    let address = listener.local_addr()?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    first_run::greet(&format!("{scheme}://{address}"), &dir, &fresh, demo);
    tokio::spawn(reload_on_change(path, runtime));
    tokio::spawn(keep_checking(Arc::downgrade(&pipeline)));
    let looking = tokio::spawn(health.clone().keep_looking(Arc::downgrade(&pipeline)));
    tokio::spawn(clear_expired(control.clone()));
    if let Some(retention) = config.audit.body_retention {
        tokio::spawn(expire_bodies(control.clone(), retention.duration()));
    }
    tokio::spawn({
        let control = control.clone();
        async move { control.follow_batches().await }
    });
    let (peers, drain) = (config.audit.peer, config.drain_timeout.duration());
    let serving = listen::serve(listener, tls, front, peers, shutdown.clone(), drain);
    tokio::pin!(serving);
    tokio::select! {
        () = &mut serving => {}
        reason = ledger.failed() => anyhow::bail!("{reason}"),
        () = told_to_stop() => {
            tracing::info!("stopping: no new connections, calls in flight go on");
            looking.abort();
            health.stop().await;
            shutdown.cancel();
            let end = Instant::now() + drain;
            tokio::join!(serving, background.drain(drain));
            // What the last requests began.
            background.drain(end.saturating_duration_since(Instant::now())).await;
            if !settler.drained(end).await {
                tracing::error!("something does not end; the next start books what it holds");
            }
        }
    }
    ledger.close().await;
    if let Some(exporter) = &exporter {
        exporter.flush(LAST_SPANS).await;
    }
    if let Some(told) = &told {
        told.flush(LAST_SPANS).await;
    }
    if let Err(error) = notary.sign(Whose::Own).await {
        tracing::warn!(%error, "the end of the audit log is not signed; the next start does it");
    }
    let publisher = observing.sinks.clone();
    let grace = config.drain_timeout.duration().min(SINKS_END);
    tokio::task::spawn_blocking(move || sinks.close(&publisher, grace)).await?;
    if let Some(postgres) = &backend.postgres {
        postgres.leave().await;
    }
    tracing::info!("stopped");
    Ok(())
}

/// What of a configuration is not in force as it is written: a line each, never a value.
fn tell(config: &Config) {
    if let Some(report) = &config.translation {
        tracing::info!(
            honoured = report.honoured(),
            "the configuration is in LiteLLM's dialect; `tollgate check` tells of it"
        );
        for note in report.rest() {
            match note.verdict {
                Verdict::Ignored(_) => tracing::warn!("{note}"),
                _ => tracing::info!("{note}"),
            }
        }
    }
    for told in &config.without {
        tracing::warn!("{told}");
    }
}

fn ledger_options(
    config: &Config,
    dir: &Path,
    backend: &Backend,
    clock: &Clock,
    trail: &Trail,
    observing: &Observing,
) -> anyhow::Result<tollgate_ledger::Options> {
    let allowance: NanoUsd = config.budgets.degraded_allowance_usd.parse().context("budgets.degraded_allowance_usd")?;
    let trail = trail.clone();
    let (of_records, of_budgets) = (observing.clone(), observing.clone());
    Ok(tollgate_ledger::Options {
        journal: journal_dir(dir),
        replica: backend.replica.clone(),
        durability: match config.journal.durability {
            config::Durability::Process => Durability::Process,
            config::Durability::Disk => Durability::Disk,
            config::Durability::Replicated => Durability::Replicated,
        },
        clock: clock.clone(),
        on_record: Box::new(move |record| {
            trail.publish(record);
            of_records.record(record);
        }),
        on_alert: Box::new(move |alert| of_budgets.budget(alert)),
        cluster: backend.cluster(allowance.0),
        offline: None,
        latest_us: 0,
    })
}

fn journal_dir(dir: &Path) -> PathBuf {
    dir.join("journal")
}

/// When the last audit record was closed that the store has of this replica, in microseconds; 0: there is none.
async fn latest_record_us(logs: &dyn AuditLogs, replica: &str) -> anyhow::Result<i64> {
    let Some(log) = logs.audit_logs().await?.into_iter().find(|log| log.replica == replica) else { return Ok(0) };
    let last = logs.leaves(replica, log.size.saturating_sub(1), 1).await?.pop().unwrap_or_default();
    let record = AuditRecord::decode(last.as_slice()).context("the last audit record in the store cannot be read")?;
    Ok(record.time.as_ref().map_or(0, tollgate_domain::micros))
}

/// Takes over what admins change at other replicas, as they do.
async fn follow_changes(postgres: Arc<PostgresStore>, control: Arc<Control>) {
    let changed = tokio::sync::Notify::new();
    let follow = async {
        loop {
            changed.notified().await;
            if let Err(error) = control.catch_up().await {
                tracing::debug!(%error, "changes at other replicas cannot be read now");
            }
        }
    };
    tokio::join!(watch_changes((*postgres).clone(), &changed), follow);
}

/// Clears away responses whose time is over, for as long as the gateway runs.
async fn clear_expired(control: Arc<Control>) {
    loop {
        match control.clear_responses().await {
            Ok(0) => {}
            Ok(cleared) => tracing::debug!(cleared, "responses whose time was over are cleared away"),
            Err(error) => tracing::debug!(%error, "responses whose time is over are not cleared away now"),
        }
        tokio::time::sleep(CLEAR).await;
    }
}

/// Destroys the keys of bodies whose time is over, for as long as the gateway runs.
async fn expire_bodies(control: Arc<Control>, retention: Duration) {
    loop {
        match control.expire_bodies(retention).await {
            Ok(0) => {}
            Ok(keys) => tracing::info!(keys, "bodies of calls whose time was over are erased"),
            Err(error) => tracing::warn!(%error, "bodies of calls whose time is over are not erased now"),
        }
        tokio::time::sleep(CLEAR).await;
    }
}

/// Keeps imported keys by digests of our own once they are used, one after the other and beside the calls.
async fn rehash_used_keys(keyring: Arc<KeyRing>, control: Arc<Control>) {
    let Some(mut used) = keyring.first_uses().listen() else { return };
    while let Some(used) = used.recv().await {
        if let Err(error) = control.rehash_key(&used).await {
            tracing::debug!(%error, key = used.key_id, "an imported key is kept as it came, until its next use");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        keyring.first_uses().dealt_with(&used.key_id);
    }
}

async fn provision_all(control: &Control, config: &Config) -> anyhow::Result<()> {
    for key in &config.keys {
        provision(control, key).await.with_context(|| format!("keys: {:?}", key.name))?;
    }
    let gateway = config.budgets.gateway.iter().map(|budget| (Provisioned::Gateway, budget));
    let providers =
        config.providers.iter().filter_map(|(name, p)| Some((Provisioned::Provider(name), p.budget.as_ref()?)));
    let deployments = config.models.iter().flat_map(|model| model.deployments.iter().map(move |d| (d, &model.name)));
    let named: Vec<_> =
        deployments.filter_map(|(d, model)| Some((table::name_of(d, model), d.budget.as_ref()?))).collect();
    let deployments = named.iter().map(|(name, budget)| (Provisioned::Deployment(name), *budget));
    for (on, budget) in gateway.chain(providers).chain(deployments) {
        let made = async { anyhow::Ok(control.provision_budget(on, budget.read()?.0, budget.read()?.1).await?) };
        made.await.with_context(|| format!("the budget of {on:?}"))?;
    }
    Ok(())
}

/// What a start does that needs the store, done once it is back.
async fn once_online(
    ledger: Arc<Ledger>,
    pipeline: Arc<Pipeline>,
    control: Arc<Control>,
    config: Config,
    since_us: i64,
) {
    while ledger.is_offline() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    match ledger.store().idempotency_since(since_us).await {
        Ok(settled) => pipeline.remember(settled),
        Err(error) => tracing::warn!(%error, "idempotency keys of the last run are not known"),
    }
    while let Err(error) = provision_all(&control, &config).await {
        tracing::warn!("keys of the configuration are not provisioned, trying again: {error:#}");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

async fn provision(control: &Control, key: &ProvisionedKey) -> anyhow::Result<()> {
    let secret = key.secret.resolve().map_err(anyhow::Error::msg).context("secret")?;
    let text = secret.expose();
    if text.len() < SHORT_SECRET && KeySecret::parse_foreign(text).is_some() {
        tracing::warn!(name = key.name, "the secret of this key is so short that it can be guessed; use a longer one");
    }
    let secret = KeySecret::parse(text).or_else(|| KeySecret::parse_foreign(text)).context(
        "secret: is neither of the form tg-<32 characters><6 of checksum> nor sk-<characters>; leave keys out to have them made",
    )?;
    let budget = key.budget_usd.as_deref().map(str::parse::<NanoUsd>).transpose().context("budget_usd")?;
    let role = match key.role {
        Role::Caller => KeyRole::Caller,
        Role::PlatformAdmin => KeyRole::PlatformAdmin,
    };
    let asked = Key { display_name: key.name.clone(), role: role as i32, models: key.models.clone(), ..Key::default() };
    control.provision(asked, &secret, budget.map(|b| b.0)).await?;
    Ok(())
}

/// SIGHUP, or a change of the file, puts a changed configuration's providers, models and rules of routing in force; a broken file keeps
/// the old ones and says so.
async fn reload_on_change(path: Option<PathBuf>, runtime: Arc<Runtime>) {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut hangups) = signal(SignalKind::hangup()) else { return };
    let mut seen = path.as_deref().and_then(stamp);
    loop {
        let Some(path) = &path else {
            if hangups.recv().await.is_none() {
                return;
            }
            tracing::warn!("SIGHUP: there is no configuration file to read again");
            continue;
        };
        tokio::select! {
            told = hangups.recv() => {
                if told.is_none() {
                    return;
                }
                seen = stamp(path);
            }
            changed = changed(path, seen) => seen = changed,
        }
        let read = config::load(Some(path)).map_err(anyhow::Error::from).inspect(tell);
        match read.and_then(|config| runtime.replace(config)) {
            Ok(warnings) => {
                for warning in warnings {
                    tracing::warn!("{warning}");
                }
            }
            Err(error) => tracing::error!("the configuration is broken, the old one stays in force: {error:#}"),
        }
    }
}

/// When a file was last written, and its length.
type Stamp = (SystemTime, u64);

fn stamp(path: &Path) -> Option<Stamp> {
    let of = std::fs::metadata(path).ok()?;
    Some((of.modified().ok()?, of.len()))
}

/// Waits until a file is another one than `seen`, and no longer being written.
async fn changed(path: &Path, seen: Option<Stamp>) -> Option<Stamp> {
    let mut last = None;
    loop {
        tokio::time::sleep(WATCH).await;
        // Without a file there is nothing to put in force: it is being replaced, or gone for good.
        let Some(now) = stamp(path) else { continue };
        if Some(now) != seen && last == Some(now) {
            return Some(now);
        }
        last = Some(now);
    }
}

async fn told_to_stop() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else { return std::future::pending().await };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}
