//! `tollgate audit verify` and `tollgate audit check-receipt`: what an export proves, without a gateway.

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context;
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use tollgate_tlog::{
    Dir, VerifierKey, from_base64,
    verify::{Options, ReceiptVerdict, Report, check_receipt, verify},
};

/// How a verdict is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Table,
    /// One object.
    Json,
}

/// Verifies an export of the audit log, offline. Status 0: all is as it was signed; 1: it is not; 2: an argument is wrong.
#[derive(Args, Debug)]
pub struct Verify {
    /// Directory of the export.
    dir: PathBuf,
    /// The deployment's verifier key, or a file with it; may be given several times.
    #[arg(long, required = true)]
    key: Vec<String>,
    /// File with a checkpoint that was seen before, of the root log or of a replica's: the export must hold what it signs. May be given
    /// several times.
    #[arg(long)]
    since: Vec<PathBuf>,
    /// File with ledger entries as lines of JSON: each must stand in one record with the same amount, and the other way round.
    #[arg(long)]
    ledger: Option<PathBuf>,
    /// How the verdict is printed.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// Shows offline that an export holds the record that a receipt promises. Status 0: it does; 1: it does not, or cannot be believed; 2: an
/// argument is wrong; 4: the export ends before the promised moment.
#[derive(Args, Debug)]
pub struct CheckReceipt {
    /// The receipt as the header `x-tollgate-receipt` has it, or a file with it.
    receipt: String,
    /// Directory of the export.
    dir: PathBuf,
    /// The deployment's verifier key, or a file with it; may be given several times.
    #[arg(long, required = true)]
    key: Vec<String>,
    /// How the verdict is printed.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// An argument is wrong.
const USAGE: u8 = 2;
/// What is asked for is not there yet.
const NOT_YET: u8 = 4;

/// Runs `tollgate audit verify`.
pub fn run_verify(asked: &Verify) -> ExitCode {
    let report = match verified(asked) {
        Ok(report) => report,
        Err(error) => return refused(&error),
    };
    match asked.output {
        Output::Json => println!("{:#}", json!(report)),
        Output::Table => print!("{}", told(&report)),
    }
    if report.intact { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn refused(error: &anyhow::Error) -> ExitCode {
    eprintln!("tollgate: {error:#}");
    ExitCode::from(USAGE)
}

fn verified(asked: &Verify) -> anyhow::Result<Report> {
    let dir = export(&asked.dir)?;
    let read = |file: &PathBuf| std::fs::read(file).with_context(|| format!("--since: {}", file.display()));
    let since = asked.since.iter().map(read).collect::<Result<_, _>>()?;
    if let Some(file) = &asked.ledger {
        File::open(file).with_context(|| format!("--ledger: {}", file.display()))?;
    }
    let open = || -> io::Result<Box<dyn BufRead>> {
        let file = asked.ledger.as_ref().ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(BufReader::new(File::open(file)?)))
    };
    // To standard error, and only where that is a terminal.
    let style = ProgressStyle::with_template("{bar:40} {percent:>3} %  {pos}/{len} records  {elapsed}")?;
    let bar = ProgressBar::new(0).with_style(style);
    let progress = |read: u64, all: u64| {
        bar.set_length(all);
        bar.set_position(read);
    };
    let ledger: Option<tollgate_tlog::verify::OpenLedger<'_>> = if asked.ledger.is_some() { Some(&open) } else { None };
    let report = verify(&dir, Options { keys: keys(&asked.key)?, since, ledger, progress: Some(&progress) })?;
    bar.finish_and_clear();
    Ok(report)
}

fn export(dir: &Path) -> anyhow::Result<Dir> {
    anyhow::ensure!(dir.is_dir(), "{}: there is no such directory", dir.display());
    Ok(Dir::new(dir))
}

/// Keys as they are, or read from files.
fn keys(given: &[String]) -> anyhow::Result<Vec<VerifierKey>> {
    let read = |given: &String| {
        let text = match given.parse::<VerifierKey>() {
            Ok(key) => return Ok(key),
            Err(error) if given.contains('+') => return Err(error).context("--key"),
            Err(_) => std::fs::read_to_string(given).with_context(|| format!("--key: {given}"))?,
        };
        text.parse::<VerifierKey>().with_context(|| format!("--key: {given}"))
    };
    given.iter().map(read).collect()
}

/// The verdict for people.
fn told(report: &Report) -> String {
    let mut text = String::new();
    for finding in &report.findings {
        text += &format!("{finding}\n");
    }
    if report.untold > 0 {
        text += &format!("and {} more findings\n", report.untold);
    }
    for log in &report.logs {
        text += &format!("{}: {} signed, root {}\n", log.log, log.size, log.root);
    }
    if report.unsigned > 0 {
        text += &format!("{} files lie behind what is signed: the export was still being written\n", report.unsigned);
    }
    if let Some(ledger) = &report.ledger {
        let dollars = dollars(ledger.cost_nano_usd);
        text += &format!("ledger: {} entries over ${dollars}, {} not covered\n", ledger.entries, ledger.uncovered);
    }
    let verdict = match report.intact {
        true => "all is as it was signed".to_owned(),
        false => format!("NOT as it was signed: {} findings", report.findings.len() as u64 + report.untold),
    };
    let dollars = dollars(report.cost_nano_usd);
    text + &format!("{} records, {} ledger entries over ${dollars}: {verdict}\n", report.records, report.entries)
}

fn dollars(nano: i128) -> String {
    let sign = if nano < 0 { "-" } else { "" };
    let nano = nano.unsigned_abs();
    format!("{sign}{}.{:09}", nano / 1_000_000_000, nano % 1_000_000_000)
}

/// Runs `tollgate audit check-receipt`.
pub fn run_check_receipt(asked: &CheckReceipt) -> ExitCode {
    let read = || -> anyhow::Result<_> {
        let text = match std::fs::read_to_string(&asked.receipt) {
            Ok(text) => text,
            Err(_) => asked.receipt.clone(),
        };
        Ok((export(&asked.dir)?, keys(&asked.key)?, from_base64(&text)?))
    };
    let (dir, keys, receipt) = match read() {
        Ok(read) => read,
        Err(error) => return refused(&error),
    };
    let verdict = match check_receipt(&dir, &keys, &receipt) {
        Ok(verdict) => verdict,
        Err(error) => {
            match asked.output {
                Output::Json => println!("{:#}", json!({"verdict": "unbelievable", "error": error.to_string()})),
                Output::Table => println!("{error}"),
            }
            return ExitCode::FAILURE;
        }
    };
    match asked.output {
        Output::Json => println!("{:#}", json!(verdict)),
        Output::Table => println!("{} of {}: {}", receipt.sequence, receipt.origin, in_words(&verdict)),
    }
    match verdict {
        ReceiptVerdict::Held { .. } => ExitCode::SUCCESS,
        ReceiptVerdict::TooEarly { .. } => ExitCode::from(NOT_YET),
        ReceiptVerdict::Replaced { .. } | ReceiptVerdict::Missing { .. } => ExitCode::FAILURE,
    }
}

fn in_words(verdict: &ReceiptVerdict) -> String {
    match verdict {
        ReceiptVerdict::Held { size, root, path } => {
            format!("held: {} hashes lead from it to the signed root {root} of {size} records", path.len())
        }
        ReceiptVerdict::Replaced { leaf_hash } => {
            format!("REPLACED: the log has another record there, with the hash {leaf_hash}")
        }
        ReceiptVerdict::Missing { size, until_us } => {
            format!(
                "MISSING: the log ends with record {size}, though it was exported after {}, past the promised moment",
                time(*until_us)
            )
        }
        ReceiptVerdict::TooEarly { size, until_us, merge_by_us } => format!(
            "cannot be said: the export tells until {} (record {size}), and the promise is for {}; ask a newer one",
            time(*until_us),
            time(*merge_by_us)
        ),
    }
}

fn time(us: i64) -> String {
    jiff::Timestamp::from_microsecond(us).map_or_else(|_| us.to_string(), |time| time.to_string())
}
