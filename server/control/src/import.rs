//! Keys that another gateway issued: taken over by the hash that it kept, and kept like any other once their secret is known.

use tollgate_audit::Draft;
use tollgate_domain::{Error, new_id, timestamp};
use tollgate_pipeline::FirstUse;
use tollgate_proto::v1::{
    Budget, BudgetScope, ErrorReason, ImportKeyRequest, ImportedBudget, Key, KeyRole, KeyState, ScopeKind,
};
use tollgate_store::{LedgerRow, Object, StoredKey};

use crate::{
    Action, Authorized, Control, Done, Principal, Resource, act, budgets, is_allowed,
    keys::{check, provisioned_id, violation},
    opening, rights,
};

const SHA256_BYTES: usize = 32;
const MOST_BUDGETS: usize = 16;
const MOST_PREFIX: usize = 32;

/// A key that was taken over, or was there.
pub struct Imported {
    /// The key; `None` where only a new one was checked.
    pub key: Option<Key>,
    /// It was there before.
    pub existed: bool,
}

/// A key as it would be made, and what else is made with it.
struct Made {
    key: Key,
    objects: Vec<Object>,
    postings: Vec<LedgerRow>,
    changes: Vec<String>,
}

impl Control {
    /// Takes a key over with its budgets and what was spent of them: all of it or nothing, and only once.
    pub async fn import_key(&self, principal: &Principal, request: ImportKeyRequest) -> Result<Imported, Error> {
        let key = parking_lot::Mutex::new(request.key.unwrap_or_default());
        let find = |caller: &tollgate_pipeline::Caller| {
            let placed = self.place(&mut key.lock(), caller)?;
            Ok(Resource { key_id: String::new(), ..Resource::of_key(&placed) })
        };
        let digest = self.pipeline.keyring().imported_digest(&request.sha256);
        let id = provisioned_id(&digest);
        let readable = || match request.sha256.len() {
            SHA256_BYTES => Ok(()),
            _ => Err(Error::invalid_field("sha256", "must be the 32 bytes of a SHA-256 hash")),
        };
        if request.validate_only {
            let authorized = self.allowed::<act::ImportKey>(principal, find)?;
            readable()?;
            let there = self.there(&authorized, &id)?;
            if there.is_none() {
                self.imported(&authorized, &id, std::mem::take(&mut *key.lock()), &digest, &request.budgets)?;
            }
            return Ok(Imported { existed: there.is_some(), key: there });
        }
        let imported = self
            .act::<act::ImportKey, _>(principal, find, |authorized| {
                readable()?;
                if let Some(key) = self.there(authorized, &id)? {
                    let result = Imported { key: Some(key), existed: true };
                    let (objects, changes) = (Vec::new(), vec!["repeated".into()]);
                    return Ok(Done { result, objects, subject: id.clone(), changes, posting: None });
                }
                let key = std::mem::take(&mut *key.lock());
                let made = self.imported(authorized, &id, key, &digest, &request.budgets)?;
                Ok(Done {
                    result: Imported { key: Some(made.key), existed: false },
                    objects: made.objects,
                    subject: id.clone(),
                    changes: made.changes,
                    posting: (!made.postings.is_empty()).then_some(made.postings),
                })
            })
            .await?;
        if !imported.existed && request.budgets.iter().any(|budget| budget.spent_nano_usd > 0) {
            self.posted().await?;
        }
        Ok(imported)
    }

    /// The key that an earlier import made. Where it lies out of reach nothing more is told of it.
    fn there(&self, authorized: &Authorized<act::ImportKey>, id: &str) -> Result<Option<Key>, Error> {
        let Ok(entry) = self.entry(id) else { return Ok(None) };
        let key = entry.key_at(self.now_us());
        if is_allowed(&authorized.actor(), Action::ImportKey, &Resource::of_key(&key)) {
            return Ok(Some(key));
        }
        let message = "the hash is that of a key in another organization; ask who governs the platform";
        Err(Error::new(ErrorReason::AlreadyExists, message).with("resource", "key").with("id", id))
    }

    fn imported(
        &self,
        authorized: &Authorized<act::ImportKey>,
        id: &str,
        asked: Key,
        digest: &[u8],
        budgets: &[ImportedBudget],
    ) -> Result<Made, Error> {
        // That it has expired is no reason to forget it: it is refused as what it is.
        let mut violations = check(&asked, i64::MIN);
        if asked.prefix.len() > MOST_PREFIX {
            violations.push(violation("key.prefix", "must be at most 32 bytes"));
        }
        if !matches!(asked.role(), KeyRole::Unspecified | KeyRole::Caller) {
            violations.push(violation("key.role", "must be CALLER: another gateway's key is no admin's here"));
        }
        if !matches!(asked.state(), KeyState::Unspecified | KeyState::Active | KeyState::Blocked) {
            violations.push(violation("key.state", "must be ACTIVE or BLOCKED, or be left out"));
        }
        if budgets.len() > MOST_BUDGETS {
            violations.push(violation("budgets", "must have at most 16 entries"));
        }
        let fits = |budget: &ImportedBudget| (0..=opening::MOST_NANO_USD).contains(&budget.spent_nano_usd);
        for (at, _) in budgets.iter().enumerate().filter(|(_, budget)| !fits(budget)) {
            let description = "must be 0 to 1000000000000000000";
            violations.push(violation(&format!("budgets[{at}].spent_nano_usd"), description));
        }
        if !violations.is_empty() {
            return Err(Error::invalid(violations));
        }
        rights::check_key(&authorized.actor(), authorized.caller().key(), &asked, self.directory())?;
        let now = Some(timestamp(self.now_us()));
        let state = if asked.state() == KeyState::Blocked { KeyState::Blocked } else { KeyState::Active };
        let key = Key {
            id: id.to_owned(),
            role: KeyRole::Caller as i32,
            state: state as i32,
            create_time: now,
            update_time: now,
            etag: new_id(""),
            ..asked
        };
        let mut made = Made {
            changes: vec![
                format!("display_name: {:?}", key.display_name),
                format!("state: {}", state.as_str_name()),
                format!("place: {:?} {:?} {:?}", key.organization_id, key.team_id, key.user_id),
                format!("models: {:?}", key.models),
            ],
            objects: vec![StoredKey::imported(key.clone(), digest.to_vec()).into()],
            postings: Vec::new(),
            key,
        };
        let place = Resource::of_key(&made.key);
        for imported in budgets {
            let asked = imported.budget.clone().unwrap_or_default();
            let BudgetScope { model, provider, deployment, .. } = asked.scope.clone().unwrap_or_default();
            let scope = BudgetScope {
                kind: ScopeKind::Key as i32,
                id: id.to_owned(),
                model,
                provider,
                deployment,
                ..Default::default()
            };
            let asked = Budget { scope: Some(scope), increase: None, ..asked };
            budgets::check(&asked)?;
            let budget = budgets::new_budget(asked, new_id("bud_"), self.now_us());
            let spent = imported.spent_nano_usd;
            made.changes.push(format!("budget {}: {} of {}", budget.id, spent, budget.limit_nano_usd));
            made.postings.extend(self.opening(&budget, &place, spent, authorized.caller().key_id()));
            made.objects.push(budget.into());
        }
        Ok(made)
    }

    /// Keeps a key by a digest of our own from now on, and forgets what it was imported by. The gateway's own act, on record as such.
    pub async fn rehash_key(&self, used: &FirstUse) -> Result<(), Error> {
        let _one_at_a_time = self.acting.lock().await;
        if self.pipeline.ledger().is_shared() {
            self.catch_up().await?;
        }
        let mut stored = (*self.entry(&used.key_id)?.stored()).clone();
        // Another replica was first, or the key has a new secret since.
        if stored.imported_digest.is_none() || !stored.digest.is_empty() {
            return Ok(());
        }
        stored.digest.clone_from(&used.digest);
        stored.imported_digest = None;
        let done = Done {
            result: (),
            objects: vec![stored.into()],
            subject: used.key_id.clone(),
            changes: vec!["secret: used for the first time, kept as every other from now on".into()],
            posting: None,
        };
        match self.make(done, Draft::open("key.rehash", None)).await {
            Err(error) if error.reason == ErrorReason::EtagMismatch => self.catch_up().await,
            made => made.map(|_| ()),
        }
    }
}
