//! What was spent of a budget before it was made here: one entry, so that every balance stays the sum of its entries.

use tollgate_domain::{Error, new_id};
use tollgate_ledger::{NO_LEASE, Policy, is_each};
use tollgate_proto::v1::{
    Budget, BudgetCharge, BudgetScope, ErrorReason, KeyRole, LedgerEntry, LedgerEntryKind, ScopeKind,
};
use tollgate_store::{LedgerRow, Object};

use crate::{Authorized, Control, Resource};

/// A billion dollars: what is added to it later fits as well.
pub(crate) const MOST_NANO_USD: i64 = 1_000_000_000_000_000_000;

impl Control {
    /// The entry that opens a budget somebody asked for.
    pub(crate) fn open_budget<A>(
        &self,
        authorized: &Authorized<A>,
        budget: &Budget,
        amount: i64,
    ) -> Result<Option<LedgerRow>, Error> {
        let refuse = |text: &str| Err(Error::invalid_field("opening_nano_usd", text));
        if authorized.actor().role != KeyRole::PlatformAdmin {
            let message = "only a platform admin says what was spent elsewhere; leave opening_nano_usd out";
            return Err(Error::new(ErrorReason::RightsExceeded, message).with("field", "opening_nano_usd"));
        }
        if !(0..=MOST_NANO_USD).contains(&amount) {
            return refuse("must be 0 to 1000000000000000000");
        }
        if is_each(budget) {
            return refuse(
                "is of one balance, and a budget for * has many; make a budget for each name that has spent",
            );
        }
        Ok(self.opening(budget, authorized.resource(), amount, authorized.caller().key_id()))
    }

    /// The entry of what was spent of a budget in its window of this moment. `place`: where its subject lies. Nothing for nothing.
    pub(crate) fn opening(&self, budget: &Budget, place: &Resource, amount: i64, by: &str) -> Option<LedgerRow> {
        let policy = Policy::read(budget).ok().filter(|_| amount != 0)?;
        let window = policy.window.at(self.now_us()).id;
        let scope = budget.scope.clone().unwrap_or_default();
        let entry = LedgerEntry {
            attempt_id: new_id("opn_"),
            kind: LedgerEntryKind::Opening as i32,
            cost_nano_usd: amount,
            low_nano_usd: amount,
            high_nano_usd: amount,
            outcome: "opening".into(),
            reason: format!("spent before the budget was made here (signed off by {by})"),
            charges: vec![BudgetCharge { budget_id: budget.id.clone(), window }],
            ..whose(&scope, place)
        };
        Some(LedgerRow { entry, lease_windows: vec![NO_LEASE], idempotency: None })
    }

    /// Waits until what was just posted is in the ledger of record, where replicas share one: the next change must find the version of
    /// `made`.
    pub(crate) async fn posted(&self, made: &Object) -> Result<(), Error> {
        let ledger = self.pipeline.ledger();
        if !ledger.is_shared() {
            return Ok(());
        }
        ledger.shipped().await;
        let is_known = || self.directory().version_of(made) > 0;
        if !is_known() {
            let _one_at_a_time = self.turn().await;
            // Whoever was before may have read this, too.
            if !is_known() {
                self.catch_up().await?;
            }
        }
        Ok(())
    }
}

/// Who may see the entry: those of the budget's subject.
fn whose(scope: &BudgetScope, place: &Resource) -> LedgerEntry {
    let mut entry = LedgerEntry { organization_id: place.organization_id.clone(), ..LedgerEntry::default() };
    match scope.kind() {
        ScopeKind::Customer => entry.customer.clone_from(&scope.id),
        ScopeKind::Tag => entry.tags.push(scope.id.clone()),
        ScopeKind::Key | ScopeKind::Team | ScopeKind::User | ScopeKind::Member => {
            entry.team_id.clone_from(&place.team_id);
            entry.user_id.clone_from(&place.user_id);
            entry.key_id.clone_from(&place.key_id);
        }
        ScopeKind::Unspecified | ScopeKind::Gateway | ScopeKind::Organization => {}
    }
    entry
}
