//! Reads the books: the gateway's through its admin API, the provider's own log.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tollgate_client::{Client, v1};
use tollgate_tests::provider::{Outcome, Record};

use crate::evidence::{Attempt, Balance, Budget, Certainty, Ended, Row};
use crate::world::{World, cost};

/// How long the gateway may take to settle everything after the load.
const QUIET: Duration = Duration::from_secs(45);

/// What the gateway says.
#[derive(Debug, Default)]
pub(crate) struct Books {
    pub(crate) rows: Vec<Row>,
    pub(crate) balances: Vec<Balance>,
    /// How long it took until nothing moved any more.
    pub(crate) quiet_after: Duration,
    /// What the gateway's own checker finds.
    pub(crate) invariants: Vec<String>,
}

/// Waits until nothing is open at the provider, nothing is held and the ledger stands still, and reads it all.
///
/// # Errors
/// When the gateway cannot be asked. Money that is still held after 45 seconds is no error here: the judge names it.
pub(crate) async fn when_quiet(world: &World) -> Result<Books> {
    let begun = Instant::now();
    let mut before = None;
    loop {
        let mut books = read(world).await?;
        let open = world.provider.log().stats().open;
        let held: i64 = books.balances.iter().map(|balance| balance.held).sum();
        let still = before == Some(books.rows.len());
        if (open == 0 && held == 0 && still) || begun.elapsed() > QUIET {
            books.quiet_after = begun.elapsed();
            return Ok(books);
        }
        before = Some(books.rows.len());
        tokio::time::sleep(Duration::from_millis(1_000)).await;
    }
}

async fn read(world: &World) -> Result<Books> {
    // Replicas that share a store all tell the same; a replica without one is alone.
    let replica = world.replicas.first().context("a replica")?;
    let admin = world.admin(replica).await?;
    let names = names(&admin).await?;
    let mut books = Books::default();
    let mut windowed = HashMap::new();
    for budget in &world.population.budgets {
        let now = self::budget(&admin, budget).await?;
        let window = budget.window.and(now.window_start_time.as_ref()).map(|start| start.seconds);
        if budget.window.is_some() {
            windowed.insert(now.id.clone(), budget.scope.clone());
        }
        let (scope, spent, held) = (budget.scope.clone(), now.spent_nano_usd, now.held_nano_usd);
        let mut holders = Vec::new();
        if held != 0 {
            let asked = v1::ListHoldsRequest { budget_id: now.id };
            let held = admin.budgets().list_holds(asked).await?.into_inner();
            holders.extend(held.holds.iter().map(|hold| format!("{} {}", hold.replica, hold.attempt_id)));
            holders.extend(
                held.leases.iter().map(|lease| format!("{} leases {}", lease.replica, lease.outstanding_nano_usd)),
            );
        }
        books.balances.push(Balance { scope, window, spent, held, holders });
    }
    books.rows = rows(&admin, &names, &windowed).await?;
    let checked = admin.budgets().check_ledger(v1::CheckLedgerRequest {}).await?.into_inner();
    books.invariants = checked.findings.iter().map(|finding| format!("{finding:?}")).collect();
    Ok(books)
}

/// A budget as the gateway sees it: that of a key by the key, any other by the name that it was given.
///
/// # Errors
/// When there is none.
pub(crate) async fn budget(admin: &Client, budget: &Budget) -> Result<v1::Budget> {
    let missing = || format!("budget of {}", budget.scope);
    let Some(name) = budget.of_key() else {
        let asked = v1::ListBudgetsRequest { page_size: 1_000, ..Default::default() };
        let all = admin.budgets().list_budgets(asked).await.with_context(missing)?.into_inner().budgets;
        return all.into_iter().find(|b| b.display_name == budget.scope).with_context(missing);
    };
    let names = names(admin).await?;
    let id = names.iter().find(|(_, known)| *known == name).map(|(id, _)| id.clone());
    let asked = v1::GetBudgetRequest { key_id: id.with_context(missing)?, ..Default::default() };
    let answer = admin.budgets().get_budget(asked).await.with_context(missing)?;
    answer.into_inner().budget.with_context(missing)
}

/// Names of keys by their ids.
pub(crate) async fn names(admin: &Client) -> Result<HashMap<String, String>> {
    let asked = v1::ListKeysRequest { page_size: 1_000, ..Default::default() };
    let keys = admin.keys().list_keys(asked).await?.into_inner().keys;
    Ok(keys.into_iter().map(|key| (key.id, key.display_name)).collect())
}

/// `narrow`: names of the budgets with windows by their ids.
async fn rows(admin: &Client, names: &HashMap<String, String>, narrow: &HashMap<String, String>) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    let mut page_token = String::new();
    loop {
        let asked = v1::ListLedgerEntriesRequest { page_size: 1_000, page_token, ..Default::default() };
        let page = admin.budgets().list_ledger_entries(asked).await?.into_inner();
        for entry in page.entries {
            let certainty = match entry.kind() {
                v1::LedgerEntryKind::Exact => Certainty::Exact,
                v1::LedgerEntryKind::Estimated => Certainty::Estimated,
                v1::LedgerEntryKind::Recovered => Certainty::Recovered,
                other => bail!("an entry of the kind {other:?}, which this load does not make: {entry:?}"),
            };
            let windows =
                entry.charges.iter().filter_map(|charge| Some((narrow.get(&charge.budget_id)?.clone(), charge.window)));
            rows.push(Row {
                attempt: entry.attempt_id,
                call: entry.call_id,
                windows: windows.collect(),
                model: entry.model,
                key: names.get(&entry.key_id).cloned().unwrap_or(entry.key_id),
                certainty,
                answered: entry.outcome == "complete",
                cost: entry.cost_nano_usd,
                low: entry.low_nano_usd,
                high: entry.high_nano_usd,
            });
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(rows);
        }
    }
}

/// What a prompt carries, so that the provider's books tell whose call it was: `<<key|call>>`.
pub(crate) fn mark(key: &str, marker: &str) -> String {
    format!("<<{key}|{marker}>>")
}

/// The provider's books as the judge wants them. What was handed to the connection is billed, to the token: also where
/// the caller was gone by then.
pub(crate) fn truth(records: Vec<Record>) -> Vec<Attempt> {
    let attempt = |record: Record| {
        let text = record.body.as_ref().map(|body| body["messages"].to_string()).unwrap_or_default();
        let marked = text.split_once("<<").and_then(|(_, rest)| rest.split_once(">>")).map_or("", |(marked, _)| marked);
        let (key, marker) = marked.split_once('|').unwrap_or_default();
        // A refusal costs nothing; the log has no tokens for it.
        let nano = cost(record.prompt_tokens, record.completion_tokens);
        Attempt {
            id: record.client_request_id.unwrap_or_else(|| format!("without an id, the provider's {}", record.seq)),
            key: key.into(),
            marker: marker.into(),
            model: record.model.trim_end_matches("-upstream").into(),
            at_ms: record.started_at_ms as i64,
            low: nano,
            high: nano,
            ended: match record.outcome {
                Outcome::Complete => Ended::Complete,
                Outcome::Failed => Ended::Failed,
                Outcome::Open | Outcome::CutByClient | Outcome::ScriptedCut => Ended::Cut,
            },
            usage_told: record.usage_sent,
        }
    };
    records.into_iter().map(attempt).collect()
}
