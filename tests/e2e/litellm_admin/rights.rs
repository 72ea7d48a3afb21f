//! Who reads and changes what: the matrix of roles holds here as over gRPC.

use serde_json::{Value, json};
use tollgate_client::v1;
use tollgate_tests::support::http::Caller;

use super::{Desk, text};

/// Every day.
const SPAN: &str = "start_date=2020-01-01&end_date=2999-01-01";

/// An organization with the teams red and blue and the user alice, and those who have no right to red and alice.
struct Acme {
    desk: Desk,
    /// A key of red that has spent.
    red: String,
    /// Who governs another organization.
    outsider: Caller,
    /// Who governs a user's own keys, in blue.
    member: Caller,
    /// Who calls models.
    caller: Caller,
}

impl Acme {
    async fn new() -> Self {
        let desk = Desk::open().await;
        for id in ["acme", "other"] {
            desk.post("organization/new", json!({"organization_alias": id, "organization_id": id})).await;
        }
        for id in ["red", "blue"] {
            desk.post("team/new", json!({"team_id": id, "organization_id": "acme"})).await;
        }
        desk.post("user/new", json!({"user_id": "alice", "organization_id": "acme"})).await;
        let red = desk.key(json!({"team_id": "red"})).await;
        assert_eq!(desk.call(&red).await.status, 200);
        let outsider = desk.key(json!({"organization_id": "other", "key_type": "management"})).await;
        let member = desk.key(json!({"team_id": "blue", "user_id": "bob", "key_type": "management"})).await;
        let caller = desk.key(json!({"organization_id": "acme"})).await;
        let [outsider, member, caller] = [outsider, member, caller].map(Caller::bearer);
        Self { desk, red, outsider, member, caller }
    }
}

#[tokio::test]
async fn another_organizations_admin_and_a_member_change_nothing_of_others() {
    let Acme { desk, red, outsider, member, .. } = Acme::new().await;
    assert_eq!(desk.get_as(&outsider, "organization/info?organization_id=other").await.status, 200);
    assert_eq!(desk.get_as(&member, "user/info?user_id=bob").await.status, 200);
    let model = json!({"model_name": "x", "litellm_params": {"model": "openai/x", "api_key": "sk-x"}});
    // What one does not see is not found; what one sees and may not change, or may not make, is forbidden.
    for (route, body, statuses) in [
        ("key/generate", json!({"team_id": "red"}), [404_u16, 404]),
        ("key/update", json!({"key": red, "max_budget": 1}), [404, 404]),
        ("key/delete", json!({"keys": [red]}), [404, 404]),
        ("key/block", json!({"key": red}), [404, 404]),
        ("key/unblock", json!({"key": red}), [404, 404]),
        ("key/regenerate", json!({"key": red}), [404, 404]),
        ("team/new", json!({"team_alias": "x", "organization_id": "acme"}), [404, 403]),
        ("team/update", json!({"team_id": "red", "max_budget": 1}), [404, 404]),
        ("team/member_add", json!({"team_id": "red", "member": {"user_id": "x"}}), [404, 404]),
        ("user/new", json!({"organization_id": "acme"}), [404, 403]),
        ("organization/new", json!({"organization_alias": "x"}), [403, 403]),
        ("budget/new", json!({"max_budget": 1}), [403, 403]),
        ("customer/new", json!({"user_id": "x", "max_budget": 1}), [403, 403]),
        ("model/new", model, [403, 403]),
        ("model/delete", json!({"id": "model_x"}), [403, 403]),
    ] {
        for (caller, status) in [&outsider, &member].into_iter().zip(statuses) {
            let reply = desk.post_as(caller, route, body.clone()).await;
            assert_eq!(reply.status, status, "{route} {body}: {:?}", reply.json());
        }
    }
    assert_eq!(desk.get("team/list").await.as_array().unwrap().len(), 2);
    assert_eq!(desk.call(&red).await.status, 200, "nobody came to harm");
}

#[tokio::test]
async fn members_are_told_of_themselves_though_not_of_what_their_team_spends() {
    let Acme { desk, member, .. } = Acme::new().await;
    desk.post("team/member_add", json!({"team_id": "blue", "member": {"role": "user", "user_id": "bob"}})).await;
    assert_eq!(desk.get("user/info?user_id=bob").await["teams"][0]["team_id"], "blue");
    let own = desk.get_as(&member, "user/info?user_id=bob").await;
    assert_eq!((own.status.as_u16(), &own.json()["user_id"]), (200, &json!("bob")), "{:?}", own.json());
    assert_eq!(own.json()["teams"], json!([]));
    assert_eq!(desk.get_as(&member, "team/info?team_id=blue").await.status, 403);
}

#[tokio::test]
async fn who_has_no_right_to_read_is_told_nothing() {
    let Acme { desk, red, outsider, member, caller } = Acme::new().await;
    let report = format!("global/spend/report?{SPAN}");
    let (of_team, of_key) = (format!("{report}&team_id=red"), format!("{report}&api_key={red}"));
    // A name is looked for among what one sees, so that it is not found; who sees nothing of the kind is told so.
    for (route, statuses) in [
        ("team/info?team_id=red", [404_u16, 404, 403]),
        ("user/info?user_id=alice", [404, 404, 403]),
        // Members see their organization, and not what it spends.
        ("organization/info?organization_id=acme", [404, 403, 403]),
        (of_team.as_str(), [404, 404, 403]),
        (of_key.as_str(), [404, 404, 404]),
    ] {
        desk.get(route).await;
        for (who, status) in [&outsider, &member, &caller].into_iter().zip(statuses) {
            let reply = desk.get_as(who, route).await;
            let kind = if status == 404 { "not_found_error" } else { "auth_error" };
            let told = (reply.status.as_u16(), text(&reply.json()["error"]["type"]));
            assert_eq!(told, (status, kind.to_owned()), "{route}: {:?}", reply.json());
        }
    }
    // Of the gateway's own ids nobody learns which are there.
    let teams = desk.world.admin().await.tenancy().list_teams(v1::ListTeamsRequest::default()).await;
    let teams = teams.unwrap().into_inner().teams;
    let red = teams.iter().find(|team| team.metadata["litellm_team_id"] == "red").unwrap();
    for id in [red.id.as_str(), "team_none"] {
        for who in [&outsider, &member, &caller] {
            assert_eq!(desk.get_as(who, &format!("team/info?team_id={id}")).await.status, 403, "{id}");
        }
    }
    // The report of all is the report of one's own.
    assert_ne!(desk.get(&report).await, json!([]));
    for who in [&outsider, &member, &caller] {
        let reply = desk.get_as(who, &report).await;
        assert_eq!((reply.status.as_u16(), reply.json()), (200, json!([])));
    }
}

#[tokio::test]
async fn a_users_role_is_its_keys_and_is_told_as_it_was_given() {
    let desk = Desk::open().await;
    desk.post("organization/new", json!({"organization_alias": "Acme", "organization_id": "acme"})).await;
    for (user_role, role) in [
        ("proxy_admin", v1::KeyRole::PlatformAdmin),
        ("proxy_admin_viewer", v1::KeyRole::Auditor),
        ("org_admin", v1::KeyRole::OrganizationAdmin),
        ("internal_user", v1::KeyRole::Caller),
        ("internal_user_viewer", v1::KeyRole::Caller),
        ("team", v1::KeyRole::Caller),
        ("customer", v1::KeyRole::Caller),
    ] {
        let (user_id, organization) = (format!("a-{user_role}"), (user_role == "org_admin").then_some("acme"));
        let asked = json!({"user_id": user_id, "user_role": user_role, "organization_id": organization});
        let secret = text(&desk.post("user/new", asked).await["key"]);
        let told = desk.get(&format!("user/info?user_id={user_id}")).await;
        assert_eq!(told["user_info"]["user_role"], user_role);
        let asked = v1::GetKeyRequest { secret: secret.clone(), ..Default::default() };
        let key = desk.world.admin().await.keys().get_key(asked).await.unwrap().into_inner().key.unwrap();
        assert_eq!(key.role(), role, "{user_role}");
        let status = if role == v1::KeyRole::Caller { 200_u16 } else { 403 };
        assert_eq!(desk.call(&secret).await.status, status, "{user_role}");
    }
    let left_out = desk.post("user/new", json!({"user_id": "plain"})).await;
    assert_eq!(left_out["user_role"], "internal_user");
    let refused = async |asked: Value, param: &str| {
        let reply = desk.post_as(&desk.admin, "user/new", asked).await;
        assert_eq!((reply.status.as_u16(), &reply.json()["error"]["param"]), (400, &json!(param)));
    };
    refused(json!({"user_role": "root"}), "user_role").await;
    refused(json!({"user_role": "org_admin"}), "organization_id").await;
}
