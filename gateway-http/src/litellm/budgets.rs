//! `POST /budget/new`: a limit with a name, for keys, organizations and customers to be made with.
//!
//! In LiteLLM such a budget is a template: each that is made with it has spend of its own. Here it is a soft budget on a tag that no call
//! carries, and whoever names it gets a budget of their own with the same limit and window.

use axum::extract::{Request, State};
use serde::Serialize;
use tollgate_proto::v1::{Budget, BudgetEnforcement, BudgetScope, BudgetWindow, ScopeKind};

use crate::{
    Gateway,
    litellm::{
        answer::{Answer, Answered},
        desk::Desk,
        duration,
        failure::Failure,
        money::Dollars,
        purse::Purse,
        times,
    },
};

#[derive(Serialize)]
pub(crate) struct BudgetRow {
    budget_id: String,
    max_budget: Option<Dollars>,
    budget_duration: Option<String>,
    created_at: Option<String>,
    updated_at: Option<String>,
}

fn scope(id: &str) -> BudgetScope {
    BudgetScope { kind: ScopeKind::Tag as i32, id: format!("litellm.budget/{id}"), ..BudgetScope::default() }
}

async fn find(desk: &Desk, id: &str) -> Result<Option<Budget>, Failure> {
    Ok(desk.budgets_on(&scope(id)).await?.into_iter().next())
}

/// Limit and window of a `budget_id`.
pub(crate) async fn named(desk: &Desk, id: &str) -> Result<(Option<i64>, Option<BudgetWindow>), Failure> {
    let budget = find(desk, id).await?.ok_or_else(|| Failure::missing("budget", "budget_id", id))?;
    Ok((Some(budget.limit_nano_usd), budget.window))
}

pub(crate) async fn new(State(gateway): State<Gateway>, request: Request) -> Answered<BudgetRow> {
    let (desk, mut fields) = Desk::open(gateway, request).await?;
    let id = fields.text("budget_id")?;
    let purse = Purse::take(&mut fields)?;
    for rate in ["rpm_limit", "tpm_limit", "max_parallel_requests"] {
        if fields.count(rate)?.flatten().is_some() {
            return Err(Failure::field(rate, "a budget is money here; give it to the key, team, user or organization"));
        }
    }
    if purse.has_more() {
        return Err(Failure::field("max_budget", "is all that a named budget holds; give the rest where it is used"));
    }
    let (limit, window) = purse.main();
    let Some(limit_nano_usd) = limit else {
        return Err(Failure::field("max_budget", "is needed: without it there is no budget"));
    };
    let ignored = fields.finish()?;
    let id = id.unwrap_or_else(|| format!("budget-{}", times::after(0).to_string().replace([':', '.'], "-")));
    if find(&desk, &id).await?.is_some() {
        return Err(Failure::field("budget_id", format!("there is a budget {id:?} already")));
    }
    let made = desk.create_budget(Budget {
        scope: Some(scope(&id)),
        limit_nano_usd,
        window,
        enforcement: BudgetEnforcement::Soft as i32,
        display_name: id.clone(),
        ..Budget::default()
    });
    let made = made.await?;
    let row = BudgetRow {
        budget_id: id,
        max_budget: Some(Dollars(made.limit_nano_usd)),
        budget_duration: duration::told(made.window.as_ref()),
        created_at: times::text(made.create_time.as_ref()),
        updated_at: times::text(made.update_time.as_ref()),
    };
    Ok(Answer::ignoring(row, ignored))
}
