//! What can be done to an export, and whether it still says the same afterwards.

use std::collections::{BTreeMap, BTreeSet};

use rand::{Rng, seq::IndexedRandom};
use tollgate_tlog::{
    Checkpoint, File, Memory, Packer, VerifierKey, split_bundle,
    verify::{Options, Report, verify},
};

use crate::{Deployment, Made};

/// An export that verifiers are shown, whole, with the checkpoint that an auditor kept from before and other exports that the same key signed.
pub struct Case {
    /// The deployment's verifier key.
    pub key: String,
    /// As it was made.
    pub whole: Made,
    /// An earlier export.
    old: Made,
    /// What a replica's past from the middle on could have been.
    forked: Made,
    /// The same past in every log but another end.
    forked_all: Made,
    /// What another deployment of this name signed with a key of its own.
    foreign: Made,
    /// The checkpoint that the auditor kept.
    pub since: Vec<u8>,
    /// Where files are never overwritten, those that count: others are of earlier exports, and may be missing. `None`: all.
    counting: Option<BTreeSet<String>>,
}

const BIG: &str = "replica-a";
const SMALL: &str = "replica-b";

impl Case {
    /// A case; `seed` decides all of it.
    pub fn new(seed: u64) -> Self {
        let mut deployment = Deployment::new("tollgate", seed);
        deployment.born(BIG);
        deployment.born(SMALL);
        grow(&mut deployment, 140);
        let old = deployment.export();
        let mut other = deployment.clone();
        other.reseed(seed + 1);
        grow(&mut deployment, 150);
        grow(&mut other, 150);
        let (whole, forked_all) = (deployment.export(), other.export());
        let mut forked = whole.clone();
        move_log(&mut forked.files, &forked_all.files, BIG);
        let mut stranger = Deployment::new("tollgate", seed + 2);
        stranger.born(BIG);
        stranger.born(SMALL);
        grow(&mut stranger, 290);
        let (key, since) = (deployment.key(), whole.checkpoint());
        Self { key, whole, old, forked, forked_all, foreign: stranger.export(), since, counting: None }
    }

    /// The same as `audit.export` writes it: the whole beside the older one, no file overwritten.
    pub fn dated(seed: u64) -> Self {
        let mut case = Self::new(seed);
        let mut counting = Memory::default();
        case.whole.put_beside(&mut counting);
        let before = case.old.clone();
        for made in [&mut case.whole, &mut case.forked, &mut case.forked_all] {
            let mut files = Memory::default();
            before.put_beside(&mut files);
            made.put_beside(&mut files);
            made.files = files;
        }
        for made in [&mut case.old, &mut case.foreign] {
            let mut files = Memory::default();
            made.put_beside(&mut files);
            made.files = files;
        }
        Self { counting: Some(counting.0.into_keys().collect()), ..case }
    }

    /// What an export of this case says, and the dump beside it.
    pub fn meaning(&self, files: &Memory, dump: &[u8]) -> Option<Meaning> {
        let mut files = files.clone();
        if let Some(counting) = &self.counting {
            files.0.retain(|path, _| counting.contains(path));
        }
        Meaning::of(&files, dump, &self.key)
    }

    /// Does something to the export. Returns what, in words.
    pub fn damage(&self, random: &mut impl Rng) -> Damage {
        let mut files = self.whole.files.clone();
        let mut dump = self.whole.dump();
        let what = match random.random_range(0..100) {
            0..30 => flip_bit(&mut files, random),
            30..36 => cut_file(&mut files, random),
            36..42 => delete_file(&mut files, random),
            42..46 => put_file(&mut files, random),
            46..50 => swap_files(&mut files, random),
            50..74 => self.damage_records(&mut files, random),
            74..80 => {
                let whole = random.random_bool(0.5);
                self.roll_back(&mut files, whole)
            }
            80..86 => match random.random_bool(0.5) {
                true => replaced(&mut files, &self.forked.files, "forked a replica's log, signed"),
                false => replaced(&mut files, &self.forked_all.files, "forked all logs, signed"),
            },
            86..89 => replaced(&mut files, &self.foreign.files, "signed with another key"),
            89..92 => {
                files.0.retain(|path, _| !path.starts_with(&format!("logs/{SMALL}/")));
                "took a replica's log away"
            }
            _ => damage_ledger(&mut dump, random),
        };
        Damage { what, files, dump }
    }

    fn roll_back(&self, files: &mut Memory, whole: bool) -> &'static str {
        if whole {
            return replaced(files, &self.old.files, "put an older export in its place");
        }
        move_log(files, &self.old.files, BIG);
        "put a replica's older log in its place"
    }

    /// Changes the list of a log's records and packs it anew, as one would who has everything but the key.
    fn damage_records(&self, files: &mut Memory, random: &mut impl Rng) -> &'static str {
        let folder = *["root", "logs/replica-a", "logs/replica-b"].choose(random).expect("there are some");
        let mut records = records(files, folder);
        let at = random.random_range(0..records.len());
        let what = match random.random_range(0..6) {
            0 => {
                records.remove(at);
                "deleted a record"
            }
            1 => {
                let copy = records.choose(random).expect("there are some").clone();
                records.insert(at, copy);
                "inserted a record"
            }
            2 => {
                let other = random.random_range(0..records.len());
                records.swap(at, other);
                "swapped two records"
            }
            3 => {
                let place = random.random_range(0..records[at].len());
                records[at][place] ^= 1 << random.random_range(0..8);
                "changed a record"
            }
            4 => {
                records.truncate(at);
                "cut records off the end"
            }
            _ => {
                records[at] = records.choose(random).expect("there are some").clone();
                "put a copy in a record's place"
            }
        };
        let packed = pack(folder, &records);
        let with_tiles = random.random_bool(0.5);
        // Without the tiles the records stand in the bundles that there were, the last of them longer or shorter.
        files.0.retain(|path, _| {
            !path.starts_with(&format!("{folder}/tile/{}", if with_tiles { "" } else { "entries/" }))
        });
        let packed = packed.into_iter().filter(|file| with_tiles || file.path.contains("/entries/"));
        files.0.extend(packed.map(|file| (file.path, file.bytes)));
        if random.random_bool(0.5) {
            keep_width(files, &self.whole.files, folder);
        }
        what
    }

    /// What our verifier says of it, with the checkpoint that the auditor kept.
    pub fn judge(&self, damage: &Damage) -> anyhow::Result<Report> {
        let key: VerifierKey = self.key.parse()?;
        let dump = damage.dump.clone();
        let open =
            move || -> std::io::Result<Box<dyn std::io::BufRead>> { Ok(Box::new(std::io::Cursor::new(dump.clone()))) };
        let since = vec![self.since.clone()];
        let options = Options { keys: vec![key], since, ledger: Some(&open), progress: None };
        Ok(verify(&damage.files, options)?)
    }
}

/// A damaged export.
#[derive(Clone)]
pub struct Damage {
    /// What was done.
    pub what: &'static str,
    /// Its files.
    pub files: Memory,
    /// The ledger's dump beside it.
    pub dump: Vec<u8>,
}

/// What an export says, however it is written: all that may differ between two that say the same is the form of signatures and of the dump's
/// lines.
#[derive(Debug, PartialEq, Eq)]
pub struct Meaning {
    files: BTreeMap<String, Vec<u8>>,
    checkpoints: BTreeMap<String, Checkpoint>,
    ledger: Vec<(String, String, String, String)>,
}

impl Meaning {
    /// What these files and this dump say; `None`: they cannot be read.
    pub fn of(files: &Memory, dump: &[u8], key: &str) -> Option<Self> {
        let keys: Vec<VerifierKey> = vec![key.parse().ok()?];
        let (mut other, mut checkpoints, mut ledger) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        for (path, bytes) in &files.0 {
            if path.ends_with("/checkpoint") || path.contains("/checkpoints/") {
                checkpoints.insert(path.clone(), Checkpoint::open(bytes, &keys).ok()?.0);
            } else {
                other.insert(path.clone(), bytes.clone());
            }
        }
        for line in dump.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()) {
            let entry: serde_json::Value = serde_json::from_slice(line).ok()?;
            let field =
                |name: &str| entry.get(name).map(|value| value.to_string().replace('"', "")).unwrap_or_default();
            ledger.push((field("replica"), field("attemptId"), field("costNanoUsd"), String::new()));
        }
        ledger.sort();
        Some(Self { files: other, checkpoints, ledger })
    }
}

/// Calls and checkpoints in turns; the big replica answers nineteen of twenty.
fn grow(deployment: &mut Deployment, calls: u64) {
    for call in 0..calls {
        deployment.call(if call % 20 == 19 { SMALL } else { BIG });
        if call % 50 == 49 {
            deployment.sign(BIG);
        }
    }
    deployment.sign(BIG);
    deployment.sign(SMALL);
}

fn move_log(files: &mut Memory, from: &Memory, log: &str) {
    let folder = format!("logs/{log}/");
    files.0.retain(|path, _| !path.starts_with(&folder));
    let moved = from.0.iter().filter(|(path, _)| path.starts_with(&folder));
    files.0.extend(moved.map(|(path, bytes)| (path.clone(), bytes.clone())));
}

fn replaced(files: &mut Memory, with: &Memory, what: &'static str) -> &'static str {
    files.clone_from(with);
    what
}

fn a_path(files: &Memory, random: &mut impl Rng) -> String {
    let paths: Vec<_> = files.0.keys().collect();
    (*paths.choose(random).expect("an export has files")).clone()
}

fn bytes_of<'a>(files: &'a mut Memory, path: &str) -> &'a mut Vec<u8> {
    files.0.get_mut(path).expect("the file was just listed")
}

fn flip_bit(files: &mut Memory, random: &mut impl Rng) -> &'static str {
    let path = a_path(files, random);
    let bytes = bytes_of(files, &path);
    let at = random.random_range(0..bytes.len());
    bytes[at] ^= 1 << random.random_range(0..8);
    "flipped a bit"
}

fn cut_file(files: &mut Memory, random: &mut impl Rng) -> &'static str {
    let path = a_path(files, random);
    let bytes = bytes_of(files, &path);
    let at = random.random_range(0..bytes.len());
    match random.random_range(0..3) {
        0 => {
            bytes.truncate(at);
            "truncated a file"
        }
        1 => {
            bytes.remove(at);
            "took a byte out"
        }
        _ => {
            bytes.insert(at, random.random());
            "put a byte in"
        }
    }
}

fn delete_file(files: &mut Memory, random: &mut impl Rng) -> &'static str {
    let path = a_path(files, random);
    files.0.remove(&path);
    "deleted a file"
}

fn put_file(files: &mut Memory, random: &mut impl Rng) -> &'static str {
    let (path, other) = (a_path(files, random), a_path(files, random));
    let bytes = files.0[&path].clone();
    if random.random_bool(0.5) {
        files.0.insert(other, bytes);
        return "copied one file over another";
    }
    let (stem, _) = path.rsplit_once('/').expect("every file lies in a folder");
    files.0.insert(format!("{stem}/{:03}", random.random_range(2..999)), bytes);
    "put a file in"
}

fn swap_files(files: &mut Memory, random: &mut impl Rng) -> &'static str {
    let (a, b) = (a_path(files, random), a_path(files, random));
    let (in_a, in_b) = (files.0[&a].clone(), files.0[&b].clone());
    files.0.insert(a, in_b);
    files.0.insert(b, in_a);
    "swapped two files"
}

fn records(files: &Memory, folder: &str) -> Vec<Vec<u8>> {
    let prefix = format!("{folder}/tile/entries/");
    let mut bundles = BTreeMap::<&str, Vec<Vec<u8>>>::new();
    for (path, bytes) in files.0.iter().filter(|(path, _)| path.starts_with(&prefix)) {
        let index = path.split_once(".p/").map_or(path.as_str(), |(index, _)| index);
        let records: Vec<_> = split_bundle(bytes).0.into_iter().map(|range| bytes[range].to_vec()).collect();
        // Of the right edges that exports left one beside the other, the widest.
        let widest = bundles.entry(index).or_default();
        if widest.len() < records.len() {
            *widest = records;
        }
    }
    bundles.into_values().flatten().collect()
}

/// Bundles and tiles of these records, without a checkpoint.
fn pack(folder: &str, records: &[Vec<u8>]) -> Vec<File> {
    let (mut packer, mut files) = (Packer::new(folder), Vec::new());
    for record in records {
        packer.append(record, &mut files).expect("a record fits into a bundle");
    }
    let checkpoint = Checkpoint { origin: String::new(), size: packer.size(), root: packer.root() };
    files.extend(packer.finish(&checkpoint, "").expect("the checkpoint is of these records"));
    files.retain(|file| !file.path.ends_with("/checkpoint"));
    files
}

/// Gives the last bundle and tiles the names that they have in `whole`, whatever is in them: one looks where the signed size says.
fn keep_width(files: &mut Memory, whole: &Memory, folder: &str) {
    let mine = |path: &&String| path.starts_with(&format!("{folder}/tile/")) && path.contains(".p/");
    let names: Vec<String> = whole.0.keys().filter(mine).cloned().collect();
    for name in names {
        let stem = format!("{}.p/", name.rsplit_once(".p/").expect("a part").0);
        let now = files.0.keys().find(|path| path.starts_with(&stem)).cloned();
        if let Some(bytes) = now.and_then(|now| files.0.remove(&now)) {
            files.0.insert(name, bytes);
        }
    }
}

fn damage_ledger(dump: &mut Vec<u8>, random: &mut impl Rng) -> &'static str {
    let text = String::from_utf8(std::mem::take(dump)).expect("a dump is text");
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let at = random.random_range(0..lines.len());
    let what = match random.random_range(0..4) {
        0 => {
            lines.remove(at);
            "deleted a ledger entry"
        }
        1 => {
            let copy = lines[at].clone();
            lines.push(copy);
            "doubled a ledger entry"
        }
        2 => {
            lines[at] = lines[at].replace("\"costNanoUsd\":\"", "\"costNanoUsd\":\"1");
            "changed an amount"
        }
        _ => {
            lines[at] = lines[at].replace("\"attemptId\":\"call_", "\"attemptId\":\"kall_");
            "changed a ledger entry's id"
        }
    };
    *dump = lines.into_iter().map(|line| line + "\n").collect::<String>().into_bytes();
    what
}
