//! A team, a key with a budget, and what it has spent: `cargo run -p tollgate-client --example admin`, with an admin's key.

use futures::TryStreamExt;
use tollgate_client::{Client, v1};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let client = Client::from_env().await?;
    let team = v1::Team { display_name: "research".into(), models: vec!["*".into()], ..v1::Team::default() };
    let asked = v1::CreateTeamRequest { team: Some(team), ..v1::CreateTeamRequest::default() };
    let team = client.teams().create(asked).await?;
    let key = v1::Key {
        display_name: "notebook".into(),
        models: vec!["*".into()],
        team_id: team.id.clone(),
        ..v1::Key::default()
    };
    let five_dollars = 5_000_000_000;
    let asked =
        v1::CreateKeyRequest { key: Some(key), budget_nano_usd: Some(five_dollars), ..v1::CreateKeyRequest::default() };
    let made = client.keys().create(asked).await?;
    println!("secret, shown this once: {}", made.secret);

    let filter = v1::ListKeysRequest { team_id: team.id.clone(), ..v1::ListKeysRequest::default() };
    let mut keys = std::pin::pin!(client.keys().list(filter));
    while let Some(key) = keys.try_next().await? {
        println!("{} {}", key.id, key.display_name);
    }
    let asked = v1::GetSpendRequest { team_id: team.id, ..v1::GetSpendRequest::default() };
    let spent = client.spend().get(asked).await?.total.unwrap_or_default();
    println!("spent so far: {} nano-dollars in {} calls", spent.cost_nano_usd, spent.entries);
    Ok(())
}
