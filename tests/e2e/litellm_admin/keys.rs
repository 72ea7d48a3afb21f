//! Keys: what their fields mean, how they are found, how they change.

use serde_json::{Value, json};
use tollgate_client::v1;

use super::{Desk, text};

#[tokio::test]
async fn a_regenerated_key_works_on_for_its_grace_period() {
    let desk = Desk::open().await;
    let old = desk.key(json!({})).await;
    let new = text(&desk.post("key/regenerate", json!({"key": old, "grace_period": "1h"})).await["key"]);
    assert_ne!(old, new);
    assert_eq!([desk.call(&old).await.status, desk.call(&new).await.status], [200, 200]);
}

#[tokio::test]
async fn a_key_is_regenerated_by_its_path_too() {
    let desk = Desk::open().await;
    let made = desk.post("key/generate", json!({"key_alias": "ci"})).await;
    let (old, token) = (text(&made["key"]), text(&made["token"]));
    let again = desk.post(&format!("key/{token}/regenerate"), json!({"key_alias": "ci-2"})).await;
    assert_eq!((&again["token"], &again["key_alias"]), (&json!(token), &json!("ci-2")));
    assert_eq!([desk.call(&old).await.status, desk.call(&text(&again["key"])).await.status], [401, 200]);
}

#[tokio::test]
async fn a_soft_budget_is_told_and_stops_nothing() {
    let desk = Desk::open().await;
    let key = desk.key(json!({"soft_budget": 0})).await;
    assert_eq!(desk.call(&key).await.status, 200);
    let info = desk.get(&format!("key/info?key={key}")).await["info"].clone();
    assert_eq!((&info["soft_budget"], &info["max_budget"]), (&json!(0.0), &Value::Null));
}

#[tokio::test]
async fn no_default_models_are_no_models() {
    let desk = Desk::open().await;
    let none = json!(["no-default-models"]);
    let key = desk.key(json!({ "models": none })).await;
    assert_eq!(desk.call(&key).await.status, 403);
    assert_eq!(desk.get(&format!("key/info?key={key}")).await["info"]["models"], none);
}

#[tokio::test]
async fn an_alias_that_two_keys_have_means_neither() {
    let desk = Desk::open().await;
    let twin = || v1::Key { display_name: "twin".into(), ..Default::default() };
    let twins = [desk.world.key(twin()).await.secret, desk.world.key(twin()).await.secret];
    for (route, body) in [
        ("key/delete", json!({"key_aliases": ["twin"]})),
        ("key/update", json!({"key_alias": "twin", "max_budget": 0})),
        ("key/block", json!({"key_alias": "twin"})),
    ] {
        let reply = desk.post_as(&desk.admin, route, body).await;
        assert_eq!((reply.status.as_u16(), &reply.json()["error"]["param"]), (400, &json!("key_alias")), "{route}");
    }
    for secret in &twins {
        assert_eq!(desk.call(secret).await.status, 200);
    }
}

#[tokio::test]
async fn an_alias_names_a_key_and_is_no_other_keys() {
    let desk = Desk::open().await;
    let ci = desk.key(json!({"key_alias": "ci"})).await;
    let other = desk.key(json!({})).await;
    let changed = desk.post("key/update", json!({"key_alias": "ci", "max_budget": 2})).await;
    assert_eq!((&changed["key_alias"], &changed["max_budget"]), (&json!("ci"), &json!(2.0)));
    assert_eq!(desk.get(&format!("key/info?key={ci}")).await["info"]["max_budget"], 2.0);
    let is_taken = async |route: &str, body: Value| {
        let reply = desk.post_as(&desk.admin, route, body).await;
        let told = (reply.status.as_u16(), text(&reply.json()["error"]["type"]));
        assert_eq!(told, (400, "bad_request_error".to_owned()), "{route}");
    };
    is_taken("key/generate", json!({"key_alias": "ci"})).await;
    is_taken("key/update", json!({"key": other, "key_alias": "ci"})).await;
    let reply = desk.post_as(&desk.admin, "key/update", json!({"key_alias": "none", "max_budget": 2})).await;
    assert_eq!((reply.status.as_u16(), &reply.json()["error"]["param"]), (404, &json!("key_alias")));
    desk.post("key/delete", json!({"keys": [ci]})).await;
    desk.post("key/update", json!({"key": other, "key_alias": "ci"})).await;
}

#[tokio::test]
async fn keys_are_deleted_by_their_aliases_all_of_them_or_none() {
    let desk = Desk::open().await;
    let keys = [desk.key(json!({"key_alias": "one"})).await, desk.key(json!({"key_alias": "two"})).await];
    let reply = desk.post_as(&desk.admin, "key/delete", json!({"key_aliases": ["one", "none"]})).await;
    assert_eq!((reply.status.as_u16(), &reply.json()["error"]["param"]), (404, &json!("key_alias")));
    assert_eq!([desk.call(&keys[0]).await.status, desk.call(&keys[1]).await.status], [200, 200]);
    let deleted = desk.post("key/delete", json!({"key_aliases": ["one", "two"]})).await;
    assert_eq!(deleted["deleted_keys"], json!(["one", "two"]));
    assert_eq!([desk.call(&keys[0]).await.status, desk.call(&keys[1]).await.status], [401, 401]);
}

#[tokio::test]
async fn a_key_that_is_made_blocked_is_refused_until_it_is_unblocked() {
    let desk = Desk::open().await;
    let made = desk.post("key/generate", json!({"blocked": true})).await;
    assert_eq!(made["blocked"], true);
    let key = text(&made["key"]);
    let refused = desk.call(&key).await;
    assert_eq!((refused.status.as_u16(), &refused.json()["error"]["code"]), (403, &json!("blocked_api_key")));
    desk.post("key/unblock", json!({"key": key})).await;
    assert_eq!(desk.call(&key).await.status, 200);
}

#[tokio::test]
async fn keys_are_listed_by_where_they_belong_page_by_page_the_newest_first() {
    let desk = Desk::open().await;
    desk.post("organization/new", json!({"organization_alias": "Acme", "organization_id": "acme"})).await;
    desk.post("team/new", json!({"team_id": "blue", "organization_id": "acme"})).await;
    let mut tokens = Vec::new();
    for body in [
        json!({"key_alias": "one", "team_id": "blue"}),
        json!({"key_alias": "two", "team_id": "blue", "user_id": "alice"}),
        json!({"key_alias": "three", "organization_id": "acme"}),
    ] {
        tokens.push(desk.post("key/generate", body).await["token"].clone());
    }
    let [one, two, three] = [&tokens[0], &tokens[1], &tokens[2]];
    let by_hash = format!("key_hash={}", text(one));
    for (query, found) in [
        ("organization_id=acme", json!([three, two, one])),
        ("team_id=blue", json!([two, one])),
        ("user_id=alice", json!([two])),
        ("key_alias=three", json!([three])),
        (by_hash.as_str(), json!([one])),
        ("team_id=blue&key_alias=three", json!([])),
    ] {
        assert_eq!(desk.get(&format!("key/list?{query}")).await["keys"], found, "{query}");
    }
    let page = desk.get("key/list?organization_id=acme&page=2&size=2").await;
    assert_eq!(page, json!({"keys": [one], "total_count": 3, "current_page": 2, "total_pages": 2}));
    let whole = desk.get("key/list?organization_id=acme&size=1&return_full_object=true").await;
    assert_eq!((&whole["keys"][0]["token"], &whole["keys"][0]["key_alias"]), (three, &json!("three")));
    assert_eq!(whole["total_pages"], 3);
}
