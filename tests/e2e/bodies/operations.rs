//! The same of operations other than completions: what was asked and answered is committed to as it passed, files too, and kept where the
//! team wants it.

use bytes::Bytes;
use futures::{StreamExt, stream};
use prost::Message;
use serde_json::{Value, json};
use tollgate_client::{Client, v1};
use tollgate_tests::support::http::{Caller, Reply};

use super::{body_of, commitment, end_user, erase, is_on_disk, team};
use crate::{
    files,
    media::{field, file, form},
    support::World,
};

async fn world(audit: Value) -> World {
    World::with_provider(|builder, url| {
        let priced = |model: &str, price: Value| json!({"provider": "scripted", "model": model, "price": price});
        let tokens = || json!({"input": "2.5", "output": "10"});
        builder
            .set("/audit", audit)
            .provider_of_kind("ranker", "cohere", url.trim_end_matches("/v1"))
            .deployment("rank", json!({"provider": "ranker", "model": "ranks", "price": {"per_query": "0.002"}}))
            .deployment("embed", priced("text-embedding-3-small", tokens()))
            .deployment("judge", priced("judges", tokens()))
            .deployment("draw", priced("draws", tokens()))
            .deployment("say", priced("tts", json!({"per_million_characters": "15"})))
            .deployment("hear", priced("whisper", json!({"per_audio_second": "0.0001"})))
            .budget_usd("100")
    })
    .await
}

/// Everything of an answer, in order: what its commitment is over.
fn passed(body: &v1::CallBody) -> Vec<u8> {
    body.answer.iter().flat_map(|part| [part.text.as_bytes(), &part.data]).collect::<Vec<_>>().concat()
}

/// That both commitments open with what is kept.
fn opens(told: &v1::GetBodyResponse, whose: &str) -> v1::CallBody {
    let body = told.body.clone().unwrap_or_else(|| panic!("{whose}: {told:?}"));
    assert!(!body.request_cut && !body.answer_cut, "{whose}: {body:?}");
    let request = [&body.request[..], &body.request_files].concat();
    assert_eq!(commitment(&body.request_salt, &request), told.request_commitment, "{whose}");
    assert_eq!(commitment(&body.answer_salt, &passed(&body)), told.answer_commitment, "{whose}");
    assert_eq!((body.request_bytes, body.answer_bytes), (request.len() as u64, passed(&body).len() as u64), "{whose}");
    body
}

fn id(reply: &Reply) -> &str {
    assert_eq!(reply.status, 200, "{}", reply.json());
    reply.header("x-request-id")
}

fn kinds(body: &v1::CallBody) -> Vec<(v1::BodyPartKind, &str)> {
    body.answer.iter().map(|part| (part.kind(), part.format.as_str())).collect()
}

const SOUND: &[u8] = b"the hum of a very private zebra";

fn said() -> Vec<Vec<u8>> {
    vec![field("model", "hear"), field("language", "de"), file("file", SOUND)]
}

async fn post(world: &World, secret: &str, route: &str, body: &Value) -> Reply {
    Caller::bearer(secret).post(&world.v1(route), body).await.unwrap()
}

async fn send(world: &World, secret: &str, route: &str, parts: &[Vec<u8>]) -> Reply {
    Caller::bearer(secret).form(&world.v1(route), form(parts)).await.unwrap().whole().await.unwrap()
}

#[tokio::test]
async fn answers_of_every_operation_are_kept_as_they_were_passed_on_and_open_their_commitments() {
    let world = world(json!({})).await;
    let admin = world.admin().await;
    let (_, full) = team(&admin, v1::BodyPolicy::Full).await;
    use v1::BodyPartKind::{Audio, Message, Original, Text};
    for (route, asked, kind) in [
        ("embeddings", json!({"model": "embed", "input": "a zebra"}), (Original, "application/json")),
        ("moderations", json!({"model": "judge", "input": "a zebra"}), (Original, "application/json")),
        ("images/generations", json!({"model": "draw", "prompt": "a zebra"}), (Original, "application/json")),
        (
            "images/generations",
            json!({"model": "draw", "prompt": "a zebra", "stream": true}),
            (Original, "text/event-stream"),
        ),
        (
            "audio/speech",
            json!({"model": "say", "input": "zebra", "voice": "coral", "response_format": "wav"}),
            (Original, "audio/wav"),
        ),
        ("rerank", json!({"model": "rank", "query": "zebra", "documents": ["a", "b"]}), (Original, "application/json")),
    ] {
        let reply = post(&world, &full, route, &asked).await;
        let body = opens(&body_of(&admin, id(&reply)).await, route);
        assert_eq!(body.request, asked.to_string().into_bytes(), "{route}: the caller's own bytes");
        assert_eq!(kinds(&body)[0].0, kind.0, "{route}");
        assert!(kinds(&body)[0].1.starts_with(kind.1), "{route}: {:?}", kinds(&body));
        assert_eq!(passed(&body), reply.body, "{route}: what the caller has in hand");
    }
    let reply = send(&world, &full, "audio/transcriptions", &said()).await;
    let body = opens(&body_of(&admin, id(&reply)).await, "transcript");
    assert_eq!((&body.request_files[..], passed(&body)), (SOUND, reply.body.to_vec()));
    let head = v1::TranscriptionHead::decode(body.request).unwrap();
    assert_eq!(
        (head.language.as_deref(), body.request_message.as_str()),
        (Some("de"), "tollgate.v1.TranscriptionHead")
    );
    let parts = [field("model", "draw"), field("prompt", "dusk"), file("image", b"first"), file("image", b"second")];
    let reply = send(&world, &full, "images/edits", &parts).await;
    let body = opens(&body_of(&admin, id(&reply)).await, "edit");
    assert_eq!((&body.request_files[..], passed(&body)), (&b"firstsecond"[..], reply.body.to_vec()));
    assert!(!is_on_disk(&world.gateway, b"private zebra"), "kept is not in clear");

    // Over gRPC: the messages themselves.
    let client = Client::connect(&world.gateway.grpc(), &full).await.unwrap();
    let embed = v1::CreateEmbeddingRequest {
        model: Some("embed".into()),
        inputs: vec![v1::EmbeddingInput { input: Some(v1::embedding_input::Input::Text("a zebra".into())) }],
        ..Default::default()
    };
    let answer = client.embeddings().create_embedding(embed.clone()).await.unwrap().into_inner();
    let call = answer.started.as_ref().unwrap().call_id.clone();
    let body = opens(&body_of(&admin, &call).await, "an embedding's message");
    assert_eq!(v1::CreateEmbeddingRequest::decode(body.request.clone()).unwrap(), embed);
    assert_eq!(kinds(&body), [(Message, "tollgate.v1.CreateEmbeddingResponse")]);
    let kept = v1::CreateEmbeddingResponse::decode(body.answer[0].data.clone()).unwrap();
    assert_eq!(kept, v1::CreateEmbeddingResponse { started: None, usage: None, ..answer });

    let say = v1::CreateSpeechRequest {
        model: Some("say".into()),
        input: Some("a zebra".into()),
        voice: Some("coral".into()),
        ..Default::default()
    };
    let events = client.audio().create_speech(say).await.unwrap().into_inner();
    let events: Vec<_> = events.map(|event| event.unwrap().event.unwrap()).collect().await;
    let v1::create_speech_response::Event::Started(started) = &events[0] else { panic!("{events:?}") };
    let body = opens(&body_of(&admin, &started.call_id).await, "sound");
    assert_eq!((body.answer[0].kind(), passed(&body)), (Audio, b"a zebra".to_vec()));
    let head = v1::TranscriptionHead { model: Some("hear".into()), ..Default::default() };
    use v1::create_transcription_request::Part;
    let upload = v1::UploadFile { field: "file".into(), filename: "a".into(), ..Default::default() };
    let parts = [Part::Head(head), Part::File(upload), Part::Data(Bytes::from_static(SOUND))];
    let parts = stream::iter(parts.map(|part| v1::CreateTranscriptionRequest { part: Some(part) }));
    let events = client.audio().create_transcription(parts).await.unwrap().into_inner();
    let events: Vec<_> = events.map(|event| event.unwrap().event.unwrap()).collect().await;
    let v1::create_transcription_response::Event::Started(started) = &events[0] else { panic!("{events:?}") };
    let body = opens(&body_of(&admin, &started.call_id).await, "words");
    assert_eq!((body.answer[0].kind(), &body.request_files[..]), (Text, SOUND));
}

#[tokio::test]
async fn a_team_that_keeps_nothing_can_still_show_what_passed() {
    let world = world(json!({})).await;
    let admin = world.admin().await;
    let (_, none) = team(&admin, v1::BodyPolicy::None).await;
    let asked = json!({"model": "embed", "input": "a zebra"});
    let reply = post(&world, &none, "embeddings", &asked).await;
    let told = body_of(&admin, id(&reply)).await;
    assert_eq!(told.state(), v1::BodyState::NotKept);
    let salts = told.body.unwrap();
    assert!(salts.request.is_empty() && salts.answer.is_empty());
    assert_eq!(commitment(&salts.request_salt, asked.to_string().as_bytes()), told.request_commitment);
    assert_eq!(commitment(&salts.answer_salt, &reply.body), told.answer_commitment);
}

#[tokio::test]
async fn sound_and_images_are_not_kept_where_bodies_are_redacted_and_texts_are_without_what_looks_private() {
    let world = world(json!({"redact_patterns": ["zebra"]})).await;
    let admin = world.admin().await;
    let (_, redacted) = team(&admin, v1::BodyPolicy::Redacted).await;
    let reply = send(&world, &redacted, "audio/transcriptions", &said()).await;
    let told = body_of(&admin, id(&reply)).await;
    let body = told.body.clone().unwrap();
    assert!(body.request_cut && body.request_files.is_empty(), "a recording is not kept");
    assert_eq!(commitment(&body.answer_salt, &reply.body), told.answer_commitment, "to all of it");
    for (route, asked) in [
        ("audio/speech", json!({"model": "say", "input": "a zebra", "voice": "coral"})),
        ("images/generations", json!({"model": "draw", "prompt": "a zebra"})),
        ("images/generations", json!({"model": "draw", "prompt": "a zebra", "stream": true})),
    ] {
        let reply = post(&world, &redacted, route, &asked).await;
        let told = body_of(&admin, id(&reply)).await;
        let body = told.body.clone().unwrap();
        assert!(body.answer_cut && passed(&body).is_empty(), "{route}: {body:?}");
        assert_eq!(body.answer_bytes, reply.body.len() as u64, "{route}: how much there was");
        assert_eq!(commitment(&body.answer_salt, &reply.body), told.answer_commitment, "{route}");
        assert!(!String::from_utf8_lossy(&body.request).contains("zebra"), "{route}");
    }
    let rank = json!({"model": "rank", "query": "q", "documents": ["a zebra", "b"], "return_documents": true});
    let reply = post(&world, &redacted, "rerank", &rank).await;
    assert!(reply.json().to_string().contains("zebra"));
    let body = body_of(&admin, id(&reply)).await.body.unwrap();
    let kept: Value = serde_json::from_slice(&passed(&body)).unwrap();
    assert!(kept["results"].is_array() && !kept.to_string().contains("zebra"), "{kept}");
    // A message of the contract is kept in its JSON form.
    let client = Client::connect(&world.gateway.grpc(), &redacted).await.unwrap();
    let rank = v1::RerankRequest {
        model: Some("rank".into()),
        query: Some("q".into()),
        documents: vec!["a zebra".into(), "b".into()],
        return_documents: true,
        ..Default::default()
    };
    let call = client.reranks().rerank(rank).await.unwrap().into_inner().started.unwrap().call_id;
    let body = body_of(&admin, &call).await.body.unwrap();
    assert_eq!(kinds(&body), [(v1::BodyPartKind::Message, "application/json")]);
    let kept: Value = serde_json::from_slice(&passed(&body)).unwrap();
    assert!(kept["results"].is_array() && !kept.to_string().contains("zebra"), "{kept}");
}

#[tokio::test]
async fn what_is_too_long_to_be_kept_says_how_much_of_it_is_missing() {
    let world = world(json!({"bodies": "full", "max_body_bytes": 150})).await;
    let admin = world.admin().await;
    let long = "sound ".repeat(60);
    let asked = json!({"model": "say", "input": long, "voice": "coral"});
    let reply = post(&world, world.gateway.key(), "audio/speech", &asked).await;
    let told = body_of(&admin, id(&reply)).await;
    let body = told.body.clone().unwrap();
    assert_eq!((body.request_cut, body.request.len(), body.request_bytes), (true, 150, asked.to_string().len() as u64));
    let kept = passed(&body);
    assert!(body.answer_cut && !kept.is_empty() && kept.len() <= 150 && long.as_bytes().starts_with(&kept));
    assert_eq!(body.answer_bytes, long.len() as u64);
    assert_eq!(commitment(&body.answer_salt, long.as_bytes()), told.answer_commitment, "to all of it");
    let sound = vec![7; 400_000];
    let parts = [field("model", "hear"), file("file", &sound)];
    let reply = send(&world, world.gateway.key(), "audio/transcriptions", &parts).await;
    let told = body_of(&admin, id(&reply)).await;
    let body = told.body.clone().unwrap();
    assert!(body.request_cut && sound.starts_with(&body.request_files), "{body:?}");
    assert_eq!(body.request.len() + body.request_files.len(), 150, "one limit for both");
    assert_eq!(body.request_bytes, (body.request.len() + sound.len()) as u64);
    let all = [&body.request[..], &sound].concat();
    assert_eq!(commitment(&body.request_salt, &all), told.request_commitment, "to all of it");
}

#[tokio::test]
async fn what_is_erased_of_other_operations_is_unreadable_too() {
    let world = world(json!({})).await;
    let admin = world.admin().await;
    let (_, full) = team(&admin, v1::BodyPolicy::Full).await;
    let of_ann = |asked: Value| {
        let mut asked = asked;
        asked["user"] = "ann".into();
        asked
    };
    let embed = of_ann(json!({"model": "embed", "input": "a zebra"}));
    let embedded = post(&world, &full, "embeddings", &embed).await;
    let draw = of_ann(json!({"model": "draw", "prompt": "a zebra"}));
    let drawn = post(&world, &full, "images/generations", &draw).await;
    opens(&body_of(&admin, id(&embedded)).await, "before");
    use v1::erase_bodies_request::What;
    let erased = admin.audit().erase_bodies(erase(What::Subject(end_user("ann")))).await.unwrap().into_inner();
    assert_eq!(erased.bodies, 2);
    for reply in [&embedded, &drawn] {
        let told = body_of(&admin, id(reply)).await;
        assert_eq!((told.body, told.is_erased), (None, true));
        assert_eq!((told.request_commitment.len(), told.answer_commitment.len()), (32, 32), "what was proven stays");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_commits_to_its_input_as_it_was_uploaded_and_to_its_output() {
    let world = World::with(files::quick).await;
    let admin = world.admin().await;
    let batch = files::begun(&world, 3, "zebra").await;
    world.provider.end_batches("zebra", "completed", usize::MAX);
    let ended = files::settled(&world, &batch["id"]).await;
    let told = body_of(&admin, &ended.call_id).await;
    assert_eq!((told.state(), told.is_erased), (v1::BodyState::NotKept, false));
    let salts = told.body.unwrap();
    let input = files::lines(3, "zebra");
    assert_eq!(commitment(&salts.request_salt, input.as_bytes()), told.request_commitment);
    let output = files::content(&world, &json!(ended.output_file_id)).await;
    assert_eq!(commitment(&salts.answer_salt, output.as_bytes()), told.answer_commitment);

    // Whoever owns the key can have it forgotten.
    let key = v1::BodySubject {
        kind: v1::BodySubjectKind::Key as i32,
        id: world.entries().await[0].key_id.clone(),
        tenant_id: String::new(),
    };
    use v1::erase_bodies_request::What;
    admin.audit().erase_bodies(erase(What::Subject(key))).await.unwrap();
    let told = body_of(&admin, &ended.call_id).await;
    assert_eq!((told.body, told.is_erased), (None, true));
    assert_eq!((told.request_commitment.len(), told.answer_commitment.len()), (32, 32));
}
