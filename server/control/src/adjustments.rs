//! Corrections of the ledger: proposed by one person, above a threshold posted by another.

use tollgate_domain::{Error, new_id, timestamp};
use tollgate_proto::v1::{
    Adjustment, AdjustmentState, ErrorReason, LedgerEntry, LedgerEntryKind, ListAdjustmentsRequest,
};
use tollgate_store::{EntryQuery, LedgerRow, Object, Thing};

use crate::{Control, Done, Principal, Resource, act, keys::owned, page, store_failed};

/// Up to this much a correction is posted at once: 100 dollars.
const AT_ONCE_NANO_USD: u64 = 100_000_000_000;

impl Control {
    /// Proposes a correction, and posts it where it is small.
    pub async fn create_adjustment(
        &self,
        principal: &Principal,
        asked: Adjustment,
        request_id: &str,
    ) -> Result<Adjustment, Error> {
        // Who may not correct learns nothing of what exists.
        self.allowed::<act::CreateAdjustment>(principal, |_| Ok(Resource::default()))?;
        let corrected = self.corrected(&asked.attempt_id).await?;
        let adjustment = self
            .act::<act::CreateAdjustment, _>(
                principal,
                |_| Ok(Resource::default()),
                |authorized| {
                    check(&asked, request_id)?;
                    let made_by = owned(authorized, request_id);
                    if let Some(id) = self.directory().made_by("adjustment", &made_by)
                        && let Some(made) = self.directory().adjustment(&id)
                    {
                        let changes = vec!["repeated".into()];
                        return Ok(Done {
                            subject: id,
                            result: (*made).clone(),
                            objects: vec![],
                            changes,
                            posting: None,
                        });
                    }
                    let at_once = asked.amount_nano_usd.unsigned_abs() <= AT_ONCE_NANO_USD;
                    let state = if at_once { AdjustmentState::Posted } else { AdjustmentState::Pending };
                    let made = Adjustment {
                        id: new_id("adj_"),
                        attempt_id: corrected.attempt_id.clone(),
                        amount_nano_usd: asked.amount_nano_usd,
                        reason: asked.reason.clone(),
                        state: state as i32,
                        proposed_by: authorized.caller().key_id().to_owned(),
                        approved_by: String::new(),
                        create_time: Some(timestamp(self.now_us())),
                    };
                    let posting = at_once.then(|| posting(&made, &corrected));
                    Ok(done(made, made_by, posting.map(|row| vec![row])))
                },
            )
            .await?;
        Ok(adjustment)
    }

    /// Posts a proposed correction for somebody else.
    pub async fn approve_adjustment(&self, principal: &Principal, id: &str) -> Result<Adjustment, Error> {
        self.allowed::<act::ApproveAdjustment>(principal, |_| Ok(Resource::default()))?;
        let proposed = self.directory().adjustment(id).ok_or_else(|| Error::not_found("adjustment", id))?;
        let corrected = self.corrected(&proposed.attempt_id).await?;
        self.act::<act::ApproveAdjustment, _>(
            principal,
            |_| Ok(Resource::default()),
            |authorized| {
                let mut it =
                    (*self.directory().adjustment(id).ok_or_else(|| Error::not_found("adjustment", id))?).clone();
                let by = authorized.caller().key_id();
                if it.proposed_by == by {
                    let message = "whoever proposed a correction cannot approve it; ask a second person";
                    return Err(Error::new(ErrorReason::RightsExceeded, message).with("field", "id"));
                }
                if it.state() == AdjustmentState::Posted {
                    let changes = vec!["posted before".into()];
                    return Ok(Done { subject: it.id.clone(), result: it, objects: vec![], changes, posting: None });
                }
                it.set_state(AdjustmentState::Posted);
                by.clone_into(&mut it.approved_by);
                let posting = posting(&it, &corrected);
                Ok(done(it, String::new(), Some(vec![posting])))
            },
        )
        .await
    }

    /// A page of corrections, oldest first.
    pub async fn adjustments(
        &self,
        principal: &Principal,
        asked: &ListAdjustmentsRequest,
    ) -> Result<(Vec<Adjustment>, String), Error> {
        self.allowed::<act::ReadAdjustment>(principal, |_| Ok(Resource::default()))?;
        let all = self.directory().adjustments().into_iter().map(|a| (*a).clone());
        page::of(all, |a| &a.id, "adjustments", asked.page_size, &asked.page_token)
    }

    /// The entry that is to be corrected.
    async fn corrected(&self, attempt_id: &str) -> Result<LedgerEntry, Error> {
        let missing = |text: &str| Error::invalid_field("adjustment.attempt_id", text);
        if attempt_id.is_empty() {
            return Err(missing("is needed: the entry to correct"));
        }
        let ledger = self.pipeline.ledger();
        ledger.shipped().await;
        let query = EntryQuery { attempt_id: Some(attempt_id.to_owned()), limit: 1, ..EntryQuery::default() };
        let found = ledger.store().entries(&query).await.map_err(store_failed)?.pop();
        let found = found.ok_or_else(|| missing("there is no such ledger entry"))?.entry;
        if found.kind() == LedgerEntryKind::Adjustment {
            return Err(missing("is a correction itself; correct the entry that it corrects"));
        }
        if found.kind() == LedgerEntryKind::Opening {
            return Err(missing("is an opening balance, which no provider billed; change the budget's limit instead"));
        }
        Ok(found)
    }
}

fn check(asked: &Adjustment, request_id: &str) -> Result<(), Error> {
    let mut violations = Vec::new();
    let mut expect = |holds: bool, field: &str, description: &str| {
        if !holds {
            violations.push(crate::keys::violation(field, description));
        }
    };
    let amount = asked.amount_nano_usd;
    expect(amount != 0 && amount != i64::MIN, "adjustment.amount_nano_usd", "must not be zero");
    expect((1..=1_024).contains(&asked.reason.len()), "adjustment.reason", "must have 1 to 1024 bytes");
    expect(request_id.len() <= 128, "request_id", "must be at most 128 bytes");
    if violations.is_empty() { Ok(()) } else { Err(Error::invalid(violations)) }
}

fn done(it: Adjustment, made_by: String, posting: Option<Vec<LedgerRow>>) -> Done<Adjustment> {
    let changes = vec![
        format!("attempt_id: {}", it.attempt_id),
        format!("amount_nano_usd: {}", it.amount_nano_usd),
        format!("state: {}", it.state().as_str_name()),
    ];
    let object = Object::new(Thing::Adjustment(it.clone())).made_by(made_by);
    Done { subject: it.id.clone(), result: it, objects: vec![object], changes, posting }
}

/// The entry of a correction: where the corrected one counts, it counts too.
fn posting(it: &Adjustment, corrected: &LedgerEntry) -> LedgerRow {
    let signed = [&it.proposed_by, &it.approved_by].into_iter().filter(|key| !key.is_empty()).map(String::as_str);
    let entry = LedgerEntry {
        attempt_id: it.id.clone(),
        kind: LedgerEntryKind::Adjustment as i32,
        usage: None,
        cost_nano_usd: it.amount_nano_usd,
        held_nano_usd: 0,
        low_nano_usd: it.amount_nano_usd,
        high_nano_usd: it.amount_nano_usd,
        saved_nano_usd: 0,
        outcome: "adjusted".into(),
        adjusts_attempt_id: corrected.attempt_id.clone(),
        reason: format!("{} (signed off by {})", it.reason, signed.collect::<Vec<_>>().join(" and ")),
        ..corrected.clone()
    };
    let lease_windows = vec![tollgate_ledger::NO_LEASE; entry.charges.len()];
    LedgerRow { entry, lease_windows, idempotency: None }
}
