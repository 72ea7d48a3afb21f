//! Refusals and answers that break: on record as any call, and promised so.

use prost::Message;
use serde_json::{Value, json};
use tollgate_client::{Client, v1};
use tollgate_tests::{
    provider::{Cut, Step},
    support::{
        http::{Caller, Event, Reply},
        keys::virtual_key,
    },
};
use tonic::Status;

use super::{HEADER, Promised, are_kept, read, world};
use crate::{
    media::{field, file, form},
    support::{World, hello, request},
};

/// A key that may use no model of these, and its id.
async fn narrow(world: &World) -> (String, String) {
    let key = v1::Key { models: vec!["none".into()], ..v1::Key::default() };
    let made = v1::CreateKeyRequest { key: Some(key), ..v1::CreateKeyRequest::default() };
    let made = world.admin().await.keys().create_key(made).await.unwrap().into_inner();
    (made.secret, made.key.unwrap().id)
}

fn header(reply: &Reply) -> v1::Receipt {
    read(reply.header(HEADER))
}

/// The last event of a stream, broken off or not.
async fn last_event(world: &World, caller: &Caller, route: &str, body: &Value) -> Event {
    let stream = caller.stream(&world.v1(route), body).await.unwrap();
    assert_eq!(stream.status, 200, "it broke after its beginning");
    stream.rest().await.0.pop().unwrap()
}

/// The receipt among the details of a status.
fn detail(status: &Status) -> Option<v1::Receipt> {
    let told = tonic_types::pb::Status::decode(status.details()).unwrap().details;
    let receipt = told.iter().find(|any| any.type_url == "type.googleapis.com/tollgate.v1.Receipt")?;
    Some(v1::Receipt::decode(&receipt.value[..]).unwrap())
}

fn with_receipt() -> Option<v1::GatewayOptions> {
    Some(v1::GatewayOptions { receipt: true, ..v1::GatewayOptions::default() })
}

#[tokio::test]
async fn whoever_is_refused_can_show_that_it_is_on_record() {
    let world = world().await;
    let (secret, id) = narrow(&world).await;
    let asking = Caller::bearer(&secret).with(HEADER, "true");
    let mut promised = Vec::new();
    for (route, action, body) in [
        ("chat/completions", "completion.create", hello(json!({}))),
        ("chat/completions", "completion.stream", hello(json!({"stream": true}))),
        ("messages", "completion.create", hello(json!({"max_tokens": 9}))),
        ("responses", "completion.create", json!({"model": "native", "input": "hello"})),
        ("responses", "completion.stream", json!({"model": "native", "input": "hello", "background": true})),
        ("embeddings", "embedding.create", json!({"model": "embed", "input": "hello"})),
        ("images/generations", "image.stream", json!({"model": "draw", "prompt": "a gate", "stream": true})),
        ("audio/speech", "speech.create", json!({"model": "say", "input": "Hello", "voice": "coral"})),
    ] {
        let reply = asking.post(&world.v1(route), &body).await.unwrap();
        assert_eq!(reply.status, 403, "{route}: {}", reply.json());
        promised.push(Promised { whose: format!("{route} {body}"), action, receipt: header(&reply) });
        let silent = Caller::bearer(&secret).post(&world.v1(route), &body).await.unwrap();
        assert_eq!(silent.header(HEADER), "", "only who asks gets one");
    }
    let parts = [field("model", "hear"), file("file", b"sound")];
    let stream = asking.form(&world.v1("audio/transcriptions"), form(&parts)).await.unwrap();
    let receipt = header(&stream.whole().await.unwrap());
    promised.push(Promised { whose: "a form".into(), action: "transcription.create", receipt });

    // By its provider, after attempts; and for a key that is known, and blocked.
    world.provider.script("scripted-upstream", [Step::fails(400)]);
    let asking = world.gateway.caller().with(HEADER, "true");
    let reply = asking.post(&world.v1("chat/completions"), &hello(json!({}))).await.unwrap();
    assert_eq!(reply.status, 400);
    promised.push(Promised { whose: "by the provider".into(), action: "completion.create", receipt: header(&reply) });
    let block = v1::BlockKeyRequest { id };
    world.admin().await.keys().block_key(block).await.unwrap();
    let blocked = Caller::bearer(&secret).with(HEADER, "true");
    let reply = blocked.post(&world.v1("chat/completions"), &hello(json!({}))).await.unwrap();
    assert_eq!(reply.json()["error"]["code"], "blocked_api_key");
    promised.push(Promised { whose: "blocked".into(), action: "completion.create", receipt: header(&reply) });
    are_kept(&world, &promised).await;

    let stranger = Caller::bearer(virtual_key()).with(HEADER, "true");
    let reply = stranger.post(&world.v1("chat/completions"), &hello(json!({}))).await.unwrap();
    assert_eq!((reply.status.as_u16(), reply.header(HEADER)), (401, ""), "no stranger learns how long the log is");
}

#[tokio::test]
async fn the_last_event_of_an_answer_that_breaks_has_its_receipt() {
    let world = world().await;
    let asking = world.gateway.caller().with(HEADER, "true");
    let (mut promised, text) = (Vec::new(), |value: &Value| read(value.as_str().unwrap_or_default()));
    for (model, upstream) in [("scripted", "scripted-upstream"), ("claude", "claude-upstream")] {
        for route in ["chat/completions", "completions", "messages"] {
            world.provider.script(upstream, [Step::streams(8).then_cuts(3, Cut::Rst)]);
            let body = match route {
                "completions" => json!({"model": model, "prompt": "Say hello", "stream": true}),
                _ => hello(json!({"model": model, "stream": true, "max_tokens": 100})),
            };
            let last = last_event(&world, &asking, route, &body).await.json();
            assert!(last["error"]["message"].is_string(), "{route}: {last}");
            let receipt = text(&last["tollgate"]["receipt"]);
            promised.push(Promised { whose: format!("{route} {model}"), action: "completion.stream", receipt });
        }
    }
    for (model, upstream) in [("native", "o4-upstream"), ("claude", "claude-upstream")] {
        world.provider.script(upstream, [Step::streams(8).then_cuts(3, Cut::Rst)]);
        let body = json!({"model": model, "input": "Say hello", "stream": true});
        let last = last_event(&world, &asking, "responses", &body).await.json();
        assert_eq!(last["type"], "response.failed");
        let receipt = text(&last["response"]["tollgate"]["receipt"]);
        promised.push(Promised { whose: format!("responses {model}"), action: "completion.stream", receipt });
    }
    world.provider.script("draws", [Step::default().then_cuts(1, Cut::Rst)]);
    let body = json!({"model": "draw", "prompt": "a gate", "stream": true, "partial_images": 2});
    let last = last_event(&world, &asking, "images/generations", &body).await.json();
    let receipt = text(&last["tollgate"]["receipt"]);
    promised.push(Promised { whose: "images".into(), action: "image.stream", receipt });
    are_kept(&world, &promised).await;
}

#[tokio::test]
async fn a_refusal_over_grpc_has_its_receipt_among_the_details() {
    let world = world().await;
    let (secret, _) = narrow(&world).await;
    let client = Client::connect(&world.gateway.grpc(), &secret).await.unwrap();
    let asked = |tollgate| v1::CompletionRequest { tollgate, ..request() };
    let create = |tollgate| v1::CreateCompletionRequest { request: Some(asked(tollgate)) };
    let whole = client.completions().create_completion(create(with_receipt())).await.unwrap_err();
    let stream = v1::StreamCompletionRequest { request: Some(asked(with_receipt())) };
    let streamed = client.completions().stream_completion(stream).await.unwrap_err();
    let embed = v1::CreateEmbeddingRequest {
        model: Some("embed".into()),
        inputs: vec![v1::EmbeddingInput { input: Some(v1::embedding_input::Input::Text("a".into())) }],
        tollgate: with_receipt(),
        ..Default::default()
    };
    let embedded = client.embeddings().create_embedding(embed).await.unwrap_err();
    let say = v1::CreateSpeechRequest {
        model: Some("say".into()),
        input: Some("Hello".into()),
        voice: Some("coral".into()),
        tollgate: with_receipt(),
        ..Default::default()
    };
    let spoken = client.audio().create_speech(say).await.unwrap_err();
    let promise = |whose: &str, action: &'static str, status: &Status| {
        let receipt = detail(status).unwrap_or_else(|| panic!("{whose}: {status:?}"));
        Promised { whose: whose.into(), action, receipt }
    };
    let mut promised = vec![
        promise("whole", "completion.create", &whole),
        promise("streamed", "completion.stream", &streamed),
        promise("embedded", "embedding.create", &embedded),
        promise("spoken", "speech.create", &spoken),
    ];
    // Broken in the middle: with what it cost.
    world.provider.script("scripted-upstream", [Step::streams(8).then_cuts(3, Cut::Rst)]);
    let stream = v1::StreamCompletionRequest { request: Some(asked(with_receipt())) };
    let mut events = world.caller().await.completions().stream_completion(stream).await.unwrap().into_inner();
    let broken = loop {
        match events.message().await {
            Ok(event) => assert!(event.is_some(), "it breaks"),
            Err(status) => break status,
        }
    };
    promised.push(promise("broken", "completion.stream", &broken));
    are_kept(&world, &promised).await;

    let silent = client.completions().create_completion(create(None)).await.unwrap_err();
    assert_eq!(detail(&silent), None, "only who asks gets one");
    let stranger = Client::connect(&world.gateway.grpc(), &virtual_key()).await.unwrap();
    let unknown = stranger.completions().create_completion(create(with_receipt())).await.unwrap_err();
    assert_eq!(detail(&unknown), None, "no stranger learns how long the log is");
}
