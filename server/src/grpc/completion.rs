use std::sync::Arc;

use futures::{Stream, StreamExt, TryStreamExt, stream::BoxStream};
use tollgate_domain::{Error, Violation};
use tollgate_http::{anthropic, openai, responses};
use tollgate_pipeline::{Call, Request as Asked};
use tollgate_proto::{
    Collector,
    v1::{
        CompletionRequest, CountTokensRequest, CountTokensResponse, CreateCompletionRequest, CreateCompletionResponse,
        Dialect, StreamCompletionRequest, StreamCompletionResponse, completion_service_server::CompletionService,
    },
};
use tollgate_providers::Mode;
use tonic::{Extensions, Request, Response, Status};

use super::{
    Rooms, principal,
    quota::with_quota,
    status::{status, status_of},
    validate,
};

/// `CompletionService`.
pub(crate) struct Door(pub(crate) Rooms);

#[tonic::async_trait]
impl CompletionService for Door {
    type StreamCompletionStream = BoxStream<'static, Result<StreamCompletionResponse, Status>>;

    async fn stream_completion(
        &self,
        request: Request<StreamCompletionRequest>,
    ) -> Result<Response<Self::StreamCompletionStream>, Status> {
        let call = call("completion.stream", Mode::Stream, request, |r| r.request).map_err(status)?;
        let (status, quota) = (status_of(call.id), call.quota.clone());
        let reply = self.0.pipeline.complete(call).await.map_err(&status)?;
        let events = reply.map(move |event| match event {
            Ok(event) => Ok(StreamCompletionResponse { event: Some(event) }),
            Err(error) => Err(status(error)),
        });
        Ok(with_quota(boxed(events), &quota))
    }

    async fn create_completion(
        &self,
        request: Request<CreateCompletionRequest>,
    ) -> Result<Response<CreateCompletionResponse>, Status> {
        let call = call("completion.create", Mode::Whole, request, |r| r.request).map_err(status)?;
        let (status, quota) = (status_of(call.id), call.quota.clone());
        let mut reply = self.0.pipeline.complete(call).await.map_err(&status)?;
        let mut collector = Collector::default();
        while let Some(event) = reply.try_next().await.map_err(&status)? {
            collector.take(event);
        }
        Ok(with_quota(CreateCompletionResponse { completion: Some(collector.finish()) }, &quota))
    }

    async fn count_tokens(
        &self,
        request: Request<CountTokensRequest>,
    ) -> Result<Response<CountTokensResponse>, Status> {
        let who = principal(&request);
        let call = call("tokens.count", Mode::Whole, request, |r| r.request).map_err(status)?;
        Ok(Response::new(self.0.control.count_tokens(&who, &call).await.map_err(status)?))
    }
}

fn boxed<S>(stream: S) -> BoxStream<'static, S::Item>
where
    S: Stream + Send + 'static,
{
    stream.boxed()
}

pub(super) fn call<T>(
    action: &'static str,
    mode: Mode,
    request: Request<T>,
    inner: impl FnOnce(T) -> Option<CompletionRequest>,
) -> Result<Call, Error> {
    let who = principal(&request);
    let (_, extensions, message) = request.into_parts();
    let asked = inner(message).ok_or_else(|| Error::invalid_field("request", "is required"))?;
    let asked = read_anew(asked, &extensions)?;
    validate::completion(&asked)?;
    Ok(super::call_of(action, who, &extensions, Asked::Completion(Arc::new(asked), mode)))
}

/// Typed fields and original bytes may never disagree: unless the shim of this very process read one from the other, the typed
/// fields are read from the original again.
fn read_anew(asked: CompletionRequest, extensions: &Extensions) -> Result<CompletionRequest, Error> {
    let Some(original) = &asked.original else { return Ok(asked) };
    if extensions.get::<tollgate_http::ReadHere>().is_some() {
        return Ok(asked);
    }
    let read = match original.dialect() {
        Dialect::OpenaiChat => openai::read_chat(&original.body),
        Dialect::OpenaiCompletions => openai::read_text(&original.body),
        Dialect::OpenaiResponses => responses::read(&original.body),
        Dialect::AnthropicMessages => anthropic::read_messages(&original.body),
        _ => {
            let known = "must be DIALECT_OPENAI_CHAT, _COMPLETIONS, _RESPONSES or DIALECT_ANTHROPIC_MESSAGES";
            return Err(Error::invalid_field("request.original.dialect", known));
        }
    };
    let read = read.map_err(invalid)?;
    Ok(CompletionRequest { original: asked.original, tollgate: asked.tollgate, betas: asked.betas, ..read })
}

pub(crate) fn invalid(invalid: tollgate_http::openai::Invalid) -> Error {
    let violation = |(field, description)| Violation { field: format!("request.original.body:{field}"), description };
    Error::invalid(invalid.violations.into_iter().map(violation).collect())
}
