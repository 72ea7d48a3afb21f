//! What the verifier reads of an audit record: its position, its time, whose it is, and the money it tells of.

use prost::Message;
use prost_types::Timestamp;

use super::{Finding, Kind, finding::Findings, reader::LogReader};

/// Oddities of a log that are told one by one.
const TOLD: usize = 20;

/// The fields of `tollgate.v1.AuditRecord` that are read here; the others are passed over, which is most of the speed.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Head {
    #[prost(int64, tag = "1")]
    pub(crate) sequence: i64,
    #[prost(message, optional, tag = "2")]
    pub(crate) time: Option<Timestamp>,
    #[prost(string, tag = "19")]
    pub(crate) replica: String,
    #[prost(message, repeated, tag = "24")]
    pub(crate) entries: Vec<Entry>,
}

impl Head {
    /// The head of a record; of one that cannot be read, nothing.
    pub(crate) fn decode_or_empty(bytes: &[u8]) -> Self {
        Self::decode(bytes).unwrap_or_default()
    }
}

/// `tollgate.v1.AuditEntry`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Entry {
    #[prost(string, tag = "1")]
    pub(crate) attempt_id: String,
    #[prost(int64, tag = "2")]
    pub(crate) cost_nano_usd: i64,
}

/// Microseconds since 1970; absent: 0.
pub(crate) fn micros(time: Option<&Timestamp>) -> i64 {
    time.map_or(0, |time| time.seconds.saturating_mul(1_000_000).saturating_add(i64::from(time.nanos / 1_000)))
}

/// The records of one replica as they pass by.
#[derive(Debug, Default)]
pub(crate) struct Records {
    pub(crate) replica: String,
    /// Records before this one were made without a log.
    pub(crate) first_size: u64,
    /// The time of the last record made without a log.
    pub(crate) began_us: Option<i64>,
    pub(crate) count: u64,
    pub(crate) last_us: i64,
    previous: Option<i64>,
    gaps: Vec<Gap>,
    backwards: Vec<(u64, i64)>,
    strangers: Vec<(u64, String)>,
    unreadable: Vec<u64>,
}

#[derive(Debug)]
struct Gap {
    at: u64,
    expected: i64,
    found: i64,
    /// A later record stands where this one's position belongs.
    swapped: bool,
}

impl Records {
    pub(crate) fn new(replica: &str) -> Self {
        Self { replica: replica.into(), ..Self::default() }
    }

    /// Takes record `index`. `clean`: the tile above agrees, so that what is odd here is not told there already.
    pub(crate) fn take(&mut self, index: u64, bytes: &[u8], clean: bool) -> Option<Head> {
        self.count += 1;
        let Ok(head) = Head::decode(bytes) else {
            if clean {
                keep(&mut self.unreadable, index + 1);
            }
            return None;
        };
        if clean {
            self.look(index, &head);
        }
        self.previous = clean.then_some(head.sequence);
        Some(head)
    }

    fn look(&mut self, index: u64, head: &Head) {
        let expected = self.previous.map_or(index as i64 + 1, |previous| previous.saturating_add(1));
        if head.sequence != expected {
            self.gap(Gap { at: index + 1, expected, found: head.sequence, swapped: false });
        }
        let time = micros(head.time.as_ref());
        if time < self.last_us {
            keep(&mut self.backwards, (index + 1, self.last_us - time));
        }
        self.last_us = self.last_us.max(time);
        if index + 1 == self.first_size {
            self.began_us = Some(self.last_us);
        }
        let own = head.replica == self.replica || head.replica.is_empty() && index < self.first_size;
        if !own {
            keep(&mut self.strangers, (index + 1, head.replica.clone()));
        }
    }

    /// A step back to what an earlier step forward left out: the two were swapped.
    fn gap(&mut self, gap: Gap) {
        if gap.found < gap.expected
            && let Some(earlier) = self.gaps.iter_mut().find(|earlier| earlier.found > earlier.expected)
            && (earlier.expected..earlier.found).contains(&gap.found)
        {
            earlier.swapped = true;
            return;
        }
        if self.gaps.last().is_some_and(|last| last.swapped) && gap.found > gap.expected {
            return;
        }
        keep(&mut self.gaps, gap);
    }

    /// Tells what is odd; where the log leads to no signed root, oddities show what was done to it.
    pub(crate) fn finish(&mut self, reader: &LogReader<'_>, findings: &mut Findings) {
        let (log, proven) = (&self.replica, reader.proven());
        for gap in &self.gaps {
            let (kind, words) = match (proven, gap) {
                (true, _) => (Kind::SequenceGap, "position"),
                (_, Gap { swapped: true, .. }) => (Kind::Swapped, "it stands in another's place:"),
                (_, gap) if gap.found > gap.expected => (Kind::Deleted, "those before it are missing:"),
                _ => (Kind::Inserted, "it does not belong here:"),
            };
            let message = format!("{words} {} where {} must follow", gap.found, gap.expected);
            findings.push(Finding::new(kind, log, message).at(gap.at));
        }
        for (at, by) in self.backwards.iter().filter(|_| proven) {
            let message = format!("it is {by} microseconds older than the latest before it");
            findings.push(Finding::new(Kind::TimeBackwards, log, message).at(*at));
        }
        for (at, other) in &self.strangers {
            findings.push(Finding::new(Kind::Swapped, log, format!("a record of replica {other:?}")).at(*at));
        }
        for at in &self.unreadable {
            findings.push(Finding::new(Kind::Malformed, log, "no tollgate.v1.AuditRecord").at(*at));
        }
    }
}

fn keep<T>(list: &mut Vec<T>, item: T) {
    if list.len() < TOLD {
        list.push(item);
    }
}
