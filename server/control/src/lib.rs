//! What the admin services do.
//!
//! Every act names its [`Action`] as a type, is authorized before anything is told or changed, and is journalled together with its audit
//! record; denials are on record too.

mod adjustments;
mod audit;
mod audit_log;
mod authorize;
mod background;
mod batches;
mod bodies;
mod budgets;
mod catalogue;
mod health;
mod import;
mod keys;
mod models;
mod opening;
mod page;
mod reconcile;
mod responses;
mod rights;
mod runtime_models;
mod spend;
mod tenancy;

use std::sync::Arc;

pub use audit::Records;
pub use audit_log::Exported;
pub use authorize::{
    Act, Action, Actor, Authorized, RPCS, Reach, Resource, act, authorization_page, authorize, is_allowed,
};
pub use background::Begun;
pub use batches::{Batching, Chunks, ReadLine, ReadLines};
pub use budgets::Provisioned;
pub use import::Imported;
pub use keys::Minted;
pub use responses::{Keeping, is_response_id};
use runtime_models::NoModels;
pub use runtime_models::RuntimeModels;
pub use spend::Updates;
use tollgate_audit::Draft;
use tollgate_domain::{Error, Retry, Secret};
use tollgate_ledger::End;
use tollgate_pipeline::{Caller, Directory, Pipeline};
use tollgate_proto::v1::ErrorReason;
use tollgate_store::{LedgerRow, Object, PutOutcome, StoreError};

/// Who acts, as the door saw it.
#[derive(Clone, Debug, Default)]
pub struct Principal {
    /// What came as the key.
    pub credential: Option<Secret>,
    /// The address.
    pub peer: Option<String>,
}

/// What an act did: its result, what to make durable, and what to say on the record.
struct Done<T> {
    result: T,
    objects: Vec<Object>,
    subject: String,
    changes: Vec<String>,
    /// Entries that are posted with it: a correction, opening balances.
    posting: Option<Vec<LedgerRow>>,
}

/// An act that was allowed: what is left is to make it count. Its record is open.
struct Decided<T> {
    done: Done<T>,
    draft: Draft,
}

/// The right to act, while nobody else does.
type Turn = tokio::sync::OwnedMutexGuard<()>;

/// The admin services.
#[derive(Clone)]
pub struct Control {
    pipeline: Arc<Pipeline>,
    /// One act at a time: what an act checked still holds when it is journalled.
    acting: Arc<tokio::sync::Mutex<()>>,
    /// Keys that wait to be taken over together.
    importing: Arc<import::Waiting>,
    changing_windows: Arc<tokio::sync::Mutex<()>>,
    /// One erasure at a time: what one destroys, no other one says that it destroyed.
    erasing: Arc<tokio::sync::Mutex<()>>,
    /// Where responses are kept; `None`: nowhere.
    keeping: Option<Keeping>,
    runtime_models: Arc<dyn RuntimeModels>,
    /// Where files and batches are kept; `None`: nowhere.
    batching: Option<Arc<Batching>>,
    sweeps: health::Sweeps,
}

impl Control {
    /// Over the pipeline's keys and ledger.
    pub fn new(pipeline: Arc<Pipeline>) -> Self {
        Self {
            pipeline,
            acting: Arc::default(),
            importing: Arc::default(),
            changing_windows: Arc::default(),
            erasing: Arc::default(),
            keeping: None,
            runtime_models: Arc::new(NoModels),
            batching: None,
            sweeps: health::Sweeps::default(),
        }
    }

    /// With deployments that live in the store.
    #[must_use]
    pub fn with_runtime_models(self, runtime_models: Arc<dyn RuntimeModels>) -> Self {
        Self { runtime_models, ..self }
    }

    fn directory(&self) -> &Directory {
        self.pipeline.directory()
    }

    /// Who holds the principal's key; failures are recorded.
    fn caller(&self, principal: &Principal, action: Action) -> Result<Caller, Error> {
        self.pipeline.authenticate(principal.credential.as_ref()).inspect_err(|error| {
            self.deny(principal, action, error.value("keyId").unwrap_or_default(), error);
        })
    }

    fn deny(&self, principal: &Principal, action: Action, key_id: &str, error: &Error) {
        let mut draft = Draft::open(action.name(), principal.peer.as_deref());
        self.pipeline.on_record_as(key_id, &mut draft);
        self.pipeline.ledger().end(End { record: Some(draft.close(Some(error), 0)), ..End::default() });
    }

    /// Proof that the principal may do `A` to what `find` finds; a denial is recorded. What somebody else's key may not see does not
    /// exist for it.
    fn allowed<A: Act>(
        &self,
        principal: &Principal,
        find: impl FnOnce(&Caller) -> Result<Resource, Error>,
    ) -> Result<Authorized<A>, Error> {
        let caller = self.caller(principal, A::ACTION)?;
        let key_id = caller.key_id().to_owned();
        // A role that reaches nothing learns nothing of what exists.
        let found = match A::ACTION.reach(caller.role()) {
            Reach::No => Ok(Resource::default()),
            _ => find(&caller),
        };
        found
            .and_then(|resource| authorize::<A>(caller, resource))
            .inspect_err(|error| self.deny(principal, A::ACTION, &key_id, error))
    }

    /// Whether the principal may read metrics, of all that goes through the gateway; a denial is recorded.
    pub fn may_read_metrics(&self, principal: &Principal) -> Result<(), Error> {
        self.allowed::<act::ReadMetrics>(principal, |_| Ok(Resource::default())).map(|_| ())
    }

    /// Waits for the turn to act.
    async fn turn(&self) -> Turn {
        self.acting.clone().lock_owned().await
    }

    /// Runs to its end, even when the caller goes: what is made must be on record, and what has begun at a provider be booked.
    async fn to_the_end<T: Send + 'static>(
        &self,
        act: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        self.pipeline.settler().to_the_end(act).await.unwrap_or_else(|_| Err(interrupted()))
    }

    /// Runs one act in its turn and journals it with its record.
    async fn act<A: Act, T: Send + 'static>(
        &self,
        principal: &Principal,
        find: impl FnOnce(&Caller) -> Result<Resource, Error>,
        act: impl FnOnce(&Authorized<A>) -> Result<Done<T>, Error>,
    ) -> Result<T, Error> {
        let turn = self.turn().await;
        if self.pipeline.ledger().is_shared() {
            self.catch_up().await?;
        }
        let decided = self.decide(principal, find, act)?;
        let control = self.clone();
        // Whoever asked may hang up, and what is made must be on record all the same.
        let making = async move {
            let _until_made = turn;
            let draft = decided.draft.clone();
            control.make(decided).await.inspect_err(|error| control.record_failure(draft, error))
        };
        let (result, sequence) = self.to_the_end(making).await?;
        // The next act need not wait for the disk: it is journalled behind this one, so it is never durable without it.
        self.pipeline.ledger().durable(sequence, tollgate_ledger::Before::LastFrame).await;
        Ok(result)
    }

    /// Checks that the principal may do it and what is to be made of it. A denial and a refusal are recorded.
    fn decide<A: Act, T>(
        &self,
        principal: &Principal,
        find: impl FnOnce(&Caller) -> Result<Resource, Error>,
        act: impl FnOnce(&Authorized<A>) -> Result<Done<T>, Error>,
    ) -> Result<Decided<T>, Error> {
        let authorized = self.allowed::<A>(principal, find)?;
        let mut draft = Draft::open(A::ACTION.name(), principal.peer.as_deref());
        draft.caller(authorized.caller().key());
        match act(&authorized) {
            Ok(done) => Ok(Decided { done, draft }),
            Err(error) => {
                self.record_failure(draft, &error);
                Err(error)
            }
        }
    }

    fn record_failure(&self, draft: Draft, error: &Error) {
        let record = Some(draft.close(Some(error), 0));
        self.pipeline.ledger().end(End { record, ..End::default() });
    }

    /// Makes one change count, and tells where it stands in the journal.
    async fn make<T>(&self, decided: Decided<T>) -> Result<(T, u64), Error> {
        let put = self.put(self.puts(std::iter::once(&decided))).await;
        self.journal(decided, put)
    }

    /// Makes changes count that have nothing to do with one another: the ledger of record is asked once. Where it refuses them, each is
    /// tried by itself, so that one does not keep the others.
    async fn make_together<T>(&self, decided: Vec<Decided<T>>) -> Vec<Result<(T, u64), Error>> {
        let put = self.put(self.puts(decided.iter())).await;
        let refused = matches!(&put, Err(error) if error.reason != ErrorReason::StoreUnavailable);
        let alone = refused && decided.len() > 1;
        let mut made = Vec::with_capacity(decided.len());
        for decided in decided {
            made.push(match alone {
                true => self.make(decided).await,
                false => self.journal(decided, put.clone()),
            });
        }
        made
    }

    /// Whether a change is put into the ledger of record before it is journalled: where there are several replicas. What posts money goes
    /// through the journal there, too, so that the change and its entry are one.
    fn is_put_first<T>(&self, done: &Done<T>) -> bool {
        self.pipeline.ledger().is_shared() && done.posting.is_none()
    }

    /// What is to be put first of all of them, with the versions that were read.
    fn puts<'a, T: 'a>(&self, decided: impl Iterator<Item = &'a Decided<T>>) -> Vec<(Object, i64)> {
        let first = decided.map(|decided| &decided.done).filter(|done| self.is_put_first(done));
        let versioned = |object: &Object| (object.clone(), self.directory().version_of(object));
        first.flat_map(|done| &done.objects).map(versioned).collect()
    }

    async fn put(&self, puts: Vec<(Object, i64)>) -> Result<(), Error> {
        if puts.is_empty() {
            return Ok(());
        }
        match self.pipeline.ledger().store().put(&puts).await.map_err(store_failed)? {
            PutOutcome::Done => {}
            PutOutcome::Conflict => {
                let message =
                    "it was changed at another replica at the same moment; read it again, then repeat the change";
                return Err(Error::new(ErrorReason::EtagMismatch, message));
            }
        }
        if let Err(error) = self.catch_up().await {
            // It is made: this replica learns of it with what others change.
            tracing::warn!(%error, "what was changed here is not read back yet");
        }
        Ok(())
    }

    /// Journals a change with its record, or why it could not be put.
    fn journal<T>(&self, decided: Decided<T>, put: Result<(), Error>) -> Result<(T, u64), Error> {
        let Decided { done, mut draft } = decided;
        let ledger = self.pipeline.ledger();
        let put_first = self.is_put_first(&done);
        if put_first {
            put?;
        }
        let Done { result, objects, subject, changes, posting } = done;
        draft.subject(&subject, changes);
        let record = draft.close(None, 0);
        if put_first {
            return Ok((result, ledger.end(End { record: Some(record), ..End::default() })));
        }
        for object in &objects {
            self.directory().take_over(object, 0);
        }
        Ok((result, ledger.change(objects, record, posting.unwrap_or_default())))
    }

    /// Takes over what was changed at other replicas.
    pub async fn catch_up(&self) -> Result<(), Error> {
        let ledger = self.pipeline.ledger();
        let changed = ledger.store().objects_after(self.directory().version()).await.map_err(store_failed)?;
        for (version, object) in changed {
            ledger.take_over(&object);
            self.directory().take_over(&object, version);
        }
        self.runtime_models.put_in_force();
        Ok(())
    }

    fn now_us(&self) -> i64 {
        self.pipeline.ledger().now_us()
    }
}

fn interrupted() -> Error {
    Error::internal("the change was interrupted; see whether it was made before repeating it")
}

fn store_failed(error: StoreError) -> Error {
    match error {
        StoreError::Unavailable(_) => store_unavailable(error),
        other => Error::internal(format!("the store could not be read: {other}")),
    }
}

fn store_unavailable(error: StoreError) -> Error {
    tracing::warn!(%error, "the ledger of record cannot be reached");
    let message = "the ledger of record cannot be reached now; calls go on, changes and reports wait; try again";
    Error::new(ErrorReason::StoreUnavailable, message).retry(Retry::After(std::time::Duration::from_secs(1)))
}
