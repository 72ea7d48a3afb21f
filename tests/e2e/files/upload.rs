//! What becomes of a file while it is passed on.

use std::time::Duration;

use bytes::Bytes;
use futures::{SinkExt, channel::mpsc};
use serde_json::json;
use tollgate_client::v1::{AuditRecord, CreateFileRequest, ErrorReason, FileHeader, create_file_request::Part};
use tollgate_tests::support::{http::Caller, keys::virtual_key};

use super::{line, lines, ok, quick, uploaded, world};
use crate::support::{World, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_goes_through_byte_for_byte_and_is_found_again() {
    let world = world().await;
    let caller = world.gateway.caller();
    let bytes = "line one\r\nline two \u{1f600}".repeat(50_000);
    // SDKs write a form in the order in which their callers name its fields.
    for fields in [[("purpose", "user_data"), ("file", "a.txt")], [("file", "a.txt"), ("purpose", "user_data")]] {
        let file = ok(caller.upload(&world.v1("files"), &fields, &bytes).await.unwrap());
        assert_eq!(
            (&file["object"], &file["filename"], &file["bytes"]),
            (&json!("file"), &json!("a.txt"), &json!(bytes.len()))
        );
        let id = file["id"].as_str().unwrap().to_owned();
        assert_eq!(ok(caller.get(&world.v1(&format!("files/{id}"))).await.unwrap()), file);
        let content = caller.get(&world.v1(&format!("files/{id}/content"))).await.unwrap();
        assert_eq!(content.body, bytes.as_bytes());
        let deleted = ok(caller.delete(&world.v1(&format!("files/{id}"))).await.unwrap());
        assert_eq!(deleted, json!({"id": id, "object": "file", "deleted": true}));
        assert_eq!(caller.get(&world.v1(&format!("files/{id}"))).await.unwrap().status, 404);
    }
    assert!(world.provider.files().is_empty(), "nothing stays at the provider");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_goes_to_the_one_model_that_its_form_names_in_our_words_or_litellms() {
    let world = world().await;
    let caller = world.gateway.caller();
    for name in ["model", "target_model_names"] {
        let naming = async |model: &str| {
            let fields = [("purpose", "user_data"), (name, model), ("file", "a.txt")];
            caller.upload(&world.v1("files"), &fields, "x").await.unwrap()
        };
        assert_eq!(naming("bulk").await.status, 200, "{name}");
        let unknown = naming("nobody").await;
        assert_eq!((unknown.status.as_u16(), &unknown.json()["error"]["code"]), (404, &json!("model_not_found")));
        let two = naming("bulk,scripted").await;
        assert_eq!((two.status.as_u16(), &two.json()["error"]["param"]), (400, &json!(name)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_come_in_pages_of_one_purpose() {
    let world = world().await;
    let caller = world.gateway.caller();
    let mut ids = Vec::new();
    for purpose in ["user_data", "vision", "user_data"] {
        let fields = [("purpose", purpose), ("file", "a")];
        ids.push(ok(caller.upload(&world.v1("files"), &fields, "x").await.unwrap())["id"].as_str().unwrap().to_owned());
    }
    let list = async |query: &str| {
        let told = ok(caller.get(&world.v1(&format!("files?{query}"))).await.unwrap());
        let ids = told["data"].as_array().unwrap().iter().map(|file| file["id"].as_str().unwrap().to_owned());
        (ids.collect::<Vec<_>>(), told["has_more"] == true)
    };
    assert_eq!(list("limit=2").await, (vec![ids[2].clone(), ids[1].clone()], true));
    assert_eq!(list(&format!("limit=2&after={}", ids[1])).await, (vec![ids[0].clone()], false));
    assert_eq!(list("order=asc&purpose=user_data").await, (vec![ids[0].clone(), ids[2].clone()], false));
    for wrong in ["limit=0", "limit=x", "order=up", "purpose=%00", "after=%00"] {
        let refused = caller.get(&world.v1(&format!("files?{wrong}"))).await.unwrap();
        assert_eq!(refused.status, 400, "{wrong}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_that_may_not_be_refuses_the_file_and_is_named() {
    let narrow = virtual_key();
    let world =
        World::with(|builder| quick(builder).key(json!({"name": "narrow", "secret": narrow, "models": ["scripted"]})))
            .await;
    let caller = world.gateway.caller();
    let with = |bad: String| lines(2, "fine") + &bad + "\n" + &lines(1, "fine");
    let cases = [
        (with("{".into()), "file[3]"),
        (with(line(3, "scripted", "x")), "file[3].body.model"),
        (with(line(3, "bulk", "x").replace("chat/completions", "embeddings")), "file[3].url"),
        (with(line(3, "bulk", "x").replace("POST", "GET")), "file[3].method"),
        (String::from("\n \n"), "file"),
    ];
    for (input, param) in cases {
        let refused = uploaded(&world, &caller, &input).await;
        let error = &refused.json()["error"];
        assert_eq!((refused.status.as_u16(), error["param"].as_str()), (400, Some(param)), "{error}");
    }
    let unknown = uploaded(&world, &caller, &line(0, "nobody", "x")).await;
    assert_eq!((unknown.status.as_u16(), &unknown.json()["error"]["code"]), (404, &json!("model_not_found")));
    let denied = uploaded(&world, &Caller::bearer(&narrow), &lines(1, "x")).await;
    assert_eq!((denied.status.as_u16(), &denied.json()["error"]["code"]), (403, &json!("model_not_allowed")));
    assert!(world.provider.files().is_empty(), "no part of any of them is kept");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_without_an_output_limit_gets_one_where_a_hard_budget_applies() {
    let free = virtual_key();
    let world =
        World::with(|builder| quick(builder).key(json!({"name": "free", "secret": free, "models": ["*"]}))).await;
    let unlimited = line(0, "bulk", "hi").replace(r#","max_completion_tokens":100"#, "");
    ok(uploaded(&world, &world.gateway.caller(), &unlimited).await);
    ok(uploaded(&world, &Caller::bearer(&free), &unlimited).await);
    let sent = world.provider.files();
    assert!(sent[0].contains(r#""max_completion_tokens":4096"#), "{}", sent[0]);
    assert_eq!(sent[1].trim_end(), unlimited.replace("bulk", "upstream-name"), "nothing else is changed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_beyond_the_limit_is_refused_wherever_its_purpose_stands() {
    let world = World::with(|builder| quick(builder).set("/batches", json!({"max_file_bytes": 1_000}))).await;
    for fields in [[("purpose", "user_data"), ("file", "a")], [("file", "a"), ("purpose", "user_data")]] {
        let refused = world.gateway.caller().upload(&world.v1("files"), &fields, &"x".repeat(1_001)).await.unwrap();
        assert_eq!(refused.status, 413);
    }
    assert!(world.provider.files().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_upload_is_told_what_one_is() {
    let world = world().await;
    let caller = world.gateway.caller();
    assert_eq!(caller.post(&world.v1("files"), &json!({})).await.unwrap().json()["error"]["param"], "content-type");
    let cases: [(&[(&str, &str)], &str); 3] = [
        (&[("purpose", "user_data")], "file"),
        (&[("file", "a")], "purpose"),
        (&[("purpose", "user_data"), ("file", "a"), ("expires_after[seconds]", "9")], "expires_after[seconds]"),
    ];
    for (fields, param) in cases {
        let refused = caller.upload(&world.v1("files"), fields, "x").await.unwrap();
        assert_eq!((refused.status.as_u16(), refused.json()["error"]["param"].as_str()), (400, Some(param)));
    }
    assert!(world.provider.files().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_a_file_whose_caller_goes_away_is_no_file() {
    let world = world().await;
    let has_begun = async |purpose: &str, before: u64| {
        let what = format!("the provider reads the half of {purpose}");
        eventually(&what, async || world.provider.received() > before + HALF as u64 / 2).await;
    };
    for (purpose, half) in halves() {
        let (mut pieces, incoming) = mpsc::channel::<Bytes>(1);
        let (url, caller, before) = (world.v1("files"), world.gateway.caller(), world.provider.received());
        let asking = tokio::spawn(async move { caller.form(&url, incoming).await });
        pieces.send(begun(purpose, &half).into()).await.unwrap();
        has_begun(purpose, before).await;
        asking.abort();
    }
    let mut unended = Vec::new();
    for (purpose, half) in halves() {
        let (mut messages, incoming) = mpsc::channel(1);
        let (client, before) = (world.caller().await, world.provider.received());
        let asking = tokio::spawn(async move { client.files().create_file(incoming).await });
        let header = FileHeader { filename: "half".into(), purpose: purpose.into(), ..FileHeader::default() };
        messages.send(CreateFileRequest { part: Some(Part::Header(header)) }).await.unwrap();
        messages.send(CreateFileRequest { part: Some(Part::Chunk(half.into())) }).await.unwrap();
        has_begun(purpose, before).await;
        asking.abort();
        // Its end would be the file's.
        unended.push(messages);
    }
    nothing_is_kept_of(4, &world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_whose_deadline_passes_is_not_kept_where_its_rest_comes_all_the_same() {
    let world = world().await;
    for (purpose, half) in [("user_data", "x".to_owned()), ("batch", lines(1, "half"))] {
        let (mut pieces, incoming) = mpsc::channel::<Bytes>(1);
        let (url, caller) = (world.v1("files"), world.gateway.caller().with("x-request-timeout", "0.5"));
        let asking = tokio::spawn(async move { caller.form(&url, incoming).await });
        pieces.send(begun(purpose, &half).into()).await.unwrap();
        // Well beyond the deadline.
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        pieces.send(format!("{half}\r\n--BOUNDARY--\r\n").into()).await.unwrap();
        drop(pieces);
        assert_eq!(asking.await.unwrap().unwrap().status, 504, "{purpose}");
    }
    nothing_is_kept_of(2, &world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_whose_deadline_passes_is_answered_where_its_rest_never_comes() {
    let world = world().await;
    for (purpose, half) in [("user_data", "x".to_owned()), ("batch", lines(1, "half"))] {
        let (mut pieces, incoming) = mpsc::channel::<Bytes>(1);
        let (url, caller) = (world.v1("files"), world.gateway.caller().with("x-request-timeout", "0.5"));
        pieces.send(begun(purpose, &half).into()).await.unwrap();
        let answered = tokio::time::timeout(Duration::from_secs(15), caller.form(&url, incoming)).await;
        assert_eq!(answered.expect("the answer waits for no rest").unwrap().status, 504, "{purpose}");
        // Its end would be the form's.
        drop(pieces);
    }
    nothing_is_kept_of(2, &world).await;
}

/// A form up to the first half of its file.
fn begun(purpose: &str, half: &str) -> String {
    format!(
        "--BOUNDARY\r\ncontent-disposition: form-data; name=\"purpose\"\r\n\r\n{purpose}\r\n\
         --BOUNDARY\r\ncontent-disposition: form-data; name=\"file\"; filename=\"half\"\r\n\r\n{half}"
    )
}

/// So many uploads were given up: each is on record, and no more of them.
async fn nothing_is_kept_of(uploads: usize, world: &World) {
    let ends = async || {
        let records = world.records().await;
        let ends = records.iter().filter(|record| record.action == "file.create");
        ends.map(AuditRecord::error_reason).collect::<Vec<_>>()
    };
    eventually("all of them are on record", async || ends().await.len() == uploads).await;
    assert_eq!(ends().await, vec![ErrorReason::Cancelled; uploads]);
    assert!(world.provider.files().is_empty(), "nothing is at the provider");
    assert_eq!(ok(world.gateway.caller().get(&world.v1("files")).await.unwrap())["data"], json!([]));
}

/// More than what lies in buffers on the way.
const HALF: usize = 4 << 20;

/// Of each purpose the beginning of a file that would be one by itself.
fn halves() -> [(&'static str, String); 2] {
    [("user_data", "x".repeat(HALF)), ("batch", lines(HALF / 100, "half"))]
}
