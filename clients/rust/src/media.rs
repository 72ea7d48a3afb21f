//! Speech, transcripts, images.

use std::{
    io,
    path::Path,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tollgate_proto::v1::{
    self, audio_service_client::AudioServiceClient, create_speech_response::Event as Spoken,
    create_transcription_request::Part as Recording, create_transcription_response::Event as Heard,
    edit_image_request::Part as Edited, edit_image_response::Event as Drawn, image_service_client::ImageServiceClient,
};
use tonic::{Status, Streaming};

use crate::{
    DEFAULT_TIMEOUT, Error,
    calls::{once, request, sub_client},
    upload::{Upload, uploading},
};

sub_client! {
    /// Speech and transcripts.
    Audio: AudioServiceClient
}
sub_client! {
    /// Images.
    Images: ImageServiceClient
}

impl Audio {
    /// Speaks a text. The sound comes while it is made; dropping it cancels the call, up to the provider.
    pub async fn speak(&self, asked: v1::CreateSpeechRequest) -> Result<Speech, Error> {
        let timeout = Some(self.timeout.unwrap_or(DEFAULT_TIMEOUT));
        let mut events = once(self.stub.clone().create_speech(request(asked, timeout))).await?;
        let first = events.message().await?.ok_or_else(unfinished)?;
        Ok(Speech { content_type: first.content_type, events, usage: None, receipt: None })
    }

    /// Writes down what a recording says, or its translation into English (`head.to_english`). The recording is read while it is sent.
    pub async fn transcribe(&self, head: v1::TranscriptionHead, recording: Upload) -> Result<Transcription, Error> {
        let timeout = Some(self.timeout.unwrap_or(DEFAULT_TIMEOUT));
        let mut stub = self.stub.clone();
        let messages = stream::iter([Ok(Recording::Head(head)), Ok(Recording::File(told("file", &recording)))])
            .chain(recording.chunks().map_ok(Recording::Data))
            .map_ok(|part| v1::CreateTranscriptionRequest { part: Some(part) });
        uploading(messages, async move |messages| {
            let mut events = once(stub.create_transcription(request(messages, timeout))).await?;
            let mut heard = Transcription::default();
            let mut is_whole = false;
            while let Some(event) = events.message().await? {
                match event.event {
                    Some(Heard::Transcript(transcript)) => {
                        heard.transcript = transcript;
                        is_whole = true;
                    }
                    Some(Heard::Usage(usage)) => heard.usage = Some(usage),
                    Some(Heard::Receipt(receipt)) => heard.receipt = Some(receipt),
                    _ => {}
                }
            }
            if is_whole { Ok(heard) } else { Err(unfinished()) }
        })
        .await
    }
}

impl Images {
    /// Makes images of words.
    pub async fn generate(&self, asked: v1::GenerateImageRequest) -> Result<v1::GenerateImageResponse, Error> {
        let timeout = Some(self.timeout.unwrap_or(DEFAULT_TIMEOUT));
        once(self.stub.clone().generate_image(request(asked, timeout))).await
    }

    /// Makes images of images, and where there is a mask only within it.
    pub async fn edit(
        &self,
        mut head: v1::EditImageHead,
        images: impl IntoIterator<Item = Upload>,
        mask: Option<Upload>,
    ) -> Result<EditedImages, Error> {
        let timeout = Some(self.timeout.unwrap_or(DEFAULT_TIMEOUT));
        let files: Vec<_> =
            images.into_iter().map(|image| ("image[]", image)).chain(mask.map(|m| ("mask", m))).collect();
        head.images.get_or_insert(files.len() as i64);
        let files = stream::iter(files).flat_map(|(field, file)| {
            let begun = stream::iter([Ok(Edited::File(told(field, &file)))]);
            begun.chain(file.chunks().map_ok(Edited::Data)).boxed()
        });
        let messages = stream::iter([Ok(Edited::Head(head))])
            .chain(files)
            .map_ok(|part| v1::EditImageRequest { part: Some(part) });
        let mut stub = self.stub.clone();
        uploading(messages, async move |messages| {
            let mut events = once(stub.edit_image(request(messages, timeout))).await?;
            let mut edited = EditedImages::default();
            while let Some(event) = events.message().await? {
                match event.event {
                    Some(Drawn::Image(drawn)) if drawn.partial_index.is_none() => edited.images.extend(drawn.image),
                    Some(Drawn::Usage(usage)) => edited.usage = Some(usage),
                    Some(Drawn::Receipt(receipt)) => edited.receipt = Some(receipt),
                    _ => {}
                }
            }
            if edited.images.is_empty() { Err(unfinished()) } else { Ok(edited) }
        })
        .await
    }
}

fn told(field: &str, file: &Upload) -> v1::UploadFile {
    v1::UploadFile { field: field.to_owned(), filename: file.filename.clone(), content_type: file.media_type.clone() }
}

/// A call that ended well, and not at its end.
pub(crate) fn unfinished() -> Error {
    Status::internal("the stream ended before it was finished").into()
}

/// A transcript and what it cost.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Transcription {
    /// What was said.
    pub transcript: v1::Transcript,
    /// What the call consumed.
    pub usage: Option<v1::Usage>,
    /// The audit log's promise, where it was asked for.
    pub receipt: Option<v1::Receipt>,
}

/// Images that were made of others.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EditedImages {
    /// The images; sketches of them are left out.
    pub images: Vec<v1::GeneratedImage>,
    /// What the call consumed.
    pub usage: Option<v1::Usage>,
    /// The audit log's promise, where it was asked for.
    pub receipt: Option<v1::Receipt>,
}

/// Sound as it is made: a stream of its bytes.
pub struct Speech {
    content_type: String,
    events: Streaming<v1::CreateSpeechResponse>,
    usage: Option<v1::Usage>,
    receipt: Option<v1::Receipt>,
}

impl Stream for Speech {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            return Poll::Ready(match ready!(self.events.poll_next_unpin(cx)) {
                Some(Ok(told)) => match told.event {
                    Some(Spoken::Audio(sound) | Spoken::Native(sound)) => Some(Ok(sound)),
                    Some(Spoken::Usage(usage)) => {
                        self.usage = Some(usage);
                        continue;
                    }
                    Some(Spoken::Receipt(receipt)) => {
                        self.receipt = Some(receipt);
                        continue;
                    }
                    _ => continue,
                },
                Some(Err(status)) => Some(Err(status.into())),
                None if self.usage.is_none() => {
                    // Said once: who asks again is at the end.
                    self.usage = Some(v1::Usage::default());
                    Some(Err(unfinished()))
                }
                None => None,
            });
        }
    }
}

impl Speech {
    /// The media type of the sound, as in `audio/mpeg`.
    pub fn content_type(&self) -> &str {
        &self.content_type
    }

    /// What the call consumed: known once the sound has been read to its end.
    pub fn usage(&self) -> Option<&v1::Usage> {
        self.usage.as_ref()
    }

    /// The audit log's promise, where it was asked for: known once the sound has been read to its end.
    pub fn receipt(&self) -> Option<&v1::Receipt> {
        self.receipt.as_ref()
    }

    /// Writes the sound as it comes, and tells how many bytes it has. Sound that breaks off is an error, and what came of it is written.
    pub async fn write_to(&mut self, mut out: impl AsyncWrite + Unpin) -> Result<u64, Error> {
        write(self, &mut out).await
    }

    /// Writes the sound into a file that is made, or replaced.
    pub async fn save(&mut self, path: impl AsRef<Path>) -> Result<u64, Error> {
        self.write_to(tokio::fs::File::create(path).await.map_err(|error| unwritten(&error))?).await
    }
}

/// Writes what comes.
pub(crate) async fn write(
    mut bytes: impl Stream<Item = Result<Bytes, Error>> + Unpin,
    out: &mut (impl AsyncWrite + Unpin),
) -> Result<u64, Error> {
    let mut written = 0;
    while let Some(chunk) = bytes.try_next().await? {
        out.write_all(&chunk).await.map_err(|error| unwritten(&error))?;
        written += chunk.len() as u64;
    }
    out.flush().await.map_err(|error| unwritten(&error))?;
    Ok(written)
}

pub(crate) fn unwritten(error: &io::Error) -> Error {
    Status::cancelled(format!("what comes cannot be written: {error}")).into()
}
