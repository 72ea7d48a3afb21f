//! The load kit: how much a gateway costs, told as a ratio to a proxy that does nothing.
//!
//! `run` starts a scripted provider, a bare proxy and the gateway, drives all of them with the same calls in turn, and
//! prints a table. Absolute figures move with the machine, ratios within one run hardly do. `sinks` does the same for
//! gateways with a sink that is stuck. The two helpers can be started by hand as well.

mod calls;
mod client;
mod drive;
mod idle;
mod measure;
mod proxy;
mod report;
mod run;
mod scenarios;
mod servers;
mod sinks;

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use tollgate_tests::provider::{Options, ScriptedProvider, UPSTREAM_KEY};

/// Load and baselines for the gateway.
#[derive(Debug, Parser)]
#[command(name = "tollgate-load", version)]
struct Arguments {
    /// End when standard input does: a helper that must not outlive the run that started it.
    #[arg(long, global = true, hide = true)]
    until_stdin_closes: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs a scripted provider until it is killed.
    Provider(ProviderArguments),
    /// Runs a reverse proxy that parses nothing: the baseline.
    Proxy(proxy::ProxyArguments),
    /// Runs the matrix and prints ratios of the gateway to the bare proxy.
    Run(run::RunArguments),
    /// Holds gateways with a sink whose receiver takes nothing against gateways without one.
    Sinks(sinks::SinkArguments),
}

#[derive(Debug, clap::Args)]
struct ProviderArguments {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:9001")]
    listen: SocketAddr,
    /// Append every attempt to this file as JSON lines.
    #[arg(long)]
    log: Option<PathBuf>,
    /// Keep bodies and headers of calls in the log.
    #[arg(long)]
    keep_bodies: bool,
    /// How many ended attempts to keep in memory for `GET /_control/log`.
    #[arg(long, default_value_t = 10_000)]
    keep: usize,
    /// The credential callers must show.
    #[arg(long, default_value = UPSTREAM_KEY)]
    api_key: String,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if arguments.until_stdin_closes {
        std::thread::spawn(|| {
            let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
            std::process::exit(0);
        });
    }
    match arguments.command {
        Command::Provider(arguments) => provider(arguments),
        Command::Proxy(arguments) => proxy::serve(arguments),
        Command::Run(arguments) => run::run(arguments),
        Command::Sinks(arguments) => sinks::run(arguments),
    }
}

fn provider(arguments: ProviderArguments) -> Result<()> {
    let options = Options {
        listen: arguments.listen,
        api_key: arguments.api_key,
        log_file: arguments.log,
        log_capacity: arguments.keep,
        keep_bodies: arguments.keep_bodies,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let provider = runtime.block_on(ScriptedProvider::start_with(options)).context("starting the provider")?;
    println!("scripted provider at {}", provider.base_url());
    provider.wait();
    Ok(())
}
