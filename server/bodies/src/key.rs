use chacha20poly1305::{
    Key, KeyInit as _, XChaCha20Poly1305, XNonce,
    aead::{Aead as _, Payload},
};
use hmac::{Hmac, Mac};
use rand::RngCore;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::Unreadable;

/// Bytes of a nonce of XChaCha20.
pub(crate) const NONCE: usize = 24;

/// 32 bytes that are wiped when they are dropped.
pub(crate) type Bytes32 = Zeroizing<[u8; 32]>;

pub(crate) fn random32() -> Bytes32 {
    let mut bytes = Zeroizing::new([0; 32]);
    rand::rng().fill_bytes(&mut *bytes);
    bytes
}

fn mac(key: &[u8; 32], label: &str, parts: &[&str]) -> [u8; 32] {
    // HMAC takes keys of any length.
    #[allow(clippy::expect_used)]
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes any key");
    mac.update(label.as_bytes());
    for part in parts {
        // With its length, so that no two lists of parts read the same.
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part.as_bytes());
    }
    mac.finalize().into_bytes().into()
}

/// Encrypts with a fresh nonce, which goes first.
pub(crate) fn seal(key: &[u8; 32], aad: &[u8], text: &[u8]) -> Result<Vec<u8>, Unreadable> {
    let mut nonce = [0; NONCE];
    rand::rng().fill_bytes(&mut nonce);
    let cipher = XChaCha20Poly1305::new(&Key::from(*key));
    let sealed = cipher.encrypt(&XNonce::from(nonce), Payload { msg: text, aad });
    // It fails only beyond 256 GiB.
    let sealed = sealed.map_err(|_| Unreadable::TooLong)?;
    Ok([&nonce[..], &sealed].concat())
}

pub(crate) fn open(key: &[u8; 32], aad: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Unreadable> {
    let (nonce, text) = sealed.split_first_chunk::<NONCE>().ok_or(Unreadable::Damaged)?;
    let cipher = XChaCha20Poly1305::new(&Key::from(*key));
    let open = cipher.decrypt(&XNonce::from(*nonce), Payload { msg: text, aad });
    open.map(Zeroizing::new).map_err(|_| Unreadable::Damaged)
}

pub(crate) fn open32(key: &[u8; 32], aad: &[u8], sealed: &[u8]) -> Result<Bytes32, Unreadable> {
    let open = open(key, aad, sealed)?;
    let bytes: [u8; 32] = open.as_slice().try_into().map_err(|_| Unreadable::Damaged)?;
    Ok(Zeroizing::new(bytes))
}

/// The gateway's own key: every [`Kek`] is kept encrypted under it, and subjects go by names that it makes.
#[derive(Clone)]
pub struct Root(Bytes32);

impl Root {
    /// Out of what the gateway keeps secret, of any length.
    pub fn new(secret: &[u8]) -> Self {
        use sha2::Digest;
        let own = Sha256::new().chain_update("tollgate: root of body keys\0").chain_update(secret);
        Self(Zeroizing::new(own.finalize().into()))
    }

    /// What a subject goes by in tables and records, in hexadecimal: `kind` is `key`, `user` or `end_user`. Without the root nobody can tell
    /// whose it is.
    pub fn pseudonym(&self, kind: &str, id: &str) -> String {
        mac(&self.0, "subject", &[kind, id]).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// A new key, by its id.
    pub fn make(&self, id: &str) -> Kek {
        Kek { id: id.to_owned(), key: random32() }
    }

    /// As a key is kept.
    pub fn wrap(&self, kek: &Kek) -> Result<Vec<u8>, Unreadable> {
        seal(&self.0, &of_kek(&kek.id), &*kek.key)
    }

    /// A key, as it was kept.
    pub fn unwrap(&self, id: &str, wrapped: &[u8]) -> Result<Kek, Unreadable> {
        Ok(Kek { id: id.to_owned(), key: open32(&self.0, &of_kek(id), wrapped)? })
    }
}

fn of_kek(id: &str) -> Vec<u8> {
    [b"tollgate kek v1\0", id.as_bytes()].concat()
}

/// The key of one subject and month.
pub struct Kek {
    pub(crate) id: String,
    pub(crate) key: Bytes32,
}

impl Kek {
    /// Its id: what records name.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The salt of the commitment to one body of a call; `kind` is `request` or `answer`. It is gone with the key, and nothing is stored.
    pub fn salt(&self, call_id: &str, kind: &str) -> [u8; 32] {
        mac(&self.key, "salt", &[call_id, kind])
    }
}

/// A salt that nothing derives: kept in the envelope of a body, or thrown away.
pub fn random_salt() -> [u8; 32] {
    *random32()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_key_comes_back_under_its_own_root_and_id_alone() {
        let root = Root::new(b"secret");
        let kek = root.make("kek_1");
        let wrapped = root.wrap(&kek).unwrap();
        assert_eq!(root.unwrap("kek_1", &wrapped).unwrap().salt("c", "request"), kek.salt("c", "request"));
        assert!(root.unwrap("kek_2", &wrapped).is_err());
        assert!(Root::new(b"other").unwrap("kek_1", &wrapped).is_err());
        assert!(!wrapped.windows(32).any(|w| w == &kek.key[..]), "the key does not stand in it in clear");
    }

    #[test]
    fn salts_differ_by_call_and_kind_and_key() {
        let root = Root::new(b"secret");
        let (a, b) = (root.make("a"), root.make("b"));
        let salts = [a.salt("1", "request"), a.salt("1", "answer"), a.salt("2", "request"), b.salt("1", "request")];
        assert_eq!(std::collections::HashSet::from(salts).len(), 4);
    }

    #[test]
    fn a_subject_has_one_name_that_tells_nothing_of_it() {
        let root = Root::new(b"secret");
        assert_eq!(root.pseudonym("user", "ann"), root.pseudonym("user", "ann"));
        assert_ne!(root.pseudonym("user", "ann"), root.pseudonym("end_user", "ann"));
        assert_ne!(root.pseudonym("user", "ann"), Root::new(b"other").pseudonym("user", "ann"));
        assert_eq!(root.pseudonym("user", "ann").len(), 64);
    }
}
