//! Proofs of RFC 9162: which stored hashes they need, what they say, and whether they hold.

use crate::{Hash, node_hash};

/// Hashes that lie side by side in one tile: `count` of them from `first` on. At level 0 they are leaves, above it roots of full tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// Level of the tile.
    pub level: u8,
    /// Index of the first hash within its level.
    pub first: u64,
    /// How many, 1 to 256.
    pub count: u16,
}

/// A perfect subtree of the binary tree: `2^height` leaves, `index * 2^height` the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) height: u8,
    index: u64,
}

impl Node {
    /// The perfect subtrees over leaves `first..end` from left to right. `first` is a multiple of the greatest of them.
    pub(crate) fn cover(first: u64, end: u64) -> Vec<Self> {
        let (mut at, mut nodes) = (first, Vec::new());
        while at < end {
            let height = (end - at).ilog2() as u8;
            nodes.push(Self { height, index: at >> height });
            at += 1 << height;
        }
        nodes
    }

    fn span(self) -> Span {
        let (level, inside) = (self.height / 8, self.height % 8);
        Span { level, first: self.index << inside, count: 1 << inside }
    }

    /// Its root, from the hashes that are stored.
    pub(crate) fn resolve<E>(self, read: &mut impl FnMut(Span) -> Result<Vec<Hash>, E>) -> Result<Hash, E> {
        let mut hashes = read(self.span())?;
        debug_assert_eq!(hashes.len(), usize::from(self.span().count), "{:?}", self.span());
        while hashes.len() > 1 {
            hashes = hashes.chunks_exact(2).map(|pair| node_hash(&pair[0], &pair[1])).collect();
        }
        Ok(hashes.first().copied().unwrap_or_else(Hash::of_nothing))
    }
}

/// The hashes of a proof before they are read: each is folded from perfect subtrees.
///
/// First [`Plan::spans`] says what to fetch, however long that takes; then [`Plan::resolve`] computes.
#[derive(Clone, Debug)]
pub struct Plan(Vec<Vec<Node>>);

impl Plan {
    /// The root of the tree of the first `size` leaves: one hash.
    pub fn root(size: u64) -> Self {
        Self(vec![Node::cover(0, size)])
    }

    /// That the leaf `index` is in the tree of `size` leaves.
    pub fn inclusion(index: u64, size: u64) -> Result<Self, ProofError> {
        if index >= size {
            return Err(ProofError::OutOfRange { index, size });
        }
        let (mut first, mut end, mut path) = (0, size, Vec::new());
        while end - first > 1 {
            let middle = first + split(end - first);
            if index < middle {
                path.push(Node::cover(middle, end));
                end = middle;
            } else {
                path.push(Node::cover(first, middle));
                first = middle;
            }
        }
        path.reverse();
        Ok(Self(path))
    }

    /// That the tree of `old` leaves is how the tree of `new` leaves began.
    pub fn consistency(old: u64, new: u64) -> Result<Self, ProofError> {
        if old > new {
            return Err(ProofError::Shrunk { old, new });
        }
        if old == 0 || old == new {
            return Ok(Self(Vec::new()));
        }
        let (mut first, mut end, mut path) = (0, new, Vec::new());
        while old != end {
            let middle = first + split(end - first);
            if old <= middle {
                path.push(Node::cover(middle, end));
                end = middle;
            } else {
                path.push(Node::cover(first, middle));
                first = middle;
            }
        }
        // The old tree itself is known to whoever asks; a part of it is not.
        if first > 0 {
            path.push(Node::cover(first, end));
        }
        path.reverse();
        Ok(Self(path))
    }

    /// What must be read.
    pub fn spans(&self) -> Vec<Span> {
        self.0.iter().flatten().map(|node| node.span()).collect()
    }

    /// The hashes of the proof. `read` gives those of a span, in order and all of them.
    pub fn resolve<E>(&self, mut read: impl FnMut(Span) -> Result<Vec<Hash>, E>) -> Result<Vec<Hash>, E> {
        let mut proof = Vec::with_capacity(self.0.len());
        for nodes in &self.0 {
            let mut folded: Option<Hash> = None;
            for node in nodes.iter().rev() {
                let left = node.resolve(&mut read)?;
                folded = Some(folded.map_or(left, |right| node_hash(&left, &right)));
            }
            proof.push(folded.unwrap_or_else(Hash::of_nothing));
        }
        Ok(proof)
    }
}

/// The greatest power of two below `size`, which is at least 2.
fn split(size: u64) -> u64 {
    1 << (size - 1).ilog2()
}

/// Why a proof cannot be given, or does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// There is no such leaf.
    #[error("index: there is no leaf {index} in a tree of {size}; give one below its size")]
    OutOfRange {
        /// The leaf asked for, from 0.
        index: u64,
        /// How many there are.
        size: u64,
    },
    /// Trees grow only.
    #[error("old: a tree of {old} leaves does not begin one of {new}; give the smaller size first")]
    Shrunk {
        /// The older size.
        old: u64,
        /// The newer size.
        new: u64,
    },
    /// It has more or fewer hashes than it must.
    #[error("the proof has {0} hashes, which is not what trees of these sizes need")]
    Length(usize),
    /// It leads to another root than the older tree's.
    #[error("the proof leads to the older root {found}, and {wanted} was signed")]
    OldRoot {
        /// Where it leads.
        found: Hash,
        /// Where it must lead.
        wanted: Hash,
    },
    /// It leads to another root.
    #[error("the proof leads to the root {found}, and {wanted} was signed")]
    Root {
        /// Where it leads.
        found: Hash,
        /// Where it must lead.
        wanted: Hash,
    },
}

/// Whether `proof` shows that `leaf` is leaf `index` (from 0) of the tree with `size` leaves and this root.
pub fn check_inclusion(leaf: Hash, index: u64, size: u64, root: Hash, proof: &[Hash]) -> Result<(), ProofError> {
    if index >= size {
        return Err(ProofError::OutOfRange { index, size });
    }
    let (mut at, mut last, mut found) = (index, size - 1, leaf);
    for hash in proof {
        if last == 0 {
            return Err(ProofError::Length(proof.len()));
        }
        if at % 2 == 1 || at == last {
            found = node_hash(hash, &found);
            while at % 2 == 0 && at != 0 {
                (at, last) = (at >> 1, last >> 1);
            }
        } else {
            found = node_hash(&found, hash);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    if last != 0 {
        return Err(ProofError::Length(proof.len()));
    }
    if found == root { Ok(()) } else { Err(ProofError::Root { found, wanted: root }) }
}

/// Whether `proof` shows that the tree of `old` leaves with `old_root` is how that of `new` leaves with `new_root` began.
pub fn check_consistency(old: u64, old_root: Hash, new: u64, new_root: Hash, proof: &[Hash]) -> Result<(), ProofError> {
    if old > new {
        return Err(ProofError::Shrunk { old, new });
    }
    if old == 0 || old == new {
        return match proof.len() {
            0 if old == 0 || old_root == new_root => Ok(()),
            0 => Err(ProofError::Root { found: old_root, wanted: new_root }),
            more => Err(ProofError::Length(more)),
        };
    }
    let length = || ProofError::Length(proof.len());
    let shift = (old - 1).trailing_ones();
    let (mut at, mut last) = ((old - 1) >> shift, (new - 1) >> shift);
    let mut hashes = proof.iter();
    // A perfect older tree is itself the first subtree.
    let first = if at == 0 { old_root } else { *hashes.next().ok_or_else(length)? };
    let (mut found_old, mut found_new) = (first, first);
    for hash in hashes {
        if last == 0 {
            return Err(length());
        }
        if at % 2 == 1 || at == last {
            found_old = node_hash(hash, &found_old);
            found_new = node_hash(hash, &found_new);
            while at % 2 == 0 && at != 0 {
                (at, last) = (at >> 1, last >> 1);
            }
        } else {
            found_new = node_hash(&found_new, hash);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    if last != 0 {
        return Err(length());
    }
    if found_old != old_root {
        return Err(ProofError::OldRoot { found: found_old, wanted: old_root });
    }
    if found_new == new_root { Ok(()) } else { Err(ProofError::Root { found: found_new, wanted: new_root }) }
}
