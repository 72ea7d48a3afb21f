//! Routes of operations with one answer: `POST /v1/embeddings`, `/v1/rerank`, `/v1/moderations`, `/v1/images/generations`.

use std::future::Future;

use axum::{
    extract::{Request, State},
    http::request::Parts,
    response::Response,
};
use bytes::Bytes;
use tollgate_proto::{
    operation::{Answered, Asked, Embeddings, Images, Moderations, Operation, Reranking},
    v1::Original,
};
use tonic::Status;

use crate::{
    Gateway, chat,
    error::Refusal,
    forward,
    openai::{
        self, Invalid, embedding, image, moderation,
        wishes::{self, Aside},
    },
    rerank,
};

/// An operation that has a route.
pub(crate) trait Routed: Operation {
    /// What the body says of the answer's form.
    type Form: Send;
    /// Reads a body.
    fn read(body: &[u8]) -> Result<(Self::Request, Self::Form), Invalid>;
    /// Asks the gateway.
    fn ask(
        gateway: &Gateway,
        request: tonic::Request<Self::Request>,
    ) -> impl Future<Output = Result<tonic::Response<Self::Response>, Status>> + Send;
    /// Writes an answer that the provider did not give in this dialect.
    fn write(answer: &Self::Response, form: Self::Form) -> String;
}

impl Routed for Embeddings {
    /// Whether vectors are wanted as base64.
    type Form = bool;

    fn read(body: &[u8]) -> Result<(Self::Request, bool), Invalid> {
        openai::read_embedding_with_encoding(body)
    }

    async fn ask(
        gateway: &Gateway,
        request: tonic::Request<Self::Request>,
    ) -> Result<tonic::Response<Self::Response>, Status> {
        gateway.embeddings().create_embedding(request).await
    }

    fn write(answer: &Self::Response, is_base64: bool) -> String {
        embedding::answer(answer, is_base64)
    }
}

impl Routed for Reranking {
    type Form = ();

    fn read(body: &[u8]) -> Result<(Self::Request, ()), Invalid> {
        rerank::read(body).map(|request| (request, ()))
    }

    async fn ask(
        gateway: &Gateway,
        request: tonic::Request<Self::Request>,
    ) -> Result<tonic::Response<Self::Response>, Status> {
        gateway.reranks().rerank(request).await
    }

    fn write(answer: &Self::Response, (): ()) -> String {
        rerank::answer(answer)
    }
}

impl Routed for Moderations {
    type Form = ();

    fn read(body: &[u8]) -> Result<(Self::Request, ()), Invalid> {
        openai::read_moderation(body).map(|request| (request, ()))
    }

    async fn ask(
        gateway: &Gateway,
        request: tonic::Request<Self::Request>,
    ) -> Result<tonic::Response<Self::Response>, Status> {
        gateway.moderations().create_moderation(request).await
    }

    fn write(answer: &Self::Response, (): ()) -> String {
        moderation::answer(answer)
    }
}

impl Routed for Images {
    type Form = ();

    fn read(body: &[u8]) -> Result<(Self::Request, ()), Invalid> {
        openai::read_image(body).map(|request| (request, ()))
    }

    async fn ask(
        gateway: &Gateway,
        request: tonic::Request<Self::Request>,
    ) -> Result<tonic::Response<Self::Response>, Status> {
        gateway.images().generate_image(request).await
    }

    fn write(answer: &Self::Response, (): ()) -> String {
        image::answer(answer)
    }
}

pub(crate) async fn create<O: Routed>(State(gateway): State<Gateway>, request: Request) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    let (body, aside) = wishes::cut(forward::read(&gateway, &parts, body).await?)?;
    let read = O::read(&body)?;
    answer::<O>(gateway, parts, body, aside, read).await
}

/// Asks what was read, and answers.
pub(crate) async fn answer<O: Routed>(
    gateway: Gateway,
    parts: Parts,
    body: Bytes,
    aside: Aside,
    (asked, form): (O::Request, O::Form),
) -> Result<Response, Refusal> {
    let original = Original { dialect: O::DIALECT as i32, body };
    let asked = asked.with(Some(original), Some(chat::options_beside(&parts, O::DIALECT, aside)?));
    let request = forward::request(&gateway, &parts, asked);
    let (metadata, mut answer, _) = O::ask(&gateway, request).await?.into_parts();
    let envelope = answer.envelope();
    let mut headers =
        chat::told(&metadata, envelope.started.as_ref(), envelope.routing.as_ref(), envelope.usage.as_ref());
    chat::tell_receipt(&mut headers, envelope.receipt.as_ref());
    let body = match envelope.native.take() {
        Some(native) => native.body,
        None => Bytes::from(O::write(&answer, form)),
    };
    Ok(chat::json(headers, body))
}
