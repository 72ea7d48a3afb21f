//! Files at providers, and batches of calls.

use std::{path::Path, time::Duration};

use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use tokio::io::AsyncWrite;
use tollgate_proto::v1::{
    self, batch_service_client::BatchServiceClient, create_file_request::Part, file_service_client::FileServiceClient,
};

use crate::{
    DEFAULT_TIMEOUT, Error,
    admin::there,
    calls::{call, listed, once, request, sub_client},
    media::{unwritten, write},
    upload::{Upload, uploading},
};

sub_client! {
    /// Files at providers.
    Files: FileServiceClient
}
sub_client! {
    /// Batches of calls.
    Batches: BatchServiceClient
}

/// Words by which providers say that a batch has ended.
const ENDED: [&str; 4] = ["completed", "failed", "expired", "cancelled"];

impl Files {
    /// Uploads a file, which is read while it is sent. Its name and media type are those of `file` where `header` names none.
    pub async fn upload(&self, mut header: v1::FileHeader, file: Upload) -> Result<v1::File, Error> {
        for (named, own) in [(&mut header.filename, &file.filename), (&mut header.media_type, &file.media_type)] {
            if named.is_empty() {
                own.clone_into(named);
            }
        }
        let timeout = Some(self.timeout.unwrap_or(DEFAULT_TIMEOUT));
        let messages = stream::iter([Ok(Part::Header(header))])
            .chain(file.chunks().map_ok(Part::Chunk))
            .map_ok(|part| v1::CreateFileRequest { part: Some(part) });
        let mut stub = self.stub.clone();
        let made = uploading(messages, async move |messages| once(stub.create_file(request(messages, timeout))).await);
        there(made.await?.file)
    }

    /// One file, as its provider tells it now.
    pub async fn get(&self, id: &str) -> Result<v1::File, Error> {
        there(call!(safe, self, get_file, v1::GetFileRequest { id: id.to_owned() })?.file)
    }

    /// The key's files that the filter lets through, the newest first.
    pub fn list(&self, filter: v1::ListFilesRequest) -> impl Stream<Item = Result<v1::File, Error>> + Send + use<> {
        listed!(self, list_files, filter, files)
    }

    /// Deletes a file at its provider.
    pub async fn delete(&self, id: &str) -> Result<(), Error> {
        call!(once, self, delete_file, v1::DeleteFileRequest { id: id.to_owned() }).map(drop)
    }

    /// The bytes of a file, in order and in pieces of any size.
    pub async fn content(
        &self,
        id: &str,
    ) -> Result<impl Stream<Item = Result<Bytes, Error>> + Send + Unpin + use<>, Error> {
        let timeout = Some(self.timeout.unwrap_or(DEFAULT_TIMEOUT));
        let asked = request(v1::GetFileContentRequest { id: id.to_owned() }, timeout);
        let chunks = once(self.stub.clone().get_file_content(asked)).await?;
        Ok(chunks.map_ok(|told| told.chunk).map_err(Error::from))
    }

    /// Writes the bytes of a file, and tells how many they are.
    pub async fn write_content(&self, id: &str, mut out: impl AsyncWrite + Unpin) -> Result<u64, Error> {
        write(self.content(id).await?, &mut out).await
    }

    /// Writes the bytes of a file into one of this machine, which is made, or replaced, once the first have come.
    pub async fn save_content(&self, id: &str, path: impl AsRef<Path>) -> Result<u64, Error> {
        let mut content = self.content(id).await?;
        let first = content.try_next().await?;
        let mut out = tokio::fs::File::create(path).await.map_err(|error| unwritten(&error))?;
        write(stream::iter(first.map(Ok)).chain(content), &mut out).await
    }
}

impl Batches {
    /// Begins a batch on a file of the purpose `batch`. Not repeated by the client: it would be charged twice.
    pub async fn create(&self, asked: v1::CreateBatchRequest) -> Result<v1::Batch, Error> {
        there(call!(once, self, create_batch, asked)?.batch)
    }

    /// One batch, as its provider tells it now.
    pub async fn get(&self, id: &str) -> Result<v1::Batch, Error> {
        there(call!(safe, self, get_batch, v1::GetBatchRequest { id: id.to_owned() })?.batch)
    }

    /// The key's batches, the newest first.
    pub fn list(&self, filter: v1::ListBatchesRequest) -> impl Stream<Item = Result<v1::Batch, Error>> + Send + use<> {
        listed!(self, list_batches, filter, batches)
    }

    /// Asks the provider to stop a batch. What was answered until then is paid for.
    pub async fn cancel(&self, id: &str) -> Result<v1::Batch, Error> {
        there(call!(once, self, cancel_batch, v1::CancelBatchRequest { id: id.to_owned() })?.batch)
    }

    /// Waits until a batch has ended, well or not, and looks every so often. Batches take hours: only where the client was given a timeout
    /// the waiting ends by it, with `DeadlineExceeded`; dropping the future ends it too. The batch goes on.
    pub async fn wait(&self, id: &str, every: Duration) -> Result<v1::Batch, Error> {
        let ended = async {
            loop {
                let batch = self.get(id).await?;
                if ENDED.contains(&batch.status.as_str()) {
                    return Ok(batch);
                }
                tokio::time::sleep(every).await;
            }
        };
        let Some(timeout) = self.timeout else { return ended.await };
        let late = |_| tonic::Status::deadline_exceeded(format!("batch {id} has not ended within {timeout:?}"));
        tokio::time::timeout(timeout, ended).await.map_err(late)?
    }
}
