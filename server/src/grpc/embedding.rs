use std::sync::Arc;

use futures::TryStreamExt;
use tollgate_domain::{CallId, Error};
use tollgate_pipeline::{Billed, Call, QuotaCell, Request as Asked};
use tollgate_proto::v1::{
    CreateEmbeddingRequest, CreateEmbeddingResponse, Dialect, embedding_service_server::EmbeddingService,
};
use tonic::{Extensions, Request, Response, Status};

use super::{
    Deadline, Rooms,
    completion::invalid,
    principal,
    quota::with_quota,
    status::{status, status_of},
    validate,
};

/// `EmbeddingService`.
pub(crate) struct Door(pub(crate) Rooms);

#[tonic::async_trait]
impl EmbeddingService for Door {
    async fn create_embedding(
        &self,
        request: Request<CreateEmbeddingRequest>,
    ) -> Result<Response<CreateEmbeddingResponse>, Status> {
        let who = principal(&request);
        let (_, extensions, asked) = request.into_parts();
        let asked = read_anew(asked, &extensions).map_err(status)?;
        validate::embedding(&asked).map_err(status)?;
        let call = Call {
            id: CallId::new(),
            action: "embedding.create",
            credential: who.credential,
            peer: who.peer,
            deadline: extensions.get::<Deadline>().map(|d| d.0),
            request: Asked::Embedding(Arc::new(asked)),
            again: None,
            quota: QuotaCell::default(),
            billed: Billed::default(),
        };
        let (status, quota) = (status_of(call.id), call.quota.clone());
        let mut reply = self.0.pipeline.embed(call).await.map_err(&status)?;
        let answer = reply.try_next().await.map_err(&status)?;
        answer.map(|answer| with_quota(answer, &quota)).ok_or_else(|| status(Error::internal("the answer is missing")))
    }
}

/// As for completions.
fn read_anew(asked: CreateEmbeddingRequest, extensions: &Extensions) -> Result<CreateEmbeddingRequest, Error> {
    let Some(original) = &asked.original else { return Ok(asked) };
    if extensions.get::<tollgate_http::ReadHere>().is_some() {
        return Ok(asked);
    }
    if original.dialect() != Dialect::OpenaiEmbeddings {
        return Err(Error::invalid_field("original.dialect", "must be DIALECT_OPENAI_EMBEDDINGS"));
    }
    let read = tollgate_http::openai::read_embedding(&original.body).map_err(invalid)?;
    Ok(CreateEmbeddingRequest { original: asked.original, tollgate: asked.tollgate, ..read })
}
