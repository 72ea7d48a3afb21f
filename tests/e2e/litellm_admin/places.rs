//! Users, organizations, customers and models, by the routes and fields that scripts use for them.

use serde_json::json;
use tollgate_tests::{provider::UPSTREAM_KEY, support::http::Caller};

use super::{Desk, text};
use crate::support::hello;

#[tokio::test]
async fn a_viewer_reads_everything_and_makes_nothing() {
    let desk = Desk::open().await;
    let viewer = json!({"user_id": "vera", "user_role": "proxy_admin_viewer"});
    let viewer = Caller::bearer(text(&desk.post("user/new", viewer).await["key"]));
    assert_eq!(desk.get_as(&viewer, "team/list").await.status, 200);
    assert_eq!(desk.post_as(&viewer, "key/generate", json!({})).await.status, 403);
}

#[tokio::test]
async fn a_user_joins_the_teams_that_it_is_made_with() {
    let desk = Desk::open().await;
    desk.post("team/new", json!({"team_id": "blue"})).await;
    desk.post("user/new", json!({"user_id": "dan", "teams": ["blue"]})).await;
    assert_eq!(desk.get("user/info?user_id=dan").await["teams"][0]["team_id"], "blue");
    assert_eq!(desk.get("team/info?team_id=blue").await["team_info"]["members"], json!(["dan"]));
}

#[tokio::test]
async fn members_are_found_by_their_address_or_made_with_it() {
    let desk = Desk::open().await;
    desk.post("team/new", json!({"team_id": "blue"})).await;
    desk.post("user/new", json!({"user_id": "eve", "user_email": "eve@example.com"})).await;
    let add = async |address: &str| {
        let member = json!({"role": "user", "user_email": address});
        desk.post("team/member_add", json!({"team_id": "blue", "member": member})).await
    };
    assert_eq!(add("eve@example.com").await["members"], json!(["eve"]));
    let made = add("ann@example.com").await;
    assert_eq!(made["updated_users"][0]["user_email"], "ann@example.com");
    assert_eq!(made["members"].as_array().unwrap().len(), 2);
    assert_eq!(add("ann@example.com").await["members"], made["members"], "she is made once");
    let nobody = json!({"team_id": "blue", "member": {"role": "user"}});
    let reply = desk.post_as(&desk.admin, "team/member_add", nobody).await;
    assert_eq!((reply.status.as_u16(), &reply.json()["error"]["param"]), (400, &json!("member")));
}

#[tokio::test]
async fn organizations_are_asked_for_by_a_body_too() {
    let desk = Desk::open().await;
    for id in ["acme", "other"] {
        desk.post("organization/new", json!({"organization_alias": id, "organization_id": id})).await;
    }
    let told = desk.post("organization/info", json!({"organizations": ["other", "acme"]})).await;
    assert_eq!((&told[0]["organization_id"], &told[1]["organization_id"]), (&json!("other"), &json!("acme")));
}

#[tokio::test]
async fn an_end_user_is_a_customer() {
    let desk = Desk::open().await;
    assert_eq!(desk.post("end_user/new", json!({"user_id": "shop", "max_budget": 0})).await["max_budget"], 0.0);
    let call = async |customer: &str| {
        let body = hello(json!({"user": customer, "max_completion_tokens": 20}));
        desk.world.gateway.caller().post(&desk.world.v1("chat/completions"), &body).await.unwrap()
    };
    assert_eq!(call("shop").await.json()["error"]["code"], "budget_exceeded");
    assert_eq!(call("somebody").await.status, 200);
}

#[tokio::test]
async fn tags_of_a_new_model_are_those_of_both_objects() {
    let desk = Desk::open().await;
    let asked = json!({
        "model_name": "live",
        "litellm_params": {
            "model": "openai/live-upstream", "api_base": desk.world.provider.base_url(), "api_key": UPSTREAM_KEY,
            "input_cost_per_token": 1.5e-7, "output_cost_per_token": 6e-7, "tags": ["eu"],
        },
        "model_info": {"tags": ["pii"]},
    });
    desk.post("model/new", asked).await;
    let models = desk.get_as(&desk.world.gateway.caller(), "model/info").await.json();
    let live = models["data"].as_array().unwrap().iter().find(|row| row["model_name"] == "live");
    assert_eq!(live.unwrap()["litellm_params"]["tags"], json!(["eu", "pii"]), "{models}");
}
