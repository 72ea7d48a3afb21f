//! `POST /customer/new`: a budget for an end customer, as calls name it (`user` of the body).

use axum::extract::{Request, State};
use serde::Serialize;
use tollgate_proto::v1::{BudgetScope, ScopeKind};

use crate::{
    Gateway,
    litellm::{
        answer::{Answer, Answered},
        desk::Desk,
        failure::Failure,
        purse::{Purse, Standing},
    },
};

#[derive(Serialize)]
pub(crate) struct CustomerRow {
    user_id: String,
    alias: Option<String>,
    blocked: bool,
    #[serde(flatten)]
    standing: Standing,
}

pub(crate) async fn new(State(gateway): State<Gateway>, request: Request) -> Answered<CustomerRow> {
    let (desk, mut fields) = Desk::open(gateway, request).await?;
    let user_id = fields.needed("user_id")?;
    let alias = fields.text("alias")?;
    let purse = Purse::take_with_id(&mut fields, &desk).await?;
    for rate in ["rpm_limit", "tpm_limit", "max_parallel_requests"] {
        if fields.count(rate)?.flatten().is_some() {
            return Err(Failure::field(rate, "customers have no rates of their own; limit the key, team or user"));
        }
    }
    if let Some(models) = fields.texts("models")?.filter(|models| !models.is_empty()) {
        return Err(Failure::field(
            "models",
            format!("keys decide which models may be used; {models:?} cannot be a customer's"),
        ));
    }
    let scope = BudgetScope { kind: ScopeKind::Customer as i32, id: user_id.clone(), ..BudgetScope::default() };
    let mut ignored = fields.finish()?;
    ignored.extend(purse.ignored());
    ignored.extend(alias.is_some().then(|| "alias".to_owned()));
    // Customers exist by being named: without a budget there is nothing to make.
    let Some(made) = purse.fill(&desk, &scope).await? else {
        return Err(Failure::field("user_id", format!("the customer {user_id:?} has a budget already")));
    };
    let row = CustomerRow { user_id, alias, blocked: false, standing: Standing::of(&made, 0) };
    Ok(Answer::ignoring(row, ignored))
}
