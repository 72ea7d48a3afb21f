//! `/user/new` and `/user/info`.

use std::collections::BTreeMap;

use axum::extract::{Request, State};
use serde::Serialize;
use serde_json::Value;
use tollgate_proto::v1::{
    Budget, BudgetScope, CreateUserRequest, GetSpendRequest, Key, KeyRole, ListKeysRequest, ListTeamsRequest,
    ListUsersRequest, ScopeKind, User,
};

use crate::{
    Gateway,
    litellm::{
        answer::{Answer, Answered},
        desk::Desk,
        failure::Failure,
        key_fields::KeyWish,
        key_rows::{KeyRow, RateRow},
        keys, labels,
        purse::{Purse, Standing},
        query::Query,
        team_members,
        teams::{self, TeamRow},
        times,
    },
};

#[derive(Serialize)]
pub(crate) struct UserRow {
    user_id: String,
    user_email: Option<String>,
    user_alias: Option<String>,
    user_role: Option<String>,
    organization_id: Option<String>,
    metadata: BTreeMap<String, Value>,
    #[serde(flatten)]
    standing: Standing,
    #[serde(flatten)]
    rates: RateRow,
    created_at: Option<String>,
    updated_at: Option<String>,
}

fn scope(id: &str) -> BudgetScope {
    BudgetScope { kind: ScopeKind::User as i32, id: id.to_owned(), ..BudgetScope::default() }
}

/// A user with its money as it stands this moment.
pub(crate) async fn row(desk: &Desk, it: &User) -> Result<UserRow, Failure> {
    let budgets = desk.budgets_on(&scope(&it.id)).await?;
    let (_, total) = desk.spend(GetSpendRequest { user_id: it.id.clone(), ..Default::default() }).await?;
    let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    Ok(UserRow {
        user_id: labels::shown_id(&it.metadata, labels::USER_ID, &it.id),
        user_email: given(&it.email),
        user_alias: given(&it.display_name),
        user_role: labels::role(&it.metadata),
        organization_id: desk.organization_named(&it.organization_id).await,
        metadata: labels::read(&it.metadata),
        standing: Standing::of(&budgets, total.cost_nano_usd),
        rates: RateRow::of(it.limits.as_ref()),
        created_at: times::text(it.create_time.as_ref()),
        updated_at: times::text(it.update_time.as_ref()),
    })
}

pub(crate) async fn make(desk: &Desk, user: User, budgets: Vec<Budget>) -> Result<User, Failure> {
    let request_id = labels::request_id(&user.metadata, labels::USER_ID);
    let asked = desk.ask(CreateUserRequest { user: Some(user), request_id, budgets });
    Ok(desk.gateway.tenancy().create_user(asked).await?.into_inner().user.unwrap_or_default())
}

/// The user that a caller means, made where there is none.
pub(crate) async fn find_or_make(desk: &Desk, id: &str, fresh: User) -> Result<User, Failure> {
    match desk.user(id).await {
        Err(failure) if failure.is_missing() => make(desk, fresh, Vec::new()).await,
        found => found,
    }
}

/// The role of a user's key that LiteLLM's role of the user means.
fn role_of(user_role: &str) -> Option<KeyRole> {
    Some(match user_role {
        "proxy_admin" => KeyRole::PlatformAdmin,
        "proxy_admin_viewer" => KeyRole::Auditor,
        "org_admin" => KeyRole::OrganizationAdmin,
        "internal_user" | "internal_user_viewer" | "team" | "customer" => KeyRole::Caller,
        _ => return None,
    })
}

/// A user, and the key that was made along.
#[derive(Serialize)]
pub(crate) struct Made {
    #[serde(flatten)]
    user: UserRow,
    teams: Vec<String>,
    models: Vec<String>,
    key: Option<String>,
    token: Option<String>,
    key_alias: Option<String>,
    expires: Option<String>,
}

pub(crate) async fn new(State(gateway): State<Gateway>, request: Request) -> Answered<Made> {
    let (desk, mut fields) = Desk::open(gateway, request).await?;
    let id = fields.text("user_id")?;
    let (email, alias) = (fields.text("user_email")?, fields.text("user_alias")?);
    let user_role = fields.text("user_role")?.unwrap_or_else(|| "internal_user".to_owned());
    let Some(role) = role_of(&user_role) else {
        return Err(Failure::field(
            "user_role",
            "must be proxy_admin, proxy_admin_viewer, org_admin, internal_user, internal_user_viewer, team or customer",
        ));
    };
    let purse = Purse::take_with_id(&mut fields, &desk).await?;
    let with_key = fields.flag("auto_create_key")?.unwrap_or(true);
    let models = fields.texts("models")?.unwrap_or_default();
    if !with_key && !models.is_empty() {
        return Err(Failure::field(
            "models",
            "are a key's here: let a key be made along, or give them to key/generate",
        ));
    }
    let mut team_ids = fields.texts("teams")?.unwrap_or_default();
    team_ids.extend(fields.text("team_id")?.filter(|id| !team_ids.contains(id)));
    let organization_ids = fields.texts("organizations")?.unwrap_or_default();
    let organization_id = fields.text("organization_id")?.or(organization_ids.first().cloned());
    if organization_ids.len() > 1 {
        return Err(Failure::field("organizations", "a user belongs to one organization; make another user there"));
    }
    let mut wish = KeyWish::take(&mut fields)?;
    let mut ignored = fields.finish()?;
    ignored.extend(purse.ignored());
    if let Some(id) = &id {
        let all = desk.users(ListUsersRequest::default()).await?;
        if all.iter().any(|it| it.id == *id || labels::is_chosen(&it.metadata, labels::USER_ID, id)) {
            return Err(Failure::field("user_id", format!("there is a user {id:?} already")));
        }
    }
    if role == KeyRole::OrganizationAdmin && organization_id.is_none() {
        return Err(Failure::field("organization_id", "is needed by an org_admin: the organization to govern"));
    }
    let mut joined = Vec::new();
    for id in &team_ids {
        joined.push(desk.team(id).await?);
    }
    let organization_id = match organization_id {
        Some(id) => desk.organization(&id).await?.id,
        None => joined.first().map(|team| team.organization_id.clone()).unwrap_or_default(),
    };
    let mut metadata = wish.metadata.take().unwrap_or_default();
    labels::choose_id(&mut metadata, labels::USER_ID, id);
    labels::set_role(&mut metadata, &user_role);
    // Rates are the user's, over all keys: those of the key would be a second count of the same calls.
    let limits = std::mem::take(&mut wish.rates).over(None);
    let (display_name, email) = (alias.unwrap_or_default(), email.unwrap_or_default());
    let user = User { organization_id, display_name, email, limits, metadata, ..Default::default() };
    let user = make(&desk, user, purse.budgets(&scope(""))).await?;
    for team in joined {
        let member = team_members::Member::of(&user.id);
        team_members::join(&desk, team, &member, None).await?;
    }
    let made = match with_key {
        true => {
            wish.models = Some(models.clone());
            let organization_id = user.organization_id.clone();
            let place = Key { organization_id, user_id: user.id.clone(), role: role as i32, ..Key::default() };
            Some(keys::make(&desk, wish, place, &Purse::default()).await?)
        }
        false => None,
    };
    let key = made.as_ref().map(|made| &made.key);
    let made = Made {
        user: row(&desk, &user).await?,
        teams: team_ids,
        models,
        token: key.map(|key| key.id.clone()),
        key_alias: key.map(|key| key.display_name.clone()).filter(|alias| !alias.is_empty()),
        expires: key.and_then(|key| times::text(key.expire_time.as_ref())),
        key: made.map(|made| made.secret),
    };
    Ok(Answer::ignoring(made, ignored))
}

/// A user with its keys and teams.
#[derive(Serialize)]
pub(crate) struct UserInfo {
    user_id: String,
    user_info: UserRow,
    keys: Vec<KeyRow>,
    teams: Vec<TeamRow>,
}

pub(crate) async fn info(State(gateway): State<Gateway>, request: Request) -> Answered<UserInfo> {
    let desk = Desk::of(gateway, request);
    let mut query = Query::of(&desk)?;
    let user = desk.user(&query.text("user_id").unwrap_or_default()).await?;
    let user_info = row(&desk, &user).await?;
    let keys = teams::keys_of(&desk, ListKeysRequest { user_id: user.id.clone(), ..Default::default() }).await?;
    let mut rows = Vec::new();
    for team in desk.teams(ListTeamsRequest::default()).await?.iter().filter(|t| t.member_ids.contains(&user.id)) {
        match teams::row(&desk, team).await {
            Ok(row) => rows.push(row),
            // What a team spends is not for all its members to know.
            Err(failure) if failure.is_unseen() => {}
            Err(failure) => return Err(failure),
        }
    }
    let info = UserInfo { user_id: user_info.user_id.clone(), user_info, keys, teams: rows };
    Ok(Answer::ignoring(info, query.left()))
}
