//! Organizations, teams and users in memory, and every object's version: what rights are read from.

use std::sync::{
    Arc,
    atomic::{AtomicI64, AtomicU64, Ordering},
};

use dashmap::DashMap;
use tollgate_proto::v1::{Adjustment, Key, Organization, Team, User};
use tollgate_router::pattern::matches;
use tollgate_store::{Object, StoredModel, Thing};

use crate::KeyRing;

/// What admins made, apart from budgets, which the ledger has.
pub struct Directory {
    keyring: Arc<KeyRing>,
    organizations: DashMap<String, Arc<Organization>>,
    teams: DashMap<String, Arc<Team>>,
    users: DashMap<String, Arc<User>>,
    adjustments: DashMap<String, Arc<Adjustment>>,
    models: DashMap<String, Arc<StoredModel>>,
    /// Grows with every change of `models`.
    model_changes: AtomicU64,
    /// Version of each object, by kind and id: what a change must still find.
    versions: DashMap<(&'static str, String), i64>,
    /// Which object a `request_id` made, by kind and request.
    made_by: DashMap<(&'static str, String), String>,
    /// Everything up to this version is taken over.
    version: AtomicI64,
}

fn sorted<T>(map: &DashMap<String, Arc<T>>, id: impl Fn(&T) -> &str) -> Vec<Arc<T>> {
    let mut all: Vec<_> = map.iter().map(|e| e.value().clone()).collect();
    all.sort_by(|a, b| id(a).cmp(id(b))); // ids are UUIDv7: creation order
    all
}

impl Directory {
    /// Empty, over the keys of `keyring`.
    pub fn new(keyring: Arc<KeyRing>) -> Self {
        Self {
            keyring,
            organizations: DashMap::new(),
            teams: DashMap::new(),
            users: DashMap::new(),
            adjustments: DashMap::new(),
            models: DashMap::new(),
            model_changes: AtomicU64::new(0),
            versions: DashMap::new(),
            made_by: DashMap::new(),
            version: AtomicI64::new(0),
        }
    }

    /// Takes over what was made, changed or deleted. `version` is the store's, 0 where nobody else changes it.
    pub fn take_over(&self, object: &Object, version: i64) {
        let (kind, id) = (object.kind(), object.id().to_owned());
        if version > 0 {
            if self.versions.get(&(kind, id.clone())).is_some_and(|known| *known >= version) {
                return;
            }
            self.versions.insert((kind, id.clone()), version);
            self.version.fetch_max(version, Ordering::Relaxed);
        }
        if !object.request_id.is_empty() {
            self.made_by.insert((kind, object.request_id.clone()), id.clone());
        }
        match object.thing() {
            Some(Thing::Key(key)) => self.keyring.put(key.clone()),
            Some(Thing::Organization(o)) => put(&self.organizations, &id, o, object.deleted),
            Some(Thing::Team(t)) => put(&self.teams, &id, t, object.deleted),
            Some(Thing::User(u)) => put(&self.users, &id, u, object.deleted),
            Some(Thing::Adjustment(a)) => put(&self.adjustments, &id, a, object.deleted),
            Some(Thing::Model(m)) => {
                put(&self.models, &id, m, object.deleted);
                self.model_changes.fetch_add(1, Ordering::Release);
            }
            Some(Thing::Budget(_)) | None => {}
        }
    }

    /// Through which version of the store everything is taken over.
    pub fn version(&self) -> i64 {
        self.version.load(Ordering::Relaxed)
    }

    /// The version of one object; 0: it does not exist.
    pub fn version_of(&self, object: &Object) -> i64 {
        self.versions.get(&(object.kind(), object.id().to_owned())).map_or(0, |v| *v)
    }

    /// The object of this kind that a call with this `request_id` made.
    pub fn made_by(&self, kind: &'static str, request_id: &str) -> Option<String> {
        self.made_by.get(&(kind, request_id.to_owned())).map(|id| id.clone())
    }

    /// Virtual keys.
    pub fn keyring(&self) -> &Arc<KeyRing> {
        &self.keyring
    }

    /// An organization.
    pub fn organization(&self, id: &str) -> Option<Arc<Organization>> {
        self.organizations.get(id).map(|o| o.clone())
    }

    /// A team.
    pub fn team(&self, id: &str) -> Option<Arc<Team>> {
        self.teams.get(id).map(|t| t.clone())
    }

    /// A user.
    pub fn user(&self, id: &str) -> Option<Arc<User>> {
        self.users.get(id).map(|u| u.clone())
    }

    /// A correction of the ledger.
    pub fn adjustment(&self, id: &str) -> Option<Arc<Adjustment>> {
        self.adjustments.get(id).map(|a| a.clone())
    }

    /// A deployment beside those of the configuration.
    pub fn model(&self, id: &str) -> Option<Arc<StoredModel>> {
        self.models.get(id).map(|m| m.clone())
    }

    /// Every such deployment, oldest first.
    pub fn models(&self) -> Vec<Arc<StoredModel>> {
        sorted(&self.models, |m| &m.model().id)
    }

    /// How often such deployments have changed: what is in force is of an earlier count, or of this.
    pub fn model_changes(&self) -> u64 {
        self.model_changes.load(Ordering::Acquire)
    }

    /// Every organization, oldest first.
    pub fn organizations(&self) -> Vec<Arc<Organization>> {
        sorted(&self.organizations, |o| &o.id)
    }

    /// Every team, oldest first.
    pub fn teams(&self) -> Vec<Arc<Team>> {
        sorted(&self.teams, |t| &t.id)
    }

    /// Every user, oldest first.
    pub fn users(&self) -> Vec<Arc<User>> {
        sorted(&self.users, |u| &u.id)
    }

    /// Every correction of the ledger, oldest first.
    pub fn adjustments(&self) -> Vec<Arc<Adjustment>> {
        sorted(&self.adjustments, |a| &a.id)
    }

    /// Whether a key may use a model: by its own rights, within those of its team and its organization.
    pub fn may_use(&self, key: &Key, model: &str) -> bool {
        let within = |models: &[String]| models.is_empty() || allows(models, model);
        allows(&key.models, model)
            && self.team(&key.team_id).is_none_or(|t| within(&t.models))
            && self.organization(&key.organization_id).is_none_or(|o| within(&o.models))
    }
}

fn put<T: Clone>(map: &DashMap<String, Arc<T>>, id: &str, thing: &T, deleted: bool) {
    if deleted {
        map.remove(id);
    } else {
        map.insert(id.to_owned(), Arc::new(thing.clone()));
    }
}

/// Whether a list of model aliases has one: by its name, or by a pattern such as `*` or `openai/*`.
pub fn allows(models: &[String], model: &str) -> bool {
    models.iter().any(|m| m == "*" || m == model || matches(m, model))
}
