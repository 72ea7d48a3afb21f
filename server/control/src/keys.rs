use std::collections::HashMap;

use tollgate_domain::{Error, Violation, micros, new_id, timestamp};
use tollgate_ledger::AdminChange;
use tollgate_pipeline::{KeyEntry, KeySecret};
use tollgate_proto::v1::{
    Budget, BudgetEnforcement, CreateKeyRequest, ErrorReason, Key, KeyRole, KeyState, UpdateKeyRequest,
};
use tollgate_store::StoredKey;

use crate::{Action, Authorized, Control, Done, Principal, page};

/// A key and the secret that is shown once.
pub struct Minted {
    /// The key.
    pub key: Key,
    /// Its secret; `None` when an earlier call made it.
    pub secret: Option<KeySecret>,
    /// Its budget's id, or empty.
    pub budget_id: String,
}

const MAX_GRACE_SECONDS: i64 = 604_800;

impl Control {
    /// Makes a key, and a budget with it where one is asked for.
    pub async fn create_key(&self, principal: &Principal, request: CreateKeyRequest) -> Result<Minted, Error> {
        self.act(principal, Action::CreateKey, |_| {
            let key = request.key.unwrap_or_default();
            let mut violations = check(&key, self.now_us());
            if request.budget_nano_usd.is_some_and(|limit| limit < 0) {
                violations.push(violation("budget_nano_usd", "must not be negative"));
            }
            if request.request_id.len() > 128 {
                violations.push(violation("request_id", "must be at most 128 bytes"));
            }
            if KeyRole::try_from(key.role).is_err() {
                violations.push(violation("key.role", "is not a role that this version knows"));
            }
            if !violations.is_empty() {
                return Err(Error::invalid(violations));
            }
            if !request.request_id.is_empty()
                && let Some(made) = self.pipeline.keyring().made_by(&request.request_id)
            {
                let key = made.key_at(self.now_us());
                let budget_id =
                    self.pipeline.ledger().account(&key.id).map(|a| a.budget_id.clone()).unwrap_or_default();
                let subject = key.id.clone();
                let result = Minted { key, secret: None, budget_id };
                return Ok(Done { result, change: AdminChange::default(), subject, changes: vec!["repeated".into()] });
            }
            Ok(self.mint(key, request.request_id, request.budget_nano_usd, None))
        })
        .await
    }

    /// A key whose secret the operator wrote into the configuration; made at the start, once.
    pub fn provision(&self, key: Key, secret: &KeySecret, budget_nano_usd: Option<i64>) -> bool {
        let _one_at_a_time = self.acting.lock();
        if self.pipeline.keyring().find(secret, self.now_us()).is_some() {
            return false;
        }
        let done = self.mint(key, String::new(), budget_nano_usd, Some(secret.clone()));
        if let Some(key) = &done.change.key {
            self.pipeline.keyring().put(key.clone());
        }
        let mut draft = tollgate_audit::Draft::open("key.provision", None);
        draft.subject(&done.subject, done.changes);
        self.pipeline.ledger().change(done.change, draft.close(None, 0));
        true
    }

    fn mint(&self, asked: Key, request_id: String, budget: Option<i64>, secret: Option<KeySecret>) -> Done<Minted> {
        let secret = secret.unwrap_or_else(|| KeySecret::generate(&mut rand::rng()));
        let now = Some(timestamp(self.now_us()));
        let key = Key {
            id: new_id("key_"),
            prefix: secret.prefix().to_owned(),
            role: if asked.role == 0 { KeyRole::Caller as i32 } else { asked.role },
            state: KeyState::Active as i32,
            create_time: now,
            update_time: now,
            etag: new_id(""),
            ..asked
        };
        let digest = self.pipeline.keyring().digest(&secret);
        let stored = StoredKey { key: key.clone(), digest, old_digest: None, old_until_us: 0, request_id };
        let budget = budget.map(|limit| new_budget(&key.id, limit, BudgetEnforcement::Hard, self.now_us()));
        let budget_id = budget.as_ref().map(|b| b.id.clone()).unwrap_or_default();
        let changes = vec![
            format!("display_name: {:?}", key.display_name),
            format!("role: {}", key.role().as_str_name()),
            format!("models: {:?}", key.models),
            format!("budget_nano_usd: {:?}", budget.as_ref().map(|b| b.limit_nano_usd)),
        ];
        let subject = key.id.clone();
        let change = AdminChange { key: Some(stored), budget, budget_deleted: None };
        Done { result: Minted { key, secret: Some(secret), budget_id }, change, subject, changes }
    }

    /// One key; with an empty id the one that asks.
    pub async fn get_key(&self, principal: &Principal, id: &str) -> Result<Key, Error> {
        let own = self.is_own(principal, id);
        let authorized = self.allowed(principal, if own { Action::ReadOwnKey } else { Action::ReadKeys })?;
        let id = if id.is_empty() { authorized.caller().key_id() } else { id };
        Ok(self.entry(id)?.key_at(self.now_us()))
    }

    /// A page of keys, oldest first, and the token of the next.
    pub async fn list_keys(&self, principal: &Principal, size: i32, token: &str) -> Result<(Vec<Key>, String), Error> {
        self.allowed(principal, Action::ReadKeys)?;
        let size = page::size(size, 100)?;
        let after = page::cursor("keys", token)?;
        let now_us = self.now_us();
        let all = self.pipeline.keyring().all();
        let rest = &all[all.partition_point(|e| *e.id <= *after)..];
        let keys: Vec<_> = rest.iter().take(size).map(|e| e.key_at(now_us)).collect();
        let next = if rest.len() > size { page::token("keys", &keys[size - 1].id) } else { String::new() };
        Ok((keys, next))
    }

    /// Changes the fields of the mask.
    pub async fn update_key(&self, principal: &Principal, request: UpdateKeyRequest) -> Result<Key, Error> {
        self.act(principal, Action::UpdateKey, |_| {
            let asked = request.key.unwrap_or_default();
            let (mut stored, before) = self.changeable(&asked.id)?;
            if !asked.etag.is_empty() && asked.etag != before.etag {
                let message = "the key was changed by somebody else; read it again, then repeat the change";
                return Err(Error::new(ErrorReason::EtagMismatch, message));
            }
            let violations = check(&asked, self.now_us());
            if !violations.is_empty() {
                return Err(Error::invalid(violations));
            }
            let mut paths: Vec<String> = request.update_mask.map(|m| m.paths).unwrap_or_default();
            if paths.is_empty() {
                paths = set_fields(&asked).map(str::to_owned).collect();
            }
            let mut changes = Vec::new();
            for path in &paths {
                let key = &mut stored.key;
                let change = match path.as_str() {
                    "display_name" => swap(&mut key.display_name, asked.display_name.clone()),
                    "models" => swap(&mut key.models, asked.models.clone()),
                    "default_output_cap" => swap(&mut key.default_output_cap, asked.default_output_cap),
                    "metadata" => {
                        key.metadata.clone_from(&asked.metadata);
                        "changed".to_owned()
                    }
                    "expire_time" => swap(&mut key.expire_time, asked.expire_time),
                    other => {
                        let message = format!("{other:?} cannot be changed; display_name, models, default_output_cap, metadata and expire_time can");
                        return Err(Error::invalid_field("update_mask", message));
                    }
                };
                changes.push(format!("{path}: {change}"));
            }
            Ok(self.changed(stored, changes))
        })
        .await
    }

    /// Gives the key a new secret; the old one works on for `grace_seconds`.
    pub async fn rotate_key(
        &self,
        principal: &Principal,
        id: &str,
        grace_seconds: i64,
    ) -> Result<(Key, KeySecret), Error> {
        self.act(principal, Action::RotateKey, |_| {
            if !(0..=MAX_GRACE_SECONDS).contains(&grace_seconds) {
                return Err(Error::invalid_field("grace_seconds", "must be 0 to 604800"));
            }
            let (mut stored, _) = self.changeable(id)?;
            let secret = KeySecret::generate(&mut rand::rng());
            let old = std::mem::replace(&mut stored.digest, self.pipeline.keyring().digest(&secret));
            stored.old_digest = (grace_seconds > 0).then_some(old);
            stored.old_until_us = self.now_us().saturating_add(grace_seconds.saturating_mul(1_000_000));
            stored.key.prefix = secret.prefix().to_owned();
            let done = self.changed(stored, vec![format!("secret: rotated, grace {grace_seconds} s")]);
            Ok(Done {
                result: (done.result, secret),
                change: done.change,
                subject: done.subject,
                changes: done.changes,
            })
        })
        .await
    }

    /// Refuses the key's calls until it is unblocked.
    pub async fn block_key(&self, principal: &Principal, id: &str) -> Result<Key, Error> {
        self.set_state(principal, Action::BlockKey, id, KeyState::Blocked).await
    }

    /// Takes the block away.
    pub async fn unblock_key(&self, principal: &Principal, id: &str) -> Result<Key, Error> {
        self.set_state(principal, Action::UnblockKey, id, KeyState::Active).await
    }

    /// Ends the key for good.
    pub async fn revoke_key(&self, principal: &Principal, id: &str) -> Result<Key, Error> {
        self.set_state(principal, Action::RevokeKey, id, KeyState::Revoked).await
    }

    async fn set_state(&self, principal: &Principal, action: Action, id: &str, state: KeyState) -> Result<Key, Error> {
        self.act(principal, action, |authorized| {
            not_self(authorized, id, state)?;
            let (mut stored, before) = self.changeable(id)?;
            stored.key.set_state(state);
            if state == KeyState::Revoked {
                stored.old_digest = None;
            }
            let change = format!("state: {} -> {}", before.state().as_str_name(), state.as_str_name());
            Ok(self.changed(stored, vec![change]))
        })
        .await
    }

    pub(crate) fn is_own(&self, principal: &Principal, id: &str) -> bool {
        id.is_empty() || self.pipeline.authenticate(principal.credential.as_ref()).is_ok_and(|c| c.key_id() == id)
    }

    pub(crate) fn entry(&self, id: &str) -> Result<std::sync::Arc<KeyEntry>, Error> {
        self.pipeline.keyring().get(id).ok_or_else(|| Error::not_found("key", id))
    }

    fn changeable(&self, id: &str) -> Result<(StoredKey, Key), Error> {
        let stored = (*self.entry(id)?.stored()).clone();
        if stored.key.state() == KeyState::Revoked {
            return Err(Error::invalid_field("id", "the key was revoked for good and cannot be changed"));
        }
        let before = stored.key.clone();
        Ok((stored, before))
    }

    fn changed(&self, mut stored: StoredKey, changes: Vec<String>) -> Done<Key> {
        stored.key.update_time = Some(timestamp(self.now_us()));
        stored.key.etag = new_id("");
        let key = stored.key.clone();
        let subject = key.id.clone();
        Done { result: key, change: AdminChange { key: Some(stored), ..AdminChange::default() }, subject, changes }
    }
}

/// A new budget on a key.
pub(crate) fn new_budget(key_id: &str, limit: i64, enforcement: BudgetEnforcement, now_us: i64) -> Budget {
    let now = Some(timestamp(now_us));
    Budget {
        id: new_id("bud_"),
        key_id: key_id.to_owned(),
        limit_nano_usd: limit,
        enforcement: enforcement as i32,
        create_time: now,
        update_time: now,
        etag: new_id(""),
        ..Budget::default()
    }
}

pub(crate) fn swap<T: PartialEq + std::fmt::Debug>(field: &mut T, new: T) -> String {
    let change = format!("{field:?} -> {new:?}");
    *field = new;
    change
}

fn not_self(authorized: &Authorized, id: &str, state: KeyState) -> Result<(), Error> {
    if state != KeyState::Active && authorized.caller().key_id() == id {
        return Err(Error::invalid_field("id", "a key cannot block or revoke itself; use another admin key"));
    }
    Ok(())
}

fn violation(field: &str, description: &str) -> Violation {
    Violation { field: field.into(), description: description.into() }
}

fn set_fields(key: &Key) -> impl Iterator<Item = &'static str> {
    [
        ("display_name", !key.display_name.is_empty()),
        ("models", !key.models.is_empty()),
        ("default_output_cap", key.default_output_cap.is_some()),
        ("metadata", !key.metadata.is_empty()),
        ("expire_time", key.expire_time.is_some()),
    ]
    .into_iter()
    .filter_map(|(name, set)| set.then_some(name))
}

fn check(key: &Key, now_us: i64) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut expect = |holds: bool, field: &str, description: &str| {
        if !holds {
            violations.push(violation(field, description));
        }
    };
    expect(key.display_name.len() <= 256, "key.display_name", "must be at most 256 bytes");
    expect(key.models.len() <= 1_000, "key.models", "must have at most 1000 entries");
    expect(key.models.iter().all(|m| (1..=256).contains(&m.len())), "key.models", "entries must have 1 to 256 bytes");
    expect(key.default_output_cap.is_none_or(|cap| cap > 0), "key.default_output_cap", "must be positive");
    expect(within(&key.metadata), "key.metadata", "must have at most 32 pairs of at most 128 and 1024 bytes");
    expect(key.expire_time.is_none_or(|t| micros(&t) > now_us), "key.expire_time", "must lie in the future");
    violations
}

fn within(metadata: &HashMap<String, String>) -> bool {
    metadata.len() <= 32 && metadata.iter().all(|(k, v)| (1..=128).contains(&k.len()) && v.len() <= 1_024)
}
