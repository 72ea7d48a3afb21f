//! `tollgate spend`: a table with bars.

use clap::{Args, ValueEnum};
use tollgate_client::v1::{GetSpendRequest, GetSpendResponse, SpendGroup, SpendRow};

use crate::{
    Connection, Failure, amount,
    output::{Output, Row, print},
    time,
};

/// Length of the longest bar, in characters.
const BAR: usize = 40;

/// What was spent.
#[derive(Args, Debug)]
pub struct SpendArgs {
    /// How to group.
    #[arg(long, value_enum, default_value = "model")]
    by: Group,
    /// From when on: `7d` ago, `2026-11-01`, or RFC 3339 [else from the beginning]
    #[arg(long, value_parser = time::past)]
    since: Option<prost_types::Timestamp>,
    /// Up to, not including, when [else until now]
    #[arg(long, value_parser = time::past)]
    until: Option<prost_types::Timestamp>,
    /// Only of this key, by its id.
    #[arg(long, default_value = "")]
    key: String,
    /// Only of this team.
    #[arg(long, default_value = "")]
    team: String,
    /// Only of this user.
    #[arg(long, default_value = "")]
    user: String,
    /// Only of this organization.
    #[arg(long, default_value = "")]
    org: String,
    #[command(flatten)]
    connection: Connection,
}

/// How spend is grouped.
#[derive(ValueEnum, Debug, Clone, Copy)]
enum Group {
    Key,
    Model,
    Provider,
    Day,
    Team,
    User,
    Org,
    Tag,
    Customer,
}

impl Row for SpendRow {
    const COLUMNS: &'static [&'static str] =
        &["group", "cost", "entries", "input tokens", "output tokens", "estimated", "saved"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.group.clone(),
            amount::dollars(self.cost_nano_usd),
            self.entries.to_string(),
            self.input_tokens.to_string(),
            self.output_tokens.to_string(),
            amount::dollars(self.estimated_nano_usd),
            amount::dollars(self.saved_nano_usd),
        ]
    }
}

/// Runs `tollgate spend`.
pub(crate) async fn run(args: SpendArgs) -> Result<(), Failure> {
    let group = match args.by {
        Group::Key => SpendGroup::Key,
        Group::Model => SpendGroup::Model,
        Group::Provider => SpendGroup::Provider,
        Group::Day => SpendGroup::Day,
        Group::Team => SpendGroup::Team,
        Group::User => SpendGroup::User,
        Group::Org => SpendGroup::Organization,
        Group::Tag => SpendGroup::Tag,
        Group::Customer => SpendGroup::Customer,
    };
    let asked = GetSpendRequest {
        key_id: args.key,
        start_time: args.since,
        end_time: args.until,
        group_by: group.into(),
        organization_id: args.org,
        team_id: args.team,
        user_id: args.user,
    };
    let told = args.connection.client()?.spend().get(asked).await?;
    match args.connection.output() {
        Output::Table => print(&chart(&told)),
        _ => args.connection.printer().rows(&told.rows),
    }
}

/// The rows with bars, and their sum.
fn chart(told: &GetSpendResponse) -> String {
    let dearest = told.rows.iter().map(|row| row.cost_nano_usd).max().unwrap_or(0).max(1);
    let name = |row: &SpendRow| if row.group.is_empty() { "-".to_owned() } else { row.group.clone() };
    let total = told.total.clone().unwrap_or_default();
    let names = told.rows.iter().map(|row| name(row).chars().count()).max().unwrap_or(0).max(5);
    let costs: Vec<String> = told.rows.iter().map(|row| amount::dollars(row.cost_nano_usd)).collect();
    let sum = amount::dollars(total.cost_nano_usd);
    let width = costs.iter().map(String::len).max().unwrap_or(0).max(sum.len());
    let mut text = String::new();
    for (row, cost) in told.rows.iter().zip(&costs) {
        let bar = bar(row.cost_nano_usd, dearest);
        text += &format!("{:<names$}  {cost:>width$}  {:>8} calls  {bar}\n", name(row), row.entries);
    }
    text += &format!("{:<names$}  {sum:>width$}  {:>8} calls\n", "total", total.entries);
    text
}

/// A bar in eighths of a character, so that small amounts are seen.
fn bar(cost: i64, dearest: i64) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = (i128::from(cost.max(0)) * (BAR as i128 * 8) / i128::from(dearest)) as usize;
    format!("{}{}", "█".repeat(eighths / 8), EIGHTHS[eighths % 8])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dearest_row_has_the_longest_bar() {
        let row = |group: &str, cost| SpendRow {
            group: group.into(),
            cost_nano_usd: cost,
            entries: 1,
            ..SpendRow::default()
        };
        let total = SpendRow { cost_nano_usd: 4_500_000_000, entries: 3, ..SpendRow::default() };
        let rows = vec![row("gpt", 4_000_000_000), row("claude", 500_000_000), row("", 0)];
        let told = chart(&GetSpendResponse { rows, total: Some(total) });
        let lines: Vec<&str> = told.lines().collect();
        assert_eq!(lines[0], format!("gpt     $4.00         1 calls  {}", "█".repeat(40)));
        assert_eq!(lines[1], "claude  $0.50         1 calls  █████");
        assert_eq!(lines[2], "-       $0.00         1 calls  ");
        assert_eq!(lines[3], "total   $4.50         3 calls");
    }
}
