//! Records on disk: segment files that are appended to, read in order, and deleted once they are read.
//!
//! A record is its length, its CRC-32 (both little-endian) and its bytes. A torn end, which only a crash leaves, is cut off at the next
//! start. How far the first segment is read stands in the file `position`; it may be behind, never ahead: at least once.

use std::{
    collections::VecDeque,
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// Bytes before a record.
const HEAD: usize = 8;
/// Segments are numbered from here, so that there is room before them.
const FIRST: u64 = 1 << 32;
/// A segment is no larger than this, unless one record is.
const LARGEST_SEGMENT: u64 = 4 << 20;
/// The file that says how far the first segment is read.
const POSITION: &str = "position";

struct Segment {
    number: u64,
    bytes: u64,
    /// Lengths of its records that are not read, heads included.
    unread: VecDeque<u32>,
}

/// The segments of one sink.
pub(crate) struct Spill {
    dir: PathBuf,
    max_bytes: u64,
    segments: VecDeque<Segment>,
    /// Open for appending: the last segment.
    writer: Option<File>,
    /// How far the first segment is read.
    read_at: u64,
}

impl Spill {
    /// Opens what is there.
    pub(crate) fn open(dir: &Path, max_bytes: u64) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let mut numbers: Vec<u64> = fs::read_dir(dir)?.filter_map(|entry| number_of(&entry.ok()?.path())).collect();
        numbers.sort_unstable();
        let mut spill = Self { dir: dir.to_owned(), max_bytes, segments: VecDeque::new(), writer: None, read_at: 0 };
        let (first, read_at) = spill.position();
        for number in numbers {
            let path = spill.path(number);
            if number < first {
                fs::remove_file(path)?;
                continue;
            }
            let from = if number == first { read_at } else { 0 };
            let segment = scan(&path, number, from)?;
            if segment.unread.is_empty() {
                fs::remove_file(path)?;
                continue;
            }
            if spill.segments.is_empty() {
                spill.read_at = from;
            }
            spill.segments.push_back(segment);
        }
        Ok(spill)
    }

    /// Appends a record. `false`: there is no room for it.
    pub(crate) fn append(&mut self, payload: &[u8]) -> io::Result<bool> {
        let record = framed(payload);
        let length = record.len() as u64;
        if self.bytes() + length > self.max_bytes {
            return Ok(false);
        }
        if self.writer.is_none() || self.segments.back().is_none_or(|s| s.bytes + length > self.segment_bytes()) {
            self.begin_segment()?;
        }
        let (Some(file), Some(segment)) = (&self.writer, self.segments.back_mut()) else { return Ok(false) };
        // At its place and not at the end: what a full disk has cut short is written over.
        file.write_all_at(&record, segment.bytes)?;
        segment.bytes += length;
        segment.unread.push_back(record.len() as u32);
        Ok(true)
    }

    /// Puts records before all others. `false`: there is no room for them.
    pub(crate) fn prepend(&mut self, payloads: &[Vec<u8>]) -> io::Result<bool> {
        let mut bytes = Vec::new();
        let mut unread = VecDeque::new();
        for payload in payloads {
            let record = framed(payload);
            unread.push_back(record.len() as u32);
            bytes.extend(record);
        }
        let length = bytes.len() as u64;
        // Behind a segment that is half read there is no place.
        if self.bytes() + length > self.max_bytes || self.read_at > 0 {
            return Ok(false);
        }
        let number = self.segments.front().map_or(FIRST, |first| first.number) - 1;
        let path = self.path(number);
        if let Err(error) = new_file(&path).and_then(|mut file| file.write_all(&bytes)) {
            let _ = fs::remove_file(path);
            return Err(error);
        }
        self.segments.push_front(Segment { number, bytes: length, unread });
        self.save_position()?;
        Ok(true)
    }

    /// The first records, at most so many and so many bytes, but one at least.
    pub(crate) fn peek(&self, max_records: usize, max_bytes: usize) -> io::Result<Vec<Vec<u8>>> {
        let mut found = Vec::new();
        let mut bytes = 0;
        for (i, segment) in self.segments.iter().enumerate() {
            let mut at = if i == 0 { self.read_at } else { 0 };
            let file = File::open(self.path(segment.number))?;
            for length in &segment.unread {
                bytes += *length as usize;
                if found.len() >= max_records || (bytes > max_bytes && !found.is_empty()) {
                    return Ok(found);
                }
                let mut record = vec![0; *length as usize];
                file.read_exact_at(&mut record, at)?;
                at += u64::from(*length);
                found.push(record.split_off(HEAD));
            }
        }
        Ok(found)
    }

    /// The first `count` records are dealt with.
    pub(crate) fn advance(&mut self, count: usize) -> io::Result<()> {
        let mut left = count;
        while left > 0 {
            let Some(first) = self.segments.front_mut() else { break };
            let done = left.min(first.unread.len());
            self.read_at += first.unread.drain(..done).map(u64::from).sum::<u64>();
            left -= done;
            if first.unread.is_empty() {
                let number = first.number;
                self.segments.pop_front();
                self.read_at = 0;
                if self.segments.is_empty() {
                    self.writer = None;
                }
                fs::remove_file(self.path(number))?;
            }
        }
        self.save_position()
    }

    /// Records that are not read.
    pub(crate) fn records(&self) -> usize {
        self.segments.iter().map(|segment| segment.unread.len()).sum()
    }

    /// Bytes of files.
    pub(crate) fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// So large that deleting what is read makes room soon.
    fn segment_bytes(&self) -> u64 {
        (self.max_bytes / 8).clamp(1, LARGEST_SEGMENT)
    }

    fn begin_segment(&mut self) -> io::Result<()> {
        let number = self.segments.back().map_or(FIRST, |last| last.number + 1);
        let path = self.path(number);
        self.writer = Some(new_file(&path)?);
        self.segments.push_back(Segment { number, bytes: 0, unread: VecDeque::new() });
        if self.segments.len() == 1 {
            self.save_position()?;
        }
        Ok(())
    }

    fn path(&self, number: u64) -> PathBuf {
        self.dir.join(format!("{number:020}.spill"))
    }

    fn position(&self) -> (u64, u64) {
        let text = fs::read_to_string(self.dir.join(POSITION)).unwrap_or_default();
        let read = text.trim().split_once(' ').and_then(|(n, at)| Some((n.parse().ok()?, at.parse().ok()?)));
        read.unwrap_or((0, 0))
    }

    fn save_position(&self) -> io::Result<()> {
        let number = self.segments.front().map_or(0, |first| first.number);
        let draft = self.dir.join("position.new");
        fs::write(&draft, format!("{number} {}\n", self.read_at))?;
        fs::rename(draft, self.dir.join(POSITION))
    }
}

fn new_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).truncate(true).read(true).write(true).mode(0o600).open(path)
}

fn number_of(path: &Path) -> Option<u64> {
    (path.extension()? == "spill").then(|| path.file_stem()?.to_str()?.parse().ok())?
}

fn framed(payload: &[u8]) -> Vec<u8> {
    let mut record = Vec::with_capacity(HEAD + payload.len());
    record.extend((payload.len() as u32).to_le_bytes());
    record.extend(crc32fast::hash(payload).to_le_bytes());
    record.extend(payload);
    record
}

/// Finds the whole records of a segment from a place on, and cuts off what is behind the last of them.
fn scan(path: &Path, number: u64, from: u64) -> io::Result<Segment> {
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    let mut unread = VecDeque::new();
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(from))?;
    file.read_to_end(&mut bytes)?;
    let mut at = 0;
    while let Some(length) = whole_record(&bytes[at..]) {
        unread.push_back(length as u32);
        at += length;
    }
    let end = from + at as u64;
    if at < bytes.len() {
        tracing::warn!(segment = %path.display(), cut = bytes.len() - at, "a spilled record was torn and is lost");
        file.set_len(end)?;
    }
    Ok(Segment { number, bytes: end, unread })
}

fn whole_record(bytes: &[u8]) -> Option<usize> {
    let number = |from: usize| Some(u32::from_le_bytes(bytes.get(from..from + 4)?.try_into().ok()?));
    let (length, crc) = (number(0)? as usize, number(4)?);
    let payload = bytes.get(HEAD..HEAD.checked_add(length)?)?;
    (crc32fast::hash(payload) == crc).then_some(HEAD + length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(spill: &Spill) -> Vec<u8> {
        spill.peek(1_000, usize::MAX).unwrap().into_iter().map(|record| record[0]).collect()
    }

    #[test]
    fn records_come_back_in_order_after_a_restart_and_from_where_they_were_read() {
        let dir = tempfile::tempdir().unwrap();
        let mut spill = Spill::open(dir.path(), 4_096).unwrap();
        for n in 0..20 {
            assert!(spill.append(&[n; 100]).unwrap());
        }
        spill.advance(7).unwrap();
        assert!(spill.prepend(&[vec![99]]).is_ok_and(|placed| !placed), "in the middle of a segment there is no place");
        drop(spill);
        let mut spill = Spill::open(dir.path(), 4_096).unwrap();
        assert_eq!(numbers(&spill), (7..20).collect::<Vec<_>>());
        spill.append(&[20; 100]).unwrap();
        assert_eq!(numbers(&spill), (7..21).collect::<Vec<_>>());
        spill.advance(14).unwrap();
        assert!(spill.is_empty() && spill.bytes() == 0);
        assert!(Spill::open(dir.path(), 4_096).unwrap().is_empty());
    }

    #[test]
    fn the_limit_is_of_bytes_on_disk_and_reading_makes_room() {
        let dir = tempfile::tempdir().unwrap();
        let mut spill = Spill::open(dir.path(), 1_080).unwrap();
        let kept = (0..20).filter(|n| spill.append(&[*n; 100]).unwrap()).count();
        assert_eq!(kept, 10); // 108 bytes each
        let on_disk: u64 = fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap())
            .filter(|entry| number_of(&entry.path()).is_some())
            .map(|entry| entry.metadata().unwrap().len())
            .sum();
        assert_eq!((on_disk, spill.bytes()), (1_080, 1_080));
        spill.advance(1).unwrap();
        assert!(spill.append(&[20; 100]).unwrap());
    }

    #[test]
    fn a_torn_end_is_cut_off_and_nothing_before_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut spill = Spill::open(dir.path(), 1 << 20).unwrap();
        (0..3).for_each(|n| assert!(spill.append(&[n; 50]).unwrap()));
        let path = spill.path(FIRST);
        drop(spill);
        let whole = fs::read(&path).unwrap();
        for cut in 0..whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            let spill = Spill::open(dir.path(), 1 << 20).unwrap();
            assert_eq!(spill.records(), cut / 58, "cut at {cut}");
        }
        let mut damaged = whole.clone();
        damaged[58 + 20] ^= 1;
        fs::write(&path, damaged).unwrap();
        assert_eq!(numbers(&Spill::open(dir.path(), 1 << 20).unwrap()), [0]);
    }

    #[test]
    fn what_is_put_before_all_others_is_read_first() {
        let dir = tempfile::tempdir().unwrap();
        let mut spill = Spill::open(dir.path(), 1 << 20).unwrap();
        spill.append(&[3; 10]).unwrap();
        assert!(spill.prepend(&[vec![1; 10], vec![2; 10]]).unwrap());
        assert_eq!(numbers(&spill), [1, 2, 3]);
        drop(spill);
        assert_eq!(numbers(&Spill::open(dir.path(), 1 << 20).unwrap()), [1, 2, 3]);
    }
}
