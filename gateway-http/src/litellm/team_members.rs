//! `POST /team/member_add`: who belongs to a team, and what each may spend in it.

use std::collections::HashMap;

use axum::extract::{Request, State};
use serde::{Deserialize, Serialize};
use tollgate_proto::v1::{
    AddTeamMemberRequest, BudgetScope, GetSpendRequest, ListUsersRequest, ScopeKind, SpendGroup, Team, User,
};

use crate::{
    Gateway,
    litellm::{
        answer::{Answer, Answered},
        desk::Desk,
        duration,
        failure::Failure,
        fields::Fields,
        labels,
        purse::{Purse, Standing},
        teams::{self, TeamRow},
        users::{self, UserRow},
    },
};

/// A member as a request names it.
#[derive(Deserialize)]
pub(crate) struct Member {
    #[serde(default)]
    role: Option<String>,
    #[serde(default)]
    user_id: Option<String>,
    #[serde(default)]
    user_email: Option<String>,
}

impl Member {
    /// A member by its id.
    pub(crate) fn of(user_id: &str) -> Self {
        Self { role: None, user_id: Some(user_id.to_owned()), user_email: None }
    }
}

/// One member or several.
#[derive(Deserialize)]
#[serde(untagged)]
enum Members {
    One(Member),
    Many(Vec<Member>),
}

/// A member as answers show it. Whoever governs a team does so by a key with a role, not by membership.
#[derive(Serialize)]
pub(crate) struct MemberRow {
    user_id: String,
    role: &'static str,
}

impl MemberRow {
    pub(crate) fn user(id: &str) -> Self {
        Self { user_id: id.to_owned(), role: "user" }
    }
}

/// What a member may spend in a team.
#[derive(Serialize)]
pub(crate) struct Membership {
    user_id: String,
    team_id: String,
    #[serde(flatten)]
    standing: Standing,
}

fn scope(team_id: &str, user_id: &str) -> BudgetScope {
    let kind = ScopeKind::Member as i32;
    BudgetScope { kind, id: user_id.to_owned(), team_id: team_id.to_owned(), ..BudgetScope::default() }
}

/// What each member spent in a team over all time, by our id. It is the team's spend that is asked for: who governs a team may see that, and
/// not what a user spends elsewhere.
pub(crate) async fn spent(desk: &Desk, team_id: &str) -> Result<HashMap<String, i64>, Failure> {
    let group_by = SpendGroup::User as i32;
    let asked = GetSpendRequest { team_id: team_id.to_owned(), group_by, ..GetSpendRequest::default() };
    let (rows, _) = desk.spend(asked).await?;
    Ok(rows.into_iter().map(|row| (row.group, row.cost_nano_usd)).collect())
}

/// A member's part, as it stands.
pub(crate) async fn membership(
    desk: &Desk,
    team_id: &str,
    user_id: &str,
    spent: &HashMap<String, i64>,
) -> Result<Membership, Failure> {
    let budgets = desk.budgets_on(&scope(team_id, user_id)).await?;
    Ok(Membership {
        user_id: desk.user_named(user_id).await.unwrap_or_default(),
        team_id: desk.team_named(team_id).await.unwrap_or_default(),
        standing: Standing::of(&budgets, spent.get(user_id).copied().unwrap_or_default()),
    })
}

/// Takes what each member may spend.
pub(crate) fn share(fields: &mut Fields, amount: &str, period: &str) -> Result<Option<Purse>, Failure> {
    let limit = fields.money(amount)?.flatten();
    let window = fields.text(period)?.map(|text| duration::window(&text)).transpose();
    let window = window.map_err(|what| Failure::field(period, what))?;
    Ok(limit.map(|limit| Purse::of(Some(limit), window)))
}

/// Members' roles have no counterpart: less is granted than was asked.
pub(crate) fn ignored(members: &[Member]) -> Option<String> {
    let governs = members.iter().any(|m| m.role.as_deref().is_some_and(|role| role != "user"));
    governs.then(|| "member.role".to_owned())
}

/// Makes somebody a member, and a user first where there is none of that id or address.
pub(crate) async fn join(
    desk: &Desk,
    team: Team,
    member: &Member,
    share: Option<&Purse>,
) -> Result<(Team, User), Failure> {
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let (id, email) = (given(&member.user_id), given(&member.user_email));
    let mut metadata = HashMap::new();
    labels::choose_id(&mut metadata, labels::USER_ID, id.clone());
    let fresh = User {
        organization_id: team.organization_id.clone(),
        email: email.clone().unwrap_or_default(),
        metadata,
        ..User::default()
    };
    let user = match (id, email) {
        (Some(id), _) => users::find_or_make(desk, &id, fresh).await?,
        (None, Some(email)) => {
            let all = desk.users(ListUsersRequest::default()).await?;
            match all.into_iter().find(|user| user.email == email) {
                Some(user) => user,
                None => users::make(desk, fresh, Vec::new()).await?,
            }
        }
        (None, None) => return Err(Failure::field("member", "needs a user_id or a user_email")),
    };
    let asked = desk.ask(AddTeamMemberRequest { team_id: team.id.clone(), user_id: user.id.clone() });
    let team = desk.gateway.tenancy().add_team_member(asked).await?.into_inner().team.unwrap_or_default();
    if let Some(share) = share {
        share.change(desk, &scope(&team.id, &user.id)).await?;
    }
    Ok((team, user))
}

/// The team, and who was added.
#[derive(Serialize)]
pub(crate) struct Added {
    #[serde(flatten)]
    team: TeamRow,
    updated_users: Vec<UserRow>,
    updated_team_memberships: Vec<Membership>,
}

pub(crate) async fn add(State(gateway): State<Gateway>, request: Request) -> Answered<Added> {
    let (desk, mut fields) = Desk::open(gateway, request).await?;
    let team_id = fields.needed("team_id")?;
    let members = match fields.take::<Members>("member", "{role, user_id} or a list of them")? {
        Some(Members::One(member)) => vec![member],
        Some(Members::Many(members)) => members,
        None => return Err(Failure::field("member", "is needed: who is to be a member")),
    };
    let share = share(&mut fields, "max_budget_in_team", "budget_duration")?;
    let mut ignored = fields.finish()?;
    ignored.extend(self::ignored(&members));
    let mut team = desk.team(&team_id).await?;
    let spent = spent(&desk, &team.id).await?;
    let (mut updated_users, mut updated_team_memberships) = (Vec::new(), Vec::new());
    for member in &members {
        let user;
        (team, user) = join(&desk, team, member, share.as_ref()).await?;
        updated_users.push(users::row(&desk, &user).await?);
        updated_team_memberships.push(membership(&desk, &team.id, &user.id, &spent).await?);
    }
    let team = teams::row(&desk, &team).await?;
    Ok(Answer::ignoring(Added { team, updated_users, updated_team_memberships }, ignored))
}
