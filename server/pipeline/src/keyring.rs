//! Virtual keys in memory, by digest: what authentication reads without asking anybody.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use arc_swap::ArcSwap;
use dashmap::DashMap;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest as _, Sha256};
use tollgate_domain::micros;
use tollgate_proto::v1::{Key, KeyState};
use tollgate_store::StoredKey;

use crate::{KeySecret, first_use::FirstUses};

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
    /// How many keys are opened by a secret that is still kept as another gateway hashed it: without one nobody looks for one.
    imported: AtomicUsize,
    first_uses: FirstUses,
}

/// A key that a secret opens.
pub(crate) struct Found {
    pub(crate) entry: Arc<KeyEntry>,
    /// It is still kept as another gateway hashed it.
    pub(crate) outdated: bool,
}

impl KeyRing {
    /// An empty ring. Digests are keyed by `pepper`, which is kept apart from the store.
    pub fn new(pepper: &[u8]) -> Self {
        // HMAC takes keys of any length.
        #[allow(clippy::expect_used)]
        let pepper = Hmac::new_from_slice(pepper).expect("HMAC takes any key");
        Self {
            pepper,
            by_digest: DashMap::new(),
            by_id: DashMap::new(),
            imported: AtomicUsize::new(0),
            first_uses: FirstUses::default(),
        }
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

    /// The digest under which a key is kept of which only another gateway's hash is known: never that hash itself, which a thief of the
    /// store could try words against.
    pub fn imported_digest(&self, sha256: &[u8]) -> Vec<u8> {
        self.imported_hash(sha256).to_vec()
    }

    fn imported_hash(&self, sha256: &[u8]) -> Digest {
        let mut mac = self.pepper.clone();
        // No secret that is presented begins so.
        mac.update(b"\0sha256\0");
        mac.update(sha256);
        mac.finalize().into_bytes().into()
    }

    /// The key that a secret of another gateway's form opens at `now_us`. What is compared are keyed digests, of which nobody outside can
    /// choose the beginning: how long a comparison takes tells nothing.
    pub(crate) fn find_foreign(&self, secret: &KeySecret, now_us: i64) -> Option<Found> {
        if let Some(entry) = self.find(secret, now_us) {
            return Some(Found { entry, outdated: false });
        }
        if self.imported.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let digest = self.imported_hash(&Sha256::digest(secret.expose().as_bytes()));
        let entry = self.by_digest.get(&digest)?.clone();
        let stored = entry.stored.load();
        let is = |kept: &Option<Vec<u8>>| kept.as_deref() == Some(digest.as_slice());
        let (is_imported, is_old) = (is(&stored.imported_digest), is(&stored.old_imported_digest));
        // With a digest of our own beside it, it is what a rotation has left, as is the one before it.
        let outdated = is_imported && stored.digest.is_empty();
        let in_grace = (is_imported || is_old) && now_us < stored.old_until_us;
        (outdated || in_grace).then_some(Found { entry: entry.clone(), outdated })
    }

    /// The key that a text opens, of our form or of another gateway's.
    pub fn find_by_text(&self, text: &str, now_us: i64) -> Option<Arc<KeyEntry>> {
        match KeySecret::parse(text) {
            Some(secret) => self.find(&secret, now_us),
            None => Some(self.find_foreign(&KeySecret::parse_foreign(text)?, now_us)?.entry),
        }
    }

    /// Whether a secret opens a key, or was the last to open it, whatever has become of the key.
    pub fn knows(&self, secret: &KeySecret) -> bool {
        let former = self.imported_hash(&Sha256::digest(secret.expose().as_bytes()));
        [self.hash(secret), former].iter().any(|digest| self.by_digest.contains_key(digest))
    }

    /// Whether a digest is that of a secret that opens a key, or was the last to open it.
    pub fn holds(&self, digest: &[u8]) -> bool {
        Digest::try_from(digest).is_ok_and(|digest| self.by_digest.contains_key(&digest))
    }

    /// Keys that were used for the first time here and are still kept as another gateway hashed them.
    pub fn first_uses(&self) -> &FirstUses {
        &self.first_uses
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
        let digests = digests_of(&stored);
        let id = stored.key().id.clone();
        if is_foreign(&stored) {
            self.imported.fetch_add(1, Ordering::Relaxed);
        }
        let entry = match self.get(&id) {
            Some(entry) => {
                let before = entry.stored.swap(Arc::new(stored));
                for gone in digests_of(&before).iter().filter(|gone| !digests.contains(gone)) {
                    self.by_digest.remove(gone);
                }
                if is_foreign(&before) {
                    self.imported.fetch_sub(1, Ordering::Relaxed);
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

fn digests_of(stored: &StoredKey) -> Vec<Digest> {
    let own = [Some(&stored.digest), stored.old_digest.as_ref()];
    let imported = [stored.imported_digest.as_ref(), stored.old_imported_digest.as_ref()];
    own.into_iter().chain(imported).flatten().filter_map(|d| d.as_slice().try_into().ok()).collect()
}

/// Whether a secret opens it that is still kept as another gateway hashed it.
fn is_foreign(stored: &StoredKey) -> bool {
    stored.imported_digest.is_some() || stored.old_imported_digest.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_imported_key_is_found_by_its_former_hash_until_it_has_one_of_our_own() {
        let ring = KeyRing::new(b"pepper");
        let secret = KeySecret::parse_foreign("sk-old").unwrap();
        let sha256 = Sha256::digest(b"sk-old");
        let mut kept = StoredKey::imported(Key { id: "key_1".into(), ..Key::default() }, ring.imported_digest(&sha256));
        ring.put(kept.clone());
        assert!(ring.find_foreign(&secret, 0).unwrap().outdated);
        // A rotation leaves it for its grace, and no longer outdated: there is a new secret.
        let mut rotated = kept.clone();
        (rotated.digest, rotated.old_until_us) = (ring.digest(&KeySecret::generate(&mut rand::rng())), 10);
        ring.put(rotated);
        assert!(!ring.find_foreign(&secret, 9).unwrap().outdated);
        assert!(ring.find_foreign(&secret, 10).is_none());
        (kept.digest, kept.imported_digest) = (ring.digest(&secret), None);
        ring.put(kept);
        assert!(!ring.find_foreign(&secret, 50).unwrap().outdated);
        assert_eq!(ring.imported.load(Ordering::Relaxed), 0);
        assert_eq!(ring.by_digest.len(), 1, "no digest of before is left");
    }

    #[test]
    fn the_secret_before_an_imported_one_opens_the_same_key_until_its_end() {
        let ring = KeyRing::new(b"pepper");
        let (old, secret) = (KeySecret::parse_foreign("sk-old").unwrap(), KeySecret::parse_foreign("sk-new").unwrap());
        let imported = |secret: &[u8]| ring.imported_digest(&Sha256::digest(secret));
        let mut kept = StoredKey::imported(Key { id: "key_1".into(), ..Key::default() }, imported(b"sk-new"));
        (kept.old_imported_digest, kept.old_until_us) = (Some(imported(b"sk-old")), 10);
        ring.put(kept.clone());
        // It tells nothing of the secret that the key is kept by from its first use on.
        assert!(!ring.find_foreign(&old, 9).unwrap().outdated);
        assert!(ring.find_foreign(&old, 10).is_none());
        assert!(ring.find_foreign(&secret, 50).unwrap().outdated);
        (kept.digest, kept.imported_digest) = (ring.digest(&secret), None);
        ring.put(kept.clone());
        assert!(!ring.find_foreign(&old, 9).unwrap().outdated, "also once the other is kept anew");
        assert!(ring.find_foreign(&old, 10).is_none() && ring.find_foreign(&secret, 50).is_some());
        kept.old_imported_digest = None;
        ring.put(kept);
        assert!(ring.find_foreign(&old, 9).is_none());
        assert_eq!((ring.imported.load(Ordering::Relaxed), ring.by_digest.len()), (0, 1));
    }

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
