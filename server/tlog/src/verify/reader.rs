//! One log of an export, read from left to right with the memory of one bundle.

use std::{io, ops::Range};

use super::{
    Finding, Kind,
    diff::{Difference, difference},
    finding::Findings,
};
use crate::{
    Checkpoint, Files, Hash, MAX_ENTRY_BYTES, TILE_WIDTH, Tile, TilePath, dated_size, leaf_hash, pack::Tiler,
    split_bundle,
};

/// Differences that are told one by one; the others are counted.
const DIFFERENCES: usize = 20;

/// Takes the index, the bytes and the hash of a record, and whether the tile above says the same.
pub(crate) type Visit<'a> = &'a mut dyn FnMut(u64, &[u8], Hash, bool);

/// Two accounts of a log are followed: what its records hash to, and, from where they differ, what its tiles say. The signed root says which
/// of them is right.
pub(crate) struct LogReader<'a> {
    files: &'a dyn Files,
    /// `root`, or the replica's id.
    log: String,
    folder: String,
    checkpoint: Checkpoint,
    records: Tiler,
    tiles: Option<Tiler>,
    bundle: Bundle,
    at: u64,
    missing_from: Option<u64>,
    /// Bundle, how it differs from its tile, and whether it has another number of records than is signed.
    differences: Vec<(u64, Difference, bool)>,
    untold: u64,
    /// Neither records nor tiles are there to go on with.
    lost: bool,
    last_good: u64,
    /// Signed sizes that no account leads to, with the words for who says so.
    bad: Vec<(u64, &'static str)>,
    /// Who signed a root that was reached, and the greatest size.
    good: Vec<(&'static str, u64)>,
    tiles_right: bool,
}

#[derive(Default)]
struct Bundle {
    bytes: Vec<u8>,
    records: Vec<Range<usize>>,
    hashes: Vec<Hash>,
    /// As the tile has them; empty: there is no tile.
    signed: Vec<Hash>,
    clean: bool,
}

impl<'a> LogReader<'a> {
    pub(crate) fn new(files: &'a dyn Files, log: &str, folder: String, checkpoint: Checkpoint) -> Self {
        Self {
            files,
            log: log.into(),
            folder,
            checkpoint,
            records: Tiler::default(),
            tiles: None,
            bundle: Bundle::default(),
            at: 0,
            missing_from: None,
            differences: Vec::new(),
            untold: 0,
            lost: false,
            last_good: 0,
            bad: Vec::new(),
            good: Vec::new(),
            tiles_right: false,
        }
    }

    /// The size that is signed.
    pub(crate) fn size(&self) -> u64 {
        self.checkpoint.size
    }

    pub(crate) fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// How far it is read.
    pub(crate) fn at(&self) -> u64 {
        self.at
    }

    fn file(&self, path: TilePath) -> String {
        format!("{}/{}", self.folder, path.render())
    }

    /// How many records bundle `index` must hold.
    fn width(&self, index: u64) -> u64 {
        (self.checkpoint.size - index * TILE_WIDTH).min(TILE_WIDTH)
    }

    /// Reads on up to leaf `to`, or where the log is lost.
    pub(crate) fn advance(&mut self, to: u64, findings: &mut Findings, visit: Visit<'_>) -> io::Result<()> {
        let to = to.min(self.checkpoint.size);
        while self.at < to && !self.lost {
            if self.at.is_multiple_of(TILE_WIDTH) {
                self.load(self.at / TILE_WIDTH, findings)?;
                if self.lost {
                    break;
                }
            }
            self.step(findings, visit)?;
        }
        Ok(())
    }

    /// Takes the next leaf of the bundle that is loaded.
    fn step(&mut self, findings: &mut Findings, visit: Visit<'_>) -> io::Result<()> {
        let place = (self.at % TILE_WIDTH) as usize;
        let signed = self.bundle.signed.get(place).copied();
        let found = self.bundle.hashes.get(place).copied();
        if let (Some(range), Some(hash)) = (self.bundle.records.get(place), found) {
            visit(self.at, &self.bundle.bytes[range.clone()], hash, self.bundle.clean);
        }
        let Some(hash) = found.or(signed) else {
            self.lost = true;
            return Ok(());
        };
        if signed.is_some_and(|signed| signed != hash) && self.tiles.is_none() {
            self.tiles = Some(self.records.clone());
        }
        let mut full = Vec::new();
        self.records.append(hash, |tile, hashes| full.push((tile, Tile::encode(hashes), None)));
        if let Some(tiles) = &mut self.tiles {
            let mut at = 0;
            tiles.append(signed.unwrap_or(hash), |_, hashes| {
                full[at].2 = Some(Tile::encode(hashes));
                at += 1;
            });
        }
        self.at += 1;
        for (tile, bytes, other) in full {
            self.compare(tile, &bytes, other.as_deref(), findings)?;
        }
        Ok(())
    }

    /// Whether the file of a tile above the leaves says what one of the accounts says.
    fn compare(&self, tile: Tile, bytes: &[u8], other: Option<&[u8]>, findings: &mut Findings) -> io::Result<()> {
        if tile.level == 0 {
            return Ok(());
        }
        let path = self.file(TilePath::of(tile));
        match self.files.read(&path)? {
            None => findings.push(Finding::new(Kind::Deleted, &self.log, "the tile is missing").in_file(path)),
            Some(file) if file == bytes || Some(file.as_slice()) == other => {}
            Some(_) => {
                let message = "the tile is not what the hashes below it lead to";
                findings.push(Finding::new(Kind::Changed, &self.log, message).in_file(path));
            }
        }
        Ok(())
    }

    /// Reads a bundle and its tile, and tells how they differ.
    fn load(&mut self, index: u64, findings: &mut Findings) -> io::Result<()> {
        let width = self.width(index);
        self.bundle.signed = self.read_tile(Tile { level: 0, index, width: width as u16 }, findings)?;
        let path = self.file(TilePath::bundle(index, width as u16));
        let Some(bytes) = self.files.read(&path)? else {
            self.missing_from.get_or_insert(index);
            self.bundle.records.clear();
            self.bundle.hashes.clear();
            self.bundle.clean = false;
            self.lost = self.bundle.signed.is_empty();
            return Ok(());
        };
        self.tell_missing(index, Kind::Deleted, findings);
        let (records, torn) = split_bundle(&bytes);
        self.bundle.hashes = records.iter().map(|range| leaf_hash(&bytes[range.clone()])).collect();
        (self.bundle.bytes, self.bundle.records) = (bytes, records);
        let found = self.bundle.hashes.len() as u64;
        let signed = !self.bundle.signed.is_empty();
        self.bundle.clean = torn.is_ok() && found == width;
        if let Err(error) = torn {
            let finding = Finding::new(Kind::Changed, &self.log, error.to_string());
            findings.push(finding.at(index * TILE_WIDTH + found + 1).in_file(path));
        } else if found != width && !signed {
            let kind = if found < width { Kind::Deleted } else { Kind::Inserted };
            let message = format!("{found} records, and {width} are signed");
            findings.push(Finding::new(kind, &self.log, message).in_file(path));
        }
        if signed && let Some(difference) = difference(&self.bundle.hashes, &self.bundle.signed) {
            self.bundle.clean = false;
            if self.differences.len() < DIFFERENCES {
                self.differences.push((index, difference, found != width));
            } else {
                self.untold += 1;
            }
        }
        Ok(())
    }

    /// The hashes of a tile of leaves; none where it is missing or damaged, which is told.
    fn read_tile(&self, tile: Tile, findings: &mut Findings) -> io::Result<Vec<Hash>> {
        let path = self.file(TilePath::of(tile));
        let bytes = self.files.read(&path)?;
        let missing = bytes.is_none();
        let hashes = bytes.and_then(|bytes| Tile::decode(&bytes));
        if let Some(hashes) = hashes.filter(|hashes| hashes.len() == usize::from(tile.width)) {
            return Ok(hashes);
        }
        let (kind, message) = match missing {
            true => (Kind::Deleted, "the tile is missing".to_owned()),
            false => (Kind::Changed, format!("the tile has not the {} hashes that it must have", tile.width)),
        };
        findings.push(Finding::new(kind, &self.log, message).in_file(path));
        Ok(Vec::new())
    }

    fn tell_missing(&mut self, until: u64, kind: Kind, findings: &mut Findings) {
        let Some(from) = self.missing_from.take() else { return };
        let (first, last) = (from * TILE_WIDTH + 1, (until * TILE_WIDTH).min(self.checkpoint.size));
        let message = format!("records {first} to {last} are missing");
        let path = self.file(TilePath::bundle(from, self.width(from) as u16));
        findings.push(Finding::new(kind, &self.log, message).at(first).in_file(path));
    }

    /// Compares with a signed root over the leaves read so far; `who` says it.
    pub(crate) fn check(&mut self, root: Hash, who: &'static str) {
        if self.lost {
            return;
        }
        if self.records.tree().root() != root {
            if self.tiles.as_ref().is_none_or(|tiles| tiles.tree().root() != root) {
                self.bad.push((self.at, who));
                self.bad.truncate(DIFFERENCES);
                return;
            }
            self.tiles_right = true;
        }
        self.good.retain(|(other, _)| *other != who);
        self.good.push((who, self.at));
        if self.bad.is_empty() {
            self.last_good = self.at;
        }
    }

    /// Whether every signed root so far was reached by one of the accounts.
    pub(crate) fn proven(&self) -> bool {
        self.bad.is_empty() && !self.lost
    }

    /// Reads the rest, compares it with its own checkpoint, and tells all that is known only now.
    pub(crate) fn finish(&mut self, findings: &mut Findings, visit: Visit<'_>) -> io::Result<()> {
        self.advance(self.checkpoint.size, findings, visit)?;
        self.check(self.checkpoint.root, OWN);
        self.compare_edge(findings)?;
        let bundles = self.checkpoint.size.div_ceil(TILE_WIDTH);
        if self.missing_from.is_some() {
            let kind = if self.lost && self.has_later()? { Kind::Deleted } else { Kind::Truncated };
            self.tell_missing(bundles, kind, findings);
        } else if self.lost {
            let message = format!("records {} to {} are missing or unreadable", self.at + 1, self.checkpoint.size);
            findings.push(Finding::new(Kind::Truncated, &self.log, message).at(self.at + 1));
        }
        self.tell_differences(findings);
        self.tell_bad(findings);
        self.check_files(findings)
    }

    fn has_later(&self) -> io::Result<bool> {
        let bundles = self.checkpoint.size.div_ceil(TILE_WIDTH);
        if bundles == 0 {
            return Ok(false);
        }
        let last = TilePath::bundle(bundles - 1, self.width(bundles - 1) as u16);
        Ok(self.files.read(&self.file(last))?.is_some())
    }

    fn compare_edge(&self, findings: &mut Findings) -> io::Result<()> {
        if self.lost {
            return Ok(());
        }
        let others: Vec<_> = self.tiles.iter().flat_map(|tiles| tiles.edge()).collect();
        for (tile, hashes) in self.records.edge() {
            let other = others.iter().find(|(other, _)| *other == tile).map(|(_, hashes)| Tile::encode(hashes));
            self.compare(tile, &Tile::encode(hashes), other.as_deref(), findings)?;
        }
        Ok(())
    }

    fn tell_differences(&self, findings: &mut Findings) {
        let records_right = !self.tiles_right && self.bad.is_empty() && !self.lost;
        for (index, difference, miscounted) in &self.differences {
            let width = self.width(*index) as u16;
            let first = index * TILE_WIDTH + difference.places.start as u64 + 1;
            let last = index * TILE_WIDTH + difference.places.end as u64;
            if records_right && !miscounted {
                let message = format!("the tile is not what records {first} to {last}, which are as signed, lead to");
                let path = self.file(TilePath::of(Tile { level: 0, index: *index, width }));
                findings.push(Finding::new(Kind::Changed, &self.log, message).at(first).in_file(path));
                continue;
            }
            // What is missing at the very end was cut off.
            let at_end = last == self.checkpoint.size;
            let kind = if difference.kind == Kind::Deleted && at_end { Kind::Truncated } else { difference.kind };
            let message = match kind {
                Kind::Deleted | Kind::Truncated => format!("records {first} to {last} are missing"),
                Kind::Inserted => format!("{} records were put in here", difference.places.len()),
                Kind::Swapped => format!("records {first} to {last} stand in another order"),
                _ if first == last => "the record is not the one that was signed".to_owned(),
                _ => format!("among records {first} to {last} are some that are not those that were signed"),
            };
            let path = self.file(TilePath::bundle(*index, width));
            findings.push(Finding::new(kind, &self.log, message).at(first).in_file(path));
        }
        if self.untold > 0 {
            let message = format!("{} more bundles differ from their tiles", self.untold);
            findings.push(Finding::new(Kind::Changed, &self.log, message));
        }
    }

    fn tell_bad(&self, findings: &mut Findings) {
        let Some((size, who)) = self.bad.first() else { return };
        let sign = |good: &&(&str, u64)| good.0 != *who && good.1 >= *size;
        if let Some((other, _)) = self.good.iter().find(sign) {
            let message = format!(
                "{who} signs another history of the first {size} records than {other}: they part behind record {}",
                self.last_good
            );
            findings.push(Finding::new(Kind::Forked, &self.log, message).at(self.last_good + 1));
            return;
        }
        let message = format!(
            "records and tiles do not lead to the root that {who} signs for {size}: something in records {} to {size} was changed",
            self.last_good + 1
        );
        findings.push(Finding::new(Kind::Changed, &self.log, message).at(self.last_good + 1));
    }

    /// Every file of the log is one that the signed size asks for, or an older edge of it.
    fn check_files(&self, findings: &mut Findings) -> io::Result<()> {
        let (folder, mut older) = (format!("{}/", self.folder), Vec::new());
        let (mut strange, mut beyond, mut is_dated) = (Vec::new(), Vec::new(), true);
        self.files.list(&folder, &mut |path| {
            let below = &path[folder.len()..];
            match TilePath::parse(below).map(|path| (path, self.place(path))) {
                Some((_, Place::Asked)) => {}
                Some((path, Place::Older)) => older.push(path),
                Some((_, Place::Beyond)) => beyond.push(path.to_owned()),
                None if below == "checkpoint" => is_dated = false,
                None if dated_size(below).is_some() => {}
                _ => strange.push(path.to_owned()),
            }
        })?;
        // Where files are never overwritten, the next checkpoint comes behind what it signs.
        match is_dated {
            true => findings.unsigned += beyond.len() as u64,
            false => strange.append(&mut beyond),
        }
        for path in strange {
            let message = format!("no file of a log of {} records", self.checkpoint.size);
            findings.push(Finding::new(Kind::Inserted, &self.log, message).in_file(path));
        }
        for path in older {
            self.check_older(path, findings)?;
        }
        Ok(())
    }

    fn place(&self, path: TilePath) -> Place {
        let level = path.level.unwrap_or(0);
        let count = self.checkpoint.size >> (8 * u32::from(level));
        let (full, edge) = (count / TILE_WIDTH, count % TILE_WIDTH);
        let width = u64::from(path.width);
        match path.index.cmp(&full) {
            std::cmp::Ordering::Less if width == TILE_WIDTH => Place::Asked,
            std::cmp::Ordering::Less => Place::Older,
            std::cmp::Ordering::Equal if width == edge => Place::Asked,
            std::cmp::Ordering::Equal if width < edge => Place::Older,
            _ => Place::Beyond,
        }
    }

    /// The right edge of an earlier export, left beside what has grown from it: it must be how that begins.
    fn check_older(&self, older: TilePath, findings: &mut Findings) -> io::Result<()> {
        let count = self.checkpoint.size >> (8 * u32::from(older.level.unwrap_or(0)));
        let width = (count - older.index * TILE_WIDTH).min(TILE_WIDTH) as u16;
        let (newer, path) = (self.file(TilePath { width, ..older }), self.file(older));
        let (newer, file) = (self.files.read(&newer)?.unwrap_or_default(), self.files.read(&path)?.unwrap_or_default());
        let count = match older.level {
            Some(_) => Tile::decode(&file).map_or(0, |hashes| hashes.len()),
            None if file.len() <= newer.len() => split_bundle(&file).0.len(),
            None => 0,
        };
        if !newer.starts_with(&file) || count != usize::from(older.width) {
            let message = "the older edge is not how the newer one begins";
            findings.push(Finding::new(Kind::Changed, &self.log, message).in_file(path));
        }
        Ok(())
    }
}

/// Says that a log's own checkpoint signs something.
pub(crate) const OWN: &str = "its own checkpoint";

enum Place {
    Asked,
    Older,
    Beyond,
}

// A record's length is two bytes: the longest bundle is 16 MiB, which is what a reader holds at most.
const _: () = assert!(MAX_ENTRY_BYTES * TILE_WIDTH as usize <= 16 << 20);
