//! `tollgate models list, create, created, delete`: what a gateway serves, and what was added to it while it runs.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use tollgate_client::v1::{CreateModelRequest, Model, RuntimeModel};

use crate::{Connection, Failure, One, connection::read, output::Row};

/// Commands about the models of a gateway.
#[derive(Subcommand, Debug)]
pub enum ModelsCommand {
    /// Lists the models that the key may use at a gateway, with their deployments.
    List {
        #[command(flatten)]
        /// Which gateway.
        connection: Connection,
    },
    /// Makes a deployment that lives in the gateway's store, while it runs.
    Create(Box<NewModel>),
    /// Lists the deployments that live in the gateway's store.
    Created {
        #[command(flatten)]
        /// Which gateway.
        connection: Connection,
    },
    /// Takes such a deployment away; calls that it serves end in peace.
    Delete(One),
}

/// A deployment to make.
#[derive(Args, Debug)]
pub struct NewModel {
    /// The alias that callers send; where there is one already, both share its calls.
    model: String,
    /// The model in the provider's words [else the alias].
    #[arg(long)]
    provider_model: Option<String>,
    /// A provider of the gateway's configuration, by name.
    #[arg(long, required_unless_present = "kind")]
    provider: Option<String>,
    /// Which adapter serves it where no provider is named: `openai`, `anthropic`, ...
    #[arg(long, conflicts_with = "provider")]
    kind: Option<String>,
    /// Base URL [else the provider's own].
    #[arg(long, default_value = "")]
    base_url: String,
    /// File with the provider's credential, which the gateway keeps encrypted.
    #[arg(long)]
    api_key_file: Option<PathBuf>,
    /// Which it is in line: those of a lower order come first.
    #[arg(long, default_value_t = 0)]
    order: u32,
    /// Its share among those of its order.
    #[arg(long, default_value_t = 1)]
    weight: u32,
    /// A label of calls that it may serve. May be given several times.
    #[arg(long = "tag")]
    tags: Vec<String>,
    #[command(flatten)]
    /// Which gateway.
    connection: Connection,
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

impl Row for RuntimeModel {
    const COLUMNS: &'static [&'static str] = &["id", "model", "provider", "provider model", "order", "weight", "tags"];

    fn cells(&self) -> Vec<String> {
        let provider = if self.provider.is_empty() { &self.kind } else { &self.provider };
        vec![
            self.id.clone(),
            self.model.clone(),
            provider.clone(),
            self.provider_model.clone(),
            self.order.to_string(),
            self.weight.to_string(),
            self.tags.join(","),
        ]
    }
}

/// Runs a command about models.
pub(crate) async fn run(command: ModelsCommand) -> Result<(), Failure> {
    match command {
        ModelsCommand::List { connection } => connection.printer().all(connection.client()?.models().list()).await,
        ModelsCommand::Created { connection } => {
            connection.printer().all(connection.client()?.models().created()).await
        }
        ModelsCommand::Delete(One { id, connection }) => {
            connection.client()?.models().delete(&id).await?;
            connection.printer().note(&format!("{id} is taken away."));
            Ok(())
        }
        ModelsCommand::Create(new) => create(*new).await,
    }
}

async fn create(new: NewModel) -> Result<(), Failure> {
    let credential = new.api_key_file.as_ref().map(|file| read("--api-key-file", file)).transpose()?;
    let model = RuntimeModel {
        provider_model: new.provider_model.unwrap_or_else(|| new.model.clone()),
        model: new.model,
        provider: new.provider.unwrap_or_default(),
        kind: new.kind.unwrap_or_default(),
        base_url: new.base_url,
        api_key: credential.map(|text| text.trim().to_owned()).unwrap_or_default(),
        order: new.order,
        weight: new.weight,
        tags: new.tags,
        ..RuntimeModel::default()
    };
    let asked = CreateModelRequest { model: Some(model), ..CreateModelRequest::default() };
    let made = Box::pin(new.connection.client()?.models().create(asked)).await?;
    new.connection.printer().one(&made)
}
