//! The stream of a response: the provider's own events where it speaks this dialect, synthesised ones where it does not.

use std::collections::VecDeque;

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use bytes::{Bytes, BytesMut};
use futures::{FutureExt, StreamExt, stream};
use serde_json::{Map, Value};
use tokio::time::timeout;
use tollgate_proto::v1::{CompletionEvent, StreamCompletionResponse};
use tonic::{Streaming, metadata::MetadataMap};

use super::{events::Events, kept::Keeper, native::Natives};
use crate::{
    error::Refusal,
    stream::{COALESCE, KEEP_ALIVE, begun},
};

/// Writes the events of one answer.
pub(super) enum Printer {
    /// The gateway's own.
    Made(Box<Events>),
    /// The provider's.
    Native(Natives),
}

impl Printer {
    /// The first event decides.
    pub(super) fn of(first: &CompletionEvent, asked: Map<String, Value>) -> Self {
        match first.native.is_some() {
            true => Self::Native(Natives::default()),
            false => Self::Made(Box::new(Events::new(asked))),
        }
    }

    pub(super) fn print(&mut self, event: CompletionEvent, previous: Option<&str>, store: bool, out: &mut BytesMut) {
        match self {
            Self::Made(events) => events.take(event, out),
            Self::Native(natives) => match (&event.native, &event.event) {
                (Some(native), _) => natives.take(&native.body, previous, store, out),
                (None, Some(own)) => natives.note(own),
                (None, None) => {}
            },
        }
    }
}

struct Sse {
    events: Option<Streaming<StreamCompletionResponse>>,
    ready: VecDeque<CompletionEvent>,
    printer: Printer,
    keeper: Keeper,
}

/// Waits for the first event, so that an early failure is a plain HTTP error, and answers with the stream.
pub(super) async fn respond(
    mut events: Streaming<StreamCompletionResponse>,
    metadata: &MetadataMap,
    asked: Map<String, Value>,
    keeper: Keeper,
) -> Result<Response, Refusal> {
    let (first, headers) = begun(&mut events, metadata).await?;
    let printer = Printer::of(&first, asked);
    let sse = Sse { events: Some(events), ready: [first].into(), printer, keeper };
    // The body owns the stream: dropping the one drops the other, and with it the call.
    let body = stream::unfold(sse, |mut sse| async move {
        let written = sse.next().await?;
        Some((Ok::<_, std::convert::Infallible>(written), sse))
    });
    Ok((headers, Body::from_stream(body)).into_response())
}

impl Sse {
    /// What is ready, or a comment; `None`: the end.
    async fn next(&mut self) -> Option<Bytes> {
        let mut out = BytesMut::new();
        while let Some(event) = self.ready.pop_front() {
            self.print(event, &mut out);
        }
        while out.len() < COALESCE {
            let Some(events) = &mut self.events else { break };
            let next = match out.is_empty() {
                true => timeout(KEEP_ALIVE, events.next()).await.ok(),
                false => events.next().now_or_never(),
            };
            match next {
                None if out.is_empty() => return Some(Bytes::from_static(b": ping\n\n")),
                None => break,
                Some(Some(Ok(response))) => self.print(response.event.unwrap_or_default(), &mut out),
                Some(Some(Err(status))) => {
                    self.events = None;
                    self.fail(&Refusal::from(status).in_responses(), &mut out);
                }
                Some(None) => {
                    self.events = None;
                    self.end(&mut out).await;
                }
            }
        }
        (!out.is_empty()).then(|| out.freeze())
    }

    fn print(&mut self, event: CompletionEvent, out: &mut BytesMut) {
        self.printer.print(event, self.keeper.previous.as_deref(), self.keeper.wanted, out);
    }

    /// Kept before it is told that it is complete, so that the next turn finds it.
    async fn end(&mut self, out: &mut BytesMut) {
        match &mut self.printer {
            Printer::Made(events) => {
                let mut response = events.response();
                let text = Value::Object(response.clone()).to_string();
                let is_stored = self.keeper.keep(events.id(), text).await;
                response.insert("store".into(), is_stored.into());
                events.end(response, out);
            }
            Printer::Native(natives) => {
                let response = natives.response().unwrap_or_default().to_owned();
                let is_stored = self.keeper.keep(super::id_of(&response), response).await;
                natives.end(is_stored, out);
            }
        }
    }

    fn fail(&mut self, refusal: &Refusal, out: &mut BytesMut) {
        match &mut self.printer {
            Printer::Made(events) => events.fail(refusal, out),
            Printer::Native(natives) => natives.fail(refusal, out),
        }
    }
}
