//! Every RPC of the contract whose answer can have a receipt.

use std::collections::BTreeSet;

use bytes::Bytes;
use futures::{StreamExt, stream};
use prost::Message;
use prost_types::FileDescriptorSet;
use tollgate_client::v1;

use super::{Promised, are_kept, documented, world};
use crate::support::{World, request};

const RECEIPT: &str = ".tollgate.v1.Receipt";

/// The RPCs whose answers, or the events that those tell, have a place for a receipt.
fn in_the_contract() -> BTreeSet<String> {
    let contract = FileDescriptorSet::decode(tollgate_proto::FILE_DESCRIPTOR_SET).unwrap();
    let messages: Vec<_> = contract.file.iter().flat_map(|file| &file.message_type).collect();
    let fields = |of: &str| {
        let named = of.strip_prefix(".tollgate.v1.").unwrap_or_default();
        messages
            .iter()
            .filter(|message| message.name() == named)
            .flat_map(|message| message.field.clone())
            .collect::<Vec<_>>()
    };
    let has_one = |of: &str| fields(of).iter().any(|field| field.type_name() == RECEIPT);
    let services = contract.file.iter().flat_map(|file| &file.service);
    let rpcs = services.flat_map(|service| service.method.iter().map(move |method| (service.name(), method)));
    let able = rpcs.filter(|(_, method)| {
        // A completion and its events are one message further in.
        has_one(method.output_type()) || fields(method.output_type()).iter().any(|field| has_one(field.type_name()))
    });
    able.map(|(service, method)| format!("`{service}.{}`", method.name())).collect()
}

fn options() -> Option<v1::GatewayOptions> {
    Some(v1::GatewayOptions { receipt: true, ..v1::GatewayOptions::default() })
}

fn upload(field: &str) -> v1::UploadFile {
    v1::UploadFile { field: field.into(), filename: "a".into(), ..v1::UploadFile::default() }
}

async fn completions(world: &World, told: &mut Vec<Promised>) {
    let client = world.caller().await;
    let asked = v1::CompletionRequest { tollgate: options(), ..request() };
    let create = v1::CreateCompletionRequest { request: Some(asked.clone()) };
    let whole = client.completions().create_completion(create).await.unwrap().into_inner().completion.unwrap();
    let stream = v1::StreamCompletionRequest { request: Some(asked) };
    let events = client.completions().stream_completion(stream).await.unwrap().into_inner();
    let last = events.map(|event| event.unwrap().event.unwrap().event.unwrap()).collect::<Vec<_>>().await.pop();
    let Some(v1::completion_event::Event::Receipt(streamed)) = last else { panic!("{last:?}") };
    told.push(promised("CompletionService.CreateCompletion", "completion.create", whole.receipt));
    told.push(promised("CompletionService.StreamCompletion", "completion.stream", Some(streamed)));
}

fn promised(rpc: &str, action: &'static str, receipt: Option<v1::Receipt>) -> Promised {
    let whose = format!("`{rpc}`");
    Promised { receipt: receipt.unwrap_or_else(|| panic!("{whose}")), whose, action }
}

async fn one_answer(world: &World, told: &mut Vec<Promised>) {
    let client = world.caller().await;
    let embed = v1::CreateEmbeddingRequest {
        model: Some("embed".into()),
        inputs: vec![v1::EmbeddingInput { input: Some(v1::embedding_input::Input::Text("a".into())) }],
        tollgate: options(),
        ..Default::default()
    };
    let embedded = client.embeddings().create_embedding(embed).await.unwrap().into_inner();
    let rank = v1::RerankRequest {
        model: Some("rank".into()),
        query: Some("open the gate".into()),
        documents: vec!["a gate".into(), "a wall".into()],
        tollgate: options(),
        ..Default::default()
    };
    let ranked = client.reranks().rerank(rank).await.unwrap().into_inner();
    let judge = v1::CreateModerationRequest {
        model: Some("judge".into()),
        inputs: vec![v1::ModerationInput { input: Some(v1::moderation_input::Input::Text("be nice".into())) }],
        tollgate: options(),
        ..Default::default()
    };
    let judged = client.moderations().create_moderation(judge).await.unwrap().into_inner();
    let draw = v1::GenerateImageRequest {
        model: Some("draw".into()),
        prompt: Some("a gate".into()),
        tollgate: options(),
        ..Default::default()
    };
    let drawn = client.images().generate_image(draw).await.unwrap().into_inner();
    told.push(promised("EmbeddingService.CreateEmbedding", "embedding.create", embedded.receipt));
    told.push(promised("RerankService.Rerank", "rerank.create", ranked.receipt));
    told.push(promised("ModerationService.CreateModeration", "moderation.create", judged.receipt));
    told.push(promised("ImageService.GenerateImage", "image.generate", drawn.receipt));
}

async fn sound_and_images(world: &World, told: &mut Vec<Promised>) {
    macro_rules! last {
        ($call:expr, $event:path) => {{
            let events = $call.await.unwrap().into_inner();
            match events.map(|event| event.unwrap().event.unwrap()).collect::<Vec<_>>().await.pop() {
                Some($event(receipt)) => Some(receipt),
                last => panic!("{last:?}"),
            }
        }};
    }
    let client = world.caller().await;
    let (mut audio, mut images) = (client.audio(), client.images());
    let say = v1::CreateSpeechRequest {
        model: Some("say".into()),
        input: Some("Hello".into()),
        voice: Some("coral".into()),
        tollgate: options(),
        ..Default::default()
    };
    let spoken = last!(audio.create_speech(say), v1::create_speech_response::Event::Receipt);
    let head = v1::TranscriptionHead { model: Some("hear".into()), tollgate: options(), ..Default::default() };
    use v1::create_transcription_request::Part as Said;
    let parts = [Said::Head(head), Said::File(upload("file")), Said::Data(Bytes::from_static(b"sound"))];
    let parts = stream::iter(parts.map(|part| v1::CreateTranscriptionRequest { part: Some(part) }));
    let call = audio.create_transcription(parts);
    let heard = last!(call, v1::create_transcription_response::Event::Receipt);
    let draw = v1::GenerateImageRequest {
        model: Some("draw".into()),
        prompt: Some("a gate".into()),
        tollgate: options(),
        ..Default::default()
    };
    let call = images.stream_image(v1::StreamImageRequest { request: Some(draw) });
    let drawn = last!(call, v1::stream_image_response::Event::Receipt);
    let head = v1::EditImageHead {
        model: Some("draw".into()),
        prompt: Some("a gate".into()),
        tollgate: options(),
        ..Default::default()
    };
    use v1::edit_image_request::Part as Shown;
    let parts = [Shown::Head(head), Shown::File(upload("image")), Shown::Data(Bytes::from_static(b"png"))];
    let parts = stream::iter(parts.map(|part| v1::EditImageRequest { part: Some(part) }));
    let edited = last!(images.edit_image(parts), v1::edit_image_response::Event::Receipt);
    told.push(promised("AudioService.CreateSpeech", "speech.create", spoken));
    told.push(promised("AudioService.CreateTranscription", "transcription.create", heard));
    told.push(promised("ImageService.StreamImage", "image.stream", drawn));
    told.push(promised("ImageService.EditImage", "image.edit", edited));
}

async fn files_and_batches(world: &World, told: &mut Vec<Promised>) {
    let client = world.caller().await;
    let body = r#"{"model": "bulk", "messages": [{"role": "user", "content": "hi"}], "max_completion_tokens": 9}"#;
    let line = format!(r#"{{"custom_id": "r", "method": "POST", "url": "/v1/chat/completions", "body": {body}}}"#);
    let header =
        v1::FileHeader { filename: "a".into(), purpose: "batch".into(), receipt: true, ..v1::FileHeader::default() };
    use v1::create_file_request::Part;
    let parts = stream::iter([Part::Header(header), Part::Chunk(line.into())]);
    let parts = parts.map(|part| v1::CreateFileRequest { part: Some(part) });
    let made = client.files().create_file(parts).await.unwrap().into_inner();
    let begin = v1::CreateBatchRequest {
        input_file_id: made.file.unwrap().id,
        endpoint: "/v1/chat/completions".into(),
        completion_window: "24h".into(),
        tollgate: options(),
        ..Default::default()
    };
    let begun = client.batches().create_batch(begin).await.unwrap().into_inner();
    told.push(promised("FileService.CreateFile", "file.create", made.receipt));
    told.push(promised("BatchService.CreateBatch", "batch.create", begun.receipt));
}

#[tokio::test]
async fn every_rpc_that_can_have_a_receipt_brings_one_and_the_log_keeps_it() {
    let world = world().await;
    let mut told = Vec::new();
    completions(&world, &mut told).await;
    one_answer(&world, &mut told).await;
    sound_and_images(&world, &mut told).await;
    files_and_batches(&world, &mut told).await;
    are_kept(&world, &told).await;
    let tried: BTreeSet<_> = told.into_iter().map(|promised| promised.whose).collect();
    assert_eq!(tried, in_the_contract(), "no RPC of the contract is left out");
    assert_eq!(tried, documented("### Where they are in the contract"));
}
