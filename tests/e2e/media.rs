//! Speech, transcripts, edits and streamed images: passed through as they come, settled to the nano-dollar, refused and replaced like
//! any other call.

mod azure;
mod gemini;
mod mistral;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use serde_json::{Value, json};
use tollgate_client::{reason, v1};
use tollgate_tests::{
    provider::{Cut, Step},
    support::http::Reply,
};

use crate::support::{World, eventually};

async fn world_with(budget_usd: &str) -> World {
    World::with_provider(|builder, _| {
        let by = |model: &str, order: u32, price: Value| {
            json!({"provider": "scripted", "model": model, "order": order, "price": price})
        };
        let characters = || json!({"per_million_characters": "15"});
        let seconds = || json!({"per_audio_second": "0.0001"});
        let tokens = || json!({"input": "2.5", "output": "10"});
        builder
            .deployment("say", by("tts", 0, characters()))
            .deployment("say", by("spare-tts", 1, characters()))
            .deployment("say-tokens", by("tts-tokens", 0, json!({"input": "0.6", "output": "12"})))
            .deployment("hear", by("whisper", 0, seconds()))
            .deployment("hear", by("spare-whisper", 1, seconds()))
            .deployment("hear-tokens", by("transcribe", 0, tokens()))
            .deployment("draw", by("draws", 0, tokens()))
            .budget_usd(budget_usd)
    })
    .await
}

async fn world() -> World {
    world_with("100").await
}

pub(crate) fn field(name: &str, value: &str) -> Vec<u8> {
    format!("--BOUNDARY\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n").into_bytes()
}

pub(crate) fn file(name: &str, bytes: &[u8]) -> Vec<u8> {
    let head = format!(
        "--BOUNDARY\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"a.mp3\"\r\nContent-Type: audio/mpeg\r\n\r\n"
    );
    [head.as_bytes(), bytes, b"\r\n"].concat()
}

pub(crate) fn form(parts: &[Vec<u8>]) -> impl Stream<Item = Bytes> + Send + 'static {
    futures::stream::iter([parts.concat(), b"--BOUNDARY--\r\n".to_vec()].map(Bytes::from))
}

async fn send(world: &World, route: &str, parts: &[Vec<u8>]) -> Reply {
    world.gateway.caller().form(&world.v1(route), form(parts)).await.unwrap().whole().await.unwrap()
}

fn code(reply: &Reply) -> (u16, Value) {
    (reply.status.as_u16(), reply.json()["error"]["code"].clone())
}

fn spoken(more: Value) -> Value {
    let mut body = json!({"model": "say", "input": "Hello to the gate", "voice": "coral"});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

async fn costs(world: &World) -> Vec<(i64, v1::LedgerEntryKind)> {
    world.entries().await.iter().map(|entry| (entry.cost_nano_usd, entry.kind())).collect()
}

#[tokio::test]
async fn speech_comes_as_bytes_and_is_settled_by_the_character() {
    let world = world().await;
    let asked = spoken(json!({"response_format": "wav", "extra": {"a": 1}}));
    let reply = world.gateway.caller().post(&world.v1("audio/speech"), &asked).await.unwrap();
    assert_eq!((reply.header("content-type"), &reply.body[..]), ("audio/wav", &b"Hello to the gate"[..]));
    assert_eq!(reply.header("x-tollgate-deployment"), "say:scripted/tts");
    // The caller's own members, but for the model.
    let sent = world.provider.log().last().unwrap();
    let mut expected = asked.clone();
    expected["model"] = json!("tts");
    assert_eq!((sent.body.unwrap(), sent.path.as_str()), (expected, "/v1/audio/speech"));
    // Seventeen characters at fifteen dollars a million, counted by the gateway.
    assert_eq!(costs(&world).await, [(17 * 15_000, v1::LedgerEntryKind::Estimated)]);
    let budget = world.budget().await;
    assert_eq!((budget.spent_nano_usd, budget.held_nano_usd), (17 * 15_000, 0));
    assert!(world.records().await.iter().any(|record| record.action == "speech.create"));
}

#[tokio::test]
async fn speech_as_events_is_settled_by_the_providers_tokens() {
    let world = world().await;
    let asked = spoken(json!({"model": "say-tokens", "stream_format": "sse"}));
    let stream = world.gateway.caller().stream(&world.v1("audio/speech"), &asked).await.unwrap();
    let (events, end) = stream.rest().await;
    end.unwrap();
    let kinds: Vec<_> = events.iter().map(|event| event.json()["type"].as_str().unwrap().to_owned()).collect();
    assert_eq!(kinds, [vec!["speech.audio.delta"; 4], vec!["speech.audio.done"]].concat());
    assert_eq!(events[4].json()["usage"]["output_tokens"], 40);
    assert_eq!(costs(&world).await, [(4 * 600 + 40 * 12_000, v1::LedgerEntryKind::Exact)]);
}

#[tokio::test]
async fn a_refused_speech_is_spoken_by_the_next_deployment_and_a_broken_one_breaks_off() {
    let world = world().await;
    world.provider.script("tts", [Step::fails(500)]);
    let reply = world.gateway.caller().post(&world.v1("audio/speech"), &spoken(json!({}))).await.unwrap();
    assert_eq!((reply.status.as_u16(), reply.header("x-tollgate-deployment")), (200, "say:scripted/spare-tts"));
    let other = world_with("100").await;
    other.provider.script("tts", [Step::default().then_cuts(2, Cut::Rst)]);
    // It may break before its head is on its way.
    if let Ok(stream) = other.gateway.caller().stream(&other.v1("audio/speech"), &spoken(json!({}))).await {
        assert!(stream.whole().await.is_err(), "half a speech must not look like a whole one");
    }
    // What was accepted is billed by the character, and told as an estimate.
    assert_eq!(costs(&other).await, [(17 * 15_000, v1::LedgerEntryKind::Estimated)]);
    assert_eq!(other.budget().await.held_nano_usd, 0);
}

#[tokio::test]
async fn transcripts_pass_in_every_format_and_are_settled_by_the_second() {
    let world = world().await;
    let sound = vec![7u8; 2_500];
    for (format, expected, kind) in [
        ("json", "application/json", v1::LedgerEntryKind::Exact),
        ("verbose_json", "application/json", v1::LedgerEntryKind::Exact),
        ("srt", "text/plain; charset=utf-8", v1::LedgerEntryKind::Estimated),
    ] {
        let parts = [
            field("model", "hear"),
            field("response_format", format),
            field("timestamp_granularities[]", "word"),
            file("file", &sound),
            field("language", "de"),
        ];
        let reply = send(&world, "audio/transcriptions", &parts).await;
        assert_eq!((reply.status.as_u16(), reply.header("content-type")), (200, expected), "{:?}", reply.body);
        assert!(String::from_utf8_lossy(&reply.body).contains("2500 bytes of a.mp3"), "{:?}", reply.body);
        let sent = world.provider.log().last().unwrap().body.unwrap();
        let expected = json!({"files": [{"field": "file", "filename": "a.mp3", "type": "audio/mpeg", "bytes": 2500}],
            "model": "whisper", "response_format": format, "timestamp_granularities[]": "word", "language": "de"});
        assert_eq!(sent, expected);
        // Three seconds begun, as the provider says. By the subtitles they are two and a half, and an estimate is at most what was held:
        // a second for every two thousand bytes, and one more.
        let cost = if format == "srt" { 225_000 } else { 300_000 };
        assert_eq!(reply.header("x-tollgate-cost"), format!("0.000{cost}"));
        assert!(costs(&world).await.contains(&(cost, kind)), "{format}");
    }
    // The model behind the file, in a path, and a translation.
    let reply = send(&world, "audio/translations", &[file("file", &sound), field("model", "hear")]).await;
    assert_eq!(reply.json()["text"], "translated 2500 bytes of a.mp3");
    let azure = world.gateway.url() + "/openai/deployments/hear/audio/transcriptions?api-version=2025-03-01-preview";
    let reply =
        world.gateway.caller().form(&azure, form(&[file("file", &sound)])).await.unwrap().whole().await.unwrap();
    assert_eq!(reply.json()["text"], "2500 bytes of a.mp3");
    assert_eq!(world.budget().await.held_nano_usd, 0);
    let actions: Vec<_> = world.records().await.into_iter().map(|record| record.action).collect();
    assert!(actions.contains(&"translation.create".to_owned()) && actions.contains(&"transcription.create".to_owned()));
}

#[tokio::test]
async fn a_transcript_is_told_while_it_is_made_and_settled_by_tokens() {
    let world = world().await;
    let parts = [field("model", "hear-tokens"), field("stream", "true"), file("file", &[7; 1_000])];
    let stream = world.gateway.caller().form(&world.v1("audio/transcriptions"), form(&parts)).await.unwrap();
    let (events, end) = stream.rest().await;
    end.unwrap();
    let last = events.last().unwrap().json();
    assert_eq!(
        (events[0].json()["type"].as_str(), last["text"].as_str()),
        (Some("transcript.text.delta"), Some("1000 bytes of a.mp3"))
    );
    // Ten tokens heard, four words written.
    assert_eq!(costs(&world).await, [(10 * 2_500 + 4 * 10_000, v1::LedgerEntryKind::Exact)]);
}

#[tokio::test]
async fn events_that_break_off_end_with_an_error() {
    let world = world().await;
    for upstream in ["transcribe", "tts-tokens"] {
        world.provider.script(upstream, [Step::default().then_cuts(2, Cut::Rst)]);
    }
    let parts = [field("model", "hear-tokens"), field("stream", "true"), file("file", &[7; 1_000])];
    let heard = world.gateway.caller().form(&world.v1("audio/transcriptions"), form(&parts)).await.unwrap();
    let asked = spoken(json!({"model": "say-tokens", "stream_format": "sse"}));
    let said = world.gateway.caller().stream(&world.v1("audio/speech"), &asked).await.unwrap();
    for (stream, kind) in [(heard, "transcript.text.delta"), (said, "speech.audio.delta")] {
        let (events, end) = stream.rest().await;
        end.unwrap();
        let (first, last) = (events[0].json(), events.last().unwrap().json());
        assert_eq!(first["type"], kind, "{events:?}");
        assert!(last["error"]["message"].is_string(), "{events:?}");
    }
    assert_eq!(world.budget().await.held_nano_usd, 0);
}

#[tokio::test]
async fn what_happens_behind_the_last_event_harms_no_answer() {
    let world = world().await;
    let breaks = || Step::default().then_cuts(Step::BEHIND_THE_END, Cut::Rst);
    for upstream in ["transcribe", "tts-tokens", "draws"] {
        world.provider.script(upstream, [breaks(), Step::default().then_stalls(Step::BEHIND_THE_END)]);
    }
    let caller = world.gateway.caller();
    for how in ["it breaks", "it stays open"] {
        let parts = [field("model", "hear-tokens"), field("stream", "true"), file("file", &[7; 1_000])];
        let heard = caller.form(&world.v1("audio/transcriptions"), form(&parts)).await.unwrap();
        let asked = spoken(json!({"model": "say-tokens", "stream_format": "sse"}));
        let said = caller.stream(&world.v1("audio/speech"), &asked).await.unwrap();
        let asked = json!({"model": "draw", "prompt": "a gate", "stream": true});
        let drawn = caller.stream(&world.v1("images/generations"), &asked).await.unwrap();
        for (stream, last) in
            [(heard, "transcript.text.done"), (said, "speech.audio.done"), (drawn, "image_generation.completed")]
        {
            let (events, end) = stream.rest().await;
            end.unwrap();
            assert_eq!(events.last().unwrap().json()["type"], last, "{how}: {events:?}");
        }
    }
    world.provider.script("whisper", [breaks()]);
    let reply = send(&world, "audio/transcriptions", &[field("model", "hear"), file("file", &[7; 2_500])]).await;
    assert_eq!((reply.status.as_u16(), &reply.json()["text"]), (200, &json!("2500 bytes of a.mp3")));
    let entries = world.entries().await;
    assert_eq!(entries.len(), 7);
    let whole = |entry: &v1::LedgerEntry| entry.kind() == v1::LedgerEntryKind::Exact && entry.outcome == "complete";
    assert!(entries.iter().all(whole), "{entries:?}");
    assert_eq!(world.budget().await.held_nano_usd, 0);
}

#[tokio::test]
async fn a_large_upload_goes_on_while_it_comes_in_and_has_one_attempt() {
    let world = world().await;
    const PIECE: usize = 1 << 20;
    let (pieces, incoming) = tokio::sync::mpsc::channel::<Bytes>(1);
    let body = tokio_stream::wrappers::ReceiverStream::new(incoming);
    let url = world.v1("audio/transcriptions");
    let caller = world.gateway.caller();
    let asking = tokio::spawn(async move { caller.form(&url, body).await.unwrap().whole().await.unwrap() });
    let mut head = [field("model", "hear"), file("file", &[])].concat();
    head.truncate(head.len() - 2);
    pieces.send(head.into()).await.unwrap();
    for _ in 0..12 {
        pieces.send(vec![7; PIECE].into()).await.unwrap();
    }
    // Half of it is sent, and the provider has most of that.
    eventually("the provider has what came in", async || world.provider.received() > 10 << 20).await;
    for _ in 0..12 {
        pieces.send(vec![7; PIECE].into()).await.unwrap();
    }
    pieces.send("\r\n--BOUNDARY--\r\n".into()).await.unwrap();
    drop(pieces);
    let reply = asking.await.unwrap();
    assert_eq!(reply.json()["text"], format!("{} bytes of a.mp3", 24 * PIECE));
    assert_eq!(world.budget().await.held_nano_usd, 0);

    world.provider.script("whisper", [Step::fails(500)]);
    let reply =
        send(&world, "audio/transcriptions", &[field("model", "hear"), file("file", &vec![7; 3 * PIECE])]).await;
    assert_eq!(code(&reply), (502, json!("provider_failed")), "{:?}", reply.json());
    // A small one is sent again.
    world.provider.script("whisper", [Step::fails(500)]);
    let reply = send(&world, "audio/transcriptions", &[field("model", "hear"), file("file", &[7; 3_000])]).await;
    assert_eq!((reply.status.as_u16(), reply.header("x-tollgate-deployment")), (200, "hear:scripted/spare-whisper"));
}

#[tokio::test]
async fn an_upload_that_breaks_costs_nothing() {
    let world = world().await;
    let mut head = [field("model", "hear"), file("file", &[7; 3 << 20])].concat();
    head.truncate(head.len() - 2);
    let (pieces, incoming) = tokio::sync::mpsc::channel::<Bytes>(1);
    let body = tokio_stream::wrappers::ReceiverStream::new(incoming);
    let (url, caller) = (world.v1("audio/transcriptions"), world.gateway.caller());
    let asking = tokio::spawn(async move { caller.form(&url, body).await });
    pieces.send(head.into()).await.unwrap();
    eventually("the provider has begun to read", async || world.provider.received() > 1 << 20).await;
    assert!(world.budget().await.held_nano_usd > 0, "money is held while it comes in");
    asking.abort();
    drop(pieces);
    eventually("it is given back", async || world.budget().await.held_nano_usd == 0).await;
    assert_eq!((world.budget().await.spent_nano_usd, costs(&world).await), (0, vec![]));
}

#[tokio::test]
async fn a_budget_that_does_not_hold_refuses_before_anything_is_sent() {
    let world = world_with("0.0001").await;
    let reply = send(&world, "audio/transcriptions", &[field("model", "hear"), file("file", &[7; 900_000])]).await;
    assert_eq!(code(&reply), (429, json!("budget_exceeded")));
    let long = spoken(json!({"input": "a".repeat(20)}));
    let reply = world.gateway.caller().post(&world.v1("audio/speech"), &long).await.unwrap();
    assert_eq!(code(&reply), (429, json!("budget_exceeded")));
    assert!(world.provider.log().records().is_empty());
}

#[tokio::test]
async fn edits_take_several_images_and_a_mask_and_may_be_streamed() {
    let world = world().await;
    let parts = [
        file("image[]", b"first"),
        file("image[]", b"second"),
        file("mask", b"mask"),
        field("model", "draw"),
        field("prompt", "a gate at dusk"),
        field("n", "2"),
        field("input_fidelity", "high"),
    ];
    let reply = send(&world, "images/edits", &parts).await;
    assert_eq!(reply.json()["data"].as_array().map(Vec::len), Some(2), "{:?}", reply.body);
    let sent = world.provider.log().last().unwrap().body.unwrap();
    let fields: Vec<_> = sent["files"].as_array().unwrap().iter().map(|file| file["field"].clone()).collect();
    assert_eq!(
        (fields, &sent["input_fidelity"]),
        (vec![json!("image[]"), json!("image[]"), json!("mask")], &json!("high"))
    );
    // Four words and three images read, two images written.
    assert_eq!(costs(&world).await, [(304 * 2_500 + 2 * 1_056 * 10_000, v1::LedgerEntryKind::Exact)]);

    let edit = [
        field("model", "draw"),
        field("prompt", "a gate"),
        field("stream", "true"),
        field("partial_images", "2"),
        file("image", b"one"),
    ];
    let stream = world.gateway.caller().form(&world.v1("images/edits"), form(&edit)).await.unwrap();
    let drawn = json!({"model": "draw", "prompt": "a gate", "stream": true, "partial_images": 2});
    let made = world.gateway.caller().stream(&world.v1("images/generations"), &drawn).await.unwrap();
    for (stream, name) in [(stream, "image_edit"), (made, "image_generation")] {
        let (events, end) = stream.rest().await;
        end.unwrap();
        let kinds: Vec<_> = events.iter().map(|event| event.name.clone().unwrap()).collect();
        let partial = format!("{name}.partial_image");
        assert_eq!(kinds, [partial.clone(), partial, format!("{name}.completed")]);
        assert_eq!(events[2].json()["usage"]["output_tokens"], 1_056);
    }
    assert_eq!(world.budget().await.held_nano_usd, 0);
}

#[tokio::test]
async fn an_edit_that_names_no_model_is_for_the_one_that_openai_named_last() {
    let draws = json!({"provider": "scripted", "model": "draws", "price": {"input": "2.5", "output": "10"}});
    let world = World::with(|builder| builder.deployment("gpt-image-1.5", draws)).await;
    let reply = send(&world, "images/edits", &[file("image", b"one"), field("prompt", "a gate")]).await;
    assert_eq!(reply.status, 200, "{:?}", reply.body);
    assert_eq!(world.provider.log().last().unwrap().body.unwrap()["model"], "draws");
}

#[tokio::test]
async fn what_is_no_form_or_lacks_something_is_told_by_name() {
    let world = world().await;
    let reply =
        world.gateway.caller().post(&world.v1("audio/transcriptions"), &json!({"model": "hear"})).await.unwrap();
    assert_eq!(code(&reply), (400, json!("invalid_value")));
    let param = |reply: &Reply| (reply.status.as_u16(), reply.json()["error"]["param"].clone());
    assert_eq!(param(&send(&world, "audio/transcriptions", &[field("model", "hear")]).await), (400, json!("file")));
    assert_eq!(param(&send(&world, "audio/transcriptions", &[file("file", b"a")]).await), (400, json!("model")));
    let hot = [field("model", "hear"), field("temperature", "hot"), file("file", b"a")];
    assert_eq!(param(&send(&world, "audio/transcriptions", &hot).await), (400, json!("temperature")));
    assert_eq!(
        param(&send(&world, "images/edits", &[field("model", "draw"), field("prompt", "a")]).await),
        (400, json!("image"))
    );
    let broken = futures::stream::iter([Bytes::from([field("model", "hear"), file("file", b"a")].concat())]);
    let reply =
        world.gateway.caller().form(&world.v1("audio/transcriptions"), broken).await.unwrap().whole().await.unwrap();
    assert_eq!(code(&reply), (400, json!("invalid_body")));
    let keyed = world.gateway.caller().with("idempotency-key", "k");
    let parts = [field("model", "hear"), file("file", b"a")];
    let reply = keyed.form(&world.v1("audio/transcriptions"), form(&parts)).await.unwrap().whole().await.unwrap();
    assert_eq!(reply.status.as_u16(), 400);
    let entries = world.entries().await;
    assert!(entries.is_empty(), "{entries:?}");
    assert!(world.provider.log().records().is_empty());
}

#[tokio::test]
async fn callers_of_the_contract_get_words_sound_and_images() {
    use v1::{
        create_speech_response::Event as Spoken, create_transcription_request::Part,
        create_transcription_response::Event as Heard,
    };
    let world = world().await;
    let client = world.caller().await;
    let asked = v1::CreateSpeechRequest {
        model: Some("say-tokens".into()),
        input: Some("Hello gate".into()),
        voice: Some("coral".into()),
        extra_json: r#"{"stream_format":"sse"}"#.into(),
        ..Default::default()
    };
    let told: Vec<_> = client
        .audio()
        .create_speech(asked)
        .await
        .unwrap()
        .into_inner()
        .map(|m| m.unwrap().event.unwrap())
        .collect()
        .await;
    let sound: Vec<u8> = told
        .iter()
        .filter_map(|e| if let Spoken::Audio(bytes) = e { Some(bytes.to_vec()) } else { None })
        .flatten()
        .collect();
    assert_eq!(sound, b"Hello gate");
    let Some(Spoken::Usage(usage)) = told.last() else { panic!("{told:?}") };
    assert_eq!((usage.characters, usage.output.unwrap().audio, usage.estimated), (Some(10), 20, false));

    let head = v1::TranscriptionHead {
        model: Some("hear-tokens".into()),
        response_format: Some("verbose_json".into()),
        ..Default::default()
    };
    let file = v1::UploadFile { field: "file".into(), filename: "b.wav".into(), ..Default::default() };
    let parts = [Part::Head(head), Part::File(file), Part::Data("sound".into())];
    let messages = parts.map(|part| v1::CreateTranscriptionRequest { part: Some(part) });
    let told: Vec<_> = client
        .audio()
        .create_transcription(futures::stream::iter(messages))
        .await
        .unwrap()
        .into_inner()
        .map(|m| m.unwrap().event.unwrap())
        .collect()
        .await;
    let [Heard::Started(started), Heard::Transcript(transcript), Heard::Usage(_)] = &told[..] else {
        panic!("{told:?}")
    };
    assert_eq!(
        (transcript.text.as_str(), transcript.duration_ms, transcript.segments.len()),
        ("5 bytes of b.wav", Some(5), 1)
    );
    assert_eq!(started.provider, "scripted");

    let late = [Part::Data("sound".into())].map(|part| v1::CreateTranscriptionRequest { part: Some(part) });
    let refused = client.audio().create_transcription(futures::stream::iter(late)).await.unwrap_err();
    assert_eq!(reason(&refused), Some(v1::ErrorReason::InvalidField));
}

#[tokio::test]
async fn a_recording_in_large_messages_reaches_its_provider_whole() {
    use v1::{create_transcription_request::Part, create_transcription_response::Event as Heard};
    let world = world().await;
    let head = v1::TranscriptionHead {
        model: Some("hear".into()),
        response_format: Some("json".into()),
        ..Default::default()
    };
    let file = v1::UploadFile { field: "file".into(), filename: "b.mp3".into(), ..Default::default() };
    let data = || Part::Data(vec![7; 2 << 20].into());
    let messages = [Part::Head(head), Part::File(file), data(), data()];
    let messages = messages.map(|part| v1::CreateTranscriptionRequest { part: Some(part) });
    let asked = futures::stream::iter(messages);
    let mut told = world.caller().await.audio().create_transcription(asked).await.unwrap().into_inner();
    let mut text = String::new();
    while let Some(message) = told.message().await.unwrap() {
        if let Some(Heard::Transcript(transcript)) = message.event {
            text = transcript.text;
        }
    }
    assert_eq!(text, format!("{} bytes of b.mp3", 4 << 20));
}
