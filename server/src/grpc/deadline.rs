//! The caller's deadline, over unary and streamed replies alike.
//!
//! tonic's own handling of `grpc-timeout` covers the time to the response's head only and answers CANCELLED; this layer covers the
//! body too, answers DEADLINE_EXCEEDED, and drops the call, which ends the provider's connection.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Frame;
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};
use tollgate_domain::{Error, Retry};
use tollgate_proto::v1::ErrorReason;
use tonic::{Status, body::Body};

/// When the caller gives up; rides in the request's extensions.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(pub Instant);

/// Longest deadline that is taken seriously.
const LONGEST: Duration = Duration::from_secs(86_400);

/// Reads `grpc-timeout` (gRPC over HTTP/2, "Requests"): up to eight digits and a unit.
fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    let timeout = match unit {
        "H" => Duration::from_secs(number.saturating_mul(3_600)),
        "M" => Duration::from_secs(number.saturating_mul(60)),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    };
    Some(timeout.min(LONGEST))
}

fn exceeded(stage: &str) -> Status {
    let error = Error::new(ErrorReason::DeadlineExceeded, "the caller's deadline passed").retry(Retry::Never);
    super::status::status(error.with("stage", stage))
}

/// Notes the request's deadline in its extensions.
pub(crate) fn note<B>(request: &mut Request<B>) -> Option<Instant> {
    let deadline = Instant::now() + timeout(request.headers())?;
    request.extensions_mut().insert(Deadline(deadline));
    Some(deadline)
}

/// Runs `reply` and its body under the deadline.
pub(crate) async fn within(deadline: Option<Instant>, reply: impl Future<Output = Response<Body>>) -> Response<Body> {
    let Some(deadline) = deadline else { return reply.await };
    match tokio::time::timeout_at(deadline, reply).await {
        Ok(response) => response.map(|body| Body::new(Bounded { body: Some(body), timer: sleep_until(deadline) })),
        Err(_) => exceeded("head").into_http(),
    }
}

pin_project! {
    /// A body that ends with a status once the deadline passes.
    struct Bounded {
        body: Option<Body>,
        #[pin]
        timer: Sleep,
    }
}

impl http_body::Body for Bounded {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.project();
        let Some(body) = this.body.as_mut() else { return Poll::Ready(None) };
        if let Poll::Ready(frame) = Pin::new(body).poll_frame(cx) {
            return Poll::Ready(frame);
        }
        if this.timer.poll(cx).is_pending() {
            return Poll::Pending;
        }
        // Dropping the body ends the call.
        *this.body = None;
        let mut trailers = HeaderMap::new();
        let written = exceeded("body").add_header(&mut trailers);
        if written.is_err() {
            trailers.insert("grpc-status", HeaderValue::from_static("4"));
        }
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(http_body::Body::is_end_stream)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_in_every_unit() {
        let read =
            |text: &str| timeout(&HeaderMap::from_iter([("grpc-timeout".parse().unwrap(), text.parse().unwrap())]));
        assert_eq!(read("100m"), Some(Duration::from_millis(100)));
        assert_eq!(read("5S"), Some(Duration::from_secs(5)));
        assert_eq!(read("99999999H"), Some(LONGEST));
        for bad in ["", "S", "5", "-1S", "123456789S", "1x"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
