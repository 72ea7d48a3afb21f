//! Prompts and answers that are kept: read, erased, held. Each act is on record, reading too.

use std::{sync::Arc, time::Duration};

use prost::Message;
use sha2::{Digest, Sha256};
use tollgate_audit::Draft;
use tollgate_bodies::{month_name, month_of};
use tollgate_domain::{Error, Retry, new_id, timestamp};
use tollgate_ledger::{Before, End};
use tollgate_pipeline::{Caller, Content, damaged};
use tollgate_proto::v1::{
    AuditBody, AuditFilter, AuditRecord, BodyState, BodySubject, BodySubjectKind, CallBody, CreateLegalHoldRequest,
    EraseBodiesRequest, EraseBodiesResponse, ErrorReason, GetBodyResponse, LegalHold, ListLegalHoldsRequest,
    erase_bodies_request::What, legal_hold::On,
};
use tollgate_store::{Bodies, Doomed, Erased, Erasure, HeldOn, NAMED_AT_ONCE, StoredHold};

use crate::{Act, Control, Principal, Resource, act, page, store_failed};

/// A call has one record with its bodies, and one more for each attempt that was billed before its end.
const RECORDS_OF_A_CALL: i64 = 1_000;
/// What another replica journalled is in the store by then, unless it cannot reach it.
const ELSEWHERE: Duration = Duration::from_secs(2);
/// Longest id of a subject and longest reason, in bytes.
const LONGEST: usize = 512;

impl Control {
    fn body_store(&self) -> Result<&Arc<dyn Bodies>, Error> {
        self.pipeline.bodies().store().ok_or_else(|| Error::internal("bodies are kept nowhere"))
    }

    /// The bodies of a call, or what is left of them.
    pub async fn get_body(&self, principal: &Principal, call_id: &str) -> Result<GetBodyResponse, Error> {
        let (caller, records) = self.of_call::<act::ReadBody>(principal, call_id).await?;
        let answer = self.open_bodies(&records).await;
        self.acted::<act::ReadBody>(principal, &caller, call_id, Vec::new(), answer.as_ref().err()).await;
        answer
    }

    /// A batch's answer is told by the record of its end: its commitment is opened beside that to what was asked.
    async fn open_bodies(&self, records: &[AuditRecord]) -> Result<GetBodyResponse, Error> {
        let Some((first, others)) = records.split_first() else { return Ok(GetBodyResponse::default()) };
        let mut told = self.open_body(first).await?;
        let end = others.iter().find(|record| !record.answer_commitment.is_empty());
        if let Some(end) = end.filter(|_| told.answer_commitment.is_empty()) {
            let end = self.open_body(end).await?;
            told.answer_commitment = end.answer_commitment;
            if let (Some(body), Some(end)) = (&mut told.body, end.body) {
                body.answer_salt = end.answer_salt;
            }
        }
        Ok(told)
    }

    async fn open_body(&self, record: &AuditRecord) -> Result<GetBodyResponse, Error> {
        let told = record.body.clone().unwrap_or_default();
        let mut answer = GetBodyResponse {
            state: told.state,
            policy: told.policy,
            request_commitment: record.request_commitment.clone(),
            answer_commitment: record.answer_commitment.clone(),
            ..GetBodyResponse::default()
        };
        if told.kek_id.is_empty() {
            return Ok(answer);
        }
        answer.body = self.kept(record, &told).await?;
        answer.is_erased = answer.body.is_none();
        Ok(answer)
    }

    /// What can be read; `None`: it is erased. The key comes from the store, never from what is at hand.
    async fn kept(&self, record: &AuditRecord, told: &AuditBody) -> Result<Option<CallBody>, Error> {
        let store = self.body_store()?;
        let Some(kek) = store.kek(&told.kek_id).await.map_err(store_failed)? else { return Ok(None) };
        let kek = self.pipeline.bodies().unwrap(&kek).map_err(|error| damaged(&record.call_id, error))?;
        if told.state() != BodyState::Kept {
            let salt = |content: Content, commitment: &[u8]| match commitment {
                [] => Vec::new(),
                _ => kek.salt(&record.call_id, content.name()).to_vec(),
            };
            let salts = CallBody {
                request_salt: salt(Content::Request, &record.request_commitment).into(),
                answer_salt: salt(Content::Answer, &record.answer_commitment).into(),
                ..CallBody::default()
            };
            return Ok(Some(salts));
        }
        let found = store.body(&record.call_id).await.map_err(store_failed)?;
        let Some(found) = found.filter(|found| !found.sealed.is_empty()) else { return Ok(None) };
        if Sha256::digest(&found.sealed)[..] != told.sealed_hash[..] {
            return Err(damaged(&record.call_id, "what is kept is not what its record commits to"));
        }
        let open = kek.open(&record.call_id, &found.sealed).map_err(|error| damaged(&record.call_id, error))?;
        CallBody::decode(&open[..]).map(Some).map_err(|error| damaged(&record.call_id, error))
    }

    /// Makes bodies unreadable for good.
    pub async fn erase_bodies(
        &self,
        principal: &Principal,
        request: EraseBodiesRequest,
    ) -> Result<EraseBodiesResponse, Error> {
        self.lister::<act::EraseBodies>(principal)?;
        said("legal_basis", &request.legal_basis)?;
        let (caller, subject, doomed) = match request.what {
            None => return Err(Error::invalid_field("what", "names what to erase: a call or a subject")),
            Some(What::CallId(call_id)) => {
                let (caller, _) = self.of_call::<act::EraseBodies>(principal, &call_id).await?;
                (caller, call_id.clone(), Doomed::Call(call_id))
            }
            Some(What::Subject(subject)) => {
                let (kind, pseudonym) = self.subject(&subject)?;
                let place = self.place_of_tenant(&subject.tenant_id);
                let caller = self.allowed::<act::EraseBodies>(principal, |_| Ok(place))?.caller().clone();
                let told = format!("{kind}:{pseudonym}");
                (caller, told, Doomed::Subject { subject: pseudonym, tenant: subject.tenant_id })
            }
        };
        let basis = format!("legal_basis: {:?}", request.legal_basis);
        let draft = |changes| drafted::<act::EraseBodies>(principal, &caller, &subject, changes);
        match self.erase(&doomed, |erased| told_of(erased, &basis).map(&draft).collect()).await {
            Ok(Erased { kek_ids, bodies, .. }) => {
                self.is_journalled()?;
                Ok(EraseBodiesResponse { kek_ids, bodies: i64::try_from(bodies).unwrap_or(i64::MAX) })
            }
            Err(error) => {
                self.acted::<act::EraseBodies>(principal, &caller, &subject, vec![basis], Some(&error)).await;
                Err(error)
            }
        }
    }

    /// Erases, and puts on record with it what `drafts` makes of it: one record for each part that it can name, none where there is nothing
    /// to erase. When it returns, it is done, unless the journal's disk takes nothing.
    async fn erase(
        &self,
        doomed: &Doomed,
        drafts: impl Fn(&Erased) -> Vec<Draft> + Send + Sync,
    ) -> Result<Erased, Error> {
        let _one = self.erasing.lock().await;
        let ledger = self.pipeline.ledger();
        // What is on its way to the store is to be found there.
        ledger.shipped().await;
        let call_id = if let Doomed::Call(call_id) = doomed { call_id.clone() } else { String::new() };
        let journal = |erased: &Erased| {
            // Each record takes the keys with it that it names.
            for (draft, kek_ids) in drafts(erased).into_iter().zip(parts(erased)) {
                let erasure = Erasure { kek_ids: kek_ids.to_vec(), call_id: call_id.clone() };
                ledger.end(End { record: Some(draft.close(None, 0)), erasure: Some(erasure), ..End::default() });
            }
        };
        let erased = self.body_store()?.decide_erasure(doomed, &journal).await.map_err(store_failed).and_then(free)?;
        // From here on it happens, whatever happens to this process: the journal has it.
        ledger.shipped().await;
        self.pipeline.bodies().forget_keys();
        Ok(erased)
    }

    /// Refuses to call an erasure done that waits for the journal's disk. Its record waits with it, so there is no other.
    fn is_journalled(&self) -> Result<(), Error> {
        if self.pipeline.ledger().waiting() == 0 {
            return Ok(());
        }
        let message = "the gateway's journal cannot be written: what was to be erased may wait in memory, is erased once the disk \
                       takes it, and is forgotten if the gateway ends before; ask again";
        Err(Error::new(ErrorReason::LedgerUnavailable, message).retry(Retry::Later))
    }

    /// Keeps bodies from being erased.
    pub async fn create_hold(
        &self,
        principal: &Principal,
        request: CreateLegalHoldRequest,
    ) -> Result<LegalHold, Error> {
        self.lister::<act::CreateHold>(principal)?;
        let asked = request.hold.unwrap_or_default();
        said("hold.reason", &asked.reason)?;
        let (caller, on, told) = match &asked.on {
            None => return Err(Error::invalid_field("hold.on", "names what to hold: a subject, a tenant or a call")),
            Some(On::Subject(subject)) => {
                let (kind, pseudonym) = self.subject(subject)?;
                let place = self.place_of_tenant(&subject.tenant_id);
                let caller = self.allowed::<act::CreateHold>(principal, |_| Ok(place))?.caller().clone();
                let told = format!("{kind}:{pseudonym}");
                (caller, HeldOn::Subject { subject: pseudonym, tenant: subject.tenant_id.clone() }, told)
            }
            Some(On::TenantId(tenant)) => {
                if self.directory().team(tenant).is_none() && self.directory().organization(tenant).is_none() {
                    return Err(Error::not_found("team", tenant));
                }
                let place = self.place_of_tenant(tenant);
                let caller = self.allowed::<act::CreateHold>(principal, |_| Ok(place))?.caller().clone();
                (caller, HeldOn::Tenant(tenant.clone()), format!("tenant:{tenant}"))
            }
            Some(On::CallId(call_id)) => {
                let (caller, records) = self.of_call::<act::CreateHold>(principal, call_id).await?;
                let body = records.into_iter().find_map(|record| record.body);
                let kek_id = body.map(|body| body.kek_id).unwrap_or_default();
                (caller, HeldOn::Call { call_id: call_id.clone(), kek_id }, format!("call:{call_id}"))
            }
        };
        let hold = LegalHold {
            id: new_id("hold_"),
            create_time: Some(timestamp(self.now_us())),
            created_by: caller.key_id().to_owned(),
            release_time: None,
            released_by: String::new(),
            ..asked
        };
        self.body_store()?.put_hold(&StoredHold { on, hold: hold.clone() }).await.map_err(store_failed)?;
        let changes = vec![format!("on: {told}"), format!("reason: {:?}", hold.reason)];
        self.acted::<act::CreateHold>(principal, &caller, &hold.id, changes, None).await;
        Ok(hold)
    }

    /// A page of holds.
    pub async fn list_holds(
        &self,
        principal: &Principal,
        asked: &ListLegalHoldsRequest,
    ) -> Result<(Vec<LegalHold>, String), Error> {
        self.allowed::<act::ReadHolds>(principal, |_| Ok(Resource::default()))?;
        let size = page::size(asked.page_size, 100)?;
        let query = format!("holds {}", asked.include_released);
        let after = page::cursor(&query, &asked.page_token)?;
        let limit = i64::try_from(size).unwrap_or(i64::MAX).saturating_add(1);
        let found = self.body_store()?.holds(asked.include_released, &after, limit).await.map_err(store_failed)?;
        let mut holds: Vec<_> = found.into_iter().map(|found| found.hold).collect();
        let more = holds.len() > size;
        holds.truncate(size);
        let next = holds.last().filter(|_| more).map(|last| page::token(&query, &last.id));
        Ok((holds, next.unwrap_or_default()))
    }

    /// Ends a hold; one that is released already stays as it is.
    pub async fn release_hold(&self, principal: &Principal, id: &str) -> Result<LegalHold, Error> {
        let authorized = self.allowed::<act::ReleaseHold>(principal, |_| Ok(Resource::default()))?;
        let store = self.body_store()?;
        let found = store.hold(id).await.map_err(store_failed)?;
        let mut found = found.ok_or_else(|| Error::not_found("legal_hold", id))?;
        if found.hold.release_time.is_none() {
            found.hold.release_time = Some(timestamp(self.now_us()));
            authorized.caller().key_id().clone_into(&mut found.hold.released_by);
            store.put_hold(&found).await.map_err(store_failed)?;
            let caller = authorized.caller();
            self.acted::<act::ReleaseHold>(principal, caller, id, vec!["released".into()], None).await;
        }
        Ok(found.hold)
    }

    /// Destroys the keys of months that have been over for as long as this; what is held stays. Tells how many.
    pub async fn expire_bodies(&self, retention: Duration) -> Result<usize, Error> {
        // Until what is decided here is done, no other replica decides on the same keys: each stands in one record.
        let Some(_lead) = self.body_store()?.lead_expiry().await.map_err(store_failed)? else { return Ok(0) };
        let us = i64::try_from(retention.as_micros()).unwrap_or(i64::MAX);
        let month = month_of(self.now_us().saturating_sub(us).max(0));
        let why = format!("months before: {}", month_name(month));
        let draft = |changes| {
            let mut draft = Draft::open("body.expire", None);
            draft.subject("", changes);
            draft
        };
        let drafted = |erased: &Erased| match erased.kek_ids.is_empty() {
            true => Vec::new(),
            false => told_of(erased, &why).map(draft).collect(),
        };
        let mut keys = 0;
        loop {
            let gone = self.erase(&Doomed::Before(month), &drafted).await?.kek_ids.len();
            keys += gone;
            // What waits for the journal's disk is not done yet, and would be found again.
            if gone < NAMED_AT_ONCE || self.pipeline.ledger().waiting() > 0 {
                return Ok(keys);
            }
        }
    }

    /// Who acts, and the records with the bodies of the call that it is about, one at least. What lies elsewhere does not exist for whoever
    /// acts.
    async fn of_call<A: Act>(&self, principal: &Principal, call_id: &str) -> Result<(Caller, Vec<AuditRecord>), Error> {
        self.lister::<A>(principal)?;
        if call_id.is_empty() {
            return Err(Error::invalid_field("call_id", "must not be empty"));
        }
        let found = self.records_of(call_id).await?;
        let record = found.first().ok_or_else(|| Error::not_found("call", call_id))?;
        let place = self.place_of_record(record);
        let authorized = self.allowed::<A>(principal, |_| Ok(place))?;
        Ok((authorized.caller().clone(), found))
    }

    /// The records of a call that tell of its bodies, which the store gets with them; one at least. What another replica answered just now is waited for.
    async fn records_of(&self, call_id: &str) -> Result<Vec<AuditRecord>, Error> {
        let ledger = self.pipeline.ledger();
        ledger.shipped().await;
        let filter = AuditFilter { call_id: call_id.to_owned(), ..AuditFilter::default() };
        let until = tokio::time::Instant::now() + if ledger.is_shared() { ELSEWHERE } else { Duration::ZERO };
        loop {
            let found = ledger.store().records(&filter, 0, RECORDS_OF_A_CALL).await.map_err(store_failed)?;
            let found: Vec<_> = found.into_iter().filter(|record| record.body.is_some()).collect();
            if !found.is_empty() {
                return Ok(found);
            }
            if tokio::time::Instant::now() >= until {
                break;
            }
            tokio::time::sleep(ELSEWHERE / 20).await;
        }
        if !ledger.is_shared() {
            return Err(Error::not_found("call", call_id));
        }
        let message = format!(
            "there is no record of the call {call_id:?} in the store; if a replica that cannot reach the store answered it, its journal has \
             it still: ask again once that replica has shipped it, or erase by subject, which reaches journals too"
        );
        Err(Error::new(ErrorReason::ResourceNotFound, message).with("resource", "call").with("id", call_id))
    }

    /// A subject's kind and pseudonym.
    fn subject(&self, subject: &BodySubject) -> Result<(&'static str, String), Error> {
        let kind = match subject.kind() {
            BodySubjectKind::Key => "key",
            BodySubjectKind::User => "user",
            BodySubjectKind::EndUser => "end_user",
            BodySubjectKind::Unspecified => {
                return Err(Error::invalid_field("subject.kind", "must be KEY, USER or END_USER"));
            }
        };
        said("subject.id", &subject.id)?;
        Ok((kind, self.pipeline.bodies().pseudonym(subject.kind(), &subject.id)))
    }

    /// Where a tenant lies; everywhere, where none is named.
    fn place_of_tenant(&self, id: &str) -> Resource {
        match self.directory().team(id) {
            Some(team) => Resource::team(&team.organization_id, id),
            None if self.directory().organization(id).is_some() => Resource::organization(id),
            None => Resource::default(),
        }
    }

    async fn acted<A: Act>(
        &self,
        principal: &Principal,
        caller: &Caller,
        subject: &str,
        changes: Vec<String>,
        error: Option<&Error>,
    ) {
        let draft = drafted::<A>(principal, caller, subject, changes);
        let ledger = self.pipeline.ledger();
        let sequence = ledger.end(End { record: Some(draft.close(error, 0)), ..End::default() });
        ledger.durable(sequence, Before::LastFrame).await;
    }
}

fn drafted<A: Act>(principal: &Principal, caller: &Caller, subject: &str, changes: Vec<String>) -> Draft {
    let mut draft = Draft::open(A::ACTION.name(), principal.peer.as_deref());
    draft.caller(caller.key());
    draft.subject(subject, changes);
    draft
}

/// What is erased, unless a hold forbids it.
fn free(erased: Erased) -> Result<Erased, Error> {
    let Some(hold) = &erased.held_by else { return Ok(erased) };
    let message = format!("the legal hold {hold} keeps it; release the hold first, nothing was erased");
    Err(Error::new(ErrorReason::ResourceInUse, message).with("resource", "legal_hold").with("id", hold))
}

/// The keys that go, as many together as a record has room to name; one part at least.
fn parts(erased: &Erased) -> impl Iterator<Item = &[String]> {
    let none = Some(&erased.kek_ids[..]).filter(|ids| ids.is_empty());
    none.into_iter().chain(erased.kek_ids.chunks(NAMED_AT_ONCE))
}

/// What the record of each part says.
fn told_of(erased: &Erased, why: &str) -> impl Iterator<Item = Vec<String>> {
    let count = parts(erased).count();
    (1..).zip(parts(erased)).map(move |(part, kek_ids)| {
        let bodies = format!("bodies: {}", erased.bodies);
        let of_parts = (count > 1).then(|| format!("part: {part} of {count}; the bodies are those of all parts"));
        let keks = kek_ids.chunks(64).map(|ids| format!("keks: {}", ids.join(", ")));
        [why.to_owned(), bodies].into_iter().chain(of_parts).chain(keks).collect()
    })
}

fn said(field: &str, text: &str) -> Result<(), Error> {
    match text.len() {
        1..=LONGEST => Ok(()),
        _ => Err(Error::invalid_field(field, format!("must have 1 to {LONGEST} bytes"))),
    }
}
