//! The doors of sound, and of images that are streamed or edited.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream::BoxStream};
use tollgate_domain::Error;
use tollgate_http::openai;
use tollgate_pipeline::{Call, MOST_IMAGES, MediaTold, Request as Asked};
use tollgate_proto::v1::{
    CreateSpeechRequest, CreateSpeechResponse, CreateTranscriptionRequest, CreateTranscriptionResponse, Dialect,
    EditImageRequest, EditImageResponse, ErrorReason, StreamImageRequest, StreamImageResponse, UploadField, UploadFile,
    audio_service_server::AudioService, create_speech_response::Event as Spoken,
    create_transcription_request::Part as Said, create_transcription_response::Event as Heard,
    edit_image_request::Part as Shown, edit_image_response::Event as Edited, stream_image_response::Event as Drawn,
};
use tollgate_providers::upload::{Part, Parts};
use tonic::{Extensions, Request, Response, Status, Streaming};

use super::{
    Rooms, call_of,
    completion::invalid,
    principal,
    quota::with_quota,
    status::{status, status_of},
    unary::Door,
    upload::broken,
    validate,
};

type Replies<T> = BoxStream<'static, Result<T, Status>>;

#[tonic::async_trait]
impl AudioService for Door {
    type CreateSpeechStream = Replies<CreateSpeechResponse>;

    async fn create_speech(
        &self,
        request: Request<CreateSpeechRequest>,
    ) -> Result<Response<Self::CreateSpeechStream>, Status> {
        let who = principal(&request);
        let (_, extensions, mut asked) = request.into_parts();
        if let Some(body) = original(asked.original.as_ref(), Dialect::OpenaiAudio, &extensions).map_err(status)? {
            let read = openai::read_speech(&body).map_err(invalid).map_err(status)?;
            asked = CreateSpeechRequest { original: asked.original, tollgate: asked.tollgate, ..read };
        }
        validate::speech(&asked).map_err(status)?;
        let call = call_of("speech.create", who, &extensions, Asked::Speech(asked.into()));
        answer(&self.0, call).await
    }

    type CreateTranscriptionStream = Replies<CreateTranscriptionResponse>;

    async fn create_transcription(
        &self,
        request: Request<Streaming<CreateTranscriptionRequest>>,
    ) -> Result<Response<Self::CreateTranscriptionStream>, Status> {
        let who = principal(&request);
        let (_, extensions, mut messages) = request.into_parts();
        let first = messages.message().await?.and_then(|message| message.part);
        let Some(Said::Head(mut head)) = first else { return Err(headless()) };
        validate::transcription(&head).map_err(status)?;
        let most = most_bytes(&self.0, head.upload_bytes).map_err(status)?;
        head.upload_bytes = i64::try_from(most).ok();
        let action = if head.to_english { "translation.create" } else { "transcription.create" };
        let parts = messages.map(|message| {
            let part = message.map_err(broken)?.part;
            match part.ok_or_else(|| Error::invalid_field("part", "is required"))? {
                Said::Head(_) => Err(Error::invalid_field("head", "must be the first message, and no other")),
                Said::File(file) => fits_file(file),
                Said::Data(bytes) => Ok(Part::Data(bytes)),
                Said::Field(field) => fits_field(field),
            }
        });
        let request = Asked::Transcription(Arc::new(head));
        upload(&self.0, call_of(action, who, &extensions, request), parts.boxed(), most, 1).await
    }
}

/// `ImageService.StreamImage`.
pub(super) async fn stream_image(
    rooms: &Rooms,
    request: Request<StreamImageRequest>,
) -> Result<Response<Replies<StreamImageResponse>>, Status> {
    let who = principal(&request);
    let (_, extensions, message) = request.into_parts();
    let asked = message.request.ok_or_else(|| status(Error::invalid_field("request", "is required")))?;
    let mut asked = asked;
    if let Some(body) = original(asked.original.as_ref(), Dialect::OpenaiImages, &extensions).map_err(status)? {
        let (read, _) = openai::read_image_with_stream(&body).map_err(invalid).map_err(status)?;
        asked = tollgate_proto::operation::Asked::with(read, asked.original, asked.tollgate);
    }
    validate::image(&asked).map_err(status)?;
    answer(rooms, call_of("image.stream", who, &extensions, Asked::ImageStream(asked.into()))).await
}

/// `ImageService.EditImage`.
pub(super) async fn edit_image(
    rooms: &Rooms,
    request: Request<Streaming<EditImageRequest>>,
) -> Result<Response<Replies<EditImageResponse>>, Status> {
    let who = principal(&request);
    let (_, extensions, mut messages) = request.into_parts();
    let first = messages.message().await?.and_then(|message| message.part);
    let Some(Shown::Head(head)) = first else { return Err(headless()) };
    validate::image_edit(&head).map_err(status)?;
    let most = most_bytes(rooms, head.upload_bytes).map_err(status)?;
    let images = head.images.and_then(|n| u64::try_from(n).ok()).unwrap_or(MOST_IMAGES);
    let parts = messages.map(|message| {
        let part = message.map_err(broken)?.part;
        match part.ok_or_else(|| Error::invalid_field("part", "is required"))? {
            Shown::Head(_) => Err(Error::invalid_field("head", "must be the first message, and no other")),
            Shown::File(file) => fits_file(file),
            Shown::Data(bytes) => Ok(Part::Data(bytes)),
        }
    });
    let request = Asked::ImageEdit(Arc::new(head));
    upload(rooms, call_of("image.edit", who, &extensions, request), parts.boxed(), most, images).await
}

fn headless() -> Status {
    status(Error::invalid_field("head", "must be the first message"))
}

fn fits_file(file: UploadFile) -> Result<Part, Error> {
    let fits = [&file.field, &file.filename, &file.content_type].iter().all(|text| text.len() <= 1_024);
    match fits && !file.field.is_empty() {
        true => Ok(Part::File(file)),
        false => Err(Error::invalid_field("file", "must have a field, and names of at most 1024 bytes")),
    }
}

fn fits_field(field: UploadField) -> Result<Part, Error> {
    match field.name.as_str() {
        "model" => Err(Error::invalid_field("field", "\"model\" must be said in the head")),
        _ => Ok(Part::Field(field)),
    }
}

/// The most bytes that an upload may have.
fn most_bytes(rooms: &Rooms, told: Option<i64>) -> Result<u64, Error> {
    let most = rooms.max_upload_bytes;
    match told.map(u64::try_from) {
        None => Ok(most),
        Some(Err(_)) => Err(Error::invalid_field("upload_bytes", "must not be negative")),
        Some(Ok(told)) if told > most => {
            let message = format!("the upload is larger than {most} bytes, the gateway's limit");
            Err(Error::new(ErrorReason::RequestTooLarge, message))
        }
        Some(Ok(told)) => Ok(told),
    }
}

/// The caller's own bytes, where the typed fields have to be read from them anew.
fn original(
    original: Option<&tollgate_proto::v1::Original>,
    dialect: Dialect,
    extensions: &Extensions,
) -> Result<Option<bytes::Bytes>, Error> {
    let Some(original) = original else { return Ok(None) };
    if original.dialect() != dialect {
        return Err(Error::invalid_field("original.dialect", format!("must be {}", dialect.as_str_name())));
    }
    let is_read = extensions.get::<tollgate_http::ReadHere>().is_some();
    Ok((!is_read).then(|| original.body.clone()))
}

async fn upload<T: Told>(
    rooms: &Rooms,
    mut call: Call,
    parts: Parts,
    most_bytes: u64,
    most_files: u64,
) -> Result<Response<Replies<T>>, Status> {
    call.files = Some(rooms.pipeline.files(&call.request, parts, most_bytes, most_files));
    answer(rooms, call).await
}

async fn answer<T: Told>(rooms: &Rooms, call: Call) -> Result<Response<Replies<T>>, Status> {
    let (status, quota) = (status_of(call.id), call.quota.clone());
    let reply = rooms.pipeline.media(call).await.map_err(&status)?;
    let told = reply.map_err(status).try_filter_map(async |told| Ok(T::told(told)));
    Ok(with_quota(told.boxed(), &quota))
}

/// An answer of the contract.
trait Told: Sized + Send + 'static {
    /// What is told as one message; `None`: there is none for it.
    fn told(told: MediaTold) -> Option<Self>;
}

macro_rules! told {
    ($($response:ident: $event:ident { $($told:ident => $name:ident),* $(,)? })+) => {
        $(
            impl Told for $response {
                fn told(told: MediaTold) -> Option<Self> {
                    let (event, content_type) = match told {
                        MediaTold::Started(started, content_type) => ($event::Started(started), content_type),
                        MediaTold::Native(bytes) => ($event::Native(bytes), String::new()),
                        MediaTold::Usage(usage) => ($event::Usage(usage), String::new()),
                        MediaTold::Routing(routing) => ($event::Routing(routing), String::new()),
                        MediaTold::Receipt(receipt) => ($event::Receipt(receipt), String::new()),
                        $(MediaTold::$told(told) => ($event::$name(told), String::new()),)*
                        _ => return None,
                    };
                    Some(Self { event: Some(event), content_type })
                }
            }
        )+
    };
}

told! {
    CreateSpeechResponse: Spoken { Audio => Audio }
    CreateTranscriptionResponse: Heard { Delta => Delta, Transcript => Transcript }
    StreamImageResponse: Drawn { Image => Image }
    EditImageResponse: Edited { Image => Image }
}
