//! Prints an answer as it is made: `cargo run -p tollgate-client --example streaming -- demo "Say hello"`.

use std::{env, io::Write};

use futures::TryStreamExt;
use tollgate_client::{Client, user};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut words = env::args().skip(1);
    let model = words.next().unwrap_or_else(|| "demo".into());
    let prompt = words.next().unwrap_or_else(|| "Say hello.".into());
    let client = Client::from_env().await?;
    let mut text = std::pin::pin!(client.stream(user(model, prompt)).await?.text());
    while let Some(piece) = text.try_next().await? {
        print!("{piece}");
        std::io::stdout().flush()?;
    }
    println!();
    Ok(())
}
