//! A request's body, with the difference between its end and its sender's going away.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use axum::body::Body;
use bytes::Bytes;
use http::{Request, Version};
use http_body::{Frame, SizeHint};
use tonic::{Code, Status};

/// A body that ends where its sender ended it, and fails where the stream was reset before that (RFC 9113, section 5.4.2).
///
/// Readers take some resets for an end: tonic does with `CANCEL`, which every gRPC client sends when it goes away, and hyper with `NO_ERROR`.
/// Half a file would pass for a whole one.
pub(crate) struct RequestBody {
    body: Body,
    /// HTTP/1.1 tells a broken body by itself, and nothing of its end.
    is_http2: bool,
}

impl RequestBody {
    pub(crate) fn of(request: Request<Body>) -> Request<tonic::body::Body> {
        let is_http2 = request.version() == Version::HTTP_2;
        request.map(|body| tonic::body::Body::new(Self { body, is_http2 }))
    }
}

impl http_body::Body for RequestBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Poll::Ready(match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            Some(frame) => Some(frame.map_err(|error| broken(Status::from_error(error.into())))),
            None if self.is_http2 && !self.body.is_end_stream() => Some(Err(taken_back())),
            None => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn broken(status: Status) -> Status {
    if status.code() == Code::Cancelled { taken_back() } else { status }
}

fn taken_back() -> Status {
    Status::aborted("the caller took the request back before its end")
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures::StreamExt;
    use http::Response;
    use hyper::{body::Incoming, service::service_fn};
    use hyper_util::rt::{TokioExecutor, TokioIo};
    use tokio::sync::mpsc;
    use tollgate_proto::v1::{CreateFileRequest, FileHeader, create_file_request::Part};
    use tonic::{Streaming, codec::Codec};
    use tonic_prost::ProstCodec;

    use super::*;

    /// What a service reads of a request with one message whose sender then does what `then` says.
    async fn read(then: fn(h2::SendStream<Bytes>)) -> Vec<Result<CreateFileRequest, Code>> {
        let (ours, theirs) = tokio::io::duplex(64 << 10);
        let (told, mut heard) = mpsc::unbounded_channel();
        let service = service_fn(move |request: Request<Incoming>| {
            let told = told.clone();
            let body = RequestBody::of(request.map(Body::new)).into_body();
            // Read elsewhere, as uploads are: the service itself is dropped with its caller.
            tokio::spawn(async move {
                let decoder = ProstCodec::<CreateFileRequest, CreateFileRequest>::default().decoder();
                let messages = Streaming::new_request(decoder, body, None, None);
                let messages = messages.map(|message| message.map_err(|status| status.code()));
                told.send(messages.collect::<Vec<_>>().await).unwrap();
            });
            std::future::pending::<Result<Response<Body>, Infallible>>()
        });
        let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        tokio::spawn(async move { server.serve_connection(TokioIo::new(theirs), service).await });
        let (sender, connection) = h2::client::handshake(ours).await.unwrap();
        tokio::spawn(connection);
        let request = Request::post("http://gateway/").body(()).unwrap();
        let (_answer, mut body) = sender.ready().await.unwrap().send_request(request, false).unwrap();
        body.send_data(framed(&message()), false).unwrap();
        // It is on its way before it is taken back.
        tokio::task::yield_now().await;
        then(body);
        heard.recv().await.unwrap()
    }

    fn message() -> CreateFileRequest {
        let header = FileHeader { filename: "half".into(), ..FileHeader::default() };
        CreateFileRequest { part: Some(Part::Header(header)) }
    }

    /// A message as gRPC frames it.
    fn framed(message: &CreateFileRequest) -> Bytes {
        let message = prost::Message::encode_to_vec(message);
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        [&[0][..], &length, &message].concat().into()
    }

    #[tokio::test]
    async fn a_body_ends_where_its_sender_ended_it() {
        let read = read(|mut body| body.send_data(Bytes::new(), true).unwrap()).await;
        assert_eq!(read, [Ok(message())]);
    }

    #[tokio::test]
    async fn a_body_that_is_taken_back_has_no_end() {
        let cancelled = read(|mut body| body.send_reset(h2::Reason::CANCEL)).await;
        let without_error = read(|mut body| body.send_reset(h2::Reason::NO_ERROR)).await;
        for read in [cancelled, without_error] {
            assert_eq!(read.last(), Some(&Err(Code::Aborted)), "{read:?}");
        }
    }
}
