//! The program: flags, signals, exit code.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context;
use clap::{Parser, Subcommand};
use tollgate::{app, build_table, config, ledger_check, telemetry};

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
    /// Looks after the ledger.
    Ledger {
        #[command(subcommand)]
        command: LedgerCommand,
    },
}

#[derive(Subcommand)]
enum LedgerCommand {
    /// Checks the invariants of the ledger. Status 1: some do not hold.
    ///
    /// With a URL a running gateway is asked; without, store and journal are read that a gateway has left.
    Check {
        /// Configuration file, YAML: where store and journal are.
        #[arg(long, env = "TOLLGATE_CONFIG")]
        config: Option<PathBuf>,
        /// Base URL of a running gateway.
        #[arg(long, requires = "key_file")]
        url: Option<String>,
        /// File with a key of the role platform_admin, finance or auditor.
        #[arg(long)]
        key_file: Option<PathBuf>,
    },
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Serve { config, listen } => serve(config, listen).map(|()| true),
        Command::Check { config } => check(config).map(|()| true),
        Command::Ledger { command: LedgerCommand::Check { config, url, key_file } } => {
            check_ledger(config.as_deref(), url.as_deref(), key_file.as_deref())
        }
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
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

fn check_ledger(config: Option<&Path>, url: Option<&str>, key_file: Option<&Path>) -> anyhow::Result<bool> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let checked = runtime.block_on(async {
        let (Some(url), Some(file)) = (url, key_file) else {
            return ledger_check::read(&config::load(config)?).await;
        };
        let key = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
        ledger_check::ask(url, key.trim()).await
    })?;
    Ok(ledger_check::tell(&checked))
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
