//! Receivers of sinks that take nothing: some answer nobody, some refuse everybody.

use std::fs::{File, OpenOptions};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use axum::Router;
use axum::body::Bytes;
use axum::http::StatusCode;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::calls::Kind;

/// How a receiver takes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// It accepts connections, or has its end of a pipe open, and neither reads nor answers.
    Stalls,
    /// It says no to each request: 503, a full device, a path that is none.
    Refuses,
}

/// Every kind of sink.
pub(crate) const SINKS: [&str; 11] =
    ["langfuse", "helicone", "datadog", "s3", "gcs", "azure", "local", "sentry", "webhook", "otlp", "stdout"];

/// The two servers, and files that stand for what is no server. Gone when dropped.
pub(crate) struct Receivers {
    stalls: SocketAddr,
    refuses: SocketAddr,
    directory: TempDir,
    /// The end of a pipe that nobody reads from: without it, writers would wait for a reader.
    _pipe: File,
}

impl Receivers {
    pub(crate) async fn start() -> Result<Self> {
        let (stalls, refuses) = (TcpListener::bind("127.0.0.1:0").await?, TcpListener::bind("127.0.0.1:0").await?);
        let addresses = (stalls.local_addr()?, refuses.local_addr()?);
        tokio::spawn(async move {
            let mut kept = Vec::new();
            while let Ok((connection, _)) = stalls.accept().await {
                kept.push(connection);
            }
        });
        let no = Router::new().fallback(|_: Bytes| async { StatusCode::SERVICE_UNAVAILABLE });
        tokio::spawn(async move { axum::serve(refuses, no).await });
        let directory = tempfile::tempdir()?;
        let pipe = directory.path().join("pipe");
        let made = Command::new("mkfifo").arg(&pipe).status().context("mkfifo")?;
        ensure!(made.success(), "mkfifo: {made}");
        let _pipe = OpenOptions::new().read(true).write(true).open(&pipe)?;
        std::fs::write(directory.path().join("file"), "")?;
        Ok(Self { stalls: addresses.0, refuses: addresses.1, directory, _pipe })
    }

    /// The receiver's part of a sink's settings; `None`: this kind has no such trouble that can be made here.
    pub(crate) fn settings(&self, sink: &str, trouble: Trouble) -> Option<Value> {
        let address = match trouble {
            Trouble::Stalls => self.stalls,
            Trouble::Refuses => self.refuses,
        };
        let url = format!("http://{address}");
        let receiver = match sink {
            "langfuse" => json!({ "host": url, "public_key": "pk", "secret_key": "sk" }),
            "helicone" => json!({ "url": url, "api_key": "key" }),
            "datadog" => json!({ "url": url, "api_key": "key" }),
            "s3" => {
                json!({ "bucket": "calls", "endpoint": url, "access_key_id": "id", "secret_access_key": "secret" })
            }
            "gcs" => json!({ "bucket": "calls", "endpoint": url }),
            "azure" => json!({ "account": "calls", "container": "c", "endpoint": url, "access_key": "c2VjcmV0" }),
            // A directory does not stall by itself, and what is below a file cannot be made.
            "local" if trouble == Trouble::Refuses => json!({ "dir": self.directory.path(), "prefix": "file" }),
            "local" => return None,
            "sentry" => json!({ "dsn": format!("http://public@{address}/1") }),
            "webhook" => json!({ "url": url }),
            "otlp" => json!({ "endpoint": url }),
            _ => json!({}),
        };
        Some(json!({ sink: receiver }))
    }

    /// The command around a gateway whose standard output is this sink's receiver.
    pub(crate) fn wrapper(&self, sink: &str, trouble: Trouble) -> Vec<String> {
        let to = |path: &Path| {
            let script = format!("exec \"$0\" \"$@\" > '{}'", path.display());
            vec!["sh".to_owned(), "-c".to_owned(), script]
        };
        match (sink, trouble) {
            ("stdout", Trouble::Stalls) => to(&self.directory.path().join("pipe")),
            ("stdout", Trouble::Refuses) => to(Path::new("/dev/full")),
            _ => Vec::new(),
        }
    }
}

/// Calls of which this sink takes records: Sentry hears of failures alone.
pub(crate) fn calls_for(sink: &str) -> Kind {
    if sink == "sentry" { Kind::Refused } else { Kind::Plain }
}
