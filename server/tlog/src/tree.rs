use crate::{Hash, Plan, Span, node_hash, proof::Node};

/// Levels of tiles are eight levels of the tree apart.
const TILE_HEIGHT: u8 = 8;

/// The root of a full tile, to be stored: what proofs and restarts read instead of the leaves below it. One for 256 records and a few more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Level of the tile that it is a hash of, from 1; level 0 are the leaves.
    pub level: u8,
    /// Which hash of that level, from 0.
    pub index: u64,
    /// The root of 256 hashes of the level below, `256 * index` the first.
    pub hash: Hash,
}

/// A growing tree: holds the roots of its perfect subtrees, one for each bit of its size, and nothing else.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    size: u64,
    /// Perfect subtrees from left to right, each higher than the next: height and root.
    peaks: Vec<(u8, Hash)>,
}

impl Tree {
    /// Goes on from a tree of `size` leaves. `read` gives the stored hashes of a span: of leaves at level 0, else of [`Row`]s. Reads no more than
    /// 255 hashes of each level.
    pub fn resume<E>(size: u64, mut read: impl FnMut(Span) -> Result<Vec<Hash>, E>) -> Result<Self, E> {
        let mut peaks = Vec::new();
        for node in Node::cover(0, size) {
            peaks.push((node.height, node.resolve(&mut read)?));
        }
        Ok(Self { size, peaks })
    }

    /// What [`Tree::resume`] will read, for those who must fetch it beforehand.
    pub fn resume_spans(size: u64) -> Vec<Span> {
        Plan::root(size).spans()
    }

    /// Appends a leaf; rows that are complete with it are put behind those in `rows`.
    pub fn append(&mut self, leaf: Hash, rows: &mut Vec<Row>) {
        let (mut height, mut hash) = (0, leaf);
        self.size += 1;
        while let Some(&(left_height, left)) = self.peaks.last()
            && left_height == height
        {
            self.peaks.pop();
            hash = node_hash(&left, &hash);
            height += 1;
            if height.is_multiple_of(TILE_HEIGHT) {
                rows.push(Row { level: height / TILE_HEIGHT, index: (self.size >> height) - 1, hash });
            }
        }
        self.peaks.push((height, hash));
    }

    /// How many leaves there are.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The root over all leaves.
    pub fn root(&self) -> Hash {
        let mut peaks = self.peaks.iter().rev().map(|(_, hash)| *hash);
        let Some(last) = peaks.next() else { return Hash::of_nothing() };
        peaks.fold(last, |right, left| node_hash(&left, &right))
    }
}
