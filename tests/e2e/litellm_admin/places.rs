//! Users, organizations, customers and models, by the routes and fields that scripts use for them.

use serde_json::json;
use tollgate_tests::{provider::UPSTREAM_KEY, support::http::Caller};

use super::{Desk, nano, text};
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

#[tokio::test]
async fn what_a_budget_a_customer_or_a_change_of_a_key_cannot_have_is_refused_by_name() {
    let desk = Desk::open().await;
    let key = desk.key(json!({})).await;
    let windows = json!([{"budget_duration": "1d", "max_budget": 1}]);
    let of_models = json!({"scripted": {"budget_limit": 1, "time_period": "1d"}});
    let budget = json!({"max_budget": 1});
    let customer = json!({"user_id": "shop", "max_budget": 1});
    let change = json!({"key": key});
    for (route, body, field, value, param) in [
        ("budget/new", &budget, "rpm_limit", json!(5), "rpm_limit"),
        ("budget/new", &budget, "tpm_limit", json!(5), "tpm_limit"),
        ("budget/new", &budget, "max_parallel_requests", json!(0), "max_parallel_requests"),
        ("budget/new", &budget, "soft_budget", json!(1), "max_budget"),
        ("budget/new", &budget, "budget_limits", windows.clone(), "max_budget"),
        ("budget/new", &budget, "model_max_budget", of_models, "max_budget"),
        ("budget/new", &budget, "max_budget", json!(null), "max_budget"),
        ("customer/new", &customer, "rpm_limit", json!(5), "rpm_limit"),
        ("customer/new", &customer, "tpm_limit", json!(5), "tpm_limit"),
        ("customer/new", &customer, "max_parallel_requests", json!(0), "max_parallel_requests"),
        ("customer/new", &customer, "models", json!(["scripted"]), "models"),
        ("customer/new", &customer, "allowed_model_region", json!("eu"), "allowed_model_region"),
        ("customer/new", &customer, "default_model", json!("scripted"), "default_model"),
        ("customer/new", &customer, "blocked", json!(true), "blocked"),
        ("customer/new", &customer, "spend", json!(1), "spend"),
        ("key/update", &change, "budget_limits", windows, "budget_limits"),
        ("key/update", &change, "new_key", json!("sk-0123456789-strong"), "new_key"),
        ("key/update", &change, "spend", json!(1), "spend"),
        ("key/update", &change, "budget_duration", json!("1d"), "budget_duration"),
        ("key/update", &change, "temp_budget_increase", json!(1), "temp_budget_increase"),
    ] {
        let mut body = body.clone();
        body[field] = value;
        let reply = desk.post_as(&desk.admin, route, body).await;
        assert_eq!((reply.status.as_u16(), &reply.json()["error"]["param"]), (400, &json!(param)), "{route} {field}");
    }
    assert_eq!(desk.call(&key).await.status, 200);
}

#[tokio::test]
async fn a_new_model_is_called_as_one_of_the_file_would_be() {
    let desk = Desk::open().await;
    let root = desk.world.provider.root_url();
    let params = json!({"model": "claude-sonnet-5", "api_base": root, "api_key": UPSTREAM_KEY, "timeout": 30});
    let asked = json!({"model_name": "live", "litellm_params": params});
    let made = desk.post_as(&desk.admin, "model/new", asked).await;
    assert_eq!(made.status, 200, "{:?}", made.json());
    assert_eq!(made.headers["x-tollgate-ignored-fields"], "litellm_params.timeout");
    let body = hello(json!({"model": "live", "max_completion_tokens": 20}));
    let reply = desk.world.gateway.caller().post(&desk.world.v1("chat/completions"), &body).await.unwrap();
    assert_eq!(reply.status, 200, "{:?}", reply.json());
    let record = desk.world.provider.log().records().pop().unwrap();
    assert_eq!((record.path.as_str(), record.model.as_str()), ("/v1/messages", "claude-sonnet-5"));
}

#[tokio::test]
async fn a_server_of_ones_own_costs_what_the_model_does_that_it_is_named_for() {
    let desk = Desk::open().await;
    let params = json!({"model": "openai/gpt-4o", "api_base": desk.world.provider.base_url(), "api_key": UPSTREAM_KEY});
    let made = desk.post("model/new", json!({"model_name": "live", "litellm_params": params})).await;
    assert_eq!(made["litellm_params"]["custom_llm_provider"], "openai_compatible");
    let models = desk.get_as(&desk.world.gateway.caller(), "model/info").await.json();
    let live = models["data"].as_array().unwrap().iter().find(|row| row["model_name"] == "live").unwrap();
    assert!(nano(&live["model_info"]["input_cost_per_token"]) > 0, "{live}");
}

#[tokio::test]
async fn a_base_model_that_the_catalogue_does_not_list_is_told_with_its_place() {
    let desk = Desk::open().await;
    for (place, ignored) in [
        ("litellm_params", "litellm_params.base_model, litellm_params.timeout"),
        ("model_info", "model_info.base_model, litellm_params.timeout"),
    ] {
        let root = desk.world.provider.root_url();
        let params = json!({"model": "claude-sonnet-5", "api_base": root, "api_key": UPSTREAM_KEY, "timeout": 30});
        let mut asked = json!({"model_name": place, "litellm_params": params, "model_info": {}});
        asked[place]["base_model"] = json!("listed-nowhere");
        let made = desk.post_as(&desk.admin, "model/new", asked).await;
        assert_eq!(made.status, 200, "{:?}", made.json());
        assert_eq!(made.headers["x-tollgate-ignored-fields"], ignored);
    }
}

#[tokio::test]
async fn what_a_new_model_cannot_have_is_refused_by_name() {
    let desk = Desk::open().await;
    for (params, param) in [
        (json!({"model": "openai/gpt-4o"}), "litellm_params.api_key"),
        (json!({"model": "azure/gpt-4o", "api_key": "sk-x"}), "litellm_params.api_base"),
        (json!({"model": "what-is-this", "api_key": "sk-x"}), "litellm_params.model"),
        (json!({"model": "openai/gpt-4o", "api_key": "sk-x", "weight": 0.5}), "litellm_params.weight"),
        (json!({"model": "openai/gpt-4o", "api_key": "sk-x", "weight": 0}), "litellm_params.weight"),
    ] {
        let asked = json!({"model_name": "live", "litellm_params": &params});
        let reply = desk.post_as(&desk.admin, "model/new", asked).await;
        assert_eq!((reply.status.as_u16(), &reply.json()["error"]["param"]), (400, &json!(param)), "{params}");
    }
}
