use sha2::{Digest, Sha256};
use tollgate_domain::{Error, Violation, micros, new_id, timestamp};
use tollgate_ledger::{Policy, is_each};
use tollgate_pipeline::Caller;
use tollgate_proto::v1::{
    Budget, BudgetEnforcement, BudgetIncrease, BudgetScope, BudgetWindow, ErrorReason, EveryWindow, HoldMode, KeyRole,
    ListBudgetsRequest, ScopeKind, UpdateBudgetRequest, WhenTight, budget_window::Window,
};
use tollgate_store::Object;

use crate::{
    Action, Control, Decided, Done, Principal, Resource, act, is_allowed,
    keys::{owned, swap},
    page, store_failed,
    tenancy::stale,
};

/// The id of the budget that the configuration makes: the same at every replica, before all that follow from the time.
const PROVISIONED: &str = "bud_00000000-0000-8000-8000-000000000001";

/// What a budget of the configuration is on.
#[derive(Clone, Copy, Debug)]
pub enum Provisioned<'a> {
    /// Everything.
    Gateway,
    /// One provider.
    Provider(&'a str),
    /// One deployment.
    Deployment(&'a str),
}

impl Provisioned<'_> {
    fn scope(self) -> BudgetScope {
        let scope = BudgetScope { kind: ScopeKind::Gateway as i32, ..BudgetScope::default() };
        match self {
            Self::Gateway => scope,
            Self::Provider(name) => BudgetScope { provider: name.to_owned(), ..scope },
            Self::Deployment(name) => BudgetScope { deployment: name.to_owned(), ..scope },
        }
    }

    fn display_name(self) -> String {
        let on = match self {
            Self::Gateway => "the gateway".to_owned(),
            Self::Provider(name) => format!("the provider {name}"),
            Self::Deployment(name) => format!("the deployment {name}"),
        };
        // As long as names may be.
        format!("the configuration's budget of {on}").chars().take(100).collect()
    }

    /// The same at every replica and start.
    fn id(self) -> String {
        let text = match self {
            Self::Gateway => return PROVISIONED.to_owned(),
            Self::Provider(name) => format!("provider {name}"),
            Self::Deployment(name) => format!("deployment {name}"),
        };
        let digest = Sha256::digest(text.as_bytes());
        let hex: String = digest[..16].iter().map(|byte| format!("{byte:02x}")).collect();
        format!("bud_{}-{}-8{}-8{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..])
    }
}

impl Control {
    /// Makes a budget on a scope; `opening`: what was spent of it before, elsewhere.
    pub async fn create_budget(
        &self,
        principal: &Principal,
        asked: Budget,
        request_id: &str,
        opening: Option<i64>,
    ) -> Result<Budget, Error> {
        let scope = asked.scope.clone().unwrap_or_default();
        let made = self
            .act::<act::CreateBudget, _>(
                principal,
                |_| self.place_of_scope(&scope),
                |authorized| {
                    if request_id.len() > 128 {
                        return Err(Error::invalid_field("request_id", "must be at most 128 bytes"));
                    }
                    let made_by = owned(authorized, request_id);
                    if !made_by.is_empty()
                        && let Some(id) = self.directory().made_by("budget", &made_by)
                        && let Some(budget) = self.pipeline.ledger().budget(&id)
                    {
                        return Ok(Done {
                            subject: id,
                            result: budget,
                            objects: vec![],
                            changes: vec!["repeated".into()],
                            posting: None,
                        });
                    }
                    check(&asked)?;
                    let budget = new_budget(Budget { increase: None, ..asked }, new_id("bud_"), self.now_us());
                    let mut changes = vec![
                        format!("scope: {:?}", budget.scope),
                        format!("limit_nano_usd: {}", budget.limit_nano_usd),
                    ];
                    let mut posting = None;
                    if let Some(amount) = opening {
                        posting = self.open_budget(authorized, &budget, amount)?.map(|row| vec![row]);
                        changes.push(format!("opening_nano_usd: {amount}"));
                    }
                    let mut done = Done { posting, ..done(budget, changes) };
                    done.objects = done.objects.into_iter().map(|o| o.made_by(made_by.clone())).collect();
                    Ok(done)
                },
            )
            .await?;
        if opening.is_some() {
            self.posted(&Object::from(made.clone())).await?;
        }
        self.after_change(made).await
    }

    /// A budget that the operator wrote into the configuration; made at the start, once, and never again once it was deleted.
    pub async fn provision_budget(
        &self,
        on: Provisioned<'_>,
        limit_nano_usd: i64,
        every_seconds: Option<i64>,
    ) -> Result<bool, Error> {
        let _one_at_a_time = self.acting.lock().await;
        if self.pipeline.ledger().is_shared() {
            self.catch_up().await?;
        }
        let every = |seconds| Window::Every(EveryWindow { seconds, anchor: None });
        let asked = Budget {
            scope: Some(on.scope()),
            display_name: on.display_name(),
            limit_nano_usd,
            window: every_seconds.map(|seconds| BudgetWindow { window: Some(every(seconds)) }),
            ..Budget::default()
        };
        check(&asked)?;
        let id = on.id();
        let budget = new_budget(asked, id.clone(), self.now_us());
        let known = self.directory().version_of(&Object::from(budget.clone())) > 0;
        if known || self.pipeline.ledger().budget(&id).is_some() {
            return Ok(false);
        }
        let changes = vec![format!("limit_nano_usd: {limit_nano_usd}"), format!("every_seconds: {every_seconds:?}")];
        let draft = tollgate_audit::Draft::open("budget.provision", None);
        match self.make(Decided { done: done(budget, changes), draft }).await {
            // Another replica with the same configuration was first.
            Err(error) if error.reason == ErrorReason::EtagMismatch => {
                self.catch_up().await?;
                Ok(false)
            }
            made => made.map(|_| true),
        }
    }

    /// A budget and where it stands, by id or by key; by neither: the oldest one of the acting key.
    pub async fn get_budget(&self, principal: &Principal, id: &str, key_id: &str) -> Result<Budget, Error> {
        let found = std::cell::RefCell::new(None);
        self.allowed::<act::ReadBudget>(principal, |caller| {
            let key_id = if key_id.is_empty() { caller.key_id() } else { key_id };
            let of_key = |b: &Budget| b.scope.as_ref().is_some_and(|s| s.kind() == ScopeKind::Key && s.id == key_id);
            let budget = match id {
                "" => self.pipeline.ledger().budgets().into_iter().find(of_key),
                id => self.pipeline.ledger().budget(id),
            };
            let place = match (&budget, id) {
                (Some(budget), _) => self.place_of_budget(budget),
                (None, "") => self.place_of_key(caller, key_id)?,
                (None, _) => Resource::default(),
            };
            found.replace(budget);
            Ok(place)
        })?;
        let found = found.take();
        let budget = found.ok_or_else(|| match id {
            "" => Error::not_found("budget of key", key_id),
            _ => Error::not_found("budget", id),
        })?;
        let mut standing = self.standing(vec![budget]).await?;
        standing.pop().ok_or_else(|| Error::not_found("budget", id))
    }

    /// A page of budgets that the actor may see, each as it stands.
    pub async fn list_budgets(
        &self,
        principal: &Principal,
        asked: &ListBudgetsRequest,
    ) -> Result<(Vec<Budget>, String), Error> {
        let actor = self.lister::<act::ReadBudget>(principal)?;
        let wanted = asked.scope.clone().unwrap_or_default();
        let fits = |filter: &str, value: &str| filter.is_empty() || filter == value;
        let visible = self.pipeline.ledger().budgets().into_iter().filter(|budget| {
            let scope = budget.scope.clone().unwrap_or_default();
            (wanted.kind() == ScopeKind::Unspecified || wanted.kind == scope.kind)
                && fits(&wanted.id, &scope.id)
                && fits(&wanted.team_id, &scope.team_id)
                && fits(&wanted.organization_id, &scope.organization_id)
                && fits(&wanted.model, &scope.model)
                && fits(&wanted.provider, &scope.provider)
                && fits(&wanted.deployment, &scope.deployment)
                && is_allowed(&actor, Action::ReadBudget, &self.place_of_budget(budget))
        });
        let query = format!("budgets {wanted:?}");
        let (budgets, next) = page::of(visible, |b| &b.id, &query, asked.page_size, &asked.page_token)?;
        Ok((self.standing(budgets).await?, next))
    }

    /// Changes the fields of the mask.
    pub async fn update_budget(&self, principal: &Principal, request: UpdateBudgetRequest) -> Result<Budget, Error> {
        let asked = request.budget.unwrap_or_default();
        let id = asked.id.clone();
        // Two changes of windows at once would prepare for each other's.
        let _changing = self.changing_windows.lock().await;
        if request.update_mask.iter().flat_map(|m| &m.paths).any(|p| p == "window") {
            self.prepare_window(&id, &asked).await?;
        }
        let changed = self
            .act::<act::UpdateBudget, _>(
                principal,
                |caller| self.place_of_budget_id(caller, &id),
                |authorized| {
                    let mut budget = self.budget(&asked.id)?;
                    stale(&asked.etag, &budget.etag)?;
                    let before = budget.limit_nano_usd;
                    let mut paths = request.update_mask.map(|m| m.paths).unwrap_or_default();
                    if paths.is_empty() {
                        paths.push("limit_nano_usd".into());
                    }
                    let mut changes = Vec::new();
                    for path in &paths {
                        changes.push(format!("{path}: {}", change(&mut budget, &asked, path)?));
                    }
                    check(&budget)?;
                    let lowers = paths.iter().all(|p| p == "limit_nano_usd") && budget.limit_nano_usd <= before;
                    if authorized.actor().role == KeyRole::Member && !lowers {
                        let message = "a member may only lower the limit of a budget of their own";
                        return Err(Error::new(ErrorReason::RightsExceeded, message).with("field", "limit_nano_usd"));
                    }
                    Ok(self.changed_budget(budget, changes))
                },
            )
            .await?;
        self.after_change(changed).await
    }

    /// Raises a budget for a time.
    pub async fn increase_budget(
        &self,
        principal: &Principal,
        id: &str,
        increase: Option<BudgetIncrease>,
    ) -> Result<Budget, Error> {
        let changed = self
            .act::<act::IncreaseBudget, _>(
                principal,
                |caller| self.place_of_budget_id(caller, id),
                |_| {
                    let mut budget = self.budget(id)?;
                    if let Some(increase) = &increase {
                        let expires = increase.expire_time.as_ref().map_or(0, micros);
                        let refuse =
                            |field: &str, text: &str| Err(Error::invalid_field(format!("increase.{field}"), text));
                        if increase.amount_nano_usd <= 0 {
                            return refuse("amount_nano_usd", "must be positive");
                        }
                        if expires <= self.now_us() {
                            return refuse("expire_time", "must lie in the future");
                        }
                        if increase.reason.len() > 1_024 {
                            return refuse("reason", "must be at most 1024 bytes");
                        }
                    }
                    let change = swap(&mut budget.increase, increase);
                    Ok(self.changed_budget(budget, vec![format!("increase: {change}")]))
                },
            )
            .await?;
        self.after_change(changed).await
    }

    /// Takes a budget away.
    pub async fn delete_budget(&self, principal: &Principal, id: &str) -> Result<(), Error> {
        self.act::<act::DeleteBudget, _>(
            principal,
            |caller| self.place_of_budget_id(caller, id),
            |_| {
                let object = Object::from(self.budget(id)?).deleted();
                Ok(Done {
                    result: (),
                    objects: vec![object],
                    subject: id.to_owned(),
                    changes: Vec::new(),
                    posting: None,
                })
            },
        )
        .await
    }

    /// The budget as it stands after a change.
    async fn after_change(&self, budget: Budget) -> Result<Budget, Error> {
        let mut standing = self.standing(vec![budget.clone()]).await?;
        Ok(standing.pop().unwrap_or(budget))
    }

    /// A window that is about to begin begins with what it has spent already.
    async fn prepare_window(&self, id: &str, asked: &Budget) -> Result<(), Error> {
        let ledger = self.pipeline.ledger();
        let Some(before) = ledger.budget(id).filter(|_| !ledger.is_shared()) else { return Ok(()) };
        let after = Budget { window: asked.window.clone(), ..before };
        ledger.prepare_window(&after).await.map_err(store_failed)
    }

    fn changed_budget(&self, mut budget: Budget, changes: Vec<String>) -> Done<Budget> {
        budget.update_time = Some(timestamp(self.now_us()));
        budget.etag = new_id("");
        done(budget, changes)
    }

    fn budget(&self, id: &str) -> Result<Budget, Error> {
        self.pipeline.ledger().budget(id).ok_or_else(|| Error::not_found("budget", id))
    }

    /// Budgets with what is spent, held and in force at this moment.
    pub(crate) async fn standing(&self, mut budgets: Vec<Budget>) -> Result<Vec<Budget>, Error> {
        let ledger = self.pipeline.ledger();
        let now_us = self.now_us();
        let mut leased = std::collections::HashMap::<String, i64>::new();
        if ledger.is_shared() {
            ledger.shipped().await;
            for lease in ledger.store().leases().await.map_err(store_failed)? {
                *leased.entry(lease.budget_id).or_default() += lease.outstanding_nano_usd;
            }
        }
        for budget in &mut budgets {
            let Ok(policy) = Policy::read(budget) else { continue };
            budget.effective_limit_nano_usd = policy.limit(now_us);
            let span = policy.window.at(now_us);
            if budget.window.is_some() {
                let start_us = if policy.window.is_rolling() {
                    policy.window.counts_from(span) * 1_000_000
                } else {
                    span.start_us
                };
                budget.window_start_time = Some(timestamp(start_us));
                budget.reset_time = policy.window.resets_at(span).map(timestamp);
            }
            match ledger.account(&budget.id) {
                Some(account) if !ledger.is_shared() => {
                    let balance = account.balance(now_us);
                    (budget.spent_nano_usd, budget.held_nano_usd) = (balance.spent, balance.held);
                }
                Some(account) => {
                    let from = [(budget.id.clone(), account.counts_from(now_us))];
                    let balances = ledger.store().balances(&from).await.map_err(store_failed)?;
                    budget.spent_nano_usd = balances.iter().fold(0, |sum, b| sum.saturating_add(b.spent));
                    budget.held_nano_usd = leased.get(&budget.id).copied().unwrap_or(0);
                }
                // Of a budget for each customer or tag there is no one balance.
                None => {}
            }
        }
        Ok(budgets)
    }

    /// Where a budget lies.
    pub(crate) fn place_of_budget(&self, budget: &Budget) -> Resource {
        self.place_of_scope(&budget.scope.clone().unwrap_or_default()).unwrap_or_default()
    }

    fn place_of_budget_id(&self, _caller: &Caller, id: &str) -> Result<Resource, Error> {
        Ok(self.pipeline.ledger().budget(id).map(|b| self.place_of_budget(&b)).unwrap_or_default())
    }

    /// Where the subject of a scope lies; an error names the field that names nothing.
    fn place_of_scope(&self, scope: &BudgetScope) -> Result<Resource, Error> {
        let missing = |field: &str, what: &str| {
            Error::invalid_field(format!("budget.scope.{field}"), format!("there is no such {what}"))
        };
        Ok(match scope.kind() {
            ScopeKind::Unspecified => {
                return Err(Error::invalid_field("budget.scope.kind", "is needed: what the budget is on"));
            }
            ScopeKind::Gateway => Resource::default(),
            ScopeKind::Organization => {
                self.directory().organization(&scope.id).ok_or_else(|| missing("id", "organization"))?;
                Resource::organization(&scope.id)
            }
            ScopeKind::Team => {
                let team = self.directory().team(&scope.id).ok_or_else(|| missing("id", "team"))?;
                Resource::team(&team.organization_id, &team.id)
            }
            ScopeKind::User => {
                let user = self.directory().user(&scope.id).ok_or_else(|| missing("id", "user"))?;
                Resource::user(&user.organization_id, &user.id)
            }
            ScopeKind::Member => {
                let team = self.directory().team(&scope.team_id).ok_or_else(|| missing("team_id", "team"))?;
                let user = self.directory().user(&scope.id).ok_or_else(|| missing("id", "user"))?;
                Resource { user_id: user.id.clone(), ..Resource::team(&team.organization_id, &team.id) }
            }
            ScopeKind::Key => {
                let entry = self.pipeline.keyring().get(&scope.id).ok_or_else(|| missing("id", "key"))?;
                Resource::of_key(entry.stored().key())
            }
            ScopeKind::Customer | ScopeKind::Tag => {
                if scope.id.is_empty() || scope.id.len() > 256 {
                    return Err(Error::invalid_field(
                        "budget.scope.id",
                        "must be a name of 1 to 256 bytes, or * for each by itself",
                    ));
                }
                // A label is below its organization: whoever governs that governs it.
                let below = Resource { user_id: "label".into(), ..Resource::organization(&scope.organization_id) };
                if scope.organization_id.is_empty() { Resource::default() } else { below }
            }
        })
    }
}

/// A new budget.
pub(crate) fn new_budget(asked: Budget, id: String, now_us: i64) -> Budget {
    let now = Some(timestamp(now_us));
    let enforcement = match asked.enforcement() {
        BudgetEnforcement::Unspecified => BudgetEnforcement::Hard,
        known => known,
    };
    Budget {
        id,
        enforcement: enforcement as i32,
        create_time: now,
        update_time: now,
        etag: new_id(""),
        spent_nano_usd: 0,
        held_nano_usd: 0,
        window_start_time: None,
        reset_time: None,
        effective_limit_nano_usd: 0,
        ..asked
    }
}

fn done(budget: Budget, changes: Vec<String>) -> Done<Budget> {
    let subject = budget.id.clone();
    Done { result: budget.clone(), objects: vec![budget.into()], subject, changes, posting: None }
}

/// Takes one field over and tells what changed.
fn change(budget: &mut Budget, asked: &Budget, path: &str) -> Result<String, Error> {
    Ok(match path {
        "limit_nano_usd" => swap(&mut budget.limit_nano_usd, asked.limit_nano_usd),
        "enforcement" => {
            let before = budget.enforcement().as_str_name();
            budget.enforcement = asked.enforcement;
            format!("{before} -> {}", asked.enforcement().as_str_name())
        }
        "window" => swap(&mut budget.window, asked.window.clone()),
        "alert_percents" => swap(&mut budget.alert_percents, asked.alert_percents.clone()),
        "pace_percent_per_hour" => swap(&mut budget.pace_percent_per_hour, asked.pace_percent_per_hour),
        "when_tight" => swap(&mut budget.when_tight, asked.when_tight),
        "hold_mode" => swap(&mut budget.hold_mode, asked.hold_mode),
        "display_name" => swap(&mut budget.display_name, asked.display_name.clone()),
        "hard_at_percent" => swap(&mut budget.hard_at_percent, asked.hard_at_percent),
        other => {
            let message = format!(
                "{other:?} cannot be changed; limit_nano_usd, enforcement, window, alert_percents, pace_percent_per_hour, when_tight, hold_mode, display_name and hard_at_percent can"
            );
            return Err(Error::invalid_field("update_mask", message));
        }
    })
}

pub(crate) fn check(budget: &Budget) -> Result<(), Error> {
    let mut violations = Vec::new();
    let mut expect = |holds: bool, field: &str, description: &str| {
        if !holds {
            violations.push(Violation { field: format!("budget.{field}"), description: description.into() });
        }
    };
    let unknown = "is not one that this version knows";
    expect(budget.limit_nano_usd >= 0, "limit_nano_usd", "must not be negative");
    expect(BudgetEnforcement::try_from(budget.enforcement).is_ok(), "enforcement", unknown);
    expect(WhenTight::try_from(budget.when_tight).is_ok(), "when_tight", unknown);
    expect(HoldMode::try_from(budget.hold_mode).is_ok(), "hold_mode", unknown);
    expect(budget.display_name.len() <= 256, "display_name", "must be at most 256 bytes");
    let percents = &budget.alert_percents;
    let fit = percents.len() <= 16 && percents.iter().all(|p| (1..=1_000).contains(p));
    expect(fit, "alert_percents", "must be at most 16 of 1 to 1000");
    let pace = budget.pace_percent_per_hour;
    expect(pace.is_none_or(|p| (1..=100).contains(&p)), "pace_percent_per_hour", "must be 1 to 100");
    let soft = budget.enforcement() == BudgetEnforcement::Soft;
    expect(pace.is_none() || !soft, "pace_percent_per_hour", "is for hard budgets");
    let hard_at = budget.hard_at_percent;
    expect(hard_at.is_none_or(|p| (100..=1_000).contains(&p)), "hard_at_percent", "must be 100 to 1000");
    expect(hard_at.is_none() || soft, "hard_at_percent", "is for soft budgets");
    let scope = budget.scope.clone().unwrap_or_default();
    expect(scope.id != "*" || is_each(budget), "scope.id", "* is for customers and tags");
    if let Err(violation) = Policy::read(&Budget { create_time: Some(timestamp(0)), ..budget.clone() }) {
        violations.push(violation);
    }
    if violations.is_empty() { Ok(()) } else { Err(Error::invalid(violations)) }
}
