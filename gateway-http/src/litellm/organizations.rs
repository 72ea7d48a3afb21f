//! `/organization/*`.

use std::collections::BTreeMap;

use axum::extract::{Request, State};
use serde::Serialize;
use serde_json::Value;
use tollgate_proto::v1::{
    BudgetScope, CreateOrganizationRequest, GetSpendRequest, ListOrganizationsRequest, ListTeamsRequest,
    ListUsersRequest, Organization, ScopeKind,
};

use crate::{
    Gateway,
    litellm::{
        answer::{Answer, Answered},
        desk::Desk,
        failure::Failure,
        key_fields::{self, Rates},
        key_rows::RateRow,
        labels,
        purse::{Purse, Standing},
        query::Query,
        teams::{self, TeamRow},
        times,
        users::{self, UserRow},
    },
};

#[derive(Serialize)]
pub(crate) struct OrganizationRow {
    organization_id: String,
    organization_alias: String,
    models: Vec<String>,
    metadata: BTreeMap<String, Value>,
    #[serde(flatten)]
    standing: Standing,
    #[serde(flatten)]
    rates: RateRow,
    created_at: Option<String>,
    updated_at: Option<String>,
    teams: Vec<TeamRow>,
    users: Vec<UserRow>,
}

fn scope(id: &str) -> BudgetScope {
    BudgetScope { kind: ScopeKind::Organization as i32, id: id.to_owned(), ..BudgetScope::default() }
}

async fn row(desk: &Desk, it: &Organization) -> Result<OrganizationRow, Failure> {
    let budgets = desk.budgets_on(&scope(&it.id)).await?;
    let (_, total) = desk.spend(GetSpendRequest { organization_id: it.id.clone(), ..Default::default() }).await?;
    Ok(OrganizationRow {
        organization_id: labels::shown_id(&it.metadata, labels::ORGANIZATION_ID, &it.id),
        organization_alias: it.display_name.clone(),
        models: it.models.clone(),
        metadata: labels::read(&it.metadata),
        standing: Standing::of(&budgets, total.cost_nano_usd),
        rates: RateRow::of(it.limits.as_ref()),
        created_at: times::text(it.create_time.as_ref()),
        updated_at: times::text(it.update_time.as_ref()),
        teams: Vec::new(),
        users: Vec::new(),
    })
}

pub(crate) async fn new(State(gateway): State<Gateway>, request: Request) -> Answered<OrganizationRow> {
    let (desk, mut fields) = Desk::open(gateway, request).await?;
    let display_name = fields.needed("organization_alias")?;
    let id = fields.text("organization_id")?;
    let models = key_fields::models_of_place(fields.texts("models")?.unwrap_or_default());
    let limits = Rates::take(&mut fields)?.over(None);
    let mut metadata = key_fields::metadata(&mut fields)?.unwrap_or_default();
    let purse = Purse::take_with_id(&mut fields, &desk).await?;
    let mut ignored = fields.finish()?;
    ignored.extend(purse.ignored());
    if let Some(id) = &id {
        let all = desk.organizations(ListOrganizationsRequest::default()).await?;
        if all.iter().any(|it| it.id == *id || labels::is_chosen(&it.metadata, labels::ORGANIZATION_ID, id)) {
            return Err(Failure::field("organization_id", format!("there is an organization {id:?} already")));
        }
    }
    labels::choose_id(&mut metadata, labels::ORGANIZATION_ID, id);
    let organization = Organization { display_name, models, limits, metadata, ..Default::default() };
    let request_id = labels::request_id(&organization.metadata, labels::ORGANIZATION_ID);
    let asked =
        CreateOrganizationRequest { organization: Some(organization), request_id, budgets: purse.budgets(&scope("")) };
    let made = desk.gateway.tenancy().create_organization(desk.ask(asked)).await?.into_inner();
    let made = made.organization.unwrap_or_default();
    Ok(Answer::ignoring(row(&desk, &made).await?, ignored))
}

pub(crate) async fn info(State(gateway): State<Gateway>, request: Request) -> Answered<OrganizationRow> {
    let desk = Desk::of(gateway, request);
    let mut query = Query::of(&desk)?;
    let id = query.text("organization_id").unwrap_or_default();
    Ok(Answer::ignoring(whole(&desk, &id).await?, query.left()))
}

/// As older scripts ask: `{"organizations": [...]}`.
pub(crate) async fn info_posted(State(gateway): State<Gateway>, request: Request) -> Answered<Vec<OrganizationRow>> {
    let (desk, mut fields) = Desk::open(gateway, request).await?;
    let ids = fields.texts("organizations")?.unwrap_or_default();
    let ignored = fields.finish()?;
    let mut rows = Vec::new();
    for id in ids.iter().filter(|id| !id.is_empty()) {
        rows.push(whole(&desk, id).await?);
    }
    Ok(Answer::ignoring(rows, ignored))
}

/// An organization with its teams and users.
async fn whole(desk: &Desk, id: &str) -> Result<OrganizationRow, Failure> {
    let it = desk.organization(id).await?;
    let mut row = row(desk, &it).await?;
    for team in desk.teams(ListTeamsRequest { organization_id: it.id.clone(), ..Default::default() }).await? {
        row.teams.push(teams::row(desk, &team).await?);
    }
    for user in desk.users(ListUsersRequest { organization_id: it.id, ..Default::default() }).await? {
        row.users.push(users::row(desk, &user).await?);
    }
    Ok(row)
}
