//! Spans of RPCs that are no calls of models: admin RPCs, files, batches, kept responses. Calls tell of themselves, from their records.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use pin_project_lite::pin_project;
use tollgate_trace::{Trace, Value};
use tonic::{Code, Status, body::Body};
use tonic_types::StatusExt;

use super::trace::Incoming;

const PACKAGE: &str = "/tollgate.v1.";
/// Their calls are traced with stages and attempts.
const OF_CALLS: [&str; 6] =
    ["CompletionService", "EmbeddingService", "RerankService", "ModerationService", "ImageService", "AudioService"];

/// An RPC under way, where it is recorded.
pub(crate) struct Rpc {
    trace: Trace,
    service: String,
    method: String,
    status: Option<Ended>,
}

/// What an RPC came to.
struct Ended {
    code: Code,
    /// The contract's reason, else the code's name; `None`: it went well.
    error: Option<String>,
}

impl Rpc {
    /// Begins with the request.
    pub(crate) fn begin<B>(request: &Request<B>) -> Option<Self> {
        let (service, method) = request.uri().path().strip_prefix(PACKAGE)?.split_once('/')?;
        let incoming = request.extensions().get::<Incoming>().filter(|_| !OF_CALLS.contains(&service))?;
        let trace = incoming.begin();
        let (service, method) = (format!("tollgate.v1.{service}"), method.to_owned());
        trace.is_recorded().then_some(Self { trace, service, method, status: None })
    }

    /// Ends with the answer: with its head where that has the status, else with the last of its body.
    pub(crate) fn answered(mut self, response: Response<Body>) -> Response<Body> {
        self.read(response.headers());
        response.map(|body| Body::new(Told { body, rpc: self }))
    }

    fn read(&mut self, headers: &HeaderMap) {
        if let Some(status) = Status::from_header_map(headers) {
            let reason = || status.get_error_details().error_info().map(|info| info.reason.clone());
            let name = || format!("{:?}", status.code());
            let error = (status.code() != Code::Ok).then(|| reason().filter(|r| !r.is_empty()).unwrap_or_else(name));
            self.status = Some(Ended { code: status.code(), error });
        }
    }
}

impl Drop for Rpc {
    fn drop(&mut self) {
        // Nobody waited for its end.
        let gone = || Ended { code: Code::Cancelled, error: Some("CANCELLED".to_owned()) };
        let ended = self.status.take().unwrap_or_else(gone);
        let mut attributes = vec![
            ("rpc.system", Value::from("grpc")),
            ("rpc.service", self.service.as_str().into()),
            ("rpc.method", self.method.as_str().into()),
            ("rpc.grpc.status_code", Value::Int((ended.code as i32).into())),
        ];
        attributes.extend(ended.error.as_deref().map(|error| ("error.type", error.into())));
        self.trace.tell(format!("{}/{}", self.service, self.method), attributes, ended.error);
    }
}

pin_project! {
    /// A body whose end is told.
    struct Told {
        #[pin]
        body: Body,
        rpc: Rpc,
    }
}

impl http_body::Body for Told {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.project();
        let frame = this.body.poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &frame
            && let Some(trailers) = frame.trailers_ref()
        {
            this.rpc.read(trailers);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}
