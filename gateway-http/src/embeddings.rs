//! `POST /v1/embeddings`.

use axum::{
    extract::{Request, State},
    http::HeaderMap,
    response::Response,
};
use bytes::Bytes;
use tollgate_proto::v1::{Dialect, Original};

use crate::{
    Gateway, chat,
    error::Refusal,
    forward,
    openai::{self, embedding},
    quota,
};

pub(crate) async fn create(State(mut gateway): State<Gateway>, request: Request) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    let body = forward::read(&gateway, &parts, body).await?;
    let (mut asked, is_base64) = openai::read_embedding_with_encoding(&body)?;
    asked.original = Some(Original { dialect: Dialect::OpenaiEmbeddings as i32, body });
    asked.tollgate = Some(chat::options(&parts, Dialect::OpenaiEmbeddings)?);
    let request = forward::request(&gateway, &parts, asked);
    let (metadata, answer, _) = gateway.embeddings.create_embedding(request).await?.into_parts();
    let mut headers = HeaderMap::new();
    quota::tell(&mut headers, &metadata);
    chat::tell(&mut headers, answer.started.as_ref(), answer.routing.as_ref());
    chat::tell_cost(&mut headers, answer.usage.as_ref().map_or(0, |u| u.cost_nano_usd));
    let body = match &answer.native {
        Some(native) => native.body.clone(),
        None => Bytes::from(embedding::answer(&answer, is_base64)),
    };
    Ok(chat::json(headers, body))
}
