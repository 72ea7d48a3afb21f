//! The command line that administers any gateway, over gRPC through `tollgate-client`.
//!
//! Every command says whom it calls (`--address`, a profile, the environment), prints tables for people or the contract's own messages
//! for programs (`--output`), and ends with a status that tells what went wrong ([`Failure`]).

mod amount;
mod audit;
mod batches;
mod bodies;
mod budgets;
mod chat;
mod connection;
mod edit;
mod failure;
mod files;
mod keys;
mod ledger;
mod models;
mod output;
mod profile;
mod progress;
mod route;
mod shell;
mod spend;
mod tenancy;
mod time;
mod top;

use std::future::Future;

use clap::Subcommand;

pub use audit::AuditCommand;
pub use bodies::{BodiesCommand, HoldsCommand};
pub use connection::{Connection, One};
pub use failure::Failure;
pub use ledger::LedgerCommand;
pub use models::ModelsCommand;
pub use progress::counter;

/// What can be done at a gateway that runs, here or elsewhere.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Virtual keys: make, list, change, rotate, block, revoke.
    Keys {
        #[command(subcommand)]
        /// What to do.
        command: keys::KeysCommand,
    },
    /// Teams and their members.
    Teams {
        #[command(subcommand)]
        /// What to do.
        command: tenancy::TeamsCommand,
    },
    /// Organizations.
    Orgs {
        #[command(subcommand)]
        /// What to do.
        command: tenancy::OrgsCommand,
    },
    /// Users.
    Users {
        #[command(subcommand)]
        /// What to do.
        command: tenancy::UsersCommand,
    },
    /// Budgets: make, list, change, raise for a time, take away; their alerts.
    Budgets {
        #[command(subcommand)]
        /// What to do.
        command: budgets::BudgetsCommand,
    },
    /// What was spent, grouped: a table with bars.
    Spend(spend::SpendArgs),
    /// Where calls go and how deployments are doing.
    Route {
        #[command(subcommand)]
        /// What to do.
        command: route::RouteCommand,
    },
    /// Files at providers: what batches read and write.
    Files {
        #[command(subcommand)]
        /// What to do.
        command: files::FilesCommand,
    },
    /// Batches of calls, each on an uploaded file.
    Batches {
        #[command(subcommand)]
        /// What to do.
        command: batches::BatchesCommand,
    },
    /// Talks to a model: one question, or a conversation where none is given.
    Chat(chat::ChatArgs),
    /// A live view: calls, latency, spend, the health of deployments.
    Top(top::TopArgs),
    /// Gateways that are called by a name, kept in a file.
    Profiles {
        #[command(subcommand)]
        /// What to do.
        command: profile::ProfilesCommand,
    },
    /// Writes what a shell needs to complete commands, to standard output.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
    /// Writes the manual's pages into a directory.
    Man {
        /// The directory; made where it is missing.
        directory: std::path::PathBuf,
    },
}

/// Runs a command. `program` is the whole command line, for its completions and manual.
pub fn run(command: Command, program: clap::Command) -> Result<(), Failure> {
    match command {
        Command::Completions { shell } => shell::completions(shell, program),
        Command::Man { directory } => shell::manual(&directory, program),
        Command::Profiles { command } => profile::run(command),
        Command::Keys { command } => block_on(keys::run(command)),
        Command::Teams { command } => block_on(tenancy::teams(command)),
        Command::Orgs { command } => block_on(tenancy::orgs(command)),
        Command::Users { command } => block_on(tenancy::users(command)),
        Command::Budgets { command } => block_on(budgets::run(command)),
        Command::Spend(args) => block_on(spend::run(args)),
        Command::Route { command } => block_on(route::run(command)),
        Command::Files { command } => block_on(files::run(command)),
        Command::Batches { command } => block_on(batches::run(command)),
        Command::Chat(args) => block_on(chat::run(args)),
        Command::Top(args) => block_on(top::run(args)),
    }
}

/// Runs a command about the audit log.
pub fn audit(command: AuditCommand) -> Result<(), Failure> {
    block_on(audit::run(command))
}

/// Runs a command about the models of a gateway.
pub fn models(command: ModelsCommand) -> Result<(), Failure> {
    block_on(models::run(command))
}

/// Runs a command about the ledger of a gateway.
pub fn ledger(command: LedgerCommand) -> Result<(), Failure> {
    block_on(ledger::run(command))
}

/// The client of a profile, for commands that have arguments of their own besides.
pub fn profiled(name: &str) -> Result<tollgate_client::Client, Failure> {
    Connection::of_profile(name).client()
}

fn block_on(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failure::Other(error.to_string()))?.block_on(work)
}
