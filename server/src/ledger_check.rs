//! `tollgate ledger check`: whether the ledger says what it must, asked of a gateway that runs or read from what one left behind.

use std::path::Path;

use anyhow::bail;
use tollgate_client::Client;
use tollgate_proto::v1::{CheckLedgerRequest, CheckLedgerResponse};

use crate::{backend::Backend, config::Config};

/// Asks a running gateway with an admin's key.
pub async fn ask(client: &Client) -> anyhow::Result<CheckLedgerResponse> {
    let checked = client.budgets().check_ledger(CheckLedgerRequest {}).await;
    Ok(checked.map_err(|status| anyhow::anyhow!("{}", status.message()))?.into_inner())
}

/// Reads store and journal of a gateway that does not run.
pub async fn read(config: &Config) -> anyhow::Result<CheckLedgerResponse> {
    let dir = &config.data_dir;
    if !dir.exists() {
        bail!("data_dir: there is no {}; nothing has run there", dir.display());
    }
    let backend = Backend::open(config, dir).await?;
    let mut checked = tollgate_ledger::check(&*backend.store).await?;
    let journal = dir.join("journal");
    if journal.exists() {
        let left = check_journal(&journal, &backend).await?;
        checked.findings.extend(left);
    }
    if let Some(postgres) = &backend.postgres {
        postgres.leave().await;
    }
    Ok(checked)
}

async fn check_journal(journal: &Path, backend: &Backend) -> anyhow::Result<Vec<tollgate_proto::v1::LedgerFinding>> {
    tollgate_ledger::check_journal(journal, &*backend.store).await.map_err(|error| match error {
        tollgate_ledger::OpenError::Journal(tollgate_ledger::JournalError::InUse(_)) => anyhow::anyhow!(
            "a gateway runs on this data directory; ask it instead: tollgate ledger check --url URL --key-file FILE"
        ),
        other => other.into(),
    })
}

/// Prints what was found; true: every invariant holds.
pub fn tell(checked: &CheckLedgerResponse) -> bool {
    for finding in &checked.findings {
        println!("{} {}: {}", finding.invariant, finding.subject, finding.message);
        println!("    expected {}, found {}", finding.expected, finding.actual);
    }
    let clean = checked.findings.is_empty();
    let verdict =
        if clean { "every invariant holds".to_owned() } else { format!("{} findings", checked.findings.len()) };
    println!("{} entries, {} balances: {verdict}", checked.entries, checked.balances);
    clean
}
