use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD};
use ring::digest::{Context, SHA256};

/// SHA-256 of a leaf or a node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// How many bytes it has.
    pub const BYTES: usize = 32;

    /// The hash in these bytes, where there are 32.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The hash in this base64 text, where it is one.
    pub fn from_base64(text: &str) -> Option<Self> {
        Self::from_slice(&STANDARD.decode(text).ok()?)
    }

    /// The root of the tree without leaves.
    pub fn of_nothing() -> Self {
        finish(Context::new(&SHA256))
    }
}

/// In base64, as in checkpoints.
impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The hash of a leaf: over a zero byte and the record's bytes.
pub fn leaf_hash(record: &[u8]) -> Hash {
    let mut context = Context::new(&SHA256);
    context.update(&[0]);
    context.update(record);
    finish(context)
}

/// The hash of a node over two: over a byte of one and both.
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut bytes = [1; 1 + 2 * Hash::BYTES];
    bytes[1..=Hash::BYTES].copy_from_slice(&left.0);
    bytes[1 + Hash::BYTES..].copy_from_slice(&right.0);
    let mut context = Context::new(&SHA256);
    context.update(&bytes);
    finish(context)
}

fn finish(context: Context) -> Hash {
    let mut hash = [0; Hash::BYTES];
    hash.copy_from_slice(context.finish().as_ref());
    Hash(hash)
}
