//! Tags on every route: where they are read, that they bind, and that no provider gets them.

use serde_json::{Value, json};
use tollgate_tests::support::http::Reply;

use crate::{
    media::{field, file, form},
    support::{World, hello},
};

/// Two deployments for everything, the second for calls with a tag; whoever ranks stands at a provider of its own.
async fn world() -> World {
    World::with_provider(|builder, url| {
        let price = json!({"input": "1", "output": "1", "per_million_characters": "15", "per_audio_second": "0.0001", "per_query": "0.002"});
        let at = |provider: &str, model: &str, tags: &[&str]| {
            json!({"provider": provider, "model": model, "price": price, "tags": tags})
        };
        builder
            .provider_of_kind("ranker", "cohere", url.trim_end_matches("/v1"))
            .provider_of_kind("claude", "anthropic", url)
            .deployment("any", at("scripted", "open", &[]))
            .deployment("any", at("scripted", "guarded", &["pii"]))
            .deployment("rank", at("ranker", "open", &[]))
            .deployment("rank", at("ranker", "guarded", &["pii"]))
            .model("claude", "claude", "claude-upstream")
            .set("/batches", json!({"poll": "50ms"}))
    })
    .await
}

fn asked(model: &str, more: Value) -> Value {
    let mut body = json!({"model": model});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

#[track_caller]
fn reached(world: &World, route: &str, reply: &Reply) -> Value {
    assert_eq!(reply.status, 200, "{route}: {}", String::from_utf8_lossy(&reply.body));
    let sent = world.provider.log().last().unwrap();
    assert_eq!(sent.model, "guarded", "{route}");
    sent.body.unwrap_or_default()
}

#[tokio::test]
async fn tags_in_a_body_bind_on_every_route_and_no_provider_gets_them() {
    let world = world().await;
    let caller = world.gateway.caller();
    let said = json!([{"role": "user", "content": "Hello"}]);
    for (route, body) in [
        ("chat/completions", asked("any", json!({"messages": said}))),
        ("completions", asked("any", json!({"prompt": "Hello"}))),
        ("responses", asked("any", json!({"input": "Hello"}))),
        ("messages", asked("any", json!({"messages": said, "max_tokens": 20}))),
        ("embeddings", asked("any", json!({"input": "Hello"}))),
        ("moderations", asked("any", json!({"input": "Hello"}))),
        ("rerank", asked("rank", json!({"query": "Hello", "documents": ["a", "b"]}))),
        ("images/generations", asked("any", json!({"prompt": "a gate"}))),
        ("audio/speech", asked("any", json!({"input": "Hello", "voice": "coral"}))),
    ] {
        let litellms = json!({"litellm_metadata": {"tags": ["pii"], "job": 1}});
        for wish in [json!({"metadata": {"tags": ["pii"]}}), json!({"tags": ["pii"]}), litellms] {
            let mut body = body.clone();
            body.as_object_mut().unwrap().extend(wish.as_object().unwrap().clone());
            let reply = caller.post(&world.v1(route), &body).await.unwrap();
            let sent = reached(&world, route, &reply);
            assert!(sent.get("tags").is_none() && sent.pointer("/metadata/tags").is_none(), "{route}: {sent}");
            assert!(sent.get("litellm_metadata").is_none(), "{route}: {sent}");
        }
    }
    let entries = world.entries().await;
    assert!(entries.iter().all(|entry| entry.tags == ["pii"]), "{entries:?}");
}

#[tokio::test]
async fn tags_in_a_form_bind_and_behind_its_file_they_are_refused() {
    let world = world().await;
    let caller = world.gateway.caller();
    let send = async |parts: &[Vec<u8>], route: &str| {
        caller.form(&world.v1(route), form(parts)).await.unwrap().whole().await.unwrap()
    };
    for name in ["tags", "tags[]", "metadata[tags][]"] {
        let parts = [field("model", "any"), field(name, "pii"), file("file", &[7; 100])];
        reached(&world, name, &send(&parts, "audio/transcriptions").await);
        let parts = [field("model", "any"), field("prompt", "red"), field(name, "pii"), file("image", &[7; 100])];
        reached(&world, name, &send(&parts, "images/edits").await);
    }
    let metadata = field("metadata", r#"{"tags":["pii"],"job":"1"}"#);
    let parts = [field("model", "any"), metadata, file("file", &[7; 100])];
    let sent = reached(&world, "metadata", &send(&parts, "audio/transcriptions").await);
    assert_eq!(sent["metadata"], r#"{"job":"1"}"#);
    let parts = [field("model", "any"), field("metadata", r#"{"tags":["pii"]}"#), file("file", &[7; 100])];
    let sent = reached(&world, "metadata", &send(&parts, "audio/transcriptions").await);
    assert!(sent.get("metadata").is_none(), "{sent}");
    let parts = [field("model", "any"), file("file", &[7; 100]), field("tags[]", "pii")];
    let refused = send(&parts, "audio/transcriptions").await;
    assert_eq!((refused.status.as_u16(), &refused.json()["error"]["param"]), (400, &json!("tags[]")));
}

#[tokio::test]
async fn tags_that_are_none_refuse_the_call_by_their_place() {
    let world = world().await;
    let caller = world.gateway.caller();
    let said = json!([{"role": "user", "content": "Hello"}]);
    for (route, body) in [
        ("chat/completions", asked("any", json!({"messages": said}))),
        ("responses", asked("any", json!({"input": "Hello"}))),
        ("messages", asked("any", json!({"messages": said, "max_tokens": 20}))),
        ("embeddings", asked("any", json!({"input": "Hello"}))),
    ] {
        let with = |wish: Value| {
            let mut body = body.clone();
            body.as_object_mut().unwrap().extend(wish.as_object().unwrap().clone());
            body
        };
        for (wish, place) in [
            (json!({"tags": ["pii", 7]}), "tags"),
            (json!({"tags": {}}), "tags"),
            (json!({"metadata": {"tags": ["pii", null]}}), "metadata.tags"),
            (json!({"metadata": {"tags": 7}}), "metadata.tags"),
        ] {
            let reply = caller.post(&world.v1(route), &with(wish)).await.unwrap();
            let error = reply.json()["error"].clone();
            assert_eq!(reply.status, 400, "{route}: {error}");
            match route {
                "messages" => assert!(error["message"].as_str().unwrap().starts_with(&format!("{place}: ")), "{error}"),
                _ => assert_eq!(error["param"], place, "{route}: {error}"),
            }
        }
    }
    let parts = [field("model", "any"), field("metadata", r#"{"tags":["pii",7]}"#), file("file", &[7; 100])];
    let url = world.v1("audio/transcriptions");
    let in_form = caller.form(&url, form(&parts)).await.unwrap().whole().await.unwrap();
    assert_eq!((in_form.status.as_u16(), &in_form.json()["error"]["param"]), (400, &json!("metadata.tags")));
    let fields = [("purpose", "batch"), ("metadata", r#"{"tags":7}"#), ("file", "input.jsonl")];
    let upload = caller.upload(&world.v1("files"), &fields, &crate::files::lines(1, "x")).await.unwrap();
    assert_eq!((upload.status.as_u16(), &upload.json()["error"]["param"]), (400, &json!("metadata.tags")));
    assert_eq!(world.provider.log().stats().calls, 0);
    let none = hello(json!({"model": "any", "tags": null, "metadata": {"tags": null}}));
    assert_eq!(caller.post(&world.v1("chat/completions"), &none).await.unwrap().status, 200);
}

#[tokio::test]
async fn every_line_of_a_header_with_tags_binds_or_is_refused() {
    let world = world().await;
    let url = world.v1("chat/completions");
    let body = hello(json!({"model": "any"}));
    for name in ["x-tollgate-tags", "x-litellm-tags"] {
        let two = world.gateway.caller().with(name, "night").with(name, "pii");
        reached(&world, name, &two.post(&url, &body).await.unwrap());
        let strange = world.gateway.caller().with(name, "p\u{ed}i").post(&url, &body).await.unwrap();
        assert_eq!((strange.status.as_u16(), &strange.json()["error"]["param"]), (400, &json!(name)));
    }
    let entries = world.entries().await;
    assert!(entries.len() == 2 && entries.iter().all(|entry| entry.tags == ["night", "pii"]), "{entries:?}");
}

#[tokio::test]
async fn a_wish_that_is_refused_has_the_callers_name_for_it() {
    let world = world().await;
    let many: Vec<_> = (0..33).map(|n| n.to_string()).collect();
    let (plain, keyed) = (world.gateway.caller(), world.gateway.caller().with("idempotency-key", "k".repeat(257)));
    for (caller, wish, name) in
        [(&plain, json!({"tags": many}), "tags"), (&keyed, json!({"max_tokens": 20}), "idempotency-key")]
    {
        for route in ["chat/completions", "messages"] {
            let mut body = hello(json!({"model": "any", "max_tokens": 20}));
            body.as_object_mut().unwrap().extend(wish.as_object().unwrap().clone());
            let reply = caller.post(&world.v1(route), &body).await.unwrap();
            let error = reply.json()["error"].clone();
            assert_eq!(reply.status, 400, "{route}: {error}");
            assert!(error["message"].as_str().unwrap().starts_with(&format!("{name}: must ")), "{route}: {error}");
            assert!(route == "messages" || error["param"] == name, "{error}");
        }
    }
}

#[tokio::test]
async fn files_lines_and_batches_have_no_more_tags_than_a_call_may() {
    let world = world().await;
    let caller = world.gateway.caller();
    let many: Vec<_> = (0..33).map(|n| n.to_string()).collect();
    let line = |tags: &Value| {
        let body = hello(json!({"model": "any", "tags": tags}));
        format!("{}\n", json!({"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": body}))
    };
    let refused = |reply: Reply, param: &str| {
        let error = &reply.json()["error"];
        assert_eq!((reply.status.as_u16(), &error["param"]), (400, &json!(param)), "{error}");
        assert!(error["message"].as_str().unwrap().contains("at most 32 tags"), "{error}");
    };
    for (tags, in_form) in [(json!(many), many.join(",")), (json!(["x".repeat(129)]), "x".repeat(129))] {
        let upload = async |named: &str, input: &str| {
            let fields = [("purpose", "batch"), ("tags", named), ("file", "input.jsonl")];
            caller.upload(&world.v1("files"), &fields, input).await.unwrap()
        };
        refused(upload(&in_form, &line(&json!([]))).await, "tags");
        refused(upload("", &line(&tags)).await, "file[1].body.tags");
        let asked = json!({"input_file_id": "file-1", "endpoint": "/v1/chat/completions", "completion_window": "24h",
                           "tags": tags});
        refused(caller.post(&world.v1("batches"), &asked).await.unwrap(), "tags");
    }
    assert!(world.provider.files().is_empty());
}

#[tokio::test]
async fn a_tagged_file_is_kept_where_its_tags_allow_or_nowhere() {
    let only = json!({"provider": "scripted", "model": "open", "price": {"input": "1", "output": "1"}});
    let world = World::with(|b| b.deployment("bulk", only).set("/routing", json!({"tags": ["pii"]}))).await;
    let (url, input) = (world.v1("files"), crate::files::lines(1, "x"));
    let fields = [("purpose", "batch"), ("file", "input.jsonl")];
    let plain = world.gateway.caller();
    assert_eq!(plain.upload(&url, &fields, &input).await.unwrap().status, 200);
    let tagged = world.gateway.caller().with("x-litellm-tags", "pii");
    let refused = tagged.upload(&url, &fields, &input).await.unwrap();
    assert_eq!((refused.status.as_u16(), &refused.json()["error"]["code"]), (400, &json!("no_route")));
    let named = [("purpose", "batch"), ("tags", "pii"), ("file", "input.jsonl")];
    let refused = plain.upload(&url, &named, &input).await.unwrap();
    assert_eq!((refused.status.as_u16(), &refused.json()["error"]["code"]), (400, &json!("no_route")));
    assert_eq!(world.provider.files().len(), 1);
}

#[tokio::test]
async fn tags_in_a_line_of_a_batch_bind_and_no_provider_gets_them() {
    let world = world().await;
    let caller = world.gateway.caller();
    let line = |more: Value| {
        let mut body = hello(json!({"model": "any", "fallbacks": ["claude"]}));
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let line = json!({"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": body});
        format!("{line}\n")
    };
    let url = world.v1("files");
    for (wish, param) in [
        (json!({"metadata": {"tags": ["pii"]}}), "file[2].body.metadata.tags"),
        (json!({"tags": "night, pii"}), "file[2].body.tags"),
        (json!({"tags": ["night"], "metadata": {"tags": ["pii"]}}), "file[2].body.metadata.tags"),
    ] {
        let input = line(json!({"tags": ["night"]})) + &line(wish);
        let refused = caller.upload(&url, &[("purpose", "batch"), ("file", "input.jsonl")], &input).await.unwrap();
        assert_eq!((refused.status.as_u16(), &refused.json()["error"]["param"]), (400, &json!(param)));
    }
    assert!(world.provider.files().is_empty(), "no part of any of them is kept");
    let input = line(json!({"metadata": {"tags": ["pii"], "job": "1"}, "tags": ["night"], "drop_params": true}));
    let fields = [("purpose", "batch"), ("tags", "pii"), ("file", "input.jsonl")];
    let kept = caller.upload(&url, &fields, &input).await.unwrap();
    assert_eq!(kept.status, 200, "{}", kept.json());
    let sent = world.provider.files().concat();
    assert!(sent.contains(r#""model":"guarded""#) && sent.contains(r#""metadata":{"job":"1"}"#), "{sent}");
    assert!(["tags", "fallbacks", "drop_params"].iter().all(|member| !sent.contains(member)), "{sent}");
}

#[tokio::test]
async fn a_label_is_no_parameter_that_another_dialect_could_lack() {
    let world = world().await;
    let body = hello(json!({"model": "claude", "metadata": {"tags": ["batch-job"]}}));
    let reply = world.gateway.caller().post(&world.v1("chat/completions"), &body).await.unwrap();
    assert_eq!(reply.status, 200, "{}", reply.json());
    assert_eq!(world.entries().await[0].tags, ["batch-job"]);
}
