//! Prints audit records as they are made: `cargo run -p tollgate-client --example audit_tail`, with an admin's key.

use futures::TryStreamExt;
use tollgate_client::{Client, v1::TailRecordsRequest};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let client = Client::from_env().await?;
    let mut records = std::pin::pin!(client.audit().tail(TailRecordsRequest::default()).await?);
    while let Some(record) = records.try_next().await? {
        println!("{} {} {} {}", record.sequence, record.action, record.key_id, record.model);
    }
    Ok(())
}
