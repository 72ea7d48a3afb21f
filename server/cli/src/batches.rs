//! `tollgate batches`.

use std::time::Duration;

use clap::Subcommand;
use tollgate_client::v1::{Batch, CreateBatchRequest, ListBatchesRequest};

use crate::{Connection, Failure, One, amount, edit::label, output::Row, progress, time};

/// Commands about batches. Each key sees its own.
#[derive(Subcommand, Debug)]
pub enum BatchesCommand {
    /// Begins a batch on an uploaded file.
    Create {
        /// Id of a file of the purpose `batch`.
        input_file: String,
        /// What its lines ask for, as in their `url`.
        #[arg(long, default_value = "/v1/chat/completions")]
        endpoint: String,
        /// How long it may take, in the provider's words.
        #[arg(long, default_value = "24h")]
        completion_window: String,
        /// A note that the provider keeps, NAME=VALUE. May be given several times.
        #[arg(long = "metadata", value_parser = label)]
        metadata: Vec<(String, String)>,
        #[command(flatten)]
        /// Which gateway.
        connection: Connection,
    },
    /// Lists the key's batches, the newest first.
    List {
        #[command(flatten)]
        /// Which gateway.
        connection: Connection,
    },
    /// Shows a batch.
    Show(One),
    /// Waits until a batch has ended. Status 1: it did not complete.
    Wait {
        /// Its id.
        id: String,
        /// How often to look.
        #[arg(long, default_value = "30s", value_parser = time::seconds)]
        every: i64,
        #[command(flatten)]
        /// Which gateway.
        connection: Connection,
    },
    /// Asks the provider to stop a batch; what was answered until then is paid for.
    Cancel(One),
}

impl Row for Batch {
    const COLUMNS: &'static [&'static str] =
        &["id", "status", "model", "input", "output", "errors", "held", "cost", "created"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.id.clone(),
            self.status.clone(),
            self.model.clone(),
            self.input_file_id.clone(),
            self.output_file_id.clone(),
            self.error_file_id.clone(),
            amount::dollars(self.held_nano_usd),
            self.cost_nano_usd.map(amount::dollars).unwrap_or_default(),
            time::told(self.create_time.as_ref()),
        ]
    }
}

/// Runs a command about batches.
pub(crate) async fn run(command: BatchesCommand) -> Result<(), Failure> {
    match command {
        BatchesCommand::Create { input_file, endpoint, completion_window, metadata, connection } => {
            let asked = CreateBatchRequest {
                input_file_id: input_file,
                endpoint,
                completion_window,
                metadata: metadata.into_iter().collect(),
                ..CreateBatchRequest::default()
            };
            connection.printer().one(&connection.client()?.batches().create(asked).await?)
        }
        BatchesCommand::List { connection } => {
            let asked = ListBatchesRequest::default();
            connection.printer().all(connection.client()?.batches().list(asked)).await
        }
        BatchesCommand::Show(One { id, connection }) => {
            connection.printer().one(&connection.client()?.batches().get(&id).await?)
        }
        BatchesCommand::Cancel(One { id, connection }) => {
            connection.printer().one(&connection.client()?.batches().cancel(&id).await?)
        }
        BatchesCommand::Wait { id, every, connection } => {
            let bar = progress::waiting().with_message(format!("{id} goes on"));
            let every = Duration::from_secs(every.max(1).unsigned_abs());
            let ended = connection.client()?.batches().wait(&id, every).await;
            bar.finish_and_clear();
            let ended = ended?;
            connection.printer().one(&ended)?;
            match ended.status.as_str() {
                "completed" => Ok(()),
                status => Err(Failure::Other(format!("{id} did not complete: {status}"))),
            }
        }
    }
}
