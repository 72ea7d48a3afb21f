//! `/team/new`, `/team/update`, `/team/info` and `/team/list`.

use std::collections::{BTreeMap, HashMap};

use axum::{
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::Value;
use tollgate_proto::v1::{
    BudgetScope, CreateTeamRequest, GetSpendRequest, KeyState, ListKeysRequest, ListTeamsRequest, ScopeKind, Team,
    UpdateTeamRequest,
};

use crate::{
    Gateway,
    litellm::{
        answer::{Answer, Answered, tell_ignored},
        desk::Desk,
        failure::Failure,
        fields::Fields,
        key_fields::{self, Rates},
        key_rows::{KeyRow, RateRow},
        labels,
        purse::{Purse, Standing},
        query::Query,
        team_members::{self, Member, MemberRow},
        times,
    },
};

#[derive(Serialize)]
pub(crate) struct TeamRow {
    team_id: String,
    team_alias: Option<String>,
    organization_id: Option<String>,
    models: Vec<String>,
    members: Vec<String>,
    members_with_roles: Vec<MemberRow>,
    metadata: BTreeMap<String, Value>,
    #[serde(flatten)]
    standing: Standing,
    #[serde(flatten)]
    rates: RateRow,
    blocked: bool,
    created_at: Option<String>,
    updated_at: Option<String>,
}

pub(crate) fn scope(id: &str) -> BudgetScope {
    BudgetScope { kind: ScopeKind::Team as i32, id: id.to_owned(), ..BudgetScope::default() }
}

/// A team with its money as it stands this moment.
pub(crate) async fn row(desk: &Desk, it: &Team) -> Result<TeamRow, Failure> {
    let budgets = desk.budgets_on(&scope(&it.id)).await?;
    let (_, total) = desk.spend(GetSpendRequest { team_id: it.id.clone(), ..Default::default() }).await?;
    let mut members = Vec::new();
    for id in &it.member_ids {
        members.extend(desk.user_named(id).await);
    }
    Ok(TeamRow {
        team_id: labels::shown_id(&it.metadata, labels::TEAM_ID, &it.id),
        team_alias: (!it.display_name.is_empty()).then(|| it.display_name.clone()),
        organization_id: desk.organization_named(&it.organization_id).await,
        models: it.models.clone(),
        members_with_roles: members.iter().map(|id| MemberRow::user(id)).collect(),
        members,
        metadata: labels::read(&it.metadata),
        standing: Standing::of(&budgets, total.cost_nano_usd),
        rates: RateRow::of(it.limits.as_ref()),
        blocked: false,
        created_at: times::text(it.create_time.as_ref()),
        updated_at: times::text(it.update_time.as_ref()),
    })
}

/// What requests say of a team besides its money.
struct TeamWish {
    alias: Option<String>,
    models: Option<Vec<String>>,
    rates: Rates,
    metadata: Option<HashMap<String, String>>,
}

impl TeamWish {
    fn take(fields: &mut Fields) -> Result<Self, Failure> {
        Ok(Self {
            alias: fields.text("team_alias")?,
            models: fields.texts("models")?.map(key_fields::models_of_place),
            rates: Rates::take(fields)?,
            metadata: key_fields::metadata(fields)?,
        })
    }
}

pub(crate) async fn new(State(gateway): State<Gateway>, request: Request) -> Answered<TeamRow> {
    let (desk, mut fields) = Desk::open(gateway, request).await?;
    let id = fields.text("team_id")?;
    let wish = TeamWish::take(&mut fields)?;
    let purse = Purse::take_with_id(&mut fields, &desk).await?;
    let organization_id = fields.text("organization_id")?;
    let members = fields.take::<Vec<Member>>("members_with_roles", "a list of {role, user_id}")?.unwrap_or_default();
    let share = team_members::share(&mut fields, "team_member_budget", "team_member_budget_duration")?;
    let mut ignored = fields.finish()?;
    ignored.extend(purse.ignored());
    ignored.extend(team_members::ignored(&members));
    if let Some(id) = &id {
        let all = desk.teams(ListTeamsRequest::default()).await?;
        if all.iter().any(|it| it.id == *id || labels::is_chosen(&it.metadata, labels::TEAM_ID, id)) {
            return Err(Failure::field(
                "team_id",
                format!("there is a team {id:?} already; change it with team/update"),
            ));
        }
    }
    let organization_id = match organization_id {
        Some(id) => desk.organization(&id).await?.id,
        None => String::new(),
    };
    let mut metadata = wish.metadata.unwrap_or_default();
    labels::choose_id(&mut metadata, labels::TEAM_ID, id);
    let team = Team {
        organization_id,
        display_name: wish.alias.unwrap_or_default(),
        models: wish.models.unwrap_or_default(),
        limits: wish.rates.over(None),
        metadata,
        ..Default::default()
    };
    let request_id = labels::request_id(&team.metadata, labels::TEAM_ID);
    // The scope is the gateway's: the team has no id yet.
    let asked = CreateTeamRequest { team: Some(team), request_id, budgets: purse.budgets(&scope("")) };
    let made = desk.gateway.tenancy().create_team(desk.ask(asked)).await?.into_inner().team;
    let mut made = made.unwrap_or_default();
    for member in &members {
        made = team_members::join(&desk, made, member, share.as_ref()).await?.0;
    }
    Ok(Answer::ignoring(row(&desk, &made).await?, ignored))
}

/// A team under its id, as `team/update` answers.
#[derive(Serialize)]
pub(crate) struct Updated {
    team_id: String,
    data: TeamRow,
}

pub(crate) async fn update(State(gateway): State<Gateway>, request: Request) -> Answered<Updated> {
    let (desk, mut fields) = Desk::open(gateway, request).await?;
    let id = fields.needed("team_id")?;
    let mut team = desk.team(&id).await?;
    let wish = TeamWish::take(&mut fields)?;
    let purse = Purse::take_with_id(&mut fields, &desk).await?;
    if let Some(organization_id) = fields.text("organization_id")?
        && desk.organization(&organization_id).await?.id != team.organization_id
    {
        return Err(Failure::field("organization_id", "a team stays in its organization; make another team there"));
    }
    let ignored = fields.finish()?;
    purse.change(&desk, &scope(&team.id)).await?;
    let mut paths = Vec::new();
    let mut path = |name: &str| paths.push(name.to_owned());
    if let Some(alias) = wish.alias {
        team.display_name = alias;
        path("display_name");
    }
    if let Some(models) = wish.models {
        team.models = models;
        path("models");
    }
    if wish.rates.are_given() {
        team.limits = wish.rates.over(team.limits);
        path("limits");
    }
    if let Some(metadata) = wish.metadata {
        team.metadata = labels::replaced(&team.metadata, metadata);
        path("metadata");
    }
    if !paths.is_empty() {
        let update_mask = Some(prost_types::FieldMask { paths });
        let asked = desk.ask(UpdateTeamRequest { team: Some(team), update_mask });
        team = desk.gateway.tenancy().update_team(asked).await?.into_inner().team.unwrap_or_default();
    }
    let data = row(&desk, &team).await?;
    Ok(Answer::ignoring(Updated { team_id: data.team_id.clone(), data }, ignored))
}

/// A team with its keys and what its members may spend in it.
#[derive(Serialize)]
pub(crate) struct TeamInfo {
    team_id: String,
    team_info: TeamRow,
    keys: Vec<KeyRow>,
    team_memberships: Vec<team_members::Membership>,
}

pub(crate) async fn info(State(gateway): State<Gateway>, request: Request) -> Answered<TeamInfo> {
    let desk = Desk::of(gateway, request);
    let mut query = Query::of(&desk)?;
    let team = desk.team(&query.text("team_id").unwrap_or_default()).await?;
    let team_info = row(&desk, &team).await?;
    let keys = keys_of(&desk, ListKeysRequest { team_id: team.id.clone(), ..Default::default() }).await?;
    let spent = team_members::spent(&desk, &team.id).await?;
    let mut team_memberships = Vec::new();
    for user_id in &team.member_ids {
        team_memberships.push(team_members::membership(&desk, &team.id, user_id, &spent).await?);
    }
    let info = TeamInfo { team_id: team_info.team_id.clone(), team_info, keys, team_memberships };
    Ok(Answer::ignoring(info, query.left()))
}

/// Rows of the keys of a team or a user that were not deleted.
pub(crate) async fn keys_of(desk: &Desk, asked: ListKeysRequest) -> Result<Vec<KeyRow>, Failure> {
    let mut rows = Vec::new();
    for key in desk.keys(asked).await?.iter().filter(|key| key.state() != KeyState::Revoked) {
        rows.push(KeyRow::of(desk, key).await?);
    }
    Ok(rows)
}

pub(crate) async fn list(State(gateway): State<Gateway>, request: Request) -> Result<Response, Failure> {
    let desk = Desk::of(gateway, request);
    let mut query = Query::of(&desk)?;
    let mut asked = ListTeamsRequest::default();
    if let Some(id) = query.text("organization_id") {
        asked.organization_id = desk.organization(&id).await?.id;
    }
    let member = match query.text("user_id") {
        Some(id) => Some(desk.user(&id).await?.id),
        None => None,
    };
    let alias = query.text("team_alias");
    let mut rows = Vec::new();
    for team in desk.teams(asked).await? {
        let is_member = member.as_ref().is_none_or(|id| team.member_ids.contains(id));
        if is_member && alias.as_ref().is_none_or(|alias| team.display_name == *alias) {
            rows.push(row(&desk, &team).await?);
        }
    }
    let mut response = axum::Json(rows).into_response();
    tell_ignored(&mut response, &query.left());
    Ok(response)
}
