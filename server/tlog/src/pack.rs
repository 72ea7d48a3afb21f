//! From records to the files of an export.

use std::collections::BTreeMap;

use crate::{BundleError, Hash, Row, Span, TILE_WIDTH, Tile, TilePath, Tree, append_entry, leaf_hash};

/// A file of an export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Where, below the export.
    pub path: String,
    /// What.
    pub bytes: Vec<u8>,
}

/// Why records cannot be packed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PackError {
    /// A record fits into no bundle.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// Records and checkpoint tell of different logs.
    #[error("{folder}: the {size} records lead to the root {found}, and {wanted} was signed for {wanted_size}")]
    OtherLog {
        /// The folder of the log.
        folder: String,
        /// How many records were packed.
        size: u64,
        /// Where they lead.
        found: Hash,
        /// How many were signed.
        wanted_size: u64,
        /// What was signed.
        wanted: Hash,
    },
}

/// The tiles of a growing log, kept as far as they are not full.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tiler {
    tree: Tree,
    rows: Vec<Row>,
    edge: BTreeMap<u8, Vec<Hash>>,
}

impl Tiler {
    /// Goes on behind the leaves of `tree`, whose tiles of level 0 are all full; `edge`: of each level above, the hashes that fill no tile yet.
    fn resume(tree: Tree, edge: BTreeMap<u8, Vec<Hash>>) -> Self {
        Self { tree, rows: Vec::new(), edge }
    }

    /// Appends a leaf; `full` gets every tile that it fills.
    pub(crate) fn append(&mut self, leaf: Hash, mut full: impl FnMut(Tile, &[Hash])) {
        self.rows.clear();
        self.tree.append(leaf, &mut self.rows);
        let rows = std::mem::take(&mut self.rows);
        self.put(0, self.tree.size() - 1, leaf, &mut full);
        for row in &rows {
            self.put(row.level, row.index, row.hash, &mut full);
        }
        self.rows = rows;
    }

    fn put(&mut self, level: u8, index: u64, hash: Hash, full: &mut impl FnMut(Tile, &[Hash])) {
        let tile = self.edge.entry(level).or_default();
        tile.push(hash);
        if tile.len() as u64 == TILE_WIDTH {
            full(Tile { level, index: index / TILE_WIDTH, width: TILE_WIDTH as u16 }, tile);
            tile.clear();
        }
    }

    /// The tiles at the right edge, which are not full.
    pub(crate) fn edge(&self) -> impl Iterator<Item = (Tile, &[Hash])> {
        let size = self.tree.size();
        self.edge.iter().filter(|(_, hashes)| !hashes.is_empty()).map(move |(level, hashes)| {
            let index = (size >> (8 * level)) / TILE_WIDTH;
            (Tile { level: *level, index, width: hashes.len() as u16 }, hashes.as_slice())
        })
    }

    pub(crate) fn tree(&self) -> &Tree {
        &self.tree
    }
}

/// Packs a log's records into bundles and tiles. The files come out as they are full, so that memory holds one of each level.
#[derive(Clone, Debug)]
pub struct Packer {
    folder: String,
    tiler: Tiler,
    bundle: Vec<u8>,
}

impl Packer {
    /// Packs into this folder of the export: `root`, or `logs/<replica>`.
    pub fn new(folder: &str) -> Self {
        Self { folder: folder.into(), tiler: Tiler::default(), bundle: Vec::new() }
    }

    /// Goes on behind the records of `tree`, which are whole bundles. `edge`: the hashes that [`Packer::resume_spans`] asks for, by level.
    pub fn resume(folder: &str, tree: Tree, edge: BTreeMap<u8, Vec<Hash>>) -> Self {
        Self { folder: folder.into(), tiler: Tiler::resume(tree, edge), bundle: Vec::new() }
    }

    /// Of each level above the leaves, the hashes behind its full tiles once a log has `size` records, a multiple of 256.
    pub fn resume_spans(size: u64) -> Vec<Span> {
        let of_level = |level: u8| {
            let hashes = size.checked_shr(8 * u32::from(level)).unwrap_or(0);
            let count = hashes % TILE_WIDTH;
            (count > 0).then_some(Span { level, first: hashes - count, count: count as u16 })
        };
        (1..8).filter_map(of_level).collect()
    }

    /// Takes the next record; files that are full with it are put behind those in `files`.
    pub fn append(&mut self, record: &[u8], files: &mut Vec<File>) -> Result<(), PackError> {
        append_entry(&mut self.bundle, record)?;
        let folder = &self.folder;
        self.tiler.append(leaf_hash(record), |tile, hashes| files.push(tile_file(folder, tile, hashes)));
        let size = self.size();
        if size.is_multiple_of(TILE_WIDTH) {
            let path = TilePath::bundle(size / TILE_WIDTH - 1, TILE_WIDTH as u16);
            files.push(file(&self.folder, path, std::mem::take(&mut self.bundle)));
        }
        Ok(())
    }

    /// How many records it has.
    pub fn size(&self) -> u64 {
        self.tiler.tree().size()
    }

    /// The root over them.
    pub fn root(&self) -> Hash {
        self.tiler.tree().root()
    }

    /// Ends with this checkpoint, a signed note over just these records: the files of the right edge, and the checkpoint last.
    pub fn finish(self, checkpoint: &crate::Checkpoint, note: &str) -> Result<Vec<File>, PackError> {
        let (size, found) = (self.size(), self.root());
        if (size, found) != (checkpoint.size, checkpoint.root) {
            let (wanted_size, wanted) = (checkpoint.size, checkpoint.root);
            return Err(PackError::OtherLog { folder: self.folder, size, found, wanted_size, wanted });
        }
        let mut files = Vec::new();
        if !size.is_multiple_of(TILE_WIDTH) {
            let path = TilePath::bundle(size / TILE_WIDTH, (size % TILE_WIDTH) as u16);
            files.push(file(&self.folder, path, self.bundle));
        }
        files.extend(self.tiler.edge().map(|(tile, hashes)| tile_file(&self.folder, tile, hashes)));
        files.push(File { path: format!("{}/checkpoint", self.folder), bytes: note.into() });
        Ok(files)
    }
}

fn file(folder: &str, path: TilePath, bytes: Vec<u8>) -> File {
    File { path: format!("{folder}/{}", path.render()), bytes }
}

fn tile_file(folder: &str, tile: Tile, hashes: &[Hash]) -> File {
    file(folder, TilePath::of(tile), Tile::encode(hashes))
}
