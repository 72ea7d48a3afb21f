//! Organizations, teams, users and their keys: rights and limits are inherited, and nobody grants what they do not have.

use serde_json::json;
use tollgate_client::{Client, reason, v1};
use tollgate_tests::support::http::Caller;
use tonic::Status;

use crate::support::{World, hello};

struct Company {
    world: World,
    organization: v1::Organization,
    team: v1::Team,
    user: v1::User,
}

impl Company {
    async fn new(team: v1::Team) -> Self {
        let world = World::start().await;
        let team = world.team(team).await;
        let mut tenancy = world.admin().await.tenancy();
        let id = team.organization_id.clone();
        let organization = tenancy.get_organization(v1::GetOrganizationRequest { id }).await.unwrap().into_inner();
        let user = v1::User { organization_id: team.organization_id.clone(), ..Default::default() };
        let asked = v1::CreateUserRequest { user: Some(user), ..Default::default() };
        let user = tenancy.create_user(asked).await.unwrap().into_inner().user.unwrap();
        let asked = v1::AddTeamMemberRequest { team_id: team.id.clone(), user_id: user.id.clone() };
        tenancy.add_team_member(asked).await.unwrap();
        Self { world, organization: organization.organization.unwrap(), team, user }
    }

    /// A client with a key of the role at the team and the user.
    async fn role(&self, role: v1::KeyRole) -> Client {
        let key = v1::Key { role: role as i32, ..self.key() };
        let made = self.world.key(key).await;
        Client::connect(&self.world.gateway.grpc(), &made.secret).await.unwrap()
    }

    fn key(&self) -> v1::Key {
        v1::Key { team_id: self.team.id.clone(), user_id: self.user.id.clone(), ..Default::default() }
    }
}

async fn create(client: &Client, key: v1::Key) -> Result<v1::CreateKeyResponse, Status> {
    let asked = v1::CreateKeyRequest { key: Some(key), ..Default::default() };
    client.keys().create_key(asked).await.map(tonic::Response::into_inner)
}

fn models(models: &[&str]) -> Vec<String> {
    models.iter().map(|m| (*m).to_owned()).collect()
}

#[tokio::test]
async fn team_admins_mint_keys_within_their_teams_rights_and_limits() {
    let limits = v1::RateLimits { requests_per_minute: Some(100), ..Default::default() };
    let team = v1::Team { models: models(&["scripted"]), limits: Some(limits), ..Default::default() };
    let company = Company::new(team).await;
    let admin = company.role(v1::KeyRole::TeamAdmin).await;

    let made = create(&admin, v1::Key { models: models(&["scripted"]), ..Default::default() }).await.unwrap();
    let key = made.key.unwrap();
    assert_eq!((&key.team_id, &key.organization_id), (&company.team.id, &company.organization.id), "its own place");
    let reply = Caller::bearer(&made.secret).post(&company.world.v1("chat/completions"), &hello(json!({}))).await;
    assert_eq!(reply.unwrap().status, 200);

    let more = v1::RateLimits { requests_per_minute: Some(101), ..Default::default() };
    for (refused, field) in [
        (v1::Key { models: models(&["claude"]), ..Default::default() }, "key.models"),
        (v1::Key { models: models(&["*"]), ..Default::default() }, "key.models"),
        (v1::Key { limits: Some(more), ..Default::default() }, "key.limits"),
        (v1::Key { role: v1::KeyRole::PlatformAdmin as i32, ..Default::default() }, "key.role"),
        (v1::Key { role: v1::KeyRole::OrganizationAdmin as i32, ..Default::default() }, "key.role"),
        (v1::Key { role: v1::KeyRole::Finance as i32, ..Default::default() }, "key.role"),
        (v1::Key { priority: v1::Priority::Interactive as i32, ..Default::default() }, "key.priority"),
    ] {
        let status = create(&admin, refused.clone()).await.err().unwrap_or_else(|| panic!("{refused:?} was made"));
        assert_eq!(reason(&status), Some(v1::ErrorReason::RightsExceeded), "{refused:?}");
        assert!(format!("{:?}", tonic_types::StatusExt::get_error_details(&status)).contains(field), "{status:?}");
    }
    // Nor by changing what was granted.
    let wider = v1::Key { id: key.id.clone(), models: models(&["*"]), ..Default::default() };
    let status = admin
        .keys()
        .update_key(v1::UpdateKeyRequest { key: Some(wider), update_mask: None, ..Default::default() })
        .await
        .unwrap_err();
    assert_eq!(reason(&status), Some(v1::ErrorReason::RightsExceeded));
    // Nor by a new secret for a key that has more.
    let boss = company.world.key(v1::Key { role: v1::KeyRole::OrganizationAdmin as i32, ..company.key() }).await;
    let rotate = v1::RotateKeyRequest { id: boss.key.unwrap().id, ..Default::default() };
    let status = admin.keys().rotate_key(rotate).await.unwrap_err();
    assert_eq!(reason(&status), Some(v1::ErrorReason::RightsExceeded));
}

#[tokio::test]
async fn a_members_keys_have_no_more_than_the_member() {
    let company = Company::new(v1::Team::default()).await;
    let own = v1::Key { role: v1::KeyRole::Member as i32, ..company.key() };
    let asked =
        v1::CreateKeyRequest { key: Some(v1::Key { models: models(&["scripted"]), ..own }), ..Default::default() };
    let made = company.world.admin().await.keys().create_key(asked).await.unwrap().into_inner();
    let member = Client::connect(&company.world.gateway.grpc(), &made.secret).await.unwrap();
    let key =
        create(&member, v1::Key { models: models(&["scripted"]), ..Default::default() }).await.unwrap().key.unwrap();
    assert_eq!((&key.user_id, &key.team_id), (&company.user.id, &company.team.id));
    let status = create(&member, v1::Key { models: models(&["claude"]), ..Default::default() }).await.unwrap_err();
    assert_eq!(reason(&status), Some(v1::ErrorReason::RightsExceeded));
    let status = create(&member, v1::Key { role: v1::KeyRole::Member as i32, ..Default::default() }).await.unwrap_err();
    assert_eq!(reason(&status), Some(v1::ErrorReason::RightsExceeded));
}

#[tokio::test]
async fn what_a_team_or_its_organization_may_not_use_its_keys_may_not_either() {
    let company = Company::new(v1::Team { models: models(&["scripted", "claude"]), ..Default::default() }).await;
    let made = company.world.key(company.key()).await;
    let (caller, url) = (Caller::bearer(&made.secret), company.world.v1("chat/completions"));
    assert_eq!(caller.post(&url, &hello(json!({}))).await.unwrap().status, 200);
    let mut tenancy = company.world.admin().await.tenancy();
    let narrower =
        v1::Organization { id: company.organization.id.clone(), models: models(&["claude"]), ..Default::default() };
    let asked = v1::UpdateOrganizationRequest { organization: Some(narrower), update_mask: None };
    tenancy.update_organization(asked).await.unwrap();
    let refused = caller.post(&url, &hello(json!({}))).await.unwrap();
    assert_eq!(refused.json()["error"]["code"], "model_not_allowed");
}

#[tokio::test]
async fn keys_move_within_their_organization_only() {
    let company = Company::new(v1::Team::default()).await;
    let key = company.world.key(company.key()).await.key.unwrap();
    let elsewhere = company.world.team(v1::Team::default()).await;
    let mut tenancy = company.world.admin().await.tenancy();
    let asked = v1::MoveKeyRequest { id: key.id.clone(), team_id: Some(elsewhere.id), user_id: Some(String::new()) };
    let status = tenancy.move_key(asked).await.unwrap_err();
    assert_eq!(reason(&status), Some(v1::ErrorReason::InvalidField));
    let sibling = v1::Team { organization_id: company.organization.id.clone(), ..Default::default() };
    let asked = v1::CreateTeamRequest { team: Some(sibling), ..Default::default() };
    let sibling = tenancy.create_team(asked).await.unwrap().into_inner().team.unwrap();
    let asked = v1::MoveKeyRequest { id: key.id.clone(), team_id: Some(sibling.id.clone()), user_id: None };
    let moved = tenancy.move_key(asked).await.unwrap().into_inner().key.unwrap();
    assert_eq!((moved.team_id, moved.user_id), (sibling.id, company.user.id.clone()));
}

/// The records of completions that somebody may read.
async fn completions(client: &Client) -> Vec<v1::AuditRecord> {
    let filter = Some(v1::AuditFilter { action_prefix: "completion.".into(), ..Default::default() });
    let asked = v1::QueryRecordsRequest { filter, ..Default::default() };
    let mut stream = client.audit().query_records(asked).await.unwrap().into_inner();
    let mut records = Vec::new();
    while let Some(response) = stream.message().await.unwrap() {
        records.extend(response.record);
    }
    records
}

#[tokio::test]
async fn an_organizations_admin_reads_no_other_records() {
    let company = Company::new(v1::Team::default()).await;
    let admin = company.role(v1::KeyRole::OrganizationAdmin).await;
    let made = company.world.key(company.key()).await;
    let filter = Some(v1::AuditFilter { action_prefix: "completion.".into(), ..Default::default() });
    let asked = v1::TailRecordsRequest { filter, after_sequence: None };
    let mut tail = admin.audit().tail_records(asked).await.unwrap().into_inner();
    let url = company.world.v1("chat/completions");
    // A stranger's call comes first.
    for secret in [company.world.gateway.key(), &made.secret] {
        assert_eq!(Caller::bearer(secret).post(&url, &hello(json!({}))).await.unwrap().status, 200);
    }
    let told = tail.message().await.unwrap().unwrap().record.unwrap();
    assert_eq!((&told.key_id, &told.organization_id), (&made.key.unwrap().id, &company.organization.id));
    assert_eq!(completions(&admin).await, [told]);
    assert_eq!(completions(&company.world.admin().await).await.len(), 2);
}

#[tokio::test]
async fn a_key_that_moved_takes_no_records_along() {
    let company = Company::new(v1::Team::default()).await;
    let before = company.role(v1::KeyRole::Member).await;
    let made = company.world.key(company.key()).await;
    let mut tenancy = company.world.admin().await.tenancy();
    let user = v1::User { organization_id: company.organization.id.clone(), ..Default::default() };
    let asked = v1::CreateUserRequest { user: Some(user), ..Default::default() };
    let user = tenancy.create_user(asked).await.unwrap().into_inner().user.unwrap();
    let asked = v1::AddTeamMemberRequest { team_id: company.team.id.clone(), user_id: user.id.clone() };
    tenancy.add_team_member(asked).await.unwrap();
    let own = v1::Key { role: v1::KeyRole::Member as i32, user_id: user.id.clone(), ..company.key() };
    let own = company.world.key(own).await;
    let after = Client::connect(&company.world.gateway.grpc(), &own.secret).await.unwrap();

    let (caller, url) = (Caller::bearer(&made.secret), company.world.v1("chat/completions"));
    assert_eq!(caller.post(&url, &hello(json!({}))).await.unwrap().status, 200);
    let asked = v1::MoveKeyRequest { id: made.key.unwrap().id, team_id: None, user_id: Some(user.id.clone()) };
    tenancy.move_key(asked).await.unwrap();
    assert_eq!(caller.post(&url, &hello(json!({}))).await.unwrap().status, 200);
    for (reader, id) in [(before, company.user.id), (after, user.id)] {
        let read = completions(&reader).await;
        assert_eq!(read.iter().map(|record| &record.user_id).collect::<Vec<_>>(), [&id]);
    }
}

#[tokio::test]
async fn what_is_in_use_is_not_taken_away() {
    let company = Company::new(v1::Team::default()).await;
    let key = company.world.key(company.key()).await.key.unwrap();
    let (mut tenancy, mut keys) = (company.world.admin().await.tenancy(), company.world.admin().await.keys());
    let (team, user) = (company.team.id.clone(), company.user.id.clone());
    let status = tenancy.delete_team(v1::DeleteTeamRequest { id: team.clone() }).await.unwrap_err();
    assert_eq!(reason(&status), Some(v1::ErrorReason::ResourceInUse));
    keys.revoke_key(v1::RevokeKeyRequest { id: key.id }).await.unwrap();
    tenancy.delete_user(v1::DeleteUserRequest { id: user }).await.unwrap();
    let left = tenancy.get_team(v1::GetTeamRequest { id: team.clone() }).await.unwrap().into_inner().team.unwrap();
    assert!(left.member_ids.is_empty(), "memberships go with the user");
    tenancy.delete_team(v1::DeleteTeamRequest { id: team.clone() }).await.unwrap();
    let status = tenancy.get_team(v1::GetTeamRequest { id: team }).await.unwrap_err();
    assert_eq!(reason(&status), Some(v1::ErrorReason::ResourceNotFound));
    let id = company.organization.id.clone();
    tenancy.delete_organization(v1::DeleteOrganizationRequest { id }).await.unwrap();
}

#[tokio::test]
async fn admin_keys_complete_only_where_that_is_configured() {
    let world = World::with(|b| b.set("/admin_completions", true)).await;
    let url = world.v1("chat/completions");
    assert_eq!(Caller::bearer(&world.admin).post(&url, &hello(json!({}))).await.unwrap().status, 200);
    let auditor = world.key(v1::Key { role: v1::KeyRole::Auditor as i32, ..Default::default() }).await;
    let refused = Caller::bearer(&auditor.secret).post(&url, &hello(json!({}))).await.unwrap();
    assert_eq!(refused.json()["error"]["code"], "role_not_allowed");
}

#[tokio::test]
async fn tenancy_survives_a_restart() {
    let mut company = Company::new(v1::Team { display_name: "blue".into(), ..Default::default() }).await;
    let made = company.world.key(company.key()).await;
    company.world.gateway.kill9();
    company.world.gateway.restart().await;
    let mut tenancy = company.world.admin().await.tenancy();
    let team = tenancy.get_team(v1::GetTeamRequest { id: company.team.id.clone() }).await.unwrap().into_inner();
    let team = team.team.unwrap();
    assert_eq!((team.display_name.as_str(), team.member_ids.len()), ("blue", 1));
    let caller = Caller::bearer(&made.secret);
    let reply = caller.post(&company.world.gateway.v1("chat/completions"), &hello(json!({}))).await.unwrap();
    assert_eq!(reply.status, 200);
    assert_eq!(company.world.entries().await[0].team_id, team.id);
}

#[tokio::test]
async fn what_is_made_with_budgets_is_made_with_them_or_not_at_all() {
    let world = World::start().await;
    let admin = world.admin().await;
    let limit = |limit_nano_usd| v1::Budget { limit_nano_usd, ..Default::default() };
    let of_model = v1::Budget {
        scope: Some(v1::BudgetScope { model: "scripted".into(), id: "elsewhere".into(), ..Default::default() }),
        ..limit(7)
    };
    let asked = v1::CreateTeamRequest {
        team: Some(v1::Team { display_name: "research".into(), ..Default::default() }),
        request_id: "once".into(),
        budgets: vec![limit(5), limit(-1)],
    };
    let status = admin.tenancy().create_team(asked.clone()).await.unwrap_err();
    assert_eq!(reason(&status), Some(v1::ErrorReason::InvalidField));
    let teams = admin.tenancy().list_teams(v1::ListTeamsRequest::default()).await.unwrap().into_inner().teams;
    assert!(teams.is_empty(), "{teams:?}");

    let asked = v1::CreateTeamRequest { budgets: vec![limit(5), of_model], ..asked };
    let made = admin.tenancy().create_team(asked.clone()).await.unwrap().into_inner().team.unwrap();
    let again = admin.tenancy().create_team(asked).await.unwrap().into_inner().team.unwrap();
    assert_eq!(again.id, made.id);
    let budgets = admin.budgets().list_budgets(v1::ListBudgetsRequest::default()).await.unwrap().into_inner().budgets;
    let on: Vec<_> = budgets.iter().filter_map(|b| Some((b.scope.as_ref()?, b.limit_nano_usd))).collect();
    let on: Vec<_> = on.iter().filter(|(s, _)| s.kind() == v1::ScopeKind::Team).collect();
    let seen: Vec<_> = on.iter().map(|(s, limit)| (s.id.as_str(), s.model.as_str(), *limit)).collect();
    assert_eq!(seen, [(made.id.as_str(), "", 5), (made.id.as_str(), "scripted", 7)]);

    let user = v1::CreateUserRequest {
        user: Some(v1::User { display_name: "Ada".into(), ..Default::default() }),
        budgets: vec![limit(9)],
        ..Default::default()
    };
    let user = admin.tenancy().create_user(user).await.unwrap().into_inner().user.unwrap();
    let organization = v1::CreateOrganizationRequest {
        organization: Some(v1::Organization { display_name: "Acme".into(), ..Default::default() }),
        budgets: vec![limit(11)],
        ..Default::default()
    };
    let organization = admin.tenancy().create_organization(organization).await.unwrap().into_inner().organization;
    let budgets = admin.budgets().list_budgets(v1::ListBudgetsRequest::default()).await.unwrap().into_inner().budgets;
    for (kind, id, limit) in
        [(v1::ScopeKind::User, user.id, 9), (v1::ScopeKind::Organization, organization.unwrap().id, 11)]
    {
        let on = |b: &&v1::Budget| b.scope.as_ref().is_some_and(|s| s.kind() == kind && s.id == id);
        assert_eq!(budgets.iter().filter(on).map(|b| b.limit_nano_usd).collect::<Vec<_>>(), [limit]);
    }
}

#[tokio::test]
async fn a_name_may_be_asked_to_be_no_other_keys() {
    let world = World::start().await;
    let admin = world.admin().await;
    let asked = |name: &str, unique_display_name| v1::CreateKeyRequest {
        key: Some(v1::Key { display_name: name.into(), ..Default::default() }),
        unique_display_name,
        ..Default::default()
    };
    let first = admin.keys().create_key(asked("app", true)).await.unwrap().into_inner().key.unwrap();
    let status = admin.keys().create_key(asked("app", true)).await.unwrap_err();
    assert_eq!(reason(&status), Some(v1::ErrorReason::AlreadyExists));
    admin.keys().create_key(asked("", true)).await.unwrap();
    admin.keys().create_key(asked("", true)).await.unwrap();
    let other = admin.keys().create_key(asked("other", true)).await.unwrap().into_inner().key.unwrap();
    let rename = |key: &v1::Key, name: &str| v1::UpdateKeyRequest {
        key: Some(v1::Key { id: key.id.clone(), display_name: name.into(), ..Default::default() }),
        update_mask: Some(prost_types::FieldMask { paths: vec!["display_name".into()] }),
        unique_display_name: true,
    };
    let status = admin.keys().update_key(rename(&other, "app")).await.unwrap_err();
    assert_eq!(reason(&status), Some(v1::ErrorReason::AlreadyExists));
    admin.keys().update_key(rename(&first, "app")).await.unwrap();
    admin.keys().revoke_key(v1::RevokeKeyRequest { id: first.id }).await.unwrap();
    admin.keys().update_key(rename(&other, "app")).await.unwrap();
    admin.keys().create_key(asked("app", false)).await.unwrap();
}
