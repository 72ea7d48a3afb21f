//! Completions: whole, and as they are made.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures::{Stream, StreamExt, TryStreamExt};
use tollgate_proto::{
    Collector,
    v1::{
        self, Completion, CompletionEvent, CompletionRequest, Message, Part, Role, TextPart, completion_event::Event,
        completion_service_client::CompletionServiceClient, delta::Piece, part::Content,
    },
};
use tonic::Streaming;

use crate::{
    Client, DEFAULT_TIMEOUT, Error,
    calls::{once, request},
    media::unfinished,
    stub,
};

/// A call with one message of a user.
pub fn user(model: impl Into<String>, text: impl Into<String>) -> CompletionRequest {
    let part = Part { content: Some(Content::Text(TextPart { text: text.into() })), ..Part::default() };
    let message = Message { role: Role::User as i32, parts: vec![part], ..Message::default() };
    CompletionRequest { model: Some(model.into()), messages: vec![message], ..CompletionRequest::default() }
}

impl Client {
    /// The whole answer. Not repeated by the client: the gateway tries other deployments itself.
    pub async fn complete(&self, call: CompletionRequest) -> Result<Answer, Error> {
        let timeout = Some(self.timeout.unwrap_or(DEFAULT_TIMEOUT));
        let asked = v1::CreateCompletionRequest { request: Some(call) };
        let told = once(stub!(self, CompletionServiceClient).create_completion(request(asked, timeout))).await?;
        Ok(Answer(told.completion.unwrap_or_default()))
    }

    /// The answer as it is made. Dropping it cancels the call, up to the provider.
    pub async fn stream(&self, call: CompletionRequest) -> Result<CompletionStream, Error> {
        let timeout = Some(self.timeout.unwrap_or(DEFAULT_TIMEOUT));
        let asked = v1::StreamCompletionRequest { request: Some(call) };
        let events = once(stub!(self, CompletionServiceClient).stream_completion(request(asked, timeout))).await?;
        Ok(CompletionStream { events, collector: Some(Collector::default()), end: End::Open })
    }
}

/// The events of a completion, which it collects at the same time.
pub struct CompletionStream {
    events: Streaming<v1::StreamCompletionResponse>,
    collector: Option<Collector>,
    end: End,
}

/// How far a stream has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Open,
    /// A choice is finished, so that the stream may end.
    Finished,
    Broken,
}

impl Stream for CompletionStream {
    type Item = Result<CompletionEvent, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            return Poll::Ready(match ready!(self.events.poll_next_unpin(cx)) {
                Some(Ok(v1::StreamCompletionResponse { event: None })) => continue,
                Some(Ok(v1::StreamCompletionResponse { event: Some(event) })) => {
                    self.end = match event.event {
                        Some(Event::Finished(_)) => End::Finished,
                        Some(Event::Restarted(_)) => End::Open,
                        _ => self.end,
                    };
                    if let Some(collector) = &mut self.collector {
                        collector.take(event.clone());
                    }
                    Some(Ok(event))
                }
                Some(Err(status)) => {
                    self.end = End::Broken;
                    Some(Err(status.into()))
                }
                None if self.end == End::Open => {
                    self.end = End::Broken;
                    Some(Err(unfinished()))
                }
                None => None,
            });
        }
    }
}

impl CompletionStream {
    /// The pieces of text of the first choice, as they come. Where an answer starts over ([`v1::Restarted`]) a text that was passed on
    /// cannot be taken back: read the events instead where that is configured.
    pub fn text(self) -> impl Stream<Item = Result<String, Error>> + Send {
        self.try_filter_map(|event| async move {
            Ok(match event.event {
                Some(Event::Delta(delta)) if delta.choice == 0 => match delta.piece {
                    Some(Piece::Text(text)) => Some(text),
                    _ => None,
                },
                _ => None,
            })
        })
    }

    /// The whole answer: what has been read so far, and the rest.
    pub async fn collect(mut self) -> Result<Answer, Error> {
        while self.try_next().await?.is_some() {}
        Ok(Answer(self.collector.take().unwrap_or_default().finish()))
    }
}

/// A whole answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer(pub Completion);

/// A tool that the model wants called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolCall {
    /// Its id, for the tool's answer.
    pub id: String,
    /// Name of the tool.
    pub name: String,
    /// Its arguments: JSON as the model wrote it.
    pub arguments_json: String,
}

impl Answer {
    /// The text of the first choice.
    pub fn text(&self) -> String {
        let text = |content: &Content| match content {
            Content::Text(part) => Some(part.text.clone()),
            _ => None,
        };
        self.contents().filter_map(text).collect()
    }

    /// The tools that the first choice wants called.
    pub fn tool_calls(&self) -> Vec<ToolCall> {
        let call = |content: &Content| match content {
            Content::ToolCall(part) => Some(ToolCall {
                id: part.id.clone(),
                name: part.name.clone(),
                arguments_json: part.arguments_json.clone(),
            }),
            _ => None,
        };
        self.contents().filter_map(call).collect()
    }

    /// The first choice's message, to put into the next call's `messages`.
    pub fn message(&self) -> Option<&Message> {
        self.0.choices.first()?.message.as_ref()
    }

    /// Why the first choice ended.
    pub fn finish_reason(&self) -> v1::FinishReason {
        let finished = self.0.choices.first().and_then(|choice| choice.finished.as_ref());
        finished.map(v1::Finished::reason).unwrap_or_default()
    }

    /// What the call consumed and cost.
    pub fn usage(&self) -> Option<&v1::Usage> {
        self.0.usage.as_ref()
    }

    /// The call's id in the ledger and the audit log.
    pub fn call_id(&self) -> &str {
        self.0.started.as_ref().map(|started| started.call_id.as_str()).unwrap_or_default()
    }

    fn contents(&self) -> impl Iterator<Item = &Content> {
        self.message().into_iter().flat_map(|message| &message.parts).filter_map(|part| part.content.as_ref())
    }
}

/// A tool's answer, as a message of the next call.
pub fn tool_result(call: &ToolCall, text: impl Into<String>) -> Message {
    let text = Part { content: Some(Content::Text(TextPart { text: text.into() })), ..Part::default() };
    let result = v1::ToolResultPart { tool_call_id: call.id.clone(), content: vec![text], is_error: None };
    let part = Part { content: Some(Content::ToolResult(result)), ..Part::default() };
    Message { role: Role::Tool as i32, parts: vec![part], ..Message::default() }
}
