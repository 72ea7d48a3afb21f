//! `POST /v1/completions`, OpenAI's older route: a prompt and its continuation.

use axum::{
    extract::{Request, State},
    response::Response,
};
use bytes::Bytes;
use tollgate_proto::v1::{CreateCompletionRequest, Dialect, Original, StreamCompletionRequest};

use crate::{
    Gateway, chat,
    error::Refusal,
    forward,
    openai::{
        Wishes,
        chunk::Sse,
        text::{self, Chunks},
    },
    stream,
};

pub(crate) async fn create(State(gateway): State<Gateway>, request: Request) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    let body = forward::read(&gateway, &parts, body).await?;
    let (mut asked, wishes) = text::read_with_wishes(&body)?;
    asked.original = Some(Original { dialect: Dialect::OpenaiCompletions as i32, body });
    let Wishes { stream, include_usage, .. } = wishes;
    asked.tollgate = Some(chat::asked_options(&parts, Dialect::OpenaiCompletions, wishes)?);
    if stream {
        let request = forward::request(&gateway, &parts, StreamCompletionRequest { request: Some(asked) });
        let (metadata, events, _) = gateway.completions().stream_completion(request).await?.into_parts();
        return stream::respond(events, &metadata, |first| Sse::new(first, Chunks::new(include_usage))).await;
    }
    let request = forward::request(&gateway, &parts, CreateCompletionRequest { request: Some(asked) });
    let (metadata, answer, _) = gateway.completions().create_completion(request).await?.into_parts();
    let completion = answer.completion.unwrap_or_default();
    let headers = chat::told_of(&completion, &metadata);
    let body = match completion.native {
        Some(native) => native.body,
        None => Bytes::from(text::completion(&completion)),
    };
    Ok(chat::json(headers, body))
}
