use std::sync::Arc;

use tollgate_domain::{Error, Secret, micros};
use tollgate_proto::v1::{ErrorReason, Key, KeyRole, KeyState};
use tollgate_store::StoredKey;

use crate::{KeySecret, Pipeline, keyring::Found};

/// Who is calling: a key that is known and works.
#[derive(Clone)]
pub struct Caller {
    stored: Arc<StoredKey>,
}

impl Caller {
    /// Who is known without a credential: the gateway itself.
    pub(crate) fn of(stored: Arc<StoredKey>) -> Self {
        Self { stored }
    }

    /// The key's id.
    pub fn key_id(&self) -> &str {
        &self.stored.key().id
    }

    /// What it may do.
    pub fn role(&self) -> KeyRole {
        match self.stored.key().role() {
            KeyRole::Unspecified => KeyRole::Caller,
            role => role,
        }
    }

    /// The key.
    pub fn key(&self) -> &Key {
        self.stored.key()
    }

    /// What is kept of the key.
    pub fn stored(&self) -> &StoredKey {
        &self.stored
    }
}

impl Pipeline {
    /// Who holds this credential. The form is checked before anything is looked up.
    pub fn authenticate(&self, credential: Option<&Secret>) -> Result<Caller, Error> {
        let Some(credential) = credential else {
            let message = "no key came with the call; send it as `authorization: Bearer tg-...`";
            return Err(Error::new(ErrorReason::ApiKeyMissing, message));
        };
        let unknown = || Error::new(ErrorReason::ApiKeyInvalid, "the key is not valid; check that it was copied whole");
        let now_us = self.clock.now_us();
        let (secret, found) = match KeySecret::parse(credential.expose()) {
            Some(secret) => {
                let found = self.keyring().find(&secret, now_us).map(|entry| Found { entry, outdated: false });
                (secret, found)
            }
            None => {
                let secret = KeySecret::parse_foreign(credential.expose()).ok_or_else(unknown)?;
                let found = self.keyring().find_foreign(&secret, now_us);
                // Of what is nobody's key here not even the beginning is told: it may be a key to something else.
                (secret, Some(found.ok_or_else(unknown)?))
            }
        };
        let Some(Found { entry, outdated }) = found else {
            return Err(unknown().with("keyPrefix", secret.prefix()));
        };
        let stored = entry.stored();
        let refuse = |reason, message: &str| Err(Error::new(reason, message).with("keyId", &entry.id));
        match stored.key().state() {
            KeyState::Revoked if tollgate_planted::bug("revocation_cached") => {}
            KeyState::Revoked => return refuse(ErrorReason::ApiKeyRevoked, "the key was revoked; ask for a new one"),
            KeyState::Blocked => {
                return refuse(ErrorReason::ApiKeyBlocked, "the key is blocked; an administrator can unblock it");
            }
            _ => {}
        }
        if let Some(expiry) = stored.key().expire_time.filter(|t| micros(t) <= now_us) {
            return refuse(ErrorReason::ApiKeyExpired, "the key has expired; ask for a new one")
                .map_err(|e| e.with("expireTime", expiry.to_string()));
        }
        if outdated {
            self.keyring().first_uses().tell(&entry.id, || self.keyring().digest(&secret));
        }
        Ok(Caller { stored })
    }
}
