//! Every route of REST that answers out of a call on record.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tollgate_tests::{
    provider::Step,
    support::http::{Caller, Event, Reply},
};

use super::{HEADER, Promised, are_kept, documented, read, world};
use crate::{
    files,
    media::{field, file, form},
    support::{World, eventually, hello},
};

/// Where an answer has its receipt.
#[derive(Clone, Copy, Debug)]
enum In {
    Header,
    Trailer,
    /// `tollgate.receipt` of a chunk.
    Chunk,
    /// `receipt` of an event of the name `tollgate`.
    Event,
    /// `response.tollgate.receipt` of the last event.
    LastResponse,
    /// `tollgate.receipt` of the object.
    Object,
}

/// A call, by its row in the documentation.
struct Row {
    row: &'static str,
    action: &'static str,
    place: In,
    route: &'static str,
    asked: Asked,
}

enum Asked {
    Json(Value),
    Form(Vec<Vec<u8>>),
}

fn row(row: &'static str, action: &'static str, place: In, route: &'static str, body: Value) -> Row {
    Row { row, action, place, route, asked: Asked::Json(body) }
}

fn sent(row: &'static str, action: &'static str, place: In, route: &'static str, parts: Vec<Vec<u8>>) -> Row {
    Row { row, action, place, route, asked: Asked::Form(parts) }
}

fn with(mut body: Value, more: Value) -> Value {
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

fn rows() -> Vec<Row> {
    const WHOLE: &str = "completion.create";
    const STREAMED: &str = "completion.stream";
    let streamed = |body: Value| with(body, json!({"stream": true}));
    let mut rows = Vec::new();
    // Of the provider's own dialect, and of another.
    for model in ["scripted", "claude"] {
        let (chat, prompt) = (hello(json!({"model": model})), json!({"model": model, "prompt": "Say hello"}));
        rows.push(row("`POST /v1/chat/completions`", WHOLE, In::Header, "chat/completions", chat.clone()));
        rows.push(row("... streamed", STREAMED, In::Chunk, "chat/completions", streamed(chat)));
        rows.push(row("`POST /v1/completions`", WHOLE, In::Header, "completions", prompt.clone()));
        rows.push(row("... streamed", STREAMED, In::Chunk, "completions", streamed(prompt)));
        let message = hello(json!({"model": model, "max_tokens": 400}));
        rows.push(row("`POST /v1/messages`", WHOLE, In::Header, "messages", message.clone()));
        rows.push(row("`POST /v1/messages`, streamed", STREAMED, In::Event, "messages", streamed(message)));
    }
    for model in ["native", "claude"] {
        let asked = json!({"model": model, "input": "Say hello"});
        rows.push(row("`POST /v1/responses`", WHOLE, In::Header, "responses", asked.clone()));
        let unkept = with(asked.clone(), json!({"store": false}));
        rows.push(row("`POST /v1/responses`", WHOLE, In::Object, "responses", unkept));
        rows.push(row("`POST /v1/responses`, streamed", STREAMED, In::LastResponse, "responses", streamed(asked)));
    }
    let embed = json!({"model": "embed", "input": "hello"});
    rows.push(row("`POST /v1/embeddings`", "embedding.create", In::Header, "embeddings", embed));
    let rank = json!({"model": "rank", "query": "open the gate", "documents": ["a gate", "a wall"]});
    rows.push(row("`POST /v1/rerank`", "rerank.create", In::Header, "rerank", rank));
    let judge = json!({"model": "judge", "input": "be nice"});
    rows.push(row("`POST /v1/moderations`", "moderation.create", In::Header, "moderations", judge));
    let draw = json!({"model": "draw", "prompt": "a gate at dawn"});
    rows.push(row("`POST /v1/images/generations`", "image.generate", In::Header, "images/generations", draw.clone()));
    let drawn = streamed(draw);
    rows.push(row("... streamed", "image.stream", In::Event, "images/generations", drawn));
    let edit = || vec![field("model", "draw"), field("prompt", "a gate at dusk"), file("image", b"png")];
    rows.push(sent("`POST /v1/images/edits`", "image.edit", In::Header, "images/edits", edit()));
    let edited = [edit(), vec![field("stream", "true")]].concat();
    rows.push(sent("... streamed", "image.edit", In::Event, "images/edits", edited));
    let say = json!({"model": "say", "input": "Hello to the gate", "voice": "coral"});
    rows.push(row("`POST /v1/audio/speech`", "speech.create", In::Header, "audio/speech", say.clone()));
    rows.push(row("... with `TE: trailers`", "speech.create", In::Trailer, "audio/speech", say.clone()));
    let events = with(say, json!({"model": "say-tokens", "stream_format": "sse"}));
    rows.push(row("... with `stream_format: sse`", "speech.create", In::Event, "audio/speech", events));
    let hear = |format: &str| vec![field("model", "hear"), field("response_format", format), file("file", b"sound")];
    for format in ["json", "srt"] {
        let heard = hear(format);
        rows.push(sent(
            "`POST /v1/audio/transcriptions`",
            "transcription.create",
            In::Header,
            "audio/transcriptions",
            heard,
        ));
    }
    let streamed = vec![field("model", "hear-tokens"), field("stream", "true"), file("file", b"sound")];
    rows.push(sent("... streamed", "transcription.create", In::Event, "audio/transcriptions", streamed));
    let (route, heard) = ("audio/translations", hear("json"));
    rows.push(sent("`POST /v1/audio/translations`", "translation.create", In::Header, route, heard));
    rows
}

async fn ask(world: &World, caller: &Caller, route: &str, asked: &Asked) -> Reply {
    let url = world.v1(route);
    let stream = match asked {
        Asked::Json(body) => caller.stream(&url, body).await,
        Asked::Form(parts) => caller.form(&url, form(parts)).await,
    };
    stream.unwrap().whole().await.unwrap()
}

fn found(place: In, reply: &Reply) -> Option<String> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let events = || Event::all(&String::from_utf8_lossy(&reply.body));
    match place {
        In::Header => Some(reply.header(HEADER).to_owned()).filter(|header| !header.is_empty()),
        In::Trailer => Some(reply.trailers.get(HEADER)?.to_str().unwrap().to_owned()),
        In::Chunk => events().iter().find_map(|event| text(&event.json()["tollgate"]["receipt"])),
        In::Event => events().iter().find_map(|event| {
            let is_own = event.name.as_deref() == Some("tollgate") && event.json()["type"] == "tollgate";
            is_own.then(|| text(&event.json()["receipt"]))?
        }),
        In::LastResponse => text(&events().last()?.json()["response"]["tollgate"]["receipt"]),
        In::Object => text(&reply.json()["tollgate"]["receipt"]),
    }
}

#[tokio::test]
async fn every_route_brings_its_receipt_where_the_table_says_and_the_log_keeps_it() {
    let world = world().await;
    let (silent, mut promised, mut shown) = (world.gateway.caller(), Vec::new(), BTreeSet::new());
    let mut above = "";
    for Row { row, action, place, route, asked } in rows() {
        let caller = match place {
            In::Trailer => silent.clone().with("te", "trailers"),
            _ => silent.clone(),
        };
        let whose = format!("{row} ({route}, {place:?})");
        let reply = ask(&world, &caller, route, &asked).await;
        assert_eq!(reply.status, 200, "{whose}: {}", String::from_utf8_lossy(&reply.body));
        let is_silent = found(place, &reply).is_none() && reply.headers.get(HEADER).is_none();
        assert!(is_silent, "{whose}: only who asks gets one");

        let reply = ask(&world, &caller.with(HEADER, "true"), route, &asked).await;
        assert_eq!(reply.status, 200, "{whose}");
        let told = found(place, &reply).unwrap_or_else(|| panic!("{whose}: none in {reply:?}"));
        promised.push(Promised { whose, action, receipt: read(&told) });
        // A row that goes on from the one above is named by both.
        above = if row.starts_with("...") { above } else { row };
        shown.insert(row.replacen("...", above, 1));
    }
    are_kept(&world, &promised).await;
    let elsewhere = [
        "`GET /v1/responses/{id}`",
        "`POST /v1/responses`, in the background",
        "`POST /v1/files`",
        "`POST /v1/batches`",
    ];
    shown.extend(elsewhere.map(str::to_owned));
    assert_eq!(shown, documented("### Where they are in REST"));
}

#[tokio::test]
async fn a_response_that_is_kept_shows_its_receipt_to_whoever_reads_it_again() {
    let world = world().await;
    let asking = world.gateway.caller().with(HEADER, "true");
    let mut promised = Vec::new();
    for model in ["native", "claude"] {
        for (more, action) in [
            (json!({}), "completion.create"),
            (json!({"stream": true}), "completion.stream"),
            (json!({"background": true}), "completion.stream"),
        ] {
            let asked = with(json!({"model": model, "input": "Say hello"}), more.clone());
            let reply = ask(&world, &asking, "responses", &Asked::Json(asked)).await;
            let events = Event::all(&String::from_utf8_lossy(&reply.body));
            let begun = events.last().map_or_else(|| reply.json(), |last| last.json()["response"].clone());
            let url = world.v1(&format!("responses/{}", begun["id"].as_str().unwrap()));
            let kept = async || world.gateway.caller().get(&url).await.unwrap();
            eventually("it is complete", async || kept().await.json()["status"] == "completed").await;
            let whose = format!("{model} {more}");
            let told = found(In::Object, &kept().await).unwrap_or_else(|| panic!("{whose}"));
            if more["background"] != true {
                assert_eq!(begun["tollgate"]["receipt"], told, "{whose}: as it was first told");
            }
            promised.push(Promised { whose, action, receipt: read(&told) });
        }
    }
    are_kept(&world, &promised).await;
}

#[tokio::test]
async fn an_upload_and_a_batch_bring_theirs_and_so_do_their_refusals() {
    let world = World::with(files::quick).await;
    let asking = world.gateway.caller().with(HEADER, "true");
    let upload = async |caller: &Caller, input: &str| {
        caller.upload(&world.v1("files"), &[("purpose", "batch"), ("file", "input.jsonl")], input).await.unwrap()
    };
    let mut promised = Vec::new();
    let mut promise = |whose: &str, action: &'static str, status: u16, reply: &Reply| {
        assert_eq!(reply.status, status, "{whose}: {}", reply.json());
        promised.push(Promised { whose: whose.into(), action, receipt: read(reply.header(HEADER)) });
    };
    let body = json!({"model": "bulk", "messages": [{"role": "user", "content": "hello"}], "max_completion_tokens": 9});
    let line = json!({"custom_id": "r1", "method": "POST", "url": "/v1/chat/completions", "body": body}).to_string();
    let file = upload(&asking, &line).await;
    promise("an upload", "file.create", 200, &file);
    promise("an upload that is no batch", "file.create", 400, &upload(&asking, "hello").await);
    let begin =
        |endpoint: &str| json!({"input_file_id": file.json()["id"], "endpoint": endpoint, "completion_window": "24h"});
    let url = world.v1("batches");
    let chats = begin("/v1/chat/completions");
    promise("a batch", "batch.create", 200, &asking.post(&url, &chats).await.unwrap());
    promise("another endpoint", "batch.create", 400, &asking.post(&url, &begin("/v1/embeddings")).await.unwrap());
    are_kept(&world, &promised).await;
    let silent =
        [upload(&world.gateway.caller(), &line).await, world.gateway.caller().post(&url, &chats).await.unwrap()];
    for reply in silent {
        assert_eq!((reply.status.as_u16(), reply.header(HEADER)), (200, ""), "only who asks gets one");
    }
}

#[tokio::test]
async fn speech_without_trailers_is_whole_before_it_is_told_and_streams_to_who_takes_them() {
    let world = world().await;
    let say = json!({"model": "say", "input": "Hello to the gate", "voice": "coral"});
    let asked = Asked::Json(say.clone());
    let asking = world.gateway.caller().with(HEADER, "true");
    let whole = ask(&world, &asking, "audio/speech", &asked).await;
    assert_eq!(whole.header("x-tollgate-cost"), "0.000255000", "what headers tell of an answer in one piece");
    assert_eq!((&whole.body[..], whole.header("trailer")), (&b"Hello to the gate"[..], ""));
    let streamed = ask(&world, &asking.with("te", "gzip, trailers"), "audio/speech", &asked).await;
    assert_eq!((&streamed.body[..], streamed.header("trailer")), (&b"Hello to the gate"[..], HEADER));
    assert_eq!((streamed.header("x-tollgate-cost"), streamed.header(HEADER)), ("", ""));

    // What is longer than a body may be is not held back for its header.
    let small = World::with(|builder| {
        let speech = json!({"provider": "scripted", "model": "tts", "price": {"per_million_characters": "15"}});
        builder.deployment("say", speech).set("/limits", json!({"max_body_bytes": 300}))
    })
    .await;
    let long = "sound ".repeat(100);
    small.provider.always("tts", [Step::text(&long)]);
    // A shim of its own process has its own limit.
    let (url, asking) = (small.gateway.v1("audio/speech"), small.gateway.caller().with(HEADER, "true"));
    let reply = asking.post(&url, &say).await.unwrap();
    assert_eq!((reply.status.as_u16(), &reply.body[..]), (200, long.as_bytes()));
    assert_eq!((reply.header(HEADER), reply.header("x-tollgate-cost")), ("", ""));
}
