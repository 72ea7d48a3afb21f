//! The runner of `tests/cases` in Rust: makes calls through the client's public layer and tells what it saw. Its protocol: tests/cases/README.md.

mod calls;
mod media;
mod saw;

use std::{io::Read, path::PathBuf};

use futures::{StreamExt, stream};
use serde::Deserialize;
use serde_json::{Value, json};

/// What the harness hands over.
#[derive(Deserialize)]
struct Document {
    address: String,
    cases: Vec<Case>,
}

/// One call.
#[derive(Deserialize)]
struct Case {
    name: String,
    key: Option<String>,
    address: Option<String>,
    #[serde(default)]
    tls: Tls,
    call: Call,
}

/// Files of certificates.
#[derive(Deserialize, Default)]
struct Tls {
    ca: Option<PathBuf>,
    certificate: Option<PathBuf>,
    private_key: Option<PathBuf>,
}

/// What to call and how.
#[derive(Deserialize)]
struct Call {
    #[serde(rename = "do")]
    what: String,
    #[serde(default)]
    request: Value,
    deadline_ms: Option<u64>,
    cancel_after_events: Option<usize>,
    take: Option<usize>,
    traceparent: Option<String>,
    times: Option<usize>,
    every_ms: Option<u64>,
    linger_ms: Option<u64>,
    #[serde(default)]
    uploads: Vec<Sent>,
}

/// A file to send: a text so many times.
#[derive(Deserialize)]
struct Sent {
    #[serde(default)]
    field: String,
    #[serde(default)]
    filename: String,
    #[serde(default)]
    content_type: String,
    text: String,
    times: Option<usize>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    let Document { address, cases } = serde_json::from_str(&text)?;
    let address = &address;
    let told = stream::iter(cases).map(|case| async move {
        let at = case.address.as_ref().unwrap_or(address);
        let saw = Box::pin(calls::play(at, &case)).await;
        (case.name, saw)
    });
    let mut told = told.buffer_unordered(8);
    while let Some((name, saw)) = told.next().await {
        // What the harness asks of a broken request is answered as any other.
        let saw = saw.unwrap_or_else(|error| json!({"error": {"type": "Runner", "message": error.to_string()}}));
        println!("{}", json!({"name": name, "saw": saw}));
    }
    Ok(())
}
