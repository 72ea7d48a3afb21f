//! Responses that are made in the background: who makes one says so again and again, and anybody may have it end.

use std::time::Duration;

use tollgate_audit::Draft;
use tollgate_domain::{Error, timestamp};
use tollgate_ledger::End;
use tollgate_proto::v1::{
    AdvanceResponseRequest, ListResponseEventsRequest, ListResponseEventsResponse, ResponseState, StoredResponse,
};
use tollgate_store::{ENDED, Step};

use crate::{
    Act, Control, Principal, act,
    responses::{Keeping, bytes, itself},
    store_failed,
};

/// Whoever makes a response and is not heard of for so long is taken for dead. Several times what a store may be away between two words.
const LEASE: Duration = Duration::from_secs(30);

/// A response that was begun, or was there.
pub struct Begun {
    /// As it is kept.
    pub response: StoredResponse,
    /// It was begun now.
    pub is_new: bool,
    /// Within which time it has to be heard of again.
    pub lease: Duration,
}

fn lease_us(now_us: i64) -> i64 {
    now_us.saturating_add(i64::try_from(LEASE.as_micros()).unwrap_or(i64::MAX))
}

impl Control {
    /// Keeps a response that is being made. `None`: nothing is kept here.
    pub async fn begin_response(
        &self,
        principal: &Principal,
        response: StoredResponse,
    ) -> Result<Option<Begun>, Error> {
        let authorized = self.allowed::<act::KeepResponse>(principal, itself)?;
        let Some(keeping) = self.keeping.as_ref().filter(|keeping| !keeping.retention.is_zero()) else {
            return Ok(None);
        };
        if bytes(&response) > keeping.max_bytes {
            return Err(keeping.too_large("the response"));
        }
        let (now_us, key_id) = (self.now_us(), authorized.caller().key_id());
        let expire_us = keeping.until(now_us);
        let (create_time, expire_time) = (Some(timestamp(now_us)), Some(timestamp(expire_us)));
        let response = StoredResponse { create_time, expire_time, state: 0, ..response };
        let is_new = keeping.store.begin(key_id, &response, expire_us, lease_us(now_us)).await.map_err(store_failed)?;
        let response = self.stands(keeping, key_id, &response.id).await?;
        Ok(Some(Begun { response, is_new, lease: LEASE }))
    }

    /// Takes a response further; tells whether somebody asked it to end.
    pub async fn advance_response(&self, principal: &Principal, asked: AdvanceResponseRequest) -> Result<bool, Error> {
        let authorized = self.allowed::<act::KeepResponse>(principal, itself)?;
        let (now_us, key_id) = (self.now_us(), authorized.caller().key_id());
        let keeping = self.keeps(&asked.id)?;
        let gone = || Error::not_found("response that is being made", &asked.id);
        let expire_us = keeping.until(now_us);
        let response = match asked.response_json.is_empty() {
            true => None,
            false => {
                let kept = keeping.store.kept(key_id, &asked.id, now_us).await.map_err(store_failed)?;
                let response = StoredResponse {
                    response_json: asked.response_json,
                    item_ids: asked.item_ids,
                    expire_time: Some(timestamp(expire_us)),
                    state: 0,
                    ..kept.ok_or_else(gone)?
                };
                if bytes(&response) > keeping.max_bytes {
                    return Err(keeping.too_large("the response"));
                }
                Some(response)
            }
        };
        let lease_us = if asked.is_ended { ENDED } else { lease_us(now_us) };
        let step = Step { events: asked.events, response, expire_us, lease_us };
        keeping.store.advance(key_id, &asked.id, &step).await.map_err(store_failed)?.ok_or_else(gone)
    }

    /// Asks a response to end that is being made, which is on record.
    pub async fn cancel_response(&self, principal: &Principal, id: &str) -> Result<StoredResponse, Error> {
        let authorized = self.allowed::<act::CancelResponse>(principal, itself)?;
        let (keeping, key_id) = (self.keeps(id)?, authorized.caller().key_id());
        if self.stands(keeping, key_id, id).await?.state() == ResponseState::Running {
            keeping.store.ask_to_end(key_id, id).await.map_err(store_failed)?;
            let mut draft = Draft::open(act::CancelResponse::ACTION.name(), principal.peer.as_deref());
            draft.caller(authorized.caller().key());
            draft.subject(id, Vec::new());
            self.pipeline.ledger().end(End { record: Some(draft.close(None, 0)), ..End::default() });
        }
        self.stands(keeping, key_id, id).await
    }

    /// Events of a response.
    pub async fn response_events(
        &self,
        principal: &Principal,
        asked: ListResponseEventsRequest,
    ) -> Result<ListResponseEventsResponse, Error> {
        let authorized = self.allowed::<act::ReadResponse>(principal, itself)?;
        let (keeping, key_id) = (self.keeps(&asked.id)?, authorized.caller().key_id());
        // Before the events: what ends in between is told of by the next question.
        let state = self.stands(keeping, key_id, &asked.id).await?.state;
        let after = asked.after_sequence_number.unwrap_or(-1);
        let events = keeping.store.events(key_id, &asked.id, after).await.map_err(store_failed)?;
        Ok(ListResponseEventsResponse { events, state })
    }

    /// A response as it stands. One whose maker is overdue is lost from the moment on in which somebody is told so.
    pub(crate) async fn stands(&self, keeping: &Keeping, key_id: &str, id: &str) -> Result<StoredResponse, Error> {
        let now_us = self.now_us();
        let kept = async || keeping.store.kept(key_id, id, now_us).await.map_err(store_failed);
        let mut found = kept().await?;
        if found.as_ref().is_some_and(|response| response.state() == ResponseState::Lost) {
            keeping.store.lose(key_id, id, now_us).await.map_err(store_failed)?;
            found = kept().await?;
        }
        found.ok_or_else(|| Error::not_found("response", id))
    }
}
