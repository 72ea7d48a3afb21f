//! `POST /v1/audio/speech`, `/v1/audio/transcriptions`, `/v1/audio/translations`, `/v1/images/generations` and `/v1/images/edits`.

mod answer;
mod form;
mod spool;
mod write;

use axum::{
    body::Body,
    extract::{Request, State},
    http::{header, request::Parts},
    response::Response,
};
use tokio::sync::oneshot;
use tollgate_proto::{
    operation::{Asked, Images},
    v1::{
        CreateTranscriptionRequest, Dialect, EditImageHead, EditImageRequest, Original, StreamImageRequest,
        TranscriptionHead, create_transcription_request::Part as Said, edit_image_request::Part as Shown,
    },
};

use tonic::Status;

use self::{
    answer::{Passed, respond},
    form::{Incoming, Piece},
    write::Shape,
};
use crate::{
    Gateway, chat,
    error::Refusal,
    forward,
    openai::{
        self, image,
        wishes::{self, Aside},
    },
    unary,
};

pub(crate) async fn speak(State(gateway): State<Gateway>, request: Request) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    let (body, aside) = wishes::cut(forward::read(&gateway, &parts, body).await?)?;
    let asked = openai::read_speech(&body)?;
    let in_events = openai::wants_events(&asked.extra_json);
    let original = Original { dialect: Dialect::OpenaiAudio as i32, body };
    let options = chat::options_beside(&parts, Dialect::OpenaiAudio, aside)?;
    let passed = match options.receipt {
        false => Passed::AsItComes,
        true if takes_trailers(&parts) => Passed::WithTrailer,
        true => Passed::WithHeader(gateway.options.max_body_bytes),
    };
    let asked = asked.with(Some(original), Some(options));
    let request = forward::request(&gateway, &parts, asked);
    let (metadata, messages, _) = gateway.audio().create_speech(request).await?.into_parts();
    respond(messages, metadata, passed, || Shape::Sound { in_events }).await
}

/// Whether the caller says that it reads what comes behind a body.
fn takes_trailers(parts: &Parts) -> bool {
    let told = parts.headers.get_all(header::TE).iter().filter_map(|value| value.to_str().ok());
    told.flat_map(|value| value.split(',')).any(|coding| coding.trim().eq_ignore_ascii_case("trailers"))
}

pub(crate) async fn transcribe(State(gateway): State<Gateway>, request: Request) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    listen(gateway, parts, body, false).await
}

pub(crate) async fn translate(State(gateway): State<Gateway>, request: Request) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    listen(gateway, parts, body, true).await
}

/// Once its model is known a recording goes on while it comes in.
async fn listen(gateway: Gateway, parts: Parts, body: Body, to_english: bool) -> Result<Response, Refusal> {
    let mut form = Incoming::new(&gateway, &parts, body)?.read(true).await?;
    let aside = Aside { tags: form.take_tags()?, ..Aside::default() };
    let head = TranscriptionHead {
        model: form.take("model"),
        to_english,
        language: form.take("language"),
        prompt: form.take("prompt"),
        response_format: form.take("response_format"),
        temperature: form.parsed("temperature", "a number")?,
        stream: form.parsed("stream", "true or false")?,
        fields: form.others(),
        upload_bytes: i64::try_from(form.most_bytes).ok(),
        tollgate: Some(chat::options_beside(&parts, Dialect::OpenaiAudio, aside)?),
    };
    let (format, is_streamed, late) = (head.response_format.clone(), head.stream, form.late.clone());
    let (messages, broke) = form.messages(said(Said::Head(head)), |piece| {
        said(match piece {
            Piece::File(file) => Said::File(file),
            Piece::Data(bytes) => Said::Data(bytes),
            Piece::Field(field) => Said::Field(field),
        })
    });
    let request = forward::request(&gateway, &parts, messages);
    let answer = unless(broke, gateway.audio().create_transcription(request)).await?;
    let (metadata, messages, _) = answer.into_parts();
    let shape = || Shape::Words {
        format: format.or_else(|| late.found("response_format")).unwrap_or_default(),
        in_events: is_streamed.unwrap_or_else(|| late.found("stream").is_some_and(|text| text.trim() == "true")),
        to_english,
    };
    respond(messages, metadata, Passed::Whole, shape).await
}

/// Waits for the answer to a form unless that breaks before.
async fn unless<T>(
    broke: oneshot::Receiver<Refusal>,
    answer: impl Future<Output = Result<T, Status>>,
) -> Result<T, Refusal> {
    tokio::select! {
        biased;
        Ok(refusal) = broke => Err(refusal),
        answer = answer => Ok(answer?),
    }
}

fn said(part: Said) -> CreateTranscriptionRequest {
    CreateTranscriptionRequest { part: Some(part) }
}

pub(crate) async fn draw(State(gateway): State<Gateway>, request: Request) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    let (body, aside) = wishes::cut(forward::read(&gateway, &parts, body).await?)?;
    let (asked, is_streamed) = openai::read_image_with_stream(&body)?;
    if !is_streamed {
        return unary::answer::<Images>(gateway, parts, body, aside, (asked, ())).await;
    }
    let original = Original { dialect: Dialect::OpenaiImages as i32, body };
    let asked = asked.with(Some(original), Some(chat::options_beside(&parts, Dialect::OpenaiImages, aside)?));
    let request = forward::request(&gateway, &parts, StreamImageRequest { request: Some(asked) });
    let (metadata, messages, _) = gateway.images().stream_image(request).await?.into_parts();
    respond(messages, metadata, Passed::Whole, || Shape::Images { name: "image_generation", in_events: true }).await
}

/// What an edit costs stands in fields that may come behind its images: all of it is read before.
pub(crate) async fn edit(State(gateway): State<Gateway>, request: Request) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    let mut form = Incoming::new(&gateway, &parts, body)?.read(false).await?;
    let aside = Aside { tags: form.take_tags()?, ..Aside::default() };
    let head = EditImageHead {
        model: Some(form.take("model").unwrap_or_else(|| image::DEFAULT_MODEL.to_owned())),
        prompt: form.take("prompt"),
        n: form.parsed("n", "a whole number")?,
        size: form.take("size"),
        quality: form.take("quality"),
        background: form.take("background"),
        output_format: form.take("output_format"),
        user: form.take("user"),
        stream: form.parsed("stream", "true or false")?,
        fields: form.others(),
        images: form.files.and_then(|files| i64::try_from(files).ok()),
        upload_bytes: i64::try_from(form.most_bytes).ok(),
        tollgate: Some(chat::options_beside(&parts, Dialect::OpenaiImages, aside)?),
    };
    let in_events = head.stream == Some(true);
    let (messages, broke) = form.messages(shown(Shown::Head(head)), |piece| match piece {
        Piece::File(file) => shown(Shown::File(file)),
        Piece::Data(bytes) => shown(Shown::Data(bytes)),
        // Fields of a form that is read whole are in its head.
        Piece::Field(_) => EditImageRequest::default(),
    });
    let request = forward::request(&gateway, &parts, messages);
    let answer = unless(broke, gateway.images().edit_image(request)).await?;
    let (metadata, messages, _) = answer.into_parts();
    respond(messages, metadata, Passed::Whole, || Shape::Images { name: "image_edit", in_events }).await
}

fn shown(part: Shown) -> EditImageRequest {
    EditImageRequest { part: Some(part) }
}
