//! What the admin services do.
//!
//! Every act names its [`Action`], is authorized before anything is looked at, and is journalled together with its audit record;
//! denials are on record too.

mod audit;
mod authorize;
mod budgets;
mod keys;
mod models;
mod page;

use std::sync::Arc;

pub use audit::Records;
pub use authorize::{Action, Authorized, authorize};
pub use keys::Minted;
use parking_lot::Mutex;
use tollgate_audit::Draft;
use tollgate_domain::{Error, Secret};
use tollgate_ledger::{AdminChange, End};
use tollgate_pipeline::Pipeline;
use tollgate_store::StoreError;

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
    change: AdminChange,
    subject: String,
    changes: Vec<String>,
}

/// The admin services.
pub struct Control {
    pipeline: Arc<Pipeline>,
    /// One act at a time: what an act checked still holds when it is journalled.
    acting: Mutex<()>,
}

impl Control {
    /// Over the pipeline's keys and ledger.
    pub fn new(pipeline: Arc<Pipeline>) -> Self {
        Self { pipeline, acting: Mutex::new(()) }
    }

    /// Proof that the principal may do this; a denial is recorded.
    fn allowed(&self, principal: &Principal, action: Action) -> Result<Authorized, Error> {
        let caller = self.pipeline.authenticate(principal.credential.as_ref());
        let key_id = match &caller {
            Ok(caller) => caller.key_id(),
            Err(error) => error.value("keyId").unwrap_or_default(),
        };
        let key_id = key_id.to_owned();
        caller.and_then(|caller| authorize(caller, action)).inspect_err(|error| {
            let mut draft = Draft::open(action.name(), principal.peer.as_deref());
            draft.caller(&key_id);
            self.pipeline.ledger().end(End { record: Some(draft.close(Some(error), 0)), ..End::default() });
        })
    }

    /// Runs one act under the lock and journals it with its record.
    async fn act<T>(
        &self,
        principal: &Principal,
        action: Action,
        act: impl FnOnce(&Authorized) -> Result<Done<T>, Error>,
    ) -> Result<T, Error> {
        let authorized = self.allowed(principal, action)?;
        let (result, sequence) = {
            let _one_at_a_time = self.acting.lock();
            let mut draft = Draft::open(action.name(), principal.peer.as_deref());
            draft.caller(authorized.caller().key_id());
            match act(&authorized) {
                Ok(done) => {
                    draft.subject(&done.subject, done.changes);
                    if let Some(key) = &done.change.key {
                        self.pipeline.keyring().put(key.clone());
                    }
                    let record = draft.close(None, 0);
                    (Ok(done.result), self.pipeline.ledger().change(done.change, record))
                }
                Err(error) => {
                    let record = draft.close(Some(&error), 0);
                    (Err(error), self.pipeline.ledger().end(End { record: Some(record), ..End::default() }))
                }
            }
        };
        self.pipeline.ledger().durable(sequence).await;
        result
    }

    fn now_us(&self) -> i64 {
        self.pipeline.clock().now_us()
    }
}

fn store_failed(error: StoreError) -> Error {
    Error::internal(format!("the store could not be read: {error}"))
}
