//! `tollgate models list`: what a gateway serves.

use clap::Subcommand;
use tollgate_client::v1::Model;

use crate::{Connection, Failure, output::Row};

/// Commands about the models of a gateway.
#[derive(Subcommand, Debug)]
pub enum ModelsCommand {
    /// Lists the models that the key may use at a gateway, with their deployments.
    List {
        #[command(flatten)]
        /// Which gateway.
        connection: Connection,
    },
}

impl Row for Model {
    const COLUMNS: &'static [&'static str] = &["model", "strategy", "deployments", "fallbacks"];

    fn cells(&self) -> Vec<String> {
        let deployments = self.deployments.iter().map(|d| format!("{} ({}/{})", d.name, d.provider, d.provider_model));
        vec![
            self.name.clone(),
            self.strategy.clone(),
            deployments.collect::<Vec<_>>().join(", "),
            self.fallbacks.join(", "),
        ]
    }
}

/// Runs a command about models.
pub(crate) async fn run(command: ModelsCommand) -> Result<(), Failure> {
    let ModelsCommand::List { connection } = command;
    connection.printer().all(connection.client()?.models().list()).await
}
