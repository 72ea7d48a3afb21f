//! `tollgate ledger`: lines, holds, corrections, invoices of a gateway.

use std::path::{Path, PathBuf};

use clap::{Subcommand, ValueEnum};
use tollgate_client::v1::{
    Adjustment, CreateAdjustmentRequest, Hold, InvoiceFormat, LedgerEntry, ListLedgerEntriesRequest,
    ProposedAdjustment, ReconcileInvoiceRequest, ReconciledBucket,
};

use crate::{
    Connection, Failure, One, amount,
    edit::word,
    output::{Output, Row, print},
    time,
};

/// Commands about the ledger of a gateway.
#[derive(Subcommand, Debug)]
pub enum LedgerCommand {
    /// Lists lines of the ledger, oldest first.
    Entries {
        /// Only of this key, by its id.
        #[arg(long, default_value = "")]
        key: String,
        /// Only of this call.
        #[arg(long, default_value = "")]
        call: String,
        /// Only of this organization.
        #[arg(long, default_value = "")]
        org: String,
        /// Only of this team.
        #[arg(long, default_value = "")]
        team: String,
        /// Only of this user.
        #[arg(long, default_value = "")]
        user: String,
        /// From when on: `2h` ago, `2026-11-20`, or RFC 3339.
        #[arg(long, value_parser = time::past)]
        since: Option<prost_types::Timestamp>,
        /// Up to, not including, when.
        #[arg(long, value_parser = time::past)]
        until: Option<prost_types::Timestamp>,
        #[command(flatten)]
        /// Which gateway.
        connection: Connection,
    },
    /// Lists what calls in flight hold, at the replica that answers.
    Holds {
        /// Only in this budget.
        #[arg(long, default_value = "")]
        budget: String,
        #[command(flatten)]
        /// Which gateway.
        connection: Connection,
    },
    /// Compares a provider's invoice with the ledger. Status 1: differences remain that nothing explains.
    Reconcile {
        /// The provider, by its name in the gateway's configuration.
        provider: String,
        /// The export of usage and costs, CSV.
        invoice: PathBuf,
        /// Whose export it is.
        #[arg(long, value_enum)]
        format: Format,
        #[command(flatten)]
        /// Which gateway.
        connection: Connection,
    },
    /// Proposes a correction, which is posted at once where it is small.
    Adjust {
        /// The attempt whose entry is corrected.
        attempt: String,
        /// By how much, in dollars; `-0.25`: less was spent.
        #[arg(allow_hyphen_values = true, value_parser = amount::signed)]
        amount: i64,
        /// Why.
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        /// Which gateway.
        connection: Connection,
    },
    /// Posts a correction that somebody else proposed.
    Approve(One),
    /// Lists corrections, oldest first.
    Adjustments {
        #[command(flatten)]
        /// Which gateway.
        connection: Connection,
    },
    /// Gives up a replica whose disk is lost: what it had taken ahead counts as spent no longer.
    CloseReplica(One),
}

/// Whose export an invoice is.
#[derive(ValueEnum, Debug, Clone, Copy)]
pub enum Format {
    /// OpenAI's.
    Openai,
    /// Anthropic's.
    Anthropic,
}

impl From<Format> for InvoiceFormat {
    fn from(format: Format) -> Self {
        match format {
            Format::Openai => Self::OpenaiCsv,
            Format::Anthropic => Self::AnthropicCsv,
        }
    }
}

impl Row for LedgerEntry {
    const COLUMNS: &'static [&'static str] = &[
        "sequence",
        "settled",
        "attempt",
        "call",
        "key",
        "model",
        "deployment",
        "kind",
        "outcome",
        "input",
        "output",
        "cost",
    ];

    fn cells(&self) -> Vec<String> {
        let usage = self.usage.as_ref();
        let input = usage.and_then(|usage| usage.input.as_ref()).map(|input| input.total.to_string());
        let output = usage.and_then(|usage| usage.output.as_ref()).map(|output| output.total.to_string());
        vec![
            self.sequence.to_string(),
            time::told(self.settle_time.as_ref()),
            self.attempt_id.clone(),
            self.call_id.clone(),
            self.key_id.clone(),
            self.model.clone(),
            self.deployment.clone(),
            word(self.kind().as_str_name(), "LEDGER_ENTRY_KIND_"),
            self.outcome.clone(),
            input.unwrap_or_default(),
            output.unwrap_or_default(),
            amount::dollars(self.cost_nano_usd),
        ]
    }
}

impl Row for Hold {
    const COLUMNS: &'static [&'static str] = &["since", "attempt", "key", "model", "deployment", "amount", "replica"];

    fn cells(&self) -> Vec<String> {
        vec![
            time::told(self.open_time.as_ref()),
            self.attempt_id.clone(),
            self.key_id.clone(),
            self.model.clone(),
            self.deployment.clone(),
            amount::dollars(self.amount_nano_usd),
            self.replica.clone(),
        ]
    }
}

impl Row for Adjustment {
    const COLUMNS: &'static [&'static str] =
        &["id", "attempt", "amount", "state", "reason", "proposed by", "approved by", "created"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.id.clone(),
            self.attempt_id.clone(),
            amount::dollars(self.amount_nano_usd),
            word(self.state().as_str_name(), "ADJUSTMENT_STATE_"),
            self.reason.clone(),
            self.proposed_by.clone(),
            self.approved_by.clone(),
            time::told(self.create_time.as_ref()),
        ]
    }
}

impl Row for ReconciledBucket {
    const COLUMNS: &'static [&'static str] = &["day", "model", "tier", "invoiced", "booked", "causes"];

    fn cells(&self) -> Vec<String> {
        let causes = self.causes.iter().map(|c| format!("{} {}", c.cause, amount::dollars(c.amount_nano_usd)));
        vec![
            self.day.clone(),
            self.model.clone(),
            self.service_tier.clone(),
            amount::dollars(self.invoiced_nano_usd),
            amount::dollars(self.booked_nano_usd),
            causes.collect::<Vec<_>>().join(", "),
        ]
    }
}

impl Row for ProposedAdjustment {
    const COLUMNS: &'static [&'static str] = &["attempt", "amount", "cause", "description"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.attempt_id.clone(),
            amount::dollars(self.amount_nano_usd),
            self.cause.clone(),
            self.description.clone(),
        ]
    }
}

/// Runs a command about the ledger.
pub(crate) async fn run(command: LedgerCommand) -> Result<(), Failure> {
    match command {
        LedgerCommand::Entries { key, call, org, team, user, since, until, connection } => {
            let asked = ListLedgerEntriesRequest {
                key_id: key,
                call_id: call,
                organization_id: org,
                team_id: team,
                user_id: user,
                start_time: since,
                end_time: until,
                ..ListLedgerEntriesRequest::default()
            };
            connection.printer().all(connection.client()?.spend().entries(asked)).await
        }
        LedgerCommand::Holds { budget, connection } => {
            connection.printer().rows(&connection.client()?.spend().holds(&budget).await?.holds)
        }
        LedgerCommand::Reconcile { provider, invoice, format, connection } => {
            reconcile(&connection, provider, &invoice, format).await
        }
        LedgerCommand::Adjust { attempt, amount, reason, connection } => {
            let adjustment =
                Adjustment { attempt_id: attempt, amount_nano_usd: amount, reason, ..Adjustment::default() };
            let asked = CreateAdjustmentRequest { adjustment: Some(adjustment), ..CreateAdjustmentRequest::default() };
            connection.printer().one(&connection.client()?.spend().adjust(asked).await?)
        }
        LedgerCommand::Approve(One { id, connection }) => {
            connection.printer().one(&connection.client()?.spend().approve(&id).await?)
        }
        LedgerCommand::Adjustments { connection } => {
            connection.printer().all(connection.client()?.spend().adjustments()).await
        }
        LedgerCommand::CloseReplica(One { id, connection }) => {
            let released = connection.client()?.spend().close_replica(&id).await?;
            print(&format!("{id} is given up; its leases held {}\n", amount::dollars(released)))
        }
    }
}

async fn reconcile(connection: &Connection, provider: String, invoice: &Path, format: Format) -> Result<(), Failure> {
    let csv = std::fs::read(invoice).map_err(|error| Failure::Usage(format!("{}: {error}", invoice.display())))?;
    let asked = ReconcileInvoiceRequest { provider, format: InvoiceFormat::from(format).into(), csv: csv.into() };
    let told = connection.client()?.spend().reconcile(asked).await?;
    match connection.output() {
        Output::Json | Output::Yaml => connection.printer().whole(&told)?,
        _ => {
            connection.printer().rows(&told.buckets)?;
            if !told.proposals.is_empty() && connection.output() == Output::Table {
                print("\nproposed corrections\n")?;
                connection.printer().rows(&told.proposals)?;
            }
        }
    }
    let (invoiced, booked) = (amount::dollars(told.invoiced_nano_usd), amount::dollars(told.booked_nano_usd));
    connection.printer().note(&format!("invoiced {invoiced}, booked {booked}"));
    if told.clears { Ok(()) } else { Err(Failure::Other("differences remain that nothing explains".into())) }
}
