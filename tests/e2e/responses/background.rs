//! Responses that are made while nobody waits: read later, followed, ended, and lost with their maker.

use serde_json::{Value, json};
use tollgate_services::Postgres;
use tollgate_tests::{
    provider::{Outcome, ScriptedProvider, Step},
    support::{Gateway, http::Caller, keys::virtual_key},
};

use super::{MODELS, body, check_order, made, post, text, world, world_with};
use crate::support::{Shim, eventually};

/// Four words, each a chunk of its own.
const WORDS: &str = "one two three four";

fn in_background(model: &str, more: Value) -> Value {
    let mut body = body(model, more);
    body["background"] = true.into();
    body
}

fn url_of(gateway: &Gateway, response: &Value) -> String {
    gateway.v1(&format!("responses/{}", response["id"].as_str().unwrap()))
}

/// The response, once it has one of these states.
async fn once(caller: &Caller, url: &str, states: &[&str]) -> Value {
    let mut response = Value::Null;
    eventually(&format!("{states:?}"), async || {
        response = caller.get(url).await.unwrap().json();
        states.contains(&response["status"].as_str().unwrap_or_default())
    })
    .await;
    response
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_is_made_while_nobody_waits() {
    let world = world().await;
    let caller = world.gateway.caller();
    for model in MODELS {
        world.provider.script("*", [Step::text(WORDS)]);
        let queued = made(&world, &in_background(model, json!({"metadata": {"trip": "7"}}))).await;
        assert_eq!((&queued["status"], &queued["background"]), (&json!("queued"), &json!(true)), "{model}");
        assert_eq!((&queued["output"], &queued["store"]), (&json!([]), &json!(true)));
        let url = url_of(&world.gateway, &queued);
        let response = once(&caller, &url, &["completed"]).await;
        assert_eq!(text(&response), WORDS, "{model}");
        for same in ["id", "created_at", "background", "store", "object"] {
            assert_eq!(response[same], queued[same], "{model}: {same}");
        }
        assert!(response["usage"]["output_tokens"].as_u64().unwrap() > 0, "{model}: {response}");
        let sent = world.provider.log().last().unwrap().body.unwrap();
        assert_eq!(sent.get("background"), None, "{model}: the gateway waits in the caller's stead");
        let items = caller.get(&format!("{url}/input_items")).await.unwrap().json();
        assert_eq!(items["data"][0]["content"][0]["text"], "Say hello");
        // It is gone on from like any other.
        made(&world, &body(model, json!({"previous_response_id": response["id"]}))).await;
        let sent = world.provider.log().last().unwrap().body.unwrap().to_string();
        assert!(sent.contains(WORDS), "{model}: {sent}");
    }
    let entries = world.entries().await;
    assert_eq!(entries.len(), 2 * MODELS.len(), "each call is booked once");
    assert!(entries.iter().all(|entry| entry.outcome == "complete"));
    assert_eq!(world.budget().await.held_nano_usd, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_begins_one_is_told_the_id_that_it_is_booked_under() {
    let world = world().await;
    let (admin, root) = (Caller::bearer(&world.admin), world.v1("").trim_end_matches("/v1/").to_owned());
    for (n, stream) in [false, true].into_iter().enumerate() {
        let begun = post(&world, &in_background("gpt", json!({"stream": stream}))).await;
        assert_eq!(begun.status, 200);
        eventually("it is settled", async || world.entries().await.len() == n + 1).await;
        let booked = world.entries().await[n].call_id.clone();
        for name in ["x-request-id", "x-tollgate-request-id", "x-litellm-call-id"] {
            assert_eq!(begun.header(name), booked, "{name}, stream: {stream}");
        }
        let id = begun.header("x-litellm-call-id");
        let rows = admin.get(&format!("{root}/spend/logs?request_id={id}")).await.unwrap().json();
        assert_eq!((&rows[0]["request_id"], &rows[1]), (&json!(id), &Value::Null), "stream: {stream}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_admitted_is_refused_before_it_begins() {
    let world = world().await;
    for (more, status, param) in [
        (json!({"model": "nowhere"}), 404, "model"),
        (json!({"store": false}), 400, "store"),
        (json!({"temperature": 3}), 400, "temperature"),
        (json!({"background": "yes"}), 400, "background"),
        (json!({"previous_response_id": "resp_none"}), 404, "previous_response_id"),
    ] {
        let mut asked = in_background("gpt", json!({}));
        asked.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let reply = post(&world, &asked).await;
        assert_eq!((reply.status.as_u16(), &reply.json()["error"]["param"]), (status, &json!(param)), "{more}");
    }
    let stranger = Caller::bearer(virtual_key());
    let reply = stranger.post(&world.v1("responses"), &in_background("gpt", json!({}))).await.unwrap();
    assert_eq!(reply.status, 401);
    // A repetition under the same key is asked anew where the first was refused.
    let caller = world.gateway.caller().with("idempotency-key", "again");
    let unknown = in_background("nowhere", json!({}));
    for _ in 0..2 {
        assert_eq!(caller.post(&world.v1("responses"), &unknown).await.unwrap().status, 404);
    }
    assert!(world.provider.log().records().is_empty());
    let never = world_with(json!({"retention": "0s"})).await;
    let reply = post(&never, &in_background("gpt", json!({}))).await;
    assert_eq!((reply.status.as_u16(), &reply.json()["error"]["param"]), (400, &json!("background")));
    assert!(never.provider.log().records().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_events_are_read_from_any_of_them_on() {
    let world = world().await;
    let caller = world.gateway.caller();
    for model in ["gpt", "native"] {
        world.provider.script("*", [Step::text(WORDS).every_ms(50)]);
        let asked = in_background(model, json!({"stream": true}));
        let mut stream = caller.stream(&world.v1("responses"), &asked).await.unwrap();
        assert_eq!(stream.status, 200);
        let first = stream.next().await.unwrap().unwrap().json();
        assert_eq!((&first["type"], &first["response"]["status"]), (&json!("response.created"), &json!("queued")));
        drop(stream); // hanging up ends nothing
        let url = url_of(&world.gateway, &first["response"]);
        // As it is made, and again when it is there.
        let (live, ended) = caller.follow(&format!("{url}?stream=true")).await.unwrap().rest().await;
        ended.unwrap();
        let response = once(&caller, &url, &["completed"]).await;
        let (again, _) = caller.follow(&format!("{url}?stream=true")).await.unwrap().rest().await;
        check_order(&live);
        let data = |events: &[tollgate_tests::support::http::Event]| -> Vec<String> {
            events.iter().map(|event| event.data.clone()).collect()
        };
        assert_eq!(data(&again), data(&live), "{model}");
        let kinds: Vec<_> = live.iter().take(3).map(|event| event.name.clone().unwrap()).collect();
        assert_eq!(kinds, ["response.created", "response.queued", "response.in_progress"], "{model}");
        let last = live.last().unwrap().json();
        assert_eq!((&last["type"], &last["response"]), (&json!("response.completed"), &response), "{model}");
        let (rest, _) = caller.follow(&format!("{url}?stream=true&starting_after=4")).await.unwrap().rest().await;
        assert_eq!(data(&rest), data(&live[5..]), "{model}");
        for query in ["stream=true&starting_after=x", "stream=true&starting_after=-1", "starting_after=x"] {
            let reply = caller.get(&format!("{url}?{query}")).await.unwrap();
            assert_eq!((reply.status.as_u16(), &reply.json()["error"]["param"]), (400, &json!("starting_after")));
        }
    }
    let whole = made(&world, &body("gpt", json!({}))).await;
    let reply = caller.get(&format!("{}?stream=true", url_of(&world.gateway, &whole))).await.unwrap();
    assert_eq!((reply.status.as_u16(), &reply.json()["error"]["param"]), (400, &json!("stream")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_response_has_what_was_produced_and_that_is_settled() {
    let world = world().await;
    let caller = world.gateway.caller();
    for (n, model) in MODELS.into_iter().enumerate() {
        world.provider.script("*", [Step::text(WORDS).then_stalls(2)]);
        let queued = made(&world, &in_background(model, json!({}))).await;
        let url = url_of(&world.gateway, &queued);
        once(&caller, &url, &["in_progress"]).await;
        let early = post(&world, &body(model, json!({"previous_response_id": queued["id"]}))).await;
        assert_eq!((early.status.as_u16(), &early.json()["error"]["param"]), (400, &json!("previous_response_id")));
        let cancelled = caller.post(&format!("{url}/cancel"), &json!({})).await.unwrap();
        assert_eq!((cancelled.status.as_u16(), &cancelled.json()["status"]), (200, &json!("cancelled")), "{model}");
        let cancelled = cancelled.json();
        if model != "native" {
            assert!(text(&cancelled).starts_with("one"), "{model}: {cancelled}");
            assert_eq!(cancelled["output"][0]["status"], "incomplete");
        }
        assert_eq!(caller.get(&url).await.unwrap().json(), cancelled);
        assert_eq!(caller.post(&format!("{url}/cancel"), &json!({})).await.unwrap().json(), cancelled, "twice is once");
        let (events, _) = caller.follow(&format!("{url}?stream=true")).await.unwrap().rest().await;
        check_order(&events);
        assert_eq!(events.last().unwrap().json()["response"], cancelled, "{model}");
        let records = world.provider.log().settled(n + 1).await;
        assert_eq!(records[n].outcome, Outcome::CutByClient, "{model}: the provider's call ends");
        eventually("it is settled", async || world.entries().await.len() == n + 1).await;
    }
    let entries = world.entries().await;
    assert!(entries.iter().all(|entry| entry.outcome == "cancelled" && entry.cost_nano_usd > 0), "{entries:?}");
    assert_eq!(world.budget().await.held_nano_usd, 0);
    let records = world.records().await;
    assert_eq!(records.iter().filter(|record| record.action == "response.cancel").count(), MODELS.len());
}

/// Deletes a response while it is followed: its followers hear of it.
async fn delete_while_it_is_followed(caller: &Caller, url: &str) {
    let mut stream = caller.follow(&format!("{url}?stream=true")).await.unwrap();
    let mut events = vec![stream.next().await.unwrap().unwrap()];
    assert_eq!(caller.delete(url).await.unwrap().status, 200);
    let (rest, ended) = stream.rest().await;
    ended.unwrap();
    events.extend(rest);
    check_order(&events);
    let last = events.last().unwrap().json();
    assert_eq!((&last["type"], &last["code"]), (&json!("error"), &json!("not_found")), "{last}");
    assert_eq!(last["param"], "response_id");
    assert!(url.ends_with(last["message"].as_str().unwrap().split('"').nth(1).unwrap()), "{last}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_response_that_is_deleted_while_it_is_followed_ends_with_an_error() {
    let world = world().await;
    world.provider.script("*", [Step::text(WORDS).then_stalls(2)]);
    let queued = made(&world, &in_background("gpt", json!({}))).await;
    let url = url_of(&world.gateway, &queued);
    once(&world.gateway.caller(), &url, &["in_progress"]).await;
    delete_while_it_is_followed(&world.gateway.caller(), &url).await;
    assert_eq!(world.provider.log().settled(1).await[0].outcome, Outcome::CutByClient, "nobody can read it any more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_fails_says_so_in_its_place() {
    let world = world().await;
    let caller = world.gateway.caller();
    world.provider.always("*", [Step::fails(500)]);
    let queued = made(&world, &in_background("gpt", json!({}))).await;
    let url = url_of(&world.gateway, &queued);
    let failed = once(&caller, &url, &["failed"]).await;
    assert!(failed["error"]["code"].is_string() && failed["error"]["message"].is_string(), "{failed}");
    let (events, _) = caller.follow(&format!("{url}?stream=true")).await.unwrap().rest().await;
    check_order(&events);
    assert_eq!(events.last().unwrap().json()["response"], failed);
    assert_eq!(world.budget().await.held_nano_usd, 0);
    assert!(world.entries().await.is_empty(), "what was refused costs nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_idempotency_key_begins_one_response() {
    let world = world().await;
    let caller = world.gateway.caller().with("idempotency-key", "once");
    let asked = in_background("gpt", json!({}));
    let first = caller.post(&world.v1("responses"), &asked).await.unwrap().json();
    let again = caller.post(&world.v1("responses"), &asked).await.unwrap().json();
    assert_eq!(again["id"], first["id"]);
    once(&world.gateway.caller(), &url_of(&world.gateway, &first), &["completed"]).await;
    let later = caller.post(&world.v1("responses"), &asked).await.unwrap().json();
    assert_eq!((&later["id"], &later["status"]), (&first["id"], &json!("completed")));
    assert_eq!(world.provider.log().records().len(), 1);
    assert_eq!(world.entries().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_stops_says_which_answers_it_cut_short() {
    // Who makes the answer must be who stops.
    if std::env::var("TOLLGATE_SHIM").is_ok() {
        return;
    }
    let mut world = super::world_of(|builder| builder.set("/drain_timeout", "1s")).await;
    world.provider.script("*", [Step::text(WORDS).then_stalls(2)]);
    let queued = made(&world, &in_background("gpt", json!({}))).await;
    once(&world.gateway.caller(), &url_of(&world.gateway, &queued), &["in_progress"]).await;
    world.gateway.sigterm(std::time::Duration::from_secs(10)).await.unwrap();
    world.gateway.restart().await;
    let failed = world.gateway.caller().get(&url_of(&world.gateway, &queued)).await.unwrap().json();
    assert_eq!((&failed["status"], &failed["error"]["code"]), (&json!("failed"), &json!("server_error")));
    assert!(failed["error"]["message"].as_str().unwrap().contains("stopped"), "{failed}");
    assert!(text(&failed).starts_with("one"));
    assert_eq!(world.entries().await.len(), 1, "what was produced is settled");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shim_that_stops_says_so_too_whatever_streams_are_open() {
    let world = world().await;
    let mut shim = Shim::with(&world.gateway, &["--drain-timeout-seconds", "1"]).await;
    let (caller, url) = (world.gateway.caller(), format!("{}/v1/responses", shim.url));
    world.provider.always("*", [Step::text(WORDS).then_stalls(2)]);
    let queued = caller.post(&url, &in_background("gpt", json!({}))).await.unwrap().json();
    once(&caller, &url_of(&world.gateway, &queued), &["in_progress"]).await;
    let mut open = caller.stream(&url, &body("gpt", json!({"stream": true}))).await.unwrap();
    open.next().await.unwrap().unwrap();
    let ended = shim.sigterm(std::time::Duration::from_secs(10)).await;
    assert!(ended.success(), "{ended}");
    let failed = caller.get(&url_of(&world.gateway, &queued)).await.unwrap().json();
    assert_eq!((&failed["status"], &failed["error"]["code"]), (&json!("failed"), &json!("server_error")));
    assert!(failed["error"]["message"].as_str().unwrap().contains("stopped"), "{failed}");
    eventually("both are settled", async || world.entries().await.len() == 2).await;
}

/// Two replicas over one PostgreSQL.
struct Two {
    postgres: Postgres,
    database: String,
    provider: ScriptedProvider,
    replicas: Vec<Gateway>,
    caller: Caller,
}

impl Two {
    async fn start() -> Self {
        let postgres = Postgres::start();
        let provider = ScriptedProvider::start().await;
        let (database, secret) = (postgres.database(), virtual_key());
        let mut replicas = Vec::new();
        for name in ["r1", "r2"] {
            let store = json!({"postgres_url": database.url, "replica_id": name,
                               "secret": "a secret that all replicas of this test share"});
            let key = json!({"name": "shared", "secret": secret, "models": ["*"]});
            replicas.push(Gateway::over(&provider).key(key).set("/store", store).start().await);
        }
        let database = database.name;
        Self { postgres, database, provider, replicas, caller: Caller::bearer(&secret) }
    }

    /// One that the first replica makes, and does not come to an end with; its place at the second.
    async fn begun(&self) -> String {
        self.provider.script("*", [Step::text(WORDS).then_stalls(2)]);
        let asked = in_background("scripted", json!({}));
        let queued = self.caller.post(&self.replicas[0].v1("responses"), &asked).await.unwrap().json();
        let url = url_of(&self.replicas[1], &queued);
        once(&self.caller, &url, &["in_progress"]).await;
        url
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_replica_follows_and_ends_it() {
    let two = Two::start().await;
    let url = two.begun().await;
    let mut stream = two.caller.follow(&format!("{url}?stream=true")).await.unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap().json()["type"], "response.created");
    let cancelled = two.caller.post(&format!("{url}/cancel"), &json!({})).await.unwrap().json();
    assert_eq!(cancelled["status"], "cancelled", "{cancelled}");
    assert!(text(&cancelled).starts_with("one"));
    let (events, ended) = stream.rest().await;
    ended.unwrap();
    assert_eq!(events.last().unwrap().json()["response"], cancelled);
    assert_eq!(two.provider.log().settled(1).await[0].outcome, Outcome::CutByClient);
    delete_while_it_is_followed(&two.caller, &two.begun().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_response_whose_maker_died_has_failed() {
    let mut two = Two::start().await;
    let url = two.begun().await;
    two.replicas[0].kill9();
    assert_eq!(two.caller.get(&url).await.unwrap().json()["status"], "in_progress", "it may yet be heard of");
    // As if the time were over within which it has to be.
    two.postgres.sql(&two.database, "UPDATE response SET lease_us = 1").unwrap();
    let failed = two.caller.get(&url).await.unwrap().json();
    assert_eq!((&failed["status"], &failed["error"]["code"]), (&json!("failed"), &json!("server_error")));
    assert!(failed["error"]["message"].as_str().unwrap().contains("not been heard of"), "{failed}");
    let (events, ended) = two.caller.follow(&format!("{url}?stream=true")).await.unwrap().rest().await;
    ended.unwrap();
    check_order(&events);
    assert_eq!(events.last().unwrap().json()["response"], failed);
    let cancelled = two.caller.post(&format!("{url}/cancel"), &json!({})).await.unwrap().json();
    assert_eq!(cancelled, failed, "there is nothing left to end");
    assert_eq!(two.caller.delete(&url).await.unwrap().status, 200);
}
