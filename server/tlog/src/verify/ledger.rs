//! Ledger entries and records: each entry stands in exactly one record with the same amount.
//!
//! Neither side fits into memory. Both are divided into parts by a keyed hash of each entry, and a part is a sum of these hashes: equal sums, the
//! same entries, since nobody can aim at a key that is drawn for this run. Only parts that differ are read once more, to name what differs.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io::{self, BufRead},
};

use ring::{
    digest::{Context, SHA256},
    rand::{SecureRandom, SystemRandom},
};
use serde::{Deserialize, Serialize};

use super::{Finding, Kind, finding::Findings};

const PARTS: usize = 4_096;
/// Parts that are read once more.
const NAMED: usize = 16;

/// What was compared with the ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LedgerReport {
    /// Entries of the dump that the export covers.
    pub entries: u64,
    /// Their sum.
    #[serde(serialize_with = "as_text")]
    pub cost_nano_usd: i128,
    /// Entries of the dump before a log began or after it ends, which nothing is said about.
    pub uncovered: u64,
}

/// A number that is longer than JSON's readers take, as text.
pub(crate) fn as_text<S: serde::Serializer>(number: &i128, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(number)
}

/// When the export covers a replica: behind the first, up to the second, in microseconds.
pub(crate) type Covered = BTreeMap<String, (i64, i64)>;

/// Opens the dump: lines of `tollgate.v1.LedgerEntry` in protobuf's JSON mapping. It may be read twice.
pub type OpenLedger<'a> = &'a dyn Fn() -> io::Result<Box<dyn BufRead>>;

#[derive(Clone)]
struct Side {
    parts: Vec<(u128, u64)>,
    entries: u64,
    nano: i128,
}

impl Side {
    fn new() -> Self {
        Self { parts: vec![(0, 0); PARTS], entries: 0, nano: 0 }
    }

    fn add(&mut self, (part, hash): (usize, u128), nano: i64) {
        let (sum, count) = &mut self.parts[part];
        (*sum, *count) = (sum.wrapping_add(hash), *count + 1);
        self.entries += 1;
        self.nano += i128::from(nano);
    }
}

/// Both sides, added up.
pub(crate) struct Books {
    marks: Marks,
    compared: bool,
    records: Side,
    ledger: Side,
    uncovered: u64,
}

/// The keyed hash of this run.
struct Marks([u8; 32]);

impl Marks {
    /// Part and hash of an entry. The part is of the name alone, so that two amounts for one entry meet there; no two amounts give one entry the
    /// same hash, since an odd number times their difference is not nothing.
    fn of(&self, line: &Line<'_>) -> (usize, u128) {
        let mut context = Context::new(&SHA256);
        context.update(&self.0);
        context.update(&(line.replica.len() as u64).to_be_bytes());
        context.update(line.replica.as_bytes());
        context.update(line.attempt_id.as_bytes());
        let digest = context.finish();
        let half = |bytes: &[u8]| bytes.iter().fold(0u128, |number, byte| number << 8 | u128::from(*byte));
        let (name, factor) = digest.as_ref().split_at(16);
        let (name, factor) = (half(name), half(factor) | 1);
        let amount = i128::from(line.nano) as u128;
        ((name % PARTS as u128) as usize, name.wrapping_add(factor.wrapping_mul(amount)))
    }
}

/// An entry as either side has it.
pub(crate) struct Line<'a> {
    pub(crate) replica: &'a str,
    pub(crate) attempt_id: &'a str,
    pub(crate) nano: i64,
}

impl Books {
    /// `compared`: there is a ledger.
    pub(crate) fn new(compared: bool) -> io::Result<Self> {
        let mut key = [0; 32];
        SystemRandom::new().fill(&mut key).map_err(|_| io::Error::other("the system gives no random bytes"))?;
        Ok(Self { marks: Marks(key), compared, records: Side::new(), ledger: Side::new(), uncovered: 0 })
    }

    /// Takes what a record tells of.
    pub(crate) fn record(&mut self, line: &Line<'_>) {
        // Without a ledger to compare with, number and sum are all that is told.
        let mark = if self.compared { self.marks.of(line) } else { (0, 0) };
        self.records.add(mark, line.nano);
    }

    pub(crate) fn told(&self) -> (u64, i128) {
        (self.records.entries, self.records.nano)
    }

    /// Reads the dump.
    pub(crate) fn read(
        &mut self,
        open: OpenLedger<'_>,
        covered: &Covered,
        deployment: (i64, i64),
        findings: &mut Findings,
    ) -> io::Result<LedgerReport> {
        let mut odd = |at: u64, what: String| {
            findings.push(Finding::new(Kind::LedgerMismatch, "", format!("line {at} of the ledger: {what}")));
        };
        each_line(open, |at, line| {
            let Some(line) = line else { return odd(at, "no ledger entry".to_owned()) };
            let time = line.time_us();
            match covered.get(&line.replica) {
                Some((from, until)) if time > *from && time <= *until => {
                    self.ledger.add(self.marks.of(&line.line()), line.cost_nano_usd);
                }
                None if time >= deployment.0 && time <= deployment.1 => {
                    odd(at, format!("replica {:?} has no log, and the root log knows none", line.replica));
                }
                _ => self.uncovered += 1,
            }
        })?;
        Ok(LedgerReport { entries: self.ledger.entries, cost_nano_usd: self.ledger.nano, uncovered: self.uncovered })
    }

    /// The parts that differ; no more of them than are named.
    pub(crate) fn differing(&self, findings: &mut Findings) -> BTreeSet<usize> {
        let pairs = self.records.parts.iter().zip(&self.ledger.parts).enumerate();
        let differing: Vec<usize> = pairs.filter(|(_, (a, b))| a != b).map(|(part, _)| part).collect();
        if !differing.is_empty() {
            let message = format!(
                "records tell of {} entries over {} nano-dollars, the ledger of {} over {}",
                self.records.entries, self.records.nano, self.ledger.entries, self.ledger.nano
            );
            findings.push(Finding::new(Kind::LedgerMismatch, "", message));
        }
        differing.into_iter().take(NAMED).collect()
    }

    pub(crate) fn is_in(&self, parts: &BTreeSet<usize>, line: &Line<'_>) -> bool {
        parts.contains(&self.marks.of(line).0)
    }

    /// Names what differs in `parts`. `records`: their lines, with position and amount.
    pub(crate) fn name(
        &self,
        parts: &BTreeSet<usize>,
        records: Vec<(String, String, u64, i64)>,
        open: OpenLedger<'_>,
        covered: &Covered,
        findings: &mut Findings,
    ) -> io::Result<()> {
        let mut seen: HashMap<(String, String), Both> = HashMap::new();
        for (replica, attempt_id, at, nano) in records {
            seen.entry((replica, attempt_id)).or_default().records.push((at, nano));
        }
        each_line(open, |_, line| {
            let Some(line) = line else { return };
            let time = line.time_us();
            let inside = covered.get(&line.replica).is_some_and(|(from, until)| time > *from && time <= *until);
            if inside && self.is_in(parts, &line.line()) {
                let nano = line.cost_nano_usd;
                seen.entry((line.replica, line.attempt_id)).or_default().ledger.push(nano);
            }
        })?;
        let mut seen: Vec<_> = seen.into_iter().collect();
        seen.sort_by(|a, b| a.0.cmp(&b.0));
        for ((replica, attempt), both) in seen {
            if let Some(message) = both.differ(&attempt) {
                let finding = Finding::new(Kind::LedgerMismatch, &replica, message);
                findings.push(match both.records.first() {
                    Some((at, _)) => finding.at(*at),
                    None => finding,
                });
            }
        }
        Ok(())
    }
}

#[derive(Default)]
struct Both {
    records: Vec<(u64, i64)>,
    ledger: Vec<i64>,
}

impl Both {
    fn differ(&self, attempt: &str) -> Option<String> {
        match (self.records.as_slice(), self.ledger.as_slice()) {
            ([(_, a)], [b]) if a == b => None,
            ([(_, a)], [b]) => {
                Some(format!("attempt {attempt} cost {a} nano-dollars in its record and {b} in the ledger"))
            }
            ([], _) => Some(format!("attempt {attempt} is in the ledger and in no record")),
            (_, []) => Some(format!("attempt {attempt} is in a record and not in the ledger")),
            (records, ledger) => {
                let (a, b) = (records.len(), ledger.len());
                Some(format!("attempt {attempt} is in {a} records and {b} times in the ledger"))
            }
        }
    }
}

/// The fields of `tollgate.v1.LedgerEntry` that are read here, under both of the names that the JSON mapping allows.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Written {
    #[serde(alias = "attempt_id")]
    attempt_id: String,
    replica: String,
    #[serde(alias = "cost_nano_usd", deserialize_with = "number")]
    cost_nano_usd: i64,
    #[serde(alias = "settle_time", deserialize_with = "time")]
    settle_time: i64,
}

impl Written {
    fn line(&self) -> Line<'_> {
        Line { replica: &self.replica, attempt_id: &self.attempt_id, nano: self.cost_nano_usd }
    }

    fn time_us(&self) -> i64 {
        self.settle_time
    }
}

/// Protobuf's mapping writes 64 bits as text and reads numbers as well.
fn number<'de, D: serde::Deserializer<'de>>(from: D) -> Result<i64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Text(String),
        Number(i64),
    }
    match Either::deserialize(from)? {
        Either::Text(text) => text.parse().map_err(serde::de::Error::custom),
        Either::Number(number) => Ok(number),
    }
}

fn time<'de, D: serde::Deserializer<'de>>(from: D) -> Result<i64, D::Error> {
    let text = String::deserialize(from)?;
    let time: jiff::Timestamp = text.parse().map_err(serde::de::Error::custom)?;
    Ok(time.as_microsecond())
}

/// Every line that is not empty, with its number; `None`: it is no ledger entry.
fn each_line(open: OpenLedger<'_>, mut visit: impl FnMut(u64, Option<Written>)) -> io::Result<()> {
    let mut reader = open()?;
    let (mut line, mut at) = (Vec::new(), 0);
    loop {
        line.clear();
        if reader.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        at += 1;
        if !line.trim_ascii().is_empty() {
            visit(at, serde_json::from_slice(&line).ok().filter(|line: &Written| !line.attempt_id.is_empty()));
        }
    }
}
