//! `multipart/form-data` as it comes in.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{
    body::Body,
    http::{header, request::Parts},
};
use bytes::Bytes;
use futures::{Stream, StreamExt, stream::BoxStream};
use multer::{Constraints, Field, Multipart, SizeLimit};
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tollgate_proto::v1::{UploadField, UploadFile};

use super::spool::Spool;
use crate::{
    Gateway,
    error::Refusal,
    forward::ModelInPath,
    openai::wishes::{tags_of_field, untagged_field},
};

/// The longest field that is no file.
const LONGEST_FIELD: usize = 1 << 20;
/// The most fields and files.
const MOST_PARTS: usize = 128;
/// Fields that are files even where they have no name.
const FILES: [&str; 4] = ["file", "image", "image[]", "mask"];

/// A piece of what stands behind the fields that were read.
pub(super) enum Piece {
    File(UploadFile),
    Data(Bytes),
    Field(UploadField),
}

pub(super) type Pieces = BoxStream<'static, Result<Piece, Refusal>>;

/// A form whose fields are read as far as they must be.
pub(super) struct Form {
    pub(super) fields: Vec<(String, String)>,
    /// Its files, and what stands behind them.
    pub(super) rest: Pieces,
    /// How many files it has, where all of it is read.
    pub(super) files: Option<usize>,
    /// The most bytes that its files have.
    pub(super) most_bytes: usize,
    /// What stands behind the files of a form that is passed on.
    pub(super) late: Late,
}

/// Fields that came behind the files, once they did.
#[derive(Clone, Default)]
pub(super) struct Late(Arc<Mutex<Vec<UploadField>>>);

impl Late {
    /// What one of them says.
    pub(super) fn found(&self, name: &str) -> Option<String> {
        self.0.lock().iter().find(|field| field.name == name).map(|field| field.value.clone())
    }
}

/// A form that comes in.
pub(super) struct Incoming {
    form: Multipart<'static>,
    limit: usize,
    /// Bytes of the body, where its head tells.
    told: Option<usize>,
    /// The model that the path names.
    model: Option<String>,
}

impl Incoming {
    pub(super) fn new(gateway: &Gateway, parts: &Parts, body: Body) -> Result<Self, Refusal> {
        let limit = gateway.options.max_body_bytes;
        let header = |name: header::HeaderName| parts.headers.get(name).and_then(|value| value.to_str().ok());
        let told = header(header::CONTENT_LENGTH).and_then(|text| text.parse::<usize>().ok());
        if told.is_some_and(|length| length > limit) {
            return Err(Refusal::too_large(limit));
        }
        let boundary = multer::parse_boundary(header(header::CONTENT_TYPE).unwrap_or_default());
        let boundary = boundary.map_err(|_| invalid("the body must be multipart/form-data, with a boundary".into()))?;
        let sizes = SizeLimit::new().whole_stream(limit as u64);
        let constraints = Constraints::new().size_limit(sizes);
        let form = Multipart::with_constraints(body.into_data_stream(), boundary, constraints);
        let model = parts.extensions.get::<ModelInPath>().map(|ModelInPath(model)| model.clone());
        Ok(Self { form, limit, told, model })
    }

    /// Reads a form: where it may begin before its end, up to its first file once its model is known, else all of it.
    pub(super) async fn read(self, may_begin: bool) -> Result<Form, Refusal> {
        let Self { mut form, limit, told, model } = self;
        let has_path = model.is_some();
        let mut fields: Vec<_> = model.map(|model| ("model".to_owned(), model)).into_iter().collect();
        let mut spool = Spool::default();
        let mut files: Vec<(UploadFile, u64)> = Vec::new();
        while let Some(field) = form.next_field().await.map_err(|error| broken(&error, limit))? {
            if fields.len() + files.len() >= MOST_PARTS {
                return Err(invalid(format!("the form has more than {MOST_PARTS} parts")));
            }
            let Some(file) = file_of(&field) else {
                let (name, value) = text(field, limit).await?;
                // A path's model counts before the form's.
                if !(has_path && name == "model") {
                    fields.push((name, value));
                }
                continue;
            };
            let knows_model = fields.iter().any(|(name, _)| name == "model");
            if may_begin && files.is_empty() && knows_model {
                let rest = following(form, file, field, limit).boxed();
                return Ok(Form {
                    fields,
                    rest,
                    files: None,
                    most_bytes: told.unwrap_or(limit),
                    late: Late::default(),
                });
            }
            let mut field = field;
            let mut length = 0;
            while let Some(bytes) = field.chunk().await.map_err(|error| broken(&error, limit))? {
                spool.push(bytes.clone()).await.map_err(|error| unkept(&error))?;
                length += bytes.len() as u64;
            }
            files.push((file, length));
        }
        let most_bytes = usize::try_from(files.iter().map(|(_, length)| length).sum::<u64>()).unwrap_or(usize::MAX);
        let count = files.len();
        let rest = async_stream::stream! {
            let (files, lengths): (Vec<_>, Vec<_>) = files.into_iter().unzip();
            let mut bytes = spool.read(lengths);
            for file in files {
                yield Ok(Piece::File(file));
                loop {
                    match bytes.next().await {
                        Some(Ok(Some(piece))) => yield Ok(Piece::Data(piece)),
                        Some(Err(error)) => yield Err(unkept(&error)),
                        Some(Ok(None)) | None => break,
                    }
                }
            }
        };
        Ok(Form { fields, rest: rest.boxed(), files: Some(count), most_bytes, late: Late::default() })
    }
}

impl Form {
    /// Takes a field.
    pub(super) fn take(&mut self, name: &str) -> Option<String> {
        let at = self.fields.iter().position(|(field, _)| field == name)?;
        Some(self.fields.remove(at).1)
    }

    /// Takes its tags: as LiteLLM's clients and OpenAI's SDKs write them in forms.
    pub(super) fn take_tags(&mut self) -> Result<Vec<String>, Refusal> {
        let mut tags = Vec::new();
        for (name, value) in std::mem::take(&mut self.fields) {
            tags.extend(tags_of_field(&name, &value)?);
            if let Some(value) = untagged_field(&name, value)? {
                self.fields.push((name, value));
            }
        }
        Ok(tags)
    }

    /// Takes a field as a `T`.
    pub(super) fn parsed<T: std::str::FromStr>(
        &mut self,
        name: &'static str,
        what: &str,
    ) -> Result<Option<T>, Refusal> {
        let Some(text) = self.take(name).filter(|text| !text.is_empty()) else { return Ok(None) };
        let parsed = text.trim().to_ascii_lowercase().parse();
        parsed.map(Some).map_err(|_| invalid(format!("{name}: must be {what}")).about(name))
    }

    /// The fields that were not taken.
    pub(super) fn others(&mut self) -> Vec<UploadField> {
        let field = |(name, value)| UploadField { name, value };
        std::mem::take(&mut self.fields).into_iter().map(field).collect()
    }

    /// `head` and then its pieces as messages, and what to answer if the form breaks: the messages then neither go on nor end.
    pub(super) fn messages<M: Send + 'static>(
        self,
        head: M,
        message: fn(Piece) -> M,
    ) -> (Messages<M>, oneshot::Receiver<Refusal>) {
        let (break_off, broke) = oneshot::channel();
        let (mut rest, late) = (self.rest, self.late);
        let messages = async_stream::stream! {
            yield head;
            while let Some(piece) = rest.next().await {
                match piece {
                    Ok(piece) => {
                        if let Piece::Field(field) = &piece {
                            late.0.lock().push(field.clone());
                        }
                        yield message(piece);
                    }
                    Err(refusal) => {
                        // Whoever answers may have gone.
                        let _ = break_off.send(refusal);
                        std::future::pending::<()>().await;
                        return;
                    }
                }
            }
        };
        (Messages(messages.boxed()), broke)
    }
}

/// Messages to the gateway: a type of its own, since the compiler cannot prove that a future which holds the boxed stream is `Send`.
pub(super) struct Messages<M>(BoxStream<'static, M>);

impl<M> Stream for Messages<M> {
    type Item = M;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<M>> {
        self.0.poll_next_unpin(cx)
    }
}

/// What follows from the first file on.
fn following(
    mut form: Multipart<'static>,
    file: UploadFile,
    field: Field<'static>,
    limit: usize,
) -> impl Stream<Item = Result<Piece, Refusal>> + Send + 'static {
    async_stream::try_stream! {
        let mut next = Some((Some(file), field));
        while let Some((file, mut field)) = next.take() {
            match file {
                Some(file) => {
                    yield Piece::File(file);
                    while let Some(bytes) = field.chunk().await.map_err(|error| broken(&error, limit))? {
                        yield Piece::Data(bytes);
                    }
                    // The next one comes only when nobody holds this one.
                    drop(field);
                }
                None => {
                    let (name, value) = text(field, limit).await?;
                    if !tags_of_field(&name, &value)?.is_empty() {
                        Err(invalid(format!("{name}: stands behind the file, which goes on by then; send it before")).about(&name))?;
                    }
                    let left = untagged_field(&name, value)?;
                    // Said before.
                    if let Some(value) = left.filter(|_| name != "model") {
                        yield Piece::Field(UploadField { name, value });
                    }
                }
            }
            next = form.next_field().await.map_err(|error| broken(&error, limit))?.map(|field| (file_of(&field), field));
        }
    }
}

fn file_of(field: &Field<'_>) -> Option<UploadFile> {
    let name = field.name().unwrap_or_default();
    let is_file = field.file_name().is_some() || FILES.contains(&name);
    is_file.then(|| UploadFile {
        field: name.to_owned(),
        filename: field.file_name().unwrap_or_default().to_owned(),
        content_type: field.content_type().map(ToString::to_string).unwrap_or_default(),
    })
}

async fn text(mut field: Field<'static>, limit: usize) -> Result<(String, String), Refusal> {
    let name = field.name().unwrap_or_default().to_owned();
    let mut value = Vec::new();
    while let Some(bytes) = field.chunk().await.map_err(|error| broken(&error, limit))? {
        value.extend_from_slice(&bytes);
        if value.len() > LONGEST_FIELD {
            return Err(invalid(format!("{name}: is longer than {LONGEST_FIELD} bytes")));
        }
    }
    let value = String::from_utf8(value).map_err(|_| invalid(format!("{name}: is not valid UTF-8")))?;
    Ok((name, value))
}

pub(super) fn invalid(message: String) -> Refusal {
    Refusal::new(400, "invalid_request_error", "invalid_value", message)
}

fn broken(error: &multer::Error, limit: usize) -> Refusal {
    match error {
        multer::Error::StreamSizeExceeded { .. } => Refusal::too_large(limit),
        error => {
            let message = format!("the form cannot be read: {error}");
            Refusal::new(400, "invalid_request_error", "invalid_body", message)
        }
    }
}

fn unkept(error: &std::io::Error) -> Refusal {
    let message =
        format!("the form cannot be kept while its fields are read ({error}); send its fields before its files");
    Refusal::new(503, "api_error", "overloaded", message)
}
