//! Files at providers, and the batches that read them. Each key sees its own, whatever its role.

mod begin;
mod end;
mod files;
mod lines;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::stream::BoxStream;
use serde_json::{Map, Value};
use tokio::sync::Notify;
use tollgate_audit::Draft;
use tollgate_domain::{Class, Error, Failure, timestamp};
use tollgate_ledger::End;
use tollgate_pipeline::{Caller, Request};
use tollgate_proto::v1::{Batch, ErrorReason, File, Key};
use tollgate_redact::clean;
use tollgate_router::Deployment;
use tollgate_store::{Batches, Listing, StoredBatch, StoredFile};

use crate::{Control, Principal, is_response_id, store_failed};

/// The bytes of a file as they come.
pub type Chunks = BoxStream<'static, Result<Bytes, Error>>;

/// A line of a batch's input.
pub struct ReadLine {
    /// What it asks for: `/v1/chat/completions`, ...
    pub url: String,
    /// The model that it names.
    pub model: String,
    /// What it asks, as a call of its own would.
    pub request: Request,
    /// Its tags, by the members that they stand in.
    pub tags: Vec<(String, Vec<String>)>,
    /// Leave out what the provider cannot heed; absent: as the deployment is configured.
    pub drop_params: Option<bool>,
}

/// Reads and writes lines of the input of batches: the wire that callers write is the door's to know.
pub trait ReadLines: Send + Sync {
    /// Reads a line.
    fn read(&self, line: &[u8]) -> Result<ReadLine, Error>;
    /// The line with another model, an output limit, and without what it says to the gateway.
    fn rewritten(&self, line: &[u8], model: &str, cap: Option<u64>) -> Result<String, Error>;
}

/// Where files and batches are kept, and how they are dealt with.
pub struct Batching {
    store: Arc<dyn Batches>,
    reader: Arc<dyn ReadLines>,
    poll: Duration,
    max_file_bytes: u64,
    max_line_bytes: usize,
    /// Rung when a batch was found ended.
    ended: Notify,
}

impl Batching {
    /// Kept in `store`, looked at every `poll`; no upload is larger than `max_file_bytes`, and no line of a batch than `max_line_bytes`.
    pub fn new(
        store: Arc<dyn Batches>,
        reader: Arc<dyn ReadLines>,
        poll: Duration,
        max_file_bytes: u64,
        max_line_bytes: usize,
    ) -> Self {
        Self { store, reader, poll, max_file_bytes, max_line_bytes, ended: Notify::new() }
    }

    fn poll_us(&self) -> i64 {
        i64::try_from(self.poll.as_micros()).unwrap_or(i64::MAX)
    }
}

/// What a call did, for its record.
#[derive(Default)]
struct Noted {
    subject: String,
    changes: Vec<String>,
}

impl Control {
    /// Keeps files and batches there.
    #[must_use]
    pub fn batching(self, batching: Batching) -> Self {
        Self { batching: Some(Arc::new(batching)), ..self }
    }

    fn batches_here(&self) -> Result<&Arc<Batching>, Error> {
        let message = "files and batches are not kept here";
        self.batching.as_ref().ok_or_else(|| Error::new(ErrorReason::RouteNotFound, message))
    }

    /// Who calls, if that may call models; a denial is on record.
    fn batch_caller(&self, principal: &Principal, action: &'static str) -> Result<Caller, Error> {
        let caller = self.pipeline.model_caller(principal.credential.as_ref(), action);
        caller.inspect_err(|error| {
            self.pipeline.ledger().end(self.denied(principal, action, error));
        })
    }

    /// The same; a denial brings a receipt, where that is wanted.
    async fn batch_caller_with_receipt(
        &self,
        principal: &Principal,
        action: &'static str,
        wants_receipt: bool,
    ) -> Result<Caller, Error> {
        match self.pipeline.model_caller(principal.credential.as_ref(), action) {
            Ok(caller) => Ok(caller),
            Err(error) => {
                let end = self.denied(principal, action, &error);
                Err(self.pipeline.end_failed(end, wants_receipt, error).await)
            }
        }
    }

    fn denied(&self, principal: &Principal, action: &'static str, error: &Error) -> End {
        let key_id = match error.value("keyId") {
            Some(key_id) => key_id.to_owned(),
            None => self
                .pipeline
                .authenticate(principal.credential.as_ref())
                .map_or_else(|_| String::new(), |caller| caller.key_id().to_owned()),
        };
        let mut draft = Draft::open(action, principal.peer.as_deref());
        self.pipeline.on_record_as(&key_id, &mut draft);
        ending(draft, Some(error))
    }

    /// Puts an act on record that moved no money.
    fn on_record(
        &self,
        principal: &Principal,
        action: &'static str,
        caller: &Caller,
        done: Noted,
        error: Option<&Error>,
    ) {
        let mut draft = Draft::open(action, principal.peer.as_deref());
        draft.caller(caller.key());
        draft.subject(&done.subject, done.changes);
        self.pipeline.ledger().end(ending(draft, error));
    }

    /// Where something of the caller's is.
    fn home_of(&self, model: &str, deployment: &str) -> Result<Arc<Deployment>, Error> {
        self.pipeline.deployment(model, deployment).ok_or_else(|| {
            let message =
                format!("the deployment {deployment:?} where it is is not configured any more; ask the operator");
            Error::new(ErrorReason::NoRoute, message).with("model", model).with("deployment", deployment)
        })
    }
}

/// The tags of what a key asks for: those that it was asked with, and the key's own.
fn labels(key: &Key, mut tags: Vec<String>) -> Vec<String> {
    tags.iter_mut().for_each(clean);
    tags.extend(key.tags.iter().cloned());
    tags.sort_unstable();
    tags.dedup();
    tags
}

/// An end that moved no money.
fn ending(draft: Draft, error: Option<&Error>) -> End {
    End { record: Some(draft.close(error, 0)), ..End::default() }
}

fn failed(failure: Failure, deployment: &Deployment) -> Error {
    failure.into_error(&deployment.provider, &deployment.name, 1)
}

/// The provider does not know what it is asked for.
fn is_gone(failure: &Failure) -> bool {
    failure.class == Class::NotFound || failure.status == 404
}

fn object(bytes: &[u8]) -> Result<Map<String, Value>, Failure> {
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(object)) if object.get("id").is_some_and(Value::is_string) => Ok(object),
        _ => Err(Failure::new(Class::UpstreamProtocol, "the provider's answer is no object with an id")),
    }
}

fn text<'a>(object: &'a Map<String, Value>, name: &str) -> &'a str {
    object.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn written(object: Map<String, Value>) -> String {
    Value::Object(object).to_string()
}

/// Which page of a list.
fn listing(size: i32, token: &str, oldest_first: bool) -> Result<Listing, Error> {
    if !token.is_empty() && !is_response_id(token) {
        return Err(Error::invalid_field("page_token", "is not one that this query gave out, and no id"));
    }
    let size = crate::page::size(size, 100)?;
    // One more tells whether there is another page.
    Ok(Listing { after: token.to_owned(), oldest_first, limit: i64::try_from(size).unwrap_or(1_000) + 1 })
}

/// A page without the one more, and the token of the next.
fn paged<T>(mut found: Vec<T>, listing: &Listing, id: impl Fn(&T) -> &str) -> (Vec<T>, String) {
    let size = usize::try_from(listing.limit - 1).unwrap_or(0);
    let more = found.len() > size;
    found.truncate(size);
    let next = found.last().filter(|_| more).map_or_else(String::new, |last| id(last).to_owned());
    (found, next)
}

/// As the contract shows it.
fn file_of(stored: &StoredFile) -> File {
    let object: Value = serde_json::from_str(&stored.object_json).unwrap_or_default();
    File {
        id: stored.id.clone(),
        filename: stored.filename.clone(),
        purpose: stored.purpose.clone(),
        bytes: object["bytes"].as_i64().unwrap_or(0),
        model: stored.model.clone(),
        deployment: stored.deployment.clone(),
        create_time: Some(timestamp(stored.create_us)),
        object_json: stored.object_json.clone(),
    }
}

/// As the contract shows it.
fn batch_of(stored: &StoredBatch) -> Batch {
    let object: Value = serde_json::from_str(&stored.object_json).unwrap_or_default();
    let text = |name: &str| object[name].as_str().unwrap_or_default().to_owned();
    Batch {
        id: stored.id.clone(),
        status: text("status"),
        input_file_id: stored.input_file_id.clone(),
        output_file_id: text("output_file_id"),
        error_file_id: text("error_file_id"),
        model: stored.model.clone(),
        deployment: stored.charge().deployment.clone(),
        create_time: Some(timestamp(stored.create_us)),
        held_nano_usd: stored.charge().cost_nano_usd,
        cost_nano_usd: stored.cost_nano_usd,
        call_id: stored.charge().call_id.clone(),
        object_json: stored.object_json.clone(),
    }
}

impl Control {
    /// One file of the caller's, as it is kept.
    async fn kept_file(&self, caller: &Caller, id: &str) -> Result<StoredFile, Error> {
        let none = || Error::not_found("file", id);
        if !is_response_id(id) {
            return Err(none());
        }
        self.batches_here()?.store.file(caller.key_id(), id).await.map_err(store_failed)?.ok_or_else(none)
    }

    /// One batch of the caller's, as it is kept.
    async fn kept_batch(&self, caller: &Caller, id: &str) -> Result<StoredBatch, Error> {
        let none = || Error::not_found("batch", id);
        if !is_response_id(id) {
            return Err(none());
        }
        self.batches_here()?.store.batch(caller.key_id(), id).await.map_err(store_failed)?.ok_or_else(none)
    }
}
