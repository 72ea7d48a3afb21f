//! Which accounts there are, and which of them a call touches.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use dashmap::DashMap;
use parking_lot::RwLock;
use tollgate_domain::Violation;
use tollgate_proto::v1::{Budget, BudgetScope, ScopeKind};

use crate::{account::Account, hold::Scopes, policy};

/// Who pays for a call.
#[derive(Clone, Copy, Debug, Default)]
pub struct Payer<'a> {
    /// The key.
    pub key_id: &'a str,
    /// Its team, or empty.
    pub team_id: &'a str,
    /// Its user, or empty.
    pub user_id: &'a str,
    /// Its organization, or empty.
    pub organization_id: &'a str,
    /// The end customer, or empty.
    pub customer: &'a str,
    /// Tags of call and key.
    pub tags: &'a [String],
    /// The model alias that is asked for.
    pub model: &'a str,
}

/// Where an attempt is made.
#[derive(Clone, Copy, Debug)]
pub struct At<'a> {
    /// The provider's name.
    pub provider: &'a str,
    /// The deployment's name.
    pub deployment: &'a str,
}

/// The accounts by what they are on.
#[derive(Default)]
pub(crate) struct Book {
    accounts: DashMap<String, Arc<Account>>,
    budgets: DashMap<String, Budget>,
    /// Accounts by the subject's id, for each kind of subject.
    by_scope: [DashMap<String, Vec<Arc<Account>>>; 9],
    /// Budgets for each customer or tag by itself.
    each: RwLock<Vec<Budget>>,
    /// Whether there ever was a budget on a provider or deployment: most have none, and need not look for it.
    has_local: AtomicBool,
    shared: bool,
}

impl Book {
    pub(crate) fn new(shared: bool) -> Self {
        Self { shared, ..Self::default() }
    }

    pub(crate) fn account(&self, id: &str) -> Option<Arc<Account>> {
        self.accounts.get(id).map(|a| a.clone())
    }

    pub(crate) fn budget(&self, id: &str) -> Option<Budget> {
        self.budgets.get(id).map(|b| b.clone())
    }

    /// Every budget, oldest first.
    pub(crate) fn budgets(&self) -> Vec<Budget> {
        let mut all: Vec<_> = self.budgets.iter().map(|b| b.clone()).collect();
        all.sort_by(|a, b| a.id.cmp(&b.id)); // ids are UUIDv7: creation order
        all
    }

    /// Every budget whose scope is `wanted`, oldest first.
    pub(crate) fn budgets_on(&self, wanted: impl Fn(&BudgetScope) -> bool) -> Vec<Budget> {
        let is_wanted = |budget: &Budget| budget.scope.as_ref().is_some_and(&wanted);
        let mut all: Vec<_> = self.budgets.iter().filter(|b| is_wanted(b)).map(|b| b.clone()).collect();
        all.sort_by(|a, b| a.id.cmp(&b.id)); // ids are UUIDv7: creation order
        all
    }

    pub(crate) fn accounts(&self) -> Vec<Arc<Account>> {
        self.accounts.iter().map(|a| a.clone()).collect()
    }

    /// How many accounts there are.
    pub(crate) fn len(&self) -> usize {
        self.accounts.len()
    }

    /// Ids of budgets that have an account for each of their subjects.
    pub(crate) fn each_ids(&self) -> Vec<String> {
        self.each.read().iter().map(|b| b.id.clone()).collect()
    }

    /// Takes a new or changed budget.
    pub(crate) fn put(&self, budget: &Budget, now_us: i64) -> Result<(), Violation> {
        let policies = policy::policies(budget)?;
        if budget.scope.as_ref().is_some_and(is_local) {
            self.has_local.store(true, Ordering::Release);
        }
        self.budgets.insert(budget.id.clone(), budget.clone());
        if is_each(budget) {
            let mut each = self.each.write();
            each.retain(|b| b.id != budget.id);
            each.push(budget.clone());
            drop(each);
            for account in self.accounts.iter().filter(|a| a.budget_id() == budget.id) {
                let pace = account.id.ends_with(policy::PACE);
                if let Some((_, policy)) = policies.iter().find(|(id, _)| id.ends_with(policy::PACE) == pace) {
                    account.change(policy.clone(), now_us);
                }
            }
            return Ok(());
        }
        let pace = format!("{}{}", budget.id, policy::PACE);
        if policies.len() == 1 {
            self.drop_account(&pace);
        }
        for (id, policy) in policies {
            match self.account(&id) {
                Some(account) => account.change(policy, now_us),
                None => self.add(Arc::new(Account::new(id, policy, now_us, self.shared)), None),
            }
        }
        Ok(())
    }

    fn add(&self, account: Arc<Account>, subject: Option<String>) {
        let subject = subject.unwrap_or_else(|| subject_of(&account.scope));
        self.accounts.insert(account.id.to_string(), account.clone());
        self.by_scope[account.scope.kind() as usize].entry(subject).or_default().push(account);
    }

    /// Takes a budget away; calls in flight settle in its account still.
    pub(crate) fn remove(&self, budget_id: &str) {
        self.budgets.remove(budget_id);
        self.each.write().retain(|b| b.id != budget_id);
        let gone: Vec<_> =
            self.accounts.iter().filter(|a| a.budget_id() == budget_id).map(|a| a.id.to_string()).collect();
        for id in gone {
            self.drop_account(&id);
        }
    }

    fn drop_account(&self, id: &str) {
        if let Some((_, account)) = self.accounts.remove(id) {
            for mut entry in self.by_scope[account.scope.kind() as usize].iter_mut() {
                entry.retain(|a| a.id != account.id);
            }
        }
    }

    /// The account of one customer or tag under a budget for each of them.
    pub(crate) fn each_account(&self, budget_id: &str, name: &str, now_us: i64) -> Vec<Arc<Account>> {
        let Some(budget) = self.budget(budget_id) else { return Vec::new() };
        let scope = BudgetScope { id: name.to_owned(), ..budget.scope.clone().unwrap_or_default() };
        let Ok(policies) = policy::policies(&Budget { scope: Some(scope.clone()), ..budget }) else {
            return Vec::new();
        };
        let of_policy = |(id, policy): (String, _)| {
            let pace = if id.ends_with(policy::PACE) { policy::PACE } else { "" };
            let id = format!("{budget_id}/{name}{pace}");
            self.accounts.get(&id).map(|a| a.clone()).unwrap_or_else(|| {
                let account = Arc::new(Account::new(id, policy, now_us, self.shared));
                self.add(account.clone(), Some(subject_of(&scope)));
                account
            })
        };
        policies.into_iter().map(of_policy).collect()
    }

    /// The accounts that a call of `payer` touches, apart from those of one provider or deployment; or only those of where it is tried.
    pub(crate) fn scopes(&self, payer: &Payer<'_>, at: Option<At<'_>>, now_us: i64) -> Scopes {
        let mut found: Vec<Arc<Account>> = Vec::new();
        if at.is_some() && !self.has_local.load(Ordering::Acquire) {
            return found.into();
        }
        let mut add = |kind: ScopeKind, subject: &str| {
            if let Some(accounts) = self.by_scope[kind as usize].get(subject) {
                found.extend(accounts.iter().filter(|a| counts(&a.scope, payer.model, at)).cloned());
            }
        };
        let has = |kind: ScopeKind| !self.by_scope[kind as usize].is_empty();
        add(ScopeKind::Gateway, "");
        for (kind, subject) in [
            (ScopeKind::Key, payer.key_id),
            (ScopeKind::Team, payer.team_id),
            (ScopeKind::User, payer.user_id),
            (ScopeKind::Organization, payer.organization_id),
        ] {
            if !subject.is_empty() {
                add(kind, subject);
            }
        }
        if !payer.team_id.is_empty() && !payer.user_id.is_empty() && has(ScopeKind::Member) {
            add(ScopeKind::Member, &format!("{}/{}", payer.team_id, payer.user_id));
        }
        let mut labels = payer.tags.iter().map(|t| (ScopeKind::Tag, t.as_str())).collect::<Vec<_>>();
        if !payer.customer.is_empty() {
            labels.push((ScopeKind::Customer, payer.customer));
        }
        for &(kind, name) in labels.iter().filter(|(kind, _)| has(*kind)) {
            add(kind, &format!("/{name}"));
            if !payer.organization_id.is_empty() {
                add(kind, &format!("{}/{name}", payer.organization_id));
            }
        }
        if !labels.is_empty() {
            self.add_each(&labels, payer, at, now_us, &mut found);
        }
        found.sort_by(|a, b| a.id.cmp(&b.id));
        found.dedup_by(|a, b| a.id == b.id);
        found.into()
    }

    /// Makes the accounts of customers and tags that are seen for the first time.
    fn add_each(
        &self,
        labels: &[(ScopeKind, &str)],
        payer: &Payer<'_>,
        at: Option<At<'_>>,
        now_us: i64,
        found: &mut Vec<Arc<Account>>,
    ) {
        let each = self.each.read();
        if each.is_empty() {
            return;
        }
        let budgets = each.clone();
        drop(each);
        for budget in budgets {
            let Some(scope) = &budget.scope else { continue };
            let of_tenant = scope.organization_id.is_empty() || scope.organization_id == payer.organization_id;
            if !of_tenant || !counts(scope, payer.model, at) {
                continue;
            }
            for (_, name) in labels.iter().filter(|(kind, _)| *kind == scope.kind()) {
                found.extend(self.each_account(&budget.id, name, now_us));
            }
        }
    }
}

/// Whether a call for `model` counts, where it is tried or before that is chosen.
fn counts(scope: &BudgetScope, model: &str, at: Option<At<'_>>) -> bool {
    let fits = |filter: &str, is: &str| filter.is_empty() || filter == is;
    let there = match at {
        None => !is_local(scope),
        Some(at) => is_local(scope) && fits(&scope.provider, at.provider) && fits(&scope.deployment, at.deployment),
    };
    there && (scope.model.is_empty() || scope.model == model)
}

/// Whether a budget counts only attempts at one provider or deployment.
fn is_local(scope: &BudgetScope) -> bool {
    !scope.provider.is_empty() || !scope.deployment.is_empty()
}

/// Whether a budget is for each customer or tag by itself.
pub fn is_each(budget: &Budget) -> bool {
    let scope = budget.scope.as_ref();
    scope.is_some_and(|s| s.id == "*" && matches!(s.kind(), ScopeKind::Customer | ScopeKind::Tag))
}

fn subject_of(scope: &BudgetScope) -> String {
    match scope.kind() {
        ScopeKind::Member => format!("{}/{}", scope.team_id, scope.id),
        ScopeKind::Customer | ScopeKind::Tag => format!("{}/{}", scope.organization_id, scope.id),
        ScopeKind::Gateway => String::new(),
        _ => scope.id.clone(),
    }
}
