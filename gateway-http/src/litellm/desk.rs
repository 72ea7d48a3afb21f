//! The admin services as the holder of a key sees them.

use axum::{body::Body, extract::Request, http::request::Parts};
use tollgate_proto::v1::{
    Budget, BudgetScope, CreateBudgetRequest, GetKeyRequest, GetOrganizationRequest, GetSpendRequest, GetTeamRequest,
    GetUserRequest, Key, KeyRole, ListBudgetsRequest, ListKeysRequest, ListOrganizationsRequest, ListTeamsRequest,
    ListUsersRequest, Organization, SpendRow, Team, User,
};

use crate::{
    Gateway, forward,
    litellm::{failure::Failure, fields::Fields, labels},
};

/// Most entries of a page.
const PAGE: i32 = 1_000;

/// The gateway, and what came with the request: every RPC goes out under the caller's own key.
pub(crate) struct Desk {
    pub(crate) gateway: Gateway,
    parts: Parts,
    role: tokio::sync::OnceCell<KeyRole>,
}

/// A list read to its end, page by page.
macro_rules! lists {
    ($($(#[doc = $doc:literal])+ $name:ident: $client:ident.$rpc:ident($request:ty) -> $field:ident: $item:ty;)+) => {
        impl Desk {
            $($(#[doc = $doc])+
            pub(crate) async fn $name(&self, mut asked: $request) -> Result<Vec<$item>, Failure> {
                let mut client = self.gateway.$client();
                let mut all = Vec::new();
                asked.page_size = PAGE;
                loop {
                    let page = client.$rpc(self.ask(asked.clone())).await?.into_inner();
                    all.extend(page.$field);
                    if page.next_page_token.is_empty() {
                        return Ok(all);
                    }
                    asked.page_token = page.next_page_token;
                }
            })+
        }
    };
}

lists! {
    /// Keys, oldest first.
    keys: keys.list_keys(ListKeysRequest) -> keys: Key;
    /// Organizations, oldest first.
    organizations: tenancy.list_organizations(ListOrganizationsRequest) -> organizations: Organization;
    /// Teams, oldest first.
    teams: tenancy.list_teams(ListTeamsRequest) -> teams: Team;
    /// Users, oldest first.
    users: tenancy.list_users(ListUsersRequest) -> users: User;
    /// Budgets, oldest first.
    all_budgets: budgets.list_budgets(ListBudgetsRequest) -> budgets: Budget;
}

impl Desk {
    /// For a request with a body of fields.
    pub(crate) async fn open(gateway: Gateway, request: Request) -> Result<(Self, Fields), Failure> {
        let (parts, body): (Parts, Body) = request.into_parts();
        let fields = Fields::read(&gateway, &parts, body).await?;
        Ok((Self { gateway, parts, role: Default::default() }, fields))
    }

    /// For a request without.
    pub(crate) fn of(gateway: Gateway, request: Request) -> Self {
        Self { gateway, parts: request.into_parts().0, role: Default::default() }
    }

    /// Wraps a message with what came along.
    pub(crate) fn ask<T>(&self, message: T) -> tonic::Request<T> {
        forward::request(&self.gateway, &self.parts, message)
    }

    /// The text behind the question mark.
    pub(crate) fn query(&self) -> &str {
        self.parts.uri.query().unwrap_or_default()
    }

    /// The key that a caller means by its id or its secret; `""`: the caller's own.
    pub(crate) async fn key(&self, named: &str) -> Result<Key, Failure> {
        let asked = match named {
            id if id.is_empty() || id.starts_with("key_") => GetKeyRequest { id: id.to_owned(), secret: String::new() },
            secret => GetKeyRequest { id: String::new(), secret: secret.to_owned() },
        };
        let key = self.gateway.keys().get_key(self.ask(asked)).await?.into_inner().key;
        Ok(key.unwrap_or_default())
    }

    /// Whether the caller's own key sees the places that keys belong to. To ask for each in vain would be on record as a denial. The one role
    /// that does not even see its own key, finance, sees them.
    pub(crate) async fn sees_places(&self) -> bool {
        let role = self.role.get_or_init(|| async { self.key("").await.map_or(KeyRole::Finance, |key| key.role()) });
        *role.await != KeyRole::Caller
    }

    /// The key of an alias, which must be one key's alone.
    pub(crate) async fn key_of_alias(&self, alias: &str) -> Result<Key, Failure> {
        let mut found = self.keys(ListKeysRequest::default()).await?;
        found.retain(|key| key.display_name == alias && key.state() != tollgate_proto::v1::KeyState::Revoked);
        match (found.pop(), found.is_empty()) {
            (Some(key), true) => Ok(key),
            (Some(_), false) => Err(Failure::field("key_alias", "several keys have it; name the key itself")),
            (None, _) => Err(Failure::missing("key with the alias", "key_alias", alias)),
        }
    }

    /// The organization that a caller means by our id or its own; `""`: that of the caller's key.
    pub(crate) async fn organization(&self, id: &str) -> Result<Organization, Failure> {
        let mut refused = Failure::missing("organization", "organization_id", id);
        if id.is_empty() || id.starts_with("org_") {
            let asked = self.ask(GetOrganizationRequest { id: id.to_owned() });
            match self.gateway.tenancy().get_organization(asked).await.map_err(Failure::from) {
                // What looks like an id of ours may be one of the caller's own.
                Err(failure) if !id.is_empty() && failure.is_unseen() => refused = failure,
                found => return Ok(found?.into_inner().organization.unwrap_or_default()),
            }
        }
        let all = self.organizations(ListOrganizationsRequest::default()).await?;
        all.into_iter().find(|it| labels::is_chosen(&it.metadata, labels::ORGANIZATION_ID, id)).ok_or(refused)
    }

    /// The team that a caller means by our id or its own; `""`: that of the caller's key.
    pub(crate) async fn team(&self, id: &str) -> Result<Team, Failure> {
        let mut refused = Failure::missing("team", "team_id", id);
        if id.is_empty() || id.starts_with("team_") {
            let asked = self.ask(GetTeamRequest { id: id.to_owned() });
            match self.gateway.tenancy().get_team(asked).await.map_err(Failure::from) {
                // What looks like an id of ours may be one of the caller's own.
                Err(failure) if !id.is_empty() && failure.is_unseen() => refused = failure,
                found => return Ok(found?.into_inner().team.unwrap_or_default()),
            }
        }
        let all = self.teams(ListTeamsRequest::default()).await?;
        all.into_iter().find(|it| labels::is_chosen(&it.metadata, labels::TEAM_ID, id)).ok_or(refused)
    }

    /// The user that a caller means by our id or its own; `""`: that of the caller's key.
    pub(crate) async fn user(&self, id: &str) -> Result<User, Failure> {
        let mut refused = Failure::missing("user", "user_id", id);
        if id.is_empty() || id.starts_with("user_") {
            let asked = self.ask(GetUserRequest { id: id.to_owned() });
            match self.gateway.tenancy().get_user(asked).await.map_err(Failure::from) {
                // What looks like an id of ours may be one of the caller's own.
                Err(failure) if !id.is_empty() && failure.is_unseen() => refused = failure,
                found => return Ok(found?.into_inner().user.unwrap_or_default()),
            }
        }
        let all = self.users(ListUsersRequest::default()).await?;
        all.into_iter().find(|it| labels::is_chosen(&it.metadata, labels::USER_ID, id)).ok_or(refused)
    }

    /// Budgets on a scope, oldest first.
    pub(crate) async fn budgets_on(&self, scope: &BudgetScope) -> Result<Vec<Budget>, Failure> {
        self.all_budgets(ListBudgetsRequest { scope: Some(scope.clone()), ..Default::default() }).await
    }

    /// Makes a budget.
    pub(crate) async fn create_budget(&self, budget: Budget) -> Result<Budget, Failure> {
        let asked = self.ask(CreateBudgetRequest { budget: Some(budget), ..Default::default() });
        Ok(self.gateway.budgets().create_budget(asked).await?.into_inner().budget.unwrap_or_default())
    }

    /// Spend by group, and its sum.
    pub(crate) async fn spend(&self, asked: GetSpendRequest) -> Result<(Vec<SpendRow>, SpendRow), Failure> {
        let told = self.gateway.budgets().get_spend(self.ask(asked)).await?.into_inner();
        Ok((told.rows, told.total.unwrap_or_default()))
    }
}
