//! The log of one replica beside the root log.

use std::io;

use super::{
    Finding, Kind, LogReport, dated,
    finding::Findings,
    ledger::{Books, Line},
    reader::LogReader,
    records::Records,
    told,
};
use crate::{Checkpoint, Files, Keyring, TilePath};

/// Says that the root log signs something.
const ROOT_SAYS: &str = "a checkpoint in the root log";
/// Says that a checkpoint of `since` signs something.
pub(super) const SINCE_SAYS: &str = "the checkpoint seen before";

/// What the root log has said about a replica so far, and how far its log is read.
pub(super) struct Replica<'a> {
    id: String,
    pub(super) born: bool,
    pub(super) closed: Option<u64>,
    /// Size of its last checkpoint in the root log.
    pub(super) signed: u64,
    reader: Option<LogReader<'a>>,
    pub(super) records: Records,
    /// Checkpoints seen before that are not reached yet, the smallest last.
    since: Vec<Checkpoint>,
    /// There is a checkpoint, and it was told why it is not believed.
    refused: bool,
}

impl<'a> Replica<'a> {
    /// Opens its log, where there is one.
    pub(super) fn open(
        files: &'a dyn Files,
        deployment: &str,
        id: &str,
        keyring: &Keyring,
        since: &[Checkpoint],
        findings: &mut Findings,
    ) -> io::Result<Self> {
        let origin = crate::log_origin(deployment, id);
        let folder = format!("logs/{id}");
        let mut since: Vec<_> = since.iter().filter(|since| since.origin == origin).cloned().collect();
        since.extend(dated::read(files, id, &folder, &origin, keyring, findings)?);
        since.sort_by_key(|since| std::cmp::Reverse(since.size));
        let mut replica = Self {
            id: id.into(),
            born: false,
            closed: None,
            signed: 0,
            reader: None,
            records: Records::new(id),
            since,
            refused: false,
        };
        let Some((path, note)) = dated::newest(files, &folder)? else { return Ok(replica) };
        match Checkpoint::open(&note, keyring.trusted()) {
            Err(error) => {
                findings.push(told(id, &path, &error));
                replica.refused = true;
            }
            Ok((checkpoint, _)) if checkpoint.origin != origin => {
                let message = format!("the checkpoint of {:?} stands here", checkpoint.origin);
                findings.push(Finding::new(Kind::Swapped, id, message).in_file(path));
                replica.refused = true;
            }
            Ok((checkpoint, _)) => replica.reader = Some(LogReader::new(files, id, folder, checkpoint)),
        }
        Ok(replica)
    }

    /// The size that is signed for its log.
    pub(super) fn size(&self) -> u64 {
        self.reader.as_ref().map_or(0, LogReader::size)
    }

    /// Takes a checkpoint from the root log.
    pub(super) fn take(&mut self, signed: &Checkpoint, books: &mut Books, findings: &mut Findings) -> io::Result<()> {
        self.signed = signed.size;
        self.advance(signed.size, books, findings)?;
        let Some(reader) = &mut self.reader else { return Ok(()) };
        if reader.at() == signed.size {
            reader.check(signed.root, ROOT_SAYS);
        }
        Ok(())
    }

    /// Reads on, stopping where a checkpoint was seen before.
    fn advance(&mut self, to: u64, books: &mut Books, findings: &mut Findings) -> io::Result<()> {
        let Some(reader) = &mut self.reader else { return Ok(()) };
        let (id, records) = (&self.id, &mut self.records);
        let mut visit = |index: u64, bytes: &[u8], _, clean: bool| {
            for entry in records.take(index, bytes, clean).into_iter().flat_map(|head| head.entries) {
                books.record(&Line { replica: id, attempt_id: &entry.attempt_id, nano: entry.cost_nano_usd });
            }
        };
        while let Some(since) = self.since.pop_if(|since| since.size <= to) {
            reader.advance(since.size, findings, &mut visit)?;
            if reader.at() == since.size {
                reader.check(since.root, SINCE_SAYS);
            } else {
                self.since.push(since);
                break;
            }
        }
        reader.advance(to, findings, &mut visit)
    }

    /// Reads the rest, and tells what is known only now.
    pub(super) fn finish(
        &mut self,
        files: &dyn Files,
        keyring: &Keyring,
        books: &mut Books,
        findings: &mut Findings,
    ) -> io::Result<()> {
        self.advance(self.size(), books, findings)?;
        let (id, signed) = (&self.id, self.signed.max(self.since.first().map_or(0, |since| since.size)));
        let Some(reader) = &mut self.reader else {
            if !self.refused
                && let Some(finding) = missing(files, id, signed, findings)?
            {
                findings.push(finding);
            }
            return Ok(());
        };
        reader.finish(findings, &mut |_, _, _, _| {})?;
        self.records.finish(reader, findings);
        let size = reader.size();
        let newest = dated::newest(files, &format!("logs/{id}"))?;
        let (path, note) = newest.unwrap_or_else(|| (format!("logs/{id}/checkpoint"), Vec::new()));
        if size < signed {
            let message = format!("{size} records, and {signed} were signed before");
            findings.push(Finding::new(Kind::RolledBack, id, message).at(size + 1).in_file(path));
        } else if size > self.signed {
            // Newer than what the root log has: only a key that still signs may say so.
            if let Err(error) = Checkpoint::open(&note, keyring.current()) {
                findings.push(told(id, &path, &error));
            }
        }
        if self.closed.is_some_and(|closed| closed != size) {
            let message = format!("{size} records, and the root log closes it at {}", self.closed.unwrap_or(0));
            findings.push(Finding::new(Kind::Malformed, id, message));
        }
        Ok(())
    }

    pub(super) fn report(&self) -> Option<LogReport> {
        let checkpoint = self.reader.as_ref()?.checkpoint();
        let (size, root) = (checkpoint.size, checkpoint.root.to_string());
        Some(LogReport { log: self.id.clone(), size, root, last_us: self.records.last_us })
    }

    /// From behind which moment to which its records cover the ledger.
    pub(super) fn covered(&self) -> (i64, i64) {
        let from = if self.records.first_size == 0 { i64::MIN } else { self.records.began_us.unwrap_or(i64::MIN) };
        (from, self.records.last_us)
    }
}

/// What is said of a log without a checkpoint.
fn missing(files: &dyn Files, id: &str, signed: u64, findings: &mut Findings) -> io::Result<Option<Finding>> {
    let (mut any, mut tiles, below) = (false, 0, format!("logs/{id}/"));
    files.list(&below, &mut |path| match path.strip_prefix(&below).and_then(TilePath::parse) {
        Some(_) => tiles += 1,
        None => any = true,
    })?;
    if !any && signed == 0 && dated::is_dated(files, "root")? {
        // An export under way: the log's first checkpoint comes behind what it signs.
        findings.unsigned += tiles;
        return Ok(None);
    }
    any |= tiles > 0;
    let (checkpoint, folder) = (format!("logs/{id}/checkpoint"), format!("logs/{id}"));
    Ok(match (any, signed) {
        (true, 0) => {
            Some(Finding::new(Kind::Inserted, id, "files of a log of which nothing was signed").in_file(folder))
        }
        (true, _) => Some(Finding::new(Kind::Deleted, id, "the log's checkpoint is missing").in_file(checkpoint)),
        (false, 0) => None,
        (false, _) => Some(Finding::new(Kind::MissingLog, id, format!("the root log knows {signed} records of it"))),
    })
}
