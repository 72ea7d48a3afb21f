use std::{collections::HashMap, sync::Arc};

use tollgate_domain::{Error, Violation, micros, new_id, timestamp};
use tollgate_pipeline::{Caller, KeyEntry, KeySecret};
use tollgate_proto::v1::{
    Budget, BudgetScope, CreateKeyRequest, ErrorReason, Key, KeyRole, KeyState, ListKeysRequest, ScopeKind,
    UpdateKeyRequest,
};
use tollgate_store::{Object, StoredKey, Thing};

use crate::{
    Act, Action, Actor, Authorized, Control, Decided, Done, Principal, Resource, act, authorize,
    budgets::{check as check_budget, new_budget},
    is_allowed, page, rights,
    tenancy::stale,
};

/// A key and the secret that is shown once.
pub struct Minted {
    /// The key.
    pub key: Key,
    /// Its secret; `None` when an earlier call made it.
    pub secret: Option<KeySecret>,
    /// Its budget's id, or empty.
    pub budget_id: String,
}

/// The secret of a key that is made.
enum Secret {
    /// Drawn by the gateway.
    Made,
    /// Given by who makes the key, in a call or in the configuration.
    Chosen(KeySecret),
}

const MAX_GRACE_SECONDS: i64 = 604_800;
/// Budgets made along with a key.
pub(crate) const MAX_BUDGETS: usize = 16;

impl Control {
    /// Makes a key, and a budget with it where one is asked for.
    pub async fn create_key(&self, principal: &Principal, request: CreateKeyRequest) -> Result<Minted, Error> {
        // The place is completed while it is looked for; what lies there is checked under the same lock.
        let key = parking_lot::Mutex::new(request.key.unwrap_or_default());
        let find = |caller: &Caller| {
            let placed = self.place(&mut key.lock(), caller)?;
            Ok(Resource { key_id: String::new(), ..Resource::of_key(&placed) })
        };
        self.act::<act::CreateKey, _>(principal, find, |authorized| {
            let key = std::mem::take(&mut *key.lock());
            let mut violations = check(&key, self.now_us());
            if request.budget_nano_usd.is_some_and(|limit| limit < 0) {
                violations.push(violation("budget_nano_usd", "must not be negative"));
            }
            if request.budgets.len() > MAX_BUDGETS {
                violations.push(violation("budgets", "must be at most 16"));
            }
            if request.request_id.len() > 128 {
                violations.push(violation("request_id", "must be at most 128 bytes"));
            }
            if !violations.is_empty() {
                return Err(Error::invalid(violations));
            }
            // A request id is the acting key's own: nobody finds what somebody else made.
            let made_by = owned(authorized, &request.request_id);
            if let Some(id) = self.directory().made_by("key", &made_by) {
                let key = self.entry(&id)?.key_at(self.now_us());
                let of_key =
                    |b: &Budget| b.scope.as_ref().is_some_and(|s| s.kind() == ScopeKind::Key && s.id == key.id);
                let budget_id =
                    self.pipeline.ledger().budgets().into_iter().find(of_key).map(|b| b.id).unwrap_or_default();
                let subject = key.id.clone();
                let result = Minted { key, secret: None, budget_id };
                return Ok(Done {
                    result,
                    objects: Vec::new(),
                    subject,
                    changes: vec!["repeated".into()],
                    posting: None,
                });
            }
            rights::check_key(&authorized.actor(), authorized.caller().key(), &key, self.directory())?;
            if request.unique_display_name {
                self.nobody_is_called(&key.display_name, "")?;
            }
            let secret = match request.secret.as_str() {
                "" => Secret::Made,
                text => Secret::Chosen(self.chosen(authorized, text)?),
            };
            let total = request.budget_nano_usd.map(total);
            let budgets: Vec<_> = total.into_iter().chain(request.budgets).collect();
            for budget in &budgets {
                check_budget(&of_key(budget.clone(), "new"))?;
            }
            Ok(self.mint(key, made_by, budgets, secret))
        })
        .await
    }

    /// A secret that somebody chose for a key: who may do that does, it is strong, and no other key's. Neither error nor record repeats it.
    fn chosen<A>(&self, authorized: &Authorized<A>, text: &str) -> Result<KeySecret, Error> {
        authorize::<act::ChooseSecret>(authorized.caller().clone(), authorized.resource().clone())?;
        let secret = KeySecret::chosen(text).map_err(|why| Error::invalid_field("secret", why))?;
        let keyring = self.pipeline.keyring();
        if keyring.knows(&secret) || keyring.get(&provisioned_id(&keyring.digest(&secret))).is_some() {
            let message = "the secret opens a key already, or did; choose another, or leave it out to have one made";
            return Err(Error::new(ErrorReason::AlreadyExists, message)
                .with("resource", "key")
                .with("field", "secret"));
        }
        Ok(secret)
    }

    /// That no key but `own` has this name. Whose it is, is nobody's business.
    fn nobody_is_called(&self, display_name: &str, own: &str) -> Result<(), Error> {
        let taken = |key: &Key| key.display_name == display_name && key.id != own && key.state() != KeyState::Revoked;
        let now_us = self.now_us();
        if display_name.is_empty() || !self.pipeline.keyring().all().iter().any(|entry| taken(&entry.key_at(now_us))) {
            return Ok(());
        }
        let message = format!("a key called {display_name:?} exists already; choose another name");
        Err(Error::new(ErrorReason::AlreadyExists, message).with("resource", "key").with("id", display_name))
    }

    /// Completes where a new key lies: what is left open is the acting key's own place.
    pub(crate) fn place(&self, key: &mut Key, caller: &Caller) -> Result<Key, Error> {
        let own = caller.key();
        let fill = |field: &mut String, own: &str| {
            if field.is_empty() {
                own.clone_into(field);
            }
        };
        match caller.role() {
            KeyRole::TeamAdmin => fill(&mut key.team_id, &own.team_id),
            KeyRole::Member => {
                fill(&mut key.user_id, &own.user_id);
                fill(&mut key.team_id, &own.team_id);
            }
            _ => {}
        }
        let places = [
            self.directory().team(&key.team_id).map(|t| t.organization_id.clone()),
            self.directory().user(&key.user_id).map(|u| u.organization_id.clone()),
        ];
        for (field, id, place) in [("team_id", &key.team_id, &places[0]), ("user_id", &key.user_id, &places[1])] {
            if !id.is_empty() && place.is_none() {
                return Err(Error::invalid_field(format!("key.{field}"), format!("there is no such {}", &field[..4])));
            }
        }
        for place in places.into_iter().flatten() {
            fill(&mut key.organization_id, &place);
            if key.organization_id != place {
                return Err(Error::invalid_field(
                    "key.organization_id",
                    "team, user and key must belong to one organization",
                ));
            }
        }
        fill(&mut key.organization_id, &own.organization_id);
        if !key.organization_id.is_empty() && self.directory().organization(&key.organization_id).is_none() {
            return Err(Error::invalid_field("key.organization_id", "there is no such organization"));
        }
        Ok(key.clone())
    }

    /// A key whose secret the operator wrote into the configuration; made at the start, once.
    pub async fn provision(&self, key: Key, secret: &KeySecret, budget_nano_usd: Option<i64>) -> Result<bool, Error> {
        let _one_at_a_time = self.acting.lock().await;
        if self.pipeline.ledger().is_shared() {
            self.catch_up().await?;
        }
        if self.pipeline.keyring().find(secret, self.now_us()).is_some() {
            return Ok(false);
        }
        let budgets = budget_nano_usd.map(total).into_iter().collect();
        let done = self.mint(key, String::new(), budgets, Secret::Chosen(secret.clone()));
        let draft = tollgate_audit::Draft::open("key.provision", None);
        match self.make(Decided { done, draft }).await {
            // Another replica with the same configuration was first.
            Err(error) if error.reason == ErrorReason::EtagMismatch => {
                self.catch_up().await?;
                Ok(false)
            }
            made => made.map(|_| true),
        }
    }

    fn mint(&self, asked: Key, request_id: String, budgets: Vec<Budget>, secret: Secret) -> Done<Minted> {
        let now = Some(timestamp(self.now_us()));
        let keyring = self.pipeline.keyring();
        let (secret, digest, id) = match secret {
            Secret::Made => {
                let secret = KeySecret::generate(&mut rand::rng());
                let digest = keyring.digest(&secret);
                (secret, digest, new_id("key_"))
            }
            Secret::Chosen(secret) => {
                let digest = keyring.digest(&secret);
                let id = provisioned_id(&digest);
                (secret, digest, id)
            }
        };
        let follows = id.starts_with(PROVISIONED);
        let key = Key {
            id,
            prefix: secret.prefix().to_owned(),
            role: if asked.role == 0 { KeyRole::Caller as i32 } else { asked.role },
            state: KeyState::Active as i32,
            create_time: now,
            update_time: now,
            etag: new_id(""),
            ..asked
        };
        let made = |(at, asked)| {
            let id = if follows && at == 0 { key.id.replacen("key_", "bud_", 1) } else { new_id("bud_") };
            new_budget(Budget { increase: None, ..of_key(asked, &key.id) }, id, self.now_us())
        };
        let budgets: Vec<_> = budgets.into_iter().enumerate().map(made).collect();
        let budget_id = budgets.first().map(|b| b.id.clone()).unwrap_or_default();
        let limits: Vec<_> = budgets.iter().map(|b| b.limit_nano_usd).collect();
        let changes = vec![
            format!("display_name: {:?}", key.display_name),
            format!("role: {}", key.role().as_str_name()),
            format!("place: {:?} {:?} {:?}", key.organization_id, key.team_id, key.user_id),
            format!("models: {:?}", key.models),
            format!("budgets, limit_nano_usd: {limits:?}"),
        ];
        let subject = key.id.clone();
        let mut objects = vec![Object::from(StoredKey::new(key.clone(), digest)).made_by(request_id)];
        objects.extend(budgets.into_iter().map(Object::from));
        Done { result: Minted { key, secret: Some(secret), budget_id }, objects, subject, changes, posting: None }
    }

    /// One key, by its id or its secret; with neither the one that asks.
    pub async fn get_key(&self, principal: &Principal, id: &str, secret: &str) -> Result<Key, Error> {
        if !id.is_empty() && !secret.is_empty() {
            return Err(Error::invalid_field("secret", "goes without id: one of them names the key"));
        }
        let authorized = self.allowed::<act::ReadKey>(principal, |caller| match secret {
            "" => self.place_of_key(caller, id),
            secret => self.place_of_secret(caller, secret),
        })?;
        Ok(self.entry(&authorized.resource().key_id)?.key_at(self.now_us()))
    }

    /// A page of keys, oldest first, and the token of the next.
    pub async fn list_keys(&self, principal: &Principal, asked: &ListKeysRequest) -> Result<(Vec<Key>, String), Error> {
        let actor = self.lister::<act::ReadKey>(principal)?;
        let now_us = self.now_us();
        let fits = |filter: &str, value: &str| filter.is_empty() || filter == value;
        let visible = self.pipeline.keyring().all().into_iter().map(|e| e.key_at(now_us)).filter(|key| {
            fits(&asked.organization_id, &key.organization_id)
                && fits(&asked.team_id, &key.team_id)
                && fits(&asked.user_id, &key.user_id)
                && is_allowed(&actor, Action::ReadKey, &Resource::of_key(key))
        });
        let query = format!("keys {} {} {}", asked.organization_id, asked.team_id, asked.user_id);
        page::of(visible, |key| &key.id, &query, asked.page_size, &asked.page_token)
    }

    /// Who lists: a role that reaches nothing at all is denied, any other sees what it reaches.
    pub(crate) fn lister<A: Act>(&self, principal: &Principal) -> Result<Actor, Error> {
        let authorized = self.allowed::<A>(principal, |caller| Ok(Resource::of_key(caller.key())))?;
        Ok(authorized.actor())
    }

    /// Changes the fields of the mask.
    pub async fn update_key(&self, principal: &Principal, request: UpdateKeyRequest) -> Result<Key, Error> {
        let asked = request.key.unwrap_or_default();
        let id = asked.id.clone();
        self.act::<act::UpdateKey, _>(
            principal,
            |caller| self.place_of_key(caller, &id),
            |authorized| {
                let (mut stored, before) = self.changeable(&asked.id)?;
                not_self(authorized, &asked.id)?;
                stale(&asked.etag, &before.etag)?;
                let violations = check(&asked, self.now_us());
                if !violations.is_empty() {
                    return Err(Error::invalid(violations));
                }
                if request.unique_display_name {
                    self.nobody_is_called(&asked.display_name, &asked.id)?;
                }
                let mut paths: Vec<String> = request.update_mask.map(|m| m.paths).unwrap_or_default();
                if paths.is_empty() {
                    paths = set_fields(&asked).map(str::to_owned).collect();
                }
                let mut changes = Vec::new();
                for path in &paths {
                    let key = stored.key_mut();
                    let change = match path.as_str() {
                        "display_name" => swap(&mut key.display_name, asked.display_name.clone()),
                        "models" => swap(&mut key.models, asked.models.clone()),
                        "default_output_cap" => swap(&mut key.default_output_cap, asked.default_output_cap),
                        "metadata" => {
                            key.metadata.clone_from(&asked.metadata);
                            "changed".to_owned()
                        }
                        "expire_time" => swap(&mut key.expire_time, asked.expire_time),
                        "limits" => swap(&mut key.limits, asked.limits),
                        "tags" => swap(&mut key.tags, asked.tags.clone()),
                        "priority" => swap(&mut key.priority, asked.priority),
                        other => {
                            let message = format!(
                                "{other:?} cannot be changed; display_name, models, default_output_cap, metadata, expire_time, limits, tags and priority can"
                            );
                            return Err(Error::invalid_field("update_mask", message));
                        }
                    };
                    changes.push(format!("{path}: {change}"));
                }
                rights::check_key(&authorized.actor(), authorized.caller().key(), stored.key(), self.directory())?;
                Ok(self.changed(stored, changes))
            },
        )
        .await
    }

    /// Moves a key to another team or user of its organization.
    pub async fn move_key(
        &self,
        principal: &Principal,
        id: &str,
        team_id: Option<String>,
        user_id: Option<String>,
    ) -> Result<Key, Error> {
        self.act::<act::MoveKey, _>(
            principal,
            |caller| self.place_of_key(caller, id),
            |authorized| {
                let (mut stored, before) = self.changeable(id)?;
                not_self(authorized, id)?;
                let key = stored.key_mut();
                key.team_id = team_id.unwrap_or(before.team_id.clone());
                key.user_id = user_id.unwrap_or(before.user_id.clone());
                let moved = self.place(&mut key.clone(), authorized.caller())?;
                if moved.organization_id != before.organization_id && !before.organization_id.is_empty() {
                    return Err(Error::invalid_field("team_id", "a key stays within its organization"));
                }
                *key = moved;
                // Where it goes is the actor's to give as well.
                if !is_allowed(&authorized.actor(), Action::MoveKey, &Resource::of_key(key)) {
                    return Err(Error::new(ErrorReason::RightsExceeded, "the key would leave your organization")
                        .with("field", "team_id"));
                }
                rights::check_key(&authorized.actor(), authorized.caller().key(), key, self.directory())?;
                let changes = vec![
                    format!("team_id: {:?} -> {:?}", before.team_id, key.team_id),
                    format!("user_id: {:?} -> {:?}", before.user_id, key.user_id),
                ];
                Ok(self.changed(stored, changes))
            },
        )
        .await
    }

    /// Gives the key a new secret; the old one works on for `grace_seconds`.
    pub async fn rotate_key(
        &self,
        principal: &Principal,
        id: &str,
        grace_seconds: i64,
        secret: &str,
    ) -> Result<(Key, KeySecret), Error> {
        self.act::<act::RotateKey, _>(
            principal,
            |caller| self.place_of_key(caller, id),
            |authorized| {
                if !(0..=MAX_GRACE_SECONDS).contains(&grace_seconds) {
                    return Err(Error::invalid_field("grace_seconds", "must be 0 to 604800"));
                }
                let (mut stored, before) = self.changeable(id)?;
                // Whoever gets the secret gets the key's rights.
                rights::check_key(&authorized.actor(), authorized.caller().key(), &before, self.directory())?;
                let secret = match secret {
                    "" => KeySecret::generate(&mut rand::rng()),
                    text => self.chosen(authorized, text)?,
                };
                let old = std::mem::replace(&mut stored.digest, self.pipeline.keyring().digest(&secret));
                // An imported secret that nobody has used has no digest of ours: what it came with stands for it during the grace.
                if grace_seconds == 0 || !old.is_empty() {
                    stored.imported_digest = None;
                }
                stored.old_imported_digest = None;
                stored.old_digest = (grace_seconds > 0 && !old.is_empty()).then_some(old);
                stored.old_until_us = self.now_us().saturating_add(grace_seconds.saturating_mul(1_000_000));
                stored.key_mut().prefix = secret.prefix().to_owned();
                let done = self.changed(stored, vec![format!("secret: rotated, grace {grace_seconds} s")]);
                Ok(Done {
                    result: (done.result, secret),
                    objects: done.objects,
                    subject: done.subject,
                    changes: done.changes,
                    posting: None,
                })
            },
        )
        .await
    }

    /// Refuses the key's calls until it is unblocked.
    pub async fn block_key(&self, principal: &Principal, id: &str) -> Result<Key, Error> {
        self.set_state::<act::BlockKey>(principal, id, KeyState::Blocked).await
    }

    /// Takes the block away.
    pub async fn unblock_key(&self, principal: &Principal, id: &str) -> Result<Key, Error> {
        self.set_state::<act::UnblockKey>(principal, id, KeyState::Active).await
    }

    /// Ends the key for good.
    pub async fn revoke_key(&self, principal: &Principal, id: &str) -> Result<Key, Error> {
        self.set_state::<act::RevokeKey>(principal, id, KeyState::Revoked).await
    }

    async fn set_state<A: Act>(&self, principal: &Principal, id: &str, state: KeyState) -> Result<Key, Error> {
        self.act::<A, _>(
            principal,
            |caller| self.place_of_key(caller, id),
            |authorized| {
                if state != KeyState::Active {
                    not_self(authorized, id)?;
                }
                let (mut stored, before) = self.changeable(id)?;
                stored.key_mut().set_state(state);
                if state == KeyState::Revoked {
                    stored.old_digest = None;
                    stored.old_imported_digest = None;
                }
                let change = format!("state: {} -> {}", before.state().as_str_name(), state.as_str_name());
                Ok(self.changed(stored, vec![change]))
            },
        )
        .await
    }

    /// Where a key lies; with an empty id the acting one.
    pub(crate) fn place_of_key(&self, caller: &Caller, id: &str) -> Result<Resource, Error> {
        if id.is_empty() || id == caller.key_id() {
            return Ok(Resource::of_key(caller.key()));
        }
        let place = self.entry(id).map(|entry| Resource::of_key(entry.stored().key()));
        // Somebody who reaches only a part must not learn which ids exist elsewhere: there is nothing, and nothing to reach.
        match place {
            Err(error) if !matches!(caller.role(), KeyRole::PlatformAdmin | KeyRole::Auditor) => {
                let _ = error;
                Ok(Resource { key_id: id.to_owned(), ..Resource::default() })
            }
            place => place,
        }
    }

    /// Where the key lies that a secret opens. What opens nothing and what opens a key out of reach look the same, and neither the error nor
    /// the record repeats the secret.
    fn place_of_secret(&self, caller: &Caller, secret: &str) -> Result<Resource, Error> {
        let entry = self.pipeline.keyring().find_by_text(secret, self.now_us());
        let place = entry.map(|entry| Resource::of_key(entry.stored().key()));
        let seen = place.filter(|place| is_allowed(&Actor::of(caller), Action::ReadKey, place));
        let message = "there is no key of this secret, or none that you may see";
        seen.ok_or_else(|| Error::new(ErrorReason::ResourceNotFound, message).with("resource", "key"))
    }

    pub(crate) fn entry(&self, id: &str) -> Result<Arc<KeyEntry>, Error> {
        self.pipeline.keyring().get(id).ok_or_else(|| Error::not_found("key", id))
    }

    fn changeable(&self, id: &str) -> Result<(StoredKey, Key), Error> {
        let stored = (*self.entry(id)?.stored()).clone();
        if stored.key().state() == KeyState::Revoked {
            return Err(Error::invalid_field("id", "the key was revoked for good and cannot be changed"));
        }
        let before = stored.key().clone();
        Ok((stored, before))
    }

    fn changed(&self, mut stored: StoredKey, changes: Vec<String>) -> Done<Key> {
        let now = timestamp(self.now_us());
        let key = stored.key_mut();
        key.update_time = Some(now);
        key.etag = new_id("");
        let key = key.clone();
        let subject = key.id.clone();
        Done { result: key, objects: vec![Object::new(Thing::Key(stored))], subject, changes, posting: None }
    }
}

/// A budget without window.
fn total(limit_nano_usd: i64) -> Budget {
    Budget { limit_nano_usd, ..Budget::default() }
}

/// A budget as one on a key, of the models and at the provider that it names.
fn of_key(budget: Budget, id: &str) -> Budget {
    placed(budget, &BudgetScope { kind: ScopeKind::Key as i32, id: id.to_owned(), ..BudgetScope::default() })
}

/// A budget on something that is made along with it.
pub(crate) fn placed(budget: Budget, on: &BudgetScope) -> Budget {
    let asked = budget.scope.unwrap_or_default();
    let scope =
        BudgetScope { model: asked.model, provider: asked.provider, deployment: asked.deployment, ..on.clone() };
    Budget { scope: Some(scope), ..budget }
}

/// How ids begin that follow from a secret.
const PROVISIONED: &str = "key_00000000-0000-8";

/// Of a key whose secret is given, in a configuration that replicas share, at an import or in a call, the id follows from its secret: each
/// replica makes the same one, and a second is noticed. A UUID of version 8 that stands before all that follow from the time.
pub(crate) fn provisioned_id(digest: &[u8]) -> String {
    let hex: String = digest.iter().take(9).map(|b| format!("{b:02x}")).collect();
    format!("{PROVISIONED}{}-8{}-{}", &hex[..3], &hex[3..6], &hex[6..18])
}

/// A request id as it is kept: the acting key's own. Empty stays empty.
pub(crate) fn owned<A>(authorized: &Authorized<A>, request_id: &str) -> String {
    match request_id {
        "" => String::new(),
        id => format!("{}/{id}", authorized.caller().key_id()),
    }
}

pub(crate) fn swap<T: PartialEq + std::fmt::Debug>(field: &mut T, new: T) -> String {
    let change = format!("{field:?} -> {new:?}");
    *field = new;
    change
}

fn not_self<A>(authorized: &Authorized<A>, id: &str) -> Result<(), Error> {
    if authorized.caller().key_id() == id {
        return Err(Error::invalid_field(
            "id",
            "a key cannot change, move, block or revoke itself; use another admin key",
        ));
    }
    Ok(())
}

pub(crate) fn violation(field: &str, description: &str) -> Violation {
    Violation { field: field.into(), description: description.into() }
}

fn set_fields(key: &Key) -> impl Iterator<Item = &'static str> {
    [
        ("display_name", !key.display_name.is_empty()),
        ("models", !key.models.is_empty()),
        ("default_output_cap", key.default_output_cap.is_some()),
        ("metadata", !key.metadata.is_empty()),
        ("expire_time", key.expire_time.is_some()),
        ("limits", key.limits.is_some()),
        ("tags", !key.tags.is_empty()),
        ("priority", key.priority != 0),
    ]
    .into_iter()
    .filter_map(|(name, set)| set.then_some(name))
}

pub(crate) fn check(key: &Key, now_us: i64) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut expect = |holds: bool, field: &str, description: &str| {
        if !holds {
            violations.push(violation(field, description));
        }
    };
    expect(KeyRole::try_from(key.role).is_ok(), "key.role", "is not a role that this version knows");
    expect(key.display_name.len() <= 256, "key.display_name", "must be at most 256 bytes");
    expect(key.models.len() <= 1_000, "key.models", "must have at most 1000 entries");
    expect(key.models.iter().all(|m| (1..=256).contains(&m.len())), "key.models", "entries must have 1 to 256 bytes");
    expect(key.default_output_cap.is_none_or(|cap| cap > 0), "key.default_output_cap", "must be positive");
    expect(within(&key.metadata), "key.metadata", "must have at most 32 pairs of at most 128 and 1024 bytes");
    expect(key.expire_time.is_none_or(|t| micros(&t) > now_us), "key.expire_time", "must lie in the future");
    let tags = key.tags.len() <= 32 && key.tags.iter().all(|t| (1..=128).contains(&t.len()));
    expect(tags, "key.tags", "must be at most 32 of 1 to 128 bytes");
    rights::check_limits(key.limits.as_ref(), "key.limits", &mut violations);
    violations
}

pub(crate) fn within(metadata: &HashMap<String, String>) -> bool {
    metadata.len() <= 32 && metadata.iter().all(|(k, v)| (1..=128).contains(&k.len()) && v.len() <= 1_024)
}
