//! `tollgate files`.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use tollgate_client::{
    Upload,
    v1::{File, FileHeader, ListFilesRequest},
};

use crate::{Connection, Failure, One, output::Row, progress, time};

/// Commands about files at providers. Each key sees its own.
#[derive(Subcommand, Debug)]
pub enum FilesCommand {
    /// Uploads a file.
    Upload {
        /// The file.
        path: PathBuf,
        /// What it is for: `batch`, `user_data`, ...
        #[arg(long, default_value = "batch")]
        purpose: String,
        /// Model whose deployment keeps it [else that which the lines of a batch name].
        #[arg(long, default_value = "")]
        model: String,
        /// When the provider deletes it: in `30d`.
        #[arg(long, value_parser = time::seconds)]
        expires: Option<i64>,
        #[command(flatten)]
        /// Which gateway.
        connection: Connection,
    },
    /// Lists the key's files, the newest first.
    List {
        /// Only of this purpose.
        #[arg(long, default_value = "")]
        purpose: String,
        #[command(flatten)]
        /// Which gateway.
        connection: Connection,
    },
    /// Shows a file.
    Show(One),
    /// Writes what a file holds.
    Content {
        /// Its id.
        id: String,
        /// Into this file instead of standard output.
        #[arg(long)]
        to: Option<PathBuf>,
        #[command(flatten)]
        /// Which gateway.
        connection: Connection,
    },
    /// Deletes a file at its provider.
    Delete(One),
}

impl Row for File {
    const COLUMNS: &'static [&'static str] = &["id", "filename", "purpose", "bytes", "model", "deployment", "created"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.id.clone(),
            self.filename.clone(),
            self.purpose.clone(),
            self.bytes.to_string(),
            self.model.clone(),
            self.deployment.clone(),
            time::told(self.create_time.as_ref()),
        ]
    }
}

/// Runs a command about files.
pub(crate) async fn run(command: FilesCommand) -> Result<(), Failure> {
    match command {
        FilesCommand::Upload { path, purpose, model, expires, connection } => {
            let header = FileHeader { purpose, model, expires_after_seconds: expires, ..FileHeader::default() };
            let made = connection.client()?.files().upload(header, watched(&path).await?).await?;
            connection.printer().one(&made)
        }
        FilesCommand::List { purpose, connection } => {
            let asked = ListFilesRequest { purpose, ..ListFilesRequest::default() };
            connection.printer().all(connection.client()?.files().list(asked)).await
        }
        FilesCommand::Show(One { id, connection }) => {
            connection.printer().one(&connection.client()?.files().get(&id).await?)
        }
        FilesCommand::Content { id, to, connection } => {
            let files = connection.client()?.files();
            let Some(path) = to else {
                files.write_content(&id, tokio::io::stdout()).await?;
                return Ok(());
            };
            // Where there is no such file, none is made here.
            files.get(&id).await?;
            let out = tokio::fs::File::create(&path).await.map_err(|error| unusable(&path, &error))?;
            files.write_content(&id, progress::Watched::new(out, progress::bytes_counted())).await?;
            Ok(())
        }
        FilesCommand::Delete(One { id, connection }) => {
            connection.client()?.files().delete(&id).await?;
            connection.printer().note(&format!("{id} is deleted."));
            Ok(())
        }
    }
}

/// A file to send, whose way is shown.
async fn watched(path: &Path) -> Result<Upload, Failure> {
    let file = tokio::fs::File::open(path).await.map_err(|error| unusable(path, &error))?;
    let size = file.metadata().await.map_err(|error| unusable(path, &error))?.len();
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    Ok(Upload::read(name, progress::Watched::new(file, progress::bytes(size))))
}

fn unusable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::Usage(format!("{}: {error}", path.display()))
}
