//! Mistral: OpenAI's callers are heard and spoken to in Mistral's words, and pay by its figures.

use futures::StreamExt;
use serde_json::{Value, json};
use tollgate_client::v1::{self, create_transcription_request::Part, create_transcription_response::Event as Heard};
use tollgate_tests::provider::{Cut, Step};

use super::{code, costs, field, file, form, send};
use crate::support::{World, eventually};

async fn world_with(budget_usd: &str) -> World {
    World::with_provider(|builder, url| {
        let by = |model: &str, price: Value| json!({"provider": "mistral", "model": model, "price": price});
        builder
            .provider_of_kind("mistral", "mistral", &url.replace("/v1", "/mistral/v1"))
            .deployment("hear", by("voxtral", json!({"per_audio_second": "0.00005"})))
            .deployment("hear-tokens", by("voxtral-tokens", json!({"input": "1", "output": "4"})))
            .deployment("say", by("voxtral-tts", json!({"per_million_characters": "16"})))
            .budget_usd(budget_usd)
    })
    .await
}

async fn world() -> World {
    world_with("100").await
}

fn asked(more: &[Vec<u8>]) -> Vec<Vec<u8>> {
    [&[field("model", "hear")][..], more, &[file("file", &[7; 2_500])]].concat()
}

const TEXT: &str = "2500 bytes of a.mp3";
/// Three seconds begun, at five thousandths of a cent.
const COST: i64 = 150_000;

#[tokio::test]
async fn a_recording_is_written_down_in_the_form_that_is_asked_for() {
    let world = world().await;
    let with = |format: &str| asked(&[field("response_format", format), field("language", "en")]);
    let reply = send(&world, "audio/transcriptions", &with("json")).await;
    assert_eq!((reply.status.as_u16(), &reply.json()["text"]), (200, &json!(TEXT)), "{:?}", reply.body);
    let sent = world.provider.log().last().unwrap();
    let files = json!([{"field": "file", "filename": "a.mp3", "type": "audio/mpeg", "bytes": 2500}]);
    assert_eq!(sent.body.unwrap(), json!({"files": files, "model": "voxtral", "language": "en"}));
    assert_eq!(sent.path, "/mistral/v1/audio/transcriptions");

    let verbose = send(&world, "audio/transcriptions", &with("verbose_json")).await.json();
    assert_eq!(
        (&verbose["task"], &verbose["language"], &verbose["duration"]),
        (&json!("transcribe"), &json!("en"), &json!(3.0))
    );
    assert_eq!(verbose["segments"], json!([{"id": 0, "start": 0.0, "end": 3.0, "text": TEXT}]));
    assert_eq!(verbose["usage"], json!({"type": "duration", "seconds": 3.0}));
    let words = asked(&[field("response_format", "verbose_json"), field("timestamp_granularities[]", "word")]);
    let words = send(&world, "audio/transcriptions", &words).await.json();
    assert_eq!(words["words"][3], json!({"word": "a.mp3", "start": 2.25, "end": 3.0}));

    let srt = send(&world, "audio/transcriptions", &with("srt")).await;
    assert_eq!(srt.header("content-type"), "text/plain; charset=utf-8");
    assert_eq!(srt.body, format!("1\n00:00:00,000 --> 00:00:03,000\n{TEXT}\n\n"));
    let vtt = send(&world, "audio/transcriptions", &with("vtt")).await;
    assert_eq!(vtt.body, format!("WEBVTT\n\n00:00:00.000 --> 00:00:03.000\n{TEXT}\n\n"));
    assert_eq!(send(&world, "audio/transcriptions", &with("text")).await.body, format!("{TEXT}\n"));
    let speakers = send(&world, "audio/transcriptions", &with("diarized_json")).await.json();
    assert_eq!(speakers["segments"][0]["speaker"], "speaker_1");
    assert_eq!(costs(&world).await, vec![(COST, v1::LedgerEntryKind::Exact); 7]);
    assert_eq!(world.budget().await.held_nano_usd, 0);
}

#[tokio::test]
async fn a_transcript_is_told_in_openais_events() {
    let world = world().await;
    let parts = [field("model", "hear-tokens"), field("stream", "true"), file("file", &[7; 2_000])];
    let stream = world.gateway.caller().form(&world.v1("audio/transcriptions"), form(&parts)).await.unwrap();
    let (events, end) = stream.rest().await;
    end.unwrap();
    let events: Vec<Value> = events.iter().map(|event| event.json()).collect();
    let deltas: String = events.iter().filter_map(|event| event["delta"].as_str()).collect();
    let last = events.last().unwrap();
    assert_eq!((deltas.as_str(), &last["type"]), ("2000 bytes of a.mp3", &json!("transcript.text.done")));
    let details = json!({"text_tokens": 4, "audio_tokens": 25});
    assert_eq!(
        (&last["text"], &last["usage"]["input_tokens"], &last["usage"]["input_token_details"]),
        (&json!(deltas), &json!(29), &details)
    );
    assert_eq!(costs(&world).await, [(29 * 1_000 + 4 * 4_000, v1::LedgerEntryKind::Exact)]);
}

#[tokio::test]
async fn what_happens_behind_the_last_event_harms_no_answer() {
    let world = world().await;
    let breaks = || Step::default().then_cuts(Step::BEHIND_THE_END, Cut::Rst);
    world.provider.script("voxtral-tokens", [breaks(), Step::default().then_stalls(Step::BEHIND_THE_END)]);
    world.provider.script("voxtral-tts", [breaks()]);
    for _ in ["it breaks", "it stays open"] {
        let parts = [field("model", "hear-tokens"), field("stream", "true"), file("file", &[7; 2_000])];
        let stream = world.gateway.caller().form(&world.v1("audio/transcriptions"), form(&parts)).await.unwrap();
        let (events, end) = stream.rest().await;
        end.unwrap();
        assert_eq!(events.last().unwrap().json()["type"], "transcript.text.done", "{events:?}");
    }
    assert_eq!(costs(&world).await, [(29 * 1_000 + 4 * 4_000, v1::LedgerEntryKind::Exact); 2]);
    let say = json!({"model": "say", "input": "Hello to the gate", "voice": "v"});
    let reply = world.gateway.caller().post(&world.v1("audio/speech"), &say).await.unwrap();
    assert_eq!((reply.status.as_u16(), &reply.body[..]), (200, &b"Hello to the gate"[..]));
    assert_eq!(world.budget().await.held_nano_usd, 0);
}

#[tokio::test]
async fn fields_behind_the_recording_count_too() {
    let world = world().await;
    let parts = [asked(&[]), vec![field("response_format", "srt"), field("keywords[]", "Tollgate")]].concat();
    let reply = send(&world, "audio/transcriptions", &parts).await;
    assert!(reply.body.starts_with(b"1\n00:00:00,000"), "{:?}", reply.body);
    let sent = world.provider.log().last().unwrap().body.unwrap();
    assert_eq!((&sent["context_bias"], &sent["timestamp_granularities"]), (&json!("Tollgate"), &json!("segment")));
    assert!(sent.get("response_format").is_none() && sent.get("keywords[]").is_none(), "{sent}");
    // What is too large to be kept went on before they came.
    let large = [field("model", "hear"), file("file", &vec![7; 2 << 20]), field("response_format", "srt")];
    let reply = send(&world, "audio/transcriptions", &large).await;
    assert_eq!(
        (reply.status.as_u16(), &reply.json()["error"]["param"]),
        (400, &json!("response_format")),
        "{:?}",
        reply.body
    );
    let entries = costs(&world).await;
    assert_eq!(entries.len(), 1, "what was not sent whole costs nothing: {entries:?}");
    let whole = [field("model", "hear"), field("response_format", "srt"), file("file", &vec![7; 2 << 20])];
    let reply = send(&world, "audio/transcriptions", &whole).await;
    assert_eq!(reply.status, 200, "{:?}", reply.body);
}

#[tokio::test]
async fn what_mistral_cannot_heed_is_refused_by_name_or_left_out() {
    let world = world().await;
    let param = async |parts: &[Vec<u8>], route: &str| {
        let reply = send(&world, route, parts).await;
        (reply.status.as_u16(), reply.json()["error"]["param"].clone())
    };
    let prompt = asked(&[field("prompt", "about gates")]);
    assert_eq!(param(&prompt, "audio/transcriptions").await, (400, json!("prompt")));
    let include = asked(&[field("include[]", "logprobs")]);
    assert_eq!(param(&include, "audio/transcriptions").await, (400, json!("include[]")));
    assert!(world.provider.log().records().is_empty());
    let lenient = world.gateway.caller().with("x-tollgate-drop-params", "true");
    let reply = lenient.form(&world.v1("audio/transcriptions"), form(&prompt)).await.unwrap().whole().await.unwrap();
    assert_eq!(reply.status, 200, "{:?}", reply.body);
    // It writes down and does not translate: nobody there to ask.
    let reply = send(&world, "audio/translations", &asked(&[])).await;
    assert_eq!(reply.status, 400, "{:?}", reply.body);
    let aac = json!({"model": "say", "input": "Hello", "voice": "v", "response_format": "aac"});
    let reply = world.gateway.caller().post(&world.v1("audio/speech"), &aac).await.unwrap();
    assert_eq!((reply.status.as_u16(), &reply.json()["error"]["param"]), (400, &json!("response_format")));
}

#[tokio::test]
async fn a_text_is_spoken_in_bytes_or_events_and_paid_by_the_character() {
    let world = world().await;
    let say = |format: &str, more: Value| {
        let mut body =
            json!({"model": "say", "input": "Hello to the gate", "voice": "voice_1", "response_format": format});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    for (format, kind) in [("mp3", "audio/mpeg"), ("wav", "audio/wav"), ("opus", "audio/ogg"), ("flac", "audio/flac")] {
        let reply = world.gateway.caller().post(&world.v1("audio/speech"), &say(format, json!({}))).await.unwrap();
        assert_eq!((reply.header("content-type"), &reply.body[..]), (kind, &b"Hello to the gate"[..]));
        let sent = world.provider.log().last().unwrap().body.unwrap();
        assert_eq!((&sent["voice_id"], sent.get("voice")), (&json!("voice_1"), None));
    }
    // Mistral's samples are floating-point numbers, OpenAI's have 16 bits.
    let reply = world.gateway.caller().post(&world.v1("audio/speech"), &say("pcm", json!({}))).await.unwrap();
    let samples: Vec<u8> = reply.body.chunks(2).map(|two| two[0]).collect();
    assert_eq!((reply.header("content-type"), &samples[..]), ("audio/pcm", &b"Hello to the gate"[..]));

    let asked = say("mp3", json!({"stream_format": "sse"}));
    let stream = world.gateway.caller().stream(&world.v1("audio/speech"), &asked).await.unwrap();
    let (events, end) = stream.rest().await;
    end.unwrap();
    let kinds: Vec<_> = events.iter().map(|event| event.json()["type"].as_str().unwrap().to_owned()).collect();
    assert_eq!(kinds, [vec!["speech.audio.delta"; 4], vec!["speech.audio.done"]].concat());
    assert_eq!(events[4].json()["usage"]["output_tokens"], 40);
    // Seventeen characters each, whatever else is told.
    assert!(costs(&world).await.iter().all(|(cost, _)| *cost == 17 * 16_000));
    assert_eq!(costs(&world).await.len(), 6);
}

#[tokio::test]
async fn what_breaks_or_is_left_is_booked_and_a_budget_refuses_before() {
    let world = world().await;
    world.provider.script("voxtral-tts", [Step::default().then_cuts(2, Cut::Rst)]);
    let say = json!({"model": "say", "input": "Hello to the gate", "voice": "v"});
    let stream = world.gateway.caller().stream(&world.v1("audio/speech"), &say).await.unwrap();
    assert!(stream.whole().await.is_err(), "half a speech must not look like a whole one");
    assert_eq!(costs(&world).await, [(17 * 16_000, v1::LedgerEntryKind::Estimated)]);

    world.provider.script("voxtral-tts", [Step::default().then_stalls(1)]);
    let stream = world.gateway.caller().stream(&world.v1("audio/speech"), &say).await.unwrap();
    drop(stream);
    eventually("the caller who left is charged", async || costs(&world).await.len() == 2).await;
    world.provider.script("voxtral", [Step::fails(400)]);
    let reply = send(&world, "audio/transcriptions", &asked(&[])).await;
    assert_eq!((reply.status.as_u16(), costs(&world).await.len()), (400, 2), "what is refused costs nothing");
    assert_eq!(world.budget().await.held_nano_usd, 0);

    let poor = world_with("0.00001").await;
    let reply = send(&poor, "audio/transcriptions", &asked(&[])).await;
    assert_eq!(code(&reply), (429, json!("budget_exceeded")));
    assert!(poor.provider.log().records().is_empty());
}

#[tokio::test]
async fn callers_of_the_contract_get_pieces_with_their_times() {
    let world = world().await;
    let head = v1::TranscriptionHead {
        model: Some("hear".into()),
        response_format: Some("diarized_json".into()),
        stream: Some(true),
        ..Default::default()
    };
    let file = v1::UploadFile { field: "file".into(), filename: "b.wav".into(), ..Default::default() };
    let parts = [Part::Head(head), Part::File(file), Part::Data("sound".into())];
    let messages = parts.map(|part| v1::CreateTranscriptionRequest { part: Some(part) });
    let told = world.caller().await.audio().create_transcription(futures::stream::iter(messages)).await.unwrap();
    let told: Vec<_> = told.into_inner().map(|m| m.unwrap().event.unwrap()).collect().await;
    let [Heard::Started(started), Heard::Delta(delta), Heard::Transcript(transcript), Heard::Usage(usage)] = &told[..]
    else {
        panic!("{told:?}")
    };
    assert_eq!((started.provider.as_str(), delta.as_str()), ("mistral", "5 bytes of b.wav"));
    let segment = &transcript.segments[0];
    assert_eq!((segment.end_ms, segment.speaker.as_str(), transcript.language.as_str()), (1_000, "speaker_1", "en"));
    assert_eq!((usage.audio_ms, usage.cost_nano_usd), (Some(1_000), 50_000));
}
