//! Virtual keys in memory, by digest: what authentication reads without asking anybody.

use std::sync::Arc;

use arc_swap::ArcSwap;
use dashmap::DashMap;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tollgate_domain::micros;
use tollgate_proto::v1::{Key, KeyState};
use tollgate_store::StoredKey;

use crate::KeySecret;

type Digest = [u8; 32];

/// A virtual key as it stands now.
pub struct KeyEntry {
    /// Its id.
    pub id: String,
    stored: ArcSwap<StoredKey>,
}

impl KeyEntry {
    /// What is kept of it.
    pub fn stored(&self) -> Arc<StoredKey> {
        self.stored.load_full()
    }

    /// The key with its state at `now_us`.
    pub fn key_at(&self, now_us: i64) -> Key {
        let mut key = self.stored.load().key().clone();
        if key.state() == KeyState::Active && key.expire_time.as_ref().is_some_and(|t| micros(t) <= now_us) {
            key.set_state(KeyState::Expired);
        }
        key
    }
}

/// All virtual keys.
pub struct KeyRing {
    pepper: Hmac<Sha256>,
    by_digest: DashMap<Digest, Arc<KeyEntry>>,
    by_id: DashMap<String, Arc<KeyEntry>>,
}

impl KeyRing {
    /// An empty ring. Digests are keyed by `pepper`, which is kept apart from the store.
    pub fn new(pepper: &[u8]) -> Self {
        // HMAC takes keys of any length.
        #[allow(clippy::expect_used)]
        let pepper = Hmac::new_from_slice(pepper).expect("HMAC takes any key");
        Self { pepper, by_digest: DashMap::new(), by_id: DashMap::new() }
    }

    /// The digest under which a secret is kept.
    pub fn digest(&self, secret: &KeySecret) -> Vec<u8> {
        self.hash(secret).to_vec()
    }

    fn hash(&self, secret: &KeySecret) -> Digest {
        let mut mac = self.pepper.clone();
        mac.update(secret.expose().as_bytes());
        mac.finalize().into_bytes().into()
    }

    /// The key that a secret opens at `now_us`.
    pub fn find(&self, secret: &KeySecret, now_us: i64) -> Option<Arc<KeyEntry>> {
        let digest = self.hash(secret);
        let entry = self.by_digest.get(&digest)?.clone();
        let stored = entry.stored.load();
        let current = stored.digest == digest;
        let in_grace = stored.old_digest.as_deref() == Some(&digest) && now_us < stored.old_until_us;
        (current || in_grace).then_some(entry.clone())
    }

    /// The key of this id.
    pub fn get(&self, id: &str) -> Option<Arc<KeyEntry>> {
        self.by_id.get(id).map(|e| e.clone())
    }

    /// Every key, oldest first.
    pub fn all(&self) -> Vec<Arc<KeyEntry>> {
        let mut all: Vec<_> = self.by_id.iter().map(|e| e.clone()).collect();
        all.sort_by(|a, b| a.id.cmp(&b.id)); // ids are UUIDv7: creation order
        all
    }

    /// Takes a new or changed key.
    pub fn put(&self, stored: StoredKey) {
        let digests: Vec<Digest> = [Some(&stored.digest), stored.old_digest.as_ref()]
            .into_iter()
            .flatten()
            .filter_map(|d| d.as_slice().try_into().ok())
            .collect();
        let id = stored.key().id.clone();
        let entry = match self.get(&id) {
            Some(entry) => {
                let before = entry.stored.swap(Arc::new(stored));
                for gone in [Some(&before.digest), before.old_digest.as_ref()].into_iter().flatten() {
                    if let Ok(gone) = Digest::try_from(gone.as_slice())
                        && !digests.contains(&gone)
                    {
                        self.by_digest.remove(&gone);
                    }
                }
                entry
            }
            None => {
                let entry = Arc::new(KeyEntry { id: id.clone(), stored: ArcSwap::from_pointee(stored) });
                self.by_id.insert(id, entry.clone());
                entry
            }
        };
        for digest in digests {
            self.by_digest.insert(digest, entry.clone());
        }
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(ring: &KeyRing, secret: &KeySecret) -> StoredKey {
        let key = Key { id: "key_1".into(), state: KeyState::Active as i32, ..Key::default() };
        StoredKey::new(key, ring.digest(secret))
    }

    #[test]
    fn a_rotated_secret_works_until_its_grace_is_over() {
        let ring = KeyRing::new(b"pepper");
        let (old, new) = (KeySecret::generate(&mut rand::rng()), KeySecret::generate(&mut rand::rng()));
        ring.put(stored(&ring, &old));
        assert!(ring.find(&old, 0).is_some());
        let mut rotated = stored(&ring, &new);
        (rotated.old_digest, rotated.old_until_us) = (Some(ring.digest(&old)), 10);
        ring.put(rotated);
        assert!(ring.find(&new, 50).is_some());
        assert!(ring.find(&old, 9).is_some());
        assert!(ring.find(&old, 10).is_none());
    }

    #[test]
    fn another_pepper_finds_nothing() {
        let ring = KeyRing::new(b"pepper");
        let secret = KeySecret::generate(&mut rand::rng());
        let kept = stored(&ring, &secret);
        let other = KeyRing::new(b"other");
        other.put(kept);
        assert!(other.find(&secret, 0).is_none());
    }
}
