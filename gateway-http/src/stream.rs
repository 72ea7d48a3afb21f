//! Server-sent events, in whichever dialect they are printed.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Response},
};
use bytes::{BufMut, Bytes, BytesMut};
use futures::{Stream, StreamExt};
use http_body::Frame;
use tokio::time::{Instant, Sleep, sleep};
use tollgate_proto::v1::{CompletionEvent, StreamCompletionResponse, completion_event::Event};
use tonic::{Status, Streaming, metadata::MetadataMap};

use crate::{chat, error::Refusal, quota};

/// A comment is sent when nothing else was for so long: balancers cut connections that are silent.
pub(crate) const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Ready events are joined up to this size, so that a burst leaves in one write.
pub(crate) const COALESCE: usize = 32 << 10;

/// Prints events of the contract in a dialect's stream.
pub(crate) trait Printer: Send + Unpin + 'static {
    /// What is sent when nothing else was for a while.
    const KEEP_ALIVE: &'static [u8];
    /// An event.
    fn print(&mut self, event: CompletionEvent, out: &mut BytesMut);
    /// The answer broke.
    fn fail(&mut self, refusal: Refusal, out: &mut BytesMut);
    /// The answer is complete.
    fn end(&mut self, out: &mut BytesMut);
}

/// The first event, so that an early failure is a plain HTTP error, and the headers of the stream behind it.
pub(crate) async fn begun(
    events: &mut Streaming<StreamCompletionResponse>,
    metadata: &MetadataMap,
) -> Result<(CompletionEvent, HeaderMap), Refusal> {
    let first = match events.next().await {
        Some(first) => first?.event.unwrap_or_default(),
        None => return Err(Status::internal("the stream ended before its first event").into()),
    };
    let mut headers = HeaderMap::new();
    quota::tell(&mut headers, metadata);
    if let Some(Event::Started(started)) = &first.event {
        chat::tell(&mut headers, Some(started), None);
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok((first, headers))
}

/// Waits for the first event, and answers with the stream that `printer` makes of it and
/// those behind it.
pub(crate) async fn respond<P: Printer>(
    mut events: Streaming<StreamCompletionResponse>,
    metadata: &MetadataMap,
    printer: impl FnOnce(&CompletionEvent) -> P,
) -> Result<Response, Refusal> {
    let (first, headers) = begun(&mut events, metadata).await?;
    let printer = printer(&first);
    let body = SseBody { printer, first: Some(first), events: Some(events), idle: Box::pin(sleep(KEEP_ALIVE)) };
    Ok((headers, Body::new(body)).into_response())
}

/// The body owns the stream: dropping the one drops the other, and with it the call.
struct SseBody<P> {
    first: Option<CompletionEvent>,
    events: Option<Streaming<StreamCompletionResponse>>,
    printer: P,
    idle: Pin<Box<Sleep>>,
}

/// One event of the stream.
pub(crate) fn data(json: &[u8], out: &mut BytesMut) {
    out.reserve(json.len() + 8);
    out.put_slice(b"data: ");
    out.put_slice(json);
    out.put_slice(b"\n\n");
}

impl<P: Printer> http_body::Body for SseBody<P> {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let mut out = BytesMut::new();
        if let Some(first) = self.first.take() {
            self.printer.print(first, &mut out);
        }
        while out.len() < COALESCE {
            let Some(events) = &mut self.events else { break };
            match Pin::new(events).poll_next(cx) {
                Poll::Pending => break,
                Poll::Ready(Some(Ok(response))) => self.printer.print(response.event.unwrap_or_default(), &mut out),
                Poll::Ready(Some(Err(status))) => {
                    self.events = None;
                    self.printer.fail(status.into(), &mut out);
                }
                Poll::Ready(None) => {
                    self.events = None;
                    self.printer.end(&mut out);
                }
            }
        }
        if !out.is_empty() {
            let next = Instant::now() + KEEP_ALIVE;
            self.idle.as_mut().reset(next);
            return Poll::Ready(Some(Ok(Frame::data(out.freeze()))));
        }
        if self.events.is_none() {
            return Poll::Ready(None);
        }
        if self.idle.as_mut().poll(cx).is_ready() {
            let next = Instant::now() + KEEP_ALIVE;
            self.idle.as_mut().reset(next);
            return Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(P::KEEP_ALIVE)))));
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, StreamBody};
    use tokio::time::timeout;
    use tonic::codec::{DecodeBuf, Decoder};

    use super::*;
    use crate::openai::chunk::{Chunks, Sse};

    /// Nothing comes that it could read.
    struct Nothing;

    impl Decoder for Nothing {
        type Item = StreamCompletionResponse;
        type Error = Status;

        fn decode(&mut self, _: &mut DecodeBuf<'_>) -> Result<Option<Self::Item>, Status> {
            Ok(None)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_is_silent_says_every_so_often_that_it_lives() {
        let silence = StreamBody::new(futures::stream::pending::<Result<Frame<Bytes>, Status>>());
        let events = Some(Streaming::new_request(Nothing, silence, None, None));
        let printer = Sse::new(&CompletionEvent::default(), Chunks::new(false, false));
        let mut body = SseBody { first: None, events, printer, idle: Box::pin(sleep(KEEP_ALIVE)) };
        for _ in 0..3 {
            let begun = Instant::now();
            let frame = timeout(KEEP_ALIVE * 2, body.frame()).await.expect("it is not silent for so long");
            let said = frame.unwrap().unwrap().into_data().unwrap();
            assert_eq!(&said[..], b": ping\n\n");
            assert_eq!(begun.elapsed().as_secs(), KEEP_ALIVE.as_secs());
        }
    }
}
