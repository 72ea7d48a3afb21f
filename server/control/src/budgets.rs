use tollgate_domain::{Error, micros, new_id, timestamp};
use tollgate_ledger::AdminChange;
use tollgate_proto::v1::{
    Budget, BudgetEnforcement, ErrorReason, GetSpendRequest, LedgerEntry, ListLedgerEntriesRequest, SpendGroup,
    SpendRow, UpdateBudgetRequest,
};
use tollgate_store::{EntryQuery, SpendQuery};

use crate::{Action, Control, Done, Principal, keys::new_budget, page, store_failed};

impl Control {
    /// Puts a budget on a key that has none.
    pub async fn create_budget(&self, principal: &Principal, asked: Budget) -> Result<Budget, Error> {
        self.act(principal, Action::CreateBudget, |_| {
            let enforcement = enforcement(&asked)?;
            limit(&asked)?;
            self.entry(&asked.key_id)?;
            if let Some(account) = self.pipeline.ledger().account(&asked.key_id) {
                let message = format!("the key has the budget {}; update that one", account.budget_id);
                return Err(Error::new(ErrorReason::AlreadyExists, message)
                    .with("resource", "budget")
                    .with("id", &account.budget_id));
            }
            let budget = new_budget(&asked.key_id, asked.limit_nano_usd, enforcement, self.now_us());
            let changes = vec![format!("limit_nano_usd: {}", budget.limit_nano_usd)];
            Ok(done(budget, changes))
        })
        .await
    }

    /// A budget and where it stands, by id or by key; by neither: the caller's own.
    pub async fn get_budget(&self, principal: &Principal, id: &str, key_id: &str) -> Result<Budget, Error> {
        let own = id.is_empty() && self.is_own(principal, key_id);
        let authorized = self.allowed(principal, if own { Action::ReadOwnSpend } else { Action::ReadSpend })?;
        let key_id = if key_id.is_empty() { authorized.caller().key_id() } else { key_id };
        let all = self.budgets().await?;
        let found = all.into_iter().find(|b| if id.is_empty() { b.key_id == key_id } else { b.id == id });
        found.ok_or_else(|| match id {
            "" => Error::not_found("budget of key", key_id),
            _ => Error::not_found("budget", id),
        })
    }

    /// Changes limit or enforcement.
    pub async fn update_budget(&self, principal: &Principal, request: UpdateBudgetRequest) -> Result<Budget, Error> {
        self.allowed(principal, Action::UpdateBudget)?;
        let asked = request.budget.unwrap_or_default();
        let all = self.budgets().await?;
        self.act(principal, Action::UpdateBudget, |_| {
            let mut budget =
                all.into_iter().find(|b| b.id == asked.id).ok_or_else(|| Error::not_found("budget", &asked.id))?;
            if !asked.etag.is_empty() && asked.etag != budget.etag {
                let message = "the budget was changed by somebody else; read it again, then repeat the change";
                return Err(Error::new(ErrorReason::EtagMismatch, message));
            }
            let mut paths = request.update_mask.map(|m| m.paths).unwrap_or_default();
            if paths.is_empty() {
                paths.push("limit_nano_usd".into());
            }
            let mut changes = Vec::new();
            for path in &paths {
                match path.as_str() {
                    "limit_nano_usd" => {
                        limit(&asked)?;
                        changes.push(format!("limit_nano_usd: {} -> {}", budget.limit_nano_usd, asked.limit_nano_usd));
                        budget.limit_nano_usd = asked.limit_nano_usd;
                    }
                    "enforcement" => {
                        let to = enforcement(&asked)?;
                        changes.push(format!(
                            "enforcement: {} -> {}",
                            budget.enforcement().as_str_name(),
                            to.as_str_name()
                        ));
                        budget.set_enforcement(to);
                    }
                    other => {
                        let message = format!("{other:?} cannot be changed; limit_nano_usd and enforcement can");
                        return Err(Error::invalid_field("update_mask", message));
                    }
                }
            }
            budget.update_time = Some(timestamp(self.now_us()));
            budget.etag = new_id("");
            Ok(done(budget, changes))
        })
        .await
    }

    /// Takes a budget away.
    pub async fn delete_budget(&self, principal: &Principal, id: &str) -> Result<(), Error> {
        self.allowed(principal, Action::DeleteBudget)?;
        let all = self.budgets().await?;
        self.act(principal, Action::DeleteBudget, |_| {
            if !all.iter().any(|b| b.id == id) {
                return Err(Error::not_found("budget", id));
            }
            let change = AdminChange { budget_deleted: Some(id.to_owned()), ..AdminChange::default() };
            Ok(Done { result: (), change, subject: id.to_owned(), changes: Vec::new() })
        })
        .await
    }

    /// Spend by group and in total. Every call that was settled before is in it.
    pub async fn spend(
        &self,
        principal: &Principal,
        request: &GetSpendRequest,
    ) -> Result<(Vec<SpendRow>, SpendRow), Error> {
        let key_id = self.readable(principal, &request.key_id)?;
        let group_by = SpendGroup::try_from(request.group_by)
            .map_err(|_| Error::invalid_field("group_by", "is not a grouping that this version knows"))?;
        let start_us = request.start_time.as_ref().map_or(0, micros);
        let end_us = request.end_time.as_ref().map_or(i64::MAX, micros);
        if start_us > end_us {
            return Err(Error::invalid_field("start_time", "must not lie after end_time"));
        }
        self.pipeline.ledger().shipped().await;
        let query = SpendQuery { key_id, start_us, end_us, group_by };
        let mut rows = self.pipeline.ledger().store().spend(&query).await.map_err(store_failed)?;
        match group_by {
            SpendGroup::Day => rows.sort_by(|a, b| a.group.cmp(&b.group)),
            _ => rows.sort_by(|a, b| b.cost_nano_usd.cmp(&a.cost_nano_usd).then_with(|| a.group.cmp(&b.group))),
        }
        let total = rows.iter().fold(SpendRow::default(), |sum, row| SpendRow {
            group: String::new(),
            entries: sum.entries + row.entries,
            cost_nano_usd: sum.cost_nano_usd.saturating_add(row.cost_nano_usd),
            estimated_nano_usd: sum.estimated_nano_usd.saturating_add(row.estimated_nano_usd),
            input_tokens: sum.input_tokens + row.input_tokens,
            output_tokens: sum.output_tokens + row.output_tokens,
        });
        Ok((rows, total))
    }

    /// A page of ledger entries, oldest first, and the token of the next.
    pub async fn ledger_entries(
        &self,
        principal: &Principal,
        request: &ListLedgerEntriesRequest,
    ) -> Result<(Vec<LedgerEntry>, String), Error> {
        let key_id = self.readable(principal, &request.key_id)?;
        let size = page::size(request.page_size, 100)?;
        let query = format!("entries {key_id:?} {}", request.call_id);
        let after = page::cursor(&query, &request.page_token)?;
        self.pipeline.ledger().shipped().await;
        let wanted = EntryQuery {
            key_id,
            call_id: (!request.call_id.is_empty()).then(|| request.call_id.clone()),
            after_sequence: after.parse().unwrap_or(0),
            limit: size as i64 + 1,
        };
        let mut entries = self.pipeline.ledger().store().entries(&wanted).await.map_err(store_failed)?;
        let next = if entries.len() > size {
            entries.truncate(size);
            page::token(&query, &entries[size - 1].sequence.to_string())
        } else {
            String::new()
        };
        Ok((entries, next))
    }

    /// Whose money may be read: `None` is everybody's.
    fn readable(&self, principal: &Principal, key_id: &str) -> Result<Option<String>, Error> {
        let own = !key_id.is_empty() && self.is_own(principal, key_id);
        let authorized = self.allowed(principal, Action::ReadOwnSpend)?;
        let caller = authorized.caller();
        if Action::ReadSpend.allowed_to(caller.role()) {
            return Ok((!key_id.is_empty()).then(|| key_id.to_owned()));
        }
        if key_id.is_empty() || own {
            return Ok(Some(caller.key_id().to_owned()));
        }
        self.allowed(principal, Action::ReadSpend).map(|_| None)
    }

    async fn budgets(&self) -> Result<Vec<Budget>, Error> {
        let ledger = self.pipeline.ledger();
        ledger.shipped().await;
        let mut all = ledger.store().budgets().await.map_err(store_failed)?;
        for budget in &mut all {
            // Memory is ahead of the store.
            if let Some(account) = ledger.account(&budget.key_id).filter(|a| a.budget_id == budget.id) {
                let balance = account.balance();
                (budget.spent_nano_usd, budget.held_nano_usd) = (balance.spent, balance.held);
            }
        }
        Ok(all)
    }
}

fn done(budget: Budget, changes: Vec<String>) -> Done<Budget> {
    let subject = budget.id.clone();
    let change = AdminChange { budget: Some(budget.clone()), ..AdminChange::default() };
    Done { result: budget, change, subject, changes }
}

fn limit(budget: &Budget) -> Result<(), Error> {
    if budget.limit_nano_usd < 0 {
        return Err(Error::invalid_field("budget.limit_nano_usd", "must not be negative"));
    }
    Ok(())
}

fn enforcement(budget: &Budget) -> Result<BudgetEnforcement, Error> {
    match BudgetEnforcement::try_from(budget.enforcement) {
        Ok(BudgetEnforcement::Unspecified) => Ok(BudgetEnforcement::Hard),
        Ok(known) => Ok(known),
        Err(_) => Err(Error::invalid_field("budget.enforcement", "is not one that this version knows")),
    }
}
