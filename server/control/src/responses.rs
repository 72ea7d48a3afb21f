//! Conversations that callers go on from. Each key sees what it keeps itself, whatever its role.

use std::{sync::Arc, time::Duration};

use tollgate_audit::Draft;
use tollgate_domain::{Error, timestamp};
use tollgate_ledger::End;
use tollgate_pipeline::Caller;
use tollgate_proto::v1::{ErrorReason, StoredResponse, get_response_request::By};
use tollgate_store::Responses;

use crate::{Act, Control, Principal, Resource, act, store_failed};

/// Where responses are kept, for how long, and how large they may be.
#[derive(Clone)]
pub struct Keeping {
    /// Where.
    pub store: Arc<dyn Responses>,
    /// For how long; zero: not at all.
    pub retention: Duration,
    /// Largest conversation, in bytes.
    pub max_bytes: u64,
}

/// What is cleared away in one statement.
const CLEARED_AT_ONCE: i64 = 1_000;

impl Keeping {
    /// Until when something is kept from now on.
    pub(crate) fn until(&self, now_us: i64) -> i64 {
        now_us.saturating_add(i64::try_from(self.retention.as_micros()).unwrap_or(i64::MAX))
    }

    pub(crate) fn too_large(&self, what: &str) -> Error {
        let message = format!(
            "{what} is larger than {} bytes, the gateway's limit for what it keeps (`responses.max_bytes`); begin a new one, \
             or send the conversation yourself with `store: false`",
            self.max_bytes
        );
        Error::new(ErrorReason::RequestTooLarge, message)
    }
}

/// Whether a response may have such an id: 1 to 128 letters, digits, `_` or `-`.
pub fn is_response_id(id: &str) -> bool {
    (1..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b))
}

pub(crate) fn itself(caller: &Caller) -> Result<Resource, Error> {
    Ok(Resource::of_key(caller.key()))
}

pub(crate) fn bytes(response: &StoredResponse) -> u64 {
    let asked: usize = response.input_items_json.iter().map(String::len).sum();
    (asked + response.response_json.len()) as u64
}

impl Control {
    /// Keeps responses there.
    #[must_use]
    pub fn keeping(mut self, keeping: Keeping) -> Self {
        self.keeping = Some(keeping);
        self
    }

    /// Keeps a response; tells until when, in microseconds since the epoch. `None`: nothing is kept here.
    pub async fn store_response(
        &self,
        principal: &Principal,
        response: StoredResponse,
    ) -> Result<Option<prost_types::Timestamp>, Error> {
        let authorized = self.allowed::<act::KeepResponse>(principal, itself)?;
        let Some(keeping) = self.keeping.as_ref().filter(|keeping| !keeping.retention.is_zero()) else {
            return Ok(None);
        };
        if bytes(&response) > keeping.max_bytes {
            return Err(keeping.too_large("the response"));
        }
        let now_us = self.now_us();
        let expire_us = keeping.until(now_us);
        let expire_time = Some(timestamp(expire_us));
        let kept = StoredResponse { create_time: Some(timestamp(now_us)), expire_time, state: 0, ..response };
        keeping.store.keep(authorized.caller().key_id(), &kept, expire_us).await.map_err(store_failed)?;
        Ok(expire_time)
    }

    /// Where a response with this id would be.
    pub(crate) fn keeps(&self, id: &str) -> Result<&Keeping, Error> {
        self.keeping.as_ref().filter(|_| is_response_id(id)).ok_or_else(|| Error::not_found("response", id))
    }

    /// A response of the caller's key.
    pub async fn get_response(&self, principal: &Principal, by: &By) -> Result<StoredResponse, Error> {
        let authorized = self.allowed::<act::ReadResponse>(principal, itself)?;
        let (key_id, now_us) = (authorized.caller().key_id(), self.now_us());
        let (By::Id(id) | By::ItemId(id)) = by;
        let keeping = self.keeps(id)?;
        match by {
            By::Id(id) => self.stands(keeping, key_id, id).await,
            By::ItemId(id) => {
                let found = keeping.store.kept_with(key_id, id, now_us).await.map_err(store_failed)?;
                found.ok_or_else(|| Error::not_found("response with an item", id))
            }
        }
    }

    /// A response of the caller's key and all that it goes on from, oldest first.
    pub async fn get_conversation(&self, principal: &Principal, id: &str) -> Result<Vec<StoredResponse>, Error> {
        let authorized = self.allowed::<act::ReadResponse>(principal, itself)?;
        let keeping = self.keeps(id)?;
        let key_id = authorized.caller().key_id();
        let turns = keeping.store.conversation(key_id, id, self.now_us(), keeping.max_bytes).await;
        let turns = turns.map_err(store_failed)?;
        if turns.iter().map(bytes).sum::<u64>() > keeping.max_bytes {
            return Err(keeping.too_large(&format!("the conversation up to {id:?}")));
        }
        match turns.first() {
            None => Err(Error::not_found("response", id)),
            Some(first) if !first.previous_response_id.is_empty() => {
                Err(Error::not_found("response", &first.previous_response_id))
            }
            Some(_) => Ok(turns),
        }
    }

    /// Forgets a response of the caller's key, which is on record.
    pub async fn delete_response(&self, principal: &Principal, id: &str) -> Result<(), Error> {
        let authorized = self.allowed::<act::DeleteResponse>(principal, itself)?;
        let keeping = self.keeps(id)?;
        let key_id = authorized.caller().key_id();
        if !keeping.store.forget(key_id, id, self.now_us()).await.map_err(store_failed)? {
            return Err(Error::not_found("response", id));
        }
        let mut draft = Draft::open(act::DeleteResponse::ACTION.name(), principal.peer.as_deref());
        draft.caller(authorized.caller().key());
        draft.subject(id, Vec::new());
        self.pipeline.ledger().end(End { record: Some(draft.close(None, 0)), ..End::default() });
        Ok(())
    }

    /// Clears away what has expired.
    pub async fn clear_responses(&self) -> Result<u64, Error> {
        let Some(keeping) = &self.keeping else { return Ok(0) };
        let mut cleared = 0;
        loop {
            let now = keeping.store.clear(self.now_us(), CLEARED_AT_ONCE).await.map_err(store_failed)?;
            cleared += now;
            if now < CLEARED_AT_ONCE as u64 {
                return Ok(cleared);
            }
        }
    }
}
