//! Files on their way to the gateway, chunk by chunk.

use std::{io, path::Path, pin::Pin};

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt, future, stream};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    sync::oneshot,
};
use tonic::Status;

use crate::Error;

/// Bytes of a message of an upload.
const CHUNK: usize = 64 * 1024;

/// A file to send: its name, its media type, its bytes.
pub struct Upload {
    pub(crate) filename: String,
    pub(crate) media_type: String,
    bytes: Pin<Box<dyn AsyncRead + Send>>,
}

impl Upload {
    /// What is read until its end, under a name: by its ending many providers tell the format.
    pub fn read(filename: impl Into<String>, bytes: impl AsyncRead + Send + 'static) -> Self {
        Self { filename: filename.into(), media_type: String::new(), bytes: Box::pin(bytes) }
    }

    /// Bytes that are there already, under a name.
    pub fn bytes(filename: impl Into<String>, bytes: impl Into<Bytes>) -> Self {
        Self::read(filename, io::Cursor::new(bytes.into()))
    }

    /// A file of this machine, under its own name.
    pub async fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        Ok(Self::read(name, tokio::fs::File::open(path).await?))
    }

    /// The same with its media type, as in `audio/wav`; without one it goes as `application/octet-stream`.
    #[must_use]
    pub fn media_type(mut self, media_type: impl Into<String>) -> Self {
        self.media_type = media_type.into();
        self
    }

    pub(crate) fn chunks(self) -> impl Stream<Item = io::Result<Bytes>> + Send {
        stream::try_unfold(self.bytes, |mut bytes| async {
            let mut chunk = BytesMut::with_capacity(CHUNK);
            Ok((bytes.read_buf(&mut chunk).await? > 0).then(|| (chunk.freeze(), bytes)))
        })
    }
}

/// Makes a call with what is uploaded. A file that cannot be read ends the call: half of it must not look like the whole.
pub(crate) async fn uploading<M, R, C, S>(messages: S, call: C) -> Result<R, Error>
where
    S: Stream<Item = io::Result<M>> + Send + 'static,
    M: Send + 'static,
    C: AsyncFnOnce(Pin<Box<dyn Stream<Item = M> + Send>>) -> Result<R, Error>,
{
    let (tell, broke) = oneshot::channel();
    let mut tell = Some(tell);
    let whole = messages.filter_map(move |message| match message {
        Ok(message) => future::Either::Left(future::ready(Some(message))),
        Err(error) => {
            tell.take().map(|tell| tell.send(error));
            // Without an end, until the call is dropped.
            future::Either::Right(future::pending())
        }
    });
    tokio::select! {
        done = call(Box::pin(whole)) => done,
        Ok(error) = broke => Err(Status::cancelled(format!("the upload cannot be read: {error}")).into()),
    }
}
