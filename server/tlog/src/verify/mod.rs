//! The verifier: reads an export from end to end, without a gateway, and says what is wrong with it.
//!
//! The root log is read once, and the logs of the replicas beside it, each as far as the root log's checkpoints go: so memory holds a bundle for
//! each replica, however long the logs are. Every byte that the format asks for is read, and every file below `root/` and `logs/` that it does
//! not ask for is told.

mod dated;
mod diff;
mod finding;
mod ledger;
mod reader;
mod receipt;
mod records;
mod replica;
mod root;

use std::{collections::BTreeSet, io};

use serde::Serialize;

use finding::Findings;
pub use finding::{Finding, Kind};
pub use ledger::{LedgerReport, OpenLedger};
pub use receipt::{ReceiptCheckError, ReceiptVerdict, check_receipt};
pub(crate) use records::micros;

use crate::{Checkpoint, CheckpointError, Files, Keyring, NoteError, VerifierKey, split_bundle, split_origin};
use ledger::{Books, Covered, Line};
use records::Head;

/// How an export is verified.
#[derive(Default)]
pub struct Options<'a> {
    /// The keys that are trusted.
    pub keys: Vec<VerifierKey>,
    /// Checkpoints that were seen before, of the root log or a replica's: the export must hold what they sign.
    pub since: Vec<Vec<u8>>,
    /// Opens the ledger's dump.
    pub ledger: Option<OpenLedger<'a>>,
    /// Told from time to time how many records are read, and how many there are as far as is known.
    pub progress: Option<&'a dyn Fn(u64, u64)>,
}

/// Why nothing can be said about an export.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// A file cannot be read.
    #[error("the export cannot be read: {0}")]
    Io(#[from] io::Error),
    /// No key is trusted.
    #[error("key: at least one is needed, as `tollgate audit key` prints it")]
    NoKey,
    /// A checkpoint of `since` is none, or nobody trusted signed it.
    #[error("since: {0}")]
    Since(#[from] CheckpointError),
    /// A checkpoint of `since` is another deployment's.
    #[error("since: the checkpoint is of {since:?}, and the export of {deployment:?}")]
    OtherDeployment {
        /// The checkpoint's origin.
        since: String,
        /// The export's deployment.
        deployment: String,
    },
}

/// One log of an export.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LogReport {
    /// `root`, or the replica's id.
    pub log: String,
    /// How many leaves are signed.
    pub size: u64,
    /// The root over them, in base64.
    pub root: String,
    /// Time of the last leaf, in microseconds since 1970; 0: none.
    pub last_us: i64,
}

/// What is said about an export.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whether all is as it was signed.
    pub intact: bool,
    /// The deployment.
    pub deployment: String,
    /// The key that signed what is newest.
    pub key: String,
    /// The root log, then the replicas' by their ids.
    pub logs: Vec<LogReport>,
    /// How many audit records were read.
    pub records: u64,
    /// How many ledger entries they tell of.
    pub entries: u64,
    /// What those cost together.
    #[serde(serialize_with = "ledger::as_text")]
    pub cost_nano_usd: i128,
    /// What was compared with the ledger.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ledger: Option<LedgerReport>,
    /// What is wrong, at most 100.
    pub findings: Vec<Finding>,
    /// How much more is.
    pub untold: u64,
    /// How many files lie behind what is signed, in an export that was still being written: nothing is said about them.
    #[serde(skip_serializing_if = "is_zero")]
    pub unsigned: u64,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Verifies an export.
pub fn verify<'a>(files: &'a dyn Files, options: Options<'a>) -> Result<Report, VerifyError> {
    if options.keys.is_empty() {
        return Err(VerifyError::NoKey);
    }
    let mut run = Run::new(files, options)?;
    let root = run.open_root()?;
    if let Some(root) = root {
        run.read_logs(root)?;
        run.compare_ledger()?;
    }
    let Run { mut report, findings, .. } = run;
    (report.findings, report.untold, report.unsigned) = (findings.told, findings.untold, findings.unsigned);
    report.intact = report.findings.is_empty();
    Ok(report)
}

/// One verification under way.
struct Run<'a> {
    files: &'a dyn Files,
    options: Options<'a>,
    keyring: Keyring,
    books: Books,
    covered: Covered,
    /// Times of the first and the last leaf of the root log.
    deployment_us: (i64, i64),
    since: Vec<Checkpoint>,
    findings: Findings,
    report: Report,
}

impl<'a> Run<'a> {
    fn new(files: &'a dyn Files, options: Options<'a>) -> Result<Self, VerifyError> {
        Ok(Self {
            files,
            keyring: Keyring::new(options.keys.clone()),
            books: Books::new(options.ledger.is_some())?,
            covered: Covered::new(),
            deployment_us: (0, 0),
            since: Vec::new(),
            findings: Findings::default(),
            report: Report::default(),
            options,
        })
    }

    /// The root log's checkpoint, where it can be trusted.
    fn open_root(&mut self) -> Result<Option<Checkpoint>, VerifyError> {
        let Some((path, note)) = dated::newest(self.files, "root")? else {
            let finding = Finding::new(Kind::MissingLog, "root", "there is no checkpoint of a root log");
            self.findings.push(finding.in_file("root/checkpoint"));
            return Ok(None);
        };
        let path = path.as_str();
        let named = Checkpoint::open_unchecked(&note);
        if let Ok(unchecked) = &named {
            root::find_rotations(self.files, unchecked.size, &mut self.keyring)?;
        }
        let opened = match Checkpoint::open(&note, self.keyring.current()) {
            Ok((checkpoint, key)) => Some((checkpoint, key.clone())),
            Err(error) => {
                self.findings.push(told("root", path, &error));
                None
            }
        };
        let Some((checkpoint, key)) = opened else { return Ok(None) };
        let Some((deployment, "root")) = split_origin(&checkpoint.origin) else {
            let message = format!("{:?} is no origin of a root log", checkpoint.origin);
            self.findings.push(Finding::new(Kind::Malformed, "root", message).in_file(path));
            return Ok(None);
        };
        if deployment != key.name() {
            let message = format!("the key of {:?} signs for {deployment:?}", key.name());
            self.findings.push(Finding::new(Kind::WrongKey, "root", message).in_file(path));
            return Ok(None);
        }
        (self.report.deployment, self.report.key) = (deployment.into(), key.to_string());
        for note in std::mem::take(&mut self.options.since) {
            let (since, _) = Checkpoint::open(&note, self.keyring.trusted())?;
            if split_origin(&since.origin).is_none_or(|(own, _)| own != deployment) {
                let deployment = deployment.into();
                return Err(VerifyError::OtherDeployment { since: since.origin, deployment });
            }
            // A log without leaves is how every log begins.
            if since.size > 0 {
                self.since.push(since);
            }
        }
        let origin = &checkpoint.origin;
        self.since.extend(dated::read(self.files, "root", "root", origin, &self.keyring, &mut self.findings)?);
        self.since.sort_by_key(|since| since.size);
        Ok(Some(checkpoint))
    }

    /// Compares records and ledger, and names what differs.
    fn compare_ledger(&mut self) -> Result<(), VerifyError> {
        (self.report.entries, self.report.cost_nano_usd) = self.books.told();
        let Some(open) = self.options.ledger else { return Ok(()) };
        let compared = self.books.read(open, &self.covered, self.deployment_us, &mut self.findings)?;
        self.report.ledger = Some(compared);
        let parts = self.books.differing(&mut self.findings);
        if !parts.is_empty() {
            let records = self.lines_of(&parts)?;
            self.books.name(&parts, records, open, &self.covered, &mut self.findings)?;
        }
        Ok(())
    }

    /// What the records tell of entries in `parts`, with the position of the record.
    fn lines_of(&self, parts: &BTreeSet<usize>) -> io::Result<Vec<(String, String, u64, i64)>> {
        let mut lines = Vec::new();
        for log in self.report.logs.iter().filter(|log| log.log != "root") {
            each_record(self.files, &format!("logs/{}", log.log), log.size, |index, bytes| {
                for entry in Head::decode_or_empty(bytes).entries {
                    let line = Line { replica: &log.log, attempt_id: &entry.attempt_id, nano: entry.cost_nano_usd };
                    if self.books.is_in(parts, &line) {
                        lines.push((log.log.clone(), entry.attempt_id.clone(), index + 1, entry.cost_nano_usd));
                    }
                }
            })?;
        }
        Ok(lines)
    }

    fn progress(&self, read: u64, all: u64) {
        if let Some(progress) = self.options.progress {
            progress(read, all);
        }
    }
}

/// A note that is not what it must be, as a finding.
fn told(log: &str, path: &str, error: &CheckpointError) -> Finding {
    let kind = match error {
        CheckpointError::Note(NoteError::WrongKey { .. }) => Kind::WrongKey,
        _ => Kind::Changed,
    };
    Finding::new(kind, log, error.to_string()).in_file(path)
}

/// Visits the records of a log as far as they can be read, without believing them.
fn each_record(files: &dyn Files, folder: &str, size: u64, mut visit: impl FnMut(u64, &[u8])) -> io::Result<()> {
    use crate::{TILE_WIDTH, TilePath};
    for bundle in 0..size.div_ceil(TILE_WIDTH) {
        let first = bundle * TILE_WIDTH;
        let width = (size - first).min(TILE_WIDTH) as u16;
        // A size that nobody signed must not make this run for ever.
        let Some(bytes) = files.read(&format!("{folder}/{}", TilePath::bundle(bundle, width).render()))? else {
            return Ok(());
        };
        for (place, range) in split_bundle(&bytes).0.into_iter().enumerate() {
            visit(first + place as u64, &bytes[range]);
        }
    }
    Ok(())
}
