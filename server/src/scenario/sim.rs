//! The real pipeline and router over simulated providers, in virtual time.

use std::{collections::HashMap, sync::Arc, time::Duration};

use anyhow::Context;
use futures::StreamExt;
use parking_lot::Mutex;
use tokio::time::Instant;
use tollgate_audit::Trail;
use tollgate_bodies::Root;
use tollgate_domain::{CallId, Clock, Error, Secret};
use tollgate_ledger::{Ledger, Options};
use tollgate_limits::Limiter;
use tollgate_pipeline::{
    Again, Billed, Bodies, BodySettings, Call, Directory, Gates, KeyRing, Parts, Pipeline, QuotaCell, Request,
    Settings, Settler,
};
use tollgate_proto::v1::{AuditRecord, CompletionRequest, completion_event::Event};
use tollgate_providers::{Mode, transport::InProcess};

use super::store::Forgetful;
use crate::{config::Config, table};

/// Chooses what is random of a call.
pub(super) type Seeds = Box<dyn Fn(CallId) -> u64 + Send + Sync>;

/// Records of calls that have ended, by call.
type Records = Arc<Mutex<HashMap<String, Arc<AuditRecord>>>>;

/// A gateway without a network.
pub(super) struct Sim {
    pub(super) pipeline: Arc<Pipeline>,
    pub(super) begun: Instant,
    records: Records,
    _journal: tempfile::TempDir,
}

/// How a call went.
pub(super) struct Made {
    /// HTTP status.
    pub(super) status: u16,
    /// Reason of its error, or empty.
    pub(super) reason: String,
    /// The error's words, or empty.
    pub(super) message: String,
    pub(super) answered: bool,
    pub(super) restarted: usize,
    pub(super) took_us: u64,
    pub(super) first_content_us: Option<u64>,
    pub(super) record: Arc<AuditRecord>,
}

impl Sim {
    /// Its time of day begins at `begin_us`.
    pub(super) async fn start(
        config: &Config,
        providers: Arc<dyn InProcess>,
        seeds: Seeds,
        begin_us: i64,
    ) -> anyhow::Result<Self> {
        let begun = Instant::now();
        let (table, _) = table::build_with(config, Some(providers))?;
        let journal =
            tempfile::Builder::new().prefix("tollgate-scenario-").tempdir().context("a temporary directory")?;
        let records = Records::default();
        let sink = records.clone();
        let clock = Clock::new(move || begin_us + i64::try_from(begun.elapsed().as_micros()).unwrap_or(i64::MAX));
        let options = Options {
            on_record: Box::new(move |record| {
                if !record.call_id.is_empty() {
                    sink.lock().insert(record.call_id.clone(), record.clone());
                }
            }),
            ..Options::alone(journal.path().join("journal"), clock.clone())
        };
        let ledger = Ledger::open(options, Arc::new(Forgetful)).await?;
        let keyring = Arc::new(KeyRing::new(b"a scenario has no secrets"));
        let pipeline = Pipeline::new(Parts {
            directory: Arc::new(Directory::new(keyring)),
            table,
            ledger: ledger.clone(),
            trail: Trail::default(),
            metrics: Arc::default(),
            clock: clock.clone(),
            settings: Settings {
                hold_wait: config.budgets.hold_wait.duration(),
                default_output_cap: config.budgets.default_output_cap,
                ..Settings::default()
            },
            bodies: Bodies::new(Root::new(&[]), None, BodySettings::default()),
            settler: Settler::start(ledger),
            seeds,
            gates: Gates::new(Limiter::new(clock, None, Box::new(|| 1))),
            claims: None,
            cooldowns: None,
            notary: None,
        });
        Ok(Self { pipeline, begun, records, _journal: journal })
    }

    /// Makes a call and reads its answer to the end, or to its deadline.
    pub(super) async fn make(&self, call: Call) -> Made {
        let (id, deadline, begun) = (call.id, call.deadline, Instant::now());
        let (mut first_content_us, mut restarted) = (None, 0);
        let reading = Box::pin(async {
            let mut reply = self.pipeline.complete(call).await?;
            while let Some(event) = reply.next().await {
                match event?.event {
                    Some(Event::Delta(_)) => {
                        first_content_us.get_or_insert(micros(begun.elapsed()));
                    }
                    Some(Event::Restarted(_)) => restarted += 1,
                    _ => {}
                }
            }
            Ok::<_, Error>(())
        });
        let ended = match deadline {
            None => reading.await.map_err(Some),
            Some(deadline) => match tokio::time::timeout_at(deadline, reading).await {
                Ok(ended) => ended.map_err(Some),
                Err(_) => Err(None),
            },
        };
        let took_us = micros(begun.elapsed());
        // A caller that went away leaves its record to the settler.
        let record = loop {
            if let Some(record) = self.records.lock().remove(&id.to_string()) {
                break record;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        };
        let (status, reason, message) = match &ended {
            Ok(()) => (200, String::new(), String::new()),
            Err(Some(error)) => {
                (tollgate_http::http_status(error.reason), error.reason.wire_name().to_owned(), error.message.clone())
            }
            Err(None) => (504, "DEADLINE_EXCEEDED".to_owned(), "the caller's deadline passed".to_owned()),
        };
        Made { status, reason, message, answered: ended.is_ok(), restarted, took_us, first_content_us, record }
    }
}

/// A completion as a door would hand it over.
pub(super) fn call(
    id: CallId,
    secret: &Secret,
    request: Arc<CompletionRequest>,
    mode: Mode,
    deadline: Option<Instant>,
    again: Option<Again>,
) -> Call {
    Call {
        id,
        action: if mode == Mode::Stream { "completion.stream" } else { "completion.create" },
        credential: Some(secret.clone()),
        peer: None,
        deadline,
        request: Request::Completion(request, mode),
        files: None,
        again,
        quota: QuotaCell::default(),
        billed: Billed::default(),
        trace: Default::default(),
    }
}

pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
