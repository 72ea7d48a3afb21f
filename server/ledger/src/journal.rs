//! The local journal: what makes `kill -9` lose nothing.
//!
//! A record is written to the file before it counts. Segments are named by the sequence of their first record; each begins with
//! [`MAGIC`], and a record is `len u32 | crc32c u32 | sequence u64 | payload`, little-endian, the checksum over all that follows it. A torn tail of
//! the last segment is cut at the start; a bad record in an older one is corruption, and the start is refused.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use tollgate_store::Positions;

const MAGIC: &[u8; 8] = b"TGJRNL01";
const HEAD: usize = 16;
/// A new segment begins once one is larger than this.
const SEGMENT_BYTES: u64 = 32 << 20;
const MAX_RECORD: usize = 4 << 20;

/// Why the journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Another process has it.
    #[error("the journal in {0} is in use by another process; two gateways need two data directories")]
    InUse(PathBuf),
    /// A record that is not the last is damaged.
    #[error(
        "the journal segment {segment} is damaged after sequence {after}; restore it from a copy, or move it away to give up the \
         records behind it"
    )]
    Corrupt {
        /// File.
        segment: PathBuf,
        /// The last good sequence.
        after: u64,
    },
    /// A file of another version.
    #[error("{0} is not a journal segment of this version; start the version that wrote it")]
    Version(PathBuf),
    /// The disk.
    #[error("journal: {0}")]
    Io(#[from] io::Error),
}

/// An append-only file in segments. One writer; the caller serialises.
pub(crate) struct Journal {
    dir: PathBuf,
    file: File,
    /// End of the last whole record.
    offset: u64,
    next: u64,
    buffer: Vec<u8>,
    /// First sequences of older segments, ascending; the current one is not among them.
    older: Vec<u64>,
    current: u64,
    /// The space that is set aside is still there.
    reserved: bool,
    _lock: File,
}

/// Where a start goes on that cannot ask the store.
const POSITIONS: &str = "positions";
/// Set aside on the disk, so that ends of calls in flight find room when it is full.
const RESERVE_BYTES: usize = 4 << 20;

/// A record as it was found.
pub(crate) struct Found {
    pub(crate) sequence: u64,
    pub(crate) payload: Vec<u8>,
}

impl Journal {
    /// Opens the directory, takes its lock, and reads every record that is there.
    pub(crate) fn open(dir: &Path) -> Result<(Self, Vec<Found>), JournalError> {
        fs::create_dir_all(dir)?;
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(dir.join("lock"))?;
        lock.try_lock().map_err(|_| JournalError::InUse(dir.to_owned()))?;

        let mut firsts = segments(dir)?;
        let mut found = Vec::new();
        let mut next = 1;
        let mut offset = 0;
        for (i, &first) in firsts.iter().enumerate() {
            let path = segment_path(dir, first);
            let last = i + 1 == firsts.len();
            let mut bytes = Vec::new();
            File::open(&path)?.read_to_end(&mut bytes)?;
            if bytes.len() >= MAGIC.len() && &bytes[..MAGIC.len()] != MAGIC {
                return Err(JournalError::Version(path));
            }
            next = next.max(first);
            let good = read_records(&bytes, &mut next, &mut found);
            if good < bytes.len() || bytes.len() < MAGIC.len() {
                if !last {
                    return Err(JournalError::Corrupt { segment: path, after: next - 1 });
                }
                tracing::warn!(segment = %path.display(), after = next - 1, "cut a torn tail off the journal");
            }
            offset = good as u64;
        }
        let (file, current) = match firsts.pop() {
            Some(first) => {
                let path = segment_path(dir, first);
                let mut file = OpenOptions::new().read(true).write(true).open(path)?;
                file.set_len(offset)?;
                if offset < MAGIC.len() as u64 {
                    file.set_len(0)?;
                    file.write_all(MAGIC)?;
                    offset = MAGIC.len() as u64;
                }
                file.seek(SeekFrom::Start(offset))?;
                (file, first)
            }
            None => {
                offset = MAGIC.len() as u64;
                (new_segment(dir, next)?, next)
            }
        };
        let journal = Self {
            dir: dir.to_owned(),
            file,
            offset,
            next,
            buffer: Vec::with_capacity(4096),
            older: firsts,
            current,
            reserved: set_aside(dir),
            _lock: lock,
        };
        Ok((journal, found))
    }

    /// Gives the space that was set aside to the journal; false: it was given before.
    pub(crate) fn free_reserve(&mut self) -> bool {
        std::mem::take(&mut self.reserved) && fs::remove_file(self.dir.join("reserve")).is_ok()
    }

    /// The sequence that the next record gets.
    pub(crate) fn next_sequence(&self) -> u64 {
        self.next
    }

    /// Never reuse a sequence that the store has seen, even if the segments were moved away.
    pub(crate) fn skip_to(&mut self, sequence: u64) {
        self.next = self.next.max(sequence);
    }

    /// Writes one record. After an error the file ends where it ended before.
    pub(crate) fn append(&mut self, encode: impl FnOnce(&mut Vec<u8>)) -> io::Result<u64> {
        if self.offset > SEGMENT_BYTES {
            self.rotate()?;
        }
        let sequence = self.next;
        self.buffer.clear();
        self.buffer.resize(HEAD, 0);
        encode(&mut self.buffer);
        let length = (self.buffer.len() - HEAD) as u32;
        self.buffer[8..HEAD].copy_from_slice(&sequence.to_le_bytes());
        self.buffer[..4].copy_from_slice(&length.to_le_bytes());
        let checksum = crc32c::crc32c(&self.buffer[8..]);
        self.buffer[4..8].copy_from_slice(&checksum.to_le_bytes());
        if let Err(error) = self.file.write_all(&self.buffer) {
            // A half-written record must not hide the next one.
            let _ = self.file.set_len(self.offset);
            let _ = self.file.seek(SeekFrom::Start(self.offset));
            return Err(error);
        }
        self.offset += self.buffer.len() as u64;
        self.next += 1;
        Ok(sequence)
    }

    /// A handle to sync, without holding up the writer.
    pub(crate) fn handle(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Where a start goes on that cannot ask the store: written before a segment is deleted, so that what is left always reaches back
    /// to there. Nothing was ever deleted: from the beginning.
    pub(crate) fn positions(&self) -> Result<Positions, JournalError> {
        let path = self.dir.join(POSITIONS);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Positions::default()),
            Err(error) => return Err(error.into()),
        };
        let numbers: Option<Vec<u64>> = text.split_whitespace().map(|n| n.parse().ok()).collect();
        match numbers.as_deref() {
            Some([journal, ledger, audit, check]) if *check == journal ^ ledger ^ audit => Ok(Positions {
                journal: *journal,
                ledger: i64::try_from(*ledger).unwrap_or(i64::MAX),
                audit: i64::try_from(*audit).unwrap_or(i64::MAX),
            }),
            _ => Err(JournalError::Version(path)),
        }
    }

    fn keep_positions(&self, positions: Positions) -> io::Result<()> {
        let Positions { journal, ledger, audit } = positions;
        let (ledger, audit) = (ledger.unsigned_abs(), audit.unsigned_abs());
        let draft = self.dir.join("positions.new");
        let mut file = File::create(&draft)?;
        writeln!(file, "{journal} {ledger} {audit} {}", journal ^ ledger ^ audit)?;
        file.sync_all()?;
        fs::rename(draft, self.dir.join(POSITIONS))
    }

    /// Deletes segments whose records are all before `sequence`; `positions`: where a restart goes on.
    pub(crate) fn trim_before(&mut self, sequence: u64, positions: Positions) {
        let mut kept = false;
        while let Some(&first) = self.older.first() {
            let end = self.older.get(1).copied().unwrap_or(self.current);
            if end > sequence {
                return;
            }
            if !std::mem::replace(&mut kept, true)
                && let Err(error) = self.keep_positions(positions)
            {
                tracing::warn!(%error, "a journal segment stays: where a restart goes on cannot be written");
                return;
            }
            if let Err(error) = fs::remove_file(segment_path(&self.dir, first)) {
                tracing::warn!(%error, "cannot delete a journal segment that is no longer needed");
                return;
            }
            self.older.remove(0);
        }
    }

    fn rotate(&mut self) -> io::Result<()> {
        self.file.sync_data()?;
        let file = new_segment(&self.dir, self.next)?;
        self.older.push(self.current);
        self.current = self.next;
        self.file = file;
        self.offset = MAGIC.len() as u64;
        Ok(())
    }
}

/// Whether there is room to set aside; a disk without it is already in trouble, and says so.
fn set_aside(dir: &Path) -> bool {
    let path = dir.join("reserve");
    if fs::metadata(&path).is_ok_and(|m| m.len() == RESERVE_BYTES as u64) {
        return true;
    }
    // Written, not only sized: a hole takes no room.
    let written = fs::write(&path, vec![0x55; RESERVE_BYTES]);
    if let Err(error) = &written {
        tracing::warn!(%error, "no room to set aside for a full disk");
        let _ = fs::remove_file(&path);
    }
    written.is_ok()
}

fn segment_path(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("{first:020}.journal"))
}

fn new_segment(dir: &Path, first: u64) -> io::Result<File> {
    let mut file =
        OpenOptions::new().create(true).read(true).write(true).truncate(true).open(segment_path(dir, first))?;
    file.write_all(MAGIC)?;
    File::open(dir)?.sync_all()?;
    Ok(file)
}

fn segments(dir: &Path) -> io::Result<Vec<u64>> {
    let mut firsts = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        if let Some(first) = name.to_str().and_then(|n| n.strip_suffix(".journal")).and_then(|n| n.parse().ok()) {
            firsts.push(first);
        }
    }
    firsts.sort_unstable();
    Ok(firsts)
}

/// Reads whole, undamaged records and returns where they end.
fn read_records(bytes: &[u8], next: &mut u64, found: &mut Vec<Found>) -> usize {
    let mut at = MAGIC.len().min(bytes.len());
    loop {
        let Some(head) = bytes.get(at..at + HEAD) else { return at };
        let word = |from: usize| u32::from_le_bytes([head[from], head[from + 1], head[from + 2], head[from + 3]]);
        let (length, checksum) = (word(0) as usize, word(4));
        if length > MAX_RECORD {
            return at;
        }
        let Some(body) = bytes.get(at + 8..at + HEAD + length) else { return at };
        if crc32c::crc32c(body) != checksum && !tollgate_planted::bug("checksum_unchecked") {
            return at;
        }
        let sequence = u64::from(word(8)) | u64::from(word(12)) << 32;
        // Positions only move on; a skip is a start after segments were given up.
        if sequence < *next {
            return at;
        }
        found.push(Found { sequence, payload: body[8..].to_vec() });
        *next = sequence + 1;
        at += HEAD + length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(dir: &Path, texts: &[&str]) {
        let (mut journal, _) = Journal::open(dir).unwrap();
        for text in texts {
            journal.append(|b| b.extend_from_slice(text.as_bytes())).unwrap();
        }
    }

    fn read(dir: &Path) -> Vec<String> {
        let (_, found) = Journal::open(dir).unwrap();
        found.iter().map(|f| String::from_utf8(f.payload.clone()).unwrap()).collect()
    }

    #[test]
    fn records_read_back_in_order_after_every_reopening() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &["a", "b"]);
        write(dir.path(), &["c"]);
        assert_eq!(read(dir.path()), ["a", "b", "c"]);
    }

    #[test]
    fn a_second_process_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (_first, _) = Journal::open(dir.path()).unwrap();
        assert!(matches!(Journal::open(dir.path()), Err(JournalError::InUse(_))));
    }

    #[test]
    fn a_tail_torn_at_any_byte_is_cut_and_writing_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &["first", "second"]);
        let whole = fs::read(segment_path(dir.path(), 1)).unwrap();
        let first_ends = MAGIC.len() + HEAD + 5;
        for cut in 0..whole.len() {
            let torn = tempfile::tempdir().unwrap();
            fs::write(segment_path(torn.path(), 1), &whole[..cut]).unwrap();
            let kept = read(torn.path());
            assert_eq!(kept, if cut >= first_ends { vec!["first"] } else { vec![] }, "cut at {cut}");
            write(torn.path(), &["after"]);
            assert_eq!(read(torn.path()).last().map(String::as_str), Some("after"), "cut at {cut}");
        }
    }

    #[test]
    fn any_flipped_bit_in_an_older_segment_stops_the_start() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &["first", "second"]);
        let good = fs::read(segment_path(dir.path(), 1)).unwrap();
        fs::write(segment_path(dir.path(), 3), MAGIC).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(segment_path(dir.path(), 1), &bad).unwrap();
            let error = Journal::open(dir.path()).map(|_| ()).unwrap_err();
            assert!(matches!(error, JournalError::Corrupt { .. } | JournalError::Version(_)), "byte {at}: {error}");
        }
    }

    #[test]
    fn segments_are_deleted_only_when_all_their_records_may_go() {
        let dir = tempfile::tempdir().unwrap();
        let (mut journal, _) = Journal::open(dir.path()).unwrap();
        journal.append(|b| b.push(1)).unwrap();
        journal.append(|b| b.push(2)).unwrap();
        journal.rotate().unwrap();
        journal.append(|b| b.push(3)).unwrap();
        journal.trim_before(2, Positions::default());
        assert_eq!(segments(dir.path()).unwrap(), [1, 3]);
        journal.trim_before(3, Positions { journal: 2, ledger: 1, audit: 1 });
        assert_eq!(journal.positions().unwrap().journal, 2);
        assert_eq!(segments(dir.path()).unwrap(), [3]);
    }
}
