//! What a replica stands on: the embedded database for one, PostgreSQL and Redis for several.

use std::{path::Path, sync::Arc};

use anyhow::{Context, ensure};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tollgate_audit::Notary;
use tollgate_domain::{Clock, Secret, new_id};
use tollgate_ledger::Cluster;
use tollgate_limits::Shared;
use tollgate_store::{ALONE, AuditLogs, Batches, Bodies, Claims, Cooldowns, Coordinator, Responses, Store, StoreError};
use tollgate_store_postgres::PostgresStore;
use tollgate_store_redis::{RedisClaims, RedisCooldowns, RedisCoordinator, RedisLimits};
use tollgate_store_sqlite::SqliteStore;
use tollgate_tlog::{KeyError, ROOT_LOG, SigningKey};

use crate::{
    claims::Everywhere,
    clock::system_clock,
    config::{AuditSettings, Config, SecretRef, StoreSettings},
    secrets,
    snapshot::{Place, Snapshot},
};

pub(crate) struct Backend {
    pub(crate) store: Arc<dyn Store>,
    /// Where responses are kept: the same.
    pub(crate) responses: Arc<dyn Responses>,
    /// Where files and batches are kept: the same.
    pub(crate) batches: Arc<dyn Batches>,
    /// Where bodies of calls and their keys are kept: the same.
    pub(crate) bodies: Arc<dyn Bodies>,
    /// The same, where replicas share it.
    pub(crate) postgres: Option<Arc<PostgresStore>>,
    redis: Option<Arc<dyn Coordinator>>,
    /// Rate limits that replicas share.
    pub(crate) limits: Option<Arc<dyn Shared>>,
    /// Idempotency keys that replicas share.
    pub(crate) claims: Option<Arc<dyn Claims>>,
    /// Deployments that replicas leave alone.
    pub(crate) cooldowns: Option<Arc<dyn Cooldowns>>,
    /// Names this replica.
    pub(crate) replica: String,
    /// Keys the hashes of virtual keys.
    pub(crate) pepper: Vec<u8>,
    /// Encrypts the keys that bodies of calls are encrypted under.
    pub(crate) body_key: Vec<u8>,
    /// Keys the hashes that sinks put in place of values.
    pub(crate) sink_key: Vec<u8>,
    /// The audit logs: the same.
    pub(crate) logs: Arc<dyn AuditLogs>,
    /// The private key that signs the audit log where none is set.
    signing_key: Secret,
    /// Encrypts the credentials of deployments that live in the store.
    pub(crate) model_key: Vec<u8>,
    /// Where several replicas share a store: what to start from when it is away.
    pub(crate) snapshots: Option<Place>,
    /// The store is away: what it said last.
    pub(crate) offline: Option<Snapshot>,
}

impl Backend {
    pub(crate) async fn open(config: &Config, dir: &Path) -> anyhow::Result<Self> {
        match &config.store {
            Some(shared) => Self::shared(shared, dir).await,
            None => Self::alone(dir, &config.audit.name).await,
        }
    }

    async fn alone(dir: &Path, name: &str) -> anyhow::Result<Self> {
        let sqlite = Arc::new(SqliteStore::open(&dir.join("tollgate.db")).await?);
        Ok(Self {
            store: sqlite.clone(),
            responses: sqlite.clone(),
            batches: sqlite.clone(),
            bodies: sqlite.clone(),
            logs: sqlite,
            signing_key: kept_signing_key(&dir.join("audit.ed25519"), name)?,
            postgres: None,
            redis: None,
            limits: None,
            claims: None,
            cooldowns: None,
            replica: ALONE.into(),
            pepper: secrets::lasting(&dir.join("pepper"))?,
            body_key: secrets::lasting(&dir.join("bodies.key"))?,
            sink_key: secrets::lasting(&dir.join("sinks.key"))?,
            model_key: secrets::lasting(&dir.join("models.key"))?,
            snapshots: None,
            offline: None,
        })
    }

    async fn shared(settings: &StoreSettings, dir: &Path) -> anyhow::Result<Self> {
        let secret = resolve(&settings.secret, "store.secret")?;
        ensure!(
            secret.expose().len() >= 32,
            "store.secret: must have at least 32 bytes; make one with `openssl rand -hex 32`"
        );
        let derived = |purpose: &str| {
            let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes()).context("store.secret")?;
            mac.update(purpose.as_bytes());
            anyhow::Ok(mac.finalize().into_bytes().to_vec())
        };
        let replica = match &settings.replica_id {
            Some(id) => id.clone(),
            None => replica_id(dir)?,
        };
        ensure!(
            (1..=64).contains(&replica.len())
                && replica.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)),
            "store.replica_id: must be 1 to 64 letters, digits, `-`, `_` or `.`"
        );
        // It is the name of a folder in exports, beside that of the root log.
        ensure!(
            !matches!(replica.as_str(), "." | ".." | ROOT_LOG),
            "store.replica_id: must not be {replica:?}; the audit log needs that name"
        );
        let url = resolve(&settings.postgres_url, "store.postgres_url")?;
        let postgres = Arc::new(PostgresStore::open(url.expose(), &replica).context("store.postgres_url")?);
        let snapshots = Place::new(dir, derived("local snapshot")?);
        let offline = match postgres.begin().await {
            Ok(()) => None,
            Err(error @ StoreError::Unavailable(_)) => {
                let found = snapshots.read(system_clock().now_us(), settings.snapshot_max_age.duration());
                let snapshot = found.with_context(|| format!("store.postgres_url: {error}"))?;
                tracing::warn!(
                    %error,
                    snapshot_age_seconds = snapshot.age.as_secs(),
                    "the ledger of record is away: starting from the local snapshot; hard budgets get what \
                     budgets.degraded_allowance_usd allows"
                );
                Some(snapshot)
            }
            Err(error) => return Err(error).context("store.postgres_url"),
        };
        let mut redis: Option<Arc<dyn Coordinator>> = None;
        let mut limits: Option<Arc<dyn Shared>> = None;
        let mut claims = None;
        let mut cooldowns: Option<Arc<dyn Cooldowns>> = None;
        if let Some(url) = &settings.redis_url {
            let url = resolve(url, "store.redis_url")?;
            let coordinator = RedisCoordinator::open(url.expose(), &replica, postgres.clone()).await;
            redis = Some(Arc::new(coordinator.map_err(anyhow::Error::msg)?));
            claims = Some(RedisClaims::open(url.expose()).await.map_err(anyhow::Error::msg)?);
            cooldowns = Some(Arc::new(RedisCooldowns::open(url.expose()).await.map_err(anyhow::Error::msg)?));
            limits = Some(Arc::new(RedisLimits::open(url.expose()).await.map_err(anyhow::Error::msg)?));
        }
        Ok(Self {
            store: postgres.clone(),
            responses: postgres.clone(),
            batches: postgres.clone(),
            bodies: postgres.clone(),
            logs: postgres.clone(),
            signing_key: Secret::new(
                derived("audit log signatures")?.iter().map(|byte| format!("{byte:02x}")).collect::<String>(),
            ),
            claims: Some(Everywhere::over(postgres.clone(), claims)),
            cooldowns,
            postgres: Some(postgres),
            redis,
            limits,
            replica,
            pepper: derived("virtual keys")?,
            body_key: derived("bodies of calls")?,
            sink_key: derived("hashes in sinks")?,
            model_key: derived("credentials of models")?,
            snapshots: Some(snapshots),
            offline,
        })
    }

    /// Who signs the audit log, and the key before where it is told of.
    pub(crate) fn notary(&self, settings: &AuditSettings, clock: &Clock) -> anyhow::Result<Notary> {
        let name = &settings.name;
        let named = |key: Result<SigningKey, KeyError>, setting: &'static str| {
            let key = key.map_err(|error| anyhow::anyhow!("{setting}: {error}"))?;
            let its = key.verifier().name();
            ensure!(
                its == name,
                "{setting}: it is the key of {its:?}, and audit.name is {name:?}; a log keeps its name"
            );
            anyhow::Ok(key)
        };
        let read = |reference: &SecretRef, setting: &'static str| {
            named(SigningKey::parse(resolve(reference, setting)?.expose(), name), setting)
        };
        let key = match &settings.signing_key {
            Some(reference) => read(reference, "audit.signing_key")?,
            None => named(
                SigningKey::parse(self.signing_key.expose(), name),
                "the signing key that was made for this gateway",
            )?,
        };
        let previous = settings.previous_key.as_ref().map(|key| read(key, "audit.previous_key")).transpose()?;
        Ok(Notary::new(key, previous, &self.replica, self.logs.clone(), clock.clone()))
    }

    /// The other replicas, where there may be any.
    pub(crate) fn cluster(&self, allowance: i64) -> Option<Cluster> {
        let postgres = self.postgres.as_ref()?;
        Some(Cluster { members: postgres.clone(), postgres: postgres.clone(), redis: self.redis.clone(), allowance })
    }
}

fn resolve(reference: &SecretRef, setting: &'static str) -> anyhow::Result<Secret> {
    reference.resolve().map_err(anyhow::Error::msg).context(setting)
}

/// The key that signs the audit log, made once.
fn kept_signing_key(path: &Path, name: &str) -> anyhow::Result<Secret> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Secret::new(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let key = SigningKey::generate(name).context("audit.name")?.reveal();
            secrets::write_private(path, format!("{key}\n").as_bytes())?;
            Ok(Secret::new(key))
        }
        // Never over a key that is there: the log could not go on.
        Err(error) => Err(error).with_context(|| path.display().to_string()),
    }
}

/// The name that this data directory's journal goes by, made once.
fn replica_id(dir: &Path) -> anyhow::Result<String> {
    let path = dir.join("replica-id");
    if let Ok(id) = std::fs::read_to_string(&path) {
        return Ok(id.trim().to_owned());
    }
    let id = new_id("replica-");
    secrets::write_private(&path, format!("{id}\n").as_bytes())?;
    Ok(id)
}
