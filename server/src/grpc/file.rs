use bytes::Bytes;
use futures::{StreamExt, stream::BoxStream};
use tollgate_control::ReadLines;
use tollgate_domain::{Error, Violation};
use tollgate_http::{
    batch_line::{self, Asked, LineWishes},
    openai::Invalid,
};
use tollgate_pipeline::Request as Call;
use tollgate_proto::v1::{
    CancelBatchRequest, CancelBatchResponse, CreateBatchRequest, CreateBatchResponse, CreateFileRequest,
    CreateFileResponse, DeleteFileRequest, DeleteFileResponse, FileHeader, GetBatchRequest, GetBatchResponse,
    GetFileContentRequest, GetFileContentResponse, GetFileRequest, GetFileResponse, ListBatchesRequest,
    ListBatchesResponse, ListFilesRequest, ListFilesResponse, batch_service_server::BatchService,
    create_file_request::Part, file_service_server::FileService,
};
use tollgate_providers::Mode;
use tonic::{Request, Response, Status, Streaming};

use super::{
    Rooms, principal,
    status::status,
    upload::{broken, given_up},
    validate,
};

/// `FileService` and `BatchService`.
#[derive(Clone)]
pub(crate) struct Door(pub(crate) Rooms);

#[tonic::async_trait]
impl FileService for Door {
    async fn create_file(
        &self,
        request: Request<Streaming<CreateFileRequest>>,
    ) -> Result<Response<CreateFileResponse>, Status> {
        let who = principal(&request);
        let mut parts = request.into_inner();
        let Some(Part::Header(header)) = parts.message().await?.and_then(|message| message.part) else {
            return Err(status(Error::invalid_field("header", "must be the first message")));
        };
        let chunks = parts.map(|message| match message.map(|message| message.part) {
            Ok(Some(Part::Chunk(chunk))) => Ok(chunk),
            Ok(Some(Part::Header(header))) if header == FileHeader::default() => Err(given_up("its sender gave it up")),
            Ok(_) => Err(Error::invalid_field("chunk", "must be every message but the first")),
            Err(told) => Err(broken(told)),
        });
        let (file, receipt) = self.0.control.create_file(&who, header, chunks.boxed()).await.map_err(status)?;
        Ok(Response::new(CreateFileResponse { file: Some(file), receipt }))
    }

    async fn get_file(&self, request: Request<GetFileRequest>) -> Result<Response<GetFileResponse>, Status> {
        let who = principal(&request);
        let file = self.0.control.get_file(&who, &request.into_inner().id).await.map_err(status)?;
        Ok(Response::new(GetFileResponse { file: Some(file) }))
    }

    async fn list_files(&self, request: Request<ListFilesRequest>) -> Result<Response<ListFilesResponse>, Status> {
        let who = principal(&request);
        let (files, next_page_token) = self.0.control.list_files(&who, request.get_ref()).await.map_err(status)?;
        Ok(Response::new(ListFilesResponse { files, next_page_token }))
    }

    async fn delete_file(&self, request: Request<DeleteFileRequest>) -> Result<Response<DeleteFileResponse>, Status> {
        let who = principal(&request);
        self.0.control.delete_file(&who, &request.into_inner().id).await.map_err(status)?;
        Ok(Response::new(DeleteFileResponse {}))
    }

    type GetFileContentStream = BoxStream<'static, Result<GetFileContentResponse, Status>>;

    async fn get_file_content(
        &self,
        request: Request<GetFileContentRequest>,
    ) -> Result<Response<Self::GetFileContentStream>, Status> {
        let who = principal(&request);
        let chunks = self.0.control.file_content(&who, &request.into_inner().id).await.map_err(status)?;
        let told = |chunk: Result<Bytes, Error>| chunk.map(|chunk| GetFileContentResponse { chunk }).map_err(status);
        Ok(Response::new(chunks.map(told).boxed()))
    }
}

#[tonic::async_trait]
impl BatchService for Door {
    async fn create_batch(
        &self,
        request: Request<CreateBatchRequest>,
    ) -> Result<Response<CreateBatchResponse>, Status> {
        let who = principal(&request);
        let asked = request.into_inner();
        validate::batch(&asked).map_err(status)?;
        let (batch, receipt) = self.0.control.create_batch(&who, asked).await.map_err(status)?;
        Ok(Response::new(CreateBatchResponse { batch: Some(batch), receipt }))
    }

    async fn get_batch(&self, request: Request<GetBatchRequest>) -> Result<Response<GetBatchResponse>, Status> {
        let who = principal(&request);
        let batch = self.0.control.get_batch(&who, &request.into_inner().id).await.map_err(status)?;
        Ok(Response::new(GetBatchResponse { batch: Some(batch) }))
    }

    async fn list_batches(
        &self,
        request: Request<ListBatchesRequest>,
    ) -> Result<Response<ListBatchesResponse>, Status> {
        let who = principal(&request);
        let (batches, next_page_token) = self.0.control.list_batches(&who, request.get_ref()).await.map_err(status)?;
        Ok(Response::new(ListBatchesResponse { batches, next_page_token }))
    }

    async fn cancel_batch(
        &self,
        request: Request<CancelBatchRequest>,
    ) -> Result<Response<CancelBatchResponse>, Status> {
        let who = principal(&request);
        let batch = self.0.control.cancel_batch(&who, &request.into_inner().id).await.map_err(status)?;
        Ok(Response::new(CancelBatchResponse { batch: Some(batch) }))
    }
}

fn invalid(invalid: Invalid) -> Error {
    let violation = |(field, description)| Violation { field, description };
    Error::invalid(invalid.violations.into_iter().map(violation).collect())
}

/// Lines of batches as OpenAI's API writes them.
pub(crate) struct Lines;

impl ReadLines for Lines {
    fn read(&self, line: &[u8]) -> Result<tollgate_control::ReadLine, Error> {
        let line = batch_line::read(line).map_err(invalid)?;
        let request = match line.asked {
            Asked::Completion(request) => Call::Completion((*request).into(), Mode::Whole),
            Asked::Embedding(request) => Call::Embedding(request.into()),
            Asked::Moderation(request) => Call::Moderation(request.into()),
        };
        let LineWishes { tags, drop_params } = line.wishes;
        Ok(tollgate_control::ReadLine { url: line.url, model: line.model, request, tags, drop_params })
    }

    fn rewritten(&self, line: &[u8], model: &str, cap: Option<u64>) -> Result<String, Error> {
        batch_line::rewritten(line, model, cap).map_err(invalid)
    }
}
