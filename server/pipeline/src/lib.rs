//! The life of a call, one file per stage.
//!
//! [`Pipeline::complete`] reads as its table of contents. Each stage takes what the stage before has proved (`Caller`, `Permit`,
//! `Reservation`: private fields, one maker each), so that none can be skipped or swapped by accident.

mod authenticate;
mod batch;
mod bodies;
mod bound;
mod call;
mod cooldowns;
mod defaults;
mod directory;
mod first_use;
mod flow;
mod idempotency;
mod keyring;
mod limit;
mod media;
mod mirror;
mod permit;
mod prompt;
mod reasoning;
mod record;
mod reserve;
mod route;
mod secret;
mod send;
mod settle;
mod takeover;
mod tokenizer;
mod tokens;
mod told;
mod unary;

use std::{future::Future, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
pub use authenticate::Caller;
pub use batch::LineBound;
pub use bodies::{Bodies, BodySettings, Content, damaged};
pub use bound::MOST_IMAGES;
pub use call::{Again, Billed, Call, Request};
pub use directory::{Directory, allows};
pub use first_use::{FirstUse, FirstUses};
use futures::{StreamExt, TryStreamExt, stream::BoxStream};
pub use keyring::{KeyEntry, KeyRing};
pub use limit::{Gates, QuotaCell, Standings};
pub use media::{Files, MediaTold};
pub use mirror::MIRROR;
pub use secret::KeySecret;
pub use settle::Settler;
use tokio::{
    sync::{Semaphore, mpsc},
    time::Instant,
};
use tollgate_audit::{Draft, Notary, Trail};
use tollgate_domain::{CallId, Clock, Error};
use tollgate_ledger::Ledger;
use tollgate_metrics::Metrics;
use tollgate_proto::v1::CompletionEvent;
use tollgate_router::{States, Table};
use tollgate_store::{Claims, Cooldowns, Cooling};
pub use unary::{Answer, Carried};

use crate::{
    idempotency::{Entry, Flights, Kept, claim},
    permit::Permit,
    record::Record,
};

/// What an answer is, whole or streamed: its events in order, ended by the first error.
pub type Reply<T> = BoxStream<'static, Result<T, Error>>;

/// Settings of the stages.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long a call may wait for money that is only held.
    pub hold_wait: Duration,
    /// Whether a platform admin's key may make completions.
    pub admin_completions: bool,
    /// Output limit injected under a hard budget where neither call nor key names one.
    pub default_output_cap: u64,
    /// How long an answer is kept for the repetition of its idempotency key.
    pub idempotency_retention: Duration,
    /// How many bytes of answers are kept for that.
    pub idempotency_bytes: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            hold_wait: Duration::from_secs(2),
            admin_completions: false,
            default_output_cap: 4_096,
            idempotency_retention: Duration::from_secs(600),
            idempotency_bytes: 64 << 20,
        }
    }
}

/// What the stages share.
pub struct Pipeline {
    directory: Arc<Directory>,
    table: ArcSwap<Table>,
    ledger: Arc<Ledger>,
    trail: Trail,
    metrics: Arc<Metrics>,
    clock: Clock,
    settings: Settings,
    bodies: Arc<Bodies>,
    settler: Settler,
    seeds: Box<dyn Fn(CallId) -> u64 + Send + Sync>,
    gates: Arc<Gates>,
    claims: Option<Arc<dyn Claims>>,
    /// How deployments do: kept over reloads.
    states: States,
    /// Places for copies of calls.
    mirrors: Arc<Semaphore>,
    /// What other replicas should know of that.
    found: mpsc::UnboundedSender<Cooling>,
    /// The router's clock counts from here.
    begun: Instant,
    completions: Flights<CompletionEvent>,
    answers: Flights<Answer>,
    media: Flights<MediaTold>,
    /// What providers thought before they called tools.
    memory: reasoning::Memory,
    notary: Option<Arc<Notary>>,
}

/// What a pipeline is made of.
pub struct Parts {
    /// Keys, teams, users, organizations.
    pub directory: Arc<Directory>,
    /// The router's view of the configuration.
    pub table: Table,
    /// The ledger.
    pub ledger: Arc<Ledger>,
    /// Where records are handed on.
    pub trail: Trail,
    /// Counts calls as they end.
    pub metrics: Arc<Metrics>,
    /// The time of day.
    pub clock: Clock,
    /// Settings.
    pub settings: Settings,
    /// What becomes of prompts and answers.
    pub bodies: Arc<Bodies>,
    /// Takes what callers left unfinished.
    pub settler: Settler,
    /// A seed per call.
    pub seeds: Box<dyn Fn(CallId) -> u64 + Send + Sync>,
    /// Rate limits and queues.
    pub gates: Arc<Gates>,
    /// Idempotency keys that replicas share; `None`: there is one.
    pub claims: Option<Arc<dyn Claims>>,
    /// What replicas tell each other of deployments; `None`: there is one.
    pub cooldowns: Option<Arc<dyn Cooldowns>>,
    /// Who signs the audit log; `None`: nobody, and no call gets a receipt.
    pub notary: Option<Arc<Notary>>,
}

impl Pipeline {
    /// Joins the parts.
    pub fn new(parts: Parts) -> Arc<Self> {
        let (retention, bytes) = (parts.settings.idempotency_retention, parts.settings.idempotency_bytes);
        let states = States::default();
        parts.table.attach(&states);
        let (found, finds) = mpsc::unbounded_channel();
        let this = Arc::new(Self {
            states,
            mirrors: Arc::new(Semaphore::new(mirror::MOST)),
            found,
            begun: Instant::now(),
            directory: parts.directory,
            table: ArcSwap::from_pointee(parts.table),
            ledger: parts.ledger,
            trail: parts.trail,
            metrics: parts.metrics,
            clock: parts.clock,
            settings: parts.settings,
            bodies: parts.bodies,
            settler: parts.settler,
            seeds: parts.seeds,
            gates: parts.gates,
            completions: Flights::new(retention, bytes, parts.claims.clone()),
            answers: Flights::new(retention, bytes, parts.claims.clone()),
            media: Flights::new(retention, bytes, parts.claims.clone()),
            memory: reasoning::Memory::new(),
            claims: parts.claims,
            notary: parts.notary,
        });
        if let Some(cooldowns) = parts.cooldowns {
            tokio::spawn(cooldowns::share(Arc::downgrade(&this), cooldowns, finds));
        }
        this
    }

    /// The life of a completion, top to bottom. Each line takes what the line above has proved.
    pub async fn complete(self: &Arc<Self>, call: Call) -> Result<Reply<CompletionEvent>, Error> {
        self.enter(&self.completions, call, Self::serve).await
    }

    async fn serve(
        self: Arc<Self>,
        permit: Permit,
        call: Call,
        mut record: Record,
    ) -> Result<Reply<CompletionEvent>, Error> {
        let limits = call.trace.stage("limits");
        let passed = record.try_or_close(told::ended(limits, self.pass(&permit, &call).await)).await?;
        let reserving = call.trace.stage("reserve");
        let reserved = told::ended(reserving, self.reserve(permit, &call).await); // dropped unused, it releases itself
        let reservation = record.try_or_close(reserved).await?;
        self.mirror(&reservation.permit, &call);
        if call.opens_when_admitted() {
            let _ = call.quota.opened_as.set(call.id); // a call is admitted once
            // Dropped unread, it releases and closes what it holds.
            let answered = async move { self.send(reservation, passed, call, record).await };
            return Ok(futures::stream::once(answered).try_flatten().boxed());
        }
        self.send(reservation, passed, call, record).await // settles and closes the record, whatever happens
    }

    /// The life of an operation with one answer: the same stages.
    pub async fn answer<O: Carried>(self: &Arc<Self>, call: Call) -> Result<O::Response, Error> {
        let mut reply = self.enter(&self.answers, call, Self::serve_unary::<O>).await?;
        let answer = reply.try_next().await?;
        answer.and_then(O::response).ok_or_else(|| Error::internal("the answer is missing"))
    }

    async fn serve_unary<O: Carried>(
        self: Arc<Self>,
        permit: Permit,
        call: Call,
        mut record: Record,
    ) -> Result<Reply<Answer>, Error> {
        let asked = O::asked(&call.request).cloned().ok_or_else(|| Error::internal("a call of another operation"));
        let asked = record.try_or_close(asked).await?;
        let limits = call.trace.stage("limits");
        let passed = record.try_or_close(told::ended(limits, self.pass(&permit, &call).await)).await?;
        let reserving = call.trace.stage("reserve");
        let reserved = told::ended(reserving, self.reserve(permit, &call).await);
        let reservation = record.try_or_close(reserved).await?;
        let response = self.send_unary::<O>(&asked, reservation, passed, call, record).await?;
        Ok(futures::stream::once(async { Ok(O::answer(response)) }).boxed())
    }

    /// How every call begins: who it is, what it may do, and whether it came before.
    async fn enter<T, F>(
        self: &Arc<Self>,
        flights: &Flights<T>,
        call: Call,
        serve: impl FnOnce(Arc<Self>, Permit, Call, Record) -> F + Send + 'static,
    ) -> Result<Reply<T>, Error>
    where
        T: Kept,
        F: Future<Output = Result<Reply<T>, Error>> + Send + 'static,
    {
        let mut record = self.open_record(&call);
        let admitting = call.trace.stage("authenticate");
        let admitted = told::ended(admitting, self.admit(&call, &mut record));
        let permit = record.try_or_close(admitted).await?;
        record.belongs_to(Box::pin(self.whose(&permit)).await);
        match record.try_or_close(flights.enter(&permit, &call)).await? {
            Entry::Alone => serve(self.clone(), permit, call, record).await,
            Entry::Lead(flight) => {
                let (this, retention) = (self.clone(), self.settings.idempotency_retention);
                let leading = async move {
                    let claiming = call.trace.stage("claim");
                    let claimed = claim(this.claims.as_deref(), &permit, &call, retention).await;
                    record.try_or_close(told::ended(claiming, claimed)).await?;
                    serve(this, permit, call, record).await
                };
                let (leading, reply) = flight.lead(leading, self.settler.cut());
                self.settler.spawn_call(leading);
                Ok(reply)
            }
            Entry::Follow(flight) => Ok(flight.follow(record)),
        }
    }

    /// Who calls, and what the caller may do.
    fn admit(&self, call: &Call, record: &mut Record) -> Result<Permit, Error> {
        let authenticated = self.authenticate(call.credential.as_ref());
        match &authenticated {
            Ok(caller) => record.draft().caller(caller.key()),
            // A key that is known and does not work is on record too.
            Err(error) => self.on_record_as(error.value("keyId").unwrap_or_default(), record.draft()),
        }
        let caller = authenticated?;
        record.of(&caller);
        self.permit(caller, call)
    }

    /// Notes the key of this id on a record, with what is known of it.
    pub fn on_record_as(&self, key_id: &str, draft: &mut Draft) {
        match self.keyring().get(key_id) {
            Some(entry) => draft.caller(entry.stored().key()),
            None => draft.named(key_id),
        }
    }

    /// The router's view of the configuration in force.
    pub fn table(&self) -> Arc<Table> {
        self.table.load_full()
    }

    /// Puts another configuration in force; calls in flight end under their own.
    pub fn replace_table(&self, table: Table) {
        table.attach(&self.states);
        self.table.store(Arc::new(table));
    }

    /// Virtual keys.
    pub fn keyring(&self) -> &Arc<KeyRing> {
        self.directory.keyring()
    }

    /// Keys, teams, users, organizations.
    pub fn directory(&self) -> &Arc<Directory> {
        &self.directory
    }

    /// Rate limits and queues.
    pub fn gates(&self) -> &Arc<Gates> {
        &self.gates
    }

    /// The ledger.
    pub fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    /// Who settles what callers leave unfinished.
    pub fn settler(&self) -> &Settler {
        &self.settler
    }

    /// Where records are handed on.
    pub fn trail(&self) -> &Trail {
        &self.trail
    }

    /// Who signs the audit log, if anybody does.
    pub fn notary(&self) -> Option<&Arc<Notary>> {
        self.notary.as_ref()
    }

    /// What calls did since the start.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// The time of day.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Remembers idempotency keys of calls that were settled before this start: their answers are gone, but they are never billed
    /// again.
    pub fn remember(&self, settled: Vec<(tollgate_store::Idempotency, String)>) {
        for (idempotency, call_id) in settled {
            self.completions.remember(&idempotency, &call_id);
            self.answers.remember(&idempotency, &call_id);
            self.media.remember(&idempotency, &call_id);
        }
    }
}
