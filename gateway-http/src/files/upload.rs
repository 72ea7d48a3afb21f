//! `POST /v1/files`: a form whose file goes on while it comes.
//!
//! What the gateway must know before the first byte, the purpose above all, may stand behind the file: some SDKs write a form in the order
//! in which their callers name its fields. Such a file waits on disk, in no memory, until the form has ended.

use std::{
    io::SeekFrom,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, header, request::Parts},
    response::Response,
};
use bytes::Bytes;
use futures::{
    SinkExt, Stream, StreamExt,
    channel::{mpsc, oneshot},
    future::ready,
    stream,
};
use multer::{Field, Multipart};
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};
use tollgate_proto::v1::{
    CreateFileRequest, CreateFileResponse, Dialect, FileHeader, GatewayOptions, create_file_request::Part,
};

use super::made;
use crate::{
    Gateway, chat,
    error::Refusal,
    forward::{self, ModelInPath},
    openai::{Invalid, wishes::tags_of_field},
};

/// The longest value of a field beside the file.
const MAX_FIELD: usize = 4_096;
/// How much is read of a file at once that waited on disk.
const PIECE: usize = 256 << 10;

/// How long a caller may send nothing whose upload is answered before its end: one that still sends gets to the answer, and one that stalls
/// does not keep it waiting.
const LINGER: Duration = Duration::from_secs(2);
/// How long the rest of such an upload is read.
const LONGEST: Duration = Duration::from_secs(60);

/// Where the parts of an upload go; `None` is its end.
type Parcels = mpsc::Sender<Option<CreateFileRequest>>;

pub(crate) async fn create(State(gateway): State<Gateway>, request: Request) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    let mut form = form(&parts, body)?;
    let GatewayOptions { tags, receipt, .. } = chat::options(&parts, Dialect::Unspecified)?;
    let mut header = FileHeader { model: model_beside(&parts), receipt, tags, ..FileHeader::default() };
    let mut waiting = None;
    while let Some(field) = form.next_field().await.map_err(unreadable)? {
        let name = field.name().unwrap_or_default().to_owned();
        match name.as_str() {
            "file" if waiting.is_some() => return Err(Invalid::at("file", "stands there twice").into()),
            "file" => {
                field.file_name().unwrap_or("file").clone_into(&mut header.filename);
                header.media_type = field.content_type().map(ToString::to_string).unwrap_or_default();
                if !header.purpose.is_empty() {
                    return pass_on(gateway, &parts, header, Source::Form(form, field)).await;
                }
                waiting = Some(to_disk(&gateway, field).await?);
            }
            _ => heed(&mut header, &name, field).await?,
        }
    }
    match waiting {
        None => Err(Invalid::at("file", "is required").into()),
        Some(file) => pass_on(gateway, &parts, header, Source::Disk(file)).await,
    }
}

/// Where the bytes come from.
enum Source {
    /// The form itself, whose other fields came before.
    Form(Multipart<'static>, Field<'static>),
    /// The form has ended.
    Disk(tokio::fs::File),
}

fn form(parts: &Parts, body: Body) -> Result<Multipart<'static>, Refusal> {
    let told = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let boundary = multer::parse_boundary(told).map_err(|_| {
        let what = "must be a form: multipart/form-data with the fields `purpose` and `file`";
        Refusal::from(Invalid::at("content-type", what))
    })?;
    Ok(Multipart::new(body.into_data_stream(), boundary))
}

/// The model that path or headers name.
fn model_beside(parts: &Parts) -> String {
    match parts.extensions.get::<ModelInPath>() {
        Some(ModelInPath(model)) => model.clone(),
        None => forward::text(parts, "x-tollgate-model").unwrap_or_default().to_owned(),
    }
}

/// Takes a field beside the file. What nobody here knows is left out.
async fn heed(header: &mut FileHeader, name: &str, field: Field<'_>) -> Result<(), Refusal> {
    let value = value(name, field).await?;
    match name {
        "purpose" => header.purpose = value,
        "model" | "target_model_names" if value.contains(',') => {
            return Err(Invalid::at(name, "must be one model: a file is at one deployment").into());
        }
        "model" | "target_model_names" if header.model.is_empty() => header.model = value.trim().to_owned(),
        "expires_after[anchor]" if value != "created_at" => {
            return Err(Invalid::at("expires_after.anchor", "must be created_at").into());
        }
        "expires_after[seconds]" => {
            let seconds = value.trim().parse().ok().filter(|seconds: &i64| *seconds > 0);
            let wrong = || Invalid::at("expires_after.seconds", "must be a whole number of seconds");
            header.expires_after_seconds = Some(seconds.ok_or_else(wrong)?);
        }
        _ => header.tags.extend(tags_of_field(name, &value)?),
    }
    Ok(())
}

async fn value(name: &str, mut field: Field<'_>) -> Result<String, Refusal> {
    let mut bytes = Vec::new();
    while let Some(chunk) = field.chunk().await.map_err(unreadable)? {
        if bytes.len() + chunk.len() > MAX_FIELD {
            return Err(Invalid::at(name, format!("must be at most {MAX_FIELD} bytes")).into());
        }
        bytes.extend_from_slice(&chunk);
    }
    String::from_utf8(bytes).map_err(|_| Invalid::at(name, "is no text in UTF-8").into())
}

fn unreadable(error: multer::Error) -> Refusal {
    let message = format!("the form could not be read: {error}");
    Refusal::new(400, "invalid_request_error", "invalid_body", message)
}

/// Puts a file aside until it is known what it is for. It has no name on disk, and is gone with this process.
async fn to_disk(gateway: &Gateway, mut field: Field<'_>) -> Result<tokio::fs::File, Refusal> {
    let most = gateway.options.max_file_bytes;
    let no_disk = |error: std::io::Error| {
        tracing::error!(%error, "an upload cannot be put aside");
        let message = "the gateway has no disk to put the file aside; name `purpose` before `file` in the form";
        Refusal::new(503, "api_error", "overloaded", message)
    };
    let mut file = tokio::fs::File::from_std(tempfile::tempfile().map_err(no_disk)?);
    let mut written = 0_u64;
    while let Some(chunk) = field.chunk().await.map_err(unreadable)? {
        written = written.saturating_add(chunk.len() as u64);
        if written > most {
            return Err(Refusal::too_large(usize::try_from(most).unwrap_or(usize::MAX)));
        }
        file.write_all(&chunk).await.map_err(no_disk)?;
    }
    file.flush().await.map_err(no_disk)?;
    file.seek(SeekFrom::Start(0)).await.map_err(no_disk)?;
    Ok(file)
}

/// Sends header and bytes on, and waits for what becomes of them.
async fn pass_on(gateway: Gateway, parts: &Parts, header: FileHeader, source: Source) -> Result<Response, Refusal> {
    let (mut parcels, upload) = mpsc::channel(4);
    let (answering, answered) = oneshot::channel();
    let asked = forward::request(&gateway, parts, whole(upload, answered));
    let came = Arc::new(AtomicU64::new(0));
    let of_feeding = came.clone();
    let feeding = async move {
        // Nobody listens any more where it is refused: the answer says why.
        let _ = parcels.send(parcel(Part::Header(header))).await;
        let fed = match source {
            Source::Form(form, field) => feed(form, field, &mut parcels, &of_feeding).await,
            Source::Disk(file) => feed_from_disk(file, &mut parcels).await,
        };
        if fed.is_ok() {
            let _ = parcels.send(None).await;
        }
        fed
    };
    let asking = async move {
        let answer = gateway.files().create_file(asked).await;
        drop(answering);
        answer
    };
    tokio::pin!(feeding, asking);
    let (fed, answer) = tokio::select! {
        // Whatever becomes of the rest, this is the answer.
        answer = &mut asking => {
            read_on(feeding, &came).await;
            (Ok(()), answer)
        }
        fed = &mut feeding => (fed, asking.await),
    };
    fed?;
    let CreateFileResponse { file, receipt } = answer?.into_inner();
    Ok(made(HeaderMap::new(), file.unwrap_or_default().object_json, receipt.as_ref()))
}

/// Reads the rest for as long as it comes, but not for ever: many callers read no answer before they have sent all.
async fn read_on(mut feeding: Pin<&mut impl Future>, came: &AtomicU64) {
    let begun = Instant::now();
    while begun.elapsed() < LONGEST {
        let before = came.load(Ordering::Relaxed);
        let has_ended = tokio::time::timeout(LINGER, feeding.as_mut()).await.is_ok();
        if has_ended || came.load(Ordering::Relaxed) == before {
            return;
        }
    }
}

fn parcel(part: Part) -> Option<CreateFileRequest> {
    Some(CreateFileRequest { part: Some(part) })
}

/// What goes on to the gateway. A form that breaks, a caller who goes away, dropping whoever feeds it, and an answer before the end, which is
/// a refusal such as that of a deadline, end it without its end: the gateway is told so, for a mere end would make a whole file of it.
fn whole(
    parcels: mpsc::Receiver<Option<CreateFileRequest>>,
    answered: oneshot::Receiver<()>,
) -> impl Stream<Item = CreateFileRequest> + Send {
    let given_up = stream::iter([parcel(Part::Header(FileHeader::default()))]);
    parcels.take_until(answered).chain(given_up).scan((), |(), parcel| ready(parcel))
}

async fn feed(
    mut form: Multipart<'static>,
    mut field: Field<'static>,
    parcels: &mut Parcels,
    came: &AtomicU64,
) -> Result<(), Refusal> {
    while let Some(chunk) = field.chunk().await.map_err(unreadable)? {
        came.fetch_add(chunk.len() as u64, Ordering::Relaxed);
        // Where it is refused the rest is read for a while all the same, so that the caller gets to the answer.
        let _ = parcels.send(parcel(Part::Chunk(chunk))).await;
    }
    drop(field);
    while let Some(late) = form.next_field().await.map_err(unreadable)? {
        let name = late.name().unwrap_or_default().to_owned();
        let mut heeded = FileHeader::default();
        heed(&mut heeded, &name, late).await?;
        if heeded != FileHeader::default() {
            return Err(Invalid::at(name, "must stand before the file in the form, as `purpose` does").into());
        }
    }
    Ok(())
}

async fn feed_from_disk(mut file: tokio::fs::File, parcels: &mut Parcels) -> Result<(), Refusal> {
    loop {
        let mut piece = Vec::with_capacity(PIECE);
        let read = (&mut file).take(PIECE as u64).read_to_end(&mut piece).await;
        let read = read.map_err(|error| {
            tracing::error!(%error, "an upload that was put aside cannot be read");
            Refusal::new(
                503,
                "api_error",
                "overloaded",
                "the gateway cannot read what it put aside; send the file again",
            )
        })?;
        if read == 0 || parcels.send(parcel(Part::Chunk(Bytes::from(piece)))).await.is_err() {
            return Ok(());
        }
    }
}
