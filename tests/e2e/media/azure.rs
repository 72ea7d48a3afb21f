//! Azure: OpenAI's bytes in both directions, at Azure's addresses.

use serde_json::{Value, json};
use tollgate_client::{reason, v1};
use tollgate_tests::provider::Step;

use super::{costs, field, file, form, send};
use crate::support::World;

/// A deployment of each way in: with a version of the API in the query, and without one.
async fn world() -> World {
    World::with_provider(|builder, url| {
        let resource = url.trim_end_matches("/v1");
        let by = |provider: &str, model: &str| {
            json!({"provider": provider, "model": model, "price": {"input": "2.5", "output": "10"}})
        };
        builder
            .provider_of_kind("classic", "azure", resource)
            .set("/providers/classic/api_version", "2025-04-01-preview")
            .provider_of_kind("newer", "azure", resource)
            .deployment("draw", by("classic", "my images"))
            .deployment("draw-newer", by("newer", "images"))
            .deployment("hear", by("classic", "transcribe"))
            .deployment("say", by("classic", "tts"))
    })
    .await
}

#[tokio::test]
async fn images_are_made_at_either_of_azures_addresses() {
    let world = world().await;
    let asked =
        |model: &str| json!({"model": model, "prompt": "a gate", "n": 2, "moderation": "low", "unheard_of": [1]});
    for (model, path, deployment) in [
        ("draw", "/openai/deployments/my%20images/images/generations", "my%20images"),
        ("draw-newer", "/openai/v1/images/generations", "images"),
    ] {
        let reply = world.gateway.caller().post(&world.v1("images/generations"), &asked(model)).await.unwrap();
        assert_eq!(reply.status, 200, "{}", reply.json());
        assert_eq!(reply.json()["data"].as_array().map(Vec::len), Some(2));
        let sent = world.provider.log().last().unwrap();
        assert_eq!(
            (sent.path.as_str(), sent.headers.get("api-key").map(String::as_str)),
            (path, Some("sk-upstream-test"))
        );
        let mut expected = asked(model);
        expected["model"] = json!(deployment);
        assert_eq!(sent.body.unwrap(), expected, "with every member, known to us or not");
    }
    // Two words read, two images written.
    let cost = 2 * 2_500 + 2 * 1_056 * 10_000;
    assert_eq!(costs(&world).await, [(cost, v1::LedgerEntryKind::Exact), (cost, v1::LedgerEntryKind::Exact)]);
}

#[tokio::test]
async fn images_are_edited_and_told_while_they_are_made() {
    let world = world().await;
    let parts = [file("image[]", b"one"), file("mask", b"mask"), field("model", "draw"), field("prompt", "a gate")];
    let reply = send(&world, "images/edits", &parts).await;
    assert_eq!(reply.json()["data"].as_array().map(Vec::len), Some(1), "{:?}", reply.body);
    assert_eq!(world.provider.log().last().unwrap().path, "/openai/deployments/my%20images/images/edits");

    let edit =
        [field("model", "draw"), field("prompt", "a gate"), field("stream", "true"), field("partial_images", "1")];
    let edit = [edit.concat(), file("image", b"one")];
    let edited = world.gateway.caller().form(&world.v1("images/edits"), form(&edit)).await.unwrap();
    let drawn = json!({"model": "draw-newer", "prompt": "a gate", "stream": true, "partial_images": 1});
    let made = world.gateway.caller().stream(&world.v1("images/generations"), &drawn).await.unwrap();
    for (stream, name) in [(edited, "image_edit"), (made, "image_generation")] {
        let (events, end) = stream.rest().await;
        end.unwrap();
        let kinds: Vec<_> = events.iter().map(|event| event.name.clone().unwrap()).collect();
        assert_eq!(kinds, [format!("{name}.partial_image"), format!("{name}.completed")]);
    }
    assert_eq!(world.budget().await.held_nano_usd, 0);
    assert!(costs(&world).await.iter().all(|(cost, kind)| *cost > 0 && *kind == v1::LedgerEntryKind::Exact));
}

#[tokio::test]
async fn sound_is_heard_and_spoken_at_a_deployment() {
    let world = world().await;
    let reply = send(&world, "audio/transcriptions", &[field("model", "hear"), file("file", &[7; 1_000])]).await;
    assert_eq!(reply.json()["text"], "1000 bytes of a.mp3", "{:?}", reply.body);
    let reply = send(&world, "audio/translations", &[field("model", "hear"), file("file", &[7; 1_000])]).await;
    assert_eq!(reply.json()["text"], "translated 1000 bytes of a.mp3");
    let asked = json!({"model": "say", "input": "Hello gate", "voice": "coral", "response_format": "wav"});
    let reply = world.gateway.caller().post(&world.v1("audio/speech"), &asked).await.unwrap();
    assert_eq!((reply.header("content-type"), &reply.body[..]), ("audio/wav", &b"Hello gate"[..]));
    let paths: Vec<_> = world.provider.log().records().into_iter().map(|call| call.path).collect();
    let expected = ["transcribe/audio/transcriptions", "transcribe/audio/translations", "tts/audio/speech"];
    assert_eq!(paths, expected.map(|end| format!("/openai/deployments/{end}")));
}

#[tokio::test]
async fn callers_of_the_contract_get_azures_images_and_its_filter_refuses_them() {
    let world = world().await;
    let mut client = world.caller().await.images();
    let asked =
        v1::GenerateImageRequest { model: Some("draw".into()), prompt: Some("a gate".into()), ..Default::default() };
    let answer = client.generate_image(asked.clone()).await.unwrap().into_inner();
    let Some(v1::generated_image::Image::Data(data)) = &answer.images[0].image else { panic!("{answer:?}") };
    assert_eq!(&data[..], b"image 0");
    assert_eq!(answer.started.unwrap().provider, "classic");

    // Azure's word for images.
    let message = "Your task failed as a result of our safety system.";
    let filtered: Value = json!({"error": {"code": "contentFilter", "message": message}});
    world.provider.script("my%20images", [Step { error: Some(filtered), ..Step::fails(400) }]);
    let refused = client.generate_image(asked).await.unwrap_err();
    assert_eq!(reason(&refused), Some(v1::ErrorReason::ContentBlocked));
    assert_eq!(costs(&world).await.len(), 1, "what is refused costs nothing");
}
