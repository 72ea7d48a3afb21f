//! One call, all the way through: the surfaces, who may call, cancellation and deadlines that reach the provider.

use std::time::{Duration, Instant};

use serde_json::json;
use tollgate_client::{reason, v1};
use tollgate_tests::{
    provider::{Outcome, Step},
    support::http::Caller,
};

use crate::support::{World, eventually, hello, request};

#[tokio::test]
async fn a_streamed_call_over_grpc_starts_says_finishes_and_tells_its_usage() {
    let world = World::start().await;
    world.provider.always("scripted-upstream", [Step::text("Hello to you")]);
    let asked = v1::CompletionRequest {
        tollgate: Some(v1::GatewayOptions { want_routing: true, ..Default::default() }),
        ..request()
    };
    let call = v1::StreamCompletionRequest { request: Some(asked) };
    let mut stream = world.caller().await.completions().stream_completion(call).await.unwrap().into_inner();
    let (mut text, mut kinds, mut next) = (String::new(), Vec::new(), 0);
    while let Some(response) = stream.message().await.unwrap() {
        let event = response.event.unwrap();
        assert_eq!(event.seq, next);
        next += 1;
        use v1::{completion_event::Event, delta::Piece};
        match event.event.unwrap() {
            Event::Started(started) => {
                assert_eq!((started.provider.as_str(), started.attempt), ("scripted", 1));
                kinds.push("started");
            }
            Event::Delta(delta) => match delta.piece.unwrap() {
                Piece::Text(piece) => text.push_str(&piece),
                other => panic!("{other:?}"),
            },
            Event::PartDone(_) => kinds.push("part_done"),
            Event::Finished(_) => kinds.push("finished"),
            Event::Usage(usage) => {
                assert!(usage.cost_nano_usd > 0 && !usage.estimated);
                kinds.push("usage");
            }
            Event::Routing(routing) => {
                assert_eq!(routing.attempts.len(), 1);
                kinds.push("routing");
            }
            Event::Restarted(_) => panic!("nothing broke"),
            Event::Receipt(_) => panic!("nobody asked"),
        }
    }
    assert_eq!(text, "Hello to you");
    assert_eq!(kinds, ["started", "part_done", "finished", "usage", "routing"]);
}

#[tokio::test]
async fn no_key_and_a_wrong_key_are_refused_and_on_record_without_the_secret() {
    let world = World::start().await;
    let url = world.v1("chat/completions");
    let wrong = tollgate_tests::support::keys::virtual_key();
    for key in ["", "sk-nonsense", &wrong] {
        let reply = Caller::bearer(key).post(&url, &hello(json!({}))).await.unwrap();
        assert_eq!(reply.status, 401, "{key}");
        assert_eq!(reply.json()["error"]["type"], "authentication_error");
    }
    let denied = world.records().await.into_iter().filter(|r| r.action == "completion.create").count();
    assert_eq!(denied, 3);
    assert!(!world.gateway.logs().contains(&wrong) && !format!("{:?}", world.records().await).contains(&wrong));
    assert_eq!(world.provider.log().stats().calls, 0);
}

#[tokio::test]
async fn rights_and_roles_bind() {
    let narrow = tollgate_tests::support::keys::virtual_key();
    let world = World::with(|b| b.key(json!({"name": "narrow", "secret": narrow, "models": ["other"]}))).await;
    let url = world.v1("chat/completions");
    let reply = Caller::bearer(&narrow).post(&url, &hello(json!({}))).await.unwrap();
    assert_eq!((reply.status.as_u16(), &reply.json()["error"]["code"]), (403, &json!("model_not_allowed")));
    let reply = Caller::bearer(&world.admin).post(&url, &hello(json!({}))).await.unwrap();
    assert_eq!(reply.json()["error"]["code"], "role_not_allowed");
    let reply = world.gateway.caller().post(&url, &hello(json!({"model": "gpt-9"}))).await.unwrap();
    assert_eq!((reply.status.as_u16(), &reply.json()["error"]["code"]), (404, &json!("model_not_found")));
    let mut keys = world.caller().await.keys();
    let seen = keys.list_keys(v1::ListKeysRequest::default()).await.unwrap().into_inner().keys;
    assert_eq!(seen.iter().map(|k| k.display_name.as_str()).collect::<Vec<_>>(), ["test"], "a caller sees itself");
    let status = keys.create_key(v1::CreateKeyRequest::default()).await.unwrap_err();
    assert_eq!(reason(&status), Some(v1::ErrorReason::RoleNotAllowed));
    let listed = Caller::bearer(&narrow).get(&world.v1("models")).await.unwrap();
    assert_eq!(listed.json()["data"], json!([]));
}

#[tokio::test]
async fn a_key_lives_rotates_blocks_and_ends() {
    let world = World::start().await;
    let mut keys = world.admin().await.keys();
    let url = world.v1("chat/completions");
    let status =
        async |secret: &str| Caller::bearer(secret).post(&url, &hello(json!({}))).await.unwrap().status.as_u16();

    let asked = v1::Key { display_name: "app".into(), models: vec!["*".into()], ..Default::default() };
    let create = v1::CreateKeyRequest {
        key: Some(asked),
        request_id: "once".into(),
        budget_nano_usd: Some(1_000_000_000),
        ..Default::default()
    };
    let made = keys.create_key(create.clone()).await.unwrap().into_inner();
    let id = made.key.clone().unwrap().id;
    assert_eq!(status(&made.secret).await, 200);
    let again = keys.create_key(create).await.unwrap().into_inner();
    assert_eq!((again.key.unwrap().id.as_str(), again.secret.as_str()), (id.as_str(), ""));
    assert_eq!(again.budget_id, made.budget_id);

    let rotate = v1::RotateKeyRequest { id: id.clone(), grace_seconds: Some(60), ..Default::default() };
    let rotated = keys.rotate_key(rotate).await.unwrap().into_inner();
    assert_eq!((status(&made.secret).await, status(&rotated.secret).await), (200, 200));
    let rotated_again =
        keys.rotate_key(v1::RotateKeyRequest { id: id.clone(), ..Default::default() }).await.unwrap().into_inner();
    assert_eq!((status(&made.secret).await, status(&rotated.secret).await), (401, 401));

    keys.block_key(v1::BlockKeyRequest { id: id.clone() }).await.unwrap();
    assert_eq!(status(&rotated_again.secret).await, 403);
    keys.unblock_key(v1::UnblockKeyRequest { id: id.clone() }).await.unwrap();
    assert_eq!(status(&rotated_again.secret).await, 200);
    keys.revoke_key(v1::RevokeKeyRequest { id: id.clone() }).await.unwrap();
    assert_eq!(status(&rotated_again.secret).await, 401);
    let status = keys.unblock_key(v1::UnblockKeyRequest { id }).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::InvalidArgument);

    let actions: Vec<String> =
        world.records().await.into_iter().map(|r| r.action).filter(|a| a.starts_with("key.")).collect();
    assert_eq!(
        actions[2..],
        [
            "key.create",
            "key.create",
            "key.rotate",
            "key.rotate",
            "key.block",
            "key.unblock",
            "key.revoke",
            "key.unblock"
        ]
    );
}

#[tokio::test]
async fn keys_are_listed_in_pages_and_changed_by_mask() {
    let world = World::start().await;
    let mut keys = world.admin().await.keys();
    for n in 0..3 {
        let key = v1::Key { display_name: format!("key {n}"), ..Default::default() };
        keys.create_key(v1::CreateKeyRequest { key: Some(key), ..Default::default() }).await.unwrap();
    }
    let (mut seen, mut page_token) = (Vec::new(), String::new());
    loop {
        let page = keys
            .list_keys(v1::ListKeysRequest { page_size: 2, page_token, ..Default::default() })
            .await
            .unwrap()
            .into_inner();
        assert!(page.keys.len() <= 2);
        seen.extend(page.keys);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    // Those of the configuration come first, then oldest first.
    assert_eq!(seen[2..].iter().map(|k| k.display_name.as_str()).collect::<Vec<_>>(), ["key 0", "key 1", "key 2"]);
    let changed = v1::Key { display_name: "ignored".into(), models: vec!["scripted".into()], ..seen[4].clone() };
    let mask = prost_types::FieldMask { paths: vec!["models".into()] };
    let update = v1::UpdateKeyRequest { key: Some(changed.clone()), update_mask: Some(mask), ..Default::default() };
    let key = keys.update_key(update).await.unwrap().into_inner().key.unwrap();
    assert_eq!((key.models[0].as_str(), key.display_name.as_str()), ("scripted", "key 2"));
    let bad = prost_types::FieldMask { paths: vec!["role".into()] };
    let status = keys
        .update_key(v1::UpdateKeyRequest { key: Some(changed), update_mask: Some(bad), ..Default::default() })
        .await
        .unwrap_err();
    assert_eq!(reason(&status), Some(v1::ErrorReason::EtagMismatch));
}

#[tokio::test]
async fn a_caller_that_hangs_up_ends_the_upstream_call_within_a_second_and_is_settled() {
    let world = World::start().await;
    world.provider.always("scripted-upstream", [Step::streams(200).every_ms(20)]);
    let mut rest =
        world.gateway.caller().stream(&world.v1("chat/completions"), &hello(json!({"stream": true}))).await.unwrap();
    rest.next().await.unwrap();
    let call = v1::StreamCompletionRequest { request: Some(request()) };
    let mut grpc = world.caller().await.completions().stream_completion(call).await.unwrap().into_inner();
    grpc.message().await.unwrap();
    let unary = hello(json!({}));
    let (caller, url) = (world.gateway.caller(), world.v1("chat/completions"));
    let _ = tokio::time::timeout(Duration::from_millis(300), caller.stream(&url, &unary)).await;

    let begun = Instant::now();
    drop((rest, grpc));
    let records = world.provider.log().settled(3).await;
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    assert!(records.iter().all(|r| r.outcome == Outcome::CutByClient), "{records:?}");
    eventually("the three calls are settled", async || world.entries().await.len() == 3).await;
    for entry in world.entries().await {
        assert_eq!((entry.outcome.as_str(), entry.kind()), ("cancelled", v1::LedgerEntryKind::Estimated));
        assert!(entry.cost_nano_usd > 0 && entry.cost_nano_usd < entry.held_nano_usd);
    }
    assert_eq!(world.budget().await.held_nano_usd, 0);
    let cancelled = world.records().await.iter().filter(|r| r.error_reason() == v1::ErrorReason::Cancelled).count();
    assert_eq!(cancelled, 3);
}

#[tokio::test]
async fn a_deadline_ends_whole_and_streamed_calls_with_its_own_status() {
    let world = World::start().await;
    world.provider.always("scripted-upstream", [Step::streams(4).then_stalls(2)]);
    let mut client = world.caller().await.completions();
    let mut streamed = tonic::Request::new(v1::StreamCompletionRequest { request: Some(request()) });
    streamed.metadata_mut().insert("grpc-timeout", "300m".parse().unwrap());
    let mut stream = client.stream_completion(streamed).await.unwrap().into_inner();
    let mut events = 0;
    let status = loop {
        match stream.message().await {
            Ok(Some(_)) => events += 1,
            Ok(None) => panic!("the stream ended silently after {events} events"),
            Err(status) => break status,
        }
    };
    assert_eq!(reason(&status), Some(v1::ErrorReason::DeadlineExceeded));
    assert!(events > 0);
    world.provider.log().settled(1).await;
    let late = Caller::bearer(world.gateway.key()).with("x-request-timeout", "0.2");
    let reply = late.post(&world.v1("chat/completions"), &hello(json!({}))).await.unwrap();
    assert_eq!((reply.status.as_u16(), &reply.json()["error"]["code"]), (504, &json!("deadline_exceeded")));
    world.provider.log().settled(2).await;
}

#[tokio::test]
async fn embeddings_come_as_they_were_asked_for_and_are_booked() {
    let world = World::with(|b| b.model("embed", "scripted", "embed-upstream")).await;
    let url = world.v1("embeddings");
    let caller = world.gateway.caller();
    let floats = caller.post(&url, &json!({"model": "embed", "input": ["a", "b"]})).await.unwrap().json();
    assert_eq!(floats["data"].as_array().unwrap().len(), 2);
    let coded = caller.post(&url, &json!({"model": "embed", "input": "a", "encoding_format": "base64"})).await.unwrap();
    assert!(coded.json()["data"][0]["embedding"].is_string());
    let input = v1::EmbeddingInput { input: Some(v1::embedding_input::Input::Text("a".into())) };
    let asked = v1::CreateEmbeddingRequest { model: Some("embed".into()), inputs: vec![input], ..Default::default() };
    let answer = world.caller().await.embeddings().create_embedding(asked).await.unwrap().into_inner();
    let first: Vec<f32> = serde_json::from_value(floats["data"][0]["embedding"].clone()).unwrap();
    assert_eq!(answer.embeddings[0].values, first);
    assert_eq!(world.entries().await.len(), 3);
}

#[tokio::test]
async fn a_tail_shows_calls_as_they_end_and_goes_on_where_it_was_left() {
    let world = World::start().await;
    let filter = Some(v1::AuditFilter { action_prefix: "completion.".into(), ..Default::default() });
    let tail = v1::TailRecordsRequest { filter: filter.clone(), after_sequence: None };
    let mut audit = world.admin().await.audit();
    let mut stream = audit.tail_records(tail).await.unwrap().into_inner();
    let url = world.v1("chat/completions");
    world.gateway.caller().post(&url, &hello(json!({}))).await.unwrap();
    let seen = stream.message().await.unwrap().unwrap().record.unwrap();
    assert_eq!((seen.action.as_str(), seen.model.as_str()), ("completion.create", "scripted"));
    assert_eq!(seen.routing.unwrap().attempts[0].class, "ok");
    drop(stream);
    world.gateway.caller().post(&url, &hello(json!({}))).await.unwrap();
    let tail = v1::TailRecordsRequest { filter, after_sequence: Some(seen.sequence) };
    let mut stream = audit.tail_records(tail).await.unwrap().into_inner();
    let next = stream.message().await.unwrap().unwrap().record.unwrap();
    assert!(next.sequence > seen.sequence);
}
