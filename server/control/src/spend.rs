//! Money as it stands: sums, entries, alerts, holds, and what the checker finds.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use futures::{StreamExt, stream::BoxStream};
use tollgate_domain::{Error, micros};
use tollgate_proto::v1::{
    Budget, BudgetAlert, CheckLedgerResponse, GetSpendRequest, LedgerEntry, ListBudgetAlertsRequest, ListHoldsResponse,
    ListLedgerEntriesRequest, SpendGroup, SpendRow, WatchSpendRequest, WatchSpendResponse,
    watch_spend_response::Update,
};
use tollgate_store::{EntryQuery, Payer, SpendQuery};

use crate::{
    Action, Actor, Control, Principal, Reach, Resource, act, is_allowed, page, store_failed, store_unavailable,
};

/// What happens to money, ended by the first error.
pub type Updates = BoxStream<'static, Result<WatchSpendResponse, Error>>;

/// How often other replicas' entries are looked for.
const LOOK: Duration = Duration::from_millis(250);
/// How often a budget's standing is told at most.
const STANDING: Duration = Duration::from_millis(100);
const PAGE: i64 = 1_000;

/// Whose spend somebody asks for; empty parts ask for all.
#[derive(Default)]
struct Asked<'a> {
    key_id: &'a str,
    organization_id: &'a str,
    team_id: &'a str,
    user_id: &'a str,
}

impl Control {
    /// Spend by group and in total. Every call that was settled before is in it.
    pub async fn spend(
        &self,
        principal: &Principal,
        request: &GetSpendRequest,
    ) -> Result<(Vec<SpendRow>, SpendRow), Error> {
        let asked = Asked {
            key_id: &request.key_id,
            organization_id: &request.organization_id,
            team_id: &request.team_id,
            user_id: &request.user_id,
        };
        let (_, payer) = self.payer(principal, &asked)?;
        let group_by = SpendGroup::try_from(request.group_by)
            .map_err(|_| Error::invalid_field("group_by", "is not a grouping that this version knows"))?;
        let start_us = request.start_time.as_ref().map_or(0, micros);
        let end_us = request.end_time.as_ref().map_or(i64::MAX, micros);
        if start_us > end_us {
            return Err(Error::invalid_field("start_time", "must not lie after end_time"));
        }
        self.pipeline.ledger().shipped().await;
        let query = SpendQuery { payer, start_us, end_us, group_by };
        let mut rows = self.pipeline.ledger().store().spend(&query).await.map_err(store_failed)?;
        match group_by {
            SpendGroup::Day => rows.sort_by(|a, b| a.group.cmp(&b.group)),
            _ => rows.sort_by(|a, b| b.cost_nano_usd.cmp(&a.cost_nano_usd).then_with(|| a.group.cmp(&b.group))),
        }
        // An entry counts under each of its tags: the sum of tags' rows is not what was spent.
        let total = match group_by {
            SpendGroup::Tag | SpendGroup::Customer => {
                let whole = SpendQuery { group_by: SpendGroup::Unspecified, ..query };
                self.pipeline.ledger().store().spend(&whole).await.map_err(store_failed)?
            }
            _ => rows.clone(),
        };
        Ok((rows, total.iter().fold(SpendRow::default(), add)))
    }

    /// A page of ledger entries, oldest first, and the token of the next.
    pub async fn ledger_entries(
        &self,
        principal: &Principal,
        request: &ListLedgerEntriesRequest,
    ) -> Result<(Vec<LedgerEntry>, String), Error> {
        let asked = Asked {
            key_id: &request.key_id,
            organization_id: &request.organization_id,
            team_id: &request.team_id,
            user_id: &request.user_id,
        };
        let (_, payer) = self.payer(principal, &asked)?;
        let (start_us, end_us) = (request.start_time.as_ref().map(micros), request.end_time.as_ref().map(micros));
        if let (Some(start_us), Some(end_us)) = (start_us, end_us)
            && start_us > end_us
        {
            return Err(Error::invalid_field("start_time", "must not lie after end_time"));
        }
        let size = page::size(request.page_size, 100)?;
        let query = format!("entries {payer:?} {} {start_us:?} {end_us:?}", request.call_id);
        let after = page::cursor(&query, &request.page_token)?;
        self.pipeline.ledger().shipped().await;
        let wanted = EntryQuery {
            payer,
            call_id: (!request.call_id.is_empty()).then(|| request.call_id.clone()),
            start_us,
            end_us,
            after: after.parse().unwrap_or(0),
            limit: size as i64 + 1,
            ..EntryQuery::default()
        };
        let mut posted = self.pipeline.ledger().store().entries(&wanted).await.map_err(store_failed)?;
        let next = if posted.len() > size {
            posted.truncate(size);
            page::token(&query, &posted[size - 1].position.to_string())
        } else {
            String::new()
        };
        let shared = self.pipeline.ledger().is_shared();
        // Of several replicas' journals the position in the store is the one order.
        let entry = |p: tollgate_store::Posted| match shared {
            true => LedgerEntry { sequence: p.position, ..p.entry },
            false => p.entry,
        };
        Ok((posted.into_iter().map(entry).collect(), next))
    }

    /// Entries, alerts and balances as they come, for as long as somebody listens.
    pub async fn watch_spend(&self, principal: &Principal, request: &WatchSpendRequest) -> Result<Updates, Error> {
        let asked = Asked {
            key_id: &request.key_id,
            organization_id: &request.organization_id,
            team_id: &request.team_id,
            user_id: "",
        };
        let (actor, payer) = self.payer(principal, &asked)?;
        let control = self.clone();
        let ledger = self.pipeline.ledger().clone();
        let mut shipped = ledger.watch_shipped();
        let mut tail = ledger.store().tail(&payer, None, 0).await.map_err(store_failed)?.0;
        Ok(async_stream::try_stream! {
            let mut told = HashMap::<String, Instant>::new();
            let mut pending = HashMap::<String, ()>::new();
            loop {
                let (next, entries, alerts) = ledger.store().tail(&payer, Some(tail), PAGE).await.map_err(store_failed)?;
                let idle = next == tail;
                tail = next;
                for posted in entries {
                    for charge in &posted.entry.charges {
                        pending.insert(budget_of(&charge.budget_id).to_owned(), ());
                    }
                    yield update(Update::Entry(posted.entry));
                }
                for (_, alert) in alerts {
                    if control.sees_budget(&actor, budget_of(&alert.budget_id)) {
                        yield update(Update::Alert(alert));
                    }
                }
                let due: Vec<_> = pending.keys().filter(|id| told.get(*id).is_none_or(|t| t.elapsed() >= STANDING)).cloned().collect();
                for id in due {
                    pending.remove(&id);
                    told.insert(id.clone(), Instant::now());
                    if let Some(budget) = control.visible_budget(&actor, &id).await? {
                        yield update(Update::Budget(budget));
                    }
                }
                if idle {
                    let wait = if pending.is_empty() { LOOK } else { STANDING };
                    let _ = tokio::time::timeout(wait, shipped.changed()).await;
                }
            }
        }
        .boxed())
    }

    async fn visible_budget(&self, actor: &Actor, id: &str) -> Result<Option<Budget>, Error> {
        let Some(budget) = self.pipeline.ledger().budget(id).filter(|b| self.may_see(actor, b)) else {
            return Ok(None);
        };
        Ok(self.standing(vec![budget]).await?.pop())
    }

    fn may_see(&self, actor: &Actor, budget: &Budget) -> bool {
        is_allowed(actor, Action::ReadBudget, &self.place_of_budget(budget))
    }

    fn sees_budget(&self, actor: &Actor, id: &str) -> bool {
        self.pipeline.ledger().budget(id).is_some_and(|b| self.may_see(actor, &b))
    }

    /// A page of alerts, oldest first.
    pub async fn budget_alerts(
        &self,
        principal: &Principal,
        request: &ListBudgetAlertsRequest,
    ) -> Result<(Vec<BudgetAlert>, String), Error> {
        let actor = self.reader_of_budget(principal, &request.budget_id)?;
        let size = page::size(request.page_size, 100)?;
        let query = format!("alerts {}", request.budget_id);
        let mut after = page::cursor(&query, &request.page_token)?.parse().unwrap_or(0);
        let budget_id = (!request.budget_id.is_empty()).then_some(request.budget_id.as_str());
        self.pipeline.ledger().shipped().await;
        let mut alerts = Vec::new();
        loop {
            let found = self.pipeline.ledger().store().alerts(budget_id, after, PAGE).await.map_err(store_failed)?;
            let full = found.len() as i64 == PAGE;
            for (position, alert) in found {
                if alerts.len() == size {
                    return Ok((alerts, page::token(&query, &after.to_string())));
                }
                after = position;
                // Of a budget that is gone only who sees everything is told.
                let visible = match self.pipeline.ledger().budget(budget_of(&alert.budget_id)) {
                    Some(budget) => self.may_see(&actor, &budget),
                    None => is_allowed(&actor, Action::ReadBudget, &Resource::default()),
                };
                if visible {
                    alerts.push(alert);
                }
            }
            if !full {
                return Ok((alerts, String::new()));
            }
        }
    }

    /// Attempts in flight here, and leases of all replicas.
    pub async fn holds(&self, principal: &Principal, budget_id: &str) -> Result<ListHoldsResponse, Error> {
        let actor = self.reader_of_budget(principal, budget_id)?;
        let ledger = self.pipeline.ledger();
        let place = |key_id: &str| {
            let entry = self.pipeline.keyring().get(key_id);
            entry.map_or(Resource::default(), |e| Resource::of_key(e.stored().key()))
        };
        let fits = |id: &str| budget_id.is_empty() || budget_of(id) == budget_id;
        let holds = ledger.holds().into_iter().filter(|hold| {
            (budget_id.is_empty() || hold.charges.iter().any(|c| fits(&c.budget_id)))
                && is_allowed(&actor, Action::ReadSpend, &place(&hold.key_id))
        });
        let leases = match ledger.is_shared() {
            true => ledger.store().leases().await.map_err(store_failed)?,
            false => Vec::new(),
        };
        let leases =
            leases.into_iter().filter(|l| fits(&l.budget_id) && self.sees_budget(&actor, budget_of(&l.budget_id)));
        Ok(ListHoldsResponse { holds: holds.collect(), leases: leases.collect() })
    }

    /// Checks the invariants over everything that is settled.
    pub async fn check_ledger(&self, principal: &Principal) -> Result<CheckLedgerResponse, Error> {
        self.allowed::<act::CheckLedger>(principal, |_| Ok(Resource::default()))?;
        self.pipeline.ledger().shipped().await;
        tollgate_ledger::check(&**self.pipeline.ledger().store()).await.map_err(store_failed)
    }

    /// Gives up a replica whose disk is lost; tells what it had leased.
    pub async fn close_replica(&self, principal: &Principal, replica: &str) -> Result<i64, Error> {
        self.act::<act::CloseReplica, _>(
            principal,
            |_| Ok(Resource::default()),
            |_| {
                if replica.is_empty() {
                    return Err(Error::invalid_field(
                        "replica",
                        "is needed; ListHolds names the replicas that hold leases",
                    ));
                }
                let changes = vec!["asked for".into()];
                Ok(crate::Done { result: (), objects: Vec::new(), subject: replica.to_owned(), changes, posting: None })
            },
        )
        .await?;
        let closed = self.pipeline.ledger().close_replica(replica).await;
        let closed =
            closed.map_err(|lost| store_unavailable(tollgate_store::StoreError::Unavailable(lost.to_string())))?;
        let released = closed.ok_or_else(|| {
            Error::invalid_field("replica", "there is no such replica that has been silent for a minute; stop it first")
        })?;
        self.close_log(replica).await;
        Ok(released)
    }

    fn reader_of_budget(&self, principal: &Principal, budget_id: &str) -> Result<Actor, Error> {
        if budget_id.is_empty() {
            return self.lister::<act::ReadSpend>(principal);
        }
        let budget = self.pipeline.ledger().budget(budget_id);
        let place = budget.map_or(Resource::default(), |b| self.place_of_budget(&b));
        Ok(self.allowed::<act::ReadSpend>(principal, |_| Ok(place))?.actor())
    }

    /// Whose spend the principal may see of what it asks for: what lies elsewhere is denied, not left out.
    fn payer(&self, principal: &Principal, asked: &Asked<'_>) -> Result<(Actor, Payer), Error> {
        let authorized = self.allowed::<act::ReadSpend>(principal, |caller| {
            let own = Resource::of_key(caller.key());
            if !asked.key_id.is_empty() {
                return self.place_of_key(caller, asked.key_id);
            }
            if let Some(user) = self.directory().user(asked.user_id) {
                return Ok(Resource::user(&user.organization_id, &user.id));
            }
            if let Some(team) = self.directory().team(asked.team_id) {
                return Ok(Resource::team(&team.organization_id, &team.id));
            }
            let named = [asked.user_id, asked.team_id, asked.organization_id].iter().any(|id| !id.is_empty());
            Ok(if named { Resource::organization(asked.organization_id) } else { own })
        })?;
        let actor = authorized.actor();
        let given = |id: &str| (!id.is_empty()).then(|| id.to_owned());
        let mut payer = Payer {
            key_id: given(asked.key_id),
            organization_id: given(asked.organization_id),
            team_id: given(asked.team_id),
            user_id: given(asked.user_id),
        };
        let place = &actor.place;
        match Action::ReadSpend.reach(actor.role) {
            Reach::Key => payer.key_id = Some(place.key_id.clone()),
            Reach::User => payer.user_id = Some(place.user_id.clone()),
            Reach::Team | Reach::BelowTeam => payer.team_id = Some(place.team_id.clone()),
            Reach::All if place.organization_id.is_empty() => {}
            _ => payer.organization_id = Some(place.organization_id.clone()),
        }
        Ok((actor, payer))
    }
}

fn update(update: Update) -> WatchSpendResponse {
    WatchSpendResponse { update: Some(update) }
}

/// The budget of a charge: what stands before `#pace` or `/customer`.
fn budget_of(charge_id: &str) -> &str {
    charge_id.split(['#', '/']).next().unwrap_or_default()
}

fn add(sum: SpendRow, row: &SpendRow) -> SpendRow {
    SpendRow {
        group: String::new(),
        entries: sum.entries + row.entries,
        cost_nano_usd: sum.cost_nano_usd.saturating_add(row.cost_nano_usd),
        estimated_nano_usd: sum.estimated_nano_usd.saturating_add(row.estimated_nano_usd),
        input_tokens: sum.input_tokens + row.input_tokens,
        output_tokens: sum.output_tokens + row.output_tokens,
        saved_nano_usd: sum.saved_nano_usd.saturating_add(row.saved_nano_usd),
    }
}
