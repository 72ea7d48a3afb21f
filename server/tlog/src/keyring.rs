use tollgate_proto::v1::KeyRotated;

use crate::{KeyError, SigningKey, VerifierKey};

/// Why a leaf does not hand over from one key to another.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RotationError {
    /// A key in it cannot be read.
    #[error("{field}: {error}")]
    Key {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        error: KeyError,
    },
    /// A signature does not fit.
    #[error("{field}: not the signature of its key over both keys")]
    Signature {
        /// The field.
        field: &'static str,
    },
    /// The new key goes by another name.
    #[error("new_key: its name is not the old key's")]
    Renamed,
}

fn text(old: &str, new: &str) -> String {
    format!("tollgate.dev/audit/key-rotation/v1\n{old}\n{new}\n")
}

/// Hands over from `old` to `new`: the leaf for the root log.
pub fn rotate(old: &SigningKey, new: &SigningKey) -> KeyRotated {
    let (old_key, new_key) = (old.verifier().to_string(), new.verifier().to_string());
    let text = text(&old_key, &new_key);
    KeyRotated {
        old_signature: old.sign(text.as_bytes()).into(),
        new_signature: new.sign(text.as_bytes()).into(),
        old_key,
        new_key,
    }
}

/// The keys that are trusted: those that the reader brought, and those tied to them by rotations that both keys signed.
#[derive(Clone, Debug)]
pub struct Keyring {
    trusted: Vec<VerifierKey>,
    rotations: Vec<(VerifierKey, VerifierKey)>,
}

impl Keyring {
    /// Trusts these keys.
    pub fn new(keys: Vec<VerifierKey>) -> Self {
        Self { trusted: keys, rotations: Vec::new() }
    }

    /// Takes a rotation from the root log, in its order.
    pub fn take(&mut self, rotated: &KeyRotated) -> Result<(), RotationError> {
        let read = |field, key: &str| key.parse().map_err(|error| RotationError::Key { field, error });
        let old: VerifierKey = read("old_key", &rotated.old_key)?;
        let new: VerifierKey = read("new_key", &rotated.new_key)?;
        let text = text(&rotated.old_key, &rotated.new_key);
        if !old.signed(text.as_bytes(), &rotated.old_signature) {
            return Err(RotationError::Signature { field: "old_signature" });
        }
        if !new.signed(text.as_bytes(), &rotated.new_signature) {
            return Err(RotationError::Signature { field: "new_signature" });
        }
        if old.name() != new.name() {
            return Err(RotationError::Renamed);
        }
        self.rotations.push((old, new));
        self.spread();
        Ok(())
    }

    /// Either key vouches for the other: who brings the newest key must be able to read what the oldest signed.
    fn spread(&mut self) {
        let mut grown = true;
        while grown {
            grown = false;
            for (old, new) in &self.rotations {
                let missing = match (self.trusted.contains(old), self.trusted.contains(new)) {
                    (true, false) => new,
                    (false, true) => old,
                    _ => continue,
                };
                self.trusted.push(missing.clone());
                grown = true;
            }
        }
    }

    /// All that are trusted.
    pub fn trusted(&self) -> &[VerifierKey] {
        &self.trusted
    }

    /// Those that may sign what is newest: keys that no other has replaced.
    pub fn current(&self) -> impl Iterator<Item = &VerifierKey> {
        self.trusted.iter().filter(|key| !self.rotations.iter().any(|(old, _)| old == *key))
    }
}
