//! The root log, and the replicas' logs as it names them.

use std::{collections::BTreeMap, io};

use prost::Message;
use tollgate_proto::v1::{ReplicaBorn, ReplicaCheckpoint, ReplicaClosed, RootEntry, root_entry};

use super::{
    Finding, Kind, LogReport, Run, VerifyError, dated, each_record,
    reader::LogReader,
    records::micros,
    replica::{Replica, SINCE_SAYS},
    told,
};
use crate::{Checkpoint, Files, Keyring, ROOT_LOG, TILE_WIDTH, TilePath, dated_size};

/// Takes the rotations that the root log holds: whether it is to be trusted is seen later, and each is signed by both of its keys.
pub(super) fn find_rotations(files: &dyn Files, size: u64, keyring: &mut Keyring) -> io::Result<()> {
    each_record(files, ROOT_LOG, size, |_, bytes| {
        if let Ok(RootEntry { entry: Some(root_entry::Entry::KeyRotated(rotated)), .. }) = RootEntry::decode(bytes) {
            // One that does not hold is told when the log is read.
            let _ = keyring.take(&rotated);
        }
    })
}

/// The replicas by their ids.
type Replicas<'a> = BTreeMap<String, Replica<'a>>;

impl<'a> Run<'a> {
    /// Reads the root log, and each replica's log beside it.
    pub(super) fn read_logs(&mut self, checkpoint: Checkpoint) -> Result<(), VerifyError> {
        let origin = checkpoint.origin.clone();
        let mut since: Vec<_> = self.since.iter().filter(|since| since.origin == origin).cloned().collect();
        since.reverse();
        let mut root = LogReader::new(self.files, ROOT_LOG, ROOT_LOG.into(), checkpoint);
        let mut replicas = Replicas::new();
        let mut last_us = 0;
        loop {
            let bundle_end = (root.at() / TILE_WIDTH + 1) * TILE_WIDTH;
            let stop = since.last().map_or(bundle_end, |since| since.size.min(bundle_end));
            let (at, mut leaves) = (root.at(), Vec::new());
            root.advance(stop, &mut self.findings, &mut |index, bytes, _, clean| {
                leaves.push((index, RootEntry::decode(bytes).ok(), clean));
            })?;
            for (index, leaf, clean) in leaves {
                self.take_leaf(index, leaf, clean, &mut last_us, &mut replicas)?;
            }
            while let Some(seen) = since.pop_if(|seen| seen.size == root.at()) {
                root.check(seen.root, SINCE_SAYS);
            }
            if root.at() == at {
                break;
            }
        }
        root.finish(&mut self.findings, &mut |_, _, _, _| {})?;
        if let Some(seen) = since.first().filter(|seen| seen.size > root.size()) {
            let message = format!("{} leaves, and {} were signed before", root.size(), seen.size);
            let finding = Finding::new(Kind::RolledBack, ROOT_LOG, message);
            self.findings.push(finding.at(root.size() + 1).in_file("root/checkpoint"));
        }
        let (size, hash) = (root.size(), root.checkpoint().root.to_string());
        self.report.logs.push(LogReport { log: ROOT_LOG.into(), size, root: hash, last_us });
        self.deployment_us.1 = last_us;
        self.finish_replicas(replicas)
    }

    fn finish_replicas(&mut self, mut replicas: Replicas<'a>) -> Result<(), VerifyError> {
        // One that was seen before and that the root log no longer names.
        for since in self.since.clone() {
            if let Some((_, id)) = crate::split_origin(&since.origin).filter(|(_, id)| *id != ROOT_LOG) {
                self.replica(id, &mut replicas)?;
            }
        }
        for (id, replica) in &mut replicas {
            replica.finish(self.files, &self.keyring, &mut self.books, &mut self.findings)?;
            self.report.records += replica.records.count;
            self.report.logs.extend(replica.report());
            self.covered.insert(id.clone(), replica.covered());
            if let Some(progress) = self.options.progress {
                progress(self.report.records, self.report.records);
            }
        }
        let mut unknown = BTreeMap::new();
        self.files.list("logs/", &mut |path| {
            let path = path.trim_start_matches("logs/");
            let (id, below) = path.split_once('/').unwrap_or((path, ""));
            if !replicas.contains_key(id) {
                let (files, of_export) = unknown.entry(id.to_owned()).or_insert((0, true));
                *files += 1;
                *of_export &= TilePath::parse(below).is_some() || dated_size(below).is_some();
            }
        })?;
        let is_dated = dated::is_dated(self.files, "root")?;
        for (id, (files, of_export)) in unknown {
            if is_dated && of_export {
                // The next checkpoint of the root log will tell of its birth.
                self.findings.unsigned += files;
                continue;
            }
            let finding = Finding::new(Kind::Inserted, &id, "a log that the root log does not know");
            self.findings.push(finding.in_file(format!("logs/{id}")));
        }
        Ok(())
    }

    /// The replica of this id, which is opened where it was not.
    fn replica<'r>(&mut self, id: &str, replicas: &'r mut Replicas<'a>) -> io::Result<&'r mut Replica<'a>> {
        if !replicas.contains_key(id) {
            let deployment = &self.report.deployment;
            let opened = Replica::open(self.files, deployment, id, &self.keyring, &self.since, &mut self.findings)?;
            replicas.insert(id.into(), opened);
        }
        replicas.get_mut(id).ok_or_else(|| io::Error::other("a replica was not kept"))
    }

    /// Takes one leaf of the root log. `clean`: the tile above agrees, so that what is odd here is not told there already.
    fn take_leaf(
        &mut self,
        index: u64,
        leaf: Option<RootEntry>,
        clean: bool,
        last_us: &mut i64,
        replicas: &mut Replicas<'a>,
    ) -> Result<(), VerifyError> {
        let odd = |message: &str| Finding::new(Kind::Malformed, ROOT_LOG, message).at(index + 1);
        let Some(RootEntry { time, entry: Some(entry) }) = leaf else {
            if clean {
                self.findings.push(odd("no tollgate.v1.RootEntry"));
            }
            return Ok(());
        };
        let time = micros(time.as_ref());
        if clean && time < *last_us {
            let message = format!("it is {} microseconds older than the latest before it", *last_us - time);
            self.findings.push(Finding::new(Kind::TimeBackwards, ROOT_LOG, message).at(index + 1));
        }
        if index == 0 {
            self.deployment_us.0 = time;
        }
        *last_us = time.max(*last_us);
        use root_entry::Entry;
        match entry {
            Entry::ReplicaBorn(born) => self.take_born(&born, odd, replicas)?,
            Entry::Checkpoint(signed) => self.take_checkpoint(index, &signed, odd, replicas)?,
            Entry::ReplicaClosed(closed) => self.take_closed(&closed, odd, replicas)?,
            Entry::KeyRotated(rotated) => {
                if let Err(error) = Keyring::new(Vec::new()).take(&rotated) {
                    let message = format!("key_rotated.{error}");
                    self.findings.push(Finding::new(Kind::WrongKey, ROOT_LOG, message).at(index + 1));
                }
            }
        }
        Ok(())
    }

    fn take_born(
        &mut self,
        born: &ReplicaBorn,
        odd: impl Fn(&str) -> Finding,
        replicas: &mut Replicas<'a>,
    ) -> Result<(), VerifyError> {
        let origin = crate::log_origin(&self.report.deployment, &born.replica);
        if !may_be_id(&born.replica) || born.origin != origin {
            self.findings.push(odd("replica_born.replica is no id, or origin is not its origin"));
            return Ok(());
        }
        let replica = self.replica(&born.replica, replicas)?;
        let again = std::mem::replace(&mut replica.born, true);
        replica.records.first_size = born.first_size.try_into().unwrap_or(0);
        if again {
            self.findings.push(odd("replica_born.replica is born already"));
        }
        Ok(())
    }

    fn take_checkpoint(
        &mut self,
        index: u64,
        signed: &ReplicaCheckpoint,
        odd: impl Fn(&str) -> Finding,
        replicas: &mut Replicas<'a>,
    ) -> Result<(), VerifyError> {
        let id = &signed.replica;
        if !may_be_id(id) {
            self.findings.push(odd("checkpoint.replica is no id"));
            return Ok(());
        }
        let checkpoint = match Checkpoint::open(signed.note.as_bytes(), self.keyring.trusted()) {
            Ok((checkpoint, _)) => checkpoint,
            Err(error) => {
                let mut finding = told(ROOT_LOG, "", &error).at(index + 1);
                finding.path = None;
                self.findings.push(finding);
                return Ok(());
            }
        };
        if checkpoint.origin != crate::log_origin(&self.report.deployment, id) {
            self.findings.push(odd("checkpoint.note is of another log than checkpoint.replica"));
            return Ok(());
        }
        let replica = self.replica(id, replicas)?;
        if !replica.born || replica.closed.is_some() {
            let words = if replica.born { "checkpoint.replica is closed" } else { "checkpoint.replica is not born" };
            self.findings.push(odd(words));
        }
        let replica = self.replica(id, replicas)?;
        if checkpoint.size < replica.signed {
            let message = format!("{id} has {} records here and had {} before", checkpoint.size, replica.signed);
            self.findings.push(Finding::new(Kind::RolledBack, ROOT_LOG, message).at(index + 1));
            return Ok(());
        }
        replica.take(&checkpoint, &mut self.books, &mut self.findings)?;
        let count = |of: fn(&Replica<'a>) -> u64| replicas.values().map(of).sum();
        self.progress(count(|replica| replica.records.count), count(Replica::size));
        Ok(())
    }

    fn take_closed(
        &mut self,
        closed: &ReplicaClosed,
        odd: impl Fn(&str) -> Finding,
        replicas: &mut Replicas<'a>,
    ) -> Result<(), VerifyError> {
        match replicas.get_mut(&closed.replica) {
            Some(replica) if u64::try_from(closed.size) == Ok(replica.signed) => replica.closed = Some(replica.signed),
            Some(_) => self.findings.push(odd("replica_closed.size is not that of its last checkpoint")),
            None => self.findings.push(odd("replica_closed.replica is not born")),
        }
        Ok(())
    }
}

/// Whether it names one folder below `logs/` and nothing else.
fn may_be_id(id: &str) -> bool {
    let fine = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    (1..=128).contains(&id.len()) && id.chars().all(fine) && !id.starts_with('.') && id != ROOT_LOG
}
