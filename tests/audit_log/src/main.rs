//! Damages exports at random, and has both verifiers judge each: `audit-mutations run --count 100000 --python .cache/venv/bin/python`.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::ensure;
use clap::{Parser, Subcommand};
use rand::{SeedableRng, rngs::SmallRng};
use tollgate_audit_log_tests::{Case, Deployment, oddities, python::Judge};
use tollgate_tlog::{Dir, Memory};

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Damages exports and has them judged.
    Run {
        /// How many.
        #[arg(long, default_value_t = 2_000)]
        count: u64,
        /// Decides all of them.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// The interpreter for the second verifier; without one only ours judges.
        #[arg(long)]
        python: Option<PathBuf>,
    },
    /// Writes exports with one thing wrong each, most of them signed so: DIR/WHAT/export, key, ledger.jsonl, since.
    Odd {
        /// Where.
        directory: PathBuf,
    },
    /// Writes an export, the key, and a receipt: DIR/export, DIR/key, DIR/receipt, DIR/ledger.jsonl, DIR/since.
    Write {
        /// Where.
        directory: PathBuf,
        /// How many calls two replicas answer.
        #[arg(long, default_value_t = 300)]
        calls: u64,
        /// As files that are never overwritten: two exports, and a third that was cut short.
        #[arg(long)]
        dated: bool,
    },
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Run { count, seed, python } => run(count, seed, python),
        Command::Odd { directory } => odd(&directory),
        Command::Write { directory, calls, dated } => write(directory, calls, dated),
    }
}

/// A new export after so many, in one layout and the other by turns.
const EACH: u64 = 500;

#[derive(Default)]
struct Tally {
    done: u64,
    named: BTreeMap<String, u64>,
    same: u64,
}

fn run(count: u64, seed: u64, python: Option<PathBuf>) -> anyhow::Result<()> {
    let mut random = SmallRng::seed_from_u64(seed);
    let (mut tallies, mut missed) = (BTreeMap::<&str, Tally>::new(), 0);
    let (mut ours, mut theirs) = (Duration::ZERO, Duration::ZERO);
    let (mut case, mut whole, mut judge) = (None, None, None);
    for number in 0..count {
        if number % EACH == 0 {
            let fresh = match (number / EACH).is_multiple_of(2) {
                true => Case::new(seed + number),
                false => Case::dated(seed + number),
            };
            judge = python.as_ref().map(|python| Judge::start(python, &fresh)).transpose()?;
            whole = fresh.meaning(&fresh.whole.files, &fresh.whole.dump());
            case = Some(fresh);
        }
        let Some(case) = &case else { continue };
        let damage = case.damage(&mut random);
        let began = Instant::now();
        let report = case.judge(&damage)?;
        ours += began.elapsed();
        let began = Instant::now();
        let second = judge.as_mut().map(|judge| judge.judge(case, &damage)).transpose()?;
        theirs += began.elapsed();
        let tally = tallies.entry(damage.what).or_default();
        tally.done += 1;
        if whole.is_some() && case.meaning(&damage.files, &damage.dump) == whole {
            tally.same += 1;
            continue;
        }
        if report.intact || second == Some(None) {
            missed += 1;
            let who = if report.intact { "ours" } else { "Python" };
            println!("missed by {who}: number {number}: {} {:?} {second:?}", damage.what, report.findings);
        }
        for finding in report.findings.iter().take(1) {
            *tally.named.entry(finding.kind.to_string()).or_default() += 1;
        }
    }
    for (what, tally) in &tallies {
        println!("{:7}  {what}: {:?}, {} say the same as before", tally.done, tally.named, tally.same);
    }
    let same: u64 = tallies.values().map(|tally| tally.same).sum();
    println!(
        "{count} mutations: {missed} missed, {same} decode to the identical export; ours {:.1} s, Python {:.1} s",
        ours.as_secs_f64(),
        theirs.as_secs_f64()
    );
    ensure!(missed == 0, "{missed} mutations were missed");
    Ok(())
}

fn odd(directory: &Path) -> anyhow::Result<()> {
    for (number, oddity) in oddities().iter().enumerate() {
        let dir = Dir::new(directory.join(format!("{number:02} {}", oddity.what)));
        for (path, bytes) in &oddity.made.files.0 {
            dir.write(&format!("export/{path}"), bytes)?;
        }
        dir.write("key", oddity.key.as_bytes())?;
        dir.write("ledger.jsonl", &oddity.dump())?;
        if let Some(since) = &oddity.since {
            dir.write("since", since)?;
        }
    }
    Ok(())
}

fn write(directory: PathBuf, calls: u64, dated: bool) -> anyhow::Result<()> {
    let mut deployment = Deployment::new("tollgate", 1);
    deployment.born("replica-a");
    deployment.born("replica-b");
    let (mut receipt, mut files) = (None, Memory::default());
    for call in 0..calls {
        if dated && call == calls / 2 {
            deployment.export().put_beside(&mut files);
        }
        let replica = if call % 20 == 19 { "replica-b" } else { "replica-a" };
        receipt = Some(deployment.call(replica));
        if call % 50 == 49 {
            deployment.sign(replica);
        }
    }
    deployment.sign("replica-a");
    deployment.sign("replica-b");
    let (made, dir) = (deployment.export(), Dir::new(&directory));
    match dated {
        true => {
            made.put_beside(&mut files);
            cut_short(&mut deployment, &mut files);
        }
        false => files.clone_from(&made.files),
    }
    for (path, bytes) in &files.0 {
        dir.write(&format!("export/{path}"), bytes)?;
    }
    dir.write("key", deployment.key().as_bytes())?;
    dir.write("ledger.jsonl", &made.dump())?;
    dir.write("since", &made.checkpoint())?;
    dir.write("receipt", receipt.map(|receipt| tollgate_tlog::to_base64(&receipt)).unwrap_or_default().as_bytes())?;
    Ok(())
}

/// An export that ended before it wrote the checkpoint of `replica-a`, and knows of a replica that the signed root log does not.
fn cut_short(deployment: &mut Deployment, files: &mut Memory) {
    deployment.born("replica-c");
    for replica in ["replica-a", "replica-c"] {
        (0..30).for_each(|_| drop(deployment.call(replica)));
        deployment.sign(replica);
    }
    let mut next = Memory::default();
    deployment.export().put_beside(&mut next);
    next.0.retain(|path, _| !path.starts_with("root/checkpoints/") && !path.starts_with("logs/replica-a/checkpoints/"));
    files.0.extend(next.0);
}
