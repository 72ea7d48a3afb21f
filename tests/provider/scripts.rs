//! Ways to tell the provider what to do.

use serde_json::{Value, json};
use tollgate_tests::provider::{Options, ScriptedProvider, Step};
use tollgate_tests::support::http::Caller;

use crate::{caller, chat, chat_url};

#[tokio::test]
async fn a_directive_in_the_message_counts_for_its_call_only() {
    let provider = ScriptedProvider::start().await;

    let told = caller().post(&chat_url(&provider), &chat(r#"go [[script {"status":503}]]"#, json!({}))).await.unwrap();
    let wrong = caller().post(&chat_url(&provider), &chat("[[script {oops}]]", json!({}))).await.unwrap();
    let plain = caller().post(&chat_url(&provider), &chat("go", json!({}))).await.unwrap();

    assert_eq!(told.status, 503);
    assert_eq!(wrong.status, 400);
    assert!(wrong.json()["error"]["message"].as_str().unwrap().contains("script directive"));
    assert_eq!(plain.status, 200);
}

#[tokio::test]
async fn another_process_scripts_it_over_the_back_door() {
    let provider = ScriptedProvider::start().await;
    let control = |verb: &str| format!("{}/_control/{verb}", provider.root_url());
    let nobody = Caller::default();
    let script = json!({ "model": "m", "steps": [{ "status": 500 }, { "text": "ok" }], "repeat": true });

    assert_eq!(nobody.post(&control("script"), &script).await.unwrap().status, 200);
    assert_eq!(
        nobody.post(&control("script"), &json!({ "model": "m", "steps": [{ "stauts": 1 }] })).await.unwrap().status,
        400
    );
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(caller().post(&chat_url(&provider), &chat("hi", json!({}))).await.unwrap().status.as_u16());
    }
    assert_eq!(statuses, [500, 200, 500, 200]);

    let lines = nobody.get(&control("log")).await.unwrap();
    let lines = String::from_utf8(lines.body.to_vec()).unwrap();
    let records: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(records.len(), 4);
    assert_eq!(records[1]["outcome"], "complete");
    let stats = nobody.get(&control("stats")).await.unwrap().json();
    assert_eq!((&stats["calls"], &stats["complete"], &stats["failed"]), (&json!(4), &json!(2), &json!(2)));
    nobody.post(&control("reset"), &json!({})).await.unwrap();
    assert_eq!(nobody.get(&control("stats")).await.unwrap().json()["calls"], 0);
}

#[tokio::test]
async fn a_provider_goes_down_and_comes_back_at_the_same_address() {
    let provider = ScriptedProvider::start().await;
    let (url, listen) = (chat_url(&provider), provider.address());
    provider.script("m", [Step::default()]);

    drop(provider);
    assert!(caller().post(&url, &chat("hi", json!({}))).await.is_err());
    let _back = ScriptedProvider::start_with(Options { listen, ..Options::default() }).await.unwrap();
    assert_eq!(caller().post(&url, &chat("hi", json!({}))).await.unwrap().status, 200);
}
