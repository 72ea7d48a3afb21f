//! The doors of operations with one answer.

use futures::stream::BoxStream;
use tollgate_domain::Error;
use tollgate_http::{
    openai::{self, Invalid},
    rerank,
};
use tollgate_pipeline::Carried;
use tollgate_proto::{
    operation::{Asked, Embeddings, Images, Moderations, Reranking},
    v1::{
        CreateEmbeddingRequest, CreateEmbeddingResponse, CreateModerationRequest, CreateModerationResponse,
        EditImageRequest, EditImageResponse, GenerateImageRequest, GenerateImageResponse, RerankRequest,
        RerankResponse, StreamImageRequest, StreamImageResponse, embedding_service_server::EmbeddingService,
        image_service_server::ImageService, moderation_service_server::ModerationService,
        rerank_service_server::RerankService,
    },
};
use tonic::{Extensions, Request, Response, Status, Streaming};

use super::{
    Rooms, call_of,
    completion::invalid,
    media, principal,
    quota::with_quota,
    status::{status, status_of},
    validate,
};

/// Every service of an operation with one answer.
#[derive(Clone)]
pub(crate) struct Door(pub(crate) Rooms);

#[tonic::async_trait]
impl EmbeddingService for Door {
    async fn create_embedding(
        &self,
        request: Request<CreateEmbeddingRequest>,
    ) -> Result<Response<CreateEmbeddingResponse>, Status> {
        answer::<Embeddings>(&self.0, request).await
    }
}

#[tonic::async_trait]
impl RerankService for Door {
    async fn rerank(&self, request: Request<RerankRequest>) -> Result<Response<RerankResponse>, Status> {
        answer::<Reranking>(&self.0, request).await
    }
}

#[tonic::async_trait]
impl ModerationService for Door {
    async fn create_moderation(
        &self,
        request: Request<CreateModerationRequest>,
    ) -> Result<Response<CreateModerationResponse>, Status> {
        answer::<Moderations>(&self.0, request).await
    }
}

#[tonic::async_trait]
impl ImageService for Door {
    async fn generate_image(
        &self,
        request: Request<GenerateImageRequest>,
    ) -> Result<Response<GenerateImageResponse>, Status> {
        answer::<Images>(&self.0, request).await
    }

    type StreamImageStream = BoxStream<'static, Result<StreamImageResponse, Status>>;

    async fn stream_image(
        &self,
        request: Request<StreamImageRequest>,
    ) -> Result<Response<Self::StreamImageStream>, Status> {
        media::stream_image(&self.0, request).await
    }

    type EditImageStream = BoxStream<'static, Result<EditImageResponse, Status>>;

    async fn edit_image(
        &self,
        request: Request<Streaming<EditImageRequest>>,
    ) -> Result<Response<Self::EditImageStream>, Status> {
        media::edit_image(&self.0, request).await
    }
}

/// An operation that has a door.
trait Served: Carried {
    /// Reads a request from the caller's own bytes.
    fn read(body: &[u8]) -> Result<Self::Request, Invalid>;
    /// What a request must be.
    fn validate(request: &Self::Request) -> Result<(), Error>;
}

impl Served for Embeddings {
    fn read(body: &[u8]) -> Result<Self::Request, Invalid> {
        openai::read_embedding(body)
    }

    fn validate(request: &Self::Request) -> Result<(), Error> {
        validate::embedding(request)
    }
}

impl Served for Reranking {
    fn read(body: &[u8]) -> Result<Self::Request, Invalid> {
        rerank::read(body)
    }

    fn validate(request: &Self::Request) -> Result<(), Error> {
        validate::rerank(request)
    }
}

impl Served for Moderations {
    fn read(body: &[u8]) -> Result<Self::Request, Invalid> {
        openai::read_moderation(body)
    }

    fn validate(request: &Self::Request) -> Result<(), Error> {
        validate::moderation(request)
    }
}

impl Served for Images {
    fn read(body: &[u8]) -> Result<Self::Request, Invalid> {
        openai::read_image(body)
    }

    fn validate(request: &Self::Request) -> Result<(), Error> {
        validate::image(request)
    }
}

async fn answer<O: Served>(rooms: &Rooms, request: Request<O::Request>) -> Result<Response<O::Response>, Status> {
    let who = principal(&request);
    let (_, extensions, asked) = request.into_parts();
    let asked = read_anew::<O>(asked, &extensions).map_err(status)?;
    O::validate(&asked).map_err(status)?;
    let call = call_of(O::ACTION, who, &extensions, O::request(asked.into()));
    let (status, quota) = (status_of(call.id), call.quota.clone());
    let answer = rooms.pipeline.answer::<O>(call).await.map_err(status)?;
    Ok(with_quota(answer, &quota))
}

/// As for completions.
fn read_anew<O: Served>(asked: O::Request, extensions: &Extensions) -> Result<O::Request, Error> {
    let Some(original) = asked.original() else { return Ok(asked) };
    if extensions.get::<tollgate_http::ReadHere>().is_some() {
        return Ok(asked);
    }
    if original.dialect() != O::DIALECT {
        let expected = format!("must be {}", O::DIALECT.as_str_name());
        return Err(Error::invalid_field("original.dialect", expected));
    }
    let read = O::read(&original.body).map_err(invalid)?;
    Ok(read.with(Some(original.clone()), asked.options().cloned()))
}
