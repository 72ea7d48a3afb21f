//! LiteLLM's admin routes, asked over HTTP as its scripts ask: what they make counts, and they let nobody do more than gRPC does.

mod keys;
mod places;
mod rights;
mod spend;

use std::time::Duration;

use serde_json::{Value, json};
use tollgate_client::v1;
use tollgate_tests::support::http::{Caller, Reply};

use crate::support::{World, eventually, hello};

/// An admin's desk: the routes beside a world.
struct Desk {
    world: World,
    root: String,
    admin: Caller,
}

impl Desk {
    async fn open() -> Self {
        let world = World::start().await;
        Self::around(world)
    }

    fn around(world: World) -> Self {
        let root = world.v1("").trim_end_matches("/v1/").to_owned();
        let admin = Caller::bearer(&world.admin);
        Self { world, root, admin }
    }

    async fn post_as(&self, caller: &Caller, route: &str, body: Value) -> Reply {
        caller.post(&format!("{}/{route}", self.root), &body).await.unwrap()
    }

    async fn get_as(&self, caller: &Caller, route: &str) -> Reply {
        caller.get(&format!("{}/{route}", self.root)).await.unwrap()
    }

    /// What the admin is answered, which must be 200.
    async fn post(&self, route: &str, body: Value) -> Value {
        let reply = self.post_as(&self.admin, route, body.clone()).await;
        assert_eq!(reply.status, 200, "{route} {body}: {:?}", reply.json());
        reply.json()
    }

    async fn get(&self, route: &str) -> Value {
        let reply = self.get_as(&self.admin, route).await;
        assert_eq!(reply.status, 200, "{route}: {:?}", reply.json());
        reply.json()
    }

    /// Makes a key and tells its secret.
    async fn key(&self, body: Value) -> String {
        text(&self.post("key/generate", body).await["key"])
    }

    async fn call(&self, key: &str) -> Reply {
        let body = hello(json!({"max_completion_tokens": 20}));
        Caller::bearer(key).post(&self.world.v1("chat/completions"), &body).await.unwrap()
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}

/// Dollars of a JSON number, in nano-dollars.
pub(crate) fn nano(value: &Value) -> i64 {
    (value.as_f64().unwrap_or_else(|| panic!("{value} is no number")) * 1e9).round() as i64
}

#[tokio::test]
async fn a_key_lives_as_litellm_documents() {
    let desk = Desk::open().await;
    desk.post("team/new", json!({"team_id": "blue"})).await;
    let asked = json!({
        "key_alias": "ci", "team_id": "blue", "models": ["scripted"], "duration": "30d", "max_budget": 12.5,
        "budget_duration": "30d", "rpm_limit": 100, "tpm_limit": 100_000, "max_parallel_requests": 5,
        "metadata": {"cost_center": 7, "owner": "blue"}, "tags": ["prod"],
    });
    let made = desk.post("key/generate", asked).await;
    let (secret, token) = (text(&made["key"]), text(&made["token"]));
    assert!(
        made["expires"].is_string() && made["key_name"].as_str().is_some_and(|name| secret.starts_with(&name[..8]))
    );
    assert_eq!(desk.call(&secret).await.status, 200);

    // By its secret and by its token, the same.
    for named in [&secret, &token] {
        let told = desk.get(&format!("key/info?key={named}")).await;
        let info = &told["info"];
        assert_eq!(told["key"], json!(named));
        for (field, value) in [
            ("key_alias", json!("ci")),
            ("models", json!(["scripted"])),
            ("max_budget", json!(12.5)),
            ("budget_duration", json!("30d")),
            ("rpm_limit", json!(100)),
            ("tpm_limit", json!(100_000)),
            ("max_parallel_requests", json!(5)),
            ("metadata", json!({"cost_center": 7, "owner": "blue"})),
            ("tags", json!(["prod"])),
            ("status", json!("active")),
        ] {
            assert_eq!(info[field], value, "{field}");
        }
        assert!(info["budget_reset_at"].is_string());
        assert!(!told["info"].to_string().contains(&secret), "the secret is shown once");
    }
    // A key asks about itself without naming itself.
    let own = desk.get_as(&Caller::bearer(&secret), "key/info").await.json();
    assert_eq!(own["info"]["key_alias"], "ci");
    let denied = desk.world.records().await.iter().any(|record| record.error_reason != 0);
    assert!(!denied, "nothing was asked for that the key may not see");

    let changed =
        json!({"key": secret, "key_alias": "ci-2", "max_budget": 20, "metadata": {"owner": "red"}, "rpm_limit": null});
    let changed = desk.post("key/update", changed).await;
    assert_eq!((&changed["key_alias"], &changed["max_budget"]), (&json!("ci-2"), &json!(20.0)));
    assert_eq!((&changed["metadata"], &changed["rpm_limit"]), (&json!({"owner": "red"}), &Value::Null));
    assert_eq!(changed["tpm_limit"], 100_000, "what is not named stays");
    assert_eq!(desk.get("key/list?key_alias=ci-2").await["keys"], json!([token]));

    assert_eq!(desk.post("key/block", json!({"key": secret})).await["blocked"], true);
    assert_eq!(desk.call(&secret).await.status, 403);
    assert_eq!(desk.get_as(&Caller::bearer(&secret), "key/info").await.status, 401, "as LiteLLM answers a blocked key");
    assert_eq!(desk.post("key/unblock", json!({"key": secret})).await["blocked"], false);
    assert_eq!(desk.call(&secret).await.status, 200);

    let again = text(&desk.post("key/regenerate", json!({"key": secret})).await["key"]);
    assert_eq!(desk.call(&secret).await.status, 401);
    assert_eq!(desk.call(&again).await.status, 200);
    assert_eq!(desk.get(&format!("key/info?key={again}")).await["info"]["token"], json!(token), "the same key");

    assert_eq!(desk.post("key/delete", json!({"keys": [again]})).await["deleted_keys"], json!([again]));
    assert_eq!(desk.call(&again).await.status, 401);
    assert_eq!(desk.get("key/list?key_alias=ci-2").await["total_count"], 0);
    assert_eq!(desk.get("key/list?key_alias=ci-2&status=deleted").await["total_count"], 1);
}

#[tokio::test]
async fn max_budget_stops_calls_and_spend_is_told_at_once() {
    let desk = Desk::open().await;
    let key = desk.key(json!({"max_budget": 0.00003})).await;
    let mut refused = None;
    let mut answered = 0;
    for _ in 0..10 {
        let reply = desk.call(&key).await;
        if reply.status != 200 {
            refused = Some(reply);
            break;
        }
        answered += 1;
        // Right with the answer, not some seconds later.
        let booked: i64 = desk.world.entries().await.iter().map(|entry| entry.cost_nano_usd).sum();
        let info = desk.get(&format!("key/info?key={key}")).await;
        assert_eq!(nano(&info["info"]["spend"]), booked);
    }
    let refused = refused.unwrap();
    assert_eq!((refused.status.as_u16(), refused.json()["error"]["code"].as_str()), (429, Some("budget_exceeded")));
    assert!(answered > 0);
    assert!(nano(&desk.get(&format!("key/info?key={key}")).await["info"]["spend"]) <= 30_000);

    // Raised for a time, it goes on.
    let raised = json!({"key": key, "temp_budget_increase": 1, "temp_budget_expiry": "2999-01-01"});
    assert_eq!(nano(&desk.post("key/update", raised).await["max_budget"]), 1_000_030_000);
    assert_eq!(desk.call(&key).await.status, 200);
    // Without a budget nothing stops it.
    assert_eq!(desk.post("key/update", json!({"key": key, "max_budget": null})).await["max_budget"], Value::Null);
}

#[tokio::test]
async fn a_budget_begins_anew_after_its_duration() {
    let desk = Desk::open().await;
    let key = desk.key(json!({"max_budget": 0.00003, "budget_duration": "2s"})).await;
    while desk.call(&key).await.status == 200 {}
    eventually("the next window has room", async || desk.call(&key).await.status == 200).await;
    let info = desk.get(&format!("key/info?key={key}")).await;
    assert_eq!(info["info"]["budget_duration"], "2s");
}

#[tokio::test]
async fn a_model_has_a_budget_of_its_own_within_a_key() {
    let desk = Desk::open().await;
    let limits = json!({"scripted": {"budget_limit": 0, "time_period": "1d"}});
    let key = desk.key(json!({"max_budget": 1, "model_max_budget": limits})).await;
    assert_eq!(desk.call(&key).await.json()["error"]["code"], "budget_exceeded");
    let info = desk.get(&format!("key/info?key={key}")).await;
    assert_eq!(info["info"]["model_max_budget"]["scripted"]["time_period"], "1d");
    desk.post("key/update", json!({"key": key, "model_max_budget": {}})).await;
    assert_eq!(desk.call(&key).await.status, 200);
}

#[tokio::test]
async fn budget_limits_bind_each_by_itself_and_stay_when_max_budget_changes() {
    let desk = Desk::open().await;
    let limits = json!([{"budget_duration": "1d", "max_budget": 0}, {"budget_duration": "30d", "max_budget": 5}]);
    let key = desk.key(json!({ "budget_limits": limits })).await;
    let is_refused = async || desk.call(&key).await.json()["error"]["code"] == "budget_exceeded";
    assert!(is_refused().await, "the day has nothing to spend");
    // A `max_budget` comes and goes beside them.
    for max_budget in [json!(20.0), Value::Null] {
        let told = desk.post("key/update", json!({"key": key, "max_budget": max_budget})).await;
        assert_eq!(told["max_budget"], max_budget);
        let told = desk.get(&format!("key/info?key={key}")).await["info"].clone();
        let shown = told["budget_limits"].as_array().unwrap().iter();
        let shown: Vec<_> = shown.map(|it| (text(&it["budget_duration"]), nano(&it["max_budget"]))).collect();
        assert_eq!(shown, [("1d".to_owned(), 0), ("30d".to_owned(), 5_000_000_000)]);
        assert_eq!(told["max_budget"], max_budget);
        assert!(is_refused().await, "the day's window stays");
    }
}

#[tokio::test]
async fn rpm_limit_and_duration_bind() {
    let desk = Desk::open().await;
    let key = desk.key(json!({"rpm_limit": 2})).await;
    assert_eq!([desk.call(&key).await.status, desk.call(&key).await.status], [200, 200]);
    let refused = desk.call(&key).await;
    assert_eq!((refused.status.as_u16(), refused.json()["error"]["code"].as_str()), (429, Some("rate_limit_exceeded")));

    let short = desk.key(json!({"duration": "1s"})).await;
    assert_eq!(desk.call(&short).await.status, 200);
    eventually("it ends", async || desk.call(&short).await.status == 401).await;
    assert_eq!(desk.get(&format!("key/info?key={short}")).await["info"]["status"], "expired");
    // An ended key may be renamed and prolonged.
    desk.post("key/update", json!({"key": short, "key_alias": "late"})).await;
    desk.post("key/update", json!({"key": short, "duration": "1h"})).await;
    assert_eq!(desk.call(&short).await.status, 200);
}

#[tokio::test]
async fn every_call_is_a_row_of_spend_logs() {
    let desk = Desk::open().await;
    let user = json!({"user_id": "alice", "user_alias": "Alice"});
    let key = text(&desk.post("user/new", user).await["key"]);
    let mut ids = Vec::new();
    for _ in 0..3 {
        let reply = desk.call(&key).await;
        assert_eq!(reply.status, 200);
        ids.push(reply.headers["x-request-id"].to_str().unwrap().to_owned());
    }
    desk.call(desk.world.gateway.key()).await;
    let entries = desk.world.entries().await;
    let rows = desk.get(&format!("spend/logs?api_key={key}")).await;
    let rows = rows.as_array().unwrap();
    assert_eq!(rows.iter().map(|row| text(&row["request_id"])).collect::<Vec<_>>(), ids);
    for (row, entry) in rows.iter().zip(&entries) {
        let usage = entry.usage.clone().unwrap();
        assert_eq!(nano(&row["spend"]), entry.cost_nano_usd);
        assert_eq!(row["prompt_tokens"].as_u64(), usage.input.map(|input| input.total));
        assert_eq!(row["completion_tokens"].as_u64(), usage.output.map(|output| output.total));
        assert_eq!((&row["model"], &row["user"]), (&json!("scripted"), &json!("alice")));
        assert!(row["startTime"].as_str() <= row["endTime"].as_str() && row["startTime"].is_string());
        assert!(row["request_duration_ms"].is_u64(), "{row}");
    }
    let one = desk.get(&format!("spend/logs?request_id={}", ids[1])).await;
    assert_eq!(one.as_array().unwrap().len(), 1);
    assert_eq!(desk.get("spend/logs").await.as_array().unwrap().len(), 4);
    assert_eq!(desk.get("spend/logs?user_id=alice").await.as_array().unwrap().len(), 3);
    assert_eq!(desk.get("spend/logs?start_date=2001-01-01&end_date=2001-01-02&summarize=false").await, json!([]));

    let of_key: i64 = entries[..3].iter().map(|entry| entry.cost_nano_usd).sum();
    // Without a budget no balance is kept in memory: the ledger is asked, and knows as much.
    let info = desk.get(&format!("key/info?key={key}")).await["info"].clone();
    assert_eq!(info["max_budget"], Value::Null);
    assert_eq!(nano(&info["spend"]), rows.iter().map(|row| nano(&row["spend"])).sum::<i64>());
    let days = desk.get("spend/logs?user_id=alice&start_date=2020-01-01&end_date=2999-01-01").await;
    assert_eq!(days.as_array().unwrap().iter().map(|day| nano(&day["users"]["alice"])).sum::<i64>(), of_key);
    let span = "start_date=2020-01-01&end_date=2999-01-01";
    let keys = desk.get(&format!("global/spend/report?{span}&group_by=api_key&api_key={key}")).await;
    assert_eq!(nano(&keys[0]["total_cost"]), of_key);
    assert_eq!(nano(&keys[0]["model_details"][0]["total_cost"]), of_key);
    let teams = desk.get(&format!("global/spend/report?{span}")).await;
    assert_eq!(teams[0]["teams"][0]["team_name"], "Unassigned Team");
    assert_eq!(
        desk.get(&format!("global/spend/report?{span}&group_by=customer")).await[0]["customers"][0]["customer"],
        ""
    );
}

#[tokio::test]
async fn organizations_teams_users_and_members_hang_together() {
    let desk = Desk::open().await;
    let asked =
        json!({"organization_alias": "Acme", "organization_id": "acme", "models": ["scripted"], "max_budget": 100});
    let organization = desk.post("organization/new", asked).await;
    assert_eq!((&organization["organization_id"], &organization["max_budget"]), (&json!("acme"), &json!(100.0)));
    let asked = json!({
        "team_id": "blue", "team_alias": "Blue", "organization_id": "acme", "max_budget": 0.00003, "budget_duration": "1d",
        "rpm_limit": 50, "metadata": {"a": [1]}, "members_with_roles": [{"role": "user", "user_id": "alice"}],
    });
    let team = desk.post("team/new", asked).await;
    assert_eq!((&team["team_id"], &team["members"]), (&json!("blue"), &json!(["alice"])));
    let twice = desk.post_as(&desk.admin, "team/new", json!({"team_id": "blue"})).await;
    assert_eq!((twice.status.as_u16(), &twice.json()["error"]["param"]), (400, &json!("team_id")));

    let asked = json!({"team_id": "blue", "member": [{"role": "user", "user_id": "bob"}], "max_budget_in_team": 5});
    let added = desk.post("team/member_add", asked).await;
    assert_eq!(added["members"], json!(["alice", "bob"]));
    assert_eq!(added["updated_team_memberships"][0]["max_budget"], 5.0);
    assert_eq!(desk.get("user/info?user_id=bob").await["teams"][0]["team_id"], "blue");

    let key = desk.key(json!({"team_id": "blue", "user_id": "bob"})).await;
    let info = desk.get(&format!("key/info?key={key}")).await;
    for (field, value) in [("team_id", "blue"), ("user_id", "bob"), ("organization_id", "acme")] {
        assert_eq!(info["info"][field], value);
    }
    while desk.call(&key).await.status == 200 {}
    assert_eq!(desk.call(&key).await.json()["error"]["code"], "budget_exceeded", "the team's budget");
    let told = desk.get("team/info?team_id=blue").await;
    assert!(nano(&told["team_info"]["spend"]) > 0);
    assert_eq!(told["keys"][0]["user_id"], "bob");
    let changed = json!({"team_id": "blue", "max_budget": 10, "team_alias": "Azure", "metadata": {"b": "c"}});
    let changed = desk.post("team/update", changed).await;
    assert_eq!((&changed["team_id"], &changed["data"]["team_alias"]), (&json!("blue"), &json!("Azure")));
    assert_eq!((&changed["data"]["metadata"], &changed["data"]["rpm_limit"]), (&json!({"b": "c"}), &json!(50)));
    assert_eq!(desk.call(&key).await.status, 200);
    let teams = desk.get("team/list?organization_id=acme").await;
    assert_eq!(teams.as_array().unwrap().len(), 1);
    let whole = desk.get("organization/info?organization_id=acme").await;
    assert_eq!((&whole["teams"][0]["team_id"], whole["users"].as_array().unwrap().len()), (&json!("blue"), 2));
    assert!(nano(&whole["spend"]) > 0);
}

#[tokio::test]
async fn a_user_that_many_keys_name_at_once_is_made_once() {
    let desk = Desk::open().await;
    let keys = (0..8).map(|_| desk.post("key/generate", json!({"user_id": "carol"})));
    let keys = futures::future::join_all(keys).await;
    assert!(keys.iter().all(|key| key["user_id"] == "carol"));
    let users = desk.world.admin().await.tenancy().list_users(v1::ListUsersRequest::default()).await;
    assert_eq!(users.unwrap().into_inner().users.len(), 1);
    assert_eq!(desk.get("user/info?user_id=carol").await["keys"].as_array().unwrap().len(), 8);
}

#[tokio::test]
async fn customers_and_named_budgets_limit() {
    let desk = Desk::open().await;
    let asked = json!({"budget_id": "free", "max_budget": 0, "budget_duration": "1d"});
    assert_eq!(desk.post("budget/new", asked.clone()).await["max_budget"], 0.0);
    assert_eq!(desk.post_as(&desk.admin, "budget/new", asked).await.status, 400, "once");
    let customer = desk.post("customer/new", json!({"user_id": "guest", "budget_id": "free"})).await;
    assert_eq!((&customer["max_budget"], &customer["budget_duration"]), (&json!(0.0), &json!("1d")));
    assert_eq!(desk.post_as(&desk.admin, "customer/new", json!({"user_id": "guest"})).await.status, 400);
    let body = hello(json!({"user": "guest", "max_completion_tokens": 5}));
    let refused = desk.world.gateway.caller().post(&desk.world.v1("chat/completions"), &body).await.unwrap();
    assert_eq!(refused.json()["error"]["code"], "budget_exceeded");
    let body = hello(json!({"user": "another", "max_completion_tokens": 5}));
    assert_eq!(desk.world.gateway.caller().post(&desk.world.v1("chat/completions"), &body).await.unwrap().status, 200);
    let key = desk.key(json!({"budget_id": "free"})).await;
    assert_eq!(desk.call(&key).await.json()["error"]["code"], "budget_exceeded");
    let unknown = desk.post_as(&desk.admin, "key/generate", json!({"budget_id": "none"})).await;
    assert_eq!((unknown.status.as_u16(), &unknown.json()["error"]["param"]), (404, &json!("budget_id")));
}

#[tokio::test]
async fn what_members_spent_in_a_team_is_told_with_and_without_a_budget_of_theirs() {
    let desk = Desk::open().await;
    let roles = json!([{"role": "user", "user_id": "alice"}, {"role": "user", "user_id": "bob"}]);
    desk.post("team/new", json!({"team_id": "blue", "members_with_roles": roles})).await;
    let in_team = desk.key(json!({"team_id": "blue", "user_id": "alice"})).await;
    let elsewhere = desk.key(json!({"user_id": "alice"})).await;
    for key in [&in_team, &elsewhere] {
        assert_eq!(desk.call(key).await.status, 200);
    }
    let in_team = desk.world.entries().await[0].cost_nano_usd;
    let admin = desk.key(json!({"team_id": "blue", "key_type": "management"})).await;
    // The team's own admin sees it too.
    for caller in [&desk.admin, &Caller::bearer(&admin)] {
        let reply = desk.get_as(caller, "team/info?team_id=blue").await;
        assert_eq!(reply.status, 200, "{:?}", reply.json());
        let told = reply.json()["team_memberships"].clone();
        assert_eq!((nano(&told[0]["spend"]), nano(&told[1]["spend"])), (in_team, 0), "{told}");
    }
}

#[tokio::test]
async fn a_share_of_nothing_in_a_team_stops_its_members() {
    let desk = Desk::open().await;
    let roles = json!([{"role": "user", "user_id": "alice"}]);
    desk.post("team/new", json!({"team_id": "blue", "members_with_roles": roles, "team_member_budget": 0})).await;
    let share = desk.get("team/info?team_id=blue").await["team_memberships"][0].clone();
    assert_eq!((&share["user_id"], &share["team_id"]), (&json!("alice"), &json!("blue")));
    assert_eq!(share["max_budget"], 0.0);
    let member = desk.key(json!({"team_id": "blue", "user_id": "alice"})).await;
    assert_eq!(desk.call(&member).await.json()["error"]["code"], "budget_exceeded");
    let other = desk.key(json!({"team_id": "blue"})).await;
    assert_eq!(desk.call(&other).await.status, 200, "the team itself has no budget");
}

#[tokio::test]
async fn a_customer_whose_budgets_were_made_in_part_gets_the_rest() {
    let desk = Desk::open().await;
    let budget = |nano_usd: i64, enforcement: v1::BudgetEnforcement| v1::Budget {
        scope: Some(v1::BudgetScope { kind: v1::ScopeKind::Customer as i32, id: "shop".into(), ..Default::default() }),
        limit_nano_usd: nano_usd,
        enforcement: enforcement as i32,
        ..Default::default()
    };
    // As a request leaves it that ends after its first budget.
    let first = budget(5_000_000_000, v1::BudgetEnforcement::Hard);
    let asked = v1::CreateBudgetRequest { budget: Some(first), ..Default::default() };
    desk.world.admin().await.budgets().create_budget(asked).await.unwrap();
    let other = json!({"user_id": "shop", "max_budget": 6, "soft_budget": 3});
    assert_eq!(desk.post_as(&desk.admin, "customer/new", other).await.status, 400, "it has another budget");
    let again = json!({"user_id": "shop", "max_budget": 5, "soft_budget": 3});
    let made = desk.post("customer/new", again.clone()).await;
    assert_eq!((&made["max_budget"], &made["soft_budget"]), (&json!(5.0), &json!(3.0)));
    let scope = budget(0, v1::BudgetEnforcement::Hard).scope;
    let asked = v1::ListBudgetsRequest { scope, ..Default::default() };
    let budgets = desk.world.admin().await.budgets().list_budgets(asked).await.unwrap().into_inner().budgets;
    assert_eq!(budgets.iter().map(|b| b.limit_nano_usd).collect::<Vec<_>>(), [5_000_000_000, 3_000_000_000]);
    let twice = desk.post_as(&desk.admin, "customer/new", again).await;
    assert_eq!((twice.status.as_u16(), &twice.json()["error"]["param"]), (400, &json!("user_id")));
}

#[tokio::test]
async fn nobody_does_here_what_grpc_refuses_them() {
    let desk = Desk::open().await;
    desk.post("team/new", json!({"team_id": "blue"})).await;
    desk.post("team/new", json!({"team_id": "red"})).await;
    let other = desk.key(json!({"team_id": "red"})).await;
    let team_admin = Caller::bearer(desk.key(json!({"team_id": "blue", "key_type": "management"})).await);
    let auditor = Caller::bearer(desk.key(json!({"key_type": "read_only"})).await);
    let caller = Caller::bearer(desk.key(json!({})).await);

    let posts = [
        ("key/generate", json!({})),
        ("key/update", json!({"key": other, "max_budget": 1})),
        ("key/delete", json!({"keys": [other]})),
        ("key/block", json!({"key": other})),
        ("key/unblock", json!({"key": other})),
        ("key/regenerate", json!({"key": other})),
        ("team/new", json!({"team_alias": "x"})),
        ("team/update", json!({"team_id": "red", "max_budget": 1})),
        ("team/member_add", json!({"team_id": "red", "member": {"user_id": "x"}})),
        ("user/new", json!({})),
        ("organization/new", json!({"organization_alias": "x"})),
        ("budget/new", json!({"max_budget": 1})),
        ("customer/new", json!({"user_id": "x", "max_budget": 1})),
        ("model/new", json!({"model_name": "x", "litellm_params": {"model": "openai/x", "api_key": "sk-x"}})),
        ("model/delete", json!({"id": "model_x"})),
    ];
    for (route, body) in &posts {
        for (who, caller) in [("a caller", &caller), ("an auditor", &auditor)] {
            let reply = desk.post_as(caller, route, body.clone()).await;
            // What somebody may not see does not exist for them.
            assert!([403, 404].contains(&reply.status.as_u16()), "{who}, {route}: {} {:?}", reply.status, reply.json());
        }
        let nobody = desk.post_as(&Caller::default(), route, body.clone()).await;
        assert_eq!((nobody.status.as_u16(), &nobody.json()["error"]["type"]), (401, &json!("auth_error")), "{route}");
    }
    for route in ["key/update", "key/delete", "key/block", "key/regenerate"] {
        let body = match route {
            "key/delete" => json!({"keys": [other]}),
            _ => json!({"key": other}),
        };
        let reply = desk.post_as(&team_admin, route, body).await;
        assert!([403, 404].contains(&reply.status.as_u16()), "another team's key, {route}: {:?}", reply.json());
    }
    assert_eq!(desk.get_as(&team_admin, &format!("key/info?key={other}")).await.status, 404);
    let unknown = desk.get_as(&Caller::bearer("sk-unknown"), "key/info").await;
    assert_eq!((unknown.status.as_u16(), &unknown.json()["error"]["type"]), (401, &json!("token_not_found_in_db")));
    assert_eq!(unknown.json()["error"]["code"], "401");

    // A team admin governs its own team, within what the team has.
    let own = desk.post_as(&team_admin, "key/generate", json!({"max_budget": 1})).await;
    assert_eq!(own.status, 200, "{:?}", own.json());
    assert_eq!(own.json()["team_id"], "blue");
    let teams = desk.get_as(&team_admin, "team/list").await.json();
    assert_eq!(teams.as_array().unwrap().len(), 1);
    // An auditor reads everything.
    assert_eq!(desk.get_as(&auditor, "team/list").await.json().as_array().unwrap().len(), 2);
    assert_eq!(desk.get_as(&auditor, &format!("key/info?key={other}")).await.status, 200);
    // Finance sees all spend, under the names that admins gave.
    let made = desk.world.key(v1::Key { role: v1::KeyRole::Finance as i32, ..Default::default() }).await;
    let finance = Caller::bearer(&made.secret);
    assert_eq!(desk.call(&other).await.status, 200);
    let rows = desk.get_as(&finance, "spend/logs").await.json();
    assert_eq!((rows.as_array().unwrap().len(), &rows[0]["team_id"]), (1, &json!("red")));
    assert_eq!(desk.post_as(&finance, "key/generate", json!({})).await.status, 403);
    // A caller sees its own spend and no other.
    assert_eq!(desk.get_as(&caller, &format!("spend/logs?api_key={other}")).await.status, 404);
    assert_eq!(desk.get_as(&caller, "spend/logs").await.json(), json!([]));
    assert_eq!(desk.call(&other).await.status, 200, "nobody came to harm");
}

#[tokio::test]
async fn what_has_no_counterpart_is_refused_or_told() {
    let desk = Desk::open().await;
    let harmless = json!({"send_invite_email": true, "aliases": {}, "guardrails": [], "permissions": {"x": true}});
    let reply = desk.post_as(&desk.admin, "key/generate", harmless).await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.headers["x-tollgate-ignored-fields"], "permissions, send_invite_email");
    for (body, param) in [
        (json!({"guardrails": ["pii"]}), "guardrails"),
        (json!({"key": "sk-of-aaaaaaaaaaaaaaaa"}), "key"),
        (json!({"key": "my-own-0123456789abcdef"}), "key"),
        (json!({"allowed_routes": ["/chat/completions"]}), "allowed_routes"),
        (json!({"tpd_limit": 5}), "tpd_limit"),
        (json!({"max_budget": -1}), "max_budget"),
        (json!({"max_budget": "10"}), "max_budget"),
        (json!({"max_budget": 1e30}), "max_budget"),
        (json!({"budget_duration": "often"}), "budget_duration"),
        (json!({"duration": 30}), "duration"),
        (json!({"duration": "1y"}), "duration"),
        (json!({"rpm_limit": 0}), "rpm_limit"),
        (json!({"rpm_limit": 1.5}), "rpm_limit"),
        (json!({"models": "scripted"}), "models"),
        (json!({"metadata": []}), "metadata"),
        (json!({"metadata": {"x": "y".repeat(2_000)}}), "metadata"),
        (json!({"key_alias": "x".repeat(300)}), "alias"),
        (json!({"key_type": "root"}), "key_type"),
        (json!({"model_max_budget": {"scripted": 5}}), "model_max_budget"),
        (json!({"blocked": "yes"}), "blocked"),
    ] {
        let reply = desk.post_as(&desk.admin, "key/generate", body.clone()).await;
        let error = &reply.json()["error"];
        assert_eq!((reply.status.as_u16(), &error["param"]), (400, &json!(param)), "{body}: {error}");
        assert_eq!((&error["type"], &error["code"]), (&json!("bad_request_error"), &json!("400")));
        assert!(!error["message"].as_str().unwrap().contains("sk-of"), "what may be a secret is not repeated");
    }
    for route in ["key/update", "key/block", "key/delete", "team/update", "team/member_add", "customer/new"] {
        assert_eq!(desk.post_as(&desk.admin, route, json!({})).await.status, 400, "{route}");
        assert_eq!(desk.post_as(&desk.admin, route, json!([1])).await.status, 400, "{route}");
    }
    for route in [
        "key/info?key=key_none",
        "key/info?key=tg-none",
        "team/info?team_id=none",
        "user/info?user_id=none",
        "organization/info?organization_id=none",
        "model/info?litellm_model_id=none",
        "health?model=none",
    ] {
        let reply = desk.get_as(&desk.admin, route).await;
        assert_eq!(
            (reply.status.as_u16(), &reply.json()["error"]["type"]),
            (404, &json!("not_found_error")),
            "{route}"
        );
    }
    for route in
        ["spend/logs?start_date=soon", "global/spend/report", "key/list?page=0", "key/list?size=x", "health/services"]
    {
        assert_eq!(desk.get_as(&desk.admin, route).await.status, 400, "{route}");
    }
    assert_eq!(desk.get_as(&desk.admin, "key/generate").await.status, 405);
    assert_eq!(desk.get_as(&desk.admin, "key/nothing").await.status, 404);
}

#[tokio::test]
async fn models_and_health_are_told() {
    let desk = Desk::open().await;
    let caller = desk.world.gateway.caller();
    for route in ["model/info", "v1/model/info"] {
        let models = desk.get_as(&caller, route).await;
        let row = &models.json()["data"][0];
        assert_eq!(row["model_name"], "scripted");
        assert_eq!(row["litellm_params"]["model"], "scripted/scripted-upstream");
        assert_eq!(row["model_info"]["max_output_tokens"], 4096);
        assert!(std::str::from_utf8(&models.body).unwrap().contains(r#""input_cost_per_token":0.00000015,"#));
    }
    for probe in ["health/liveness", "health/liveliness", "health/readiness"] {
        assert_eq!(desk.get_as(&Caller::default(), probe).await.status, 200, "{probe}");
    }
    assert_eq!(desk.get_as(&Caller::default(), "health").await.status, 401);
    assert_eq!(desk.get("health/services?service=datadog").await["status"], "not_tried");
    assert_eq!(desk.get_as(&Caller::default(), "health/services?service=datadog").await.status, 401);
}

#[tokio::test]
async fn health_asks_every_account_once_at_no_charge_and_tells_what_is_wrong() {
    let world = World::with_provider(|builder, url| {
        let price = json!({"input": "0.15", "output": "0.60"});
        let at =
            |provider: &str| json!({"provider": provider, "model": "m", "price": price, "max_output_tokens": 4096});
        let wrong = json!({"kind": "openai", "base_url": url, "api_key": "sk-wrong-upstream-key"});
        let nobody = json!({"kind": "openai", "base_url": "http://127.0.0.1:1", "api_key": "sk-other-upstream-key"});
        builder
            .set("/providers/wrong", wrong)
            .set("/providers/nobody", nobody)
            .deployment("again", at("scripted"))
            .deployment("refused", at("wrong"))
            .deployment("gone", at("nobody"))
    })
    .await;
    let desk = Desk::around(world);
    for caller in [Caller::default(), desk.world.gateway.caller()] {
        let reply = desk.get_as(&caller, "health").await;
        assert!([401, 403].contains(&reply.status.as_u16()), "only for those who govern the platform");
        assert_eq!(reply.json()["error"]["type"], "auth_error");
    }
    assert_eq!(desk.world.provider.listed(), 0);
    let health = desk.get("health").await;
    assert_eq!((&health["healthy_count"], &health["unhealthy_count"]), (&json!(2), &json!(2)));
    assert_eq!(desk.world.provider.listed(), 2, "two deployments of one account are asked about once");
    let names = |list: &str, field: &str| {
        health[list].as_array().unwrap().iter().map(|row| text(&row[field])).collect::<Vec<_>>()
    };
    assert_eq!(names("healthy_endpoints", "model_name"), ["again", "scripted"]);
    assert_eq!(names("unhealthy_endpoints", "model"), ["nobody/m", "wrong/m"]);
    let why = names("unhealthy_endpoints", "error");
    assert!(why[0].starts_with("connection: ") && why[1].starts_with("authentication: "), "{why:?}");
    assert!(!health.to_string().contains("upstream-key"), "{health}");
    let one = desk.get("health?model=refused").await;
    assert_eq!((&one["healthy_count"], &one["unhealthy_count"]), (&json!(0), &json!(1)));
    let one = desk.get(&format!("health?model_id={}", text(&health["healthy_endpoints"][0]["model_id"]))).await;
    assert_eq!((&one["healthy_count"], &one["unhealthy_count"]), (&json!(1), &json!(0)));
    assert_eq!(desk.world.entries().await.len(), 0, "nothing was charged");
    let records = desk.world.records().await;
    assert!(records.iter().any(|record| record.action == "model.check" && record.error_reason == 0));
}

#[tokio::test]
async fn a_key_of_ones_own_choosing_works_and_is_nobody_elses() {
    let desk = Desk::open().await;
    let own = "sk-legacy-batch-job-2024";
    let made = desk.post("key/generate", json!({"key": own, "key_alias": "legacy", "max_budget": 1})).await;
    assert_eq!((&made["key"], made["token"].as_str().unwrap().starts_with("key_")), (&json!(own), true));
    assert_eq!(desk.call(own).await.status, 200);
    assert_eq!(desk.get(&format!("key/info?key={own}")).await["info"]["key_alias"], "legacy");
    // Not twice, also when the key was given another, and not when it has ended.
    let taken = async |body: Value, route: &str, param: &str| {
        let reply = desk.post_as(&desk.admin, route, body).await;
        assert_eq!((reply.status.as_u16(), &reply.json()["error"]["type"]), (400, &json!("bad_request_error")));
        assert!(!reply.json().to_string().contains(own), "{param} is not repeated");
    };
    taken(json!({"key": own}), "key/generate", "key").await;
    let next = "sk-legacy-batch-job-2025";
    let rotated = desk.post("key/regenerate", json!({"key": own, "new_key": next})).await;
    assert_eq!(rotated["key"], next);
    assert_eq!((desk.call(own).await.status.as_u16(), desk.call(next).await.status.as_u16()), (401, 200));
    taken(json!({"key": own}), "key/generate", "key").await;
    desk.post("key/delete", json!({"keys": [next]})).await;
    taken(json!({"key": next}), "key/generate", "key").await;
    taken(json!({"key": desk.world.admin}), "key/generate", "key").await;
    let other = desk.key(json!({})).await;
    taken(json!({"key": other, "new_key": next}), "key/regenerate", "new_key").await;
    // Weak ones, and those who only govern a team, are refused.
    let reply = desk.post_as(&desk.admin, "key/regenerate", json!({"key": other, "new_key": "sk-1234"})).await;
    assert_eq!((reply.status.as_u16(), &reply.json()["error"]["param"]), (400, &json!("new_key")));
    desk.post("team/new", json!({"team_id": "blue"})).await;
    let governs = desk.key(json!({"team_id": "blue", "key_type": "management"})).await;
    let strong = json!({"team_id": "blue", "key": "sk-0123456789-strong"});
    let reply = desk.post_as(&Caller::bearer(&governs), "key/generate", strong).await;
    assert_eq!((reply.status.as_u16(), &reply.json()["error"]["type"]), (403, &json!("auth_error")));
    // Nothing keeps it in clear.
    let records = desk.world.records().await;
    assert!(!format!("{records:?}").contains("legacy-batch-job"), "a secret stands in a record");
}

#[tokio::test]
async fn what_was_made_survives_a_crash() {
    let mut desk = Desk::open().await;
    if std::env::var("TOLLGATE_SHIM").is_ok() {
        return; // the shim keeps nothing
    }
    desk.post("team/new", json!({"team_id": "blue", "max_budget": 3, "budget_duration": "7d"})).await;
    let key = desk.key(json!({"team_id": "blue", "metadata": {"n": 5}})).await;
    desk.world.gateway.kill9();
    desk.world.gateway.restart().await;
    tokio::time::sleep(Duration::from_millis(1)).await;
    let info = desk.get(&format!("key/info?key={key}")).await;
    assert_eq!((&info["info"]["team_id"], &info["info"]["metadata"]), (&json!("blue"), &json!({"n": 5})));
    let team = desk.get("team/info?team_id=blue").await;
    let told = (&team["team_info"]["max_budget"], &team["team_info"]["budget_duration"]);
    assert_eq!(told, (&json!(3.0), &json!("7d")));
}

#[tokio::test]
async fn budgets_are_made_along_with_a_key_or_neither_is() {
    let desk = Desk::open().await;
    let keys = desk.world.admin().await.keys();
    let before = keys.clone().list_keys(v1::ListKeysRequest::default()).await.unwrap().into_inner().keys.len();
    let wrong = v1::Budget { limit_nano_usd: -1, ..Default::default() };
    let asked = v1::CreateKeyRequest { budgets: vec![wrong], ..Default::default() };
    keys.clone().create_key(asked).await.unwrap_err();
    let after = keys.clone().list_keys(v1::ListKeysRequest::default()).await.unwrap().into_inner().keys.len();
    assert_eq!(before, after);
    let (hard, of_model) = (
        v1::Budget { limit_nano_usd: 7, ..Default::default() },
        v1::BudgetScope { model: "scripted".into(), id: "key_of_somebody_else".into(), ..Default::default() },
    );
    let of_model = v1::Budget { scope: Some(of_model), limit_nano_usd: 8, ..Default::default() };
    let asked = v1::CreateKeyRequest { budgets: vec![hard, of_model], budget_nano_usd: Some(6), ..Default::default() };
    let made = keys.clone().create_key(asked).await.unwrap().into_inner();
    let id = made.key.unwrap().id;
    let scope = v1::BudgetScope { kind: v1::ScopeKind::Key as i32, id: id.clone(), ..Default::default() };
    let asked = v1::ListBudgetsRequest { scope: Some(scope), ..Default::default() };
    let budgets = desk.world.admin().await.budgets().list_budgets(asked).await.unwrap().into_inner().budgets;
    assert_eq!(budgets.iter().map(|b| b.limit_nano_usd).collect::<Vec<_>>(), [6, 7, 8]);
    assert_eq!(budgets[0].id, made.budget_id);
    // A secret finds its key, whoever may see it, and nothing for others.
    let find = v1::GetKeyRequest { secret: made.secret.clone(), ..Default::default() };
    let found = keys.clone().get_key(find.clone()).await.unwrap().into_inner().key.unwrap();
    assert_eq!(found.id, id);
    let status = desk.world.caller().await.keys().get_key(find).await.unwrap_err();
    assert_eq!(tollgate_client::reason(&status), Some(v1::ErrorReason::ResourceNotFound));
    assert!(!format!("{status:?}").contains(&made.secret));
}
