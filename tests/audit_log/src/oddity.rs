//! Exports that random damage does not lead to: most of them are signed as they are, by a gateway with a defect or by whoever has the key.

use tollgate_proto::v1::{KeyRotated, ReplicaBorn, ReplicaCheckpoint, ReplicaClosed, root_entry::Entry};
use tollgate_tlog::{
    Checkpoint, ROOT_LOG, SigningKey, VerifierKey, leaf_hash, log_origin, rotate,
    verify::{Kind, Options, Report, verify},
};

use crate::{Deployment, Made};

/// An export with one thing wrong.
#[derive(Clone, Debug)]
pub struct Oddity {
    /// What.
    pub what: &'static str,
    /// As what our verifier names it.
    pub kind: Kind,
    /// The verifier key.
    pub key: String,
    /// The export and its ledger.
    pub made: Made,
    /// A checkpoint that was seen before.
    pub since: Option<Vec<u8>>,
    /// The ledger's dump, where it is not that of `made`.
    pub dump: Option<Vec<u8>>,
}

const A: &str = "replica-a";
const B: &str = "replica-b";

/// Two replicas, the first over one full bundle.
fn deployment() -> Deployment {
    let mut deployment = Deployment::new("tollgate", 21);
    deployment.born(A);
    deployment.born(B);
    for call in 0..300 {
        deployment.call(if call % 20 == 19 { B } else { A });
    }
    deployment.sign(A);
    deployment.sign(B);
    deployment
}

/// All of them.
pub fn oddities() -> Vec<Oddity> {
    let mut all = Vec::new();
    records(&mut all);
    root_leaves(&mut all);
    keys(&mut all);
    notes(&mut all);
    signed_notes(&mut all);
    files(&mut all);
    seen_before(&mut all);
    ledgers(&mut all);
    all
}

impl Oddity {
    fn of(what: &'static str, kind: Kind, deployment: &Deployment) -> Self {
        Self { what, kind, key: deployment.key(), made: deployment.export(), since: None, dump: None }
    }

    /// The ledger's dump.
    pub fn dump(&self) -> Vec<u8> {
        self.dump.clone().unwrap_or_else(|| self.made.dump())
    }

    /// What our verifier says of it.
    pub fn judge(&self) -> anyhow::Result<Report> {
        let key: VerifierKey = self.key.parse()?;
        let dump = self.dump();
        let open =
            move || -> std::io::Result<Box<dyn std::io::BufRead>> { Ok(Box::new(std::io::Cursor::new(dump.clone()))) };
        let since = self.since.iter().cloned().collect();
        Ok(verify(&self.made.files, Options { keys: vec![key], since, ledger: Some(&open), progress: None })?)
    }
}

/// Signed records that are not what the format asks for.
fn records(all: &mut Vec<Oddity>) {
    type Change = fn(&mut tollgate_proto::v1::AuditRecord, &mut String);
    let cases: [(&'static str, Kind, Change); 4] = [
        ("a gap in the positions", Kind::SequenceGap, |record, _| record.sequence += 1),
        ("a record older than the one before it", Kind::TimeBackwards, |record, _| {
            record.time.get_or_insert_default().seconds -= 3_600;
        }),
        ("a record of another replica", Kind::Swapped, |_, replica| *replica = B.into()),
        ("a record of no replica behind the beginning", Kind::Swapped, |_, replica| replica.clear()),
    ];
    for (what, kind, change) in cases {
        let mut deployment = deployment();
        deployment.call_changed(A, change);
        deployment.call(A);
        deployment.sign(A);
        all.push(Oddity::of(what, kind, &deployment));
    }
    let mut deployment = deployment();
    deployment.put(A, vec![0x0a, 0x7f]);
    deployment.sign(A);
    all.push(Oddity::of("a record that is none", Kind::Malformed, &deployment));
    let (mut deployment, mut ahead) = (self::deployment(), self::deployment());
    ahead.call(A);
    let (size, _) = ahead.state(A);
    let mut torn = ahead.bytes(A, size as usize);
    torn.extend([0xf2, 0x01, 0x32, 0x00]); // a field of fifty bytes, and one is there
    deployment.put(A, torn);
    deployment.sign(A);
    let mut oddity = Oddity::of("a record that is torn behind all that is read of it", Kind::Malformed, &deployment);
    oddity.dump = Some(ahead.export().dump());
    all.push(oddity);
}

/// Signed leaves of the root log that contradict it.
fn root_leaves(all: &mut Vec<Oddity>) {
    let mut put = |what, kind, entry: &dyn Fn(&mut Deployment) -> Option<Entry>| {
        let mut deployment = deployment();
        let entry = entry(&mut deployment);
        deployment.put_root_entry(entry);
        all.push(Oddity::of(what, kind, &deployment));
    };
    let born = |replica: &str, origin: &str| {
        Some(Entry::ReplicaBorn(ReplicaBorn { replica: replica.into(), origin: origin.into(), first_size: 0 }))
    };
    put("a leaf that says nothing", Kind::Malformed, &|_| None);
    put("a replica that is born twice", Kind::Malformed, &|_| born(A, "tollgate/replica-a"));
    put("a replica whose id leads elsewhere", Kind::Malformed, &|_| born("../replica-a", "tollgate/../replica-a"));
    put("a replica with another's origin", Kind::Malformed, &|_| born("replica-c", "tollgate/replica-a"));
    put("a replica that goes by the root log's name", Kind::Malformed, &|_| born("root", "tollgate/root"));
    put("a checkpoint of a replica that is not born", Kind::Malformed, &|deployment| {
        let note = deployment.note_of("replica-c", 0, leaf_hash(b""));
        Some(Entry::Checkpoint(ReplicaCheckpoint { replica: "replica-c".into(), note }))
    });
    put("a checkpoint of another replica", Kind::Malformed, &|deployment| {
        let (size, root) = deployment.state(B);
        let note = deployment.note_of(B, size, root);
        Some(Entry::Checkpoint(ReplicaCheckpoint { replica: A.into(), note }))
    });
    put("a checkpoint behind a greater one", Kind::RolledBack, &|deployment| {
        let first = deployment.bytes(B, 1);
        let note = deployment.note_of(B, 1, leaf_hash(&first));
        Some(Entry::Checkpoint(ReplicaCheckpoint { replica: B.into(), note }))
    });
    put("a checkpoint of another history", Kind::Forked, &|deployment| {
        let (size, _) = deployment.state(B);
        let note = deployment.note_of(B, size, leaf_hash(b"another"));
        Some(Entry::Checkpoint(ReplicaCheckpoint { replica: B.into(), note }))
    });
    put("a checkpoint that nobody signed", Kind::WrongKey, &|_| {
        let (size, root) = (1, leaf_hash(b""));
        let stranger = SigningKey::from_seed("tollgate", [9; 32]).expect("any seed makes a key");
        let note = Checkpoint { origin: log_origin("tollgate", B), size, root }.sign(&stranger);
        Some(Entry::Checkpoint(ReplicaCheckpoint { replica: B.into(), note }))
    });
    put("an end at another size than was signed", Kind::Malformed, &|_| {
        Some(Entry::ReplicaClosed(ReplicaClosed { replica: B.into(), size: 3 }))
    });
    put("an end of a replica that is not born", Kind::Malformed, &|_| {
        Some(Entry::ReplicaClosed(ReplicaClosed { replica: "replica-c".into(), size: 0 }))
    });

    let mut early = deployment();
    early.wait_us(-3_600_000_000);
    early.sign(B);
    all.push(Oddity::of("a leaf older than the one before it", Kind::TimeBackwards, &early));

    let mut closed = deployment();
    closed.close(B);
    closed.call(B);
    closed.sign(B);
    all.push(Oddity::of("a checkpoint behind the end", Kind::Malformed, &closed));
    let mut closed = deployment();
    closed.close(B);
    closed.sign(B);
    all.push(Oddity::of("a checkpoint behind the end that says nothing new", Kind::Malformed, &closed));
    let mut closed = deployment();
    closed.close(B);
    closed.call(B);
    closed.sign_silently(B);
    all.push(Oddity::of("a record behind the end", Kind::Malformed, &closed));
    let mut closed = deployment();
    closed.call(B);
    closed.sign_silently(B);
    let (size, _) = closed.state(B);
    let end = ReplicaClosed { replica: B.into(), size: size as i64 };
    closed.put_root_entry(Some(Entry::ReplicaClosed(end)));
    all.push(Oddity::of("an end behind what was signed", Kind::Malformed, &closed));
}

/// Keys that must not be believed.
fn keys(all: &mut Vec<Oddity>) {
    // Whoever has the new key signs the root log from there on: the leaf must not make it one that is trusted.
    let mut rotated = |what, name, change: &dyn Fn(&mut KeyRotated)| {
        let mut deployment = deployment();
        let (trusted, new) = (deployment.key(), SigningKey::from_seed(name, [7; 32]).expect("any seed makes a key"));
        let mut leaf = rotate(deployment.signing_key(), &new);
        change(&mut leaf);
        deployment.signs_with(new);
        deployment.put_root_entry(Some(Entry::KeyRotated(leaf)));
        all.push(Oddity { key: trusted, ..Oddity::of(what, Kind::WrongKey, &deployment) });
    };
    let other = |bytes: &bytes::Bytes| -> bytes::Bytes { bytes.iter().map(|byte| byte ^ 1).collect() };
    rotated("a new key that the old one did not sign", "tollgate", &|leaf| {
        leaf.old_signature = other(&leaf.old_signature)
    });
    rotated("a new key that did not sign itself", "tollgate", &|leaf| leaf.new_signature = other(&leaf.new_signature));
    rotated("a new key of another name", "elsewhere", &|_| {});

    let mut deployment = deployment();
    let old = SigningKey::parse(&deployment.signing_key().reveal(), "").expect("a key reads what it writes");
    deployment.rotate();
    let mut stolen = deployment.clone();
    let root = Checkpoint::open_unchecked(&deployment.export().checkpoint()).expect("a checkpoint");
    let mut oddity = Oddity::of("a root log that a replaced key signs", Kind::WrongKey, &deployment);
    oddity.made.files.0.insert("root/checkpoint".into(), root.sign(&old).into_bytes());
    all.push(oddity);
    stolen.call(B);
    stolen.sign_silently(B);
    let (size, root) = stolen.state(B);
    let mut oddity = Oddity::of("a newer log that a replaced key signs", Kind::WrongKey, &stolen);
    let note = Checkpoint { origin: log_origin("tollgate", B), size, root }.sign(&old);
    oddity.made.files.0.insert(format!("logs/{B}/checkpoint"), note.into_bytes());
    all.push(oddity);

    let mut oddity = Oddity::of("a checkpoint of another log in a log's place", Kind::Swapped, &deployment);
    let (size, root) = deployment.state(B);
    oddity.made.files.0.insert(format!("logs/{B}/checkpoint"), deployment.note_of(A, size, root).into_bytes());
    all.push(oddity);
    let mut oddity = Oddity::of("a root log of another deployment", Kind::WrongKey, &deployment);
    let root = Checkpoint::open_unchecked(&oddity.made.checkpoint()).expect("a checkpoint");
    let elsewhere = Checkpoint { origin: log_origin("elsewhere", ROOT_LOG), ..root };
    let note = elsewhere.sign(deployment.signing_key());
    oddity.made.files.0.insert("root/checkpoint".into(), note.into_bytes());
    all.push(oddity);
}

/// Notes that say what was signed, and are written otherwise.
fn notes(all: &mut Vec<Oddity>) {
    let deployment = deployment();
    let mut change = |what, kind, change: &dyn Fn(String) -> String| {
        for path in ["root/checkpoint", "logs/replica-a/checkpoint"] {
            let mut oddity = Oddity::of(what, kind, &deployment);
            let note = String::from_utf8(oddity.made.files.0[path].clone()).expect("a note is text");
            oddity.made.files.0.insert(path.into(), change(note).into_bytes());
            all.push(oddity);
        }
    };
    change("a signature that is base64 in another way", Kind::Changed, &|note| {
        // Of the last digit before the padding only some bits count.
        let at = note.rfind('=').expect("68 bytes need padding") - 1;
        let next = char::from(note.as_bytes()[at] + 1);
        format!("{}{next}{}", &note[..at], &note[at + 1..])
    });
    change("two signatures of one key", Kind::Changed, &|note| {
        let (_, line) = note.rsplit_once("\n\n").expect("a note has a blank line");
        format!("{note}{line}")
    });
    change("a note with a control character", Kind::Changed, &|note| format!("{note}\u{2014} wit\u{7}ness AAAAAAAA\n"));
    change("a signature of something else", Kind::Changed, &|note| {
        let at = note.rfind('=').expect("68 bytes need padding") - 40;
        let other = if note.as_bytes()[at] == b'A' { 'B' } else { 'A' };
        format!("{}{other}{}", &note[..at], &note[at + 1..])
    });
    change("a note without its last line feed", Kind::Changed, &|note| note.trim_end().to_owned());
    change("a size with a zero before it", Kind::Changed, &|note| {
        let mut lines: Vec<_> = note.split('\n').map(str::to_owned).collect();
        lines[1].insert(0, '0');
        lines.join("\n")
    });
}

/// Signed notes that are no checkpoints as the format asks for them.
fn signed_notes(all: &mut Vec<Oddity>) {
    let deployment = deployment();
    let mut change = |what, change: &dyn Fn(&mut Vec<String>)| {
        let mut oddity = Oddity::of(what, Kind::Changed, &deployment);
        let note = String::from_utf8(oddity.made.files.0["root/checkpoint"].clone()).expect("a note is text");
        let (text, _) = note.split_once("\n\n").expect("a note has a blank line");
        let mut lines: Vec<_> = text.split('\n').map(str::to_owned).collect();
        change(&mut lines);
        let note = deployment.signing_key().sign_note(&(lines.join("\n") + "\n"));
        oddity.made.files.0.insert("root/checkpoint".into(), note.into_bytes());
        all.push(oddity);
    };
    change("a size that is signed with a zero before it", &|lines| lines[1].insert(0, '0'));
    change("a size that is signed with a sign", &|lines| lines[1].insert(0, '+'));
}

/// Changes the files of an export, by their paths.
type Change<'a> = &'a dyn Fn(&mut std::collections::BTreeMap<String, Vec<u8>>);

/// Files that are missing, not as they were, or of no log.
fn files(all: &mut Vec<Oddity>) {
    let mut deployment = deployment();
    let old = deployment.export();
    for _ in 0..3 {
        deployment.call(A);
    }
    deployment.sign(A);
    let mut change = |what, kind, change: Change<'_>| {
        let mut oddity = Oddity::of(what, kind, &deployment);
        change(&mut oddity.made.files.0);
        all.push(oddity);
    };
    let old_tile = &old.files.0["logs/replica-a/tile/0/001.p/29"];
    change("a record that stands in the bundle before its own", Kind::Inserted, &|files| {
        let (first, second) = ("logs/replica-a/tile/entries/000", "logs/replica-a/tile/entries/001.p/32");
        let records = files.get_mut(second).expect("it is there");
        let length = 2 + usize::from(u16::from_be_bytes([records[0], records[1]]));
        let moved: Vec<u8> = records.drain(..length).collect();
        files.get_mut(first).expect("it is there").extend(moved);
    });
    change("a last record that claims to be longer", Kind::Changed, &|files| {
        let bundle = files.get_mut("logs/replica-a/tile/entries/001.p/32").expect("it is there");
        let mut at = 0;
        loop {
            let next = at + 2 + usize::from(u16::from_be_bytes([bundle[at], bundle[at + 1]]));
            if next == bundle.len() {
                break;
            }
            at = next;
        }
        bundle[at + 1] = bundle[at + 1].wrapping_add(1);
    });
    change("a tile that is missing", Kind::Deleted, &|files| drop(files.remove("logs/replica-a/tile/0/000")));
    change("a file that no log has", Kind::Inserted, &|files| drop(files.insert("root/notes".into(), Vec::new())));
    change("an older edge that is not how the newer begins", Kind::Changed, &|files| {
        let mut tile = old_tile.clone();
        tile[40] ^= 1;
        files.insert("logs/replica-a/tile/0/001.p/29".into(), tile);
    });
    change("an older edge that is shorter than it says", Kind::Changed, &|files| {
        files.insert("logs/replica-a/tile/0/001.p/30".into(), old_tile.clone());
    });
    change("a full tile that calls itself an edge", Kind::Inserted, &|files| {
        let tile = files["logs/replica-a/tile/0/000"].clone();
        files.insert("logs/replica-a/tile/0/000.p/256".into(), tile);
    });
    change("an empty edge", Kind::Inserted, &|files| {
        files.insert("logs/replica-a/tile/0/000.p/0".into(), Vec::new());
    });
    change("a log that nobody knows", Kind::Inserted, &|files| {
        files.insert("logs/replica-c/tile/entries/000".into(), Vec::new());
    });
    let mut born = deployment.clone();
    born.born("replica-c");
    let mut oddity = Oddity::of("files of a log of which nothing is signed", Kind::Inserted, &born);
    oddity.made.files.0.insert("logs/replica-c/tile/entries/000.p/1".into(), vec![0, 0]);
    all.push(oddity);
}

/// Exports that hold less than a checkpoint seen before, or something else.
fn seen_before(all: &mut Vec<Oddity>) {
    let old = deployment();
    let mut new = old.clone();
    let mut other = old.clone();
    other.reseed(5);
    for deployment in [&mut new, &mut other] {
        for _ in 0..5 {
            deployment.call(B);
        }
        deployment.sign(B);
    }
    let own = "logs/replica-b/checkpoint";
    let (root, log) = (new.export().checkpoint(), new.export().files.0[own].clone());
    let mut seen = |what, kind, deployment: &Deployment, since: &[u8]| {
        let mut oddity = Oddity::of(what, kind, deployment);
        oddity.since = Some(since.to_vec());
        all.push(oddity);
    };
    seen("a root log that was longer before", Kind::RolledBack, &old, &root);
    seen("a root log that was another before", Kind::Forked, &other, &root);
    seen("a log that was longer before", Kind::RolledBack, &old, &log);
    seen("a log that was another before", Kind::Forked, &other, &log);
    let known = old.note_of("replica-c", 4, leaf_hash(b""));
    seen("a log that was there before", Kind::MissingLog, &old, known.as_bytes());
}

/// Ledgers that do not tell of the records' money.
fn ledgers(all: &mut Vec<Oddity>) {
    let mut deployment = deployment();
    let mut change = |what, change: &dyn Fn(String) -> String| {
        let mut oddity = Oddity::of(what, Kind::LedgerMismatch, &deployment);
        let text = String::from_utf8(oddity.made.dump()).expect("a dump is text");
        oddity.dump = Some(change(text).into_bytes());
        all.push(oddity);
    };
    let cut = |text: String| text.split_once('\n').expect("many lines").1.to_owned();
    change("an entry that no line of the ledger has", &cut);
    change("an entry that the ledger has twice", &|text| {
        let first = text.lines().next().expect("many lines").to_owned();
        format!("{text}{first}\n")
    });
    change("an amount that is another", &|text| text.replacen("\"costNanoUsd\":\"", "\"costNanoUsd\":\"7", 1));
    change("an entry of a replica without a log", &|text| {
        let line = text.lines().nth(150).expect("many lines").replace(A, "replica-c").replace("call_", "call_f");
        format!("{text}{line}\n")
    });
    change("a line that is no entry", &|text| format!("{text}{{}}\n"));
    let copied = deployment.entries_of(B, 1);
    deployment.call_with_entries(A, copied);
    deployment.sign(A);
    all.push(Oddity::of("an entry that two records have", Kind::LedgerMismatch, &deployment));
}
