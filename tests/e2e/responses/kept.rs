//! Conversations that the gateway keeps: gone on from, read, listed, forgotten, and nobody else's.

use serde_json::{Value, json};
use tollgate_services::Postgres;
use tollgate_tests::{
    provider::{ScriptedProvider, Step},
    support::{Gateway, http::Caller, keys::virtual_key},
};

use super::{body, item, made, post, text, tool, world, world_with};
use crate::support::World;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conversation_goes_on_from_what_is_kept() {
    let mut world = world().await;
    let mut last = None::<String>;
    for (n, model) in ["gpt", "claude", "native", "gemini-3-thinker", "gpt"].into_iter().enumerate() {
        let mut asked = body(model, json!({"input": format!("question {n}"), "previous_response_id": last}));
        if n == 0 {
            asked["instructions"] = "Only in the first turn.".into();
        }
        world.provider.script("*", [Step::text(format!("answer {n}"))]);
        let response = made(&world, &asked).await;
        let sent = world.provider.log().last().unwrap().body.unwrap().to_string();
        for before in 0..n {
            assert!(
                sent.contains(&format!("question {before}")) && sent.contains(&format!("answer {before}")),
                "{sent}"
            );
        }
        assert_eq!(sent.contains("Only in the first turn."), n == 0, "instructions are not carried over");
        last = response["id"].as_str().map(str::to_owned);
        if n == 2 {
            // It is on the disk, not in memory.
            world.gateway.restart().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_kept_is_read_listed_and_forgotten_by_its_key_alone() {
    let other = virtual_key();
    let world = World::with(|b| b.key(json!({"name": "other", "secret": other, "models": ["*"]}))).await;
    let input = json!([{"role": "user", "content": "one"}, {"role": "assistant", "content": "two"},
                       {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "three"}]}]);
    let response = made(&world, &body("scripted", json!({"input": input}))).await;
    let id = response["id"].as_str().unwrap();
    let url = world.v1(&format!("responses/{id}"));
    let caller = world.gateway.caller();
    assert_eq!(caller.get(&url).await.unwrap().json(), response);

    let list = caller.get(&format!("{url}/input_items?limit=2")).await.unwrap().json();
    assert_eq!((&list["object"], &list["has_more"]), (&json!("list"), &json!(true)));
    assert_eq!(list["data"][0]["content"], json!([{"type": "input_text", "text": "three"}]));
    assert_eq!(list["data"][1]["content"][0]["type"], "output_text");
    let after = list["last_id"].as_str().unwrap();
    let rest = caller.get(&format!("{url}/input_items?limit=2&after={after}")).await.unwrap().json();
    assert_eq!((rest["data"].as_array().unwrap().len(), &rest["has_more"]), (1, &json!(false)));
    let first = caller.get(&format!("{url}/input_items?order=asc&limit=1")).await.unwrap().json();
    assert_eq!(first["data"], rest["data"], "the other way round");
    for (query, param) in [("limit=0", "limit"), ("order=up", "order"), ("after=none", "after")] {
        let reply = caller.get(&format!("{url}/input_items?{query}")).await.unwrap();
        assert_eq!((reply.status.as_u16(), &reply.json()["error"]["param"]), (400, &json!(param)));
    }
    // An item can be referred to.
    let referring = json!([{"type": "item_reference", "id": response["output"][0]["id"]},
                           {"type": "item_reference", "id": after}, {"role": "user", "content": "and?"}]);
    made(&world, &body("scripted", json!({"input": referring}))).await;
    let sent = world.provider.log().last().unwrap().body.unwrap();
    assert_eq!(sent["messages"][0]["content"], text(&response));
    assert_eq!(sent["messages"][1]["content"], "two");
    assert_eq!(sent["messages"].as_array().unwrap().len(), 3);

    let unknown = json!([{"type": "item_reference", "id": "msg_none"}]);
    let reply = post(&world, &body("scripted", json!({"input": unknown}))).await;
    assert_eq!((reply.status.as_u16(), &reply.json()["error"]["param"]), (404, &json!("input[0].id")));

    let cancelled = caller.post(&format!("{url}/cancel"), &json!({})).await.unwrap();
    assert_eq!(
        (cancelled.status.as_u16(), &cancelled.json()["error"]["code"]),
        (400, &json!("response_not_cancellable"))
    );

    let strangers = [Caller::bearer(&other), Caller::bearer(&world.admin)];
    for stranger in &strangers {
        for reply in [
            stranger.get(&url).await.unwrap(),
            stranger.delete(&url).await.unwrap(),
            stranger.get(&format!("{url}/input_items")).await.unwrap(),
            stranger.post(&format!("{url}/cancel"), &json!({})).await.unwrap(),
        ] {
            assert_eq!((reply.status.as_u16(), &reply.json()["error"]["code"]), (404, &json!("not_found")));
        }
    }
    let going_on = body("scripted", json!({"previous_response_id": id}));
    let reply = strangers[0].post(&world.v1("responses"), &going_on).await.unwrap();
    assert_eq!((reply.status.as_u16(), &reply.json()["error"]["param"]), (404, &json!("previous_response_id")));

    let deleted = caller.delete(&url).await.unwrap();
    assert_eq!((deleted.status.as_u16(), &deleted.json()["deleted"]), (200, &json!(true)));
    assert_eq!(caller.get(&url).await.unwrap().status, 404);
    assert_eq!(caller.delete(&url).await.unwrap().status, 404);
    let reply = post(&world, &going_on).await;
    assert_eq!(reply.status, 404);
    assert!(reply.json()["error"]["message"].as_str().unwrap().contains(id));
    assert!(world.records().await.iter().any(|r| r.action == "response.delete" && r.subject == id));
    assert!(!world.gateway.logs().contains("three"), "what is kept is in no log");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn items_of_answers_can_be_referred_to() {
    let world = world().await;
    for model in ["claude", "native"] {
        let more = json!({"tools": [tool()], "reasoning": {"effort": "high"}, "max_output_tokens": 4_000});
        let first = made(&world, &body(model, more.clone())).await;
        let mut input = vec![json!({"role": "user", "content": "Say hello"})];
        let output = first["output"].as_array().unwrap();
        input.extend(output.iter().map(|item| json!({"type": "item_reference", "id": item["id"]})));
        let call = item(&first, "function_call");
        input.push(json!({"type": "function_call_output", "call_id": call["call_id"], "output": "fine"}));
        let mut again = body(model, more);
        again["input"] = input.into();
        made(&world, &again).await;
        let sent = world.provider.log().last().unwrap().body.unwrap().to_string();
        assert!(sent.contains("little to think about") && sent.contains("weather"), "{model}: {sent}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_kept_that_nobody_wants_kept() {
    let world = world_with(json!({"retention": "1s"})).await;
    let unkept = made(&world, &body("gpt", json!({"store": false}))).await;
    assert_eq!(unkept["store"], false);
    let caller = world.gateway.caller();
    let url = |response: &Value| world.v1(&format!("responses/{}", response["id"].as_str().unwrap()));
    assert_eq!(caller.get(&url(&unkept)).await.unwrap().status, 404);
    let kept = made(&world, &body("gpt", json!({}))).await;
    assert_eq!(caller.get(&url(&kept)).await.unwrap().status, 200);
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
    assert_eq!(caller.get(&url(&kept)).await.unwrap().status, 404, "its time is over");

    let never = world_with(json!({"retention": "0s"})).await;
    let response = made(&never, &body("gpt", json!({}))).await;
    assert_eq!(response["store"], false, "the answer says that it is not kept");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conversation_that_is_too_large_is_refused_with_the_way_out() {
    let world = world_with(json!({"max_bytes": 6_000})).await;
    let first = made(&world, &body("gpt", json!({"input": "word ".repeat(400)}))).await;
    assert_eq!(first["store"], true);
    let second =
        made(&world, &body("gpt", json!({"input": "word ".repeat(400), "previous_response_id": first["id"]}))).await;
    let reply = post(&world, &body("gpt", json!({"previous_response_id": second["id"]}))).await;
    assert_eq!((reply.status.as_u16(), &reply.json()["error"]["code"]), (413, &json!("request_too_large")));
    assert!(reply.json()["error"]["message"].as_str().unwrap().contains("responses.max_bytes"));
    let alone = made(&world, &body("gpt", json!({"input": "word ".repeat(4_000)}))).await;
    assert_eq!(alone["store"], false, "it is answered, and says that it is not kept");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_goes_on_from_what_another_one_kept() {
    let postgres = Postgres::start();
    let provider = ScriptedProvider::start().await;
    let (url, secret) = (postgres.database().url, virtual_key());
    let mut replicas = Vec::new();
    for name in ["r1", "r2"] {
        let store =
            json!({"postgres_url": url, "replica_id": name, "secret": "a secret that all replicas of this test share"});
        let key = json!({"name": "shared", "secret": secret, "models": ["*"]});
        replicas.push(Gateway::over(&provider).key(key).set("/store", store).start().await);
    }
    let caller = Caller::bearer(&secret);
    provider.script("*", [Step::text("from the first")]);
    let asked = body("scripted", json!({"input": "a question"}));
    let first = caller.post(&replicas[0].v1("responses"), &asked).await.unwrap().json();
    let url = |n: usize| replicas[n].v1(&format!("responses/{}", first["id"].as_str().unwrap()));
    assert_eq!(caller.get(&url(1)).await.unwrap().json(), first);
    let asked = body("scripted", json!({"previous_response_id": first["id"]}));
    assert_eq!(caller.post(&replicas[1].v1("responses"), &asked).await.unwrap().status, 200);
    let sent = provider.log().last().unwrap().body.unwrap();
    assert_eq!(sent["messages"][0]["content"], "a question");
    assert_eq!(sent["messages"][1]["content"], "from the first");
    assert_eq!(caller.delete(&url(1)).await.unwrap().status, 200);
    assert_eq!(caller.get(&url(0)).await.unwrap().status, 404);
}
