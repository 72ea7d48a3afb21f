//! The gateway that things are moved to: its own admin RPCs, so that rights, records and replicas are as for every admin.

use std::collections::{HashMap, HashSet};

use anyhow::{Context, bail};
use sha2::{Digest, Sha256};
use tollgate_client::Client;
use tollgate_proto::v1::{
    AddTeamMemberRequest, Budget, BudgetScope, CreateBudgetRequest, CreateOrganizationRequest, CreateTeamRequest,
    CreateUserRequest, ImportKeyRequest, ListBudgetsRequest, ListOrganizationsRequest, ListTeamsRequest,
    ListUsersRequest, Organization, Team, User,
};
use tonic::{Code, Response, Status};
use tonic_types::StatusExt;

use super::{
    report::Outcome,
    terms::Spec,
    translate::{ORGANIZATION_ID, TEAM_ID, USER_ID},
};

const PAGE: i32 = 1_000;

/// What became of one thing.
pub(super) struct Done {
    pub(super) outcome: Outcome,
    /// Its id here, where it has one.
    pub(super) id: String,
    /// Why it was refused.
    pub(super) note: Option<String>,
}

impl Done {
    fn new(outcome: Outcome, id: impl Into<String>) -> Self {
        Self { outcome, id: id.into(), note: None }
    }
}

/// A gateway, or none in a dry run that knows of none.
#[derive(Default)]
pub(super) struct Gateway {
    client: Option<Client>,
    apply: bool,
    organizations: HashMap<String, String>,
    teams: HashMap<String, (String, Vec<String>)>,
    users: HashMap<String, String>,
    budgets: HashSet<String>,
}

/// What the gateway says of one thing is noted; what would be the same for every other ends the import.
fn answered<T>(answer: Result<Response<T>, Status>) -> anyhow::Result<Result<T, String>> {
    let status = match answer {
        Ok(response) => return Ok(Ok(response.into_inner())),
        Err(status) => status,
    };
    let about_it =
        [Code::InvalidArgument, Code::FailedPrecondition, Code::AlreadyExists, Code::NotFound, Code::Aborted];
    if !about_it.contains(&status.code()) {
        bail!("the gateway: {}", status.message());
    }
    let details = status.get_error_details();
    let fields = details.bad_request().map(|b| b.field_violations.as_slice()).unwrap_or_default();
    let fields: Vec<_> = fields.iter().map(|f| format!("{}: {}", f.field, f.description)).collect();
    let why = if fields.is_empty() { status.message().to_owned() } else { fields.join("; ") };
    Ok(Err(format!("the gateway refused it: {why}")))
}

macro_rules! pages {
    ($service:expr, $list:ident, $asked:ident, $field:ident) => {{
        let (mut all, mut page_token) = (Vec::new(), String::new());
        loop {
            let mut asked = $asked::default();
            (asked.page_size, asked.page_token) = (PAGE, page_token);
            let page = answered($service.$list(asked).await)?.map_err(anyhow::Error::msg)?;
            all.extend(page.$field);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break all;
            }
        }
    }};
}

/// What makes a call repeatable: the same for the same thing of LiteLLM's.
fn request_id(kind: &str, id: &str) -> String {
    let hex: String = Sha256::digest(id.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("litellm/{kind}/{hex}")
}

fn budget_id(budget: &Budget) -> String {
    let BudgetScope { kind, id, team_id, model, .. } = budget.scope.clone().unwrap_or_default();
    format!("{kind}/{team_id}/{id}/{model}/{}", budget.display_name)
}

impl Gateway {
    /// Connects, and looks up what an import has made before.
    pub(super) async fn connect(url: &str, key: &str, apply: bool) -> anyhow::Result<Self> {
        let client = Client::connect(url, key).await.with_context(|| format!("connecting to {url}"))?;
        let mut it = Self { apply, ..Self::default() };
        for made in pages!(client.tenancy(), list_organizations, ListOrganizationsRequest, organizations) {
            it.organizations.extend(made.metadata.get(ORGANIZATION_ID).map(|id| (id.clone(), made.id.clone())));
        }
        for made in pages!(client.tenancy(), list_teams, ListTeamsRequest, teams) {
            let known = made.metadata.get(TEAM_ID).cloned();
            it.teams.extend(known.map(|id| (id, (made.id, made.member_ids))));
        }
        for made in pages!(client.tenancy(), list_users, ListUsersRequest, users) {
            it.users.extend(made.metadata.get(USER_ID).map(|id| (id.clone(), made.id.clone())));
        }
        let budgets = pages!(client.budgets(), list_budgets, ListBudgetsRequest, budgets);
        it.budgets = budgets.iter().map(budget_id).collect();
        it.client = Some(client);
        Ok(it)
    }

    /// The client, where something is to be made.
    fn maker(&self) -> Option<&Client> {
        self.client.as_ref().filter(|_| self.apply)
    }

    /// Makes an organization unless it is there.
    pub(super) async fn organization(&self, id: &str, it: Organization) -> anyhow::Result<Done> {
        if let Some(there) = self.organizations.get(id) {
            return Ok(Done::new(Outcome::There, there));
        }
        let Some(client) = self.maker() else { return Ok(Done::new(Outcome::Moved, "")) };
        let asked = CreateOrganizationRequest {
            organization: Some(it),
            request_id: request_id("organization", id),
            ..Default::default()
        };
        let made = answered(client.tenancy().create_organization(asked).await)?;
        Ok(done(made.map(|made| made.organization.unwrap_or_default().id)))
    }

    /// Makes a team unless it is there.
    pub(super) async fn team(&self, id: &str, it: Team) -> anyhow::Result<Done> {
        if let Some((there, _)) = self.teams.get(id) {
            return Ok(Done::new(Outcome::There, there));
        }
        let Some(client) = self.maker() else { return Ok(Done::new(Outcome::Moved, "")) };
        let asked = CreateTeamRequest { team: Some(it), request_id: request_id("team", id), ..Default::default() };
        let made = answered(client.tenancy().create_team(asked).await)?;
        Ok(done(made.map(|made| made.team.unwrap_or_default().id)))
    }

    /// Makes a user unless it is there.
    pub(super) async fn user(&self, id: &str, it: User) -> anyhow::Result<Done> {
        if let Some(there) = self.users.get(id) {
            return Ok(Done::new(Outcome::There, there));
        }
        let Some(client) = self.maker() else { return Ok(Done::new(Outcome::Moved, "")) };
        let asked = CreateUserRequest { user: Some(it), request_id: request_id("user", id), ..Default::default() };
        let made = answered(client.tenancy().create_user(asked).await)?;
        Ok(done(made.map(|made| made.user.unwrap_or_default().id)))
    }

    /// Makes a user a member of a team, both by their ids here, unless it is one.
    pub(super) async fn member(&self, team: &str, team_id: &str, user_id: &str) -> anyhow::Result<Done> {
        if self.teams.get(team).is_some_and(|(_, members)| members.iter().any(|member| member == user_id)) {
            return Ok(Done::new(Outcome::There, ""));
        }
        let Some(client) = self.maker() else { return Ok(Done::new(Outcome::Moved, "")) };
        let asked = AddTeamMemberRequest { team_id: team_id.to_owned(), user_id: user_id.to_owned() };
        let made = answered(client.tenancy().add_team_member(asked).await)?;
        Ok(done(made.map(|_| String::new())))
    }

    /// Makes a budget, with what was spent of it, unless it is there.
    pub(super) async fn budget(&self, spec: Spec) -> anyhow::Result<Done> {
        let id = budget_id(&spec.budget);
        if self.budgets.contains(&id) {
            return Ok(Done::new(Outcome::There, ""));
        }
        let Some(client) = self.maker() else { return Ok(Done::new(Outcome::Moved, "")) };
        let asked = CreateBudgetRequest {
            budget: Some(spec.budget),
            request_id: request_id("budget", &id),
            opening_nano_usd: (spec.spent > 0).then_some(spec.spent),
        };
        let made = answered(client.budgets().create_budget(asked).await)?;
        Ok(done(made.map(|made| made.budget.unwrap_or_default().id)))
    }

    /// Takes a key over unless it is there; in a dry run the gateway checks it all the same.
    pub(super) async fn key(&self, mut asked: ImportKeyRequest) -> anyhow::Result<Done> {
        let Some(client) = &self.client else { return Ok(Done::new(Outcome::Moved, "")) };
        asked.validate_only = !self.apply;
        Ok(match answered(client.keys().import_key(asked).await)? {
            Err(why) => done(Err(why)),
            Ok(made) => {
                let outcome = if made.existed { Outcome::There } else { Outcome::Moved };
                Done::new(outcome, made.key.map(|key| key.id).unwrap_or_default())
            }
        })
    }
}

fn done(made: Result<String, String>) -> Done {
    match made {
        Ok(id) => Done::new(Outcome::Moved, id),
        Err(why) => Done { note: Some(why), ..Done::new(Outcome::Refused, "") },
    }
}
