//! The program: flags, signals, exit code.

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use tollgate::{app, build_table, config, telemetry};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The one door between a company's programs and every model provider.
#[derive(Parser)]
#[command(name = "tollgate", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the gateway. Without a configuration it starts with the built-in demo provider.
    Serve {
        /// Configuration file, YAML.
        #[arg(long, env = "TOLLGATE_CONFIG")]
        config: Option<PathBuf>,
        /// Address to listen on, instead of the configured one.
        #[arg(long)]
        listen: Option<String>,
    },
    /// Checks a configuration and tells what it says, without starting anything.
    Check {
        /// Configuration file, YAML.
        #[arg(long, env = "TOLLGATE_CONFIG")]
        config: PathBuf,
    },
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Serve { config, listen } => serve(config, listen),
        Command::Check { config } => check(config),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tollgate: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn serve(path: Option<PathBuf>, listen: Option<String>) -> anyhow::Result<()> {
    let mut config = config::load(path.as_deref())?;
    if let Some(listen) = listen {
        config.listen = listen;
    }
    telemetry::start(&config.log).map_err(anyhow::Error::msg)?;
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(app::run(config, path))
}

fn check(path: PathBuf) -> anyhow::Result<()> {
    let config = config::load(Some(&path))?;
    let (table, warnings) = build_table(&config)?;
    for warning in &warnings {
        println!("warning: {warning}");
    }
    let deployments: usize = table.groups.values().map(|g| g.deployments.len()).sum();
    println!(
        "{}: fine; {} models, {deployments} deployments, {} providers, {} keys, config hash {}",
        path.display(),
        table.groups.len(),
        config.providers.len(),
        config.keys.len(),
        &table.config_hash[..12],
    );
    Ok(())
}
