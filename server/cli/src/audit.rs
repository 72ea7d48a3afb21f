//! `tollgate audit query`, `tail`, and what is kept of bodies.

use clap::{Args, Subcommand};
use tollgate_client::v1::{AuditFilter, AuditRecord, QueryRecordsRequest, TailRecordsRequest};

use crate::{
    Connection, Failure, amount,
    bodies::{self, BodiesCommand},
    edit::word,
    output::Row,
    time,
};

/// Commands that read the audit log of a gateway.
#[derive(Subcommand, Debug)]
pub enum AuditCommand {
    /// Shows records, oldest first.
    Query {
        #[command(flatten)]
        /// Which records.
        filter: Filter,
        /// At most so many.
        #[arg(long, default_value_t = 100)]
        limit: i64,
        /// Only records after this position.
        #[arg(long, default_value_t = 0)]
        after: i64,
        #[command(flatten)]
        /// Which gateway.
        connection: Connection,
    },
    /// Shows records as they are made, until it is interrupted.
    Tail {
        #[command(flatten)]
        /// Which records.
        filter: Filter,
        /// First all records after this position.
        #[arg(long)]
        after: Option<i64>,
        /// Ends after so many.
        #[arg(long)]
        take: Option<usize>,
        #[command(flatten)]
        /// Which gateway.
        connection: Connection,
    },
    #[command(flatten)]
    /// What is kept of prompts and answers.
    Bodies(BodiesCommand),
}

/// Which records.
#[derive(Args, Debug)]
pub struct Filter {
    /// Only acts of this key, by its id.
    #[arg(long, default_value = "")]
    key: String,
    /// Only actions that begin so: `completion.`, `key.`.
    #[arg(long, default_value = "")]
    action: String,
    /// Only the record of this call.
    #[arg(long, default_value = "")]
    call: String,
    /// From when on: `2h` ago, `2026-11-20`, or RFC 3339.
    #[arg(long, value_parser = time::past)]
    since: Option<prost_types::Timestamp>,
    /// Up to, not including, when.
    #[arg(long, value_parser = time::past)]
    until: Option<prost_types::Timestamp>,
}

impl From<Filter> for AuditFilter {
    fn from(filter: Filter) -> Self {
        Self {
            key_id: filter.key,
            action_prefix: filter.action,
            call_id: filter.call,
            start_time: filter.since,
            end_time: filter.until,
        }
    }
}

impl Row for AuditRecord {
    const COLUMNS: &'static [&'static str] =
        &["sequence", "time", "action", "key", "subject", "model", "deployment", "ms", "cost", "error", "changes"];

    fn cells(&self) -> Vec<String> {
        let attempts = self.routing.iter().flat_map(|routing| &routing.attempts);
        let deployments: Vec<&str> = attempts.map(|attempt| attempt.deployment.as_str()).collect();
        vec![
            self.sequence.to_string(),
            time::told(self.time.as_ref()),
            self.action.clone(),
            self.key_id.clone(),
            self.subject.clone(),
            self.model.clone(),
            deployments.join(">"),
            (self.duration_us / 1_000).to_string(),
            self.usage.as_ref().map(|usage| amount::dollars(usage.cost_nano_usd)).unwrap_or_default(),
            word(self.error_reason().as_str_name(), "ERROR_REASON_"),
            self.changes.join("; "),
        ]
    }
}

/// Runs a command about the audit log.
pub(crate) async fn run(command: AuditCommand) -> Result<(), Failure> {
    use futures::StreamExt;
    match command {
        AuditCommand::Bodies(command) => bodies::run(command).await,
        AuditCommand::Query { filter, limit, after, connection } => {
            let asked = QueryRecordsRequest { filter: Some(filter.into()), after_sequence: after, limit };
            connection.printer().all(connection.client()?.audit().query(asked).await?).await
        }
        AuditCommand::Tail { filter, after, take, connection } => {
            let asked = TailRecordsRequest { filter: Some(filter.into()), after_sequence: after };
            let records = connection.client()?.audit().tail(asked).await?;
            connection.printer().each(records.take(take.unwrap_or(usize::MAX))).await
        }
    }
}
