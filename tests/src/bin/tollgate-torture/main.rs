//! The ledger torture: replicas under load and faults, and a judge who compares their ledger with the provider's books.
//!
//! One command starts everything on loopback, ends with a table of verdicts, and with status 0 or 1:
//!
//! ```text
//! tollgate-torture --replicas 1 --seconds 30 --faults kill,pause,config
//! ```

mod books;
mod evidence;
mod faults;
mod judge;
mod load;
mod population;
mod report;
mod sums;
mod world;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Parser;

use evidence::Evidence;
use faults::Fault;
use load::Load;
use population::Population;
use report::Run;
use world::World;

/// Tortures the gateway's ledger and judges it.
#[derive(Debug, Parser)]
#[command(name = "tollgate-torture", version)]
struct Arguments {
    /// Gateways side by side. More than one share PostgreSQL and Redis; one has SQLite.
    #[arg(long, default_value_t = 1)]
    replicas: usize,
    /// Virtual keys.
    #[arg(long, default_value_t = 24)]
    keys: usize,
    /// How long the load lasts.
    #[arg(long, conflicts_with = "seconds")]
    minutes: Option<f64>,
    /// How long the load lasts. Default: 30.
    #[arg(long)]
    seconds: Option<f64>,
    /// Chooses calls and faults.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// What is done to the system.
    #[arg(long, value_delimiter = ',', default_value = "kill")]
    faults: Vec<Fault>,
    /// Clients calling at the same time.
    #[arg(long, default_value_t = 32)]
    workers: usize,
    /// Write evidence and verdict to this file as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Keep the provider's log here instead of in a temporary directory.
    #[arg(long)]
    books: Option<PathBuf>,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let run = runtime.block_on(torture(&arguments))?;
    print!("{}", run.text());
    Ok(if run.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn torture(arguments: &Arguments) -> Result<Run> {
    let seconds = arguments.seconds.or(arguments.minutes.map(|minutes| minutes * 60.0)).unwrap_or(30.0);
    let setting = format!(
        "tollgate-torture: {} replicas, {} keys, {} workers, {seconds} s, seed {}, faults {:?}",
        arguments.replicas, arguments.keys, arguments.workers, arguments.seed, arguments.faults
    );
    let directory = tempfile::Builder::new().prefix("tollgate-torture-").tempdir()?;
    let books = arguments.books.clone().unwrap_or_else(|| directory.path().join("provider.jsonl"));
    // Some seconds pass before the load begins.
    let edge = sums::now_ms() / 1_000 + (seconds / 2.0) as i64 + 3;
    let population = Population::new(arguments.keys, (seconds / 30.0).ceil() as i64, edge);
    let clocks = arguments.faults.contains(&Fault::Clock).then_some(directory.path());
    let mut world = World::start(arguments.replicas, arguments.seed, population, &books, clocks).await?;
    let begun = Instant::now();
    world.since = begun;
    let world = Arc::new(world);
    let deadline = begun + Duration::from_secs_f64(seconds);

    let load = tokio::spawn(Load::new(Arc::clone(&world)).run(arguments.workers, arguments.seed, deadline));
    let diary = faults::run(Arc::clone(&world), arguments.faults.clone(), arguments.seed, begun, deadline).await;
    let seen = load.await.context("the load")?;
    let lasted = begun.elapsed().as_secs_f64();

    let read = books::when_quiet(&world).await.context("reading the gateway's books")?;
    let evidence = Evidence {
        truth: books::truth(world.provider.log().records()),
        rows: read.rows,
        budgets: world.population.budgets.clone(),
        balances: read.balances,
        seen,
        windows: diary.windows(),
        invariants: read.invariants,
        revoked: diary.revoked(),
    };
    let run = Run {
        setting,
        seconds: lasted,
        quiet_after: read.quiet_after,
        restarts: diary.restarts(),
        windows: diary.windows(),
        trouble: diary.trouble(),
        answers: report::answers(&evidence.seen),
        verdict: judge::judge(&evidence),
    };
    if let Some(file) = &arguments.json {
        let document = serde_json::json!({ "run": run, "evidence": evidence });
        std::fs::write(file, document.to_string()).with_context(|| format!("writing {}", file.display()))?;
    }
    Ok(run)
}
