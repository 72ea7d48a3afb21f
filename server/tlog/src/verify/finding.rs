use std::fmt;

use serde::Serialize;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, strum::Display, strum::EnumString)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Kind {
    /// Records or files that were signed are not there.
    Deleted,
    /// Something is not as it was signed.
    Changed,
    /// There is something that nobody signed.
    Inserted,
    /// Records stand in another order than they were signed in.
    Swapped,
    /// The last records of a log are not there.
    Truncated,
    /// A log is shorter than a checkpoint says that it was.
    RolledBack,
    /// Two signed checkpoints tell of different histories.
    Forked,
    /// Signed by a key that is not trusted.
    WrongKey,
    /// The log of a replica is not there at all.
    MissingLog,
    /// The positions in signed records do not follow one another.
    SequenceGap,
    /// A signed record is older than the one before it.
    TimeBackwards,
    /// Signed, but not in the form that the format asks for.
    Malformed,
    /// Ledger entries and records do not tell of the same money.
    LedgerMismatch,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What kind of thing.
    pub kind: Kind,
    /// Which log: a replica's id, or `root`; empty: the export as a whole.
    pub log: String,
    /// Position of the first record concerned, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// The file concerned, below the export.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// In words.
    pub message: String,
}

impl Finding {
    pub(crate) fn new(kind: Kind, log: &str, message: impl Into<String>) -> Self {
        Self { kind, log: log.into(), sequence: None, path: None, message: message.into() }
    }

    pub(crate) fn at(mut self, sequence: u64) -> Self {
        self.sequence = Some(sequence);
        self
    }

    pub(crate) fn in_file(mut self, path: impl Into<String>) -> Self {
        self.path = Some(path.into());
        self
    }
}

/// `changed  replica-1  record 17  logs/replica-1/tile/entries/000: ...`
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind)?;
        if !self.log.is_empty() {
            write!(f, "  {}", self.log)?;
        }
        if let Some(sequence) = self.sequence {
            write!(f, "  record {sequence}")?;
        }
        if let Some(path) = &self.path {
            write!(f, "  {path}")?;
        }
        write!(f, ": {}", self.message)
    }
}

/// How many are told; the others are counted.
const TOLD: usize = 100;

/// What was found so far.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) told: Vec<Finding>,
    pub(crate) untold: u64,
    /// Files behind what is signed, in an export that was still being written.
    pub(crate) unsigned: u64,
}

impl Findings {
    pub(crate) fn push(&mut self, finding: Finding) {
        if self.told.len() < TOLD {
            self.told.push(finding);
        } else {
            self.untold += 1;
        }
    }
}
