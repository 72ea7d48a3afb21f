//! Keys, teams, organizations, users, budgets: made, read, changed, ended.

use futures::Stream;
use prost_types::FieldMask;
use tollgate_proto::v1::{
    self, budget_service_client::BudgetServiceClient, key_admin_service_client::KeyAdminServiceClient,
    tenancy_service_client::TenancyServiceClient,
};

use crate::{
    Error,
    calls::{call, listed, request_id, sub_client},
};

sub_client! {
    /// Virtual keys.
    Keys: KeyAdminServiceClient
}
sub_client! {
    /// Teams and their members.
    Teams: TenancyServiceClient
}
sub_client! {
    /// Organizations.
    Organizations: TenancyServiceClient
}
sub_client! {
    /// Users.
    Users: TenancyServiceClient
}
sub_client! {
    /// Budgets.
    Budgets: BudgetServiceClient
}

/// The mask of an update that names its fields.
fn mask<P: Into<String>>(fields: impl IntoIterator<Item = P>) -> Option<FieldMask> {
    Some(FieldMask { paths: fields.into_iter().map(Into::into).collect() })
}

/// What every answer about one thing has to hold.
pub(crate) fn there<T>(field: Option<T>) -> Result<T, Error> {
    field.ok_or_else(|| tonic::Status::internal("the gateway's answer is empty").into())
}

impl Keys {
    /// Makes a key. The answer holds its secret: the only time that it can be read. Without a `request_id` the call gets one, so that a
    /// repetition makes no second key.
    pub async fn create(&self, mut asked: v1::CreateKeyRequest) -> Result<v1::CreateKeyResponse, Error> {
        asked.request_id = request_id(asked.request_id);
        call!(safe, self, create_key, asked)
    }

    /// One key; the empty id: the caller's own.
    pub async fn get(&self, id: &str) -> Result<v1::Key, Error> {
        let asked = v1::GetKeyRequest { id: id.to_owned(), ..Default::default() };
        there(call!(safe, self, get_key, asked)?.key)
    }

    /// The key that a secret opens, whether it works or not.
    pub async fn by_secret(&self, secret: &str) -> Result<v1::Key, Error> {
        let asked = v1::GetKeyRequest { secret: secret.to_owned(), ..Default::default() };
        there(call!(safe, self, get_key, asked)?.key)
    }

    /// All keys that `filter` lets through, oldest first.
    pub fn list(&self, filter: v1::ListKeysRequest) -> impl Stream<Item = Result<v1::Key, Error>> + Send + use<> {
        listed!(self, list_keys, filter, keys)
    }

    /// Changes the named fields of a key: `["models", "limits"]`.
    pub async fn update<P: Into<String>>(
        &self,
        key: v1::Key,
        fields: impl IntoIterator<Item = P>,
    ) -> Result<v1::Key, Error> {
        let asked = v1::UpdateKeyRequest { key: Some(key), update_mask: mask(fields), ..Default::default() };
        there(call!(once, self, update_key, asked)?.key)
    }

    /// Gives a key a new secret; the old one goes on working for so many seconds.
    pub async fn rotate(&self, id: &str, grace_seconds: i64) -> Result<v1::RotateKeyResponse, Error> {
        let asked = v1::RotateKeyRequest {
            id: id.to_owned(),
            grace_seconds: Some(grace_seconds),
            ..v1::RotateKeyRequest::default()
        };
        call!(once, self, rotate_key, asked)
    }

    /// Refuses a key's calls until it is unblocked.
    pub async fn block(&self, id: &str) -> Result<v1::Key, Error> {
        there(call!(once, self, block_key, v1::BlockKeyRequest { id: id.to_owned() })?.key)
    }

    /// Takes a block away.
    pub async fn unblock(&self, id: &str) -> Result<v1::Key, Error> {
        there(call!(once, self, unblock_key, v1::UnblockKeyRequest { id: id.to_owned() })?.key)
    }

    /// Takes over a key of another gateway, by the hash of its secret.
    pub async fn import(&self, asked: v1::ImportKeyRequest) -> Result<v1::ImportKeyResponse, Error> {
        call!(once, self, import_key, asked)
    }

    /// Ends a key for good; its history stays.
    pub async fn revoke(&self, id: &str) -> Result<v1::Key, Error> {
        there(call!(once, self, revoke_key, v1::RevokeKeyRequest { id: id.to_owned() })?.key)
    }
}

/// Making, reading, listing, changing and ending: the same for teams, organizations and users.
macro_rules! tenants {
    (
        $client:ident, $one:literal, $thing:ident { $field:ident, $fields:ident },
        $create:ident($created:ident), $get:ident($got:ident), $list:ident($filter:ident),
        $update:ident($updated:ident), $delete:ident($deleted:ident)
    ) => {
        impl $client {
            #[doc = concat!("Makes ", $one, ". Without a `request_id` the call gets one, so that a repetition makes no second one.")]
            pub async fn create(&self, mut asked: v1::$created) -> Result<v1::$thing, Error> {
                asked.request_id = request_id(asked.request_id);
                there(call!(safe, self, $create, asked)?.$field)
            }

            #[doc = concat!("Reads ", $one, ".")]
            pub async fn get(&self, id: &str) -> Result<v1::$thing, Error> {
                there(call!(safe, self, $get, v1::$got { id: id.to_owned() })?.$field)
            }

            /// All that the caller may see and the filter lets through, oldest first.
            pub fn list(&self, filter: v1::$filter) -> impl Stream<Item = Result<v1::$thing, Error>> + Send + use<> {
                listed!(self, $list, filter, $fields)
            }

            #[doc = concat!("Changes the named fields of ", $one, ".")]
            pub async fn update<P: Into<String>>(
                &self,
                $field: v1::$thing,
                fields: impl IntoIterator<Item = P>,
            ) -> Result<v1::$thing, Error> {
                let asked = v1::$updated { $field: Some($field), update_mask: mask(fields) };
                there(call!(once, self, $update, asked)?.$field)
            }

            #[doc = concat!("Ends ", $one, "; refused with `InUse` while something that works belongs to it.")]
            pub async fn delete(&self, id: &str) -> Result<(), Error> {
                call!(once, self, $delete, v1::$deleted { id: id.to_owned() }).map(drop)
            }
        }
    };
}

tenants! {
    Teams, "a team", Team { team, teams },
    create_team(CreateTeamRequest), get_team(GetTeamRequest), list_teams(ListTeamsRequest),
    update_team(UpdateTeamRequest), delete_team(DeleteTeamRequest)
}
tenants! {
    Organizations, "an organization", Organization { organization, organizations },
    create_organization(CreateOrganizationRequest), get_organization(GetOrganizationRequest),
    list_organizations(ListOrganizationsRequest), update_organization(UpdateOrganizationRequest),
    delete_organization(DeleteOrganizationRequest)
}
tenants! {
    Users, "a user", User { user, users },
    create_user(CreateUserRequest), get_user(GetUserRequest), list_users(ListUsersRequest),
    update_user(UpdateUserRequest), delete_user(DeleteUserRequest)
}

impl Teams {
    /// Makes a user a member of a team.
    pub async fn add_member(&self, team_id: &str, user_id: &str) -> Result<v1::Team, Error> {
        let asked = v1::AddTeamMemberRequest { team_id: team_id.to_owned(), user_id: user_id.to_owned() };
        there(call!(once, self, add_team_member, asked)?.team)
    }

    /// Ends a user's membership.
    pub async fn remove_member(&self, team_id: &str, user_id: &str) -> Result<v1::Team, Error> {
        let asked = v1::RemoveTeamMemberRequest { team_id: team_id.to_owned(), user_id: user_id.to_owned() };
        there(call!(once, self, remove_team_member, asked)?.team)
    }
}

impl Teams {
    /// Puts a key into another team, to another user, or both; `None` leaves as it is, the empty id takes away.
    pub async fn move_key(&self, id: &str, team: Option<String>, user: Option<String>) -> Result<v1::Key, Error> {
        let asked = v1::MoveKeyRequest { id: id.to_owned(), team_id: team, user_id: user };
        there(call!(once, self, move_key, asked)?.key)
    }
}

impl Budgets {
    /// Makes a budget. Without a `request_id` the call gets one, so that a repetition makes no second budget.
    pub async fn create(&self, mut asked: v1::CreateBudgetRequest) -> Result<v1::Budget, Error> {
        asked.request_id = request_id(asked.request_id);
        there(call!(safe, self, create_budget, asked)?.budget)
    }

    /// A budget as it stands this moment.
    pub async fn get(&self, id: &str) -> Result<v1::Budget, Error> {
        let asked = v1::GetBudgetRequest { id: id.to_owned(), ..Default::default() };
        there(call!(safe, self, get_budget, asked)?.budget)
    }

    /// All budgets that `filter` lets through, oldest first.
    pub fn list(&self, filter: v1::ListBudgetsRequest) -> impl Stream<Item = Result<v1::Budget, Error>> + Send + use<> {
        listed!(self, list_budgets, filter, budgets)
    }

    /// Changes the named fields of a budget.
    pub async fn update<P: Into<String>>(
        &self,
        budget: v1::Budget,
        fields: impl IntoIterator<Item = P>,
    ) -> Result<v1::Budget, Error> {
        let asked = v1::UpdateBudgetRequest { budget: Some(budget), update_mask: mask(fields) };
        there(call!(once, self, update_budget, asked)?.budget)
    }

    /// Raises the limit for a time; `None` ends the increase in force.
    pub async fn increase(&self, id: &str, increase: Option<v1::BudgetIncrease>) -> Result<v1::Budget, Error> {
        let asked = v1::IncreaseBudgetRequest { id: id.to_owned(), increase };
        there(call!(once, self, increase_budget, asked)?.budget)
    }

    /// Takes a budget away; ledger entries stay.
    pub async fn delete(&self, id: &str) -> Result<(), Error> {
        call!(once, self, delete_budget, v1::DeleteBudgetRequest { id: id.to_owned() }).map(drop)
    }

    /// Alerts that budgets have raised, oldest first.
    pub fn alerts(
        &self,
        filter: v1::ListBudgetAlertsRequest,
    ) -> impl Stream<Item = Result<v1::BudgetAlert, Error>> + Send + use<> {
        listed!(self, list_budget_alerts, filter, alerts)
    }
}
