//! Sinks and alerts: made from the settings, and told of what the gateway knows.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::Context;
use async_trait::async_trait;
use sha2::{Digest, Sha256};
use tollgate_alerts::{
    Alerts, Budget, ChannelStats, Channels, ExpiringKey, Facts, LedgerMode, Notice, Observer, Turns,
};
use tollgate_domain::micros;
use tollgate_ledger::{Ledger, Mode};
use tollgate_pipeline::Directory;
use tollgate_proto::v1::{AuditRecord, BudgetAlert, KeyState};
use tollgate_sinks::{Owner, Publisher, Sinks};
use tollgate_store::{Claims, Idempotency, SpendQuery};

use crate::{config::Config, traces};

/// What the ledger tells of as it happens: a push for each, which waits for nothing.
#[derive(Clone, Default)]
pub(crate) struct Observing {
    pub(crate) sinks: Publisher,
    alerts: Option<Observer>,
}

impl Observing {
    /// What is configured. Sinks get records once they are started, alerts at once.
    pub(crate) fn new(config: &Config) -> anyhow::Result<(Self, Option<Alerts>)> {
        if config.alerts.channels.is_empty() {
            return Ok((Self::default(), None));
        }
        let options = config.alerts.read().map_err(anyhow::Error::msg)?;
        let (alerts, observer) = Alerts::open(options)?;
        Ok((Self { sinks: Publisher::default(), alerts: Some(observer) }, Some(alerts)))
    }

    pub(crate) fn record(&self, record: &Arc<AuditRecord>) {
        self.sinks.publish(record);
        if let Some(alerts) = &self.alerts {
            alerts.record(record);
        }
    }

    /// What became of notices so far, by channel.
    pub(crate) fn channels(&self) -> Vec<ChannelStats> {
        self.alerts.as_ref().map(Observer::channels).unwrap_or_default()
    }

    /// What alerts had no time to look at, where there are any.
    pub(crate) fn missed(&self) -> Option<u64> {
        self.alerts.as_ref().map(Observer::missed)
    }

    pub(crate) fn budget(&self, alert: &BudgetAlert) {
        if let Some(alerts) = &self.alerts {
            alerts.budget(alert);
        }
    }
}

/// Checks what the settings of bodies, the audit log's export, traces, sinks and alerts say, without reaching for anybody.
pub fn check(config: &Config) -> anyhow::Result<()> {
    config.audit.bodies()?;
    traces::sampling(&config.tracing)?;
    if let Some(export) = &config.audit.export {
        export.read().map_err(anyhow::Error::msg).context("audit.export")?;
    }
    for (name, sink) in &config.sinks {
        sink.read(name).map_err(anyhow::Error::msg).with_context(|| format!("sinks.{name}"))?;
    }
    let options = config.alerts.read().map_err(anyhow::Error::msg)?;
    let known = |name: &String| options.channels.iter().any(|(channel, _)| channel == name);
    // Without channels nothing is watched, so no rule can miss one.
    for rule in options.rules.iter().filter(|_| !options.channels.is_empty()) {
        if let Some(missing) = rule.channels.iter().find(|name| !known(name)) {
            anyhow::bail!("alerts.rules.{}.channels: there is no channel {missing:?} under alerts.channels", rule.name);
        }
    }
    Ok(())
}

/// Opens the sinks and what they have spilled.
pub(crate) fn start_sinks(
    config: &Config,
    dir: &Path,
    replica: &str,
    directory: &Arc<Directory>,
    hash_key: &[u8],
    observing: &Observing,
) -> anyhow::Result<Sinks> {
    let mut sinks = Vec::new();
    for (name, sink) in &config.sinks {
        sinks.push(sink.read(name).map_err(anyhow::Error::msg).with_context(|| format!("sinks.{name}"))?);
    }
    let directory = directory.clone();
    let options = tollgate_sinks::Options {
        dir: dir.join("sinks"),
        replica: replica.to_owned(),
        owners: Arc::new(move |key_id| owner(&directory, key_id)),
        hash_key: hash_key.to_vec(),
        sinks,
    };
    Ok(Sinks::start(options, &observing.sinks)?)
}

fn owner(directory: &Directory, key_id: &str) -> Owner {
    let Some(entry) = directory.keyring().get(key_id) else { return Owner::default() };
    let stored = entry.stored();
    let key = stored.key();
    Owner {
        key_name: key.display_name.clone(),
        organization_id: key.organization_id.clone(),
        team_id: key.team_id.clone(),
        user_id: key.user_id.clone(),
    }
}

/// What the gateway knows of itself.
pub(crate) struct Known {
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) directory: Arc<Directory>,
}

#[async_trait]
impl Facts for Known {
    fn now_us(&self) -> i64 {
        self.ledger.now_us()
    }

    fn ledger(&self) -> LedgerMode {
        let mode = self.ledger.mode();
        LedgerMode { name: mode.name().into(), degraded: !matches!(mode, Mode::Alone | Mode::Normal) }
    }

    fn budget(&self, id: &str) -> Option<Budget> {
        let account = self.ledger.account(id)?;
        let now_us = self.ledger.now_us();
        let balance = account.balance(now_us);
        let named = self.ledger.budget(account.budget_id()).map(|budget| budget.display_name).unwrap_or_default();
        let name = if named.is_empty() { account.scope_name() } else { named };
        Some(Budget {
            id: id.to_owned(),
            name,
            window: account.span(now_us).id,
            spent: balance.spent,
            limit: balance.limit,
        })
    }

    fn keys_ending_before(&self, us: i64) -> Vec<ExpiringKey> {
        let now_us = self.ledger.now_us();
        let mut ending = Vec::new();
        for entry in self.directory.keyring().all() {
            let key = entry.key_at(now_us);
            let expire_us = key.expire_time.as_ref().map(micros).filter(|end| *end < us);
            if let (Some(expire_us), KeyState::Active) = (expire_us, key.state()) {
                ending.push(ExpiringKey { id: key.id, name: key.display_name, expire_us });
            }
        }
        ending
    }

    async fn spent(&self, start_us: i64, end_us: i64) -> Result<i64, String> {
        let query = SpendQuery { start_us, end_us, ..SpendQuery::default() };
        let rows = self.ledger.store().spend(&query).await.map_err(|error| error.to_string())?;
        Ok(rows.iter().map(|row| row.cost_nano_usd).sum())
    }
}

/// Where replicas meet: whoever claims a notice first tells it.
pub(crate) struct FirstTells {
    pub(crate) claims: Arc<dyn Claims>,
    pub(crate) replica: String,
}

#[async_trait]
impl Turns for FirstTells {
    async fn is_ours(&self, what: &str, how_long: Duration) -> bool {
        let key = Sha256::digest(format!("alert {what}").as_bytes()).to_vec();
        let claim = Idempotency { key, fingerprint: Vec::new() };
        match self.claims.claim(&claim, &self.replica, how_long).await {
            Ok(other) => other.is_none(),
            // Better twice than not at all: that the stores are away is what may have to be told.
            Err(_) => true,
        }
    }
}

/// Sends a test notice through each channel, and its end; whether all took it.
pub async fn test_alerts(config: &Config, tell: impl Fn(&str)) -> anyhow::Result<bool> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let channels = config.alerts.channels().map_err(anyhow::Error::msg)?;
    anyhow::ensure!(!channels.is_empty(), "alerts.channels: there is none to test");
    let source = config.alerts.source.as_deref().unwrap_or("tollgate");
    let notice = Notice::test(source, jiff::Timestamp::now().as_microsecond());
    let channels = Channels::open(channels)?;
    let begun = channels.try_each(&notice).await;
    // What begins ends, so that no incident stays open.
    let ended = channels.try_each(&notice.resolved()).await;
    let mut all = true;
    for ((name, begun), (_, ended)) in begun.into_iter().zip(ended) {
        let went = begun.and(ended);
        all &= went.is_ok();
        tell(&went.map_or_else(|error| format!("{name}: refused: {error}"), |()| format!("{name}: delivered")));
    }
    Ok(all)
}
