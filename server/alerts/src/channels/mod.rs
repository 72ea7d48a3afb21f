//! Who is told, and how: a file for each kind.

mod email;
mod pagerduty;
mod slack;
mod webhook;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
pub use email::{Email, SmtpSecurity};
use http::{HeaderValue, Request, request::Builder};
pub use pagerduty::PagerDuty;
pub use slack::Slack;
use tokio::{sync::mpsc, time::timeout};
use tollgate_outbound::{Answer, Backoff, PostError};
pub use webhook::Webhook;

use crate::Notice;

/// Notices that wait for a channel.
const QUEUE: usize = 1_024;
/// Time for one sending.
const SENDING: Duration = Duration::from_secs(30);
/// How often one is tried: for about five minutes.
const TRIES: u32 = 10;
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// Who is told, and what is needed for it.
#[derive(Clone, Debug)]
pub enum Channel {
    /// A chat room by an incoming webhook of Slack, or of what speaks its form.
    Slack(Slack),
    /// Anything that takes JSON over HTTP.
    Webhook(Webhook),
    /// PagerDuty: an incident begins, and is resolved.
    PagerDuty(PagerDuty),
    /// Mail.
    Email(Email),
}

/// Why a channel cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("alerts.{name}: {message}")]
pub struct ChannelError {
    /// Where in the settings.
    pub name: String,
    /// What is wrong, and the way out.
    pub message: String,
}

/// Why a notice was not taken. Shows no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SendError {
    /// What the other side said.
    pub message: String,
    /// Whether it may take it later.
    pub later: bool,
    /// When, if it says so.
    pub after: Option<Duration>,
}

#[async_trait]
pub(crate) trait Messenger: Send + Sync {
    async fn send(&self, notice: &Notice) -> Result<(), SendError>;
}

/// What became of a channel's notices since the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelStats {
    /// The channel.
    pub name: String,
    /// Taken by the other side.
    pub delivered: u64,
    /// Taken by nobody, after all tries or because too many waited.
    pub lost: u64,
}

/// Counts of one channel.
#[derive(Debug, Default)]
struct Counters {
    delivered: AtomicU64,
    lost: AtomicU64,
}

impl Counters {
    fn deliver(&self) {
        self.delivered.fetch_add(1, Ordering::Relaxed);
    }

    fn lose(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
    }
}

/// Counts of all channels.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts(Arc<BTreeMap<String, Arc<Counters>>>);

impl Counts {
    pub(crate) fn read(&self) -> Vec<ChannelStats> {
        let read = |(name, counters): (&String, &Arc<Counters>)| ChannelStats {
            name: name.clone(),
            delivered: counters.delivered.load(Ordering::Relaxed),
            lost: counters.lost.load(Ordering::Relaxed),
        };
        self.0.iter().map(read).collect()
    }
}

/// All channels, each with a queue of its own: one that stalls keeps no other waiting.
pub struct Channels {
    queues: BTreeMap<String, mpsc::Sender<Notice>>,
    opened: BTreeMap<String, Arc<dyn Messenger>>,
    counts: Counts,
}

impl Channels {
    /// Opens them; the error names the channel. Must be called within a runtime.
    pub fn open(channels: Vec<(String, Channel)>) -> Result<Self, ChannelError> {
        let mut opened = BTreeMap::new();
        for (name, channel) in channels {
            let made = channel.open().map_err(|message| ChannelError { name: format!("channels.{name}"), message })?;
            opened.insert(name, made);
        }
        let counts: BTreeMap<String, Arc<Counters>> =
            opened.keys().map(|name| (name.clone(), Arc::default())).collect();
        let start = |(name, channel): (&String, &Arc<dyn Messenger>)| {
            let (queue, waiting) = mpsc::channel(QUEUE);
            tokio::spawn(deliver(name.clone(), channel.clone(), waiting, counts[name].clone()));
            (name.clone(), queue)
        };
        let queues = opened.iter().map(start).collect();
        Ok(Self { queues, opened, counts: Counts(Arc::new(counts)) })
    }

    pub(crate) fn counts(&self) -> Counts {
        self.counts.clone()
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.queues.contains_key(name)
    }

    /// Tells `to`, or all where nobody is named. Waits for nothing.
    pub fn tell(&self, to: &[String], notice: &Notice) {
        tracing::info!(rule = notice.rule, subject = notice.subject, state = notice.state.name(), "{}", notice.summary);
        for (name, queue) in self.queues.iter().filter(|(name, _)| to.is_empty() || to.contains(name)) {
            if queue.try_send(notice.clone()).is_err() {
                self.counts.0[name].lose();
                tracing::warn!(channel = name, rule = notice.rule, "a notice is lost: too many wait for this channel");
            }
        }
    }

    /// Sends a notice through each channel once, in their order, and tells how that went.
    pub async fn try_each(&self, notice: &Notice) -> Vec<(String, Result<(), SendError>)> {
        let mut tried = Vec::new();
        for (name, channel) in &self.opened {
            tried.push((name.clone(), once(channel.as_ref(), notice).await));
        }
        tried
    }
}

async fn once(channel: &dyn Messenger, notice: &Notice) -> Result<(), SendError> {
    let late = || SendError { message: format!("no answer within {SENDING:?}"), later: true, after: None };
    timeout(SENDING, channel.send(notice)).await.unwrap_or_else(|_| Err(late()))
}

/// In order: an end never overtakes its beginning.
async fn deliver(
    name: String,
    channel: Arc<dyn Messenger>,
    mut waiting: mpsc::Receiver<Notice>,
    counters: Arc<Counters>,
) {
    while let Some(notice) = waiting.recv().await {
        let mut backoff = Backoff::new(FIRST_RETRY, LONGEST_RETRY);
        for left in (0..TRIES).rev() {
            match once(channel.as_ref(), &notice).await {
                Ok(()) => {
                    counters.deliver();
                    break;
                }
                Err(error) if error.later && left > 0 => tokio::time::sleep(backoff.failed(error.after)).await,
                Err(error) => {
                    counters.lose();
                    tracing::warn!(channel = name, rule = notice.rule, %error, "a notice is lost");
                    break;
                }
            }
        }
    }
}

impl Channel {
    fn open(self) -> Result<Arc<dyn Messenger>, String> {
        Ok(match self {
            Self::Slack(slack) => Arc::new(slack.open()?),
            Self::Webhook(webhook) => Arc::new(webhook.open()?),
            Self::PagerDuty(pagerduty) => Arc::new(pagerduty.open()?),
            Self::Email(email) => Arc::new(email.open()?),
        })
    }
}

fn post(url: &str) -> Builder {
    let agent = HeaderValue::from_static(concat!("tollgate/", env!("CARGO_PKG_VERSION")));
    Request::post(url).header("content-type", "application/json").header("user-agent", agent)
}

/// Whether a URL can be posted to; the error never shows it: there may be a secret in it.
fn checked(url: &str, setting: &str) -> Result<String, String> {
    let read = url::Url::parse(url).map_err(|e| format!("{setting}: is no URL: {e}"))?;
    match read.scheme() {
        "http" | "https" if read.host().is_some() => Ok(read.into()),
        _ => Err(format!("{setting}: must begin with https:// or http:// and name a host")),
    }
}

fn judged(answer: Result<Answer, PostError>) -> Result<(), SendError> {
    let answer = answer.map_err(|error| SendError { message: error.to_string(), later: true, after: None })?;
    if answer.status.is_success() {
        return Ok(());
    }
    let later = answer.status.is_server_error() || matches!(answer.status.as_u16(), 408 | 429);
    let message = format!("{}: {}", answer.status, answer.excerpt());
    Err(SendError { message, later, after: answer.retry_after() })
}
