//! Gemini: sound, transcripts and images by `generateContent`, for OpenAI's callers and the contract's, paid by its tokens.

use serde_json::{Value, json};
use tollgate_client::{reason, v1};
use tollgate_tests::provider::Step;

use super::{code, costs, field, file, form, send};
use crate::support::World;

async fn world_with(budget_usd: &str) -> World {
    World::with_provider(|builder, url| {
        let by = |model: &str| {
            let price = json!({"input": "1", "output": "10", "audio_input": "2", "image_output": "30"});
            json!({"provider": "gemini", "model": model, "price": price, "max_output_tokens": 8192})
        };
        builder
            .provider_of_kind("gemini", "gemini", &url.replace("/v1", "/v1beta"))
            .deployment("say", by("gemini-2.5-flash-preview-tts"))
            .deployment("hear", by("gemini-2.5-flash"))
            .deployment("draw", by("gemini-2.5-flash-image"))
            .deployment("draw-imagen", by("imagen-4.0-generate-001"))
            .budget_usd(budget_usd)
    })
    .await
}

async fn world() -> World {
    world_with("100").await
}

fn spoken(more: Value) -> Value {
    let mut body = json!({"model": "say", "input": "Hello gate", "voice": "Kore"});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

/// The text as samples, a byte each.
fn samples(text: &str) -> Vec<u8> {
    text.bytes().flat_map(|byte| i16::from(byte).to_le_bytes()).collect()
}

#[tokio::test]
async fn a_text_is_spoken_as_a_file_or_as_samples() {
    let world = world().await;
    let post = async |more: Value| world.gateway.caller().post(&world.v1("audio/speech"), &spoken(more)).await.unwrap();
    let wave = post(json!({})).await;
    assert_eq!(wave.header("content-type"), "audio/wav");
    let body = &wave.body[..];
    assert_eq!((&body[..4], &body[8..16], &body[44..]), (&b"RIFF"[..], &b"WAVEfmt "[..], &samples("Hello gate")[..]));
    assert_eq!((&body[24..28], &body[40..44]), (&24_000u32.to_le_bytes()[..], &20u32.to_le_bytes()[..]));
    let sent = world.provider.log().last().unwrap();
    assert_eq!(sent.path, "/v1beta/models/gemini-2.5-flash-preview-tts:generateContent");
    let config = json!({"responseModalities": ["AUDIO"],
                        "speechConfig": {"voiceConfig": {"prebuiltVoiceConfig": {"voiceName": "Kore"}}}});
    assert_eq!(sent.body.unwrap()["generationConfig"], config);

    let raw = post(json!({"response_format": "pcm", "instructions": "Say it cheerfully."})).await;
    let expected = samples("Say it cheerfully:\nHello gate");
    assert_eq!((raw.header("content-type"), &raw.body[..]), ("audio/pcm", &expected[..]));
    // Two and five words read, twenty and fifty tokens spoken.
    let expected = [2 * 1_000 + 20 * 10_000, 5 * 1_000 + 50 * 10_000];
    assert_eq!(costs(&world).await, expected.map(|cost| (cost, v1::LedgerEntryKind::Exact)));

    let refused = post(json!({"response_format": "mp3"})).await;
    assert_eq!((refused.status.as_u16(), &refused.json()["error"]["param"]), (400, &json!("response_format")));
    let refused = post(json!({"speed": 2.0})).await;
    assert_eq!((refused.status.as_u16(), &refused.json()["error"]["param"]), (400, &json!("speed")));
    let refused = post(json!({"voice": "nobody"})).await;
    assert_eq!(refused.status, 400, "{:?}", refused.body);
    assert_eq!((costs(&world).await.len(), world.budget().await.held_nano_usd), (2, 0));
}

#[tokio::test]
async fn a_recording_is_written_down_translated_and_told_while_it_is_heard() {
    let world = world().await;
    let parts = |more: &[Vec<u8>]| [&[field("model", "hear")][..], more, &[file("file", &[7; 2_500])]].concat();
    let reply = send(&world, "audio/transcriptions", &parts(&[field("language", "en")])).await;
    assert_eq!(
        (reply.status.as_u16(), &reply.json()["text"]),
        (200, &json!("2500 bytes of audio/mpeg")),
        "{:?}",
        reply.body
    );
    let sent = world.provider.log().last().unwrap().body.unwrap();
    assert!(sent["contents"][0]["parts"][1]["text"].as_str().unwrap().contains("\"en\""), "{sent}");
    let limit = sent["generationConfig"]["maxOutputTokens"].as_u64().unwrap();
    assert!((1..8_192).contains(&limit), "what is held bounds what is written: {limit}");
    let usage = &reply.json()["usage"];
    assert_eq!((&usage["type"], &usage["input_token_details"]["audio_tokens"]), (&json!("tokens"), &json!(96)));
    let text = usage["input_token_details"]["text_tokens"].as_i64().unwrap();
    assert_eq!(costs(&world).await, [(text * 1_000 + 96 * 2_000 + 4 * 10_000, v1::LedgerEntryKind::Exact)]);

    let reply = send(&world, "audio/translations", &parts(&[field("response_format", "text")])).await;
    assert_eq!(reply.body, "translated 2500 bytes of audio/mpeg\n");
    let streamed = parts(&[field("stream", "true"), field("prompt", "about gates")]);
    let stream = world.gateway.caller().form(&world.v1("audio/transcriptions"), form(&streamed)).await.unwrap();
    let (events, end) = stream.rest().await;
    end.unwrap();
    let events: Vec<Value> = events.iter().map(|event| event.json()).collect();
    let deltas: String = events.iter().filter_map(|event| event["delta"].as_str()).collect();
    assert_eq!((events.len(), deltas.as_str()), (5, "2500 bytes of audio/mpeg"));
    assert_eq!((&events[4]["type"], &events[4]["text"]), (&json!("transcript.text.done"), &json!(deltas)));

    let refused = send(&world, "audio/transcriptions", &parts(&[field("response_format", "srt")])).await;
    assert_eq!((refused.status.as_u16(), &refused.json()["error"]["param"]), (400, &json!("response_format")));
    let large = [field("model", "hear"), file("file", &vec![7; 15 << 20])];
    let refused = send(&world, "audio/transcriptions", &large).await;
    assert_eq!(refused.status, 413, "{}", refused.json());
    assert_eq!((costs(&world).await.len(), world.budget().await.held_nano_usd), (3, 0));
}

#[tokio::test]
async fn a_transcript_that_was_held_back_is_none_and_one_that_was_cut_is_asked_for_anew() {
    let world = world().await;
    let ends = |word: &str| Step { finish_reason: Some(word.into()), ..Step::default() };
    let parts = [field("model", "hear"), file("file", &[7; 1_000])];
    world.provider.script("gemini-2.5-flash", [ends("SAFETY")]);
    let reply = send(&world, "audio/transcriptions", &parts).await;
    assert_eq!((reply.status.as_u16(), costs(&world).await.len()), (400, 1), "{:?}", reply.body);
    world.provider.script("gemini-2.5-flash", [ends("MAX_TOKENS")]);
    let reply = send(&world, "audio/transcriptions", &parts).await;
    assert_eq!((reply.status.as_u16(), &reply.json()["text"]), (200, &json!("1000 bytes of audio/mpeg")));
    let costs = costs(&world).await;
    assert!(costs.len() == 3 && costs.iter().all(|(cost, _)| *cost > 0), "each answer is paid: {costs:?}");
    assert_eq!(world.budget().await.held_nano_usd, 0);
}

#[tokio::test]
async fn images_are_made_and_edited() {
    let world = world().await;
    let drawn = json!({"model": "draw", "prompt": "a gate", "size": "1536x1024", "response_format": "b64_json"});
    let reply = world.gateway.caller().post(&world.v1("images/generations"), &drawn).await.unwrap();
    assert_eq!(reply.status, 200, "{}", reply.json());
    let (image, format) = (reply.json()["data"][0]["b64_json"].clone(), reply.json()["output_format"].clone());
    assert_eq!((image, format), (json!("aW1hZ2Ugb2YgYSBnYXRlIGFmdGVyIDAgaW1hZ2Vz"), json!("png")));
    let sent = world.provider.log().last().unwrap().body.unwrap();
    let config = json!({"responseModalities": ["TEXT", "IMAGE"], "imageConfig": {"aspectRatio": "3:2"}});
    assert_eq!(sent["generationConfig"], config);

    let edit = [field("model", "draw"), field("prompt", "at dusk"), file("image[]", b"one"), file("image[]", b"two")];
    let edit: Vec<_> = edit
        .into_iter()
        .map(|part| String::from_utf8(part).unwrap().replace("audio/mpeg", "image/png").into_bytes())
        .collect();
    let reply = send(&world, "images/edits", &edit).await;
    assert_eq!(reply.status, 200, "{:?}", reply.body);
    let usage = &reply.json()["usage"];
    assert_eq!(usage["input_tokens"], 2 + 2 * 258);
    assert_eq!(usage["input_tokens_details"], json!({"text_tokens": 2, "image_tokens": 2 * 258}));
    let sent = world.provider.log().last().unwrap().body.unwrap();
    assert_eq!(sent["contents"][0]["parts"][1]["inlineData"], json!({"mimeType": "image/png", "data": "dHdv"}));

    let streamed = json!({"model": "draw", "prompt": "a gate", "stream": true, "partial_images": 2});
    let stream = world.gateway.caller().stream(&world.v1("images/generations"), &streamed).await.unwrap();
    let (events, end) = stream.rest().await;
    end.unwrap();
    let names: Vec<_> = events.iter().map(|event| event.name.clone().unwrap()).collect();
    let usage = &events[0].json()["usage"];
    assert_eq!((names, &usage["output_tokens"]), (vec!["image_generation.completed".to_owned()], &json!(1_290)));
    assert_eq!(usage["output_tokens_details"], json!({"text_tokens": 0, "image_tokens": 1_290}));
    let image = 1_290 * 30_000;
    let expected = [2 * 1_000 + image, (2 + 2 * 258) * 1_000 + image, 2 * 1_000 + image];
    assert_eq!(costs(&world).await, expected.map(|cost| (cost, v1::LedgerEntryKind::Exact)));
}

#[tokio::test]
async fn what_images_cannot_be_is_refused_by_name() {
    let world = world().await;
    for (model, member, value) in [
        ("draw", "n", json!(2)),
        ("draw", "size", json!("1000x7")),
        ("draw", "background", json!("transparent")),
        ("draw", "style", json!("vivid")),
        ("draw-imagen", "model", json!("draw-imagen")),
    ] {
        let mut body = json!({"model": model, "prompt": "a gate"});
        body[member] = value;
        let reply = world.gateway.caller().post(&world.v1("images/generations"), &body).await.unwrap();
        assert_eq!((reply.status.as_u16(), &reply.json()["error"]["param"]), (400, &json!(member)), "{}", reply.json());
    }
    let masked = [field("model", "draw"), field("prompt", "a"), file("image", b"a"), file("mask", b"b")];
    let reply = send(&world, "images/edits", &masked).await;
    assert_eq!((reply.status.as_u16(), &reply.json()["error"]["param"]), (400, &json!("mask")));
    assert_eq!((world.provider.log().records().len(), costs(&world).await.len()), (0, 0));

    let poor = world_with("0.00001").await;
    let body = json!({"model": "draw", "prompt": "a gate"});
    let reply = poor.gateway.caller().post(&poor.v1("images/generations"), &body).await.unwrap();
    assert_eq!(code(&reply), (429, json!("budget_exceeded")));
    assert!(poor.provider.log().records().is_empty());
}

#[tokio::test]
async fn callers_of_the_contract_hear_and_see() {
    use futures::StreamExt;
    use v1::{create_speech_response::Event as Spoken, generated_image::Image};
    let world = world().await;
    let client = world.caller().await;
    let asked = v1::CreateSpeechRequest {
        model: Some("say".into()),
        input: Some("Hello gate".into()),
        response_format: Some("pcm".into()),
        ..Default::default()
    };
    let told = client.audio().create_speech(asked).await.unwrap().into_inner();
    let told: Vec<_> = told.map(|message| message.unwrap()).collect().await;
    assert_eq!(told[0].content_type, "audio/pcm");
    let events: Vec<_> = told.iter().map(|message| message.event.clone().unwrap()).collect();
    let [Spoken::Started(_), Spoken::Audio(sound), Spoken::Usage(usage)] = &events[..] else { panic!("{told:?}") };
    assert_eq!((&sound[..], usage.output.unwrap().audio), (&samples("Hello gate")[..], 20));

    let asked = |prompt: &str| v1::GenerateImageRequest {
        model: Some("draw".into()),
        prompt: Some(prompt.into()),
        ..Default::default()
    };
    let answer = client.images().generate_image(asked("a gate")).await.unwrap().into_inner();
    let Some(Image::Data(data)) = &answer.images[0].image else { panic!("{answer:?}") };
    assert_eq!(&data[..], b"image of a gate after 0 images");
    let step = Step { finish_reason: Some("IMAGE_SAFETY".into()), ..Step::default() };
    world.provider.script("gemini-2.5-flash-image", [step]);
    let refused = client.images().generate_image(asked("a gate")).await.unwrap_err();
    assert_eq!(reason(&refused), Some(v1::ErrorReason::ContentBlocked));
}
